//! What is counted of a worker.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use prometheus::{IntGaugeVec, exponential_buckets};

use super::registry::{counters, gauges, histograms};

#[derive(Debug)]
pub(super) struct Families {
    turns: IntCounterVec,
    seconds: HistogramVec,
    accepted: IntCounterVec,
    accept_errors: IntCounterVec,
    proxy_errors: IntCounterVec,
    turned_out: IntCounterVec,
    guests: IntGaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        // 50 µs to 0.2 s: from an idle stream's turn to one that is late.
        let buckets = exponential_buckets(0.000_05, 2.0, 13).expect("growing buckets");
        let of = &["worker"];
        Families {
            turns: counters(r, "restreamer_turns_total", "Turns of the worker's loop.", of),
            seconds: histograms(
                r,
                "restreamer_turn_seconds",
                "Time a turn took, waiting not included.",
                of,
                buckets,
            ),
            accepted: counters(r, "restreamer_accepted_total", "Connections accepted.", of),
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
        }
    }

    pub(super) fn of(&self, number: usize) -> WorkerMetrics {
        let number = number.to_string();
        let labels = &[number.as_str()];
        WorkerMetrics {
            turns: self.turns.with_label_values(labels),
            seconds: self.seconds.with_label_values(labels),
            accepted: self.accepted.with_label_values(labels),
            accept_errors: self.accept_errors.with_label_values(labels),
            proxy_errors: self.proxy_errors.with_label_values(labels),
            turned_out: self.turned_out.with_label_values(labels),
            guests: self.guests.with_label_values(labels),
        }
    }
}

/// One worker's metrics.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    turns: IntCounter,
    seconds: Histogram,
    accepted: IntCounter,
    accept_errors: IntCounter,
    proxy_errors: IntCounter,
    turned_out: IntCounter,
    guests: IntGauge,
}

impl WorkerMetrics {
    /// Counts a turn, and what it took.
    pub fn turned(&self, took: Duration) {
        self.turns.inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Shows how many guests there are.
    pub fn guests(&self, guests: usize) {
        self.guests.set(i64::try_from(guests).unwrap_or(i64::MAX));
    }

    /// Counts connections accepted.
    pub fn accepted(&self, connections: u64) {
        self.accepted.inc_by(connections);
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
