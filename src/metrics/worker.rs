//! What is counted of a worker.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, exponential_buckets,
};

use super::registry::{counters, gauges, histograms, seconds};

#[derive(Debug)]
pub(super) struct Families {
    turns: IntCounterVec,
    busy: CounterVec,
    sent: IntCounterVec,
    streams: IntGaugeVec,
    viewers: IntGaugeVec,
    given: IntCounterVec,
    stream_turns: IntCounterVec,
    seconds: HistogramVec,
    accepted: IntCounterVec,
    handed_over: IntCounterVec,
    accept_errors: IntCounterVec,
    proxy_errors: IntCounterVec,
    turned_out: IntCounterVec,
    guests: IntGaugeVec,
    stuck: IntGaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        // 50 µs to 0.2 s: from an idle stream's turn to one that is late.
        let buckets = exponential_buckets(0.000_05, 2.0, 13).expect("growing buckets");
        let of = &["worker"];
        Families {
            turns: counters(r, "restreamer_turns_total", "Turns of the worker's loop.", of),
            busy: seconds(
                r,
                "restreamer_worker_busy_seconds_total",
                "Time the worker had something to do; its rate is how much of a core it takes.",
                of,
            ),
            sent: counters(
                r,
                "restreamer_worker_sent_bytes_total",
                "Bytes that the worker has sent to viewers.",
                of,
            ),
            streams: gauges(r, "restreamer_worker_streams", "Streams that the worker has.", of),
            viewers: gauges(
                r,
                "restreamer_worker_viewers",
                "Viewers of the streams that the worker has.",
                of,
            ),
            given: counters(
                r,
                "restreamer_streams_moved_total",
                "Streams that went from this worker to one that had less to do.",
                of,
            ),
            stream_turns: counters(
                r,
                "restreamer_stream_turns_total",
                "Streams with something to do in a turn, added up: none without data.",
                of,
            ),
            seconds: histograms(
                r,
                "restreamer_turn_seconds",
                "Time a turn took, waiting not included.",
                of,
                buckets,
            ),
            accepted: counters(r, "restreamer_accepted_total", "Connections accepted.", of),
            handed_over: counters(
                r,
                "restreamer_handed_over_total",
                "Requests handed over to the worker that has their stream.",
                of,
            ),
            accept_errors: counters(
                r,
                "restreamer_accept_errors_total",
                "Connections that could not be accepted or registered.",
                of,
            ),
            proxy_errors: counters(
                r,
                "restreamer_proxy_errors_total",
                "Connections without the PROXY protocol header that was to come, or of strangers.",
                of,
            ),
            turned_out: counters(
                r,
                "restreamer_guests_turned_out_total",
                "Connections closed before they had their answer, for want of room.",
                of,
            ),
            guests: gauges(
                r,
                "restreamer_guests",
                "Connections that have not asked for anything yet, or are being refused.",
                of,
            ),
            stuck: gauges(
                r,
                "restreamer_worker_stuck",
                "1 while the worker does not answer when it is asked whether it is well.",
                of,
            ),
        }
    }

    pub(super) fn of(&self, number: usize) -> WorkerMetrics {
        let number = number.to_string();
        let labels = &[number.as_str()];
        WorkerMetrics {
            turns: self.turns.with_label_values(labels),
            busy: self.busy.with_label_values(labels),
            sent: self.sent.with_label_values(labels),
            streams: self.streams.with_label_values(labels),
            viewers: self.viewers.with_label_values(labels),
            given: self.given.with_label_values(labels),
            stream_turns: self.stream_turns.with_label_values(labels),
            seconds: self.seconds.with_label_values(labels),
            accepted: self.accepted.with_label_values(labels),
            handed_over: self.handed_over.with_label_values(labels),
            accept_errors: self.accept_errors.with_label_values(labels),
            proxy_errors: self.proxy_errors.with_label_values(labels),
            turned_out: self.turned_out.with_label_values(labels),
            guests: self.guests.with_label_values(labels),
            stuck: self.stuck.with_label_values(labels),
        }
    }
}

/// One worker's metrics.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    turns: IntCounter,
    busy: Counter,
    sent: IntCounter,
    streams: IntGauge,
    viewers: IntGauge,
    given: IntCounter,
    stream_turns: IntCounter,
    seconds: Histogram,
    accepted: IntCounter,
    handed_over: IntCounter,
    accept_errors: IntCounter,
    proxy_errors: IntCounter,
    turned_out: IntCounter,
    guests: IntGauge,
    stuck: IntGauge,
}

impl WorkerMetrics {
    /// Counts a turn, and what it took.
    pub fn turned(&self, took: Duration) {
        self.turns.inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Adds time that it had something to do.
    pub fn busy(&self, took: Duration) {
        self.busy.inc_by(took.as_secs_f64());
    }

    /// Counts bytes sent to viewers.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// Shows what it has.
    pub fn has(&self, streams: usize, viewers: usize) {
        self.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
        self.viewers.set(i64::try_from(viewers).unwrap_or(i64::MAX));
    }

    /// Counts a stream that was given to another worker.
    pub fn gave(&self) {
        self.given.inc();
    }

    /// Counts the streams that had something to do in a turn.
    pub fn stream_turns(&self, streams: usize) {
        self.stream_turns.inc_by(streams as u64);
    }

    /// Shows how many guests there are.
    pub fn guests(&self, guests: usize) {
        self.guests.set(i64::try_from(guests).unwrap_or(i64::MAX));
    }

    /// Shows whether it does not answer.
    pub fn stuck(&self, stuck: bool) {
        self.stuck.set(stuck.into());
    }

    /// Counts connections accepted.
    pub fn accepted(&self, connections: u64) {
        self.accepted.inc_by(connections);
    }

    /// Counts a request handed over to the worker that has its stream.
    pub fn handed_over(&self) {
        self.handed_over.inc();
    }

    /// Counts connections that had to go for want of room.
    pub fn turned_out(&self, connections: u64) {
        self.turned_out.inc_by(connections);
    }

    /// Counts a connection that should have had a PROXY protocol header.
    pub fn proxy_error(&self) {
        self.proxy_errors.inc();
    }

    /// Counts a connection that could not be accepted or registered.
    pub fn accept_error(&self) {
        self.accept_errors.inc();
    }
}
