//! What is counted at the door.
//!
//! Owns the names. What is counted is asked for when the metrics are: most of it is in the kernel.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use crate::limits::{DOOR_RULES_MAX, DOOR_SOURCES_MAX};

/// What the door has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Connections that were let in.
    pub admitted: u64,
    /// Attempts that a rule has denied.
    pub denied: u64,
    /// Attempts beyond a source's rate.
    pub over_rate: u64,
    /// Connections for which a worker was chosen.
    pub steered: u64,
    /// Connections that went from a closed listening socket to another one.
    pub migrated: u64,
    /// Sources whose rate is known now.
    pub sources: u64,
    /// Rules that there are now.
    pub rules: u64,
    /// Whether it is the kernel that judges.
    pub in_kernel: bool,
}

/// Asks for the counts whenever it is asked for the metrics.
pub(super) struct DoorCollector<F> {
    read: F,
    families: Mutex<Families>,
    descriptions: Vec<Desc>,
}

struct Families {
    admitted: IntCounter,
    dropped: IntCounterVec,
    steered: IntCounter,
    migrated: IntCounter,
    in_kernel: IntGauge,
    sources: IntGauge,
    sources_max: IntGauge,
    rules: IntGauge,
    rules_max: IntGauge,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("a well-formed metric")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("a well-formed metric")
}

impl Families {
    fn new() -> Families {
        let dropped = Opts::new(
            "restreamer_door_dropped_total",
            "Attempts to connect that were not let in, by reason.",
        );
        Families {
            admitted: counter(
                "restreamer_door_admitted_total",
                "Connections that the door has let in.",
            ),
            dropped: IntCounterVec::new(dropped, &["reason"]).expect("a well-formed metric"),
            steered: counter(
                "restreamer_door_steered_total",
                "New connections for which the worker with the least load was chosen.",
            ),
            migrated: counter(
                "restreamer_door_migrated_total",
                "Connections that went to another worker because theirs listens no more.",
            ),
            in_kernel: gauge(
                "restreamer_door_in_kernel",
                "1 when the kernel keeps the door, 0 when connections are judged at accept.",
            ),
            sources: gauge("restreamer_door_sources", "Sources whose rate is known."),
            sources_max: gauge("restreamer_door_sources_max", "Sources that there is room for."),
            rules: gauge("restreamer_door_rules", "Networks that a rule is about."),
            rules_max: gauge("restreamer_door_rules_max", "Rules that there is room for."),
        }
    }

    fn all(&self) -> [&dyn Collector; 9] {
        [
            &self.admitted,
            &self.dropped,
            &self.steered,
            &self.migrated,
            &self.in_kernel,
            &self.sources,
            &self.sources_max,
            &self.rules,
            &self.rules_max,
        ]
    }

    fn set(&self, counts: &DoorCounts) {
        // A counter never goes back, whatever is read.
        let count = |counter: &IntCounter, now: u64| {
            counter.inc_by(now.saturating_sub(counter.get()));
        };
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        count(&self.admitted, counts.admitted);
        count(&self.dropped.with_label_values(&["denied"]), counts.denied);
        count(&self.dropped.with_label_values(&["rate"]), counts.over_rate);
        count(&self.steered, counts.steered);
        count(&self.migrated, counts.migrated);
        self.in_kernel.set(counts.in_kernel.into());
        self.sources.set(gauge(counts.sources));
        self.sources_max.set(gauge(DOOR_SOURCES_MAX as u64));
        self.rules.set(gauge(counts.rules));
        self.rules_max.set(gauge(DOOR_RULES_MAX as u64));
    }
}

impl<F: Fn() -> DoorCounts + Send + Sync> DoorCollector<F> {
    pub(super) fn new(read: F) -> DoorCollector<F> {
        let families = Families::new();
        let descriptions =
            families.all().iter().flat_map(|family| family.desc()).cloned().collect();
        DoorCollector { read, descriptions, families: families.into() }
    }
}

impl<F: Fn() -> DoorCounts + Send + Sync> Collector for DoorCollector<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // One at a time, so that none adds what another has added already.
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.set(&(self.read)());
        families.all().iter().flat_map(|family| family.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Metrics;
    use super::*;

    #[test]
    fn what_is_counted_is_read_when_it_is_asked_for() {
        let metrics = Metrics::new();
        assert!(!metrics.text().unwrap().contains("restreamer_door"), "there is no door");
        let counts = Arc::new(Mutex::new(DoorCounts::default()));
        let read = Arc::clone(&counts);
        metrics.door(move || *read.lock().unwrap());
        let has = |lines: &[&str]| {
            let text = metrics.text().unwrap();
            for line in lines {
                assert!(text.lines().any(|l| l == *line), "{line} in\n{text}");
            }
        };
        has(&[
            "restreamer_door_admitted_total 0",
            "restreamer_door_dropped_total{reason=\"denied\"} 0",
            "restreamer_door_dropped_total{reason=\"rate\"} 0",
            "restreamer_door_steered_total 0",
            "restreamer_door_migrated_total 0",
            "restreamer_door_in_kernel 0",
            "restreamer_door_sources 0",
            "restreamer_door_sources_max 65536",
            "restreamer_door_rules 0",
            "restreamer_door_rules_max 65536",
        ]);
        *counts.lock().unwrap() = DoorCounts {
            admitted: 1,
            denied: 2,
            over_rate: 3,
            steered: 4,
            migrated: 5,
            sources: 6,
            rules: 7,
            in_kernel: true,
        };
        let all = [
            "restreamer_door_admitted_total 1",
            "restreamer_door_dropped_total{reason=\"denied\"} 2",
            "restreamer_door_dropped_total{reason=\"rate\"} 3",
            "restreamer_door_steered_total 4",
            "restreamer_door_migrated_total 5",
            "restreamer_door_in_kernel 1",
            "restreamer_door_sources 6",
            "restreamer_door_rules 7",
        ];
        has(&all);
        has(&all);
        *counts.lock().unwrap() = DoorCounts::default();
        has(&[all[0], all[1], "restreamer_door_sources 0", "restreamer_door_in_kernel 0"]);
    }
}
