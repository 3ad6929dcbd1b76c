//! What the door holds, and how often it tidies up.

use std::time::Duration;

/// Rules of the door, those of the configuration and of commands together.
pub const DOOR_RULES_MAX: usize = 65_536;
/// Sources whose rate is known; who has not come for longest is forgotten for who comes.
pub const DOOR_SOURCES_MAX: usize = 65_536;
/// `rate.per_second`: a connection a microsecond.
pub const DOOR_PER_SECOND_MAX: f64 = 1_000_000.0;
/// The same at the least: a connection in ten thousand seconds.
pub const DOOR_PER_SECOND_MIN: f64 = 0.0001;
/// `rate.burst`: times the longest interval it is nanoseconds that 64 bits hold.
pub const DOOR_BURST_MAX: usize = 100_000;
/// The longest time that a rule can be set for; a longer one is as good as for ever.
pub const DOOR_LASTING_MAX: Duration = Duration::from_hours(10 * 366 * 24);
/// The shortest: the state file has whole seconds.
pub const DOOR_LASTING_MIN: Duration = Duration::from_secs(1);
/// What is read of the state file.
pub const DOOR_STATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One rule in the state file: 43 characters of a network, and some numbers.
pub const DOOR_STATE_RULE_BYTES_MAX: usize = 192;
/// State files that could not be read and are kept.
pub const DOOR_STATE_ASIDE_MAX: usize = 9;
/// How often sources that are within their rate are forgotten.
pub const DOOR_SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How long they have been within it by then, at least.
pub const DOOR_SOURCE_IDLE: Duration = Duration::from_mins(1);
/// By how much the wall clock may go off before the state file, which has its time, is written
/// anew.
pub const DOOR_CLOCK_JUMP: Duration = Duration::from_secs(2);
/// Stack of the door's thread.
pub const DOOR_STACK_BYTES: usize = 256 * 1024;

const _: () = assert!(DOOR_RULES_MAX * DOOR_STATE_RULE_BYTES_MAX <= DOOR_STATE_BYTES_MAX);
const _: () = assert!(DOOR_SWEEP_INTERVAL.as_millis() < DOOR_SOURCE_IDLE.as_millis());
const _: () = assert!(DOOR_LASTING_MIN.as_nanos() < DOOR_LASTING_MAX.as_nanos());
