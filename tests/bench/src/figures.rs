//! Figures of one process in one window, and of a scenario's rounds.

use serde::{Deserialize, Serialize};

use crate::flood::Flooded;
use crate::kernel::Kernel;
use crate::target::{Target, Verdict};

/// What one process did in the window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) who: String,
    pub(crate) viewers: usize,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// Read by viewers.
    pub(crate) gigabytes: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_seconds_per_gb: f64,
    /// Of those who were measured with it on the same core.
    #[serde(default)]
    pub(crate) company_cpu_seconds: f64,
    /// Of its core, whoever used it; 1 is all.
    pub(crate) core_busy: f64,
    /// Of the core of source and viewers: where it is 1, delays are theirs.
    pub(crate) load_core_busy: f64,
    pub(crate) delay_p50_ms: f64,
    pub(crate) delay_p99_ms: f64,
    pub(crate) delay_max_ms: f64,
    pub(crate) lost_packets: u64,
    pub(crate) torn_packets: u64,
    pub(crate) repeated_packets: u64,
    /// Viewers that were refused or cut.
    pub(crate) ended_viewers: u64,
    /// Viewers that got nothing any more when all were looked at for the last time.
    pub(crate) silent_viewers: u64,
    /// Packets that the source could not send in time, since it began: all connections together.
    pub(crate) untaken_packets: u64,
    /// By the server's own count, since it began.
    pub(crate) dropped_packets: Option<f64>,
    pub(crate) skips: Option<f64>,
    pub(crate) resident_mb: f64,
    /// Turns made, and the mean time between two.
    pub(crate) turns: f64,
    pub(crate) turn_ms: f64,
    /// Mean bytes of one stream in one turn.
    pub(crate) chunk_bytes: f64,
    pub(crate) joins: Option<Joins>,
    /// Where there was a flood.
    #[serde(default)]
    pub(crate) flooded: Option<Flooded>,
    /// Of the window; none in runs that were saved before it was measured.
    #[serde(default)]
    pub(crate) kernel: Kernel,
}

/// Viewers that came in the window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Joins {
    pub(crate) count: u64,
    /// Without a byte of a stream (a picture, where there are any) at the window's end.
    pub(crate) missing: u64,
    /// From `connect` to the first byte of the body, or the end of the first picture.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) slowest_ms: f64,
    /// Delay of those who were there, in the seconds before; in the window it is the figures'.
    pub(crate) before_p99_ms: f64,
}

impl Figures {
    /// All that a viewer is to see none of.
    pub(crate) fn faults(&self) -> u64 {
        self.lost_packets
            + self.torn_packets
            + self.repeated_packets
            + self.ended_viewers
            + self.silent_viewers
    }

    /// What others took of its core.
    pub(crate) fn taken_by_others(&self) -> f64 {
        self.core_busy - (self.cpu_seconds + self.company_cpu_seconds) / self.seconds
    }

    /// What went wrong in any round went wrong.
    fn take_faults(&mut self, other: &Figures) {
        self.lost_packets += other.lost_packets;
        self.torn_packets += other.torn_packets;
        self.repeated_packets += other.repeated_packets;
        self.ended_viewers += other.ended_viewers;
        self.silent_viewers += other.silent_viewers;
        self.untaken_packets += other.untaken_packets;
        for (ours, theirs) in
            [(&mut self.dropped_packets, other.dropped_packets), (&mut self.skips, other.skips)]
        {
            *ours = ours.zip(theirs).map(|(ours, theirs)| ours + theirs).or(*ours);
        }
        if let (Some(ours), Some(theirs)) = (&mut self.flooded, &other.flooded) {
            let both = ours.uncounted.zip(theirs.uncounted);
            ours.uncounted = both.map(|(ours, theirs)| ours.abs() + theirs.abs());
        }
        if let (Some(ours), Some(theirs)) = (&mut self.joins, &other.joins) {
            ours.missing += theirs.missing;
            ours.slowest_ms = ours.slowest_ms.max(theirs.slowest_ms);
        }
    }
}

/// One scenario: one round of it, or the median of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) streams: usize,
    pub(crate) bits_per_second: u64,
    /// The first is judged.
    pub(crate) measured: Vec<Figures>,
    /// Who it is compared with, if that is measured.
    pub(crate) beside: Option<String>,
    /// Peers that did not run.
    pub(crate) absent: Vec<String>,
    /// CPU seconds per GB of the judged, by that of the one beside, of every round by size.
    pub(crate) cpu_ratios: Vec<f64>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Who is judged.
    pub(crate) fn judged(&self) -> &Figures {
        &self.measured[0]
    }

    /// Who the judged is compared with.
    pub(crate) fn compared(&self) -> Option<&Figures> {
        let beside = self.beside.as_ref()?;
        self.measured.iter().find(|figures| figures.who == *beside)
    }

    /// CPU seconds per GB of the judged, by that of the one beside.
    pub(crate) fn cpu_ratio(&self) -> Option<f64> {
        let beside = self.compared()?;
        let ratio = self.judged().cpu_seconds_per_gb / beside.cpu_seconds_per_gb;
        ratio.is_finite().then_some(ratio)
    }

    /// What rounds are ordered by: what the scenario is about.
    fn rank(&self) -> f64 {
        let growth = self.judged().flooded.as_ref().map(Flooded::growth);
        growth.or(self.cpu_ratio()).unwrap_or(self.judged().cpu_seconds)
    }

    /// The round whose ratio (of one alone: whose CPU time; with a flood: whose growth by it) is
    /// the median, with what went wrong in all of them.
    pub(crate) fn of_rounds(mut rounds: Vec<Outcome>, targets: &[Target]) -> Option<Outcome> {
        rounds.sort_by(|a, b| a.rank().total_cmp(&b.rank()));
        let middle = rounds.len() / 2;
        let mut median = rounds.get(middle)?.clone();
        median.cpu_ratios = rounds.iter().filter_map(Outcome::cpu_ratio).collect();
        for (at, round) in rounds.iter().enumerate() {
            if at != middle {
                for theirs in &round.measured {
                    let same = |ours: &&mut Figures| ours.who == theirs.who;
                    if let Some(ours) = median.measured.iter_mut().find(same) {
                        ours.take_faults(theirs);
                    }
                }
                median.absent.extend(round.absent.iter().cloned());
            }
        }
        let judge = |target: &Target| target.judge(median.judged(), median.compared());
        median.verdicts = targets.iter().map(judge).collect();
        Some(median)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures have three digits")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{DROPPED_PACKETS, LOST_PACKETS, cpu_ratio, slowest_join_ms};

    fn round(cpu_ratio: f64, lost_packets: u64, slowest_ms: f64) -> Outcome {
        let joins = Some(Joins { slowest_ms, ..Joins::default() });
        let judged = Figures {
            cpu_seconds_per_gb: cpu_ratio,
            lost_packets,
            dropped_packets: Some(float(lost_packets)),
            joins,
            ..Figures::default()
        };
        let beside =
            Figures { who: "other".to_owned(), cpu_seconds_per_gb: 1.0, ..Figures::default() };
        Outcome {
            scenario: "some".to_owned(),
            streams: 1,
            bits_per_second: 1,
            absent: Vec::new(),
            measured: vec![judged, beside],
            beside: Some("other".to_owned()),
            cpu_ratios: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn the_median_round_tells_of_all_faults() {
        let rounds = vec![round(1.5, 2, 5.0), round(1.25, 0, 1.0), round(1.0, 3, 2.0)];
        let targets = [cpu_ratio(1.3), LOST_PACKETS, DROPPED_PACKETS, slowest_join_ms(4.0)];
        let median = Outcome::of_rounds(rounds, &targets).unwrap();
        assert!(median.cpu_ratios == [1.0, 1.25, 1.5], "{:?}", median.cpu_ratios);
        let judged: Vec<_> =
            median.verdicts.iter().map(|v| (v.figure.unwrap(), v.word())).collect();
        assert_eq!(judged, [(1.25, "PASS"), (5.0, "FAIL"), (5.0, "FAIL"), (5.0, "FAIL")]);
        assert_eq!(median.measured[1].faults(), 0);
        assert!(Outcome::of_rounds(Vec::new(), &targets).is_none());
    }

    #[test]
    fn a_peer_in_the_place_of_a_missing_one_is_not_compared_with() {
        let mut round = round(0.5, 0, 0.0);
        round.beside = Some("missing".to_owned());
        let outcome = Outcome::of_rounds(vec![round], &[cpu_ratio(1.0)]).unwrap();
        assert_eq!((outcome.cpu_ratio(), outcome.verdicts[0].word()), (None, "UNMEASURED"));
    }
}
