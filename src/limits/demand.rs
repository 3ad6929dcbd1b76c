//! How long streams on demand wait.

use std::time::Duration;

use super::{ANSWER_TIMEOUT, TIMEOUT_MAX};

/// `linger`, unless configured: who changes channels comes back, or the next viewer comes.
pub const LINGER_DEFAULT: Duration = Duration::from_secs(10);
/// The longest `linger`, as any other configurable time.
pub const LINGER_SECONDS_MAX: f64 = 86_400.0;
/// `start_timeout`, unless configured: players and proxies wait for an answer for longer.
pub const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest `start_timeout`: a connection over a satellite takes half of it.
pub const START_SECONDS_MIN: f64 = 0.1;
/// The longest `start_timeout`: nobody waits longer for an answer.
pub const START_SECONDS_MAX: f64 = 300.0;

const _: () = assert!(LINGER_SECONDS_MAX == TIMEOUT_MAX.as_secs_f64());
const _: () = assert!(START_TIMEOUT_DEFAULT.as_secs() < ANSWER_TIMEOUT.as_secs());
