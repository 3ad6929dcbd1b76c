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

/// Starts a subject, has it watched and ends it. The bare loop's turn is to take so long.
pub(crate) fn measure(
    subject: Subject,
    server: &Path,
    scenario: Scenario,
    asked: Duration,
    turn_ms: f64,
) -> io::Result<Figures> {
    let scenario = subject.share(scenario);
    let alone = Sample::take()?;
    let clock = Clock::start();
    let greeting = subject.greeting();
    let source = Source::start(scenario.bits_per_second, scenario.streams, greeting, clock)?;
    let period = Duration::from_secs_f64(turn_ms / 1000.0).min(PERIOD_MAX);
    let running = subject.start(server, &scenario, &source, period)?;
    wait(&running, &scenario, &source)?;
    let mut window = Window { alone, ..Window::default() };
    let tally = window.watch(&running, &scenario, scenario.window(asked), &source, clock)?;
    let mut figures = window.figures(subject, &scenario, &tally);
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
        figures.chunk_bytes = float(done.bytes) / float(done.chunks.max(1));
        figures.turn_ms = figures.chunk_bytes * 8000.0 / float(scenario.bits_per_second.max(1));
    } else {
        running.child.finish(true)?;
        source.stop()?;
    }
    Ok(figures)
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

/// What was read at its beginning, and then what has come of it.
#[derive(Debug, Default)]
struct Window {
    seconds: f64,
    cpu_seconds: f64,
    busy: [f64; 2],
    /// From the source.
    bytes: u64,
    untaken_packets: u64,
    resident_mb: f64,
    turns: Option<f64>,
    dropped_packets: Option<f64>,
    skips: Option<f64>,
    /// Of the kernel, before anything was started.
    alone: Sample,
    kernel: Kernel,
}

impl Window {
    /// Has the child watched, from the first viewer to the last.
    fn watch(
        &mut self,
        running: &Running,
        scenario: &Scenario,
        length: Duration,
        source: &Source,
        clock: Clock,
    ) -> io::Result<Tally> {
        let crowd = Crowd::start(running, scenario, clock)?;
        crowd.wait_for(scenario.audience.seated(), PATIENCE)?;
        std::thread::sleep(WARM_UP);
        if scenario.audience.joins > 0 {
            crowd.enter(Phase::Before);
            std::thread::sleep(BEFORE);
        }
        let counters = || running.side.map(metrics).transpose();
        let turns = |text: Option<String>| {
            text.map(|text| sum(&text, "restreamer_turns_total")).transpose()
        };
        let turns_before = turns(counters()?)?;
        let (bytes, busy, cpu) = (source.bytes(), busy_seconds()?, running.child.cpu_seconds()?);
        let began = Instant::now();
        crowd.enter(Phase::Window);
        self.kernel = Kernel::watch(self.alone, length)?;
        crowd.enter(Phase::Nothing);
        self.cpu_seconds = running.child.cpu_seconds()? - cpu;
        self.seconds = began.elapsed().as_secs_f64();
        self.bytes = source.bytes() - bytes;
        let now = busy_seconds()?;
        self.busy = [0, 1].map(|core| (now[core] - busy[core]) / self.seconds);
        self.untaken_packets = source.missed();
        self.resident_mb = running.child.resident_mb()?;
        if let Some(text) = counters()? {
            self.dropped_packets = Some(sum(&text, "streaming_packets_dropped")?);
            self.skips = Some(sum(&text, "restreamer_skips_total")?);
            self.turns = turns(Some(text))?.zip(turns_before).map(|(now, then)| now - then);
        }
        crowd.stop()
    }

    fn figures(&self, subject: Subject, scenario: &Scenario, tally: &Tally) -> Figures {
        let gigabytes = float(tally.bytes) / 1e9;
        let turns = self.turns.unwrap_or_default();
        let per_turn = |sum: f64| if turns > 0.0 { sum / turns } else { 0.0 };
        let joiners = scenario.audience.joins as u64;
        Figures {
            who: subject.name().to_owned(),
            viewers: scenario.audience.seated() + scenario.audience.joins,
            seconds: self.seconds,
            gigabytes,
            cpu_seconds: self.cpu_seconds,
            cpu_seconds_per_gb: if tally.bytes > 0 { self.cpu_seconds / gigabytes } else { 0.0 },
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
