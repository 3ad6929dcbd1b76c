//! Kernel knobs: each is turned alone, and measured beside its default in the same run.
//!
//! Sysctls are written for a measurement and put back. `tests/bench/run` has a network namespace
//! of its own for that: whatever becomes of us, the machine's are as they were.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::figures::{Figures, float};
use crate::kernel::Sysctl;
use crate::knob::{Knob, Value, chosen};
use crate::load::look_around;
use crate::measure::measure;
use crate::report::disturbances_before;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server: PathBuf,
    /// A knob by name; may be given more than once
    #[arg(long)]
    knob: Vec<String>,
    /// Length of the window
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=20))]
    seconds: u64,
    /// Times that all values of a knob are measured, in turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
}

/// Answers whether all was measured. That viewers lose something is what some values are to show.
pub(crate) fn run(arguments: &Arguments) -> io::Result<bool> {
    let knobs = chosen(&arguments.knob).map_err(io::Error::other)?;
    for remark in disturbances_before(look_around()?) {
        println!("{remark}");
    }
    let mut all_ran = true;
    println!(
        "| knob | value | CPU s/GB | by the default's | others | load busy | p50 ms | p99 ms \
         | faults | TCP MB, mean | most | slab MB | overflows | joins p99 ms | slowest |"
    );
    println!("|{}", " --- |".repeat(15));
    for knob in &knobs {
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            eprintln!("{}, round {number} of {}", knob.name, arguments.rounds);
            let of = |value| figures(arguments, knob, value);
            rounds.push(knob.values.iter().map(of).collect::<Vec<_>>());
        }
        for (at, value) in knob.values.iter().enumerate() {
            match row(knob, value, &rounds, at) {
                Some(row) => println!("{row}"),
                None => all_ran = false,
            }
        }
    }
    Ok(all_ran)
}

/// What could not be measured is told, and nothing.
fn figures(arguments: &Arguments, knob: &Knob, value: &Value) -> Option<Figures> {
    let window = Duration::from_secs(arguments.seconds);
    let turn_ms = value.scenario.turn.map_or(0.0, f64::from);
    let measured = || {
        let set = |(name, value): &(&str, &str)| Sysctl::set(name, value);
        let _guards = value.sysctls.iter().map(set).collect::<io::Result<Vec<_>>>()?;
        let all = measure(knob.subject, &arguments.server, value.scenario, window, turn_ms)?;
        // It has no company.
        all.into_iter().next().ok_or_else(|| io::Error::other("nothing was measured"))
    };
    match measured() {
        Ok(figures) => {
            let cpu = figures.cpu_seconds_per_gb;
            eprintln!("    {}: {cpu:.3} CPU s/GB, {} faults", value.name, figures.faults());
            Some(figures)
        }
        Err(error) => {
            eprintln!("    {}: {error}", value.name);
            None
        }
    }
}

/// Means of all rounds, but for the worst of what is bad; `None` if a round is missing. What others
/// took of the measured core, and how busy that of source and viewers was, tell what it is worth.
fn row(knob: &Knob, value: &Value, rounds: &[Vec<Option<Figures>>], at: usize) -> Option<String> {
    let all: Vec<&Figures> =
        rounds.iter().map(|values| values[at].as_ref()).collect::<Option<_>>()?;
    let mean = |of: fn(&Figures) -> f64| {
        all.iter().map(|figures| of(figures)).sum::<f64>() / float(all.len() as u64)
    };
    let worst = |of: fn(&Figures) -> f64| all.iter().map(|figures| of(figures)).fold(0.0, f64::max);
    let sum = |of: fn(&Figures) -> u64| all.iter().map(|figures| of(figures)).sum::<u64>();
    let ratios: Vec<f64> = rounds
        .iter()
        .filter_map(|values| {
            let default = values[0].as_ref()?.cpu_seconds_per_gb;
            Some(values[at].as_ref()?.cpu_seconds_per_gb / default)
        })
        .collect();
    let joins = |of: fn(&crate::figures::Joins) -> f64| {
        let all = all.iter().filter_map(|figures| figures.joins.as_ref()).map(of);
        all.reduce(f64::max).map_or_else(String::new, |figure| format!("{figure:.0}"))
    };
    Some(format!(
        "| {} | {} | {:.3} | {ratios:.2?} | {:.0} % | {:.0} % | {:.1} | {:.1} | {} \
         | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
        knob.name,
        value.name,
        mean(|figures| figures.cpu_seconds_per_gb),
        worst(Figures::taken_by_others) * 100.0,
        worst(|figures| figures.load_core_busy) * 100.0,
        mean(|figures| figures.delay_p50_ms),
        worst(|figures| figures.delay_p99_ms),
        sum(Figures::faults),
        mean(|figures| figures.kernel.tcp_mean_mb),
        worst(|figures| figures.kernel.tcp_max_mb),
        mean(|figures| figures.kernel.slab_mb),
        sum(|figures| figures.kernel.overflows),
        joins(|joins| joins.p99_ms),
        joins(|joins| joins.slowest_ms),
    ))
}
