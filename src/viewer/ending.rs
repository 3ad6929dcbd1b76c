//! Gets the rest, whole packets, and is let go.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use super::Departure;
use super::allowance::Allowance;
use super::catching_up::{Came, CatchingUp};
use crate::metrics::StreamCounts;
use crate::ring::{Position, Ring};

/// A viewer whose stream has ended or was switched off, or who is to go because we are told to
/// stop.
#[derive(Debug)]
pub struct Ending {
    rest: CatchingUp,
    until: Position,
    deadline: Instant,
    why: Departure,
}

impl Ending {
    /// Gets what is between where it stands and `until`, a packet boundary, before `deadline`.
    pub fn new(rest: CatchingUp, until: Position, deadline: Instant, why: Departure) -> Ending {
        let until = until.max(rest.next_stop());
        Ending { rest, until, deadline, why }
    }

    /// The next byte of the ring that it gets.
    pub fn position(&self) -> Position {
        self.rest.position()
    }

    /// How far it may lag; see [`CatchingUp::may_lag`].
    pub fn may_lag(&self, limit: usize) -> usize {
        self.rest.may_lag(limit)
    }

    /// When it is cut.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its socket is full.
    pub fn is_blocked(&self) -> bool {
        self.rest.is_blocked()
    }

    /// The kernel says that its socket has room. Answers whether it was full before.
    pub fn unblock(&mut self) -> bool {
        self.rest.unblock()
    }

    /// Ends it at the packet it stands in: it lags too far behind, or there is no more time.
    pub fn hurry(&mut self, ring: &Ring, deadline: Instant, counts: &mut StreamCounts) {
        let until = self.rest.next_stop().min(self.until);
        counts.packets_dropped += self.until.packets_since(until);
        counts.bytes_dropped += self.until.since(until) as u64;
        self.until = until;
        self.deadline = self.deadline.min(deadline);
        // The ring may move on: what is left is less than a packet.
        self.rest.keep_rest(ring);
    }

    /// Writes what it lacks; answers why it goes, when it does.
    pub fn advance(
        &mut self,
        socket: &impl AsFd,
        ring: &Ring,
        now: Instant,
        allowance: &mut Allowance,
        counts: &mut StreamCounts,
    ) -> io::Result<Option<Departure>> {
        Ok(match self.rest.advance(socket, ring, self.until, allowance, counts)? {
            Came::There => Some(self.why),
            Came::Left => Some(Departure::Left),
            // Of who goes for being too slow it was to be expected.
            Came::Part if now >= self.deadline && self.why == Departure::TooSlow => Some(self.why),
            Came::Part if now >= self.deadline => Some(Departure::TooSlowToEnd),
            Came::Part => None,
        })
    }
}
