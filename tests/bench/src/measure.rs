//! One process, watched by its viewers for one window.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ask::{PATIENCE, metrics, sum, wait_until_served};
use crate::bare::Done;
use crate::child::busy_seconds;
use crate::crowd::{Crowd, Phase, Tally};
use crate::delays::Delays;
use crate::figures::{Figures, Joins, float};
use crate::flood::{Flooded, Ground};
use crate::kernel::{Kernel, Sample};
use crate::packet::Clock;
use crate::scenario::Scenario;
use crate::source::Source;
use crate::subject::{Running, Subject};
use crate::watch::path_of;

/// Between the last viewer's welcome and the window.
const WARM_UP: Duration = Duration::from_secs(2);
/// The bare loop's period at most, though the server may have had too little time for its turns.
const PERIOD_MAX: Duration = Duration::from_millis(500);
/// Before joiners come: what their window is compared with.
const BEFORE: Duration = Duration::from_secs(2);

/// Starts a subject, has it watched and ends it; answers its figures and those of its company. The
/// bare loop's turn is to take so long.
pub(crate) fn measure(
    subject: Subject,
    server: &Path,
    scenario: Scenario,
    asked: Duration,
    turn_ms: f64,
) -> io::Result<Vec<Figures>> {
    if scenario.flood.is_none() {
        return measure_on(None, subject, server, scenario, asked, turn_ms);
    }
    let ground = Ground::new()?;
    ground.on_server(|| measure_on(Some(&ground), subject, server, scenario, asked, turn_ms))
}

/// The same, on this ground if there is to be a flood.
fn measure_on(
    ground: Option<&Ground>,
    subject: Subject,
    server: &Path,
    scenario: Scenario,
    asked: Duration,
    turn_ms: f64,
) -> io::Result<Vec<Figures>> {
    let scenario = subject.share(scenario);
    let alone = Sample::take()?;
    let clock = Clock::start();
    let greeting = subject.greeting();
    let Scenario { bits_per_second, streams, group, .. } = scenario;
    let source = Source::start(bits_per_second, streams, group, greeting, clock)?;
    let period = Duration::from_secs_f64(turn_ms / 1000.0).min(PERIOD_MAX);
    let running = subject.start(server, &scenario, &source, period)?;
    wait(&running, &scenario, &source)?;
    let length = scenario.window(asked);
    let watched = watch(&running, &scenario, ground, alone, length, &source, clock)?;
    let mut all: Vec<_> =
        watched.iter().map(|(window, tally)| window.figures(&scenario, tally)).collect();
    if subject.ends_with_source() {
        source.stop()?;
        let done: Done = serde_json::from_str(&running.child.finish(false)?)?;
        if done.short > 0 {
            eprintln!(
                "{}: the sockets of the {} were full {} times",
                scenario.name,
                subject.name(),
                done.short
            );
        }
        if scenario.options.woken {
            eprintln!("    woken {} times in {} turns", done.wakes, done.chunks);
        }
        let figures = &mut all[0];
        figures.chunk_bytes = float(done.bytes) / float(done.chunks.max(1));
        figures.turn_ms = figures.chunk_bytes * 8000.0 / float(scenario.bits_per_second.max(1));
    } else {
        running.child.finish(true)?;
        for one in running.company {
            one.child.finish(true)?;
        }
        source.stop()?;
    }
    Ok(all)
}

/// Waits until all streams are there.
fn wait(running: &Running, scenario: &Scenario, source: &Source) -> io::Result<()> {
    let is_server = running.side.is_some();
    // The server may have some streams before others. The bare loop listens once it has them all,
    // and a relay connects for each viewer: one viewer tells whether they are up.
    let served = if is_server { scenario.streams } else { 1 };
    if scenario.bits_per_second > 0 {
        for stream in 0..served {
            wait_until_served(&running.child, running.viewers, &path_of(stream))?;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while is_server && source.connections() < scenario.streams {
        if Instant::now() > deadline || running.child.has_ended()? {
            let connected = source.connections();
            let message = format!("{connected} of {} upstreams are connected", scenario.streams);
            return Err(io::Error::other(message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What has come of one process in the window.
#[derive(Debug, Default)]
struct Window {
    who: &'static str,
    seconds: f64,
    cpu_seconds: f64,
    company_cpu_seconds: f64,
    busy: [f64; 2],
    /// From the source.
    bytes: u64,
    untaken_packets: u64,
    resident_mb: f64,
    turns: Option<f64>,
    dropped_packets: Option<f64>,
    skips: Option<f64>,
    kernel: Kernel,
    flooded: Option<Flooded>,
}

/// What a process says of itself, since it began.
struct Reading {
    turns: Option<f64>,
    dropped_packets: Option<f64>,
    skips: Option<f64>,
}

impl Reading {
    fn take(of: &Running) -> io::Result<Reading> {
        let text = of.side.map(metrics).transpose()?;
        let counter = |name| text.as_deref().map(|text| sum(text, name)).transpose();
        Ok(Reading {
            turns: counter("restreamer_turns_total")?,
            dropped_packets: counter("streaming_packets_dropped")?,
            skips: counter("restreamer_skips_total")?,
        })
    }
}

/// Has a subject and its company watched, from the first viewer to the last. `alone` was taken
/// before anything was started.
fn watch(
    running: &Running,
    scenario: &Scenario,
    ground: Option<&Ground>,
    alone: Sample,
    length: Duration,
    source: &Source,
    clock: Clock,
) -> io::Result<Vec<(Window, Tally)>> {
    let all: Vec<&Running> = std::iter::once(running).chain(&running.company).collect();
    let crowds = all.iter().map(|one| Crowd::start(one, scenario, clock));
    let crowds = crowds.collect::<io::Result<Vec<_>>>()?;
    let enter = |phase| crowds.iter().for_each(|crowd| crowd.enter(phase));
    for crowd in &crowds {
        crowd.wait_for(scenario.audience.seated(), PATIENCE)?;
    }
    std::thread::sleep(WARM_UP);
    if scenario.audience.joins > 0 {
        enter(Phase::Before);
        std::thread::sleep(BEFORE);
    }
    let read = || all.iter().map(|one| Reading::take(one)).collect::<io::Result<Vec<_>>>();
    let cpu = || all.iter().map(|one| one.child.cpu_seconds()).collect::<io::Result<Vec<_>>>();
    let (before, cpu_before) = (read()?, cpu()?);
    let (bytes, busy) = (source.bytes(), busy_seconds()?);
    let began = Instant::now();
    enter(Phase::Window);
    let (kernel, flooded) = match (ground, scenario.flood) {
        (Some(ground), Some(rate)) => {
            (Kernel::default(), Some(ground.watch(running, rate, length)?))
        }
        _ => (Kernel::watch(alone, length)?, None),
    };
    enter(Phase::Nothing);
    let cpu_after = cpu()?;
    let (seconds, bytes) = (began.elapsed().as_secs_f64(), source.bytes() - bytes);
    let now = busy_seconds()?;
    let after = read()?;
    let busy = [0, 1].map(|core| (now[core] - busy[core]) / seconds);
    let spent: Vec<f64> = cpu_before.iter().zip(cpu_after).map(|(then, now)| now - then).collect();
    let mut watched = Vec::new();
    for (number, crowd) in crowds.into_iter().enumerate() {
        let (then, now) = (&before[number], &after[number]);
        let window = Window {
            who: all[number].subject.name(),
            seconds,
            cpu_seconds: spent[number],
            company_cpu_seconds: spent.iter().sum::<f64>() - spent[number],
            busy,
            bytes,
            untaken_packets: source.missed(),
            resident_mb: all[number].child.resident_mb()?,
            turns: now.turns.zip(then.turns).map(|(now, then)| now - then),
            dropped_packets: now.dropped_packets,
            skips: now.skips,
            kernel,
            flooded: flooded.clone(),
        };
        watched.push((window, crowd.stop()?));
    }
    Ok(watched)
}

impl Window {
    fn figures(&self, scenario: &Scenario, tally: &Tally) -> Figures {
        let gigabytes = float(tally.bytes) / 1e9;
        let turns = self.turns.unwrap_or_default();
        let per_turn = |sum: f64| if turns > 0.0 { sum / turns } else { 0.0 };
        let joiners = scenario.audience.joins as u64;
        Figures {
            who: self.who.to_owned(),
            viewers: scenario.audience.seated() + scenario.audience.joins,
            seconds: self.seconds,
            gigabytes,
            cpu_seconds: self.cpu_seconds,
            cpu_seconds_per_gb: if tally.bytes > 0 { self.cpu_seconds / gigabytes } else { 0.0 },
            company_cpu_seconds: self.company_cpu_seconds,
            core_busy: self.busy[0],
            load_core_busy: self.busy[1],
            delay_p50_ms: percentile_ms(&tally.delays, 50),
            delay_p99_ms: percentile_ms(&tally.delays, 99),
            delay_max_ms: milliseconds(tally.delays.longest()),
            lost_packets: tally.seen.lost,
            torn_packets: tally.seen.torn,
            repeated_packets: tally.seen.repeated,
            ended_viewers: tally.ended,
            silent_viewers: tally.silent,
            untaken_packets: self.untaken_packets,
            dropped_packets: self.dropped_packets,
            skips: self.skips,
            resident_mb: self.resident_mb,
            turns,
            turn_ms: per_turn(self.seconds * 1000.0),
            chunk_bytes: per_turn(float(self.bytes) / float(scenario.streams as u64)),
            joins: (joiners > 0).then(|| Joins {
                count: joiners,
                missing: joiners.saturating_sub(tally.joins.count()),
                p50_ms: percentile_ms(&tally.joins, 50),
                p99_ms: percentile_ms(&tally.joins, 99),
                slowest_ms: milliseconds(tally.joins.longest()),
                before_p99_ms: percentile_ms(&tally.delays_before, 99),
            }),
            flooded: self.flooded.clone(),
            kernel: self.kernel,
        }
    }
}

fn percentile_ms(delays: &Delays, percent: u64) -> f64 {
    milliseconds(delays.percentile(percent))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
