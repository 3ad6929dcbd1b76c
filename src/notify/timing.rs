//! When something is told, and for how long it is tried.

use std::time::{Duration, Instant};

use crate::limits::{
    NOTIFY_ORDER_TIMEOUT, NOTIFY_PAUSE_MAX, NOTIFY_PAUSE_MIN, NOTIFY_TIMEOUT, NOTIFY_TRIES_MAX,
};

/// How patient notifications are; by default as `limits` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For one answer's head.
    pub timeout: Duration,
    /// Tries of one event at one target; at least 1.
    pub tries: u32,
    /// The longest pause after the first try; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause at all.
    pub longest_pause: Duration,
    /// How long an event waits for an earlier one to another address of the same server.
    pub order: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            timeout: NOTIFY_TIMEOUT,
            tries: NOTIFY_TRIES_MAX,
            first_pause: NOTIFY_PAUSE_MIN,
            longest_pause: NOTIFY_PAUSE_MAX,
            order: NOTIFY_ORDER_TIMEOUT,
        }
    }
}

impl Timing {
    /// The pause after so many tries (from 1), between half of the longest one (at `chance` 0) and
    /// all of it (at 1): many nodes that fail at once do not all come back at once.
    pub(super) fn pause(&self, tries: u32, chance: f64) -> Duration {
        let doublings = 2_u32.saturating_pow(tries.saturating_sub(1));
        let longest = self.first_pause.saturating_mul(doublings).min(self.longest_pause);
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

/// The schedule of heartbeats: always a whole number of intervals after the start. What was missed
/// is not made up for.
#[derive(Debug)]
pub(super) struct Beat {
    interval: Duration,
    next: Instant,
}

impl Beat {
    /// The first one is due after an interval, which is not zero.
    pub(super) fn new(interval: Duration, now: Instant) -> Beat {
        assert!(!interval.is_zero(), "heartbeats without a pause");
        Beat { interval, next: now + interval }
    }

    /// Time until the next one.
    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Whether one is due: then the next one is planned.
    pub(super) fn strikes(&mut self, now: Instant) -> bool {
        let Some(late) = now.checked_duration_since(self.next) else { return false };
        let interval = self.interval.as_nanos();
        self.next += Duration::from_nanos_u128((late.as_nanos() / interval + 1) * interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_scatter_by_half() {
        let timing = Timing { first_pause: ms(100), longest_pause: ms(350), ..Timing::default() };
        let pauses = |chance| [1, 2, 3, 40].map(|tries| timing.pause(tries, chance));
        assert_eq!(pauses(1.0), [ms(100), ms(200), ms(350), ms(350)]);
        assert_eq!(pauses(0.0), [ms(50), ms(100), ms(175), ms(175)]);
    }

    #[test]
    fn heartbeats_do_not_drift_and_are_not_made_up_for() {
        let start = Instant::now();
        let mut beat = Beat::new(ms(100), start);
        let steps = [
            (0, false, 100),
            (99, false, 1),
            (103, true, 97),
            (103, false, 97),
            (200, true, 100),
            (299, false, 1),
            (301, true, 99),
            // Suspended for a while.
            (1250, true, 50),
            (1299, false, 1),
            (1300, true, 100),
        ];
        for (at, strikes, left) in steps {
            let now = start + ms(at);
            assert_eq!((beat.strikes(now), beat.remaining(now)), (strikes, ms(left)), "at {at}");
        }
    }
}
