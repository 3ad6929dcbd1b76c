//! Viewers see the slate, and see it no more.
//!
//! Owns whether that was told. When it is played, and how, is [the upstreams' matter]. It is for
//! viewers alone: whoever may be a node has upstreams and a slate of its own, and is let go, to see
//! that this stream has nothing. Driven by the stream, in each turn, and by its worker.
//!
//! [the upstreams' matter]: super::failover

use std::time::Instant;

use slog::{Logger, info};

use super::Stream;
use super::failover::Show;
use crate::http::via::Via;
use crate::upstream::{DialError, Dialed};

impl Stream {
    /// Where it is told what happens to the stream.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// Whether who comes by `via` sees the slate, where there is no upstream.
    pub(super) fn shows_slate(&self, via: &Via) -> bool {
        via.is_empty() && self.source.has_slate()
    }

    /// Whether viewers see the slate, here or where the stream is fed from.
    pub fn is_slate_shown(&self) -> bool {
        self.source.is_slate_shown() || self.source.is_fed_slate()
    }

    /// Whether there would be somebody to see it. Whom a hot stream is fed to asks there.
    fn wants_slate(&self) -> bool {
        self.is_watched() || self.source.always_has_slate()
    }

    /// When to begin with it.
    pub(super) fn slate_deadline(&self, now: Instant) -> Option<Instant> {
        self.source.slate_due(now).filter(|_| self.wants_slate())
    }

    /// Begins with it, if it is time.
    pub fn begin_slate(&mut self, now: Instant) -> Option<Show> {
        if !self.wants_slate() {
            return None;
        }
        self.source.upstreams()?.begin_slate(now)
    }

    /// Takes the slate's connection. Answers whether to watch it.
    pub fn slate_begun(&mut self, result: Result<Dialed, DialError>, now: Instant) -> bool {
        let (log, upstreams) = (&self.log, self.source.upstreams());
        upstreams.is_some_and(|failover| failover.slate_begun(result, log, now))
    }

    /// The slate cannot be watched.
    pub fn drop_slate(&mut self, now: Instant) {
        self.source.end_slate(&mut self.ring, now);
    }

    /// Tells when viewers see it, and when they do no more. Ends it when nobody does.
    pub(super) fn look_at_slate(&mut self, now: Instant) {
        if self.source.slate().is_some() && !self.wants_slate() {
            self.source.end_slate(&mut self.ring, now);
        }
        let shown = self.source.is_slate_shown();
        if !self.hold.tell_slate(shown) {
            return;
        }
        self.metrics.switching().slate(shown);
        self.tell_workers();
        let viewers = self.members.len();
        if shown {
            info!(self.log, "viewers see the slate"; "event" => "slate", "viewers" => viewers);
            self.end_nodes(now);
        } else {
            info!(self.log, "viewers see the slate no more"; "event" => "slate_end",
                "viewers" => viewers);
        }
    }
}
