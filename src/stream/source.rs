//! Where a stream's bytes come from: its upstreams, or the worker that has them.
//!
//! A stream that is hot is in every worker. One of them, the owner, has the upstreams; what it
//! reads it [feeds](super::feed) to the others, each of which has the stream like any other, with a
//! pipe for an upstream.

use std::time::Instant;

use super::failover::{Attempt, Failover, Outlook};
use super::fill::Fill;
use super::intake::Filled;
use super::switch::Switched;
use crate::http::via::Via;
use crate::limits::INTAKE_BYTES_PER_TURN;
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::upstream::{DialError, Dialed, Loss};

/// See the module.
#[derive(Debug)]
pub enum Source {
    /// Upstreams of its own.
    Upstreams(Box<Failover>),
    /// What the stream's owner feeds.
    Fed(Fed),
}

/// What another worker feeds. It counts nothing: that was done where it came from.
#[derive(Debug, Default)]
pub struct Fed {
    fill: Option<Box<Fill>>,
    /// What the owner feeds since, while the end of what it fed before was not read yet.
    next: Option<Box<Fill>>,
    /// The owner feeds its slate.
    slate: bool,
    counts: Box<UpstreamCounts>,
}

impl Fed {
    fn fill(&mut self, ring: &mut Ring, now: Instant) -> Filled {
        let Some(fill) = &mut self.fill else { return Filled::Drained };
        let from = ring.head();
        match fill.fill(ring, now, &mut self.counts) {
            // The pipe may have been full, with the owner waiting for room in it.
            Ok(Filled::Drained) if ring.head().since(from) >= INTAKE_BYTES_PER_TURN => Filled::More,
            Ok(filled) => filled,
            Err(_end) => {
                self.let_go(ring);
                Filled::Ended
            }
        }
    }

    /// Takes a pipe; what is in the one before, up to its end, is read first.
    fn take(&mut self, dialed: Dialed, now: Instant) {
        let fill = Some(Box::new(Fill::new(dialed, now)));
        self.slate = false;
        *(if self.fill.is_none() { &mut self.fill } else { &mut self.next }) = fill;
    }

    /// The pipe that was taken last.
    fn last(&self) -> Option<&Fill> {
        self.next.as_deref().or(self.fill.as_deref())
    }

    fn set_via(&mut self, via: &Via, slate: bool) {
        self.slate = slate;
        for fill in [&mut self.fill, &mut self.next].into_iter().flatten() {
            fill.set_via(via);
        }
    }

    fn let_go(&mut self, ring: &mut Ring) {
        if let Some(mut fill) = self.fill.take() {
            fill.finish(ring, &mut self.counts);
        }
        self.fill = self.next.take();
        *self.counts = UpstreamCounts::default();
    }
}

impl Source {
    /// Whether there is something to read from.
    pub fn is_connected(&self) -> bool {
        self.connected().is_some()
    }

    /// What is read.
    pub fn connected(&self) -> Option<&Fill> {
        match self {
            Source::Upstreams(failover) => failover.connected(),
            Source::Fed(fed) => fed.fill.as_deref(),
        }
    }

    /// What is read into the ring.
    pub fn flowing(&self) -> Option<&Fill> {
        match self {
            Source::Upstreams(failover) => failover.flowing(),
            Source::Fed(fed) => fed.fill.as_deref().filter(|fill| fill.is_open()),
        }
    }

    /// Whether viewers see the slate, by upstreams that are here.
    pub fn is_slate_shown(&self) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.is_slate_shown())
    }

    /// Whether what the owner feeds is its slate.
    pub fn is_fed_slate(&self) -> bool {
        matches!(self, Source::Fed(fed) if fed.slate)
    }

    /// Whether there is something to see without an upstream.
    pub fn has_slate(&self) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.has_slate())
    }

    /// Whether somebody is always to see the slate.
    pub fn always_has_slate(&self) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.always_has_slate())
    }

    /// When to begin with the slate, if somebody watches.
    pub fn slate_due(&self, now: Instant) -> Option<Instant> {
        match self {
            Source::Upstreams(failover) => failover.slate_due(now),
            Source::Fed(_) => None,
        }
    }

    /// The slate's connection.
    pub fn slate(&self) -> Option<&Fill> {
        match self {
            Source::Upstreams(failover) => failover.slate(),
            Source::Fed(_) => None,
        }
    }

    /// Nobody sees the slate any more.
    pub fn end_slate(&mut self, ring: &mut Ring, now: Instant) {
        if let Source::Upstreams(failover) = self {
            failover.end_slate(ring, now);
        }
    }

    /// Whether another connection may come after one that is lost. Whoever is fed has its owner
    /// wait for that.
    pub fn will_try_again(&self) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.will_try_again())
    }

    /// What comes next has nothing to do with what came before: nobody is there who has had that.
    pub fn begin_anew(&mut self) {
        if let Source::Upstreams(failover) = self {
            failover.begin_anew();
        }
    }

    /// What the owner feeds has come to it another way from now on, or is its slate.
    pub fn set_via(&mut self, via: &Via, slate: bool) {
        if let Source::Fed(fed) = self {
            fed.set_via(via, slate);
        }
    }

    /// Whether the stream has gone on with another connection, and how; once.
    pub fn take_switched(&mut self) -> Option<Switched> {
        match self {
            Source::Upstreams(failover) => failover.take_switched(),
            Source::Fed(_) => None,
        }
    }

    /// What was connected last: it is read now, or when what came before is at its end.
    pub fn last(&self) -> Option<&Fill> {
        match self {
            Source::Upstreams(failover) => failover.connected(),
            Source::Fed(fed) => fed.last(),
        }
    }

    /// What is connected beside that, to be gone on with later.
    pub fn better(&self) -> Option<&Fill> {
        match self {
            Source::Upstreams(failover) => failover.better(),
            Source::Fed(_) => None,
        }
    }

    /// Lets go of that.
    pub fn drop_better(&mut self) {
        if let Source::Upstreams(failover) = self {
            failover.drop_better();
        }
    }

    /// Whether an attempt to reach an upstream is under way.
    pub fn is_dialing(&self) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.is_dialing())
    }

    /// Its upstreams, if they are here.
    pub fn upstreams(&mut self) -> Option<&mut Failover> {
        match self {
            Source::Upstreams(failover) => Some(failover),
            Source::Fed(_) => None,
        }
    }

    /// What is to be expected of the upstreams by somebody who waits.
    pub fn outlook(&self, now: Instant) -> Outlook {
        match self {
            Source::Upstreams(failover) => failover.outlook(now),
            Source::Fed(_) => Outlook::Never,
        }
    }

    /// Begins an attempt, if one is due.
    pub fn begin_attempt(&mut self, now: Instant) -> Option<Attempt> {
        match self {
            Source::Upstreams(failover) => failover.begin_attempt(now),
            Source::Fed(_) => None,
        }
    }

    /// Takes the result of an attempt, or a pipe from the owner. Answers whether it is connected
    /// now.
    pub fn dialed(&mut self, result: Result<Dialed, DialError>, now: Instant) -> bool {
        match (self, result) {
            (Source::Upstreams(failover), result) => failover.dialed(result, now),
            (Source::Fed(fed), Ok(dialed)) => {
                fed.take(dialed, now);
                true
            }
            (Source::Fed(fed), Err(_)) => fed.fill.is_some(),
        }
    }

    /// Reads into the ring; an end is dealt with here.
    pub fn fill(&mut self, ring: &mut Ring, now: Instant) -> Filled {
        match self {
            Source::Upstreams(failover) => failover.fill(ring, now),
            Source::Fed(fed) => fed.fill(ring, now),
        }
    }

    /// What the last fill took of the kernel's buffer beside the stream's bytes.
    pub fn overhead_bytes(&self) -> usize {
        match self {
            Source::Upstreams(failover) => failover.overhead_bytes(),
            Source::Fed(_) => 0,
        }
    }

    /// Lets go of what is connected; upstreams are tried again when their schedule says.
    pub fn give_up(&mut self, loss: &Loss, ring: &mut Ring, now: Instant) {
        match self {
            Source::Upstreams(failover) => failover.give_up(loss, ring, now),
            Source::Fed(fed) => fed.let_go(ring),
        }
    }

    /// Closes an upstream that has sent nothing for too long. Answers whether it did. An owner is
    /// silent only when its upstream is, and ends its feeds then.
    pub fn give_up_silent(&mut self, ring: &mut Ring, now: Instant) -> bool {
        match self {
            Source::Upstreams(failover) => failover.give_up_silent(ring, now),
            Source::Fed(_) => false,
        }
    }

    /// Whether the upstream has sent nothing for too long.
    pub fn is_silent(&self, now: Instant) -> bool {
        matches!(self, Source::Upstreams(failover) if failover.is_silent(now))
    }

    /// When to look again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Source::Upstreams(failover) => failover.deadline(now),
            Source::Fed(_) => None,
        }
    }

    /// Whether there is something to do though nothing has come.
    pub fn is_due(&mut self, now: Instant) -> bool {
        match self {
            Source::Upstreams(failover) => failover.is_due(now),
            Source::Fed(_) => false,
        }
    }

    /// Lets go for good.
    pub fn stop(&mut self) {
        match self {
            Source::Upstreams(failover) => failover.stop(),
            Source::Fed(fed) => (fed.fill, fed.next) = (None, None),
        }
    }

    /// Publishes what was counted.
    pub fn publish(&mut self) {
        match self {
            Source::Upstreams(failover) => failover.publish(),
            Source::Fed(fed) => *fed.counts = UpstreamCounts::default(),
        }
    }
}
