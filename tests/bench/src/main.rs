//! What the server costs and how late its viewers are, beside the least that is possible.
//!
//! **How.** `load` paces packets from a source to the server under test, watches it with many
//! viewers, and then does the same with others in the server's place: a *bare loop*, which is
//! `tee` and `splice` of the same streams to the same number of sockets, with nothing else to do,
//! in turns as long as those that the server has just made; and peers where they are installed.
//! Who is measured runs on one core (0), source and viewers on another (`tests/bench/run` sees to
//! it), so that each can be compared with the others, and with a saved run on the same machine.
//! What else runs there disturbs them: they are measured in turn, in several rounds, and the round
//! with the median ratio is told, with the faults of all. `scenario` says what there is to measure
//! and what is to come of it.
//!
//! **What.** All figures are of one window, which begins once every viewer has its response head
//! and has been served for two seconds.
//! - *CPU seconds per GB*: user and system time of the process (`/proc/PID/stat`, a hundredth of a
//!   second) by the bytes of bodies that its viewers have read (1 GB = 10⁹ bytes). What the kernel
//!   does for it elsewhere, and what others do on its core, is in *core busy* alone (`/proc/stat`).
//!   What the server spends on viewers that do not read is in it, and their bytes are none. To wake
//!   a core that sleeps is part of sending to it: where others keep that core awake, everybody
//!   measured looks cheaper.
//! - *Load busy*: the core of source and viewers. Where that is 100 %, delays and losses may be
//!   theirs.
//! - *Delay*: from the moment a packet is made, just before its source sends it, to the moment its
//!   viewer has read it; every 50th packet that a viewer looks at, of those who did not come in the
//!   window. Source and viewers are one process with one monotonic clock. What the viewers' own
//!   core is late with is in it.
//! - *Lost, torn, repeated*: of every packet of every viewer, from its first one on, the window or
//!   not: numbers that are missing, bytes that are no packet, numbers that came again. Where there
//!   are too many viewers for one core, most of them look at one read in sixteen and have the
//!   kernel throw the others away: the packets that they see must be those that the count of bytes
//!   leads to. *Silent* are those that got nothing any more when everybody looked for the last
//!   time.
//! - *Joiners* come in the window: from `connect` to the first byte of the body, or, where the
//!   stream has pictures, to the end of the first one after tables. Its packets are filled as all
//!   others are: what a decoder makes of real pictures is for `tests/join.rs` to say.
//! - *Tiers*: three servers in a row on the measured core, each with the same viewers. What a tier
//!   adds to the delay is the difference to the one before. A tier's viewers wait for half a turn
//!   of each server on the way at the median, and for a turn at worst, if turns fall as they like.
//! - *Flood*: attempts to connect that are denied, every other second of the window (`flood`): what
//!   the worker's thread takes more of a core meanwhile, and the core itself.
//! - *Dropped*: by the server's own count of packets that viewers missed.
//! - *Resident memory*: `VmRSS` at the end of the window.
#![forbid(unsafe_code)]

mod ask;
mod bare;
mod child;
mod crowd;
mod delays;
mod figures;
mod flood;
#[path = "../../support/hosts.rs"]
#[expect(dead_code, unreachable_pub, reason = "the tests use more of it")]
mod hosts;
mod kernel;
mod knob;
mod knobs;
mod load;
mod measure;
mod options;
mod packet;
mod peers;
mod picture;
mod probe;
mod report;
mod scenario;
mod source;
mod subject;
#[path = "../../support/syn.rs"]
#[expect(unreachable_pub, reason = "it is the tests' as well")]
mod syn;
mod target;
mod tiers;
mod viewer;
mod watch;

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
    /// Measures the server and who it is compared with in each scenario.
    Load(load::Arguments),
    /// Measures kernel knobs one by one, each beside its default.
    Knobs(knobs::Arguments),
    /// Measures what the one pass over an upstream's bytes costs for each packet.
    Probe(probe::Arguments),
    /// The bare loop: started by `load`, ends with its sources.
    Bare(bare::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("restreamer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether all is well.
fn run(command: &Command) -> io::Result<bool> {
    restreamer_sys::limit::raise_open_files()?;
    match command {
        Command::Load(arguments) => load::run(arguments),
        Command::Knobs(arguments) => knobs::run(arguments),
        Command::Probe(arguments) => probe::run(arguments),
        Command::Bare(arguments) => bare::run(arguments).map(|()| true),
    }
}
