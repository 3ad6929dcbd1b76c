//! What is counted of an upstream.

use std::time::Duration;

use prometheus::{Counter, CounterVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::content::{self, ContentMetrics, Contents, INDICATORS};
use super::health::{self, HealthMetrics, Shown};
use super::registry::{counters, gauges, seconds};
use super::status::UpstreamState;

#[derive(Debug)]
pub(super) struct Families {
    /// Whether the original's counters count.
    statistics: bool,
    connected: IntGaugeVec,
    packets: IntCounterVec,
    bytes: IntCounterVec,
    sync_losses: IntCounterVec,
    discarded: IntCounterVec,
    continuity: IntCounterVec,
    transport: IntCounterVec,
    content: content::Families,
    health: health::Families,
    datagrams: IntCounterVec,
    datagrams_odd: IntCounterVec,
    datagrams_cut: IntCounterVec,
    datagrams_dropped: IntCounterVec,
    datagrams_malformed: IntCounterVec,
    rtp_lost: IntCounterVec,
    rtp_repeated: IntCounterVec,
    rtp_reordered: IntCounterVec,
    rtp_late: IntCounterVec,
    rtp_strays: IntCounterVec,
    rtp_restarts: IntCounterVec,
    rejoins: IntCounterVec,
    attempts: IntCounterVec,
    attempt_seconds: CounterVec,
    losses: IntCounterVec,
    state: IntGaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry, statistics: bool) -> Families {
        let counter = |name, help| counters(r, name, help, &["stream", "url"]);
        let by = |name, help, label| counters(r, name, help, &["stream", "url", label]);
        Families {
            statistics,
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
            content: content::Families::register(r),
            health: health::Families::register(r),
            datagrams: counter("restreamer_datagrams_total", "Datagrams received."),
            datagrams_odd: counter(
                "restreamer_datagrams_odd_total",
                "Datagrams whose payload is no number of packets.",
            ),
            datagrams_cut: counter(
                "restreamer_datagrams_cut_total",
                "Datagrams longer than mru, and cut.",
            ),
            datagrams_dropped: counter(
                "restreamer_datagrams_dropped_total",
                "Datagrams that the kernel had no room for (SO_RXQ_OVFL).",
            ),
            datagrams_malformed: counter(
                "restreamer_datagrams_malformed_total",
                "Datagrams that should be RTP and are not.",
            ),
            rtp_lost: counter(
                "restreamer_rtp_lost_total",
                "RTP datagrams that did not come in time.",
            ),
            rtp_repeated: counter(
                "restreamer_rtp_repeated_total",
                "RTP datagrams that came again.",
            ),
            rtp_reordered: counter(
                "restreamer_rtp_reordered_total",
                "RTP datagrams that were put in order.",
            ),
            rtp_late: counter(
                "restreamer_rtp_late_total",
                "RTP datagrams that came after they were given up.",
            ),
            rejoins: counter(
                "restreamer_rejoins_total",
                "Attempts to join a silent multicast group again.",
            ),
            rtp_strays: counter(
                "restreamer_rtp_strays_total",
                "RTP datagrams of another sender, or with a number out of all reason.",
            ),
            rtp_restarts: counter(
                "restreamer_rtp_restarts_total",
                "Times that an RTP sender began anew.",
            ),
            attempts: by(
                "restreamer_upstream_attempts_total",
                "Attempts to connect, by result.",
                "result",
            ),
            attempt_seconds: seconds(
                r,
                "restreamer_upstream_attempt_seconds_total",
                "Time from the beginnings of attempts to their results.",
                &["stream", "url"],
            ),
            losses: by(
                "restreamer_upstream_losses_total",
                "Connections that ended, and why.",
                "reason",
            ),
            state: gauges(
                r,
                "restreamer_upstream_state",
                "What the stream's upstreams are doing: 1 for that, 0 for all else.",
                &["stream", "state"],
            ),
        }
    }

    pub(super) fn of(&self, path: &str, url: &str) -> UpstreamMetrics {
        let of = |family: &IntCounterVec| family.with_label_values(&[path, url]);
        UpstreamMetrics {
            statistics: self.statistics,
            labels: [path.to_owned(), url.to_owned()],
            connected: self.connected.with_label_values(&[path, url]),
            packets: of(&self.packets),
            bytes: of(&self.bytes),
            sync_losses: of(&self.sync_losses),
            discarded: of(&self.discarded),
            continuity: of(&self.continuity),
            transport: of(&self.transport),
            content: self.content.of(&[path.to_owned(), url.to_owned()]),
            health: self.health.of(&[path.to_owned(), url.to_owned()]),
            datagrams: of(&self.datagrams),
            datagrams_odd: of(&self.datagrams_odd),
            datagrams_cut: of(&self.datagrams_cut),
            datagrams_dropped: of(&self.datagrams_dropped),
            datagrams_malformed: of(&self.datagrams_malformed),
            rtp_lost: of(&self.rtp_lost),
            rtp_repeated: of(&self.rtp_repeated),
            rtp_reordered: of(&self.rtp_reordered),
            rtp_late: of(&self.rtp_late),
            rtp_strays: of(&self.rtp_strays),
            rtp_restarts: of(&self.rtp_restarts),
            rejoins: of(&self.rejoins),
            attempts: self.attempts.clone(),
            attempt_seconds: self.attempt_seconds.with_label_values(&[path, url]),
            losses: self.losses.clone(),
            state: self.state.clone(),
        }
    }
}

/// One upstream's metrics.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    statistics: bool,
    labels: [String; 2],
    connected: IntGauge,
    packets: IntCounter,
    bytes: IntCounter,
    sync_losses: IntCounter,
    discarded: IntCounter,
    continuity: IntCounter,
    transport: IntCounter,
    content: ContentMetrics,
    health: HealthMetrics,
    datagrams: IntCounter,
    datagrams_odd: IntCounter,
    datagrams_cut: IntCounter,
    datagrams_dropped: IntCounter,
    datagrams_malformed: IntCounter,
    rtp_lost: IntCounter,
    rtp_repeated: IntCounter,
    rtp_reordered: IntCounter,
    rtp_late: IntCounter,
    rtp_strays: IntCounter,
    rtp_restarts: IntCounter,
    rejoins: IntCounter,
    attempts: IntCounterVec,
    attempt_seconds: Counter,
    losses: IntCounterVec,
    state: IntGaugeVec,
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
    /// Errors by their indicator, in the order of [`INDICATORS`].
    pub faults: [u64; INDICATORS.len()],
    /// Scrambled packets.
    pub scrambled: u64,
    /// Times that a table was replaced.
    pub table_changes: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams whose payload is no number of packets.
    pub datagrams_odd: u64,
    /// Datagrams longer than `mru`, and cut.
    pub datagrams_cut: u64,
    /// Datagrams that the kernel had no room for.
    pub datagrams_dropped: u64,
    /// Datagrams that should be RTP and are not.
    pub datagrams_malformed: u64,
    /// RTP: datagrams that did not come in time.
    pub rtp_lost: u64,
    /// RTP: datagrams that came again.
    pub rtp_repeated: u64,
    /// RTP: datagrams that were put in order.
    pub rtp_reordered: u64,
    /// RTP: datagrams that came after they were given up.
    pub rtp_late: u64,
    /// RTP: datagrams of another sender, or out of all reason.
    pub rtp_strays: u64,
    /// RTP: times that the sender began anew.
    pub rtp_restarts: u64,
}

impl UpstreamMetrics {
    /// Shows whether the upstream is connected.
    pub fn connected(&self, yes: bool) {
        self.connected.set(yes.into());
    }

    /// Shows what the upstreams of the stream are doing, this one or all of them.
    pub fn state(&self, state: UpstreamState) {
        let [path, _] = &self.labels;
        for any in UpstreamState::ALL {
            let gauge = self.state.with_label_values(&[path.as_str(), any.word()]);
            gauge.set((any == state).into());
        }
    }

    /// Counts an attempt and what it took.
    pub fn attempted(&self, result: &str, took: Duration) {
        let [path, url] = &self.labels;
        self.attempts.with_label_values(&[path.as_str(), url, result]).inc();
        self.attempt_seconds.inc_by(took.as_secs_f64());
    }

    /// Counts the end of a connection.
    pub fn lost(&self, reason: &str) {
        let [path, url] = &self.labels;
        self.losses.with_label_values(&[path.as_str(), url, reason]).inc();
    }

    /// Counts that a silent multicast group was joined again.
    pub fn rejoined(&self) {
        self.rejoins.inc();
    }

    /// Shows what the upstream sends, instead of what was shown before; nothing, when it is lost.
    pub fn show(&self, contents: Option<&Contents>) {
        self.content.show(contents);
    }

    /// What the upstream sends, if it is connected and has told.
    pub fn contents(&self) -> Option<Contents> {
        self.content.get()
    }

    /// Shows what is wrong with the upstream, instead of what was shown before.
    pub fn show_health(&self, shown: Shown) {
        self.health.show(shown);
    }

    /// What is wrong with the upstream.
    pub fn health(&self) -> Shown {
        self.health.get()
    }

    /// Every error of TR 101 290 by the word for its indicator, since the start.
    pub fn integrity(&self) -> Vec<(&'static str, u64)> {
        let own = [
            ("sync", self.sync_losses.get()),
            ("continuity", self.continuity.get()),
            ("transport", self.transport.get()),
        ];
        own.into_iter().chain(self.content.faults()).collect()
    }

    /// (scrambled packets, replaced tables) since the start.
    pub fn scrambled_and_replaced(&self) -> (u64, u64) {
        self.content.scrambled_and_replaced()
    }

    /// (packets, bytes) received since the start.
    pub fn received(&self) -> (u64, u64) {
        (self.packets.get(), self.bytes.get())
    }

    /// Adds what was counted since the last time.
    pub fn publish(&self, counts: &mut UpstreamCounts) {
        let counts = std::mem::take(counts);
        if self.statistics {
            self.packets.inc_by(counts.packets);
            self.bytes.inc_by(counts.bytes);
        }
        for (metric, by) in [
            (&self.sync_losses, counts.sync_losses),
            (&self.discarded, counts.discarded),
            (&self.continuity, counts.continuity),
            (&self.transport, counts.transport),
            (&self.datagrams, counts.datagrams),
            (&self.datagrams_odd, counts.datagrams_odd),
            (&self.datagrams_cut, counts.datagrams_cut),
            (&self.datagrams_dropped, counts.datagrams_dropped),
            (&self.datagrams_malformed, counts.datagrams_malformed),
            (&self.rtp_lost, counts.rtp_lost),
            (&self.rtp_repeated, counts.rtp_repeated),
            (&self.rtp_reordered, counts.rtp_reordered),
            (&self.rtp_late, counts.rtp_late),
            (&self.rtp_strays, counts.rtp_strays),
            (&self.rtp_restarts, counts.rtp_restarts),
        ] {
            if by > 0 {
                metric.inc_by(by);
            }
        }
        self.content.count(&counts);
    }
}
