//! Reading an upstream into the ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use restreamer_sys::{Moved, file};

use crate::http::chunked::Body;
use crate::limits::FILL_BYTES_PER_TURN_MAX;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::ts::probe::{Aligned, Probe};
use crate::upstream::command::Keeper;
use crate::upstream::{Dialed, Framing, Loss};

/// A connected upstream.
#[derive(Debug)]
pub struct Fill {
    source: OwnedFd,
    framing: Framing,
    /// Came with the response head and was not read into the ring yet.
    early: Vec<u8>,
    probe: Probe,
    last_data: Instant,
    _keeper: Option<Keeper>,
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

impl Fill {
    /// An upstream that has answered at `now`.
    pub fn new(dialed: Dialed, now: Instant) -> Fill {
        Fill {
            source: dialed.source,
            framing: dialed.framing,
            early: dialed.early,
            probe: Probe::new(),
            last_data: now,
            _keeper: dialed.keeper,
        }
    }

    /// What is read.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// When data came last.
    pub fn last_data(&self) -> Instant {
        self.last_data
    }

    /// Reads until there is nothing more, the share of a turn is used up, or the upstream ends.
    pub fn fill(
        &mut self,
        ring: &mut Ring,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        if self.framing.is_over() {
            return Err(Loss::Ended);
        }
        let mut budget = FILL_BYTES_PER_TURN_MAX;
        while budget > 0 {
            let (room, held) = ring.room();
            let free = &mut room[held..];
            let read = if self.early.is_empty() {
                match file::read(self.source.as_fd(), free).map_err(Loss::Broken)? {
                    Moved::Bytes(n) => n.get(),
                    Moved::Blocked => return Ok(Filled::Drained),
                    Moved::Ended => return Err(self.framing.at_end()),
                }
            } else {
                let n = self.early.len().min(free.len());
                free[..n].copy_from_slice(&self.early[..n]);
                self.early.drain(..n);
                n
            };
            self.last_data = now;
            budget = budget.saturating_sub(read);
            let decoded = self.framing.decode(&mut free[..read]);
            let aligned = self.probe.align(&mut room[..held + decoded.payload]);
            ring.commit(aligned.whole, aligned.held);
            count(&aligned, counts);
            match decoded.body {
                Body::Open => {}
                Body::Ended => return Err(Loss::Ended),
                Body::Broken(error) => return Err(Loss::Framing(error)),
            }
        }
        Ok(Filled::More)
    }

    /// The connection is over: judges the bytes that waited for more.
    pub fn finish(&mut self, ring: &mut Ring, counts: &mut UpstreamCounts) {
        let (room, held) = ring.room();
        let aligned = self.probe.finish(&mut room[..held]);
        ring.commit(aligned.whole, aligned.held);
        count(&aligned, counts);
    }
}

fn count(aligned: &Aligned, counts: &mut UpstreamCounts) {
    counts.packets += aligned.counts.packets;
    counts.bytes += aligned.whole as u64;
    counts.sync_losses += aligned.counts.sync_losses;
    counts.discarded += aligned.counts.discarded_bytes;
    counts.continuity += aligned.counts.continuity_errors;
    counts.transport += aligned.counts.transport_errors;
}
