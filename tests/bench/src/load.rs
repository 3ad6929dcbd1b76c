//! The run: each scenario with each of its subjects, in rounds.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::child::busy_seconds;
use crate::figures::{Figures, Outcome};
use crate::measure::measure;
use crate::report::Report;
use crate::scenario::{Scenario, chosen};
use crate::subject::Subject;

/// How long the machine is watched before anything is started.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server: PathBuf,
    /// A scenario by name, or several by the beginning of theirs; may be given more than once
    #[arg(long)]
    scenario: Vec<String>,
    /// Length of the window
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=20))]
    seconds: u64,
    /// Times that all subjects of a scenario are measured, in turn; the median is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
    /// Where the figures are written
    #[arg(long)]
    json: Option<PathBuf>,
    /// A saved run, to which the ratio is told
    #[arg(long)]
    compare: Option<PathBuf>,
    /// Fail if a target is missed, and not only if packets are lost or something does not run
    #[arg(long)]
    check: bool,
}

/// Answers whether all is well.
pub(crate) fn run(arguments: &Arguments) -> io::Result<bool> {
    let scenarios = chosen(&arguments.scenario).map_err(io::Error::other)?;
    let saved = arguments.compare.as_deref().map(Report::load).transpose()?;
    let mut report = Report { busy_before: look_around()?, ..Report::default() };
    for scenario in scenarios {
        match all_rounds(arguments, scenario) {
            Ok(outcome) => report.outcomes.extend(outcome),
            Err(error) => {
                eprintln!("{}: {error}", scenario.name);
                report.failures.push(format!("{}: {error}", scenario.name));
            }
        }
        // What has been measured is kept, whatever becomes of the next.
        if let Some(path) = &arguments.json {
            report.save(path)?;
        }
    }
    report.print();
    if let Some(saved) = saved {
        report.print_ratios(&saved);
    }
    Ok(report.is_sound() && (!arguments.check || report.is_pass()))
}

/// How busy the cores are without us.
pub(crate) fn look_around() -> io::Result<[f64; 2]> {
    let before = busy_seconds()?;
    std::thread::sleep(LOOK_AROUND);
    let after = busy_seconds()?;
    Ok([0, 1].map(|core| (after[core] - before[core]) / LOOK_AROUND.as_secs_f64()))
}

fn all_rounds(arguments: &Arguments, scenario: Scenario) -> io::Result<Option<Outcome>> {
    let (subjects, missing): (Vec<_>, Vec<_>) =
        scenario.subjects.iter().copied().partition(|subject| subject.is_installed());
    let missing: Vec<String> =
        missing.iter().map(|subject| format!("{} is not installed", subject.name())).collect();
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        eprintln!("{}, round {number} of {}", scenario.name, arguments.rounds);
        rounds.push(round(arguments, scenario, &subjects)?);
    }
    let outcome = Outcome::of_rounds(rounds, scenario.targets);
    Ok(outcome.map(|mut outcome| {
        outcome.absent.extend(missing);
        outcome
    }))
}

fn round(arguments: &Arguments, scenario: Scenario, subjects: &[Subject]) -> io::Result<Outcome> {
    let window = Duration::from_secs(arguments.seconds);
    let mut turn_ms = scenario.turn.map_or(0.0, f64::from);
    let (mut measured, mut absent) = (Vec::new(), Vec::new());
    for &subject in subjects {
        let all = match measure(subject, &arguments.server, scenario, window, turn_ms) {
            Ok(all) => all,
            Err(error) => {
                let told = format!("{}: {error}", subject.name());
                if !subject.is_peer() {
                    return Err(io::Error::other(told));
                }
                absent.push(told);
                continue;
            }
        };
        for figures in &all {
            eprintln!(
                "    {}: {:.3} CPU s/GB, p99 {:.0} ms, {} faults, turns of {:.1} ms",
                figures.who,
                figures.cpu_seconds_per_gb,
                figures.delay_p99_ms,
                figures.faults(),
                figures.turn_ms,
            );
        }
        // The bare loop's turns are as long as the server's just were.
        if subject == Subject::Server {
            turn_ms = all[0].turn_ms;
        }
        measured.extend(all);
    }
    // Who is measured alone is compared with its company, if it has any.
    let company = measured.get(1).filter(|_| scenario.subjects.len() == 1);
    let beside = scenario.subjects.get(1).map(|subject| subject.name().to_owned());
    // Two that are flooded are not compared by what they spend on their viewers.
    let beside = beside.filter(|_| scenario.flood.is_none());
    let beside = beside.or_else(|| company.map(|figures: &Figures| figures.who.clone()));
    Ok(Outcome {
        scenario: scenario.name.to_owned(),
        streams: scenario.streams,
        bits_per_second: scenario.bits_per_second,
        measured,
        absent,
        beside,
        cpu_ratios: Vec::new(),
        verdicts: Vec::new(),
    })
}
