//! Reading an upstream into the ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use restreamer_sys::{Moved, file};

use super::datagrams::{Datagrams, Received};
use crate::http::chunked;
use crate::limits::FILL_BYTES_PER_TURN_MAX;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::ts::probe::{Aligned, Probe};
use crate::upstream::command::Keeper;
use crate::upstream::datagram::Membership;
use crate::upstream::{Body, Dialed, Framing, Loss};

/// A connected upstream.
#[derive(Debug)]
pub struct Fill {
    /// Let go of before the source: a socket's file goes first.
    reader: Reader,
    source: OwnedFd,
    probe: Probe,
    last_data: Instant,
    _keeper: Option<Keeper>,
}

#[derive(Debug)]
enum Reader {
    Stream {
        framing: Framing,
        /// Came with the response head and was not read into the ring yet.
        early: Vec<u8>,
    },
    Datagrams(Box<Datagrams>),
}

/// A multicast group to join again.
#[derive(Debug)]
pub struct Rejoin {
    /// The group.
    pub membership: Membership,
    /// A descriptor to do it with.
    pub socket: OwnedFd,
    /// Whether it is the first time in this silence.
    pub first: bool,
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
        let reader = match dialed.body {
            Body::Stream(framing) => Reader::Stream { framing, early: dialed.early },
            Body::Datagrams(of) => Reader::Datagrams(Box::new(Datagrams::new(of, now))),
        };
        Fill {
            source: dialed.source,
            reader,
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

    /// When to fill though nothing has come.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.reader {
            Reader::Stream { .. } => None,
            Reader::Datagrams(datagrams) => datagrams.deadline(self.last_data),
        }
    }

    /// The multicast group to join again, if it has been silent for long enough.
    pub fn rejoin_due(&mut self, now: Instant) -> Option<Rejoin> {
        let Reader::Datagrams(datagrams) = &mut self.reader else { return None };
        let (membership, first) = datagrams.rejoin_due(self.last_data, now)?;
        // Short of descriptors there will be another silence.
        let socket = self.source.try_clone().ok()?;
        Some(Rejoin { membership, socket, first })
    }

    /// Reads until there is nothing more, the share of a turn is used up, or the upstream ends.
    pub fn fill(
        &mut self,
        ring: &mut Ring,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        match &mut self.reader {
            Reader::Stream { .. } => self.fill_stream(ring, now, counts),
            Reader::Datagrams(_) => self.fill_datagrams(ring, now, counts),
        }
    }

    fn fill_stream(
        &mut self,
        ring: &mut Ring,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        let Reader::Stream { framing, early } = &mut self.reader else {
            unreachable!("fill tells them apart")
        };
        if framing.is_over() {
            return Err(Loss::Ended);
        }
        let mut budget = FILL_BYTES_PER_TURN_MAX;
        while budget > 0 {
            let (room, held) = ring.room();
            let free = &mut room[held..];
            let read = if early.is_empty() {
                match file::read(self.source.as_fd(), free).map_err(Loss::Broken)? {
                    Moved::Bytes(n) => n.get(),
                    Moved::Blocked => return Ok(Filled::Drained),
                    Moved::Ended => return Err(framing.at_end()),
                }
            } else {
                let n = early.len().min(free.len());
                free[..n].copy_from_slice(&early[..n]);
                early.drain(..n);
                n
            };
            self.last_data = now;
            budget = budget.saturating_sub(read);
            let decoded = framing.decode(&mut free[..read]);
            let aligned = self.probe.align(&mut room[..held + decoded.payload]);
            ring.commit(aligned.whole, aligned.held);
            count(&aligned, counts);
            match decoded.body {
                chunked::Body::Open => {}
                chunked::Body::Ended => return Err(Loss::Ended),
                chunked::Body::Broken(error) => return Err(Loss::Framing(error)),
            }
        }
        Ok(Filled::More)
    }

    fn fill_datagrams(
        &mut self,
        ring: &mut Ring,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        let Fill { source, reader, probe, last_data, .. } = self;
        let Reader::Datagrams(datagrams) = reader else { unreachable!("fill tells them apart") };
        let mut aligned = UpstreamCounts::default();
        let mut take = |bytes: &[u8]| take(bytes, ring, probe, &mut aligned);
        let mut budget = FILL_BYTES_PER_TURN_MAX;
        let filled = loop {
            match datagrams.read(source.as_fd(), now, counts, &mut take) {
                Ok(Received::Bytes(bytes)) => {
                    *last_data = now;
                    budget = budget.saturating_sub(bytes);
                }
                Ok(Received::Nothing) => break Ok(Filled::Drained),
                Err(loss) => break Err(loss),
            }
            if budget == 0 {
                break Ok(Filled::More);
            }
        };
        datagrams.give_up_missing(now, counts, &mut take);
        counts.add_packets(&aligned);
        filled
    }

    /// The connection is over: judges the bytes that waited for more.
    pub fn finish(&mut self, ring: &mut Ring, counts: &mut UpstreamCounts) {
        if let Reader::Datagrams(datagrams) = &mut self.reader {
            let mut aligned = UpstreamCounts::default();
            datagrams.flush(counts, |bytes| take(bytes, ring, &mut self.probe, &mut aligned));
            counts.add_packets(&aligned);
        }
        let (room, held) = ring.room();
        let aligned = self.probe.finish(&mut room[..held]);
        ring.commit(aligned.whole, aligned.held);
        count(&aligned, counts);
    }
}

/// Takes what a datagram carried into the ring.
fn take(mut bytes: &[u8], ring: &mut Ring, probe: &mut Probe, counts: &mut UpstreamCounts) {
    while !bytes.is_empty() {
        let (room, held) = ring.room();
        let n = bytes.len().min(room.len() - held);
        room[held..held + n].copy_from_slice(&bytes[..n]);
        let aligned = probe.align(&mut room[..held + n]);
        ring.commit(aligned.whole, aligned.held);
        count(&aligned, counts);
        bytes = &bytes[n..];
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
