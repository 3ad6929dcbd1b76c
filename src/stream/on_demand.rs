//! A stream that is connected while somebody wants it.
//!
//! Who asks while there is no upstream waits in the [lobby](super::lobby) and has the upstreams
//! tried. When one is connected they all join at once, before its first packet: they get all that
//! comes, and are told that it comes as soon as it is known. Waiting for a picture first would show
//! it no sooner, and a stream without any would never begin. When nobody has been there for a
//! while, the upstream is let go of, with all that was kept.
//!
//! Owns the times, and since when nobody has wanted the stream. Driven by the worker, in its turns.

use std::time::{Duration, Instant};

use super::Stream;
use super::join::{Readiness, Refused, ViewerKey};
use super::lobby::{Called, Lobby, Waiting};
use crate::config::OnDemand;
use crate::http::via::Via;
use crate::viewer::Departure;

/// What a stream on demand has more than another; see the module.
#[derive(Debug)]
pub struct Demand {
    linger: Duration,
    lobby: Lobby,
    /// Since when nobody has wanted what there is to let go of.
    unwanted: Option<Instant>,
}

impl Demand {
    /// Nobody wants it.
    pub fn new(config: OnDemand) -> Demand {
        Demand { linger: config.linger, lobby: Lobby::new(config.start_timeout), unwanted: None }
    }

    /// When there is something to do: somebody has waited long enough, or nobody has come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let released = self.unwanted.map(|since| since + self.linger);
        crate::clock::earlier(self.lobby.deadline(), released)
    }
}

impl Stream {
    /// Whether somebody who comes by `via` may wait for the upstream, which there is not.
    pub(super) fn lets_wait(&self, via: &Via, now: Instant) -> bool {
        self.demand.as_ref().is_some_and(|demand| {
            demand.lobby.may_wait(now, !via.is_empty(), self.source.outlook(now))
        })
    }

    /// How many wait for the upstream.
    pub fn lobby_len(&self) -> usize {
        self.demand.as_ref().map_or(0, |demand| demand.lobby.len())
    }

    /// The key that the next one will have who waits.
    ///
    /// # Panics
    /// When the stream is not on demand.
    pub fn next_waiting_key(&self) -> ViewerKey {
        self.demand.as_ref().expect(ADMITTED).lobby.next_key()
    }

    /// Somebody waits who was admitted; an attempt may be due now.
    ///
    /// # Panics
    /// When the stream is not on demand.
    pub fn wait(&mut self, waiting: Waiting, now: Instant) {
        self.count_time(now);
        let demand = self.demand.as_mut().expect(ADMITTED);
        demand.lobby.enter(waiting);
        demand.unwanted = None;
        self.want(now);
    }

    /// Somebody wants the stream, who waits for the upstream or sees the slate.
    pub(super) fn want(&mut self, now: Instant) {
        if self.source.upstreams().is_some_and(|failover| failover.wake(now)) {
            self.metrics.demanded();
        }
    }

    /// Takes note of what the connection of one who waits reports. Answers one who is gone, whose
    /// place is free.
    pub fn on_waiting(
        &mut self,
        key: ViewerKey,
        ready: Readiness,
        now: Instant,
    ) -> Option<(Waiting, Departure)> {
        self.count_time(now);
        let gone = self.demand.as_mut()?.lobby.on_event(key, ready);
        gone.inspect(|(waiting, _)| self.dismiss(waiting.connection.client))
    }

    /// Takes out those whose waiting is over. Who is called in keeps its place, who is refused has
    /// none any more.
    pub fn call(&mut self, now: Instant) -> Vec<(Waiting, Called)> {
        self.count_time(now);
        let (outlook, open) = (self.source.outlook(now), self.gate.is_open());
        let Some(demand) = &mut self.demand else { return Vec::new() };
        let has_slate = self.source.has_slate();
        let mut called = demand.lobby.call(outlook, open, now);
        for (waiting, called) in &mut called {
            let in_vain =
                matches!(called, Called::Away(Refused::StartTimeout | Refused::NoUpstream));
            // Who has waited in vain sees the slate, unless it may be a node.
            if in_vain && has_slate && waiting.request.headers.via.is_empty() {
                *called = Called::In;
            }
        }
        for (waiting, _) in called.iter().filter(|(_, called)| *called != Called::In) {
            self.dismiss(waiting.connection.client);
        }
        called
    }

    /// Takes out everybody who waits: nobody has a place any more.
    pub fn clear_lobby(&mut self, now: Instant) -> Vec<Waiting> {
        self.count_time(now);
        let all = self.demand.as_mut().map(|demand| demand.lobby.clear()).unwrap_or_default();
        for waiting in &all {
            self.dismiss(waiting.connection.client);
        }
        all
    }

    /// Lets go of one who waits and cannot be watched.
    pub fn drop_waiting(&mut self, key: ViewerKey, now: Instant) {
        self.count_time(now);
        if let Some(waiting) = self.demand.as_mut().and_then(|demand| demand.lobby.remove(key)) {
            self.dismiss(waiting.connection.client);
        }
    }

    /// The connections of those who wait.
    pub fn lobby_sockets(&self) -> impl Iterator<Item = (ViewerKey, &std::net::TcpStream)> {
        self.demand.iter().flat_map(|demand| demand.lobby.sockets())
    }

    /// Takes note of whether anybody wants the stream, and lets go of what nobody has wanted for
    /// long enough: of a connection, that is; nobody waits for the next attempt then, at once.
    pub(super) fn look_at_demand(&mut self, now: Instant) {
        let wanted = self.viewers() > 0;
        let Some(demand) = &mut self.demand else { return };
        let Some(failover) = self.source.upstreams().filter(|of| !wanted && of.may_rest()) else {
            demand.unwanted = None;
            return;
        };
        let since = *demand.unwanted.get_or_insert(now);
        if failover.is_connected() && now.saturating_duration_since(since) < demand.linger {
            return;
        }
        demand.unwanted = None;
        failover.rest(&mut self.ring, now);
        self.readable = false;
        self.look_back(now);
        self.ring.evict(self.history.kept());
    }
}

const ADMITTED: &str = "only a stream on demand lets anybody wait";
