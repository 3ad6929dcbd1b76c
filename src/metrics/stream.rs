//! What is counted of a stream and its viewers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::registry::{counters, gauges};
use super::switching::{self, Switching};

#[derive(Debug)]
pub(super) struct Families {
    /// Whether the original's counters count.
    statistics: bool,
    packets_sent: IntCounterVec,
    bytes_sent: IntCounterVec,
    packets_dropped: IntCounterVec,
    bytes_dropped: IntCounterVec,
    duration: IntCounterVec,
    connections: IntGaugeVec,
    path_bytes: IntCounterVec,
    skips: IntCounterVec,
    feed_skips: IntCounterVec,
    viewers: IntGaugeVec,
    demanded: IntCounterVec,
    joined: IntCounterVec,
    joins: IntCounterVec,
    history_lost: IntCounterVec,
    ended: IntCounterVec,
    lag: IntGaugeVec,
    lag_limit: IntGaugeVec,
    ring: IntGaugeVec,
    on: IntGaugeVec,
    refused: IntCounterVec,
    switching: switching::Families,
}

impl Families {
    pub(super) fn register(r: &Registry, statistics: bool) -> Families {
        let of_stream = &["stream"];
        let counter = |name, help| counters(r, name, help, of_stream);
        let gauge = |name, help| gauges(r, name, help, of_stream);
        Families {
            statistics,
            packets_sent: counter("streaming_packets_sent", "Packets sent to viewers."),
            bytes_sent: counter("streaming_bytes_sent", "Bytes sent to viewers."),
            packets_dropped: counter(
                "streaming_packets_dropped",
                "Packets that slow viewers were skipped over.",
            ),
            bytes_dropped: counter(
                "streaming_bytes_dropped",
                "Bytes that slow viewers were skipped over.",
            ),
            duration: counter("streaming_duration", "Time viewers were connected, nanoseconds."),
            connections: gauge("streaming_connections", "Viewers connected."),
            path_bytes: counters(
                r,
                "restreamer_sent_bytes_total",
                "Bytes sent to viewers who keep up (live), and to those who do not (catching_up).",
                &["stream", "path"],
            ),
            skips: counter(
                "restreamer_skips_total",
                "Times a slow viewer was skipped: it goes on at a picture, or the newest packet.",
            ),
            feed_skips: counter(
                "restreamer_feed_skips_total",
                "Times a hot stream was skipped for all viewers of a late worker.",
            ),
            viewers: gauges(
                r,
                "restreamer_viewers",
                "Viewers by what they are doing.",
                &["stream", "state"],
            ),
            demanded: counter(
                "restreamer_demand_starts_total",
                "Times that somebody wanted a stream on demand that nobody had wanted.",
            ),
            joined: counter("restreamer_viewers_joined_total", "Viewers that came."),
            joins: counters(
                r,
                "restreamer_joins_total",
                "Viewers that came, by where they began: at a random access point, at a packet, \
                 or some seconds ago.",
                &["stream", "kind"],
            ),
            history_lost: counters(
                r,
                "restreamer_history_lost_total",
                "Times that what viewers were to begin with could not be kept: it was more than \
                 `history` allows, or than all rings of the node may keep.",
                &["stream", "reason"],
            ),
            ended: counters(
                r,
                "restreamer_viewers_ended_total",
                "Viewers that went, and why.",
                &["stream", "reason"],
            ),
            lag: gauge("restreamer_lag_bytes", "Largest lag of a viewer after the last turn."),
            lag_limit: gauge("restreamer_lag_limit_bytes", "Lag beyond which viewers are skipped."),
            ring: gauge("restreamer_ring_bytes", "Memory of the stream's recent bytes."),
            on: gauge("restreamer_stream_on", "Whether the stream is not switched off (0 or 1)."),
            refused: counters(
                r,
                "restreamer_viewers_refused_total",
                "Requests for the stream that were refused, and why.",
                &["stream", "reason"],
            ),
            switching: switching::Families::register(r),
        }
    }

    pub(super) fn of(&self, path: &str) -> StreamMetrics {
        let of = |family: &IntCounterVec| family.with_label_values(&[path]);
        let gauge = |family: &IntGaugeVec| family.with_label_values(&[path]);
        let by = |way| self.path_bytes.with_label_values(&[path, way]);
        let viewers = |state| self.viewers.with_label_values(&[path, state]);
        StreamMetrics {
            statistics: self.statistics,
            path: path.to_owned(),
            packets_sent: of(&self.packets_sent),
            bytes_sent: of(&self.bytes_sent),
            packets_dropped: of(&self.packets_dropped),
            bytes_dropped: of(&self.bytes_dropped),
            duration: of(&self.duration),
            connections: gauge(&self.connections),
            live_bytes: by("live"),
            catching_up_bytes: by("catching_up"),
            skips: of(&self.skips),
            feed_skips: of(&self.feed_skips),
            live: viewers("live"),
            catching_up: viewers("catching_up"),
            ending: viewers("ending"),
            waiting: viewers("waiting"),
            demanded: of(&self.demanded),
            joined: of(&self.joined),
            joins: Joined::ALL.map(|kind| self.joins.with_label_values(&[path, kind.word()])),
            lost: Lost::ALL.map(|why| self.history_lost.with_label_values(&[path, why.word()])),
            ended: self.ended.clone(),
            lags: Arc::new([AtomicUsize::new(0)]),
            part: 0,
            lag: gauge(&self.lag),
            lag_limit: gauge(&self.lag_limit),
            ring: gauge(&self.ring),
            on: gauge(&self.on),
            refused: self.refused.clone(),
            switching: self.switching.of(path),
        }
    }
}

/// One stream's metrics.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    statistics: bool,
    path: String,
    packets_sent: IntCounter,
    bytes_sent: IntCounter,
    packets_dropped: IntCounter,
    bytes_dropped: IntCounter,
    duration: IntCounter,
    connections: IntGauge,
    live_bytes: IntCounter,
    catching_up_bytes: IntCounter,
    skips: IntCounter,
    feed_skips: IntCounter,
    live: IntGauge,
    catching_up: IntGauge,
    ending: IntGauge,
    waiting: IntGauge,
    demanded: IntCounter,
    /// The largest lag in each part.
    lags: Arc<[AtomicUsize]>,
    part: usize,
    joined: IntCounter,
    joins: [IntCounter; Joined::ALL.len()],
    lost: [IntCounter; Lost::ALL.len()],
    ended: IntCounterVec,
    lag: IntGauge,
    lag_limit: IntGauge,
    ring: IntGauge,
    on: IntGauge,
    refused: IntCounterVec,
    switching: Switching,
}

impl StreamMetrics {
    /// What is counted of changes from one upstream to another.
    pub fn switching(&self) -> &Switching {
        &self.switching
    }

    /// Viewers connected.
    pub fn connections(&self) -> &IntGauge {
        &self.connections
    }

    /// (packets, bytes) sent to viewers since the start.
    pub fn sent(&self) -> (u64, u64) {
        (self.packets_sent.get(), self.bytes_sent.get())
    }

    /// (packets, bytes) that viewers were skipped over since the start.
    pub fn dropped(&self) -> (u64, u64) {
        (self.packets_dropped.get(), self.bytes_dropped.get())
    }

    /// Time that viewers were connected, added up, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.duration.get()
    }

    /// Viewers connected, by what they do: (live, catching up, ending, waiting).
    pub fn viewers(&self) -> (i64, i64, i64, i64) {
        (self.live.get(), self.catching_up.get(), self.ending.get(), self.waiting.get())
    }

    /// Counts that somebody wants what nobody wanted.
    pub fn demanded(&self) {
        self.demanded.inc();
    }

    /// Counts a viewer that came.
    pub fn joined(&self, kind: Joined) {
        self.joined.inc();
        self.joins[kind as usize].inc();
    }

    /// Counts that what viewers were to begin with could not be kept.
    pub fn lost_history(&self, why: Lost) {
        self.lost[why as usize].inc();
    }

    /// Counts a viewer that went.
    pub fn ended(&self, reason: &str) {
        self.ended.with_label_values(&[self.path.as_str(), reason]).inc();
    }

    /// Counts a request that was refused.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[self.path.as_str(), reason]).inc();
    }

    /// Shows whether it is switched on.
    pub fn switched(&self, on: bool) {
        self.on.set(on.into());
    }

    /// Adds what was counted since the last time.
    pub fn count(&self, counts: &mut StreamCounts) {
        let counts = std::mem::take(counts);
        let duration = u64::try_from(counts.duration.as_nanos()).unwrap_or(u64::MAX);
        let of_the_original = [
            (&self.packets_sent, counts.packets_sent),
            (&self.bytes_sent, counts.live_bytes + counts.catching_up_bytes),
            (&self.packets_dropped, counts.packets_dropped),
            (&self.bytes_dropped, counts.bytes_dropped),
            (&self.duration, duration),
        ];
        for (metric, by) in of_the_original {
            if by > 0 && self.statistics {
                metric.inc_by(by);
            }
        }
        for (metric, by) in [
            (&self.live_bytes, counts.live_bytes),
            (&self.catching_up_bytes, counts.catching_up_bytes),
            (&self.skips, counts.skips),
            (&self.feed_skips, counts.feed_skips),
        ] {
            if by > 0 {
                metric.inc_by(by);
            }
        }
    }

    /// Shows the state after a turn, as what has changed since it was shown `before`: other parts
    /// of the stream may show theirs.
    pub fn show(&self, before: &StreamGauges, now: &StreamGauges) {
        fn whole(value: usize) -> i64 {
            i64::try_from(value).unwrap_or(i64::MAX)
        }
        for (metric, before, now) in [
            (&self.connections, before.viewers(), now.viewers()),
            (&self.live, before.live, now.live),
            (&self.catching_up, before.catching_up, now.catching_up),
            (&self.ending, before.ending, now.ending),
            (&self.waiting, before.waiting, now.waiting),
            (&self.ring, before.ring, now.ring),
        ] {
            if now != before {
                metric.add(whole(now) - whole(before));
            }
        }
        self.lag_limit.set(whole(now.lag_limit));
        self.lags[self.part].store(now.lag, Ordering::Relaxed);
        let lags = self.lags.iter().map(|lag| lag.load(Ordering::Relaxed));
        self.lag.set(whole(lags.max().unwrap_or(0)));
    }

    /// The same stream's metrics for so many workers that each have a part of it.
    pub fn parts(&self, parts: usize) -> Vec<StreamMetrics> {
        let lags: Arc<[AtomicUsize]> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        let part = |part| StreamMetrics { lags: Arc::clone(&lags), part, ..self.clone() };
        (0..parts).map(part).collect()
    }
}

/// Where a viewer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// At a random access point.
    RandomAccess,
    /// At the newest packet.
    Packet,
    /// Where one began some seconds ago.
    Seconds,
}

impl Joined {
    const ALL: [Joined; 3] = [Joined::RandomAccess, Joined::Packet, Joined::Seconds];

    fn word(self) -> &'static str {
        match self {
            Joined::RandomAccess => "random_access",
            Joined::Packet => "packet",
            Joined::Seconds => "seconds",
        }
    }
}

/// Why what viewers were to begin with is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is more than is configured.
    History,
    /// It is more than the node has for all.
    Node,
}

impl Lost {
    const ALL: [Lost; 2] = [Lost::History, Lost::Node];

    fn word(self) -> &'static str {
        match self {
            Lost::History => "history",
            Lost::Node => "node",
        }
    }
}

/// What a worker counts of a stream between two publications.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamCounts {
    /// Packets that were finished at a viewer.
    pub packets_sent: u64,
    /// Bytes that left by splice.
    pub live_bytes: u64,
    /// Bytes that left by buffered writes.
    pub catching_up_bytes: u64,
    /// Packets that viewers were skipped over.
    pub packets_dropped: u64,
    /// Bytes that viewers were skipped over.
    pub bytes_dropped: u64,
    /// Times a viewer was skipped.
    pub skips: u64,
    /// Times another worker's part was skipped.
    pub feed_skips: u64,
    /// Time viewers were connected, added up.
    pub duration: Duration,
}

/// The state of a stream after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamGauges {
    /// Viewers at the head.
    pub live: usize,
    /// Viewers served from the ring.
    pub catching_up: usize,
    /// Viewers who get the rest and are let go.
    pub ending: usize,
    /// Viewers who wait for the upstream.
    pub waiting: usize,
    /// Largest lag, bytes.
    pub lag: usize,
    /// The lag limit, bytes.
    pub lag_limit: usize,
    /// Memory of the ring, bytes.
    pub ring: usize,
}

impl StreamGauges {
    fn viewers(&self) -> usize {
        self.live + self.catching_up + self.ending + self.waiting
    }
}
