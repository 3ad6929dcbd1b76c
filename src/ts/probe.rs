//! The one pass over an upstream's bytes: finds packet sync in place and probes the packets.
//!
//! Owns what is known of one connection: whether it is in sync, the counters of its PIDs, the
//! candidates of a hunt, and, where that is wanted, what the packets hold. It never keeps bytes and
//! never changes a packet; garbage between packets is removed in place. A worker (or the player)
//! drives it with what the last call held back, followed by new input.
//!
//! In sync, a packet is delivered when its 188 bytes are there: no look-ahead, as a live stream
//! must not be delayed. The exception are packets that could as well be garbage (a PID not seen
//! before, or a counter that does not fit): these wait for the next packets' sync bytes, see
//! `sync`.

use std::ops::AddAssign;
use std::time::Instant;

use super::content::Content;
use super::continuity::{Continuity, Counters};
use super::integrity::Faults;
use super::packet::{Header, Packet, Pid, SYNC_BYTE};
use super::random_access::RandomAccesses;
use super::sync::{self, Suspects, Verdict};
use crate::limits::{PACKET_BYTES, SYNC_HELD_BYTES_MAX};

/// What a pass found in its bytes, and what there is to count.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Aligned {
    /// Bytes at the front: whole packets, aligned.
    pub whole: usize,
    /// Bytes right after them that wait for more input, at most [`SYNC_HELD_BYTES_MAX`].
    pub held: usize,
    /// What this pass adds to the connection's counts.
    pub counts: Counts,
    /// The random access points that it found.
    pub random_access: RandomAccesses,
}

/// Counts of one pass, or of many added up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Packets delivered.
    pub packets: u64,
    /// Times that a packet did not begin where the one before it ended (TR 101 290, 1.1). Finding
    /// the first packet of a connection is none.
    pub sync_losses: u64,
    /// Bytes that belonged to no packet, before the first one too.
    pub discarded_bytes: u64,
    /// Delivered packets whose continuity counter was broken (TR 101 290, 1.4).
    pub continuity_errors: u64,
    /// Delivered packets with `transport_error_indicator` (TR 101 290, 2.1).
    pub transport_errors: u64,
    /// The other errors of TR 101 290.
    pub faults: Faults,
    /// Scrambled packets.
    pub scrambled: u64,
    /// Times that a PAT or PMT was replaced by another one.
    pub table_changes: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.sync_losses += other.sync_losses;
        self.discarded_bytes += other.discarded_bytes;
        self.continuity_errors += other.continuity_errors;
        self.transport_errors += other.transport_errors;
        self.faults += other.faults;
        self.scrambled += other.scrambled;
        self.table_changes += other.table_changes;
    }
}

/// Reads the packets of one upstream connection.
#[derive(Clone)]
pub struct Probe {
    in_sync: bool,
    /// Bytes of the connection that are done with.
    done: u64,
    /// Up to here packets follow each other for certain: the row that proved the last one.
    proven: u64,
    counters: Counters,
    suspects: Suspects,
    content: Option<Box<Content>>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("in_sync", &self.in_sync).finish_non_exhaustive()
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe {
    /// The probe of a connection that has not delivered anything yet. It hunts for its first
    /// packet, and looks into none.
    pub fn new() -> Self {
        Self {
            in_sync: false,
            done: 0,
            proven: 0,
            counters: Counters::new(),
            suspects: Suspects::new(),
            content: None,
        }
    }

    /// The same, of a connection that begins `now`, and looks at what the packets hold.
    pub fn with_content(now: Instant) -> Self {
        Self { content: Some(Box::new(Content::new(now))), ..Self::new() }
    }

    /// What the packets hold, if that is looked at.
    pub fn content(&self) -> Option<&Content> {
        self.content.as_deref()
    }

    /// The continuity counter that the next packet of `pid` with a payload is to have.
    pub fn next_counter(&self, pid: Pid) -> u8 {
        self.counters.next_of(pid)
    }

    /// The PIDs that there were packets of, lowest first, without the null packets'.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.counters.pids()
    }

    /// How many PIDs there were packets of.
    pub fn known_pids(&self) -> usize {
        self.counters.known()
    }

    /// Whether there were packets of `pid`, so that its next counter is known.
    pub fn knows(&self, pid: Pid) -> bool {
        self.counters.know(pid)
    }

    /// Whether packets follow each other.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// What comes next has arrived at `now`.
    pub fn at(&mut self, now: Instant) {
        if let Some(content) = &mut self.content {
            content.at(now);
        }
    }

    /// Aligns `bytes` in place: what the last call held back, then new input. Whole packets move to
    /// the front, over the garbage between them; what cannot be judged yet follows them.
    pub fn align(&mut self, bytes: &mut [u8]) -> Aligned {
        let aligned = self.pass(bytes, false);
        debug_assert!(aligned.held <= SYNC_HELD_BYTES_MAX);
        aligned
    }

    /// As [`Probe::align`] where `bytes` are the connection's last. Nothing is held back: packets
    /// that waited for others are delivered, everything else is counted as discarded.
    pub fn finish(&mut self, bytes: &mut [u8]) -> Aligned {
        self.pass(bytes, true)
    }

    fn pass(&mut self, bytes: &mut [u8], ended: bool) -> Aligned {
        let mut counts = Counts::default();
        let (mut read, mut whole) = (0, 0);
        while read < bytes.len() {
            let run = self.expected_run(&bytes[read..], &mut counts);
            keep(bytes, &mut read, &mut whole, run);
            let rest = &bytes[read..];
            match self.judge(rest, self.done + count(read), ended) {
                Verdict::Packet(proven) => {
                    self.proven = self.proven.max(self.done + count(read + proven));
                    self.deliver(rest, &mut counts);
                    keep(bytes, &mut read, &mut whole, PACKET_BYTES);
                }
                Verdict::Undecided => break,
                Verdict::Garbage if self.in_sync => {
                    self.in_sync = false;
                    counts.sync_losses += 1;
                }
                Verdict::Garbage => {
                    let garbage = self.garbage(rest, self.done + count(read));
                    counts.discarded_bytes += count(garbage);
                    read += garbage;
                }
            }
        }
        self.done += count(read);
        let mut held = bytes.len() - read;
        if ended {
            counts.discarded_bytes += count(held);
            held = 0;
        } else if read != whole {
            bytes.copy_within(read.., whole);
        }
        let mut random_access = RandomAccesses::default();
        if let Some(content) = &mut self.content {
            random_access = content.end_pass(&mut counts);
        }
        Aligned { whole, held, counts, random_access }
    }

    /// Delivers the packets at the front of `bytes` that need no second look; says how many bytes.
    fn expected_run(&mut self, bytes: &[u8], counts: &mut Counts) -> usize {
        if !self.in_sync {
            return 0;
        }
        let (all, _) = bytes.as_chunks::<PACKET_BYTES>();
        let mut packets = 0;
        while let Some(bytes) = all.get(packets) {
            let [a, b, c, d, ..] = *bytes;
            let Some(header) = Header::new([a, b, c, d]) else { break };
            if !self.counters.advance(header) {
                break;
            }
            packets += 1;
            counts.transport_errors += u64::from(header.transport_error());
            if let Some(content) = &mut self.content {
                content.see(header, bytes, Continuity::Fits);
                if content.sees_each(header.pid()) {
                    continue;
                }
            }
            // Of most packets nothing is new but the counter.
            let row = header.row(&all[packets..]);
            self.counters.advance_by(header, row);
            if let Some(content) = &mut self.content {
                content.see_row(header, count(row));
            }
            packets += row;
        }
        counts.packets += count(packets);
        packets * PACKET_BYTES
    }

    /// What begins at the front of `bytes`, at `place` of the connection. At the connection's end
    /// the end of the bytes is as good as the next packet.
    fn judge(&self, bytes: &[u8], place: u64, ended: bool) -> Verdict {
        let verdict = if place < self.proven {
            sync::whole(bytes)
        } else if self.in_sync {
            sync::in_sync(bytes, &self.counters)
        } else {
            sync::hunting(bytes, place, &self.counters, &self.suspects)
        };
        if verdict != Verdict::Undecided || !ended {
            verdict
        } else if self.in_sync && bytes.len() < PACKET_BYTES {
            Verdict::Undecided
        } else if bytes.len() >= PACKET_BYTES
            && (self.in_sync || bytes.len().is_multiple_of(PACKET_BYTES))
        {
            Verdict::Packet(PACKET_BYTES)
        } else {
            Verdict::Garbage
        }
    }

    /// Delivers the packet at the front of `bytes`.
    fn deliver(&mut self, bytes: &[u8], counts: &mut Counts) {
        let packet = bytes.first_chunk().and_then(Packet::new);
        let packet = packet.expect("judged to be a whole packet");
        self.in_sync = true;
        counts.packets += 1;
        counts.transport_errors += u64::from(packet.transport_error());
        let continuity = self.counters.check(&packet);
        counts.continuity_errors += u64::from(continuity == Continuity::Broken);
        if let Some(content) = &mut self.content {
            content.see(packet.header(), packet.bytes(), continuity);
        }
    }

    /// Bytes of garbage at the front of `bytes`, where no packet begins: up to the next candidate.
    fn garbage(&mut self, bytes: &[u8], place: u64) -> usize {
        if let Some(header) = sync::plausible(bytes) {
            self.suspects.remember(header, place);
        }
        let next = bytes.iter().skip(1).position(|byte| *byte == SYNC_BYTE);
        next.map_or(bytes.len(), |position| position + 1)
    }
}

/// Moves the next `length` bytes to the end of the whole packets.
fn keep(bytes: &mut [u8], read: &mut usize, whole: &mut usize, length: usize) {
    if *read != *whole && length > 0 {
        bytes.copy_within(*read..*read + length, *whole);
    }
    *read += length;
    *whole += length;
}

fn count(bytes: usize) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests;
