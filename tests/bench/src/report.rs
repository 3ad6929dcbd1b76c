//! Figures: printed, saved, compared.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Outcome};
use crate::subject::Subject;
use crate::target::Verdict;
use crate::tiers::TIERS;

/// What others may take of the measured core before it is said.
const OTHERS_MAX: f64 = 0.03;
/// The same before the run, of either core.
const BUSY_BEFORE_MAX: f64 = 0.05;
/// How busy the core of source and viewers may be before it is said.
const LOAD_MAX: f64 = 0.95;

/// A run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of the measured core, and of that of source and viewers, before the run.
    pub(crate) busy_before: [f64; 2],
    pub(crate) outcomes: Vec<Outcome>,
    /// What did not run.
    pub(crate) failures: Vec<String>,
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

    /// Whether all ran and no viewer of who is judged lost anything.
    pub(crate) fn is_sound(&self) -> bool {
        let is_whole = |outcome: &Outcome| {
            let judged = outcome.judged();
            judged.faults() == 0 && judged.joins.as_ref().is_none_or(|joins| joins.missing == 0)
        };
        self.failures.is_empty() && self.outcomes.iter().all(is_whole)
    }

    /// Whether every target was reached.
    pub(crate) fn is_pass(&self) -> bool {
        self.outcomes.iter().flat_map(|outcome| &outcome.verdicts).all(Verdict::is_pass)
    }

    pub(crate) fn print(&self) {
        println!(
            "| scenario | | viewers | GB | CPU s/GB | core busy | load busy | p50 ms | p99 ms \
             | max ms | lost | torn | repeated | cut | silent | dropped | MB | chunk KB | turn ms |"
        );
        println!("|{}", " --- |".repeat(19));
        for outcome in &self.outcomes {
            for figures in &outcome.measured {
                println!("{}", row(outcome, figures));
            }
        }
        for line in self.outcomes.iter().flat_map(remarks).chain(self.disturbances()) {
            println!("{line}");
        }
        for outcome in &self.outcomes {
            for verdict in &outcome.verdicts {
                println!("{}", judgement(&outcome.scenario, verdict));
            }
        }
        for failure in &self.failures {
            println!("FAIL {failure}");
        }
    }

    /// What the figures may owe to others than those who are measured.
    fn disturbances(&self) -> Vec<String> {
        let mut lines = disturbances_before(self.busy_before);
        for outcome in &self.outcomes {
            for figures in &outcome.measured {
                lines.extend(disturbances_of(&outcome.scenario, figures));
            }
        }
        lines
    }

    /// Prints the ratio of this run's figures to a saved run's, scenario by scenario.
    pub(crate) fn print_ratios(&self, saved: &Report) {
        println!(
            "| this run / saved run | CPU s/GB | by who is beside | p50 | p99 | MB | faults |"
        );
        println!("|{}", " --- |".repeat(7));
        for now in &self.outcomes {
            let Some(then) = saved.outcomes.iter().find(|then| then.scenario == now.scenario)
            else {
                println!("| {} | was not measured then |", now.scenario);
                continue;
            };
            let ratio = |of: fn(&Figures) -> f64| of(now.judged()) / of(then.judged());
            let beside = now.cpu_ratio().zip(then.cpu_ratio()).map(|(now, then)| now / then);
            println!(
                "| {} | {:.2} | {} | {:.2} | {:.2} | {:.2} | {} / {} |",
                now.scenario,
                ratio(|f| f.cpu_seconds_per_gb),
                beside.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                ratio(|f| f.delay_p50_ms),
                ratio(|f| f.delay_p99_ms),
                ratio(|f| f.resident_mb),
                now.judged().faults(),
                then.judged().faults(),
            );
        }
    }
}

/// By what was busy before the run.
pub(crate) fn disturbances_before(busy: [f64; 2]) -> Vec<String> {
    let busy = busy.into_iter().enumerate().filter(|&(_, busy)| busy > BUSY_BEFORE_MAX);
    busy.map(|(core, busy)| {
        format!("NOT QUIET: core {core} was {:.0} % busy before the run", busy * 100.0)
    })
    .collect()
}

/// By what was busy in the window.
fn disturbances_of(name: &str, figures: &Figures) -> Vec<String> {
    let (mut lines, who, others) = (Vec::new(), &figures.who, figures.taken_by_others());
    if others > OTHERS_MAX {
        let percent = others * 100.0;
        lines.push(format!("{name}: {who} lost {percent:.0} % of its core to others"));
    }
    if figures.load_core_busy > LOAD_MAX {
        lines.push(format!(
            "{name}: source and viewers of {who} had no time left: delays are theirs"
        ));
    }
    lines
}

fn row(outcome: &Outcome, f: &Figures) -> String {
    format!(
        "| {} | {} | {} | {:.2} | {:.3} | {:.0} % | {:.0} % | {:.1} | {:.1} | {:.1} | {} | {} | {} \
         | {} | {} | {} | {:.1} | {:.1} | {:.1} |",
        outcome.scenario,
        f.who,
        f.viewers,
        f.gigabytes,
        f.cpu_seconds_per_gb,
        f.core_busy * 100.0,
        f.load_core_busy * 100.0,
        f.delay_p50_ms,
        f.delay_p99_ms,
        f.delay_max_ms,
        f.lost_packets,
        f.torn_packets,
        f.repeated_packets,
        f.ended_viewers,
        f.silent_viewers,
        f.dropped_packets.map_or_else(String::new, |packets| packets.to_string()),
        f.resident_mb,
        f.chunk_bytes / 1e3,
        f.turn_ms,
    )
}

/// What the table has no column for.
fn remarks(outcome: &Outcome) -> Vec<String> {
    let (name, judged, mut lines) = (&outcome.scenario, outcome.judged(), Vec::new());
    for absent in &outcome.absent {
        lines.push(format!("{name}: {absent}"));
    }
    if let Some((beside, ratio)) = outcome.compared().zip(outcome.cpu_ratio()) {
        let (who, beside, all) = (&judged.who, &beside.who, &outcome.cpu_ratios);
        lines.push(format!("{name}: CPU per GB of {who} / {beside}: {ratio:.2} {all:.2?}"));
    }
    if let Some(joins) = &judged.joins {
        lines.push(format!(
            "{name}: {} of {} joiners had data (or a picture) after {:.0} ms (half), \
             {:.0} ms (99 %), {:.0} ms (all); p99 of those who were there: {:.1} ms before, \
             {:.1} ms meanwhile",
            joins.count - joins.missing,
            joins.count,
            joins.p50_ms,
            joins.p99_ms,
            joins.slowest_ms,
            joins.before_p99_ms,
            judged.delay_p99_ms,
        ));
    }
    lines.extend(added_by_tiers(outcome));
    lines.extend(outcome.measured.iter().filter_map(|figures| flooded(name, figures)));
    if outcome.bits_per_second == 0 {
        lines.push(format!(
            "{name}: {:.2} s of CPU in {:.0} s, {:.0} turns",
            judged.cpu_seconds, judged.seconds, judged.turns
        ));
    }
    for figures in &outcome.measured {
        let (who, untaken) = (&figures.who, figures.untaken_packets);
        if figures.faults() > 0 {
            lines.push(format!("{name}: LOSS: viewers of {who} did not get all"));
        }
        if untaken > 0 {
            lines.push(format!("{name}: {who} did not take {untaken} packets in time"));
        }
    }
    lines
}

/// What a flood has changed.
fn flooded(name: &str, figures: &Figures) -> Option<String> {
    let of = figures.flooded.as_ref()?;
    let counted = match of.uncounted {
        None => "counted by nobody".to_owned(),
        Some(uncounted) => format!("{uncounted:.0} of them not counted as denied"),
    };
    let both =
        |[without, with]: [f64; 2]| format!("{:.1} % -> {:.1} %", without * 100.0, with * 100.0);
    Some(format!(
        "{name}: {}: {:.0} SYNs a second, {counted}; the worker's thread took {:+.1} % of a core \
         ({}), the core was busy {}, in softirqs {}",
        figures.who,
        of.per_second,
        of.growth() * 100.0,
        both(of.worker),
        both(of.core),
        both(of.softirq),
    ))
}

/// The delay of each tier, and what it adds to that of the one before.
fn added_by_tiers(outcome: &Outcome) -> Vec<String> {
    let of = |tier: Subject| outcome.measured.iter().find(|f| f.who == tier.name());
    let tiers: Vec<&Figures> = TIERS.into_iter().filter_map(of).collect();
    let told = |before: Option<&Figures>, f: &Figures| {
        let added = before.map_or_else(String::new, |before| {
            let (p50, p99) =
                (f.delay_p50_ms - before.delay_p50_ms, f.delay_p99_ms - before.delay_p99_ms);
            format!(" ({p50:+.1} and {p99:+.1} ms)")
        });
        let Figures { who, delay_p50_ms: p50, delay_p99_ms: p99, turn_ms, .. } = f;
        let name = &outcome.scenario;
        format!(
            "{name}: {who}: delay p50 {p50:.1} and p99 {p99:.1} ms{added}, turns of {turn_ms:.1} ms"
        )
    };
    let before = std::iter::once(None).chain(tiers.iter().map(|&tier| Some(tier)));
    before.zip(&tiers).map(|(before, &tier)| told(before, tier)).collect()
}

fn judgement(scenario: &str, verdict: &Verdict) -> String {
    let figure = verdict.figure.map_or_else(|| "-".to_owned(), short);
    let Verdict { what, at_most, .. } = verdict;
    format!("{} {scenario}: {what}: {figure} (at most {})", verdict.word(), short(*at_most))
}

/// Whole if it is, and else with as many digits as matter.
fn short(figure: f64) -> String {
    if figure.fract() == 0.0 || figure >= 100.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.3}").trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Joins;

    fn report(judged: Figures, figure: Option<f64>) -> Report {
        let what = "delay, ms".to_owned();
        let outcome = Outcome {
            scenario: "some".to_owned(),
            streams: 1,
            bits_per_second: 1,
            absent: Vec::new(),
            measured: vec![judged],
            beside: None,
            cpu_ratios: Vec::new(),
            verdicts: vec![Verdict { what, figure, at_most: 1.15 }],
        };
        Report { outcomes: vec![outcome], ..Report::default() }
    }

    #[test]
    fn loss_is_unsound_and_a_missed_target_is_no_pass() {
        let lossy = Figures { lost_packets: 1, ..Figures::default() };
        let joins = Some(Joins { missing: 1, ..Joins::default() });
        let late = Figures { joins, ..Figures::default() };
        for (judged, figure, sound, pass) in [
            (Figures::default(), Some(1.15), true, true),
            (Figures::default(), Some(1.16), true, false),
            (Figures::default(), None, true, false),
            (lossy, Some(1.0), false, true),
            (late, Some(1.0), false, true),
        ] {
            let report = report(judged, figure);
            assert_eq!((report.is_sound(), report.is_pass()), (sound, pass), "{report:?}");
        }
        let failed = Report { failures: vec!["x".to_owned()], ..Report::default() };
        assert!(!failed.is_sound());
    }

    #[test]
    fn a_verdict_tells_figure_and_target() {
        for (figure, line) in [
            (Some(1.2), "FAIL some: delay, ms: 1.2 (at most 1.15)"),
            (Some(0.0), "PASS some: delay, ms: 0 (at most 1.15)"),
            (None, "UNMEASURED some: delay, ms: - (at most 1.15)"),
        ] {
            let report = report(Figures::default(), figure);
            assert_eq!(judgement("some", &report.outcomes[0].verdicts[0]), line);
        }
    }

    #[test]
    fn what_disturbed_is_told() {
        let judged =
            Figures { seconds: 1.0, core_busy: 0.5, load_core_busy: 1.0, ..Figures::default() };
        let mut report = report(judged, None);
        report.busy_before = [0.0, 0.2];
        let lines = report.disturbances();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("core 1 was 20 % busy"));
    }

    #[test]
    fn a_saved_run_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let saved = report(Figures { lost_packets: 3, ..Figures::default() }, Some(1.5));
        saved.save(&path).unwrap();
        let loaded = Report::load(&path).unwrap();
        assert_eq!(format!("{loaded:?}"), format!("{saved:?}"));
        let error = Report::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("saved run "), "{error}");
    }
}
