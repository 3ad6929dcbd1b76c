//! A stream that is fed on to another worker: one more viewer, whose socket is a pipe.
//!
//! At the head it is given what the trunk holds, by one `tee`; when its pipe is full, because the
//! other worker is late, it catches up from the ring as a viewer does. It is not watched: the
//! stream looks at those that are behind in every turn.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use restreamer_sys::Moved;

use super::resync::Resync;
use super::trunk::Trunk;
use crate::metrics::StreamCounts;
use crate::ring::{Position, Ring};
use crate::viewer::allowance::Allowance;
use crate::viewer::catching_up::{Came, CatchingUp, Landing};

/// See the module.
#[derive(Debug)]
pub struct Feed {
    /// The number of the other worker.
    worker: usize,
    /// Where it reads.
    pipe: OwnedFd,
    /// It has not had everything up to the head.
    behind: Option<CatchingUp>,
    /// It is to end here, at this instant at the latest.
    end: Option<(Position, Instant)>,
}

/// What becomes of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Stays,
    /// It has had everything, or nobody reads it any more.
    Over,
}

impl Feed {
    /// Feeds a worker by a pipe, non-blocking, from the head on.
    pub fn new(worker: usize, pipe: OwnedFd) -> Feed {
        Feed { worker, pipe, behind: None, end: None }
    }

    /// Whether it is this worker's, and goes on.
    pub fn goes_on_to(&self, worker: usize) -> bool {
        self.worker == worker && self.end.is_none()
    }

    /// Whether it has had everything up to the head, and goes on.
    pub fn is_level(&self) -> bool {
        self.behind.is_none() && self.end.is_none()
    }

    /// Whether it is behind for want of its share of a turn, and not of room in its pipe.
    pub fn could_take_more(&self) -> bool {
        self.behind.as_ref().is_some_and(|state| !state.is_blocked())
    }

    /// How far behind the head it is.
    pub fn lag(&self, head: Position) -> usize {
        self.behind.as_ref().map_or(0, |state| head.since(state.position()))
    }

    /// Gives it what the trunk holds, the bytes from `from` to `to`, if it has had all before.
    pub fn offer(&mut self, trunk: &Trunk, from: Position, to: Position) -> Fate {
        if self.behind.is_some() || self.end.is_some() {
            return Fate::Stays;
        }
        match trunk.copy(&self.pipe) {
            Ok(Moved::Ended) | Err(_) => return Fate::Over,
            Ok(taken) => {
                let reached = from.advanced(taken.count());
                self.behind = (reached < to).then(|| CatchingUp::at(reached));
            }
        }
        Fate::Stays
    }

    /// It gets what there is up to `head`, and ends.
    pub fn end(&mut self, head: Position, deadline: Instant) {
        self.end.get_or_insert((head, deadline));
    }

    /// Gives one that is behind what it lacks, as far as its pipe takes it; where it lags too far
    /// it is skipped, as viewers are, and that is counted: those who watch there get what is
    /// inserted with the stream.
    pub fn catch_up(
        &mut self,
        resync: &mut Resync<'_>,
        now: Instant,
        allowance: &mut Allowance,
        counts: &mut StreamCounts,
    ) -> Fate {
        let ring = resync.ring;
        let to = self.end.map_or(ring.head(), |(end, _)| end);
        if let Some(state) = &mut self.behind {
            state.unblock();
            match advance(&self.pipe, state, ring, to, allowance) {
                Ok(Came::There) => self.behind = None,
                Ok(Came::Part) if ring.head().since(state.position()) > resync.limit => {
                    let landing = match self.end {
                        // What comes after its end is not for it.
                        Some((position, _)) => Landing { position, inserted: None },
                        None => resync.of_feed(state),
                    };
                    counts.feed_skips += u64::from(state.skip(ring, landing, counts));
                }
                Ok(Came::Part) => {}
                Ok(Came::Left) | Err(_) => return Fate::Over,
            }
        }
        match self.end {
            Some((_, deadline)) if self.behind.is_none() || deadline <= now => Fate::Over,
            _ => Fate::Stays,
        }
    }
}

fn advance(
    pipe: &OwnedFd,
    state: &mut CatchingUp,
    ring: &Ring,
    to: Position,
    allowance: &mut Allowance,
) -> io::Result<Came> {
    // These bytes reach no viewer here.
    let mut counts = StreamCounts::default();
    state.advance(pipe, ring, to, allowance, &mut counts)
}
