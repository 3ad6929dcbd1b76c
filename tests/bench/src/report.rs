//! Figures: printed, saved, compared.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What others may take of the measured core before it is said.
const OTHERS_MAX: f64 = 0.03;

/// What one process did in the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) gigabytes: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_seconds_per_gb: f64,
    /// Of its core, whoever used it; 1 is all.
    pub(crate) core_busy: f64,
    pub(crate) delay_p50_ms: f64,
    pub(crate) delay_p99_ms: f64,
    pub(crate) delay_max_ms: f64,
    pub(crate) lost_packets: u64,
    pub(crate) torn_packets: u64,
    pub(crate) repeated_packets: u64,
    /// Viewers that were cut.
    pub(crate) ended_viewers: u64,
    pub(crate) resident_mb: f64,
    /// Mean bytes of the stream in one turn, and mean time between two.
    pub(crate) chunk_bytes: f64,
    pub(crate) turn_ms: f64,
}

impl Figures {
    fn count_faults(&mut self, rounds: &[&Figures]) {
        let sum = |of: fn(&Figures) -> u64| rounds.iter().copied().map(of).sum::<u64>();
        self.lost_packets = sum(|f| f.lost_packets);
        self.torn_packets = sum(|f| f.torn_packets);
        self.repeated_packets = sum(|f| f.repeated_packets);
        self.ended_viewers = sum(|f| f.ended_viewers);
    }
}

/// One scenario: one round of it, or the median of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) viewers: usize,
    pub(crate) bits_per_second: u64,
    pub(crate) seconds: f64,
    pub(crate) server: Figures,
    pub(crate) bare: Figures,
    /// CPU seconds per GB, the server's by the bare loop's.
    pub(crate) cpu_ratio: f64,
    /// The same of every round, in order of size.
    pub(crate) cpu_ratios: Vec<f64>,
}

impl Outcome {
    /// The round whose ratio is the median, with what went wrong in all of them.
    pub(crate) fn of_rounds(mut rounds: Vec<Outcome>) -> Option<Outcome> {
        rounds.sort_by(|a, b| a.cpu_ratio.total_cmp(&b.cpu_ratio));
        let mut median = rounds.get(rounds.len() / 2)?.clone();
        median.cpu_ratios = rounds.iter().map(|round| round.cpu_ratio).collect();
        median.server.count_faults(&rounds.iter().map(|round| &round.server).collect::<Vec<_>>());
        median.bare.count_faults(&rounds.iter().map(|round| &round.bare).collect::<Vec<_>>());
        Some(median)
    }
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    pub(crate) fn load(path: &Path) -> io::Result<Report> {
        let wrong = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("saved run {}: {error}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }

    pub(crate) fn print(&self) {
        println!(
            "| scenario | | viewers | GB | CPU s/GB | core busy | p50 ms | p99 ms | max ms \
             | lost | torn | repeated | cut | MB | chunk KB | turn ms |"
        );
        println!("|{}", " --- |".repeat(16));
        for outcome in &self.outcomes {
            for (who, f) in [("server", &outcome.server), ("bare loop", &outcome.bare)] {
                println!(
                    "| {} | {who} | {} | {:.2} | {:.3} | {:.0} % | {:.1} | {:.1} | {:.1} | {} | {} \
                     | {} | {} | {:.1} | {:.1} | {:.1} |",
                    outcome.scenario,
                    outcome.viewers,
                    f.gigabytes,
                    f.cpu_seconds_per_gb,
                    f.core_busy * 100.0,
                    f.delay_p50_ms,
                    f.delay_p99_ms,
                    f.delay_max_ms,
                    f.lost_packets,
                    f.torn_packets,
                    f.repeated_packets,
                    f.ended_viewers,
                    f.resident_mb,
                    f.chunk_bytes / 1e3,
                    f.turn_ms,
                );
            }
        }
        for outcome in &self.outcomes {
            let (ratio, name) = (outcome.cpu_ratio, &outcome.scenario);
            println!(
                "{name}: CPU per GB is {ratio:.2} × the bare loop's {:.2?}",
                outcome.cpu_ratios
            );
            for (who, f) in [("the server", &outcome.server), ("the bare loop", &outcome.bare)] {
                if f.lost_packets + f.torn_packets + f.repeated_packets + f.ended_viewers > 0 {
                    println!("{}: LOSS: viewers of {who} did not get all", outcome.scenario);
                }
                let others = f.core_busy - f.cpu_seconds / outcome.seconds;
                if others > OTHERS_MAX {
                    let percent = others * 100.0;
                    println!(
                        "{}: {who} lost {percent:.0} % of its core to others",
                        outcome.scenario
                    );
                }
            }
        }
    }

    /// Prints the ratio of this run's figures to a saved run's, scenario by scenario.
    pub(crate) fn print_ratios(&self, saved: &Report) {
        println!(
            "| this run / saved run | CPU s/GB | by the bare loop's | p50 | p99 | MB | lost |"
        );
        println!("|{}", " --- |".repeat(7));
        for now in &self.outcomes {
            let Some(then) = saved.outcomes.iter().find(|then| then.scenario == now.scenario)
            else {
                println!("| {} | was not measured then |", now.scenario);
                continue;
            };
            let ratio = |of: fn(&Outcome) -> f64| of(now) / of(then);
            println!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} / {} |",
                now.scenario,
                ratio(|o| o.server.cpu_seconds_per_gb),
                ratio(|o| o.cpu_ratio),
                ratio(|o| o.server.delay_p50_ms),
                ratio(|o| o.server.delay_p99_ms),
                ratio(|o| o.server.resident_mb),
                now.server.lost_packets,
                then.server.lost_packets,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_round_tells_of_all_faults() {
        let figures = |lost_packets| Figures {
            gigabytes: 1.0,
            cpu_seconds: 1.0,
            cpu_seconds_per_gb: 1.0,
            core_busy: 1.0,
            delay_p50_ms: 1.0,
            delay_p99_ms: 1.0,
            delay_max_ms: 1.0,
            lost_packets,
            torn_packets: 0,
            repeated_packets: 0,
            ended_viewers: 0,
            resident_mb: 1.0,
            chunk_bytes: 1.0,
            turn_ms: 1.0,
        };
        let round = |cpu_ratio, lost| Outcome {
            scenario: "some".to_owned(),
            viewers: 1,
            bits_per_second: 1,
            seconds: 1.0,
            server: figures(lost),
            bare: figures(0),
            cpu_ratio,
            cpu_ratios: Vec::new(),
        };
        let rounds = vec![round(1.5, 2), round(1.25, 0), round(1.0, 3)];
        let median = Outcome::of_rounds(rounds).unwrap();
        assert!(median.cpu_ratios == [1.0, 1.25, 1.5], "{:?}", median.cpu_ratios);
        assert!((median.cpu_ratio - 1.25).abs() < 0.01);
        assert_eq!((median.server.lost_packets, median.bare.lost_packets), (5, 0));
        assert!(Outcome::of_rounds(Vec::new()).is_none());
    }
}
