//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What the program is asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "restreamer",
    version,
    about = "Takes live MPEG transport streams in and fans each out over HTTP",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Something else than to serve a configuration file.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// Serving a configuration file.
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file
    #[arg(default_value = "restreamer.json")]
    pub file: PathBuf,
    /// Say what is wrong with the file, and exit
    #[arg(long)]
    pub check: bool,
}

/// Something else than to serve a configuration file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the built-in sample, without a file or a network
    Demo(Demo),
}

/// Serving the sample.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where viewers are served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub listen: String,
    /// Where metrics, health and status are served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9470")]
    pub side: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_or_a_command() {
        let cli = Cli::parse_from(["restreamer"]);
        assert_eq!(cli.serve.file, PathBuf::from("restreamer.json"));
        let cli = Cli::parse_from(["restreamer", "--check", "other.json"]);
        assert!(cli.serve.check && cli.serve.file.ends_with("other.json"));
        let cli = Cli::parse_from(["restreamer", "demo", "--listen", ":1"]);
        assert!(matches!(cli.command, Some(Command::Demo(demo)) if demo.listen == ":1"));
    }

    #[test]
    fn usage_errors_exit_with_2() {
        let error = Cli::try_parse_from(["restreamer", "--no-such-option"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
