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
    /// Ask the node on this host whether it is well: exit with 0, or with 1 and say why not
    ///
    /// It is well if it answers, its workers work, and a stream is connected (or
    /// none is configured).
    Health(Health),
    /// Have nobody new sent to the node on this host; who watches stays
    ///
    /// Its health says "draining" from then on, /ready on the side port answers 503. Whoever comes
    /// all the same is served.
    Drain(Drain),
}

/// Which node is meant.
#[derive(Debug, Args)]
pub struct Node {
    /// The node's configuration file, which names its side port
    #[arg(default_value = "restreamer.json")]
    pub file: PathBuf,
    /// Its side port, instead of the file
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "file")]
    pub side: Option<String>,
}

/// Asking whether a node is well.
#[derive(Debug, Args)]
pub struct Health {
    /// The node.
    #[command(flatten)]
    pub node: Node,
    /// This stream must be connected; may be given several times
    #[arg(long, value_name = "PATH")]
    pub stream: Vec<String>,
    /// All streams must be connected
    #[arg(long)]
    pub all: bool,
    /// The node must want new viewers: be neither full nor draining
    #[arg(long)]
    pub ready: bool,
}

/// Draining a node.
#[derive(Debug, Args)]
pub struct Drain {
    /// The node.
    #[command(flatten)]
    pub node: Node,
    /// The node takes new viewers again
    #[arg(long, conflicts_with = "wait")]
    pub off: bool,
    /// Wait until the viewers have gone, for so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u32,
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
