//! A stream: its upstream, its recent bytes and its viewers.
//!
//! Owns all of them, and belongs to one worker with everything it owns: no lock, nothing shared in
//! the data path. In a turn it reads what the upstream has ([`fill`]) and offers the chunk to every
//! live viewer through the trunk ([`fan_out`]); when the worker's other streams have done the same,
//! it serves those catching up from the ring. Never blocks. Driven by its worker: events mark,
//! `send_live` and `catch_up` work, `on_deadline` is called when time has come.

pub mod admission;
pub mod allotment;
pub mod bytes;
pub mod contents;
pub mod datagrams;
mod demand;
pub mod failover;
pub mod fan_out;
pub mod feed;
pub mod fill;
pub mod gate;
pub mod health;
pub mod history;
pub mod hold;
pub mod inserted;
pub mod intake;
pub mod join;
pub mod lobby;
mod members;
pub mod on_demand;
pub mod points;
mod publish;
pub mod resync;
pub mod slate;
pub mod source;
pub mod switch;
pub mod trunk;

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use slog::{Logger, info};

use crate::clock::earlier;
use crate::config::{OnDemand, Slow};
use crate::limits::{DRAIN_TIMEOUT, STALL_CHECK_INTERVAL};
use crate::log::access::{AccessLog, Entry};
use crate::metrics::stream::StreamGauges;
use crate::metrics::{StreamCounts, StreamMetrics};
use crate::ring::{LagLimit, Ring};
use crate::upstream::{DialError, Dialed, Loss};
use crate::viewer::allowance::Allowance;
use crate::viewer::{Departure, Viewer};
use admission::Admission;
use demand::Meter;
use feed::Feed;
use gate::Gate;
use history::History;
use hold::Hold;
use intake::Filled;
use members::Members;
use on_demand::Demand;
use source::Source;
use trunk::Trunk;

pub use fill::Fill;
pub use join::ViewerKey;

/// A stream; see the module.
#[derive(Debug)]
pub struct Stream {
    log: Logger,
    metrics: StreamMetrics,
    admission: Arc<Admission>,
    source: Source,
    hold: Hold,
    /// If it is connected only while somebody wants it.
    demand: Option<Box<Demand>>,
    /// Other workers' parts of it.
    feeds: Vec<Feed>,
    /// When to look at those that are behind, if no turn comes before.
    feeds_due: Option<Instant>,
    ring: Ring,
    limit: LagLimit,
    history: History,
    slow: Slow,
    pacing_percent: Option<u32>,
    members: Members,
    /// The upstream may have something to read.
    readable: bool,
    counts: StreamCounts,
    /// Bytes sent to viewers since somebody asked.
    sent: u64,
    /// The state that the metrics show.
    shown: StreamGauges,
    /// Up to when the viewers' time is counted.
    counted: Instant,
    /// When the first of the ending viewers has had its time.
    ending: Option<Instant>,
    /// When to look at the viewers who take nothing.
    stall_check: Option<Instant>,
    /// When viewers were sent something last.
    last_chunk: Instant,
    gate: Arc<Gate>,
    preamble: Option<Arc<[u8]>>,
    congestion: Option<Arc<str>>,
    access: AccessLog,
    meter: Meter,
}

/// What a stream is made of.
#[derive(Debug)]
pub struct Parts {
    /// The log, with the stream's path.
    pub log: Logger,
    /// Its metrics.
    pub metrics: StreamMetrics,
    /// The node's limit of viewers.
    pub admission: Arc<Admission>,
    /// Where its bytes come from.
    pub source: Source,
    /// What becomes of viewers when an upstream is lost.
    pub hold: Hold,
    /// Whether it is connected only while somebody wants it.
    pub on_demand: Option<OnDemand>,
    /// How far a viewer may lag, in packets.
    pub lag_packets: usize,
    /// Where who joins begins, and what is kept for that.
    pub history: History,
    /// What becomes of a viewer who lags further.
    pub slow: Slow,
    /// How fast who joins gets what has come before, in percent of the bitrate.
    pub pacing_percent: Option<u32>,
    /// Who may enter.
    pub gate: Arc<Gate>,
    /// What every viewer gets before the stream.
    pub preamble: Option<Arc<[u8]>>,
    /// The TCP congestion control of its viewers; the system's if there is none.
    pub congestion: Option<Arc<str>>,
    /// Where it is told that viewers went.
    pub access: AccessLog,
}

impl Stream {
    /// A stream without viewers, whose upstream has not been tried yet.
    pub fn new(parts: Parts, now: Instant) -> Stream {
        Stream {
            log: parts.log,
            metrics: parts.metrics,
            admission: parts.admission,
            source: parts.source,
            hold: parts.hold,
            demand: parts.on_demand.map(|config| Box::new(Demand::new(config))),
            feeds: Vec::new(),
            feeds_due: None,
            ring: Ring::new(),
            limit: LagLimit::new(parts.lag_packets),
            history: parts.history,
            slow: parts.slow,
            pacing_percent: parts.pacing_percent,
            members: Members::default(),
            readable: false,
            counts: StreamCounts::default(),
            sent: 0,
            shown: StreamGauges::default(),
            counted: now,
            ending: None,
            stall_check: None,
            last_chunk: now,
            gate: parts.gate,
            preamble: parts.preamble,
            congestion: parts.congestion,
            access: parts.access,
            meter: Meter::new(now),
        }
    }

    /// Where its bytes come from.
    pub fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Takes the result of an attempt to reach an upstream, or the pipe that its owner feeds.
    /// Answers whether it is connected now.
    pub fn dialed(&mut self, result: Result<Dialed, DialError>, now: Instant) -> bool {
        self.expect();
        let connected = self.source.dialed(result, now);
        if connected {
            self.came(now);
        }
        connected
    }

    /// Feeds another worker's part of the stream from now on, by a pipe.
    pub fn feed_to(&mut self, worker: usize, pipe: OwnedFd) {
        self.feeds.push(Feed::new(worker, pipe));
    }

    /// Whether its upstream is connected.
    pub fn is_connected(&self) -> bool {
        self.source.is_connected()
    }

    /// Who may enter.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The TCP congestion control of its viewers, if it is not the system's.
    pub fn congestion(&self) -> Option<&str> {
        self.congestion.as_deref()
    }

    /// It is switched off: ends its viewers on a packet boundary.
    pub fn switched_off(&mut self, now: Instant) {
        self.end_viewers(Departure::SwitchedOff, now + DRAIN_TIMEOUT);
    }

    /// The viewers there are, whatever they do.
    pub fn viewers(&self) -> usize {
        self.members.len() + self.lobby_len()
    }

    /// Whether another worker may have it now: no attempt is under way whose result comes here.
    pub fn may_move(&self) -> bool {
        !self.source.is_dialing()
    }

    /// The viewers' connections.
    pub fn sockets(&self) -> impl Iterator<Item = (ViewerKey, &TcpStream)> {
        self.members.iter().map(|(key, viewer)| (key, &viewer.connection.socket))
    }

    /// Lets go of a viewer that cannot be watched.
    pub fn drop_viewer(&mut self, key: ViewerKey, now: Instant) {
        self.remove(key.index, Departure::Vanished, now);
    }

    /// The upstream may have something to read.
    pub fn mark_readable(&mut self) {
        self.readable = true;
    }

    /// The first half of a turn: reads the upstream and sends to who is live. Answers what the
    /// upstream took of the kernel's buffer, in bytes.
    pub fn send_live(&mut self, trunk: &mut Trunk, now: Instant) -> usize {
        let from = self.ring.head();
        let mut ended = false;
        if std::mem::take(&mut self.readable) {
            match self.source.fill(&mut self.ring, now) {
                Filled::Drained => {}
                Filled::More => self.readable = true,
                Filled::Ended => {
                    ended = true;
                    // What the owner feeds since is there already.
                    self.readable = self.source.is_connected() || self.source.slate().is_some();
                }
            }
        }
        ended |= self.source.give_up_silent(&mut self.ring, now);
        let to = self.ring.head();
        if let Some(packets) = self.limit.observe(to.since(from)) {
            info!(self.log, "outputbuffer is less than two turns' data: {packets} packets it is";
                "event" => "limit", "packets" => packets);
        }
        if to > from {
            self.last_chunk = now;
            self.fan_out(trunk, from, to, now);
        }
        if let Some(switched) = self.source.take_switched() {
            self.went_on(&switched, now);
        }
        self.look_at_hold();
        if ended {
            self.lost(now);
        } else if self.is_hold_over(now) {
            self.expire(now);
        }
        self.look_at_slate(now);
        self.look_back(now);
        if self.members.waiting().next().is_none() && self.feeds.iter().all(Feed::is_level) {
            // Nobody else needs it, and the next stream finds the memory in the processor's cache.
            self.ring.evict(self.history.kept());
        }
        to.since(from) + self.source.overhead_bytes()
    }

    /// The second half: serves who is not live, within what all streams together may spend on that,
    /// and publishes what was counted. Answers whether there is more to do at once.
    pub fn catch_up(&mut self, allowance: &mut Allowance, now: Instant) -> bool {
        // Whoever hangs on a feed is live, and goes before who is not.
        let of_feeds = self.serve_feeds(allowance, now);
        let of_viewers = self.serve_waiting(allowance, now);
        let lacked = of_feeds.keep.max(of_viewers.keep);
        self.history.lend(lacked, self.limit.bytes());
        self.ring.evict(self.history.kept().max(lacked));
        self.look_at_demand(now);
        self.publish(now);
        of_feeds.again || of_viewers.again || self.readable
    }

    /// Its upstream cannot be watched: it is lost, as if it had broken.
    pub fn lose_upstream(&mut self, why: io::Error, now: Instant) {
        self.source.give_up(&Loss::Broken(why), &mut self.ring, now);
        self.lost(now);
    }

    /// When the stream wants to be looked at, whatever happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let viewers = earlier(earlier(self.stall_check, self.ending), self.feeds_due);
        let demand = self.demand.as_ref().and_then(|demand| demand.deadline());
        let viewers = earlier(earlier(viewers, self.hold_deadline()), demand);
        let viewers = earlier(viewers, self.slate_deadline(now));
        earlier(self.source.deadline(now), viewers)
    }

    /// Does what is due. Answers whether the stream needs a turn.
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        // What the upstream's end brings goes to viewers in a turn, as everything does.
        // A datagram that is missing is given up by reading.
        self.readable |= self.source.is_due(now);
        let mut turn = self.readable
            || self.source.is_silent(now)
            || self.is_hold_over(now)
            || self.ending.is_some_and(|end| end <= now)
            || self.demand.as_ref().and_then(|of| of.deadline()).is_some_and(|due| due <= now);
        if self.feeds_due.is_some_and(|due| due <= now) {
            self.feeds_due = None;
            turn = true;
        }
        if self.stall_check.is_some_and(|due| due <= now) {
            self.stall_check = None;
            self.check_stalled(now);
            turn = true;
        }
        turn
    }

    /// We are told to stop: viewers get the rest of their packet and are let go. Answers whether
    /// there are any, who need a turn.
    pub fn stop(&mut self, now: Instant) -> bool {
        self.source.stop();
        self.end_hold();
        self.feeds.clear();
        self.end_viewers(Departure::Stopped, now + DRAIN_TIMEOUT);
        self.publish(now);
        self.viewers() > 0
    }

    /// Cuts the viewers who have not taken the rest in time.
    pub fn cut(&mut self, now: Instant) {
        for index in self.members.places() {
            self.remove(index, Departure::TooSlowToEnd, now);
        }
        self.clear_lobby(now);
        self.publish(now);
    }

    /// Ends every viewer; see [`Viewer::end`].
    fn end_viewers(&mut self, why: Departure, deadline: Instant) {
        let stay = self.members.each(|viewer| {
            viewer.end(why, &self.ring, deadline, &mut self.counts);
            None
        });
        assert!(stay.is_empty(), "who ends is let go in a turn");
    }

    fn remove(&mut self, index: usize, why: Departure, now: Instant) {
        self.count_time(now);
        let Viewer { connection, visit, .. } = self.members.remove(index);
        self.gate.leave();
        self.admission.leave(connection.client);
        self.metrics.ended(why.reason());
        self.access.log(Entry {
            peer: connection.peer,
            client: connection.client,
            path: visit.path,
            user_agent: visit.user_agent,
            status: 200,
            bytes: visit.bytes,
            packets_skipped: visit.packets_skipped,
            time: now.saturating_duration_since(visit.since),
            reason: why.reason(),
            at: SystemTime::now(),
        });
    }

    /// Has the viewers who take nothing looked at before long.
    fn check_soon(&mut self, now: Instant) {
        self.stall_check.get_or_insert(now + STALL_CHECK_INTERVAL);
    }
}

#[cfg(test)]
mod tests;
