//! How a stream goes on with another upstream while viewers wait.

use std::time::Duration;

use super::{LAG_BYTES_MAX, RECONNECT_MIN};

/// `on_loss`, unless configured, in seconds: what a player waits for data, and more than an encoder
/// takes to come back.
pub const HOLD_SECONDS_DEFAULT: f64 = 30.0;
/// `on_loss` in seconds.
pub const HOLD_SECONDS_MAX: f64 = 3600.0;
/// The least of it.
pub const HOLD_SECONDS_MIN: f64 = 0.1;
/// Time for PAT and all PMTs of a new connection, from its first packet on. TR 101 290 (1.3, 1.5)
/// allows half a second between two of each.
pub const SWITCH_TABLES_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a random access point of each program, from the connection's first packet on: encoders
/// make one in two to five seconds.
pub const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);
/// `return_after`, unless configured, in seconds.
pub const RETURN_SECONDS_DEFAULT: f64 = 30.0;
/// `return_after` in seconds.
pub const RETURN_SECONDS_MAX: f64 = 86_400.0;
/// A preferred upstream that is watched sends something, or is given up.
pub const RETURN_SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// What is held back meanwhile. Viewers get it at once, and may lag by as much.
pub const SWITCH_BYTES_MAX: usize = LAG_BYTES_MAX;

/// A stream without anything to send has its slate shown after so long: most upstreams that come
/// back do so sooner, and players have more than that in their buffers.
pub const SLATE_AFTER: Duration = Duration::from_secs(1);
/// A slate that could not be played is tried again after so long.
pub const SLATE_RETRY: Duration = Duration::from_secs(10);

const _: () = assert!(SWITCH_TABLES_TIMEOUT.as_millis() < SWITCH_TIMEOUT.as_millis());
const _: () = assert!(RECONNECT_MIN.as_millis() <= SWITCH_TABLES_TIMEOUT.as_millis());
