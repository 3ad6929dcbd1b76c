//! What is wrong with an upstream, as it is shown.
//!
//! Owns a gauge for each condition of the upstream that is connected, whether or not it is ever
//! left for it. They go with the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::{IntGaugeVec, Registry};

use super::registry::gauges;
use crate::config::Condition;

/// The word for an upstream whose connection came to its orderly end.
pub const ENDED: &str = "ended";

/// What is shown of an upstream.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// Nothing: it is not connected.
    #[default]
    Unused,
    /// It is connected; these conditions hold since then.
    Watched(Vec<(Condition, Instant)>),
    /// It has ended, and was not connected again.
    Ended(Instant),
}

#[derive(Debug)]
pub(super) struct Families {
    condition: IntGaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        let condition = gauges(
            r,
            "restreamer_upstream_condition",
            "What is wrong with the connected upstream: 1 while it is so, else 0.",
            &["stream", "url", "condition"],
        );
        Families { condition }
    }

    pub(super) fn of(&self, labels: &[String; 2]) -> HealthMetrics {
        let condition = self.condition.clone();
        HealthMetrics { labels: labels.clone(), condition, shown: Arc::default() }
    }
}

/// What is wrong with one upstream.
#[derive(Clone, Debug)]
pub(super) struct HealthMetrics {
    /// Stream and upstream.
    labels: [String; 2],
    condition: IntGaugeVec,
    shown: Arc<Mutex<Shown>>,
}

impl HealthMetrics {
    /// What was shown last.
    pub(super) fn get(&self) -> Shown {
        self.lock().clone()
    }

    /// Shows this instead of what was shown before.
    pub(super) fn show(&self, shown: Shown) {
        let [stream, url] = self.labels.each_ref().map(String::as_str);
        let words = Condition::ALL.map(Condition::word).into_iter().chain([ENDED]);
        for word in words {
            let labels = &[stream, url, word];
            let holds = match &shown {
                Shown::Unused => None,
                Shown::Watched(held) => Some(held.iter().any(|(of, _)| of.word() == word)),
                Shown::Ended(_) => (word == ENDED).then_some(true),
            };
            match holds {
                Some(holds) => self.condition.with_label_values(labels).set(holds.into()),
                None => {
                    // What is not there need not go.
                    let _none = self.condition.remove_label_values(labels);
                }
            }
        }
        *self.lock() = shown;
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        // Every writer leaves it whole, so that a panic elsewhere does not spoil it.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn conditions_are_there_for_as_long_as_the_connection() {
        let metrics = Metrics::new();
        let upstream = metrics.upstream("/a.ts", "tcp://h:1");
        let told = || {
            let text = metrics.text().unwrap();
            let ours = text.lines().filter_map(|line| line.split_once("_condition{condition=\""));
            let told = ours.map(|(_, rest)| {
                let (word, rest) = rest.split_once('"').unwrap();
                assert!(rest.starts_with(",stream=\"/a.ts\",url=\"tcp://h:1\"}"), "{rest}");
                format!("{word}{}", &rest[rest.len() - 2..])
            });
            told.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told(), "");
        upstream.show_health(Shown::Watched(Vec::new()));
        let well = "bitrate 0, ended 0, no_data 0, no_sync 0, no_tables 0, no_video 0, scrambled 0";
        assert_eq!(told(), well);
        let now = Instant::now();
        let ill = [(Condition::NoVideo, now), (Condition::Bitrate, now)];
        upstream.show_health(Shown::Watched(ill.to_vec()));
        assert_eq!(told(), well.replace("bitrate 0", "bitrate 1").replace("video 0", "video 1"));
        assert!(matches!(upstream.health(), Shown::Watched(held) if held == ill));
        upstream.show_health(Shown::Ended(now));
        assert_eq!(told(), "ended 1");
        upstream.show_health(Shown::Unused);
        assert_eq!(told(), "");
    }
}
