//! What is counted of a static resource.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::registry::counters;

#[derive(Debug)]
pub(super) struct Families {
    fetches: IntCounterVec,
    requests: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        Families {
            fetches: counters(
                r,
                "restreamer_static_fetches_total",
                "Fetches of the static resource from where it comes from, by result.",
                &["path", "result"],
            ),
            requests: counters(
                r,
                "restreamer_static_requests_total",
                "Requests for the static resource: answered from the cache, waiting for a fetch, \
                 or refused (too many wait, a fetch hangs, no thread can be had).",
                &["path", "answer"],
            ),
        }
    }

    pub(super) fn of(&self, path: &str) -> StaticMetrics {
        let requests = |answer: &str| self.requests.with_label_values(&[path, answer]);
        // Rates are right from the first fetch on.
        self.fetches.with_label_values(&[path, "ok"]);
        StaticMetrics {
            path: path.to_owned(),
            fetches: self.fetches.clone(),
            cached: requests("cache"),
            waiting: requests("fetch"),
            refused: requests("refused"),
        }
    }
}

/// One static resource's metrics.
#[derive(Clone, Debug)]
pub struct StaticMetrics {
    path: String,
    fetches: IntCounterVec,
    cached: IntCounter,
    waiting: IntCounter,
    refused: IntCounter,
}

impl StaticMetrics {
    /// Counts a fetch.
    pub fn fetched(&self, result: &str) {
        self.fetches.with_label_values(&[self.path.as_str(), result]).inc();
    }

    /// Counts a request that is answered from the cache.
    pub fn cached(&self) {
        self.cached.inc();
    }

    /// Counts a request that waits for a fetch.
    pub fn waits(&self) {
        self.waiting.inc();
    }

    /// Counts a request that is refused at once.
    pub fn refused(&self) {
        self.refused.inc();
    }
}
