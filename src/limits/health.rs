//! How an upstream's health is judged.

use std::time::Duration;

/// How often what has come of an upstream is looked at.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// A look stands for so much time at the most: a process that was stopped has seen nothing.
pub const HEALTH_LOOK_MAX: Duration = Duration::from_secs(1);
/// What comes again within this time is there: senders in bursts, as those of segments are, send
/// every six seconds or so. A condition whose own time is shorter begins after that.
pub const HEALTH_LULL: Duration = Duration::from_secs(10);
/// A condition is over when so many looks have found what was missing.
pub const HEALTH_LOOKS: u32 = 3;
/// What an upstream may lack before it is left for another one, unless configured.
pub const HEALTH_SECONDS_DEFAULT: Duration = Duration::from_secs(10);
/// The least of what may be configured, in seconds: two looks.
pub const HEALTH_SECONDS_MIN: f64 = 1.0;
/// The most, as of other times: a day.
pub const HEALTH_SECONDS_MAX: f64 = 86_400.0;
/// The highest floor of a bitrate, in bits per second.
pub const HEALTH_BITRATE_MAX: usize = 10_000_000_000;

const _: () = assert!(HEALTH_INTERVAL.as_millis() <= HEALTH_LOOK_MAX.as_millis());
const _: () = assert!(HEALTH_LOOKS as u128 * HEALTH_INTERVAL.as_millis() < HEALTH_LULL.as_millis());
