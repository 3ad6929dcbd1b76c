//! A connected upstream, read into the ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::bytes::Bytes;
use super::datagrams::Datagrams;
use super::intake::{Filled, Intake, Reader};
use super::points::Points;
use super::switch::{Before, Late, Switch, Switched};
use crate::clock::earlier;
use crate::http::via::Via;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::ts::programs::Tables;
use crate::ts::{Content, Probe};
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
    way: Way,
    /// The stream has gone on with it, and that was not told yet.
    switched: Option<Switched>,
    last_data: Instant,
    via: Via,
}

/// Which way its bytes go.
#[derive(Debug)]
enum Way {
    /// Into the ring; after a switch some PIDs may be missing.
    Ring(Option<Box<Late>>),
    /// To where they wait for the stream to go on with them.
    Staged(Box<Switch>),
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
            way: Way::Ring(None),
            switched: None,
            last_data: now,
            via: dialed.via,
        }
    }

    /// The same, for viewers who have had this by another connection.
    #[must_use]
    pub fn after(mut self, before: &Before) -> Fill {
        self.way = Way::Staged(Box::new(Switch::new(before.clone())));
        self
    }

    /// The same of one that is staged: this is all there was.
    #[must_use]
    pub fn after_all(mut self, before: &Before) -> Fill {
        self.set_before(before);
        self
    }

    /// This is all there was before it, if it is staged.
    pub fn set_before(&mut self, before: &Before) {
        if let Way::Staged(switch) = &mut self.way {
            switch.set_before(before);
        }
    }

    /// Whether packets follow each other, and all tables have come.
    pub fn is_sound(&self) -> bool {
        let tables = self.probe.content().map(Content::tables);
        let any = tables.is_some_and(|all| all.programs().iter().any(|of| of.pmt.is_some()));
        any && self.probe.is_in_sync()
    }

    /// Begins anew with what is staged: what has come so far is not to go on with.
    pub fn forget_staged(&mut self) {
        if let Way::Staged(switch) = &mut self.way {
            switch.forget(&mut self.points);
        }
    }

    /// Whether the stream could go on with it now, if it is staged.
    pub fn look(&mut self, now: Instant) -> bool {
        match &mut self.way {
            Way::Ring(_) => false,
            Way::Staged(switch) => switch.look(&self.probe, &self.points, now).is_some(),
        }
    }

    /// Whether its bytes go into the ring.
    pub fn is_open(&self) -> bool {
        matches!(self.way, Way::Ring(_))
    }

    /// Whether the stream has gone on with it since this was asked last, and how.
    pub fn take_switched(&mut self) -> Option<Switched> {
        self.switched.take()
    }

    /// What is read.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Which way it comes.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// It comes another way from now on.
    pub fn set_via(&mut self, via: &Via) {
        self.via.clone_from(via);
    }

    /// What it sends.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Where decoding may start in what it has sent.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// Its current tables.
    pub fn tables(&self) -> Arc<Tables> {
        self.probe.content().map(|content| Arc::clone(content.tables())).unwrap_or_default()
    }

    /// When data came last.
    pub fn last_data(&self) -> Instant {
        self.last_data
    }

    /// When to fill though nothing has come.
    pub fn deadline(&self) -> Option<Instant> {
        let of_switch = match &self.way {
            Way::Ring(_) => None,
            Way::Staged(switch) => switch.deadline(&self.probe),
        };
        earlier(self.reader.deadline(self.last_data), of_switch)
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
        let filled = self.read(ring, now, counts);
        self.go_on(ring, now);
        filled
    }

    /// The same of one that is staged, with which the stream does not go on yet.
    pub fn read_aside(
        &mut self,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        assert!(!self.is_open(), "it is not in use");
        self.read(&mut Ring::new(), now, counts)
    }

    fn read(
        &mut self,
        ring: &mut Ring,
        now: Instant,
        counts: &mut UpstreamCounts,
    ) -> Result<Filled, Loss> {
        self.probe.at(now);
        let (to, late) = match &mut self.way {
            Way::Ring(late) => (ring, late.as_deref_mut()),
            Way::Staged(switch) => (switch.staged(), None),
        };
        let intake = Intake::new(to, &mut self.probe, &mut self.points, counts);
        let mut intake = intake.with_late(late);
        let filled = self.reader.fill(self.source.as_fd(), now, &mut intake);
        if intake.came {
            self.last_data = now;
        }
        filled
    }

    /// Has the stream go on with what was staged, if it is time.
    pub fn go_on(&mut self, ring: &mut Ring, now: Instant) {
        match std::mem::replace(&mut self.way, Way::Ring(None)) {
            Way::Ring(late) => self.way = Way::Ring(late),
            Way::Staged(mut switch) => match switch.look(&self.probe, &self.points, now) {
                None => self.way = Way::Staged(switch),
                switched => {
                    let late = switch.open(&self.probe, &mut self.points, ring);
                    (self.way, self.switched) = (Way::Ring(Some(Box::new(late))), switched);
                }
            },
        }
    }

    /// The connection is over: judges the bytes that waited for more. Those that the stream has
    /// not gone on with are lost.
    pub fn finish(&mut self, ring: &mut Ring, counts: &mut UpstreamCounts) {
        let Way::Ring(late) = &mut self.way else { return };
        let intake = Intake::new(ring, &mut self.probe, &mut self.points, counts);
        let mut intake = intake.with_late(late.as_deref_mut());
        self.reader.finish(&mut intake);
        intake.finish();
    }
}
