//! What the server costs and how late its viewers are, beside the least that is possible.
//!
//! **How.** `load` paces packets from a source to the server under test, watches it with many
//! viewers, and then does the same with a *bare loop* in the server's place: `tee` and `splice` of
//! the same stream to the same number of sockets, with nothing else to do, in chunks of the mean
//! size that the server has just used. The server and the bare loop run on one core (0), source
//! and viewers on another (`tests/bench/run` sees to it), so that either can be compared with the
//! other, and with a saved run on the same machine. What else runs there disturbs either: they are
//! measured in turn, in several rounds, and the round with the median ratio is told, with the
//! faults of all.
//!
//! **What.** All figures are of one window, which begins once every viewer has its response head
//! and has been served for two seconds.
//! - *CPU seconds per GB*: user and system time of the process (`/proc/PID/stat`, a hundredth of a
//!   second) by the bytes that its viewers have read (1 GB = 10⁹ bytes). What the kernel does for
//!   it elsewhere, and what others do on its core, is in *core busy* alone (`/proc/stat`).
//! - *Delay*: from the moment a packet is made, just before its source sends it, to the moment its
//!   viewer has read it; every 50th packet of every viewer. Source and viewers are one process
//!   with one monotonic clock. What the viewers' own core is late with is in it.
//! - *Lost, torn, repeated*: of every packet of every viewer, from its first one on, the window or
//!   not: numbers that are missing, bytes that are no packet, numbers that came again.
//! - *Resident memory*: `VmRSS` at the end of the window.
#![forbid(unsafe_code)]

mod bare;
mod child;
mod crowd;
mod delays;
mod load;
mod packet;
mod report;
mod scenario;
mod source;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the server costs and how late its viewers are, beside the least that is possible.
#[derive(Debug, Parser)]
#[command(name = "restreamer-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the server and the bare loop in each scenario.
    Load(load::Arguments),
    /// The bare loop: started by `load`, ends with its source.
    Bare(bare::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restreamer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> io::Result<()> {
    restreamer_sys::limit::raise_open_files()?;
    match command {
        Command::Load(arguments) => load::run(arguments),
        Command::Bare(arguments) => bare::run(arguments),
    }
}
