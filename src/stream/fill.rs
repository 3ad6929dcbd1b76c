//! A connected upstream, read into the ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::bytes::Bytes;
use super::datagrams::Datagrams;
use super::intake::{Filled, Intake, Reader};
use super::points::Points;
use crate::http::via::Via;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::ts::probe::Probe;
use crate::upstream::datagram::Membership;
use crate::upstream::{Body, Dialed, Loss};

/// A connected upstream.
#[derive(Debug)]
pub struct Fill {
    /// Let go of before the source: a socket's file goes first.
    reader: Box<dyn Reader>,
    source: OwnedFd,
    probe: Probe,
    points: Points,
    last_data: Instant,
    via: Via,
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

impl Fill {
    /// An upstream that has answered at `now`.
    pub fn new(dialed: Dialed, now: Instant) -> Fill {
        let reader: Box<dyn Reader> = match dialed.body {
            Body::Stream(framing) => Box::new(Bytes::new(framing, dialed.early, dialed.keeper)),
            Body::Datagrams(of) => Box::new(Datagrams::new(of, now)),
        };
        let probe = Probe::with_content(now);
        Fill {
            source: dialed.source,
            reader,
            probe,
            points: Points::default(),
            last_data: now,
            via: dialed.via,
        }
    }

    /// What is read.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Which way it comes.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// What it sends.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Where decoding may start in what it has sent.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// When data came last.
    pub fn last_data(&self) -> Instant {
        self.last_data
    }

    /// When to fill though nothing has come.
    pub fn deadline(&self) -> Option<Instant> {
        self.reader.deadline(self.last_data)
    }

    /// The multicast group to join again, if it has been silent for long enough.
    pub fn rejoin_due(&mut self, now: Instant) -> Option<Rejoin> {
        let (membership, first) = self.reader.rejoin_due(self.last_data, now)?;
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
        self.probe.at(now);
        let mut intake = Intake::new(ring, &mut self.probe, &mut self.points, counts);
        let filled = self.reader.fill(self.source.as_fd(), now, &mut intake);
        if intake.came {
            self.last_data = now;
        }
        filled
    }

    /// The connection is over: judges the bytes that waited for more.
    pub fn finish(&mut self, ring: &mut Ring, counts: &mut UpstreamCounts) {
        let mut intake = Intake::new(ring, &mut self.probe, &mut self.points, counts);
        self.reader.finish(&mut intake);
        intake.finish();
    }
}
