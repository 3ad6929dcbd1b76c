//! The program: `restreamer FILE` serves, `--check` only reads the file, `demo` needs neither;
//! `health`, `drain` and `door` ask a node that runs.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use restreamer::boot::{self, BootError, Remark, Running};
use restreamer::cli::{
    Cli, Command, Demo, Door, DoorChange, DoorList, DoorNode, DoorRemoval, Drain, Health, Node,
    Serve,
};
use restreamer::config::{self, Config, Listen, Parsed, ProblemKind, Remote, StreamConfig};
use restreamer::door::Change;
use restreamer::operator::{Asked, OperatorError, SidePort, Wishes};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Demo(demo)) => serve_demo(demo),
        Some(Command::Health(health)) => tell_health(health),
        Some(Command::Drain(drain)) => tell_to_drain(drain),
        Some(Command::Door(door)) => tell_door(door),
        None if cli.serve.check => check(&cli.serve),
        None => serve_file(&cli.serve),
    }
}

/// Says what is wrong with the file. Some of what is accepted at start is refused here.
fn check(serve: &Serve) -> ExitCode {
    let Some((name, parsed)) = load(&serve.file) else { return ExitCode::FAILURE };
    for problem in parsed.errors.iter().chain(&parsed.warnings) {
        complain(problem.display(&name));
    }
    let refused = parsed.warnings.iter().any(config::Problem::is_refused_by_check);
    if refused || parsed.config.is_none() {
        return ExitCode::FAILURE;
    }
    say(&format!("{name}: ok\n"));
    ExitCode::SUCCESS
}

fn serve_file(serve: &Serve) -> ExitCode {
    let Some((name, parsed)) = load(&serve.file) else { return ExitCode::FAILURE };
    let Some(config) = parsed.config else {
        for problem in &parsed.errors {
            complain(format_args!("restreamer: {}", problem.display(&name)));
        }
        return ExitCode::FAILURE;
    };
    let remark = |warning: &config::Problem| Remark {
        text: warning.display(&name).to_string(),
        // An unknown key asks for nothing that anybody knows.
        is_error: warning.is_refused_by_check()
            && !matches!(warning.kind, ProblemKind::UnknownKey { .. }),
    };
    let remarks: Vec<_> = parsed.warnings.iter().map(remark).collect();
    exit(boot::start(&config, &remarks).and_then(Running::serve))
}

fn serve_demo(demo: &Demo) -> ExitCode {
    let addresses = [("--listen", &demo.listen), ("--side", &demo.side)].map(|(option, text)| {
        let parsed = text.parse::<Listen>();
        parsed.map_err(|error| complain(format_args!("restreamer: {option}: {error}")))
    });
    let [Ok(listen), Ok(side)] = addresses else { return ExitCode::from(2) };
    let config = Config {
        listen,
        side: Some(side),
        side_given: true,
        streams: vec![StreamConfig::new("/demo.ts", vec![Remote::sample()])],
        log: Some("/dev/stderr".into()),
        ..Config::default()
    };
    exit(boot::start(&config, &[]).and_then(|running| {
        present(&running);
        running.serve()
    }))
}

fn tell_health(health: &Health) -> ExitCode {
    let Some(port) = side_port(&health.node) else { return ExitCode::FAILURE };
    let (streams, all, ready) = (health.stream.clone(), health.all, health.ready);
    told(port.health(&Wishes { streams, all, ready }))
}

fn tell_to_drain(drain: &Drain) -> ExitCode {
    let Some(port) = side_port(&drain.node) else { return ExitCode::FAILURE };
    let left = port.drain(!drain.off, Duration::from_secs(drain.wait.into()));
    let state = if drain.off { "takes viewers" } else { "draining" };
    told(left.map(|viewers| format!("{state}: {viewers} viewers are here")))
}

fn tell_door(door: &Door) -> ExitCode {
    let (node, network, change) = match door {
        Door::List(list) => return tell_rules(list),
        Door::Deny(DoorChange { network, node, lasting }) => {
            (node, *network, Change::Deny { network: *network, lasting: *lasting })
        }
        Door::Allow(DoorChange { network, node, lasting }) => {
            (node, *network, Change::Allow { network: *network, lasting: *lasting })
        }
        Door::Remove(DoorRemoval { network, node }) => {
            (node, *network, Change::Remove { network: *network })
        }
    };
    let Some(port) = door_port(node) else { return ExitCode::FAILURE };
    told(port.change_door(&change).and_then(|answer| {
        let door = answer.door()?;
        if let Some(reservation) = door.reservation() {
            complain(format_args!("restreamer: {reservation}"));
        }
        Ok(door.of(network))
    }))
}

fn tell_rules(list: &DoorList) -> ExitCode {
    let Some(port) = door_port(&list.node) else { return ExitCode::FAILURE };
    told(port.door().and_then(|answer| {
        let text = if list.json { answer.raw() } else { answer.door()?.to_string() };
        Ok(text.trim_end().to_owned())
    }))
}

/// Where a node is asked.
fn side_port(node: &Node) -> Option<SidePort> {
    port(side(node, None))
}

/// Where a node is asked about its door.
fn door_port(asked: &DoorNode) -> Option<SidePort> {
    port(side(&asked.node, asked.password_file.as_deref()))
}

fn port(asked: Result<Asked, String>) -> Option<SidePort> {
    let port = asked.and_then(|asked| SidePort::at(asked).map_err(|why| why.to_string()));
    port.map_err(|why| complain(format_args!("restreamer: {why}"))).ok()
}

/// What was said of the side port: on the command line, or in the file.
fn side(node: &Node, password_file: Option<&Path>) -> Result<Asked, String> {
    if let Some(text) = &node.side {
        let asked = text.parse::<Asked>().map_err(|why| format!("--side: {why}"))?;
        let Some(file) = password_file else { return Ok(asked) };
        let at = |why: String| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|why| at(why.to_string()))?;
        return asked.with_password(&text).map_err(|why| at(why.to_string()));
    }
    let parsed = config::load(&node.file).map_err(|why| why.to_string())?;
    let name = node.file.display();
    let config = parsed.config;
    config
        .map(|config| Asked { side: config.side, credentials: None })
        .ok_or_else(|| format!("{name} has mistakes; see restreamer --check {name}"))
}

fn told(answer: Result<String, OperatorError>) -> ExitCode {
    match answer {
        Ok(text) => {
            say(&format!("{text}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("restreamer: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn present(running: &Running) {
    let (Some(main), Some(side)) = (running.addresses.first(), running.side_addresses.first())
    else {
        return;
    };
    say(&format!(
        "A test picture with a tone, looped in real time:\n\n  \
           http://{main}/demo.ts\n\n\
         Watch it, by one of\n  \
           ffplay http://{main}/demo.ts\n  \
           vlc http://{main}/demo.ts\n  \
           curl -sN http://{main}/demo.ts | head -c 1880000 > demo.ts\n\n\
         See what the node does:\n  \
           curl http://{side}/streams\n  \
           curl http://{side}/metrics\n\n\
         Ctrl-C ends it.\n"
    ));
}

/// To standard output, which may be closed: that is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line to standard error, likewise.
fn complain(line: impl Display) {
    let _closed = writeln!(std::io::stderr(), "{line}");
}

fn load(file: &Path) -> Option<(String, Parsed)> {
    match config::load(file) {
        Ok(parsed) => Some((file.display().to_string(), parsed)),
        Err(error) => {
            complain(format_args!("restreamer: {error}"));
            None
        }
    }
}

fn exit(outcome: Result<(), BootError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("restreamer: {error}"));
            ExitCode::FAILURE
        }
    }
}
