//! Time as the rest of the program sees it.
//!
//! Owns nothing: an instant is taken once a turn and passed in, so that what depends on it can be
//! tested without waiting. A *deadline* is an [`Instant`]; a *timeout* exists only in
//! configuration.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The earlier of two deadlines, where `None` is never.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// What is left until `deadline`: zero when it has passed, `None` when there is none.
pub fn remaining(deadline: Option<Instant>, now: Instant) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(now))
}

/// A duration in seconds, to the millisecond: for people, in the log and on the side port.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Seconds since 1970 at `instant`, by the wall clock as it is `now`.
pub fn unix_seconds(instant: Instant, now: Instant) -> f64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    wall.saturating_sub(now.saturating_duration_since(instant)).as_secs_f64()
}

/// The wall clock as an HTTP date (RFC 9110, 5.6.7).
pub fn http_date() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_instant() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(earlier(None, None), None);
        assert_eq!(earlier(Some(now), None), Some(now));
        assert_eq!(earlier(Some(later), Some(now)), Some(now));
    }

    #[test]
    fn seconds_to_the_millisecond() {
        for (micros, shown) in [(0, "0"), (499, "0"), (1_000, "0.001"), (12_345_678, "12.346")] {
            assert_eq!(seconds(Duration::from_micros(micros)).to_string(), shown);
        }
    }

    #[test]
    fn a_deadline_in_the_past_leaves_nothing() {
        let now = Instant::now();
        assert_eq!(remaining(Some(now), now + Duration::from_secs(1)), Some(Duration::ZERO));
        assert_eq!(remaining(None, now), None);
    }
}
