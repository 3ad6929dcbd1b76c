//! The turn: everything a worker does for its guests and viewers, and how often.

use std::time::{Duration, Instant};

use slog::error;

use super::handoff::Command;
use super::token::Token;
use super::{Worker, watch};
use crate::config::TurnPeriod;
use crate::limits::{
    GUESTS_FOR_DESCRIPTORS, INTAKE_BYTES_PER_TURN, INTAKE_BYTES_PER_TURN_MAX, INTAKE_WINDOW,
    PERIOD_COST_FACTOR, PERIOD_HURRY_MIN, SEND_LIVE_TIME_MAX, STEER_INTERVAL,
};
use crate::viewer::Connection;
use crate::viewer::allowance::Allowance;
use crate::viewer::asking::Asking;

/// When the next turn is due.
#[derive(Debug)]
pub struct Period {
    mode: TurnPeriod,
    length: Duration,
    due: Instant,
    /// When the last turn began.
    began: Instant,
    intake: Intake,
}

impl Period {
    /// The first turn is due at `now`.
    pub fn new(mode: TurnPeriod, now: Instant) -> Period {
        let (TurnPeriod::Adaptive { min: length, .. } | TurnPeriod::Fixed(length)) = mode;
        Period { mode, length, due: now, began: now, intake: Intake::default() }
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
        self.intake.took(intake, began.saturating_duration_since(self.began));
        self.began = began;
        self.length = match self.mode {
            TurnPeriod::Adaptive { min, max } => {
                adapted((took * PERIOD_COST_FACTOR).clamp(min, max), min, self.intake)
            }
            TurnPeriod::Fixed(length) => length,
        };
        self.due = began + if undone { PERIOD_HURRY_MIN } else { self.length };
    }
}

/// How fast the upstream comes that brings most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Intake {
    bytes_per_second: f64,
}

impl Intake {
    /// Takes note of so many bytes that came in so much time.
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    fn took(&mut self, bytes: usize, time: Duration) {
        let before = self.bytes_per_second * INTAKE_WINDOW.as_secs_f64();
        let over = (INTAKE_WINDOW + time).as_secs_f64();
        self.bytes_per_second = (before + bytes as f64) / over;
    }

    /// The time in which so many bytes come.
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    fn time_of(self, bytes: usize) -> Duration {
        let seconds = bytes as f64 / self.bytes_per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// The period that suits both what turns cost and what comes in. By its cost it is short when idle
/// and longer under load (a large chunk costs each viewer less than two small ones), but it is not
/// so long that chunks become larger than pays, unless `min` says so, nor that an upstream fills
/// the kernel's buffers, whatever `min` says.
fn adapted(by_cost: Duration, min: Duration, intake: Intake) -> Duration {
    let pays = intake.time_of(INTAKE_BYTES_PER_TURN).max(min);
    let fits = intake.time_of(INTAKE_BYTES_PER_TURN_MAX).max(PERIOD_HURRY_MIN);
    by_cost.min(pays).min(fits)
}

/// What a worker has told last of what its viewers ask for.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    at: Instant,
    viewers: usize,
}

impl Told {
    /// Nothing is asked for at `now`.
    pub fn new(now: Instant) -> Told {
        Told { at: now, viewers: 0 }
    }

    /// Whether it is to be told anew, which it then is: now and then, for bitrates change, and
    /// whenever somebody has come or gone. Who is told of later than those of other workers is
    /// missing in one load alone, and that worker is sent all who come next; and in a turn without
    /// data, of which there may be no other one for long, nothing else changes.
    fn is_old(&mut self, viewers: usize, now: Instant) -> bool {
        let is_old = now.saturating_duration_since(self.at) >= STEER_INTERVAL;
        if is_old {
            self.at = now;
        }
        std::mem::replace(&mut self.viewers, viewers) != viewers || is_old
    }
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
        let (intake, mut waiting) = self.send_live(&mut streams, now);
        self.heed_commands(now);
        self.accept(now);
        self.serve_guests(now);
        self.attend(now);
        // Streams that somebody has joined meanwhile, or whose upstream has answered.
        let mut late = self.streams.take_marked();
        let (of_late, mut waiting_late) = self.send_live(&mut late, now);
        streams.append(&mut late);
        waiting.append(&mut waiting_late);
        self.counts.stream_turns(streams.len());
        let undone = self.catch_up(streams, now) || !waiting.is_empty();
        self.streams.mark_first(waiting);
        let took = now.elapsed();
        self.period.turned(now, took, intake.max(of_late), undone);
        self.counts.turned(took);
        self.counts.has(self.streams.count(), self.streams.viewers());
        self.counts.guests(self.guests.len());
        self.counts.turned_out(self.guests.take_turned_out());
        self.tell_demand(now);
    }

    /// Tells what the viewers ask of this worker.
    fn tell_demand(&mut self, now: Instant) {
        if self.told.is_old(self.streams.viewers(), now) {
            self.board.demands(self.number, self.streams.demand(now));
        }
    }

    /// Has streams send to who is live. Answers the most that one upstream brought, and takes out
    /// of the list those for which a turn has no time: everybody else waits for this one, and they
    /// are the first in the next.
    fn send_live(&mut self, streams: &mut Vec<usize>, now: Instant) -> (usize, Vec<usize>) {
        let (mut intake, mut served, mut began) = (0, 0, Instant::now());
        for &number in streams.iter() {
            served += 1;
            // One that was given away has left a mark.
            let Some(stream) = self.streams.get_mut(number) else { continue };
            intake = intake.max(stream.send_live(&mut self.trunk, now));
            began = self.spent(number, began);
            if began.duration_since(now) > SEND_LIVE_TIME_MAX {
                break;
            }
        }
        (intake, streams.split_off(served))
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
        let (mut began, mut sent, mut chunks) = (Instant::now(), 0, 0);
        let mut rerouted = Vec::new();
        let again = share(&streams, &mut Allowance::of_a_turn(), |number, allowance| {
            self.streams.unmark(number);
            let Some(stream) = self.streams.get_mut(number) else { return false };
            let more = stream.catch_up(allowance, now);
            sent += stream.take_sent();
            chunks += stream.viewers() as u64;
            rerouted.extend(stream.is_rerouted().then_some(number));
            self.streams.settle(number, now);
            began = self.spent(number, began);
            more
        });
        self.counts.sent(sent);
        self.board.turned(self.number, chunks, sent);
        self.streams.reuse(streams);
        for &number in &again {
            self.streams.mark(number);
        }
        for number in rerouted {
            self.feed_others(number);
        }
        !again.is_empty()
    }

    /// Turns out guests, so that connections can be accepted: ours, or the others' if we have none.
    fn free_descriptors(&mut self) {
        if self.guests.free_descriptors(GUESTS_FOR_DESCRIPTORS) {
            self.listeners.resume();
            return;
        }
        let guests = GUESTS_FOR_DESCRIPTORS.div_ceil(self.workers.len());
        for (_, worker) in self.others() {
            // One with a full queue has other troubles; the next one may have guests.
            let _full = worker.hand_over(Command::FreeDescriptors { guests });
        }
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
        if accepted.out_of_descriptors {
            self.free_descriptors();
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
        for (mbits, took, min, milliseconds) in [
            (10, 15, 5, 60.0),
            // 128 KiB in a turn.
            (60, 15, 5, 17.48),
            (60, 3, 5, 12.0),
            (150, 15, 5, 6.99),
            // Not shorter than is configured, as long as the kernel holds it: 160 KiB in a turn.
            (60, 15, 20, 20.0),
            (60, 15, 40, 21.85),
            (400, 15, 5, 3.28),
            (10_000, 15, 5, 1.0),
        ] {
            let mut now = Instant::now();
            let mode = TurnPeriod::Adaptive { min: MS(min), max: MS(60) };
            let mut period = Period::new(mode, now);
            for turn in 0..1000 {
                let time = period.due() - now;
                now += time;
                let intake = usize::try_from(time.as_micros()).unwrap() * mbits / 8;
                period.turned(now, MS(took), intake, false);
                let length = (period.due() - now).as_secs_f64() * 1000.0;
                let told = format!("{mbits} Mbit/s, {took} ms, at least {min}: {length} ms");
                // It has come to rest: what one turn brings changes nothing any more.
                assert!(turn < 900 || (length / milliseconds - 1.0).abs() < 0.01, "{told}");
            }
        }
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

    #[test]
    fn who_comes_and_goes_is_told_of_at_once_and_the_rest_now_and_then() {
        let start = Instant::now();
        let mut told = Told::new(start);
        let period = STEER_INTERVAL / 4;
        for (turn, viewers, is_old) in [
            (0, 0, false),
            (1, 7, true),
            (2, 7, false),
            (3, 5, true),
            (4, 5, true),
            (5, 5, false),
            (6, 0, true),
            (7, 0, false),
            (8, 1, true),
            (11, 1, false),
            (12, 1, true),
        ] {
            let of = told.is_old(viewers, start + period * turn);
            assert_eq!(of, is_old, "{viewers} in turn {turn}");
        }
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
