//! Where what is read of an upstream goes: through the probe into the ring, counted.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::points::Points;
use super::switch::Late;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::ts::probe::{Aligned, Probe};
use crate::upstream::Loss;
use crate::upstream::datagram::Membership;

/// A way of reading a descriptor that never blocks.
pub trait Reader: fmt::Debug + Send {
    /// Reads until there is nothing more, the share of a turn is used up, or the upstream ends.
    fn fill(
        &mut self,
        source: BorrowedFd<'_>,
        now: Instant,
        intake: &mut Intake<'_>,
    ) -> Result<Filled, Loss>;

    /// When to fill though nothing has come since `last_data`.
    fn deadline(&self, _last_data: Instant) -> Option<Instant> {
        None
    }

    /// The multicast group to join again, if that is due, and whether for the first time in this
    /// silence.
    fn rejoin_due(&mut self, _last_data: Instant, _now: Instant) -> Option<(Membership, bool)> {
        None
    }

    /// The connection is over: what waits for more goes in.
    fn finish(&mut self, _intake: &mut Intake<'_>) {}
}

/// How reading came to an end for this turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Filled {
    /// There is nothing more; the kernel will say when there is.
    Drained,
    /// The share of a turn is used up.
    More,
    /// The upstream has ended; what it sent before is in the ring.
    Ended,
}

/// The way into the ring.
#[derive(Debug)]
pub struct Intake<'a> {
    /// What is counted.
    pub counts: &'a mut UpstreamCounts,
    /// Whether anything has come, of whatever worth.
    pub came: bool,
    ring: &'a mut Ring,
    probe: &'a mut Probe,
    points: &'a mut Points,
    late: Option<&'a mut Late>,
}

impl<'a> Intake<'a> {
    /// The way through `probe` into `ring`; random access points are noted in `points`.
    pub fn new(
        ring: &'a mut Ring,
        probe: &'a mut Probe,
        points: &'a mut Points,
        counts: &'a mut UpstreamCounts,
    ) -> Intake<'a> {
        Intake { counts, came: false, ring, probe, points, late: None }
    }

    /// The same, where PIDs are missing that there were before the connection.
    #[must_use]
    pub fn with_late(mut self, late: Option<&'a mut Late>) -> Intake<'a> {
        self.late = late;
        self
    }

    /// Room to read into, of at least a few packets.
    pub fn room(&mut self) -> &mut [u8] {
        let (room, held) = self.ring.room();
        &mut room[held..]
    }

    /// Takes the first `bytes` of [`Intake::room`].
    pub fn commit(&mut self, bytes: usize) {
        let (room, held) = self.ring.room();
        let aligned = self.probe.align(&mut room[..held + bytes]);
        self.take(&aligned);
    }

    /// Copies what was read elsewhere.
    pub fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let n = bytes.len().min(room.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.commit(n);
            bytes = &bytes[n..];
        }
    }

    /// Nothing more comes: judges the bytes that the probe held back.
    pub fn finish(&mut self) {
        let (room, held) = self.ring.room();
        let aligned = self.probe.finish(&mut room[..held]);
        self.take(&aligned);
    }

    fn take(&mut self, aligned: &Aligned) {
        match &mut self.late {
            Some(late) => late.commit(aligned, self.probe, self.points, self.ring),
            None => self.ring.commit(aligned.whole, aligned.held),
        }
        if let Some(content) = self.probe.content() {
            self.points.take(self.ring.head(), aligned, content);
        }
        self.counts.packets += aligned.counts.packets;
        self.counts.bytes += aligned.whole as u64;
        self.counts.sync_losses += aligned.counts.sync_losses;
        self.counts.discarded += aligned.counts.discarded_bytes;
        self.counts.continuity += aligned.counts.continuity_errors;
        self.counts.transport += aligned.counts.transport_errors;
        self.counts.scrambled += aligned.counts.scrambled;
        self.counts.table_changes += aligned.counts.table_changes;
        for (sum, more) in self.counts.faults.iter_mut().zip(aligned.counts.faults.all()) {
            *sum += more;
        }
    }
}
