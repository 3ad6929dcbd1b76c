//! `restreamer-manual FOLDER`: writes what comes with the program in a package.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes man pages, completions for shells, and whose work is linked into the program
#[derive(Debug, Parser)]
#[command(name = "restreamer-manual")]
struct Cli {
    /// Where to: man/, completions/ and copyright are made in it
    folder: PathBuf,
}

fn main() -> ExitCode {
    match restreamer_manual::write(&Cli::parse().folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restreamer-manual: {error}");
            ExitCode::FAILURE
        }
    }
}
