//! What becomes of the viewers when an upstream is lost.
//!
//! Owns how long they wait for the next one, and since when they do. While they wait nothing is
//! sent to them, and nobody else is let in. Driven by the stream: [`Stream::lost`] begins it, what
//! [goes on](Stream::went_on) with another connection ends it, and else its time does.

use std::time::{Duration, Instant};

use slog::{info, warn};

use super::Stream;
use super::switch::Switched;
use crate::clock::seconds;
use crate::http::via::Via;
use crate::limits::ENDING_TIMEOUT;
use crate::viewer::Departure;

/// How viewers wait; see the module.
#[derive(Debug)]
pub struct Hold {
    /// For how long; `None`: they do not.
    patience: Option<Duration>,
    /// Since when, and until when at the most.
    on: Option<On>,
    /// Which way the last connection came.
    way: Via,
    /// The stream came another way than before, and other workers were not told yet.
    rerouted: bool,
    /// Viewers see the slate, as was told.
    slate: bool,
}

#[derive(Clone, Copy, Debug)]
struct On {
    since: Instant,
    until: Instant,
}

impl Hold {
    /// Nobody waits yet.
    pub fn new(patience: Option<Duration>) -> Hold {
        Hold { patience, on: None, way: Via::default(), rerouted: false, slate: false }
    }

    /// Takes note of whether viewers see the slate. Answers whether that is new.
    pub(super) fn tell_slate(&mut self, shown: bool) -> bool {
        std::mem::replace(&mut self.slate, shown) != shown
    }

    /// Whether viewers wait.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Until when they do, as long as there is no connection.
    fn until(&self) -> Option<Instant> {
        self.on.map(|on| on.until)
    }

    /// An upstream is lost. Answers whether viewers wait for the next one; those who have waited
    /// since before have no more time by that.
    fn begin(&mut self, now: Instant) -> bool {
        let Some(patience) = self.patience else { return false };
        let on = self.on.get_or_insert(On { since: now, until: now + patience });
        on.until > now
    }

    /// They wait no longer. Answers since when they have.
    fn end(&mut self) -> Option<Instant> {
        self.on.take().map(|on| on.since)
    }
}

impl Stream {
    /// The upstream is gone: viewers wait for the next one, if they are to and there will be one.
    pub(super) fn lost(&mut self, now: Instant) {
        let begins = !self.hold.is_on();
        let stay = self.is_watched() && self.source.will_try_again();
        // Who sees the slate may do so for as long as it takes.
        if stay && (self.hold.begin(now) || self.source.is_slate_shown()) {
            if begins {
                self.metrics.switching().held(true);
                info!(self.log, "viewers wait for the next upstream";
                    "event" => "hold", "viewers" => self.members.len());
            }
            self.look_back(now);
        } else {
            self.finish(now);
        }
    }

    /// Whether anybody is to get what comes next.
    pub(super) fn is_watched(&self) -> bool {
        self.members.len() > 0 || self.are_fed()
    }

    /// A connection is about to come: has what there was before go on with it, if anybody waits.
    pub(super) fn expect(&mut self) {
        if !(self.source.is_connected() || self.hold.is_on() && self.is_watched()) {
            self.source.begin_anew();
        }
    }

    /// A connection has come. Where nobody is left who has waited, that is over.
    pub(super) fn came(&mut self, now: Instant) {
        if !self.is_watched() {
            self.end_hold();
        }
        self.look_at_way(now);
    }

    /// Has those who were told another way come again.
    fn look_at_way(&mut self, now: Instant) {
        let way = self.via();
        if way != self.hold.way {
            self.hold.way = way;
            self.tell_workers();
            self.end_nodes(now);
        }
    }

    /// The stream comes another way: viewers that may be nodes are let go, to come back and be told
    /// (see [`via`](crate::http::via)).
    pub(super) fn end_nodes(&mut self, now: Instant) {
        let deadline = now + ENDING_TIMEOUT;
        let stay = self.members.each(|viewer| {
            if viewer.visit.of_node {
                viewer.end(Departure::Rerouted, &self.ring, deadline, &mut self.counts);
            }
            None
        });
        assert!(stay.is_empty(), "who ends is let go in a turn");
    }

    /// The stream's owner has it by another way; maybe what it feeds is the slate.
    pub fn reroute(&mut self, way: &Via, slate: bool, now: Instant) {
        self.source.set_via(way, slate);
        self.end_nodes(now);
    }

    /// Workers that are fed are to be told which way the stream comes, and whether it is the slate.
    pub(super) fn tell_workers(&mut self) {
        self.hold.rerouted = self.are_fed();
    }

    /// Whether the stream has come another way since this was asked last, so that workers that are
    /// fed are to be told.
    pub fn take_rerouted(&mut self) -> bool {
        std::mem::take(&mut self.hold.rerouted)
    }

    /// Whether it has, and that is still to be told.
    pub fn is_rerouted(&self) -> bool {
        self.hold.rerouted
    }

    /// Whether a worker is fed, and goes on to be.
    pub fn feeds_worker(&self, worker: usize) -> bool {
        self.feeds.iter().any(|feed| feed.goes_on_to(worker))
    }

    /// Feeds a worker no longer.
    pub fn end_feed(&mut self, worker: usize) {
        self.feeds.retain(|feed| !feed.goes_on_to(worker));
    }

    /// The stream goes on with another connection.
    pub(super) fn went_on(&mut self, switched: &Switched, now: Instant) {
        self.look_at_way(now);
        let since = self.end_hold().unwrap_or(now);
        self.metrics.switching().switched(switched.kind);
        let without = seconds(now.saturating_duration_since(since));
        info!(self.log, "viewers go on with the next upstream";
            "event" => "switch", "kind" => switched.kind.word(), "seconds" => without,
            "held_back_seconds" => seconds(switched.waited), "viewers" => self.members.len());
    }

    /// When viewers have waited for long enough. A connection that is there is waited for as any
    /// that has nothing to send.
    pub(super) fn hold_deadline(&self) -> Option<Instant> {
        let waits = !self.source.is_connected() && !self.source.is_slate_shown();
        self.hold.until().filter(|_| waits)
    }

    /// Whether viewers have waited for too long.
    pub(super) fn is_hold_over(&self, now: Instant) -> bool {
        self.hold_deadline().is_some_and(|until| until <= now)
    }

    /// Viewers have waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.metrics.switching().expired();
        warn!(self.log, "no upstream has come in time, viewers are let go";
            "event" => "hold_end", "viewers" => self.members.len());
        self.finish(now);
    }

    /// There is nothing to wait for: everybody gets what there is, and goes (see
    /// [`via`](crate::http::via) for what else depends on that).
    pub(super) fn finish(&mut self, now: Instant) {
        self.end_hold();
        let deadline = now + ENDING_TIMEOUT;
        self.end_viewers(Departure::Finished, deadline);
        for feed in &mut self.feeds {
            feed.end(self.ring.head(), deadline);
        }
        self.look_at_feeds_soon(now);
        self.look_back(now);
    }

    /// Nobody waits any more if all have gone.
    pub(super) fn look_at_hold(&mut self) {
        if self.hold.is_on() && !self.is_watched() {
            self.end_hold();
        }
    }

    /// Viewers wait no longer. Answers since when they have.
    pub(super) fn end_hold(&mut self) -> Option<Instant> {
        let since = self.hold.end();
        if since.is_some() {
            self.metrics.switching().held(false);
        }
        since
    }
}
