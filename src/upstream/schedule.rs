//! Which upstream is tried, and when.

use std::time::{Duration, Instant};

use crate::limits::RECONNECT_MIN;

/// The order of a stream's upstreams and the time of the next attempt.
///
/// The list is shuffled once and used round-robin, one step an attempt. The next attempt is due
/// `reconnect` after the *beginning* of the last one: an upstream that was up for longer is tried
/// again at once. Without `reconnect` there is one attempt.
#[derive(Debug)]
pub struct Schedule {
    order: Vec<usize>,
    next: usize,
    reconnect: Option<Duration>,
    last: Option<Instant>,
}

impl Schedule {
    /// A schedule for `upstreams` upstreams, in an order that `random` decides (a number below its
    /// argument each).
    ///
    /// # Panics
    /// When there is no upstream.
    pub fn new(
        upstreams: usize,
        reconnect: Option<Duration>,
        mut random: impl FnMut(usize) -> usize,
    ) -> Schedule {
        assert!(upstreams > 0, "a stream has an upstream");
        let mut order: Vec<usize> = (0..upstreams).collect();
        for last in (1..upstreams).rev() {
            order.swap(last, random(last + 1));
        }
        Schedule { order, next: 0, reconnect, last: None }
    }

    /// Begins an attempt; answers the number of the upstream to try.
    pub fn attempt(&mut self, now: Instant) -> usize {
        let upstream = self.order[self.next];
        self.next = (self.next + 1) % self.order.len();
        self.last = Some(now);
        upstream
    }

    /// When the next attempt is due; `None`: never. An instant that has passed: at once.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match (self.last, self.reconnect) {
            (None, _) => Some(now),
            (Some(last), Some(reconnect)) => Some(last + reconnect.max(RECONNECT_MIN)),
            (Some(_), None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn the_deadline_counts_from_the_beginning_of_the_last_attempt() {
        let start = Instant::now();
        let mut schedule = Schedule::new(1, TEN, |_| 0);
        assert_eq!(schedule.due(start), Some(start));
        schedule.attempt(start);
        let long_after = start + Duration::from_hours(1);
        assert_eq!(schedule.due(long_after), Some(start + Duration::from_secs(10)));
    }

    #[test]
    fn without_reconnect_there_is_one_attempt() {
        let now = Instant::now();
        let mut schedule = Schedule::new(3, None, |_| 0);
        assert!(schedule.due(now).is_some());
        schedule.attempt(now);
        assert_eq!(schedule.due(now), None);
    }

    #[test]
    fn a_tiny_reconnect_is_no_busy_loop() {
        let now = Instant::now();
        let mut schedule = Schedule::new(1, Some(Duration::from_nanos(1)), |_| 0);
        schedule.attempt(now);
        assert_eq!(schedule.due(now), Some(now + RECONNECT_MIN));
    }

    proptest! {
        #[test]
        fn every_upstream_has_its_turn(n in 1_usize..20, seed in any::<u64>()) {
            let mut random = fastrand::Rng::with_seed(seed);
            let now = Instant::now();
            let mut schedule = Schedule::new(n, TEN, |below| random.usize(..below));
            let first: Vec<usize> = (0..n).map(|_| schedule.attempt(now)).collect();
            let second: Vec<usize> = (0..n).map(|_| schedule.attempt(now)).collect();
            prop_assert_eq!(&first, &second, "round-robin");
            let mut sorted = first;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }
    }
}
