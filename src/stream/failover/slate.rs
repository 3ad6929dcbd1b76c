//! What viewers see while no upstream sends them anything.
//!
//! Owns the slate's connection: a pipe into which a thread [plays](crate::upstream::player) it,
//! over and over. It begins when the stream has had nothing to send for a while and somebody
//! watches, goes into the ring as an upstream would, by the same [switch](crate::stream::switch),
//! and is read until the next upstream has a random access point to go on with. Nothing of it is
//! counted as an upstream's. Driven by [`super::Failover`].

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use slog::{Logger, warn};

use super::{Failover, Link};
use crate::config::Slate;
use crate::limits::{SLATE_AFTER, SLATE_RETRY};
use crate::metrics::UpstreamCounts;
use crate::ring::Ring;
use crate::stream::fill::Fill;
use crate::stream::intake::Filled;
use crate::stream::switch::Before;
use crate::ts::programs::Tables;
use crate::upstream::{DialError, Dialed};

/// What there is of a slate; see the module.
#[derive(Debug, Default)]
pub(super) struct Slated {
    slate: Option<Slate>,
    /// Also when nobody watches here.
    always: bool,
    state: State,
    /// Not before.
    earliest: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Off,
    /// Its thread is being started.
    Starting,
    Playing(Box<Fill>),
}

/// What it takes to play a slate.
#[derive(Debug)]
pub struct Show {
    /// Which one.
    pub slate: Slate,
    /// The tables of the stream that it takes the place of; none yet if nothing has come of that.
    pub like: Arc<Tables>,
}

impl Slated {
    /// Whether its thread is being started.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting)
    }

    /// Its connection.
    pub(super) fn playing(&self) -> Option<&Fill> {
        if let State::Playing(fill) = &self.state { Some(fill) } else { None }
    }

    /// The stream has had something to send until now.
    pub(super) fn missed(&mut self, now: Instant) {
        self.earliest = Some(now + SLATE_AFTER);
    }

    /// Reads what has come of it into the ring.
    pub(super) fn read(&mut self, ring: &mut Ring, before: &mut Before, now: Instant) -> Filled {
        let State::Playing(fill) = &mut self.state else { return Filled::Drained };
        match fill.fill(ring, now, &mut UpstreamCounts::default()) {
            Ok(filled) => filled,
            // Its thread has told why.
            Err(_ended) => {
                self.end(ring, before);
                self.earliest = Some(now + SLATE_RETRY);
                Filled::Drained
            }
        }
    }

    /// It is not needed any more. One that is being started comes yet, and is judged then: until
    /// that the stream stays where it is.
    pub(super) fn end(&mut self, ring: &mut Ring, before: &mut Before) {
        let State::Playing(fill) = &mut self.state else { return };
        fill.finish(ring, &mut UpstreamCounts::default());
        if fill.is_open() {
            before.add(fill.probe());
        }
        self.state = State::Off;
    }
}

impl Failover {
    /// The same with a slate, which may `always` be shown: other workers have viewers as well.
    #[must_use]
    pub fn with_slate(mut self, slate: Option<Slate>, always: bool) -> Failover {
        (self.slated.slate, self.slated.always) = (slate, always);
        self
    }

    /// Whether it is shown though nobody watches here.
    pub fn always_has_slate(&self) -> bool {
        self.slated.always
    }

    /// What flows into the ring: what is connected, or the slate.
    pub fn flowing(&self) -> Option<&Fill> {
        self.connected().filter(|fill| fill.is_open()).or_else(|| self.shown())
    }

    /// The slate, where viewers see it.
    fn shown(&self) -> Option<&Fill> {
        self.slated.playing().filter(|fill| fill.is_open())
    }

    /// Whether viewers see the slate.
    pub fn is_slate_shown(&self) -> bool {
        self.shown().is_some()
    }

    /// Whether there is something to see for who comes, without an upstream: not for a stream that
    /// will never have another one.
    pub fn has_slate(&self) -> bool {
        self.slated.slate.is_some() && self.will_try_again()
    }

    /// When to begin with it, if somebody watches.
    pub fn slate_due(&self, now: Instant) -> Option<Instant> {
        let is_off = matches!(self.slated.state, State::Off);
        let wanted = self.has_slate() && is_off && self.flowing().is_none();
        wanted.then(|| self.slated.earliest.unwrap_or(now))
    }

    /// Begins with it, if it is time.
    pub fn begin_slate(&mut self, now: Instant) -> Option<Show> {
        let due = self.slate_due(now).filter(|due| *due <= now);
        let slate = self.slated.slate.clone().filter(|_| due.is_some())?;
        self.slated.state = State::Starting;
        // What is staged may be known already.
        let staged = self.connected().map(Fill::tables).filter(|tables| tables.number() > 0);
        let like = staged.unwrap_or_else(|| Arc::clone(&self.before.tables));
        Some(Show { slate, like })
    }

    /// Takes its connection. Answers whether it is needed, still.
    pub fn slate_begun(
        &mut self,
        result: Result<Dialed, DialError>,
        log: &Logger,
        now: Instant,
    ) -> bool {
        if !matches!(mem::take(&mut self.slated.state), State::Starting) {
            return false;
        }
        match result {
            Ok(dialed) if self.has_slate() && self.flowing().is_none() => {
                let fill = Fill::new(dialed, now);
                let goes_on = !self.before.pids.is_empty();
                let fill = if goes_on { fill.after(&self.before) } else { fill };
                self.slated.state = State::Playing(Box::new(fill));
                return true;
            }
            Ok(_late) => {}
            Err(why) => {
                warn!(log, "the slate {why}"; "event" => "error", "error" => why.kind());
                self.slated.earliest = Some(now + SLATE_RETRY);
            }
        }
        false
    }

    /// Its connection, wherever its bytes go.
    pub fn slate(&self) -> Option<&Fill> {
        self.slated.playing()
    }

    /// Nobody watches, or it cannot be watched.
    pub fn end_slate(&mut self, ring: &mut Ring, now: Instant) {
        self.slated.end(ring, &mut self.before);
        self.slated.missed(now);
    }

    /// Reads the connected upstream while viewers see the slate, which ends as soon as there is
    /// something to go on with.
    pub(super) fn fill_beside_slate(
        &mut self,
        ring: &mut Ring,
        now: Instant,
    ) -> Result<Filled, crate::upstream::Loss> {
        let Link::Connected { fill, .. } = &mut self.link else { return Ok(Filled::Drained) };
        let read = fill.read_aside(now, &mut self.counts);
        // What has ended may still have brought something to go on with.
        if fill.look(now) {
            self.slated.end(ring, &mut self.before);
            fill.set_before(&self.before);
            fill.go_on(ring, now);
            return read;
        }
        let of_slate = self.slated.read(ring, &mut self.before, now);
        read.map(|read| if of_slate == Filled::More { Filled::More } else { read })
    }
}
