//! An upstream that is preferred to the one in use: it is tried in the background, watched for a
//! while, and returned to.
//!
//! Owns that one connection, whose packets are staged and do not go into the ring. What is in use
//! is read until the preferred one has a random access point to go on with; when it is lost before
//! that, the preferred one takes its place as it is. Driven by [`super::Failover`].

use std::time::{Duration, Instant};

use slog::{info, warn};

use super::super::contents::Report;
use super::super::fill::Fill;
use super::super::health::Watch;
use super::super::intake::Filled;
use super::vigil::seen;
use super::{Attempt, Failover, Link, Upstream};
use crate::clock::{earlier, seconds};
use crate::limits::RETURN_SILENCE_TIMEOUT;
use crate::metrics::status::Begun;
use crate::metrics::{Reason, UpstreamCounts, UpstreamState};
use crate::ring::Ring;
use crate::upstream::{DialError, Dialed, Loss};

/// What there is of a preferred one; see the module.
#[derive(Debug, Default)]
pub(super) enum Better {
    #[default]
    None,
    /// An attempt is under way.
    Dialing(Begun),
    /// It is connected.
    Connected(Box<Candidate>),
}

/// A connection that may take the place of the one in use.
#[derive(Debug)]
pub(super) struct Candidate {
    begun: Begun,
    since: Instant,
    fill: Fill,
    counts: UpstreamCounts,
    /// What is wrong with it.
    watch: Box<Watch>,
    wellness: Wellness,
}

/// Since when all has been well without a break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wellness {
    since: Option<Instant>,
    /// For long enough.
    proven: bool,
}

impl Wellness {
    /// Takes note of how it is. Answers whether it is proven just now.
    fn observe(&mut self, well: bool, return_after: Duration, now: Instant) -> bool {
        if !well {
            *self = Wellness::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let proven = now.saturating_duration_since(since) >= return_after;
        !std::mem::replace(&mut self.proven, proven) && proven
    }

    /// When it will be, if all stays well.
    fn due(self, return_after: Duration) -> Option<Instant> {
        self.since.filter(|_| !self.proven).map(|since| since + return_after)
    }
}

impl Candidate {
    /// Reads what has come. Answers how far, and whether to go on with it now.
    fn read(&mut self, return_after: Duration, now: Instant) -> Result<(Filled, bool), Loss> {
        let filled = self.fill.read_aside(now, &mut self.counts)?;
        let silence = now.saturating_duration_since(self.fill.last_data());
        if silence >= RETURN_SILENCE_TIMEOUT {
            return Err(Loss::Silent(silence));
        }
        if self.watch.due() <= now {
            self.watch.look(&seen(&self.fill, self.watch.looked()), now);
        }
        let well = self.fill.is_sound() && !self.watch.is_ill();
        if self.wellness.observe(well, return_after, now) {
            // What it sent until now is too old to go on with.
            self.fill.forget_staged();
        }
        let ready = self.fill.look(now) && self.wellness.proven;
        Ok((filled, ready))
    }

    fn deadline(&self, return_after: Duration) -> Instant {
        let silent = self.fill.last_data() + RETURN_SILENCE_TIMEOUT;
        let due = self.wellness.due(return_after);
        let reader = if self.wellness.proven { self.fill.deadline() } else { None };
        let silent = silent.min(self.watch.due());
        earlier(earlier(due, reader), Some(silent)).unwrap_or(silent)
    }
}

impl Failover {
    /// The preferred connection, while it is not in use.
    pub fn better(&self) -> Option<&Fill> {
        match &self.better {
            Better::Connected(candidate) => Some(&candidate.fill),
            Better::None | Better::Dialing(_) => None,
        }
    }

    /// Lets go of it; it is tried again when it is due.
    pub fn drop_better(&mut self) {
        self.publish_better();
        if let Better::Connected(candidate) = std::mem::take(&mut self.better) {
            self.upstreams[candidate.begun.upstream].metrics.connected(false);
        }
    }

    /// Publishes what was counted of it.
    pub(super) fn publish_better(&mut self) {
        if let Better::Connected(candidate) = &mut self.better {
            let upstream = &self.upstreams[candidate.begun.upstream];
            upstream.metrics.publish(&mut candidate.counts);
        }
    }

    /// When there is something to do for it.
    pub(super) fn better_deadline(&self, now: Instant) -> Option<Instant> {
        match (&self.better, &self.link) {
            (Better::None, Link::Connected { upstream, .. }) => {
                self.schedule.due_better(*upstream, now)
            }
            (Better::Connected(candidate), _) => Some(candidate.deadline(self.return_after)),
            _ => None,
        }
    }

    /// Whether it is to be looked at though nothing has come.
    pub(super) fn is_better_due(&self, now: Instant) -> bool {
        self.better().is_some() && self.better_deadline(now).is_some_and(|due| due <= now)
    }

    /// Begins an attempt on a preferred one, if it is time.
    pub(super) fn begin_better(&mut self, now: Instant) -> Option<Attempt> {
        let (Better::None, Link::Connected { upstream, .. }) = (&self.better, &self.link) else {
            return None;
        };
        let upstream = self.schedule.attempt_better(*upstream, now)?;
        self.attempts += 1;
        let begun = Begun { number: self.attempts, upstream, reason: Reason::Preferred, at: now };
        self.better = Better::Dialing(begun);
        Some(self.upstreams[upstream].attempt(begun))
    }

    /// Takes the result of that attempt. Answers whether it is connected.
    pub(super) fn better_dialed(
        &mut self,
        begun: Begun,
        result: Result<Dialed, DialError>,
        now: Instant,
    ) -> bool {
        self.better = Better::None;
        let took = now.saturating_duration_since(begun.at);
        let upstream = &mut self.upstreams[begun.upstream];
        let label = upstream.remote.label();
        match result {
            Ok(dialed) => {
                upstream.aside = None;
                upstream.metrics.attempted("ok", took);
                upstream.metrics.connected(true);
                info!(upstream.log, "upstream {label} is there again, and watched";
                    "event" => "watched", "attempt" => begun.number,
                    "return_after_seconds" => seconds(self.return_after));
                let fill = Fill::new(dialed, now).after(&self.before);
                let (counts, wellness) = (UpstreamCounts::default(), Wellness::default());
                let watch = Box::new(Watch::new(self.health, now));
                let candidate = Candidate { begun, since: now, fill, counts, watch, wellness };
                self.better = Better::Connected(Box::new(candidate));
                true
            }
            Err(error) => {
                upstream.metrics.attempted(error.kind(), took);
                // It may be away for days, and nobody misses it.
                if upstream.aside.replace(error.kind()) != Some(error.kind()) {
                    info!(upstream.log, "upstream {label} {error}"; "event" => "attempt",
                        "attempt" => begun.number, "error" => error.kind());
                }
                self.schedule.failed(begun.upstream, now);
                false
            }
        }
    }

    /// Reads the preferred one, and goes on with it if it is time. Answers how far it was read.
    pub(super) fn fill_better(&mut self, ring: &mut Ring, now: Instant) -> Filled {
        let Better::Connected(candidate) = &mut self.better else { return Filled::Drained };
        match candidate.read(self.return_after, now) {
            Ok((filled, ready)) => {
                if ready {
                    self.go_back(ring, now);
                }
                filled
            }
            Err(loss) => {
                let begun = candidate.begun;
                let upstream = &self.upstreams[begun.upstream];
                upstream.metrics.publish(&mut candidate.counts);
                upstream.metrics.connected(false);
                upstream.metrics.lost(loss.kind());
                warn!(upstream.log, "upstream {} {loss}", upstream.remote.label();
                    "event" => "error", "error" => loss.kind(), "attempt" => begun.number);
                self.schedule.lost(begun.upstream, now);
                self.better = Better::None;
                Filled::Drained
            }
        }
    }

    /// The preferred one takes the place of the one in use, from its random access point on.
    fn go_back(&mut self, ring: &mut Ring, now: Instant) {
        // What is in use may have sent nothing yet to go on with.
        self.slated.end(ring, &mut self.before);
        self.let_go(ring, now);
        if let Link::Connected { upstream, .. } = &self.link {
            let Upstream { remote, log, .. } = &self.upstreams[*upstream];
            info!(log, "upstream {} makes room for a better one", remote.label();
                "event" => "return");
        }
        self.promote(now);
        if let Link::Connected { fill, .. } = &mut self.link {
            fill.go_on(ring, now);
            self.switched = fill.take_switched();
        }
    }

    /// What is in use is over: the preferred one takes its place, as far as it is.
    pub(super) fn promote(&mut self, now: Instant) {
        match std::mem::take(&mut self.better) {
            Better::None => {}
            Better::Dialing(begun) => {
                self.upstreams[begun.upstream].metrics.state(UpstreamState::Dialing);
                self.status.dialing(begun);
                self.link = Link::Dialing(begun);
            }
            Better::Connected(candidate) => {
                let Candidate { begun, since, fill, counts, watch, .. } = *candidate;
                self.upstreams[begun.upstream].metrics.state(UpstreamState::Connected);
                self.status.dialing(begun);
                self.status.connected(now);
                let fill = Box::new(fill.after_all(&self.before));
                self.counts = counts;
                let report = Report::new(now);
                let (upstream, attempt) = (begun.upstream, begun.number);
                self.link = Link::Connected { upstream, attempt, since, fill, report, watch };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_proven_by_so_much_time_without_a_break() {
        let (start, after) = (Instant::now(), Duration::from_secs(30));
        let mut health = Wellness::default();
        for (second, well, proven) in [
            (0, false, false),
            (10, true, false),
            (39, true, false),
            (40, false, false),
            (41, true, false),
            (70, true, false),
            (71, true, true),
            // Told once.
            (72, true, false),
            (73, false, false),
            (74, true, false),
            (104, true, true),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(health.observe(well, after, now), proven, "{second}");
        }
        assert_eq!(health.due(after), None);
        health.observe(false, after, start);
        assert_eq!(health.due(after), None);
        health.observe(true, after, start);
        assert_eq!(health.due(after), Some(start + after));
    }
}
