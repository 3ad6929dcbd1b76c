//! Which upstream is tried, and when.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits::{RECONNECT_EXTRA_DIVISOR, RECONNECT_MIN};

/// The order of a stream's upstreams and the time of the next attempt.
///
/// In turn: the list is shuffled once and used round-robin, one step an attempt. The next attempt
/// may begin `reconnect` after the *beginning* of the last one. By preference: the list is used as
/// it is, and what counts is the last attempt on the same upstream; of those that may be tried one
/// that has not failed is, and else whichever has failed first. So the first in the list, which may
/// take long to fail, keeps nobody from his turn.
///
/// An attempt begins up to a fifth of `reconnect` later than it may, by chance: a thousand nodes
/// that lost the same upstream do not come back in step. An upstream that was up for longer than
/// `reconnect` is tried again at once. Without `reconnect` there is one attempt, or one on each.
///
/// Where somebody waits for what nobody wanted, all upstreams are tried in a *round*, one after
/// the other without a wait, unless the last attempt was made just now.
#[derive(Debug)]
pub struct Schedule {
    order: Order,
    reconnect: Option<Duration>,
    random: Random,
    /// The last attempt: one for all, or each upstream's.
    lasts: Vec<Option<Last>>,
}

#[derive(Debug)]
enum Order {
    /// With the attempts that are left of a round.
    Turns { order: Vec<usize>, next: usize, round: usize },
    /// With when each has failed, if it has not been of use since.
    Preference { failed: Vec<Option<Instant>> },
}

/// What the last attempt means for the next.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Before this instant there is no other.
    earliest: Instant,
    /// What chance adds.
    extra: Duration,
}

/// Answers a number below its argument, which is more than 0.
struct Random(Box<dyn FnMut(usize) -> usize + Send>);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

impl Schedule {
    /// A schedule in turn for `upstreams` upstreams; `random` decides their order and each
    /// attempt's extra (a number below its argument each).
    ///
    /// # Panics
    /// When there is no upstream.
    pub fn new(
        upstreams: usize,
        reconnect: Option<Duration>,
        mut random: impl FnMut(usize) -> usize + Send + 'static,
    ) -> Schedule {
        assert!(upstreams > 0, "a stream has an upstream");
        let mut order: Vec<usize> = (0..upstreams).collect();
        for last in (1..upstreams).rev() {
            order.swap(last, random(last + 1));
        }
        let order = Order::Turns { order, next: 0, round: 0 };
        Schedule::with(order, vec![None], reconnect, Random(Box::new(random)))
    }

    /// A schedule by preference, the first one first; `random` decides each attempt's extra.
    ///
    /// # Panics
    /// When there is no upstream.
    pub fn by_preference(
        upstreams: usize,
        reconnect: Option<Duration>,
        random: impl FnMut(usize) -> usize + Send + 'static,
    ) -> Schedule {
        assert!(upstreams > 0, "a stream has an upstream");
        let lasts = vec![None; upstreams];
        let order = Order::Preference { failed: vec![None; upstreams] };
        Schedule::with(order, lasts, reconnect, Random(Box::new(random)))
    }

    fn with(
        order: Order,
        lasts: Vec<Option<Last>>,
        reconnect: Option<Duration>,
        random: Random,
    ) -> Schedule {
        let reconnect = reconnect.map(|reconnect| reconnect.max(RECONNECT_MIN));
        Schedule { order, reconnect, random, lasts }
    }

    /// Begins an attempt; answers the number of the upstream to try.
    pub fn attempt(&mut self, now: Instant) -> usize {
        let upstream = match &mut self.order {
            Order::Turns { order, next, round } => {
                *round = round.saturating_sub(1);
                let upstream = order[*next];
                *next = (*next + 1) % order.len();
                upstream
            }
            Order::Preference { .. } => {
                self.best(self.lasts.len(), now).map_or(0, |(best, _)| best)
            }
        };
        self.begin(upstream, now);
        upstream
    }

    /// Begins an attempt on one that is preferred to `upstream`, which is in use; answers its
    /// number, if it is time.
    pub fn attempt_better(&mut self, upstream: usize, now: Instant) -> Option<usize> {
        let (best, _) = self.better(upstream, now).filter(|(_, due)| *due <= now)?;
        self.begin(best, now);
        Some(best)
    }

    fn begin(&mut self, upstream: usize, now: Instant) {
        let reconnect = self.reconnect.unwrap_or_default();
        let most = (reconnect / RECONNECT_EXTRA_DIVISOR).as_micros();
        let below = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
        let extra = u64::try_from((self.random.0)(below)).unwrap_or(0);
        let last = Last { earliest: now + reconnect, extra: Duration::from_micros(extra) };
        *self.last(upstream) = Some(last);
    }

    fn last(&mut self, upstream: usize) -> &mut Option<Last> {
        let of_all = self.lasts.len() == 1;
        &mut self.lasts[if of_all { 0 } else { upstream }]
    }

    /// The last attempt on an upstream failed. If that took longer than `reconnect`, chance counts
    /// from now on: all nodes that wait for the same timeout of the same upstream come to its end
    /// in step.
    pub fn failed(&mut self, upstream: usize, now: Instant) {
        self.is_of_no_use(upstream, now);
        if let Some(last) = self.last(upstream) {
            last.earliest = last.earliest.max(now);
        }
    }

    /// The connection to an upstream that an attempt led to has ended. After longer than
    /// `reconnect`, nothing is left to chance.
    pub fn lost(&mut self, upstream: usize, now: Instant) {
        self.end_round();
        if let Order::Preference { failed } = &mut self.order {
            failed[upstream] = None;
        }
        if let Some(last) = self.last(upstream)
            && last.earliest <= now
        {
            last.extra = Duration::ZERO;
        }
    }

    /// The same of one that was there, and sent nothing to watch: others are tried before it.
    pub fn left(&mut self, upstream: usize, now: Instant) {
        self.lost(upstream, now);
        self.is_of_no_use(upstream, now);
    }

    fn is_of_no_use(&mut self, upstream: usize, now: Instant) {
        if let Order::Preference { failed } = &mut self.order {
            failed[upstream] = Some(now);
        }
    }

    /// Somebody wants what nobody wanted: a round begins, if an attempt is due. One that was begun
    /// just now goes on.
    pub fn begin_round(&mut self, now: Instant) {
        if self.due(now).is_none_or(|due| due > now) {
            self.end_round();
            return;
        }
        match &mut self.order {
            Order::Turns { order, round, .. } => {
                let rested = self.lasts[0].is_none_or(|last| last.earliest + last.extra <= now);
                if *round == 0 || self.reconnect.is_some() && rested {
                    *round = order.len();
                }
            }
            Order::Preference { failed } => {
                // Not one that was tried just now.
                let rests = self.reconnect.is_some();
                for (last, failed) in self.lasts.iter_mut().zip(failed) {
                    if rests && last.is_some_and(|last| last.earliest + last.extra <= now) {
                        (*last, *failed) = (None, None);
                    }
                }
            }
        }
    }

    /// Whether there is nobody left to be tried without a wait.
    pub fn is_round_over(&self) -> bool {
        match self.order {
            Order::Turns { round, .. } => round == 0,
            Order::Preference { .. } => self.lasts.iter().all(Option::is_some),
        }
    }

    /// The connection has been let go of, through no fault of the upstream's: the next attempt
    /// waits for nothing.
    pub fn rest(&mut self) {
        self.lasts.fill(None);
        if let Order::Preference { failed } = &mut self.order {
            failed.fill(None);
        }
        self.end_round();
    }

    fn end_round(&mut self) {
        if let Order::Turns { round, .. } = &mut self.order {
            *round = 0;
        }
    }

    /// When the next attempt is due; `None`: never. An instant that has passed: at once.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.best(self.lasts.len(), now).map(|(_, due)| due)
    }

    /// When one that is preferred to `upstream` is due to be tried while that is in use.
    pub fn due_better(&self, upstream: usize, now: Instant) -> Option<Instant> {
        self.better(upstream, now).map(|(_, due)| due)
    }

    fn better(&self, upstream: usize, now: Instant) -> Option<(usize, Instant)> {
        let better = if let Order::Preference { .. } = self.order { upstream } else { 0 };
        self.best(better, now)
    }

    /// Of the first so many: the first that may be tried now and has not failed, the one of those
    /// that has failed first, or else whichever may be tried first; and when.
    fn best(&self, first: usize, now: Instant) -> Option<(usize, Instant)> {
        let in_round = matches!(self.order, Order::Turns { round, .. } if round > 0);
        let dues = self.lasts[..first].iter().enumerate().filter_map(|(number, last)| {
            let due = match (last, self.reconnect) {
                (None, _) => now,
                _ if in_round => now,
                (Some(last), Some(_)) => last.earliest + last.extra,
                (Some(_), None) => return None,
            };
            Some((number, due))
        });
        let failed = |number: usize| match &self.order {
            Order::Turns { .. } => None,
            Order::Preference { failed } => failed[number],
        };
        dues.min_by_key(|(number, due)| ((*due).max(now), failed(*number)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECONNECT: Duration = Duration::from_secs(10);
    const TEN: Option<Duration> = Some(RECONNECT);

    fn seeded(upstreams: usize, reconnect: Option<Duration>, seed: u64) -> Schedule {
        let mut random = fastrand::Rng::with_seed(seed);
        Schedule::new(upstreams, reconnect, move |below| random.usize(..below))
    }

    #[test]
    fn the_deadline_counts_from_the_beginning_of_the_last_attempt() {
        let start = Instant::now();
        let mut schedule = Schedule::new(1, TEN, |_| 0);
        assert_eq!(schedule.due(start), Some(start));
        schedule.attempt(start);
        let long_after = start + Duration::from_hours(1);
        assert_eq!(schedule.due(long_after), Some(start + RECONNECT));
    }

    #[test]
    fn chance_adds_a_fifth_at_most() {
        let start = Instant::now();
        let mut schedule = Schedule::new(1, TEN, |below| below - 1);
        schedule.attempt(start);
        assert_eq!(schedule.due(start), Some(start + Duration::from_secs(12)));
    }

    #[test]
    fn after_an_upstream_that_was_up_for_longer_there_is_no_wait() {
        let start = Instant::now();
        let after = |time| {
            let mut schedule = Schedule::new(1, TEN, |below| below - 1);
            schedule.attempt(start);
            schedule.lost(0, start + time);
            schedule.due(start + time).unwrap()
        };
        for time in [RECONNECT, Duration::from_secs(11), Duration::from_hours(1)] {
            assert!(after(time) <= start + time, "{time:?}");
        }
        let soon = Duration::from_millis(9999);
        assert_eq!(after(soon), start + Duration::from_secs(12), "it was not up for longer");
    }

    #[test]
    fn after_an_attempt_that_failed_late_chance_counts_from_its_end() {
        let start = Instant::now();
        for (took, due) in [(0, 12), (9, 12), (10, 12), (30, 32)] {
            let mut schedule = Schedule::new(1, TEN, |below| below - 1);
            schedule.attempt(start);
            schedule.failed(0, start + Duration::from_secs(took));
            assert_eq!(schedule.due(start), Some(start + Duration::from_secs(due)), "{took}");
        }
    }

    #[test]
    fn without_reconnect_there_is_one_attempt() {
        let now = Instant::now();
        let mut schedule = Schedule::new(3, None, |_| 0);
        assert!(schedule.due(now).is_some());
        schedule.attempt(now);
        assert_eq!(schedule.due(now), None);
        schedule.failed(0, now);
        schedule.lost(0, now);
        assert_eq!(schedule.due(now), None);
    }

    #[test]
    fn a_tiny_reconnect_is_no_busy_loop() {
        let now = Instant::now();
        let mut schedule = Schedule::new(1, Some(Duration::from_nanos(1)), |_| 0);
        schedule.attempt(now);
        assert_eq!(schedule.due(now), Some(now + RECONNECT_MIN));
    }

    /// Of a thousand nodes whose upstream went at one instant, and refuses or does not answer for
    /// 30 s ever since, few try at the same time.
    #[test]
    fn many_nodes_do_not_come_back_in_step() {
        const NODES: u64 = 1000;
        let lost = Instant::now();
        for took in [Duration::ZERO, Duration::from_secs(30)] {
            let mut nodes: Vec<_> = (0..NODES).map(|seed| seeded(1, TEN, seed)).collect();
            let mut at = vec![lost; nodes.len()];
            for attempt in 0..5 {
                for (schedule, at) in nodes.iter_mut().zip(&mut at) {
                    schedule.attempt(*at);
                    schedule.failed(0, *at + took);
                    *at = schedule.due(*at).unwrap();
                }
                let mut sorted = at.clone();
                sorted.sort_unstable();
                let window = Duration::from_millis(100);
                let within = |first: &Instant| {
                    sorted.iter().filter(|&at| at >= first && *at < *first + window).count()
                };
                let most = sorted.iter().map(within).max().unwrap();
                // Evenly spread over the 2 s of a fifth, 50 begin in the window.
                assert!(most < 100, "{most} of {NODES} in {window:?} after attempt {attempt}");
            }
        }
    }

    #[test]
    fn by_preference_the_first_that_may_be_tried_is() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut schedule = Schedule::by_preference(3, TEN, |_| 0);
        // Nothing is known: one after the other, at once.
        for upstream in 0..3 {
            assert_eq!(schedule.due(at(0)), Some(at(0)));
            assert_eq!(schedule.attempt(at(0)), upstream);
            schedule.failed(upstream, at(0));
        }
        assert_eq!(schedule.due(at(0)), Some(at(10)), "all were tried");
        assert_eq!(schedule.attempt(at(10)), 0);
        schedule.failed(0, at(12));
        assert_eq!(schedule.attempt(at(12)), 1);
        // It is in use: the first is tried again when it is due, and nothing that is worse.
        assert_eq!(schedule.due_better(1, at(12)), Some(at(20)));
        assert_eq!(schedule.attempt_better(1, at(19)), None);
        assert_eq!(schedule.attempt_better(1, at(20)), Some(0));
        schedule.failed(0, at(21));
        assert_eq!(schedule.due_better(1, at(21)), Some(at(30)));
        assert_eq!(schedule.due_better(0, at(30)), None, "there is none better");
        // It is lost: the third has waited for long enough, the others have not.
        schedule.lost(1, at(21));
        assert_eq!((schedule.due(at(21)), schedule.attempt(at(21))), (Some(at(10)), 2));
        schedule.failed(0, at(21));
        assert_eq!(schedule.due(at(21)), Some(at(22)));
        assert_eq!(schedule.attempt(at(22)), 1);
    }

    #[test]
    fn in_turn_none_is_better() {
        let now = Instant::now();
        let mut schedule = seeded(3, TEN, 1);
        schedule.attempt(now);
        assert_eq!(schedule.due_better(2, now + RECONNECT), None);
        assert_eq!(schedule.attempt_better(2, now + RECONNECT), None);
    }

    /// Two that take longer than `reconnect` to fail do not keep the third from its turn.
    #[test]
    fn by_preference_who_fails_slowly_keeps_nobody_from_his_turn() {
        let (start, timeout) = (Instant::now(), 3 * RECONNECT);
        let mut schedule = Schedule::by_preference(3, TEN, |_| 0);
        let mut tried = Vec::new();
        let mut at = start;
        for _ in 0..6 {
            at = at.max(schedule.due(at).unwrap());
            let upstream = schedule.attempt(at);
            at += timeout;
            schedule.failed(upstream, at);
            tried.push(upstream);
        }
        assert_eq!(tried, [0, 1, 2, 0, 1, 2]);
        // One that was in use for long and has ended is no worse for that.
        assert_eq!(schedule.attempt(at), 0);
        schedule.lost(0, at + timeout);
        assert_eq!(schedule.attempt(at + timeout), 0);
    }

    /// One that was there for long and is of no use any more is no place to go back to at once.
    #[test]
    fn by_preference_others_are_tried_before_the_one_that_was_left() {
        let start = Instant::now();
        let mut schedule = Schedule::by_preference(2, TEN, |_| 0);
        assert_eq!(schedule.attempt(start), 0);
        let left = start + 6 * RECONNECT;
        schedule.left(0, left);
        assert_eq!((schedule.due(left), schedule.attempt(left)), (Some(left), 1));
        // In the background it may be tried again, and it is all that there is to go to.
        assert_eq!(schedule.due_better(1, left).map(|due| due <= left), Some(true));
        schedule.failed(1, left);
        assert_eq!((schedule.due(left), schedule.attempt(left)), (Some(start + RECONNECT), 0));
        // In turn the next one is next anyway.
        let mut schedule = Schedule::new(2, TEN, |_| 1);
        assert_eq!(schedule.attempt(start), 0);
        schedule.left(0, left);
        assert!(schedule.due(left).is_some_and(|due| due <= left), "nothing is left to chance");
        assert_eq!(schedule.attempt(left), 1);
    }

    /// Who comes and goes again and again has nobody tried more often than once in `reconnect`.
    #[test]
    fn a_round_that_nobody_waited_for_goes_on_and_does_not_begin_anew() {
        let start = Instant::now();
        let in_turn = Schedule::new(3, TEN, |_| 0);
        for mut schedule in [in_turn, Schedule::by_preference(3, TEN, |_| 0)] {
            let mut tried = Vec::new();
            for _ in 0..6 {
                schedule.begin_round(start);
                if schedule.due(start).is_some_and(|due| due <= start) {
                    tried.push(schedule.attempt(start));
                    schedule.failed(tried[tried.len() - 1], start);
                }
            }
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 2], "each once");
            // Long after that another one begins, also where one has not come to its end.
            for round in 1..3_u32 {
                let later = start + round * 2 * RECONNECT;
                schedule.begin_round(later);
                for _ in 0..2 {
                    assert!(!schedule.is_round_over() && schedule.due(later) <= Some(later));
                    let upstream = schedule.attempt(later);
                    schedule.failed(upstream, later);
                }
            }
            let later = start + 10 * RECONNECT;
            schedule.begin_round(later);
            let all = std::iter::from_fn(|| {
                let due = schedule.due(later).is_some_and(|due| due <= later);
                due.then(|| {
                    let upstream = schedule.attempt(later);
                    schedule.failed(upstream, later);
                    upstream
                })
            });
            let mut all: Vec<_> = all.take(9).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
    }

    #[test]
    fn who_is_waited_for_is_tried_in_rounds() {
        let start = Instant::now();
        let mut schedule = Schedule::new(3, TEN, |_| 0);
        schedule.begin_round(start);
        let tried: Vec<_> = (0..3)
            .map(|_| {
                assert_eq!((schedule.due(start), schedule.is_round_over()), (Some(start), false));
                schedule.attempt(start)
            })
            .collect();
        assert_eq!(tried, [1, 2, 0], "each once");
        assert!(schedule.is_round_over());
        let next = start + RECONNECT;
        assert_eq!(schedule.due(start), Some(next), "then it waits");
        // Who comes before that begins no other round.
        schedule.begin_round(start + Duration::from_secs(9));
        assert!(schedule.is_round_over());
        assert_eq!(schedule.due(start), Some(next));
        schedule.begin_round(next);
        assert_eq!((schedule.attempt(next), schedule.due(next)), (1, Some(next)));
        // One that was found and lost is no part of a round.
        schedule.lost(0, next);
        assert_eq!(schedule.due(next), Some(next + RECONNECT));
        // Nobody's fault, and nothing to wait for.
        schedule.rest();
        assert_eq!((schedule.due(next), schedule.is_round_over()), (Some(next), true));
    }

    proptest! {
        #[test]
        fn every_upstream_has_its_turn(n in 1_usize..20, seed in any::<u64>()) {
            let now = Instant::now();
            let mut schedule = seeded(n, TEN, seed);
            let first: Vec<usize> = (0..n).map(|_| schedule.attempt(now)).collect();
            let second: Vec<usize> = (0..n).map(|_| schedule.attempt(now)).collect();
            prop_assert_eq!(&first, &second, "round-robin");
            let mut sorted = first;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn the_next_attempt_is_due_in_its_time_and_stays_so(
            seed in any::<u64>(),
            reconnect in 1_u64..100_000,
            took in 0_u64..200_000,
            failed in any::<bool>(),
        ) {
            let reconnect = Duration::from_millis(reconnect);
            let took = Duration::from_millis(took);
            let mut schedule = seeded(1, Some(reconnect), seed);
            let start = Instant::now();
            schedule.attempt(start);
            let end = start + took;
            if failed { schedule.failed(0, end) } else { schedule.lost(0, end) }
            let due = schedule.due(end).unwrap();
            let reconnect = reconnect.max(RECONNECT_MIN);
            let contract = start + reconnect;
            prop_assert!(due >= contract);
            if took < reconnect {
                prop_assert!(due <= contract + reconnect / 5);
            } else if failed {
                prop_assert!(due >= end && due <= end + reconnect / 5);
            } else {
                prop_assert!(due <= end, "at once");
            }
            prop_assert_eq!(schedule.due(due + reconnect), Some(due), "stable");
        }

        #[test]
        fn two_nodes_drift_apart(one in any::<u64>(), other in any::<u64>()) {
            prop_assume!(one != other);
            let start = Instant::now();
            let dues = |seed| {
                let mut schedule = seeded(1, TEN, seed);
                let mut at = start;
                let mut next = || {
                    schedule.attempt(at);
                    schedule.failed(0, at);
                    at = schedule.due(at).unwrap();
                    at
                };
                std::array::from_fn::<_, 20, _>(|_| next())
            };
            let (one, other) = (dues(one), dues(other));
            let in_step = one.iter().zip(&other).filter(|(one, other)| one == other).count();
            prop_assert!(in_step <= 1, "{in_step} of 20 at the same microsecond");
        }
    }
}
