//! A stream's upstreams: which one is in use, and what happens when it goes.
//!
//! Owns the connection and the schedule. The states follow one another: *waiting* for the next
//! attempt → *dialing* (an attempt is under way on its own thread) → *connected* → *waiting*, or
//! *off* when there is to be no other attempt. One on demand is [*idle*](idle) while nobody wants
//! it. Each attempt is told with its reason and its result. Where upstreams are preferred to others
//! there may be a [`better`] one beside the connected one.

mod better;
mod idle;
mod rejoin;
mod slate;
mod upstream;
mod vigil;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, o, warn};

use better::Better;
pub use upstream::Upstream;

use super::contents::Report;
use super::fill::Fill;
use super::health::Watch;
use super::intake::Filled;
use super::switch::{Before, Switched};
use crate::clock::{earlier, seconds};
use crate::config::{Health, Reception, Remote, RemoteKind};
use crate::limits::DATAGRAM_OVERHEAD_BYTES;
use crate::metrics::health::Shown;
use crate::metrics::status::Begun;
use crate::metrics::{Reason, StreamStatus, UpstreamCounts, UpstreamState};
use crate::ring::Ring;
use crate::upstream::schedule::Schedule;
use crate::upstream::{DialError, Dialed, Loss};

pub use idle::Outlook;
pub use slate::Show;
use slate::Slated;

/// The upstreams of a stream; see the module.
#[derive(Debug)]
pub struct Failover {
    upstreams: Vec<Upstream>,
    schedule: Schedule,
    read_timeout: Option<Duration>,
    health: Health,
    /// One of them has sent PAT and PMT.
    tabled: bool,
    link: Link,
    /// Attempts so far.
    attempts: u64,
    /// Why the next one is made.
    reason: Reason,
    status: Arc<StreamStatus>,
    counts: UpstreamCounts,
    /// Datagrams that the last fill brought.
    datagrams: usize,
    /// What viewers have had by connections that are lost.
    before: Before,
    switched: Option<Switched>,
    better: Better,
    /// How long a preferred upstream has to be well before it is returned to.
    return_after: Duration,
    slated: Slated,
}

/// What it takes to dial an upstream.
#[derive(Debug)]
pub struct Attempt {
    /// The upstream.
    pub remote: Remote,
    /// How its datagrams are received, if it has any.
    pub reception: Reception,
    /// The log, with the upstream's address.
    pub log: Logger,
}

#[derive(Debug)]
enum Link {
    Idle,
    Waiting,
    Dialing(Begun),
    Connected {
        upstream: usize,
        attempt: u64,
        since: Instant,
        fill: Box<Fill>,
        report: Report,
        watch: Box<Watch>,
    },
    Off,
}

impl Failover {
    /// Upstreams in the order of `schedule`; nothing was tried yet.
    pub fn new(
        upstreams: Vec<Upstream>,
        schedule: Schedule,
        read_timeout: Option<Duration>,
        status: Arc<StreamStatus>,
    ) -> Failover {
        let counts = UpstreamCounts::default();
        Failover {
            upstreams,
            schedule,
            read_timeout,
            health: Health::default(),
            tabled: false,
            link: Link::Waiting,
            attempts: 0,
            reason: Reason::Start,
            status,
            counts,
            datagrams: 0,
            before: Before::default(),
            switched: None,
            better: Better::None,
            return_after: Duration::ZERO,
            slated: Slated::default(),
        }
    }

    /// The same, where a preferred upstream is returned to once it has been well for so long.
    #[must_use]
    pub fn returning_after(mut self, time: Duration) -> Failover {
        self.return_after = time;
        self
    }

    /// Whether an upstream is connected.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connected { .. })
    }

    /// Whether an attempt is under way.
    pub fn is_dialing(&self) -> bool {
        let of_better = matches!(self.better, Better::Dialing(_));
        matches!(self.link, Link::Dialing(_)) || of_better || self.slated.is_starting()
    }

    /// The connected upstream.
    pub fn connected(&self) -> Option<&Fill> {
        match &self.link {
            Link::Connected { fill, .. } => Some(fill),
            Link::Idle | Link::Waiting | Link::Dialing(_) | Link::Off => None,
        }
    }

    /// Whether there will be another attempt, or is a connection.
    pub fn will_try_again(&self) -> bool {
        !matches!(self.link, Link::Off)
    }

    /// Nobody is there who has had anything of what came before.
    pub fn begin_anew(&mut self) {
        self.before = Before::default();
    }

    /// Whether the stream has gone on with another connection, and how; once.
    pub fn take_switched(&mut self) -> Option<Switched> {
        self.switched.take()
    }

    /// When to look again: the next attempt, or the end of the patience with a silent upstream.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match &self.link {
            Link::Waiting => self.schedule.due(now),
            Link::Connected { fill, watch, .. } => {
                let silent = self.read_timeout.map(|t| fill.last_data() + t);
                let silent = earlier(silent, fill.deadline());
                earlier(earlier(silent, Some(watch.due())), self.better_deadline(now))
            }
            Link::Idle | Link::Dialing(_) | Link::Off => None,
        }
    }

    /// Begins an attempt, if one is due.
    pub fn begin_attempt(&mut self, now: Instant) -> Option<Attempt> {
        if !matches!(self.link, Link::Waiting) {
            return self.begin_better(now);
        }
        if self.schedule.due(now)? > now {
            return None;
        }
        self.attempts += 1;
        let begun = Begun {
            number: self.attempts,
            upstream: self.schedule.attempt(now),
            reason: self.reason,
            at: now,
        };
        self.link = Link::Dialing(begun);
        let upstream = &mut self.upstreams[begun.upstream];
        upstream.metrics.state(UpstreamState::Dialing);
        self.status.dialing(begun);
        Some(upstream.attempt(begun))
    }

    /// Takes the result of the attempt under way. Answers whether the stream is connected now.
    pub fn dialed(&mut self, result: Result<Dialed, DialError>, now: Instant) -> bool {
        if let Better::Dialing(begun) = self.better {
            return self.better_dialed(begun, result, now);
        }
        let Link::Dialing(begun) = self.link else {
            // Told to stop meanwhile: what was dialed is closed by dropping it.
            return false;
        };
        match result {
            Ok(dialed) => self.connect(begun, dialed, now),
            Err(error) => self.fail(begun, &error, now),
        }
        self.is_connected()
    }

    fn connect(&mut self, begun: Begun, dialed: Dialed, now: Instant) {
        let Begun { number: attempt, upstream: number, reason, .. } = begun;
        let took = now.saturating_duration_since(begun.at);
        let Upstream { remote, metrics, log, .. } = &self.upstreams[number];
        metrics.attempted("ok", took);
        metrics.connected(true);
        metrics.show_health(Shown::Watched(Vec::new()));
        metrics.state(UpstreamState::Connected);
        self.status.connected(now);
        info!(log, "upstream {} connected", remote.label(); "event" => "connected",
            "attempt" => attempt, "reason" => reason.to_string(), "took_seconds" => seconds(took));
        let fill = Fill::new(dialed, now);
        // After one that sent nothing it is not known to be better: there is the slate until it is.
        let doubtful = matches!(reason, Reason::Lost("no_data" | "silent")) && self.has_slate();
        let goes_on = doubtful || !self.before.pids.is_empty() || self.slated.playing().is_some();
        let fill = Box::new(if goes_on { fill.after(&self.before) } else { fill });
        let report = Report::new(now);
        let watch = Box::new(Watch::new(self.health, now));
        self.link = Link::Connected { upstream: number, attempt, since: now, fill, report, watch };
    }

    fn fail(&mut self, begun: Begun, error: &DialError, now: Instant) {
        let Begun { number: attempt, upstream: number, reason, .. } = begun;
        let took = now.saturating_duration_since(begun.at);
        self.upstreams[number].metrics.attempted(error.kind(), took);
        self.schedule.failed(number, now);
        let again = self.wait(number, Reason::Failed(error.kind()), now);
        let Upstream { remote, log, .. } = &self.upstreams[number];
        let why = format!("upstream {} {error}", remote.label());
        self.status.failed(error.kind(), &why, again, now);
        warn!(log, "{why}"; "event" => "error", "error" => error.kind(),
            "attempt" => attempt, "reason" => reason.to_string(), "took_seconds" => seconds(took));
    }

    /// Reads the connected upstream into the ring; an end of it is dealt with here.
    pub fn fill(&mut self, ring: &mut Ring, now: Instant) -> Filled {
        let beside = self.slated.playing().is_some();
        let before = self.counts.datagrams;
        let filled = match &mut self.link {
            Link::Connected { .. } if beside => self.fill_beside_slate(ring, now),
            Link::Connected { fill, .. } => fill.fill(ring, now, &mut self.counts),
            _ => return self.slated.read(ring, &mut self.before, now),
        };
        let Link::Connected { upstream, fill, report, .. } = &mut self.link else {
            return Filled::Drained;
        };
        self.switched = fill.take_switched();
        if let Some(contents) = fill.probe().content().and_then(|all| report.make(all, now)) {
            self.upstreams[*upstream].metrics.show(Some(&contents));
        }
        self.datagrams = usize::try_from(self.counts.datagrams - before).unwrap_or(usize::MAX);
        match filled {
            Ok(filled) => match self.fill_better(ring, now) {
                Filled::More => Filled::More,
                _drained => filled,
            },
            Err(loss) => {
                self.give_up(&loss, ring, now);
                Filled::Ended
            }
        }
    }

    /// What the last fill took of the kernel's buffer beside the stream's bytes.
    pub fn overhead_bytes(&self) -> usize {
        self.datagrams.saturating_mul(DATAGRAM_OVERHEAD_BYTES)
    }

    /// Whether there is something to do though nothing has come. Joins a silent multicast group
    /// again.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.rejoin_if_due(now);
        let other = self.look_if_due(now) | self.is_better_due(now);
        let reader = self.connected().and_then(Fill::deadline);
        other || reader.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the upstream has sent nothing for too long.
    pub fn is_silent(&self, now: Instant) -> bool {
        let Link::Connected { fill, .. } = &self.link else { return false };
        self.read_timeout.is_some_and(|timeout| now >= fill.last_data() + timeout)
    }

    /// Closes an upstream that has sent nothing, or nothing to watch, for too long. Answers whether
    /// it did.
    pub fn give_up_silent(&mut self, ring: &mut Ring, now: Instant) -> bool {
        let silent = self.is_silent(now);
        if silent {
            let patience = self.read_timeout.unwrap_or_default();
            self.give_up(&Loss::Silent(patience), ring, now);
        }
        silent || self.give_up_ill(ring, now)
    }

    /// Lets go of the upstream; there will be no other attempt.
    pub fn stop(&mut self) {
        self.publish();
        if let Link::Connected { upstream, .. } = self.link {
            self.upstreams[upstream].metrics.connected(false);
            self.upstreams[upstream].metrics.show(None);
            self.upstreams[upstream].metrics.show_health(Shown::Unused);
        }
        self.drop_better();
        self.slated = Slated::default();
        self.link = Link::Off;
        if let Some(any) = self.upstreams.first() {
            any.metrics.state(UpstreamState::Off);
        }
    }

    /// Publishes what was counted.
    pub fn publish(&mut self) {
        if let Link::Connected { upstream, .. } = self.link {
            self.upstreams[upstream].metrics.publish(&mut self.counts);
        }
        self.publish_better();
    }

    /// Lets go of the connected upstream; the next attempt is due when the schedule says.
    pub fn give_up(&mut self, loss: &Loss, ring: &mut Ring, now: Instant) {
        let Link::Connected { upstream: number, attempt, since, watch, .. } = &self.link else {
            return;
        };
        let never_well = matches!(loss, Loss::Unhealthy(of, _) if !watch.was_well(*of));
        let (number, attempt, up) = (*number, *attempt, now.saturating_duration_since(*since));
        self.let_go(ring, now);
        self.upstreams[number].metrics.lost(loss.kind());
        if matches!(loss, Loss::Ended) {
            self.upstreams[number].metrics.show_health(Shown::Ended(now));
        }
        if never_well {
            // As good as an attempt that took long and failed.
            self.schedule.failed(number, now);
        } else if matches!(loss, Loss::Silent(_) | Loss::Unhealthy(..)) {
            self.schedule.left(number, now);
        } else {
            self.schedule.lost(number, now);
        }
        let again = self.wait(number, Reason::Lost(loss.kind()), now);
        let Upstream { remote, log, .. } = &self.upstreams[number];
        let why = format!("upstream {} {loss}", remote.label());
        self.status.lost(&why, again, now);
        let log = log.new(o!("attempt" => attempt, "up_seconds" => seconds(up)));
        if matches!((loss, remote.kind()), (Loss::Ended, RemoteKind::File(_))) {
            info!(log, "{why}, and will be played again"; "event" => "ended");
        } else {
            warn!(log, "{why}"; "event" => "error", "error" => loss.kind());
        }
        self.promote(now);
    }

    /// Nothing more comes of the connected upstream: what waited goes into the ring.
    fn let_go(&mut self, ring: &mut Ring, now: Instant) {
        let Link::Connected { upstream, fill, .. } = &mut self.link else { return };
        let number = *upstream;
        fill.finish(ring, &mut self.counts);
        if fill.is_open() {
            self.before.add(fill.probe());
            self.slated.missed(now);
        }
        self.publish();
        self.upstreams[number].metrics.connected(false);
        self.upstreams[number].metrics.show(None);
        self.upstreams[number].metrics.show_health(Shown::Unused);
    }

    /// Waits for the next attempt, to be made for this `reason`. Answers whether there will be one.
    fn wait(&mut self, upstream: usize, reason: Reason, now: Instant) -> bool {
        self.reason = reason;
        let again = self.schedule.due(now).is_some();
        let (link, state) = if again {
            (Link::Waiting, UpstreamState::Waiting)
        } else {
            (Link::Off, UpstreamState::Off)
        };
        self.link = link;
        self.upstreams[upstream].metrics.state(state);
        again
    }
}
