//! A stream on demand: its upstreams rest while nobody wants it.

use std::time::Instant;

use slog::info;

use super::{Failover, Link};
use crate::clock::seconds;
use crate::metrics::{Reason, UpstreamState};
use crate::ring::Ring;

/// What is to be expected of the upstreams by somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// One is connected.
    Connected,
    /// An attempt is under way, or the next one is made at once.
    Trying,
    /// All were tried in vain; the next attempt is made then.
    Later(Instant),
    /// There will be none.
    Never,
}

impl Failover {
    /// Nothing was tried yet, and nothing is before somebody wants the stream.
    #[must_use]
    pub fn on_demand(mut self, now: Instant) -> Failover {
        self.become_idle(now);
        self
    }

    /// Somebody wants the stream. Answers whether nobody did before.
    pub fn wake(&mut self, now: Instant) -> bool {
        let was_idle = self.is_idle();
        if was_idle {
            (self.link, self.reason) = (Link::Waiting, Reason::Demand);
            self.schedule.begin_round(now);
        }
        was_idle
    }

    /// Whether there is something to let go of: an upstream, or a wait for one. An attempt under
    /// way is waited for.
    pub fn may_rest(&self) -> bool {
        matches!(self.link, Link::Waiting | Link::Connected { .. }) && !self.is_dialing()
    }

    /// Nobody wants the stream: lets go of the upstream, if there is one, and waits for none. That
    /// is no loss.
    pub fn rest(&mut self, ring: &mut Ring, now: Instant) {
        self.drop_better();
        if let Link::Connected { upstream: number, attempt, since, .. } = self.link {
            let up = now.saturating_duration_since(since);
            self.let_go(ring, now);
            let upstream = &self.upstreams[number];
            self.schedule.rest();
            info!(upstream.log, "upstream {} is let go, nobody watches", upstream.remote.label();
                "event" => "released", "attempt" => attempt, "up_seconds" => seconds(up));
        }
        self.become_idle(now);
    }

    /// What is to be expected.
    pub fn outlook(&self, now: Instant) -> Outlook {
        match &self.link {
            Link::Connected { .. } => Outlook::Connected,
            Link::Dialing(_) => Outlook::Trying,
            Link::Waiting if !self.schedule.is_round_over() => Outlook::Trying,
            Link::Idle | Link::Waiting => match self.schedule.due(now) {
                // Whoever comes begins a round.
                Some(due) if due <= now && self.is_idle() => Outlook::Trying,
                due => due.map_or(Outlook::Never, Outlook::Later),
            },
            Link::Off => Outlook::Never,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.link, Link::Idle)
    }

    fn become_idle(&mut self, now: Instant) {
        self.link = Link::Idle;
        self.status.idle(now);
        if let Some(any) = self.upstreams.first() {
            any.metrics.state(UpstreamState::Idle);
        }
    }
}
