//! Containers run by podman, in mounts and a network of their own.
//!
//! Owns a process that holds both, and all containers in it: with it they go, and so does whatever
//! podman has stored. Nothing of podman's own on this host is read or changed. Its containers are
//! on the engine's network, which is nothing but `lo`.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::{on_network, said};

/// No command takes longer; `timeout` ends it.
const COMMAND_SECONDS: &str = "60";

/// Memory in place of what podman keeps and of the locks that it shares with all of its kind. A
/// hybrid of both cgroup hierarchies confuses crun: the old one alone is left.
const HOLD: &str = "set -e
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mkdir -p /var/lib/containers
for place in /run /dev/shm /var/lib/containers; do mount -t tmpfs tmpfs $place; done
ip link set lo up
echo ready
exec cat";

/// What containers run in.
#[derive(Debug)]
pub struct Engine {
    holder: Child,
    network: OwnedFd,
}

impl Engine {
    /// Makes one without containers.
    pub fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "private"]);
        command.args(["setpriv", "--pdeathsig", "KILL", "sh", "-c", HOLD]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no mounts and network of our own");
        let network = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, network: network.into() }
    }

    /// A program among its mounts and on its network, that can be spawned.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg("--target").arg(self.holder.id().to_string()).args(["--mount", "--net", "--"]);
        nsenter.args(["setpriv", "--pdeathsig", "KILL"]).args(command);
        nsenter
    }

    /// Runs podman to its end. One that takes long is ended: status 124.
    pub fn podman(&self, arguments: &[&str]) -> Output {
        let podman = ["timeout", COMMAND_SECONDS, "podman", "--events-backend=file"];
        let options = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"];
        let mut command = self.command(&[&podman[..], &options].concat());
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// The same; answers what it has said, without newlines at its end; panics with it if it fails.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.podman(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What podman knows of a container.
    pub fn inspect(&self, container: &str) -> Value {
        let all: Value = serde_json::from_str(&self.ok(&["inspect", container])).unwrap();
        all[0].clone()
    }

    /// Does something in its network, on a thread of its own: sockets made there belong there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        on_network(self.network.as_fd(), act)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let removed = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        if !removed.status.success() {
            eprintln!("containers stay: {}", said(&removed));
        }
        // It may have ended already: both answers are fine.
        let _ended = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

/// A program that runs beside a test; it is ended with it.
#[derive(Debug)]
pub struct Beside(Child);

impl Beside {
    /// Starts one.
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
