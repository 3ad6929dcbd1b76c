//! The turn: everything a worker does for its guests and viewers, and how often.

use std::time::{Duration, Instant};

use slog::error;

use super::token::Token;
use super::{Worker, watch};
use crate::config::TurnPeriod;
use crate::limits::{FEED_TIME_MAX, INTAKE_BYTES_PER_TURN, PERIOD_COST_FACTOR, PERIOD_HURRY_MIN};
use crate::viewer::Connection;
use crate::viewer::allowance::Allowance;
use crate::viewer::asking::Asking;

/// When the next turn is due.
#[derive(Debug)]
pub struct Period {
    mode: TurnPeriod,
    length: Duration,
    due: Instant,
}

impl Period {
    /// The first turn is due at `now`.
    pub fn new(mode: TurnPeriod, now: Instant) -> Period {
        let (TurnPeriod::Adaptive { min: length, .. } | TurnPeriod::Fixed(length)) = mode;
        Period { mode, length, due: now }
    }

    /// Whether it is what was configured, whatever comes.
    pub fn is_fixed(&self) -> bool {
        matches!(self.mode, TurnPeriod::Fixed(_))
    }

    /// When the next turn is due; the past: at once.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Takes note of a turn: when it began, what it took, the most that one upstream brought, and
    /// whether it left something undone because somebody's share was used up.
    pub fn turned(&mut self, began: Instant, took: Duration, intake: usize, undone: bool) {
        self.length = match self.mode {
            TurnPeriod::Adaptive { min, max } => {
                adapted(self.length, (took * PERIOD_COST_FACTOR).clamp(min, max), intake)
            }
            TurnPeriod::Fixed(length) => length,
        };
        self.due = began + if undone { PERIOD_HURRY_MIN } else { self.length };
    }
}

/// The period after one of `length`. By the cost of its turn it is short when idle and longer under
/// load (a large chunk costs each viewer less than two small ones), but it is not so long that an
/// upstream fills the kernel's buffers.
fn adapted(length: Duration, by_cost: Duration, intake: usize) -> Duration {
    if intake <= INTAKE_BYTES_PER_TURN {
        return by_cost;
    }
    let share = u32::try_from(intake.div_ceil(INTAKE_BYTES_PER_TURN)).unwrap_or(u32::MAX);
    by_cost.min((length / share).max(PERIOD_HURRY_MIN))
}

/// Shares an allowance out among streams: `serve` takes from it and answers whether there is more
/// to do. Answers the streams with more to do, those that had nothing first.
fn share(
    streams: &[usize],
    allowance: &mut Allowance,
    mut serve: impl FnMut(usize, &mut Allowance) -> bool,
) -> Vec<usize> {
    let (mut starved, mut served) = (Vec::new(), Vec::new());
    for &stream in streams {
        let of = if allowance.is_spent() { &mut starved } else { &mut served };
        if serve(stream, allowance) {
            of.push(stream);
        }
    }
    starved.append(&mut served);
    starved
}

impl Worker {
    /// One turn: every marked stream sends to who is live, connections are taken in and guests
    /// answered, and then those are served who are catching up. Whatever a storm of joins takes,
    /// live viewers wait for one turn's share of it at most.
    pub(super) fn turn(&mut self, now: Instant) {
        let mut streams = self.streams.take_marked();
        let (intake, mut unfed) = self.feed(&mut streams, now);
        self.heed_commands(now);
        self.accept(now);
        self.serve_guests(now);
        // Streams that somebody has joined meanwhile, or whose upstream has answered.
        let mut late = self.streams.take_marked();
        let (of_late, mut unfed_late) = self.feed(&mut late, now);
        streams.append(&mut late);
        unfed.append(&mut unfed_late);
        self.counts.stream_turns(streams.len());
        let undone = self.catch_up(streams, now) || !unfed.is_empty();
        self.streams.mark_first(unfed);
        let took = now.elapsed();
        self.period.turned(now, took, intake.max(of_late), undone);
        self.counts.turned(took);
        self.counts.has(self.streams.count(), self.streams.viewers());
        self.counts.guests(self.guests.len());
        self.counts.turned_out(self.guests.take_turned_out());
        if self.stopping.is_some() {
            // Who has its answer is not asked what else it wants.
            self.guests.dismiss();
        }
    }

    /// Has streams send to who is live. Answers the most that one upstream brought, and takes out of
    /// the list those for which a turn has no time: everybody else waits for this one, and they are
    /// the first in the next.
    fn feed(&mut self, streams: &mut Vec<usize>, now: Instant) -> (usize, Vec<usize>) {
        let (mut intake, mut fed, mut began) = (0, 0, Instant::now());
        for &number in streams.iter() {
            fed += 1;
            // One that was given away has left a mark.
            let Some(stream) = self.streams.get_mut(number) else { continue };
            intake = intake.max(stream.feed(&mut self.trunk, now));
            began = self.spent(number, began);
            if began.duration_since(now) > FEED_TIME_MAX {
                break;
            }
        }
        (intake, streams.split_off(fed))
    }

    /// Counts what has been done for a stream since `began`; answers when that was.
    fn spent(&self, number: usize, began: Instant) -> Instant {
        let at = Instant::now();
        self.board.spent(number, at.duration_since(began));
        at
    }

    /// Serves viewers who are catching up, and marks the streams with more to do. Answers whether
    /// there are any.
    fn catch_up(&mut self, streams: Vec<usize>, now: Instant) -> bool {
        let (mut began, mut sent) = (Instant::now(), 0);
        let again = share(&streams, &mut Allowance::of_a_turn(), |number, allowance| {
            self.streams.unmark(number);
            let Some(stream) = self.streams.get_mut(number) else { return false };
            let more = stream.catch_up(allowance, now);
            sent += stream.take_sent();
            self.streams.settle(number, now);
            began = self.spent(number, began);
            more
        });
        self.counts.sent(sent);
        self.streams.reuse(streams);
        for &number in &again {
            self.streams.mark(number);
        }
        !again.is_empty()
    }

    fn accept(&mut self, now: Instant) {
        let accepted = self.listeners.accept(now);
        self.counts.accepted(accepted.connections.len() as u64);
        if accepted.failed {
            self.counts.accept_error();
        }
        if let Some(why) = accepted.complaint {
            error!(self.log, "connections cannot be accepted: {why}";
                "event" => "error", "error" => "accept");
        }
        // Who came just now has not been heard yet: it is one of those before who goes.
        if accepted.out_of_descriptors && self.guests.free_descriptors() {
            self.listeners.resume();
        }
        for (socket, peer) in accepted.connections {
            if !self.arrival.takes(peer.ip()) {
                self.counts.proxy_error();
                continue;
            }
            let key = self.guests.reserve();
            match watch(self.poll.registry(), &socket, Token::Guest(key)) {
                Ok(()) => {
                    let connection = Connection::new(socket, peer);
                    let asking = Asking::new(connection, self.arrival.proxy_protocol);
                    self.guests.enter(key, asking, now);
                }
                Err(_out_of_watches) => self.counts.accept_error(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::CATCH_UP_WORK_BYTES_PER_TURN;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn short_when_idle_and_longer_under_load_within_its_bounds() {
        let now = Instant::now();
        let table = [
            ((5, 60), [(0, 5), (1, 5), (2, 8), (10, 40), (15, 60), (500, 60)]),
            ((1, 100), [(0, 1), (1, 4), (2, 8), (10, 40), (25, 100), (500, 100)]),
            ((20, 20), [(0, 20), (1, 20), (5, 20), (6, 20), (15, 20), (500, 20)]),
        ];
        for ((min, max), turns) in table {
            let mut period = Period::new(TurnPeriod::Adaptive { min: MS(min), max: MS(max) }, now);
            for (took, length) in turns {
                period.turned(now, MS(took), 0, false);
                assert_eq!(period.due(), now + MS(length), "{took} ms of {min} to {max}");
            }
        }
    }

    #[test]
    fn shorter_when_an_upstream_brings_much() {
        // 400 Mbit/s bring 1 MB in 20 ms: 8 times too much.
        assert_eq!(adapted(MS(20), MS(20), 1_000_000), MS(20) / 8);
        assert_eq!(adapted(MS(60), MS(60), 200_000), MS(30));
        assert_eq!(adapted(MS(5), MS(5), 10_000_000), PERIOD_HURRY_MIN);
        assert_eq!(adapted(MS(60), MS(60), 100_000), MS(60), "20 Mbit/s in 40 ms do not");
    }

    #[test]
    fn a_fixed_period_is_fixed() {
        let now = Instant::now();
        let mut period = Period::new(TurnPeriod::Fixed(MS(20)), now);
        period.turned(now, MS(100), usize::MAX, false);
        assert_eq!(period.due(), now + MS(20));
        period.turned(now, MS(100), 0, true);
        assert_eq!(period.due(), now + PERIOD_HURRY_MIN, "shares are a turn's, not a period's");
    }

    /// One turn of streams that want so many bytes: takes off what each had. Answers who had some.
    fn turn(order: &mut Vec<usize>, wanted: &mut [usize]) -> Vec<usize> {
        const CALL: usize = CATCH_UP_WORK_BYTES_PER_TURN / 10;
        let mut had = Vec::new();
        *order = share(order, &mut Allowance::of_a_turn(), |stream, allowance| {
            let before = wanted[stream];
            while wanted[stream] > 0 && !allowance.is_spent() {
                let bytes = wanted[stream].min(CALL);
                allowance.spend(bytes);
                wanted[stream] -= bytes;
            }
            had.extend((wanted[stream] < before).then_some(stream));
            wanted[stream] > 0
        });
        had
    }

    #[test]
    fn a_stream_that_had_nothing_is_first_in_the_next_turn() {
        const ALL: usize = CATCH_UP_WORK_BYTES_PER_TURN;
        let (mut order, mut wanted) = (vec![0, 1, 2, 3], [5 * ALL, 1, 2 * ALL, 1]);
        let turns: Vec<_> = (0..4).map(|_| turn(&mut order, &mut wanted)).collect();
        assert_eq!(turns, [vec![0], vec![1, 2], vec![3, 0], vec![2]]);
    }

    proptest! {
        #[test]
        fn no_stream_starves(wanted in prop::collection::vec(1..100_000_000_usize, 1..20)) {
            let mut wanted = wanted;
            let mut order: Vec<_> = (0..wanted.len()).collect();
            let mut waited = vec![0; wanted.len()];
            while !order.is_empty() {
                let before = order.clone();
                let had = turn(&mut order, &mut wanted);
                for stream in before {
                    waited[stream] = if had.contains(&stream) { 0 } else { waited[stream] + 1 };
                    prop_assert!(waited[stream] < wanted.len());
                }
            }
            prop_assert!(wanted.iter().all(|&left| left == 0));
        }
    }
}
