//! The run: each scenario with the server, and then with the bare loop in its place.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bare::Done;
use crate::child::{Child, core_busy_seconds};
use crate::crowd::Crowd;
use crate::packet::{Clock, PACKET_BYTES};
use crate::report::{Figures, Outcome, Report};
use crate::scenario::{Scenario, chosen};
use crate::source::Source;

/// How long the server, or all viewers, may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the last viewer's welcome and the window.
const WARM_UP: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's program
    #[arg(long)]
    server: PathBuf,
    /// A scenario by name; may be given more than once
    #[arg(long)]
    scenario: Vec<String>,
    /// Length of the window
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=20))]
    seconds: u64,
    /// Times that server and bare loop are measured, in turn; the median is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
    /// Where the figures are written
    #[arg(long)]
    json: Option<PathBuf>,
    /// A saved run, to which the ratio is told
    #[arg(long)]
    compare: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let scenarios = chosen(&arguments.scenario).map_err(io::Error::other)?;
    let saved = arguments.compare.as_deref().map(Report::load).transpose()?;
    let window = Duration::from_secs(arguments.seconds);
    let mut report = Report { outcomes: Vec::new() };
    for scenario in scenarios {
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            eprintln!("{}, round {number}: {window:?} each", scenario.name);
            rounds.push(round(&arguments.server, scenario, window)?);
        }
        report.outcomes.extend(Outcome::of_rounds(rounds));
        // What has been measured is kept, whatever becomes of the next.
        if let Some(path) = &arguments.json {
            report.save(path)?;
        }
    }
    report.print();
    if let Some(saved) = saved {
        report.print_ratios(&saved);
    }
    Ok(())
}

fn round(program: &Path, scenario: Scenario, window: Duration) -> io::Result<Outcome> {
    let server = server(program, scenario, window)?;
    let bare = bare(scenario, window, server.turn_ms)?;
    Ok(Outcome {
        scenario: scenario.name.to_owned(),
        viewers: scenario.viewers,
        bits_per_second: scenario.bits_per_second,
        seconds: window.as_secs_f64(),
        cpu_ratio: server.cpu_seconds_per_gb / bare.cpu_seconds_per_gb,
        cpu_ratios: Vec::new(),
        server,
        bare,
    })
}

fn server(program: &Path, scenario: Scenario, window: Duration) -> io::Result<Figures> {
    let clock = Clock::start();
    let source = Source::start(scenario.bits_per_second, clock)?;
    let dir = tempfile::tempdir()?;
    let [viewers, side] = [free_address()?, free_address()?];
    let mut config = json!({
        "listen": viewers.to_string(),
        "side": side.to_string(),
        "log": dir.path().join("log"),
        "resources": [{
            "type": "stream",
            "serve": "/bench.ts",
            "remote": format!("tcp://{}", source.address),
        }],
    });
    if let Some(turn) = scenario.turn {
        config["turn"] = turn.into();
    }
    let path = dir.path().join("config.json");
    fs::write(&path, config.to_string())?;
    let child = Child::start(program.as_os_str(), &[&path])?;
    wait_until_served(&child, viewers)?;
    let turns = || metric(side, "restreamer_turns_total");
    let (mut figures, counts) = watch(&child, viewers, scenario, window, clock, &source, turns)?;
    child.finish(true)?;
    source.stop()?;
    figures.chunk_bytes = counts.bytes / counts.turns;
    figures.turn_ms = counts.seconds * 1000.0 / counts.turns;
    Ok(figures)
}

fn bare(scenario: Scenario, window: Duration, turn_ms: f64) -> io::Result<Figures> {
    let clock = Clock::start();
    let source = Source::start(scenario.bits_per_second, clock)?;
    let address = free_address()?;
    let period = Duration::from_secs_f64(turn_ms / 1000.0);
    let arguments = [
        "bare".to_owned(),
        format!("--listen={address}"),
        format!("--source={}", source.address),
        format!("--period-micros={}", period.as_micros()),
    ];
    let child = Child::start(std::env::current_exe()?.as_os_str(), &arguments)?;
    wait_until_served(&child, address)?;
    let (mut figures, counts) =
        watch(&child, address, scenario, window, clock, &source, || Ok(0.0))?;
    source.stop()?;
    let done: Done = serde_json::from_str(&child.finish(false)?)?;
    if done.short > 0 {
        eprintln!("{}: the bare loop's sockets were full {} times", scenario.name, done.short);
    }
    figures.chunk_bytes = float(done.bytes) / float(done.chunks);
    figures.turn_ms = figures.chunk_bytes * counts.seconds * 1000.0 / counts.bytes;
    Ok(figures)
}

/// What the window brought, beside the figures.
struct Counts {
    seconds: f64,
    /// From the source.
    bytes: f64,
    turns: f64,
}

/// Has the child watched, from the first viewer to the last.
fn watch(
    child: &Child,
    address: SocketAddr,
    scenario: Scenario,
    window: Duration,
    clock: Clock,
    source: &Source,
    turns: impl Fn() -> io::Result<f64>,
) -> io::Result<(Figures, Counts)> {
    let crowd = Crowd::start(address, scenario.viewers, clock)?;
    crowd.wait_for(scenario.viewers, PATIENCE)?;
    std::thread::sleep(WARM_UP);
    let now = || io::Result::Ok((turns()?, source.bytes(), Instant::now()));
    let before = now()?;
    let (busy, cpu, began) = (core_busy_seconds()?, child.cpu_seconds()?, Instant::now());
    crowd.measure(true);
    std::thread::sleep(window);
    crowd.measure(false);
    let cpu_seconds = child.cpu_seconds()? - cpu;
    let core_busy = (core_busy_seconds()? - busy) / began.elapsed().as_secs_f64();
    let after = now()?;
    let resident_mb = child.resident_mb()?;
    let tally = crowd.stop()?;
    let gigabytes = float(tally.bytes) / 1e9;
    let figures = Figures {
        gigabytes,
        cpu_seconds,
        cpu_seconds_per_gb: cpu_seconds / gigabytes,
        core_busy,
        delay_p50_ms: milliseconds(tally.delays.percentile(50)),
        delay_p99_ms: milliseconds(tally.delays.percentile(99)),
        delay_max_ms: milliseconds(tally.delays.longest()),
        lost_packets: tally.seen.lost,
        torn_packets: tally.seen.torn,
        repeated_packets: tally.seen.repeated,
        ended_viewers: tally.ended,
        resident_mb,
        chunk_bytes: 0.0,
        turn_ms: 0.0,
    };
    let counts = Counts {
        seconds: (after.2 - before.2).as_secs_f64(),
        bytes: float(after.1 - before.1).max(float(PACKET_BYTES as u64)),
        turns: (after.0 - before.0).max(1.0),
    };
    Ok((figures, counts))
}

/// An address where nobody listens. Until it is used, another might take it: then the run fails.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Asks until the stream is there.
fn wait_until_served(child: &Child, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, "/bench.ts", 13);
        match answer {
            Ok(head) if head.starts_with(b"HTTP/1.1 200 ") => return Ok(()),
            Ok(_) | Err(_) if child.has_ended()? => {
                return Err(io::Error::other("what is to be measured has ended at once"));
            }
            Ok(_) | Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(head) => return Err(io::Error::other(String::from_utf8_lossy(&head))),
            Err(error) => return Err(error),
        }
    }
}

/// The sum of a metric over its labels.
fn metric(side: SocketAddr, name: &str) -> io::Result<f64> {
    let text = get(side, "/metrics", u64::MAX)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
    if lines.is_empty() {
        return Err(io::Error::other(format!("the server has no metric {name}")));
    }
    let values = lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// The answer to a request, as long as it is but so many bytes at most.
fn get(address: SocketAddr, path: &str, bytes: u64) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(bytes).read_to_end(&mut answer)?;
    Ok(answer)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures have three digits")]
fn float(count: u64) -> f64 {
    count as f64
}
