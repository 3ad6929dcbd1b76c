//! What the node counts and tells.
//!
//! Owns the registry and the shared status of streams. Workers count locally, in plain integers,
//! and publish once a turn; the side port reads. Names and labels of the original are kept
//! (`streaming_…`), ours follow today's naming (`restreamer_…`, base units, `_total`). No label is
//! ever a viewer's.

pub mod content;
pub mod door;
pub mod health;
pub mod notify;
pub mod registry;
pub mod resource;
pub mod status;
pub mod stream;
pub mod switching;
pub mod upstream;
pub mod worker;

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

pub use content::Contents;
pub use door::DoorCounts;
pub use notify::{NotifyMetrics, NotifyResult};
pub use resource::StaticMetrics;
pub use status::{Reason, StreamStatus, UpstreamState};
pub use stream::{StreamCounts, StreamMetrics};
pub use upstream::{UpstreamCounts, UpstreamMetrics};
pub use worker::WorkerMetrics;

use crate::config::NotificationEvent;
use registry::{counters, register};

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    streams: stream::Families,
    upstreams: upstream::Families,
    workers: worker::Families,
    statics: resource::Families,
    notifications: notify::Families,
    requests: IntCounterVec,
    log_dropped: IntCounter,
    draining: IntGauge,
    limits: IntGaugeVec,
}

impl Metrics {
    /// Registers everything, the standard `process_*` set included.
    pub fn new() -> Arc<Metrics> {
        Metrics::counting(true)
    }

    /// The same; `statistics` says whether the original's counters count (`nostats` is not set).
    pub fn counting(statistics: bool) -> Arc<Metrics> {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("registered once");
        let build = registry::gauges(
            &registry,
            "restreamer_build_info",
            "Version of the program, always 1.",
            &["version"],
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Arc::new(Metrics {
            streams: stream::Families::register(&registry, statistics),
            upstreams: upstream::Families::register(&registry, statistics),
            workers: worker::Families::register(&registry),
            statics: resource::Families::register(&registry),
            notifications: notify::Families::register(&registry),
            requests: counters(
                &registry,
                "restreamer_requests_total",
                "Requests answered on the main port, by status.",
                &["status"],
            ),
            log_dropped: register(
                &registry,
                IntCounter::new(
                    "restreamer_log_dropped_total",
                    "Log lines lost because the log could not be written fast enough.",
                ),
            ),
            draining: register(
                &registry,
                IntGauge::new(
                    "restreamer_draining",
                    "1 while the node tells those who ask to send nobody new.",
                ),
            ),
            limits: registry::gauges(
                &registry,
                "restreamer_viewers_limit",
                "Viewers from which on the node is full, and the most there may be; 0: no limit.",
                &["limit"],
            ),
            registry,
        })
    }

    /// The metrics of the stream served at `path`.
    pub fn stream(&self, path: &str) -> StreamMetrics {
        self.streams.of(path)
    }

    /// The metrics of one upstream of a stream; `url` is masked already.
    pub fn upstream(&self, path: &str, url: &str) -> UpstreamMetrics {
        self.upstreams.of(path, url)
    }

    /// The metrics of one worker.
    pub fn worker(&self, number: usize) -> WorkerMetrics {
        self.workers.of(number)
    }

    /// The metrics of the static resource served at `path`.
    pub fn statics(&self, path: &str) -> StaticMetrics {
        self.statics.of(path)
    }

    /// The metrics of notifications; those of `events` are there from now on.
    pub fn notifications(
        &self,
        events: impl IntoIterator<Item = NotificationEvent>,
    ) -> NotifyMetrics {
        self.notifications.of(events)
    }

    /// Has the metrics of the door from now on; `read` is asked for what it has counted.
    ///
    /// # Panics
    /// When there is one already.
    pub fn door(&self, read: impl Fn() -> DoorCounts + Send + Sync + 'static) {
        let collector = door::DoorCollector::new(read);
        self.registry.register(Box::new(collector)).expect("a node has one door");
    }

    /// Counts an answer on the main port.
    pub fn answered(&self, status: u16) {
        self.requests.with_label_values(&[status.to_string()]).inc();
    }

    /// Tells how many viewers there may be: from where the node is full, and at most.
    pub fn limited(&self, full: Option<usize>, most: Option<usize>) {
        for (limit, viewers) in [("full", full), ("max", most)] {
            let viewers = viewers.map_or(0, |viewers| i64::try_from(viewers).unwrap_or(i64::MAX));
            self.limits.with_label_values(&[limit]).set(viewers);
        }
    }

    /// Lines that the log lost.
    pub fn log_dropped(&self) -> IntCounter {
        self.log_dropped.clone()
    }

    /// Whether nobody new is to be sent here.
    pub fn draining(&self, drains: bool) {
        self.draining.set(drains.into());
    }

    /// Everything in the Prometheus text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_of_the_contract() {
        let metrics = Metrics::new();
        metrics.stream("/a.ts").connections().set(2);
        metrics.upstream("/a.ts", "tcp://h:1").connected(true);
        metrics.worker(0);
        metrics.answered(200);
        metrics.statics("/logo.png").fetched("missing");
        metrics.limited(Some(900), None);
        metrics.notifications([NotificationEvent::LimitHit]).crossings_dropped().inc();
        let text = metrics.text().unwrap();
        for line in [
            "streaming_packets_sent{stream=\"/a.ts\"} 0",
            "streaming_bytes_sent{stream=\"/a.ts\"} 0",
            "streaming_packets_dropped{stream=\"/a.ts\"} 0",
            "streaming_bytes_dropped{stream=\"/a.ts\"} 0",
            "streaming_duration{stream=\"/a.ts\"} 0",
            "streaming_connections{stream=\"/a.ts\"} 2",
            "streaming_source_connected{stream=\"/a.ts\",url=\"tcp://h:1\"} 1",
            "streaming_packets_received{stream=\"/a.ts\",url=\"tcp://h:1\"} 0",
            "streaming_bytes_received{stream=\"/a.ts\",url=\"tcp://h:1\"} 0",
            "restreamer_requests_total{status=\"200\"} 1",
            "restreamer_static_requests_total{answer=\"cache\",path=\"/logo.png\"} 0",
            "restreamer_static_fetches_total{path=\"/logo.png\",result=\"missing\"} 1",
            "restreamer_static_fetches_total{path=\"/logo.png\",result=\"ok\"} 0",
            "restreamer_log_dropped_total 0",
            "restreamer_viewers_limit{limit=\"full\"} 900",
            "restreamer_viewers_limit{limit=\"max\"} 0",
            "restreamer_notifications_total{event=\"limit_hit\",result=\"delivered\"} 0",
            "restreamer_notifications_total{event=\"limit_hit\",result=\"failed\"} 0",
            "restreamer_notifications_total{event=\"limit_hit\",result=\"dropped\"} 0",
            "restreamer_notifications_total{event=\"crossing\",result=\"dropped\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains("\nprocess_cpu_seconds_total ") && text.contains("process_open_fds"));
    }
}
