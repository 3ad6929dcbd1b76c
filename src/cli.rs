//! The command line.

mod lasting;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::config;

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
    /// Change or list whom a running node lets in
    ///
    /// A change holds at once, goes before what the configuration says of the same network, and is
    /// kept over a restart. Connections that there are go on.
    #[command(subcommand)]
    Door(Door),
}

/// What is asked of a node's door.
#[derive(Debug, Subcommand)]
pub enum Door {
    /// Let nobody in from a network
    Deny(DoorChange),
    /// Let in whoever comes from a network, at whatever rate
    Allow(DoorChange),
    /// Take a command's rule about a network away; one of the configuration holds again
    Remove(DoorRemoval),
    /// Show the rules, each with its age and its hits, and what was let in
    List(DoorList),
}

/// Denying or allowing a network.
#[derive(Debug, Args)]
pub struct DoorChange {
    /// The network or the address, as in 203.0.113.0/24
    #[arg(value_name = "CIDR", value_parser = network)]
    pub network: IpNet,
    /// The node.
    #[command(flatten)]
    pub node: DoorNode,
    /// For so long, as in 90, 90s, 10m, 2h or 1d; without it until the rule is removed
    #[arg(long = "for", value_name = "TIME", value_parser = lasting::parse)]
    pub lasting: Option<Duration>,
}

/// Taking a rule away.
#[derive(Debug, Args)]
pub struct DoorRemoval {
    /// The network or the address, as the list shows it
    #[arg(value_name = "CIDR", value_parser = network)]
    pub network: IpNet,
    /// The node.
    #[command(flatten)]
    pub node: DoorNode,
}

/// Listing the rules.
#[derive(Debug, Args)]
pub struct DoorList {
    /// The node.
    #[command(flatten)]
    pub node: DoorNode,
    /// As the node says it, for programs
    #[arg(long)]
    pub json: bool,
}

/// Which node is meant, and who asks it: one on another host wants to know.
#[derive(Debug, Args)]
pub struct DoorNode {
    /// The node.
    #[command(flatten)]
    pub node: Node,
    /// A file whose first line is the password that --side does not name
    ///
    /// What --side names, other users of this host can see in the list of processes.
    #[arg(long, value_name = "FILE", requires = "side")]
    pub password_file: Option<PathBuf>,
}

/// Which node is meant.
#[derive(Debug, Args)]
pub struct Node {
    /// The node's configuration file, which names its side port
    #[arg(default_value = "restreamer.json")]
    pub file: PathBuf,
    /// Its side port, instead of the file
    ///
    /// The door of a node on another host wants to know who asks: http://USER:PASSWORD@HOST:PORT is
    /// Basic, http://:TOKEN@HOST:PORT Bearer. What is special in URLs is percent-encoded.
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

/// A network, or an address, which is a network of one.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let network = config::parse_network(text).map(config::canonical);
    network.ok_or("neither a network, as in 203.0.113.0/24, nor an address")
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
        let wrong: [&[&str]; 8] = [
            &["--no-such-option"],
            &["door"],
            &["door", "deny"],
            &["door", "deny", "203.0.113.0/33"],
            &["door", "deny", "example.org"],
            &["door", "deny", "203.0.113.7", "--for", "soon"],
            &["door", "remove", "203.0.113.7", "--for", "10m"],
            &["door", "list", "--password-file", "secret"],
        ];
        for arguments in wrong {
            let line = [&["restreamer"], arguments].concat();
            assert_eq!(Cli::try_parse_from(&line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    fn door(line: &[&str]) -> Door {
        match Cli::parse_from([&["restreamer", "door"], line].concat()).command {
            Some(Command::Door(door)) => door,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_door_is_asked_about_a_network_of_a_node() {
        let Door::Deny(change) = door(&["deny", "203.0.113.7/24", "--for", "10m"]) else {
            panic!("something else");
        };
        assert_eq!(change.network.to_string(), "203.0.113.0/24");
        assert_eq!(change.lasting, Some(Duration::from_mins(10)));
        assert_eq!(change.node.node.file, PathBuf::from("restreamer.json"));
        let Door::Allow(change) = door(&["allow", "2001:db8::1", "/etc/one.json"]) else {
            panic!("something else");
        };
        assert_eq!(change.network.to_string(), "2001:db8::1/128");
        assert_eq!((change.lasting, change.node.node.side), (None, None));
        assert_eq!(change.node.node.file, PathBuf::from("/etc/one.json"));
        let line = ["remove", "::ffff:198.51.100.7", "--side", "h:1", "--password-file", "p"];
        let Door::Remove(removal) = door(&line) else { panic!("something else") };
        assert_eq!(removal.network.to_string(), "198.51.100.7/32");
        assert_eq!(removal.node.node.side.as_deref(), Some("h:1"));
        assert!(matches!(door(&["list", "--json"]), Door::List(DoorList { json: true, .. })));
    }
}
