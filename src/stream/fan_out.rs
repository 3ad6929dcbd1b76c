//! Serving the viewers: live ones through the trunk, the others from the ring.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use restreamer_sys::Moved;
use restreamer_sys::socket::set_user_timeout;
use restreamer_sys::tcp_info::tcp_info;
use slog::error;

use super::Stream;
use super::trunk::Trunk;
use crate::limits::{HALF_CLOSED_TIMEOUT, SLICES_MAX, UNACKNOWLEDGED_TIMEOUT};
use crate::ring::Position;
use crate::viewer::catching_up::{Came, CatchingUp};
use crate::viewer::live::Live;
use crate::viewer::stall::Verdict;
use crate::viewer::{Departure, State, Viewer};

impl Stream {
    /// Offers the chunk from `from` to `to` to every live viewer, in parts that fit the trunk.
    pub(super) fn fan_out(
        &mut self,
        trunk: &mut Trunk,
        from: Position,
        to: Position,
        now: Instant,
    ) {
        let mut at = from;
        while at < to && self.has_live() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = self.ring.slices(at, to, &mut slices);
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
            let next = if loaded == 0 { to } else { at.advanced(loaded) };
            self.offer(trunk, at, next, now);
            trunk.empty();
            at = next;
        }
    }

    fn has_live(&self) -> bool {
        self.members.iter().any(|(_, member)| matches!(member.viewer.state, State::Live(_)))
    }

    /// Sends what the trunk holds, the bytes from `from` to `to`, to every live viewer.
    fn offer(&mut self, trunk: &Trunk, from: Position, to: Position, now: Instant) {
        let mut gone = Vec::new();
        for (key, member) in &mut self.members {
            let viewer = &mut member.viewer;
            if !matches!(viewer.state, State::Live(_)) {
                continue;
            }
            match trunk.send(&viewer.connection.socket) {
                Ok(Moved::Ended) => gone.push((key, Departure::Left)),
                Ok(taken) => {
                    let reached = from.advanced(taken.count());
                    self.counts.live_bytes += taken.count() as u64;
                    viewer.visit.bytes += taken.count() as u64;
                    self.counts.packets_sent += reached.packets_since(from);
                    viewer.state = Live.offered(from, to, taken);
                }
                Err(_broken) => gone.push((key, Departure::Vanished)),
            }
        }
        for (key, why) in gone {
            self.remove(key, why, now);
        }
    }

    /// Serves everybody who is not live, and skips those who lag too far. Answers whether somebody
    /// could take more at once.
    pub(super) fn serve_members(&mut self, now: Instant) -> bool {
        let (head, limit) = (self.ring.head(), self.limit.bytes());
        let mut again = false;
        let mut gone = Vec::new();
        for (key, member) in &mut self.members {
            let viewer = &mut member.viewer;
            let (socket, ring, counts) = (&viewer.connection.socket, &self.ring, &mut self.counts);
            let before = (counts.catching_up_bytes, counts.packets_dropped);
            match &mut viewer.state {
                State::Live(_) => {}
                State::CatchingUp(state) => {
                    match state.advance(socket, ring, head, counts) {
                        Ok(Came::There) => {
                            if state.stall.resume() {
                                // Were this to fail, the connection is broken, and soon shows it.
                                let _broken = limit_silence(socket.as_fd());
                            }
                            viewer.state = State::Live(Live);
                        }
                        Ok(Came::Part) => {
                            if head.since(state.position()) > limit {
                                state.skip(ring, counts);
                            }
                            again |= !state.is_blocked();
                        }
                        Ok(Came::Left) => gone.push((key, Departure::Left)),
                        Err(_broken) => gone.push((key, Departure::Vanished)),
                    }
                }
                State::Ending(state) => {
                    if head.since(state.position()) > limit {
                        state.hurry(ring, state.deadline(), counts);
                    }
                    match state.advance(socket, ring, now, counts) {
                        Ok(None) => again |= !state.is_blocked(),
                        Ok(Some(why)) => gone.push((key, why)),
                        Err(_broken) => gone.push((key, Departure::Vanished)),
                    }
                }
            }
            viewer.visit.bytes += counts.catching_up_bytes - before.0;
            viewer.visit.packets_skipped += counts.packets_dropped - before.1;
        }
        for (key, why) in gone {
            self.remove(key, why, now);
        }
        again
    }

    /// Looks at every viewer whose socket is full (on pause, or gone?), and at those who have it
    /// all, have ended their side and were sent nothing since (listening, or gone?).
    pub(super) fn check_stalled(&mut self, now: Instant) {
        let mut gone = Vec::new();
        let mut silent = false;
        for (key, member) in &mut self.members {
            let Viewer { connection, state, .. } = &mut member.viewer;
            let socket = connection.socket.as_fd();
            if let State::CatchingUp(state) = state
                && state.is_blocked()
                && !matches!(may_stay(state, socket), Ok(true))
            {
                gone.push((key, Departure::Vanished));
            } else if let (State::Live(_), Some(since)) = (&*state, connection.half_closed)
                && self.last_chunk <= since
            {
                silent = true;
                if now.saturating_duration_since(since) >= HALF_CLOSED_TIMEOUT {
                    gone.push((key, Departure::Left));
                }
            }
        }
        for (key, why) in gone {
            self.remove(key, why, now);
        }
        if silent {
            self.check_soon(now);
        }
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
