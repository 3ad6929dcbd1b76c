//! Served from the ring, at its own position.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use restreamer_sys::{Moved, file};

use super::stall::Stall;
use crate::limits::{CATCH_UP_BYTES_PER_TURN_MAX, SLICES_MAX};
use crate::metrics::StreamCounts;
use crate::ring::{Position, Ring};

/// A viewer who joined just now, or whose socket took less than was there.
#[derive(Debug)]
pub struct CatchingUp {
    /// Goes out before anything of the ring: the response head, or the rest of a packet.
    first: First,
    /// The next byte of the ring that it gets.
    position: Position,
    /// Its socket is full; the kernel will say when it is not.
    blocked: bool,
    /// How long it has taken nothing.
    pub stall: Stall,
}

/// What goes out before the bytes of the ring.
#[derive(Debug, Default)]
struct First {
    bytes: Vec<u8>,
    sent: usize,
    /// The rest of a packet, and not the response head: it counts.
    of_stream: bool,
}

impl First {
    fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
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
    /// Gets the response head, then the stream from `position` on.
    pub fn joining(head: Vec<u8>, position: Position) -> CatchingUp {
        let first = First { bytes: head, ..First::default() };
        CatchingUp { first, ..CatchingUp::at(position) }
    }

    /// Gets the stream from `position` on.
    pub fn at(position: Position) -> CatchingUp {
        let first = First::default();
        CatchingUp { first, position, blocked: false, stall: Stall::default() }
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

    /// Where it may stop without tearing a packet: where it stands, or the end of its packet.
    pub fn next_stop(&self) -> Position {
        self.position.next_boundary()
    }

    /// Writes what it lacks, up to `to`, as far as its socket and its share of a turn allow;
    /// nothing as long as the socket is known to be full.
    pub fn advance(
        &mut self,
        socket: &impl AsFd,
        ring: &Ring,
        to: Position,
        counts: &mut StreamCounts,
    ) -> io::Result<Came> {
        let mut budget = CATCH_UP_BYTES_PER_TURN_MAX;
        if self.blocked {
            return Ok(Came::Part);
        }
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = self.offer(ring, to, &mut slices);
            if used == 0 {
                return Ok(Came::There);
            }
            if budget == 0 {
                return Ok(Came::Part);
            }
            match file::write(socket.as_fd(), &slices[..used])? {
                Moved::Bytes(n) => {
                    self.take(n.get(), counts);
                    budget = budget.saturating_sub(n.get());
                }
                Moved::Blocked => {
                    self.blocked = true;
                    return Ok(Came::Part);
                }
                Moved::Ended => return Ok(Came::Left),
            }
        }
    }

    /// Moves on to the head, over everything but the rest of the packet it stands in.
    pub fn skip(&mut self, ring: &Ring, counts: &mut StreamCounts) {
        self.keep_rest(ring);
        let head = ring.head();
        counts.skips += 1;
        counts.packets_dropped += head.packets_since(self.position);
        counts.bytes_dropped += head.since(self.position) as u64;
        self.position = head;
    }

    /// Takes a copy of the rest of the packet it stands in, so that the ring may move on.
    pub fn keep_rest(&mut self, ring: &Ring) {
        if self.position.into_packet() != 0 {
            // What goes out first was sent long before the middle of a packet was reached.
            assert!(self.first.left().is_empty(), "two packets begun at once");
            let bytes = ring.rest_of_packet(self.position);
            self.first = First { bytes, sent: 0, of_stream: true };
            self.position = self.next_stop();
        }
    }

    fn offer<'a>(&'a self, ring: &'a Ring, to: Position, slices: &mut [IoSlice<'a>]) -> usize {
        let first = self.first.left();
        let before = usize::from(!first.is_empty());
        if before == 1 {
            slices[0] = IoSlice::new(first);
        }
        before + ring.slices(self.position, to.max(self.position), &mut slices[before..])
    }

    fn take(&mut self, mut bytes: usize, counts: &mut StreamCounts) {
        let part = bytes.min(self.first.left().len());
        if part > 0 {
            self.first.sent += part;
            bytes -= part;
            let done = self.first.left().is_empty();
            if self.first.of_stream {
                counts.catching_up_bytes += part as u64;
                counts.packets_sent += u64::from(done);
            }
            if done {
                self.first = First::default();
            }
        }
        let reached = self.position.advanced(bytes);
        counts.catching_up_bytes += bytes as u64;
        counts.packets_sent += reached.packets_since(self.position);
        self.position = reached;
    }
}

#[cfg(test)]
mod tests;
