//! What is counted of an upstream.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::registry::{counters, gauges};

#[derive(Debug)]
pub(super) struct Families {
    connected: IntGaugeVec,
    packets: IntCounterVec,
    bytes: IntCounterVec,
    sync_losses: IntCounterVec,
    discarded: IntCounterVec,
    continuity: IntCounterVec,
    transport: IntCounterVec,
    attempts: IntCounterVec,
    losses: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        let counter = |name, help| counters(r, name, help, &["stream", "url"]);
        let by = |name, help, label| counters(r, name, help, &["stream", "url", label]);
        Families {
            connected: gauges(
                r,
                "streaming_source_connected",
                "Whether the upstream is connected (0 or 1).",
                &["stream", "url"],
            ),
            packets: counter("streaming_packets_received", "Packets received from the upstream."),
            bytes: counter("streaming_bytes_received", "Bytes of packets received from upstream."),
            sync_losses: counter(
                "restreamer_sync_losses_total",
                "Packets that did not begin where the one before ended (TR 101 290, 1.1).",
            ),
            discarded: counter(
                "restreamer_discarded_bytes_total",
                "Bytes from the upstream that were part of no packet.",
            ),
            continuity: counter(
                "restreamer_continuity_errors_total",
                "Packets whose continuity counter does not follow (TR 101 290, 1.4).",
            ),
            transport: counter(
                "restreamer_transport_errors_total",
                "Packets with the transport error indicator (TR 101 290, 2.1).",
            ),
            attempts: by(
                "restreamer_upstream_attempts_total",
                "Attempts to connect, by result.",
                "result",
            ),
            losses: by(
                "restreamer_upstream_losses_total",
                "Connections that ended, and why.",
                "reason",
            ),
        }
    }

    pub(super) fn of(&self, path: &str, url: &str) -> UpstreamMetrics {
        let of = |family: &IntCounterVec| family.with_label_values(&[path, url]);
        UpstreamMetrics {
            labels: [path.to_owned(), url.to_owned()],
            connected: self.connected.with_label_values(&[path, url]),
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            sync_losses: of(&self.sync_losses),
            discarded: of(&self.discarded),
            continuity: of(&self.continuity),
            transport: of(&self.transport),
            attempts: self.attempts.clone(),
            losses: self.losses.clone(),
        }
    }
}

/// One upstream's metrics.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    labels: [String; 2],
    connected: IntGauge,
    packets: IntCounter,
    bytes: IntCounter,
    sync_losses: IntCounter,
    discarded: IntCounter,
    continuity: IntCounter,
    transport: IntCounter,
    attempts: IntCounterVec,
    losses: IntCounterVec,
}

/// What a worker counts of an upstream between two publications.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamCounts {
    /// Whole packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Times that sync was lost.
    pub sync_losses: u64,
    /// Bytes that were part of no packet.
    pub discarded: u64,
    /// Continuity counters that do not follow.
    pub continuity: u64,
    /// Packets with the transport error indicator.
    pub transport: u64,
}

impl UpstreamMetrics {
    /// Shows whether the upstream is connected.
    pub fn connected(&self, yes: bool) {
        self.connected.set(yes.into());
    }

    /// Counts an attempt.
    pub fn attempted(&self, result: &str) {
        let [path, url] = &self.labels;
        self.attempts.with_label_values(&[path.as_str(), url, result]).inc();
    }

    /// Counts the end of a connection.
    pub fn lost(&self, reason: &str) {
        let [path, url] = &self.labels;
        self.losses.with_label_values(&[path.as_str(), url, reason]).inc();
    }

    /// Bytes received since the start.
    pub fn bytes_received(&self) -> u64 {
        self.bytes.get()
    }

    /// Adds what was counted since the last time.
    pub fn publish(&self, counts: &mut UpstreamCounts) {
        let counts = std::mem::take(counts);
        for (metric, by) in [
            (&self.packets, counts.packets),
            (&self.bytes, counts.bytes),
            (&self.sync_losses, counts.sync_losses),
            (&self.discarded, counts.discarded),
            (&self.continuity, counts.continuity),
            (&self.transport, counts.transport),
        ] {
            if by > 0 {
                metric.inc_by(by);
            }
        }
    }
}
