//! One of a stream's upstreams: what it takes to try it, and where it is told.

use slog::{Logger, info, o};

use super::Attempt;
use crate::config::{Reception, Remote};
use crate::metrics::status::Begun;
use crate::metrics::{Reason, UpstreamMetrics, UpstreamState};

/// One upstream of a stream.
#[derive(Debug)]
pub struct Upstream {
    pub(super) remote: Remote,
    reception: Reception,
    pub(super) metrics: UpstreamMetrics,
    pub(super) log: Logger,
    /// The reason of the last attempt on it.
    reason: Option<Reason>,
    /// How it failed when it was tried last while another one was in use.
    pub(super) aside: Option<&'static str>,
}

impl Upstream {
    /// An upstream, not connected. The log lines of it name it.
    pub fn new(
        remote: Remote,
        reception: Reception,
        metrics: UpstreamMetrics,
        log: &Logger,
    ) -> Upstream {
        metrics.connected(false);
        metrics.state(UpstreamState::Waiting);
        let log = log.new(o!("module" => "upstream", "url" => remote.label().to_owned()));
        Upstream { remote, reception, metrics, log, reason: None, aside: None }
    }

    /// An attempt on it, of which it is told that it begins.
    pub(super) fn attempt(&mut self, begun: Begun) -> Attempt {
        self.log_attempt(begun);
        let Upstream { remote, reception, log, .. } = self;
        Attempt { remote: remote.clone(), reception: reception.clone(), log: log.clone() }
    }

    /// Logs that an attempt begins, but not over and over that another one is made after the same
    /// failure: through a night without upstreams its result is a line each, as it always was.
    fn log_attempt(&mut self, Begun { number, reason, .. }: Begun) {
        let again = self.reason.replace(reason) == Some(reason);
        if !(again && matches!(reason, Reason::Failed(_) | Reason::Preferred)) {
            info!(self.log, "upstream {} is tried ({reason})", self.remote.label();
                "event" => "attempt", "attempt" => number, "reason" => reason.to_string());
        }
    }
}
