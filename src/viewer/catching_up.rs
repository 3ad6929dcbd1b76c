//! Served from the ring, at its own position.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;

use restreamer_sys::{Moved, file};

use super::allowance::Allowance;
use super::stall::Stall;
use crate::http::response::Outgoing;
use crate::limits::{CATCH_UP_BYTES_PER_TURN_MAX, LAG_BYTES_MAX, PACKET_BYTES, SLICES_MAX};
use crate::metrics::StreamCounts;
use crate::ring::{Position, Ring};

/// A viewer who joined just now, or whose socket took less than was there.
#[derive(Debug)]
pub struct CatchingUp {
    /// Goes out before anything of the ring: the response head and what every viewer gets first, or
    /// the rest of a packet; then packets that are put in there.
    first: First,
    /// What it has had so far.
    had: Had,
    /// The next byte of the ring that it gets.
    position: Position,
    /// Its socket is full; the kernel will say when it is not.
    blocked: bool,
    /// It had to wait for its share of a turn, and has not caught up since: that it lags is our
    /// doing.
    waited: bool,
    /// Its socket is paced.
    paced: bool,
    /// How far behind it was when it joined, or was skipped.
    joined_behind: usize,
    /// How far behind it may be because of that: less and less, as it catches up.
    leeway: usize,
    /// How long it has taken nothing.
    pub stall: Stall,
}

/// What goes out before the bytes of the ring.
#[derive(Debug, Default)]
struct First {
    /// An answer, or the rest of a packet.
    begun: Outgoing,
    /// Packets that the stream does not have: tables, and what signals that it does not go on.
    inserted: Option<Arc<[u8]>>,
    sent: usize,
    /// What was begun is a packet of the stream: it counts.
    of_stream: bool,
}

impl First {
    fn len(&self) -> usize {
        self.begun.len() + self.inserted.as_ref().map_or(0, |inserted| inserted.len())
    }

    fn is_sent(&self) -> bool {
        self.sent == self.len()
    }

    /// What is left of it.
    fn rest(&self) -> [IoSlice<'_>; 3] {
        let [head, body] = self.begun.after(self.sent);
        let of_inserted = self.sent.saturating_sub(self.begun.len());
        let inserted = self.inserted.as_ref().and_then(|all| all.get(of_inserted..));
        [head, body, IoSlice::new(inserted.unwrap_or_default())]
    }

    /// Leaves out what was to be inserted, but for the rest of a packet that has begun.
    fn cut(&mut self) {
        let of_inserted = self.sent.saturating_sub(self.begun.len());
        let inserted = self.inserted.take().unwrap_or_default();
        if of_inserted > 0 {
            let end = of_inserted.next_multiple_of(PACKET_BYTES).min(inserted.len());
            let head = inserted[of_inserted..end].to_vec();
            *self = First { begun: Outgoing { head, body: None }, ..First::default() };
        }
    }
}

/// What a viewer has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Had {
    /// No packet.
    Nothing,
    /// Packets of tables alone.
    Tables,
    /// Packets of the stream.
    Stream,
    /// The same, but nothing since it was skipped, unless the rest of a packet.
    NothingSince,
}

/// Where a viewer goes on who is skipped.
#[derive(Clone, Debug)]
pub struct Landing {
    /// The first packet of the stream that it gets; not before where it stands.
    pub position: Position,
    /// What it gets before that.
    pub inserted: Option<Arc<[u8]>>,
}

/// How far a viewer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It has everything up to where it was to get.
    There,
    /// Its socket is full, or its share of this turn is used up.
    Part,
    /// It hung up.
    Left,
}

impl CatchingUp {
    /// Gets the answer (response head and preamble), then the stream from `position` on.
    pub fn joining(answer: Outgoing, position: Position) -> CatchingUp {
        let first = First { begun: answer, ..First::default() };
        CatchingUp { first, had: Had::Nothing, ..CatchingUp::at(position) }
    }

    /// The same, with packets of the tables before the stream.
    #[must_use]
    pub fn with_tables(mut self, tables: Option<Arc<[u8]>>) -> CatchingUp {
        self.first.inserted = tables;
        self
    }

    /// The same, where it begins so many bytes before the head: of that much it is not to be
    /// skipped, nor for falling behind as much again while its connection gets going. Its socket
    /// may be paced until it has caught up.
    #[must_use]
    pub fn behind(mut self, bytes: usize, paced: bool) -> CatchingUp {
        (self.joined_behind, self.leeway, self.paced) = (bytes, 2 * bytes, paced);
        self
    }

    /// Gets the stream from `position` on.
    pub fn at(position: Position) -> CatchingUp {
        CatchingUp {
            first: First::default(),
            had: Had::Stream,
            position,
            blocked: false,
            waited: false,
            paced: false,
            joined_behind: 0,
            leeway: 0,
            stall: Stall::default(),
        }
    }

    /// The next byte of the ring that it gets.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether its socket is full.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The kernel says that its socket has room. Answers whether it was full before.
    pub fn unblock(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// It has caught up. Answers whether its socket is paced, which is to end.
    pub fn is_paced(&self) -> bool {
        self.paced
    }

    /// Whether it has had packets, if only of tables: what it gets elsewhere does not go on from
    /// them.
    pub fn has_had_packets(&self) -> bool {
        self.had != Had::Nothing
    }

    /// How far it may lag where `limit` is for those who have nobody to wait for but themselves.
    /// Who was skipped and has had nothing since loses nothing by being skipped once more.
    pub fn may_lag(&self, limit: usize) -> usize {
        let of_socket = if self.had == Had::NothingSince { limit } else { limit.max(self.leeway) };
        let of_us = LAG_BYTES_MAX + self.joined_behind;
        if self.waited { of_socket.max(of_us) } else { of_socket }
    }

    /// Where it may stop without tearing a packet: where it stands, or the end of its packet.
    pub fn next_stop(&self) -> Position {
        self.position.next_boundary()
    }

    /// Writes what it lacks, up to `to`, as far as its socket and its share of a turn allow, and
    /// what all together may have; nothing as long as the socket is known to be full.
    pub fn advance(
        &mut self,
        socket: &impl AsFd,
        ring: &Ring,
        to: Position,
        allowance: &mut Allowance,
        counts: &mut StreamCounts,
    ) -> io::Result<Came> {
        if self.blocked {
            return Ok(Came::Part);
        }
        let came = self.write(socket, ring, to, allowance, counts)?;
        let lag = ring.head().since(self.position);
        self.leeway = self.leeway.min(lag.saturating_add(self.joined_behind));
        Ok(came)
    }

    fn write(
        &mut self,
        socket: &impl AsFd,
        ring: &Ring,
        to: Position,
        allowance: &mut Allowance,
        counts: &mut StreamCounts,
    ) -> io::Result<Came> {
        let mut share = CATCH_UP_BYTES_PER_TURN_MAX;
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = self.offer(ring, to, &mut slices);
            if used == 0 {
                return Ok(Came::There);
            }
            if share == 0 || allowance.is_spent() {
                self.waited = true;
                return Ok(Came::Part);
            }
            let moved = file::write(socket.as_fd(), &slices[..used])?;
            allowance.spend(moved.count());
            match moved {
                Moved::Bytes(n) => {
                    self.take(n.get(), counts);
                    share = share.saturating_sub(n.get());
                }
                Moved::Blocked => {
                    self.blocked = true;
                    return Ok(Came::Part);
                }
                Moved::Ended => return Ok(Came::Left),
            }
        }
    }

    /// Moves on, over everything but the rest of the packet it stands in. Who has had nothing of
    /// the stream yet, but waits for what comes before it, misses nothing by that. Answers whether
    /// it had had something since it was skipped before: if not, both are one skip, and what was to
    /// go before the stream there goes out no more.
    pub fn skip(&mut self, ring: &Ring, to: Landing, counts: &mut StreamCounts) -> bool {
        if self.first.is_sent() {
            self.keep_rest(ring);
        } else {
            self.first.cut();
        }
        self.first.inserted = to.inserted;
        let from = std::mem::replace(&mut self.position, to.position);
        let behind = ring.head().since(to.position);
        (self.waited, self.joined_behind, self.leeway) = (false, behind, 2 * behind);
        if self.had < Had::Stream {
            return false;
        }
        let again = std::mem::replace(&mut self.had, Had::NothingSince) == Had::NothingSince;
        counts.skips += u64::from(!again);
        counts.packets_dropped += to.position.packets_since(from);
        counts.bytes_dropped += to.position.since(from) as u64;
        !again
    }

    /// Takes a copy of the rest of the packet it stands in, so that the ring may move on.
    pub fn keep_rest(&mut self, ring: &Ring) {
        if self.position.into_packet() != 0 {
            // What goes out first was sent long before the middle of a packet was reached.
            assert!(self.first.is_sent(), "two packets begun at once");
            let begun = Outgoing { head: ring.rest_of_packet(self.position), body: None };
            self.first = First { begun, of_stream: true, ..First::default() };
            self.position = self.next_stop();
        }
    }

    fn offer<'a>(&'a self, ring: &'a Ring, to: Position, slices: &mut [IoSlice<'a>]) -> usize {
        let mut before = 0;
        for part in self.first.rest().into_iter().filter(|part| !part.is_empty()) {
            slices[before] = part;
            before += 1;
        }
        before + ring.slices(self.position, to.max(self.position), &mut slices[before..])
    }

    fn take(&mut self, bytes: usize, counts: &mut StreamCounts) {
        let of_begun = bytes.min(self.first.begun.len().saturating_sub(self.first.sent));
        let of_first = bytes.min(self.first.len() - self.first.sent);
        let of_ring = bytes - of_first;
        self.first.sent += of_first;
        if self.first.of_stream && of_begun > 0 {
            counts.catching_up_bytes += of_begun as u64;
            counts.packets_sent += u64::from(self.first.sent >= self.first.begun.len());
        }
        self.had = match self.had {
            had if bytes == of_begun => had,
            Had::Nothing | Had::Tables if of_ring == 0 => Had::Tables,
            _ => Had::Stream,
        };
        if self.first.is_sent() {
            self.first = First::default();
        }
        let reached = self.position.advanced(of_ring);
        counts.catching_up_bytes += of_ring as u64;
        counts.packets_sent += reached.packets_since(self.position);
        self.position = reached;
    }
}

#[cfg(test)]
mod tests;
