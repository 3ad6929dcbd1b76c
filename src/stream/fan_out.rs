//! Serving the viewers: live ones through the trunk, the others from the ring.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use restreamer_sys::socket::{pace, set_user_timeout};
use restreamer_sys::tcp_info::tcp_info;
use restreamer_sys::{Moved, file};
use slog::error;

use super::Stream;
use super::feed::{Fate, Feed};
use super::members::Served;
use super::resync::{Course, Resync};
use super::trunk::Trunk;
use crate::limits::{
    ENDING_TIMEOUT, HALF_CLOSED_TIMEOUT, LAG_BYTES_MAX, PERIOD_MAX, SLICES_MAX,
    UNACKNOWLEDGED_TIMEOUT, WRITTEN_VIEWERS_MAX,
};
use crate::metrics::StreamCounts;
use crate::ring::Position;
use crate::viewer::allowance::Allowance;
use crate::viewer::catching_up::{Came, CatchingUp};
use crate::viewer::live::Live;
use crate::viewer::stall::Verdict;
use crate::viewer::{Departure, State, Viewer};

impl Stream {
    /// Offers the chunk from `from` to `to` to every live viewer: by the trunk, in parts that fit
    /// it, or in writes where there are so few viewers that loading it does not pay.
    pub(super) fn fan_out(
        &mut self,
        trunk: &mut Trunk,
        from: Position,
        to: Position,
        now: Instant,
    ) {
        let written = self.members.live() <= WRITTEN_VIEWERS_MAX && !self.are_fed();
        let mut at = from;
        while at < to && (self.members.live() > 0 || self.are_fed()) {
            at = if written {
                self.write(at, to, now)
            } else {
                self.load_and_offer(trunk, at, to, now)
            };
        }
    }

    /// Writes a part of a chunk to every live viewer; answers where it ends.
    fn write(&mut self, from: Position, to: Position, now: Instant) -> Position {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = self.ring.slices(from, to, &mut slices);
        let slices = &slices[..used];
        let next = from.advanced(slices.iter().map(|slice| slice.len()).sum());
        let counts = &mut self.counts;
        let gone = self.members.each_live(|viewer| {
            let taken = file::write(viewer.connection.socket.as_fd(), slices);
            take(viewer, from, next, taken, counts)
        });
        self.let_go(gone, now);
        next
    }

    /// Loads the trunk with a part of a chunk and offers it to everybody; answers where it ends.
    fn load_and_offer(
        &mut self,
        trunk: &mut Trunk,
        from: Position,
        to: Position,
        now: Instant,
    ) -> Position {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = self.ring.slices(from, to, &mut slices);
        let loaded = match trunk.load(&slices[..used]) {
            Ok(loaded) => loaded,
            Err(why) => {
                // Short of kernel memory: nothing is lost, viewers get it from the ring.
                error!(self.log, "the trunk cannot be loaded: {why}";
                    "event" => "error", "error" => "trunk");
                0
            }
        };
        // With nothing loaded everybody falls back to the ring.
        let next = if loaded == 0 { to } else { from.advanced(loaded) };
        let counts = &mut self.counts;
        let gone = self.members.each_live(|viewer| {
            let taken = trunk.send(&viewer.connection.socket);
            take(viewer, from, next, taken, counts)
        });
        self.feeds.retain_mut(|feed| feed.offer(trunk, from, next) == Fate::Stays);
        self.let_go(gone, now);
        trunk.empty();
        next
    }

    /// Whether another worker is to get what comes.
    pub(super) fn are_fed(&self) -> bool {
        !self.feeds.is_empty()
    }

    /// Serves the feeds that are behind, or end.
    pub(super) fn serve_feeds(&mut self, allowance: &mut Allowance, now: Instant) -> Left {
        let counts = &mut self.counts;
        let limit = self.limit.bytes().max(LAG_BYTES_MAX);
        let fill = self.source.flowing();
        let mut resync = self.history.resync(self.slow, limit, fill, &self.ring);
        self.feeds
            .retain_mut(|feed| feed.catch_up(&mut resync, now, allowance, counts) == Fate::Stays);
        let head = self.ring.head();
        let unfinished = || self.feeds.iter().filter(|feed| !feed.is_level());
        let left = Left {
            again: unfinished().any(Feed::could_take_more),
            keep: unfinished().map(|feed| feed.lag(head)).max().unwrap_or(0),
        };
        if unfinished().next().is_some() {
            self.look_at_feeds_soon(now);
        }
        left
    }

    /// Without a turn before, feeds are looked at after the longest period that a worker has.
    pub(super) fn look_at_feeds_soon(&mut self, now: Instant) {
        if self.are_fed() {
            self.feeds_due.get_or_insert(now + PERIOD_MAX);
        }
    }

    /// Serves everybody who is not live, within what all together may have, and skips those who lag
    /// too far.
    pub(super) fn serve_waiting(&mut self, allowance: &mut Allowance, now: Instant) -> Left {
        let (ring, counts) = (&self.ring, &mut self.counts);
        let fill = self.source.flowing();
        let mut resync = self.history.resync(self.slow, self.limit.bytes(), fill, ring);
        let mut left = Left::default();
        let gone = self.members.each_waiting(|viewer| {
            let before = (counts.catching_up_bytes, counts.packets_dropped);
            let skipped = viewer.visit.packets_skipped;
            let served = match &viewer.state {
                State::Ending(_) => end(viewer, &resync, now, allowance, counts),
                _catching_up => catch_up(viewer, &mut resync, now, allowance, counts),
            };
            viewer.visit.bytes += counts.catching_up_bytes - before.0;
            viewer.visit.packets_skipped = skipped + counts.packets_dropped - before.1;
            let (blocked, position) = match &viewer.state {
                State::CatchingUp(state) => (state.is_blocked(), state.position()),
                State::Ending(state) => (state.is_blocked(), state.position()),
                State::Live(_) => return served,
            };
            if !matches!(served, Served::Gone(_)) {
                left.again |= !blocked;
                left.keep = left.keep.max(ring.head().since(position));
            }
            served
        });
        self.let_go(gone, now);
        left
    }

    fn let_go(&mut self, gone: Vec<(usize, Departure)>, now: Instant) {
        for (index, why) in gone {
            self.remove(index, why, now);
        }
    }

    /// Looks at every viewer whose socket is full (on pause, or gone?), and at those who have it
    /// all, have ended their side and were sent nothing since (listening, or gone?).
    pub(super) fn check_stalled(&mut self, now: Instant) {
        let mut silent = false;
        let last_chunk = self.last_chunk;
        let gone = self.members.each(|Viewer { connection, state, .. }| {
            let socket = connection.socket.as_fd();
            if let State::CatchingUp(state) = state
                && state.is_blocked()
                && !matches!(may_stay(state, socket), Ok(true))
            {
                return Some(Departure::Vanished);
            }
            if let (State::Live(_), Some(since)) = (&*state, connection.half_closed)
                && last_chunk <= since
            {
                silent = true;
                if now.saturating_duration_since(since) >= HALF_CLOSED_TIMEOUT {
                    return Some(Departure::Left);
                }
            }
            None
        });
        self.let_go(gone, now);
        if silent {
            self.check_soon(now);
        }
    }
}

/// Takes note of what a live viewer took of the bytes from `from` to `to`.
fn take(
    viewer: &mut Viewer,
    from: Position,
    to: Position,
    taken: io::Result<Moved>,
    counts: &mut StreamCounts,
) -> Option<Departure> {
    match taken {
        Ok(Moved::Ended) => Some(Departure::Left),
        Ok(taken) => {
            let reached = from.advanced(taken.count());
            counts.live_bytes += taken.count() as u64;
            viewer.visit.bytes += taken.count() as u64;
            counts.packets_sent += reached.packets_since(from);
            viewer.state = Live.offered(from, to, taken);
            None
        }
        Err(_broken) => Some(Departure::Vanished),
    }
}

/// What is left to do for those who are not live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Somebody could take more at once.
    pub(super) again: bool,
    /// Bytes before the head that somebody may still get.
    pub(super) keep: usize,
}

/// Serves one who is catching up, and has it judged when it lags too far because of its socket: who
/// has had to wait for its share of a turn has done nothing wrong, and may take what it lacks.
fn catch_up(
    viewer: &mut Viewer,
    resync: &mut Resync<'_>,
    now: Instant,
    allowance: &mut Allowance,
    counts: &mut StreamCounts,
) -> Served {
    let State::CatchingUp(state) = &mut viewer.state else {
        unreachable!("who is live does not wait")
    };
    let socket = &viewer.connection.socket;
    let ring = resync.ring;
    let starved = !state.is_blocked() && allowance.is_spent();
    match state.advance(socket, ring, ring.head(), allowance, counts) {
        Ok(Came::There) => {
            if state.stall.resume() {
                // Were this to fail, the connection is broken, and soon shows it.
                let _broken = limit_silence(socket.as_fd());
            }
            if state.is_paced() {
                // The same holds of this.
                let _broken = pace(socket.as_fd(), None);
            }
            viewer.state = State::Live(Live);
            Served::Share
        }
        Ok(Came::Part) => {
            match resync.judge(state) {
                Course::Stays => {}
                Course::GoesOn(landing) => {
                    state.skip(ring, landing, counts);
                }
                Course::Goes => {
                    viewer.end(Departure::TooSlow, ring, now + ENDING_TIMEOUT, counts);
                }
            }
            if starved { Served::Starved } else { Served::Share }
        }
        Ok(Came::Left) => Served::Gone(Departure::Left),
        Err(_broken) => Served::Gone(Departure::Vanished),
    }
}

/// Serves one who gets the rest.
fn end(
    viewer: &mut Viewer,
    resync: &Resync<'_>,
    now: Instant,
    allowance: &mut Allowance,
    counts: &mut StreamCounts,
) -> Served {
    let State::Ending(state) = &mut viewer.state else { unreachable!("the caller has looked") };
    let ring = resync.ring;
    if ring.head().since(state.position()) > state.may_lag(resync.patience()) {
        state.hurry(ring, state.deadline(), counts);
    }
    let starved = !state.is_blocked() && allowance.is_spent();
    let ended = state.advance(&viewer.connection.socket, ring, now, allowance, counts);
    match ended {
        Ok(None) if starved => Served::Starved,
        Ok(None) => Served::Share,
        Ok(Some(why)) => Served::Gone(why),
        Err(_broken) => Served::Gone(Departure::Vanished),
    }
}

/// Answers whether a viewer whose socket is full may stay.
fn may_stay(state: &mut CatchingUp, socket: BorrowedFd<'_>) -> io::Result<bool> {
    match state.stall.judge(tcp_info(socket)?) {
        Verdict::Leave => {}
        Verdict::Pause => set_user_timeout(socket, None)?,
        Verdict::Resume => limit_silence(socket)?,
        Verdict::Vanished => return Ok(false),
    }
    Ok(true)
}

/// Sets the kernel's limit of silence again, after a pause.
fn limit_silence(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_user_timeout(socket, Some(UNACKNOWLEDGED_TIMEOUT))
}
