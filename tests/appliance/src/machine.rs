//! A Debian that is booted: its own systemd, processes, network and cgroups, in `systemd-nspawn`.
//!
//! Owns the container from its start to its end, which is when it is dropped: it is killed, not
//! asked, and nothing of it is left but its files. It knows nothing of what runs inside.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, eventually, on_network, said};

/// No command inside takes longer; `timeout` ends it.
const COMMAND_SECONDS: &str = "90";

/// Enters the cgroups that come before `--` and becomes the program behind it.
const ENTER_AND_START: &str =
    r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@""#;

/// A system that runs.
#[derive(Debug)]
pub struct Machine {
    container: Child,
    /// Its process 1, as this system counts.
    leader: Pid,
    network: OwnedFd,
    cgroups: Vec<PathBuf>,
}

impl Machine {
    /// Boots the system in `root` and waits until it has started all it starts by itself. Its
    /// network is one of its own, with nothing but `lo`.
    pub fn boot(root: &Path) -> Self {
        Self::boot_with(root, &[])
    }

    /// The same with further options of systemd-nspawn(1).
    pub fn boot_with(root: &Path, options: &[&str]) -> Self {
        static BOOTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("m{}-{}", std::process::id(), BOOTED.fetch_add(1, Ordering::Relaxed));
        // With --keep-unit the machine lives below the cgroup that we are in: two machines there
        // would share theirs. So each starts in one of its own.
        let cgroups = cgroups(&name);
        let mut nspawn = Command::new("sh");
        nspawn.args(["-c", ENTER_AND_START, "--"]).args(&cgroups);
        nspawn.args(["--", "systemd-nspawn"]);
        nspawn.args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"]);
        nspawn.args(["--console=pipe", "--link-journal=no", "--resolv-conf=off"]);
        nspawn.arg(format!("--machine={name}")).arg("--directory").arg(root).args(options);
        // What it says at boot it says to its journal as well.
        nspawn.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut container = nspawn.spawn().expect("systemd-nspawn starts");
        let leader = eventually("a process 1", || {
            if let Some(status) = container.try_wait().unwrap() {
                panic!("systemd-nspawn has ended: {status}");
            }
            leader(container.id())
        });
        let network = std::fs::File::open(format!("/proc/{}/ns/net", leader.as_raw_pid())).unwrap();
        let machine = Self { container, leader, network: network.into(), cgroups };
        // Until the bus can be asked there is nothing to wait with.
        eventually("a bus to systemd", || {
            let asked = machine.run(&["systemctl", "is-system-running"]);
            let state = String::from_utf8_lossy(&asked.stdout);
            matches!(state.trim(), "starting" | "running" | "degraded").then_some(())
        });
        let up = machine.run(&["systemctl", "is-system-running", "--wait"]);
        let state = String::from_utf8_lossy(&up.stdout);
        assert!(matches!(state.trim(), "running" | "degraded"), "not booted: {}", said(&up));
        machine
    }

    /// Runs a program inside to its end, as root. One that takes long is ended: status 124.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut inside = self.command(&["timeout", COMMAND_SECONDS]);
        inside.args(command).stdin(Stdio::null());
        inside.output().expect("nsenter starts")
    }

    /// The same; answers what it has said, and panics with that if it fails.
    pub fn ok(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?} inside: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program inside that can be spawned. Of its environment only the path is given.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        // No user namespace: it has none of its own. Its cgroup stays that of the test.
        nsenter.arg("--target").arg(self.leader.as_raw_pid().to_string());
        nsenter.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]);
        nsenter.arg("--").args(command).env_clear();
        nsenter.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        nsenter.env("LC_ALL", "C.UTF-8").current_dir("/");
        nsenter
    }

    /// Does something in its network, on a thread of its own: sockets made there belong there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        on_network(self.network.as_fd(), act)
    }

    /// A process inside, by its id there, as it is named outside.
    pub fn outside(&self, inside: u32) -> u32 {
        let namespace = |of: u32| std::fs::read_link(format!("/proc/{of}/ns/pid")).ok();
        let ours = namespace(self.leader.as_raw_pid().cast_unsigned());
        let found = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let innermost: u32 = ids.split_whitespace().last()?.parse().ok()?;
            (innermost == inside && namespace(pid) == ours).then_some(pid)
        });
        found.unwrap_or_else(|| panic!("no process {inside} inside"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With process 1 the kernel ends all that runs inside, and with the last of them go the
        // mounts; systemd-nspawn then ends by itself. What fails here has ended already.
        let _ = kill_process(self.leader, Signal::KILL);
        let _ = self.container.wait();
        for cgroup in &self.cgroups {
            remove_cgroup(cgroup);
        }
    }
}

/// Makes cgroups of that name below our own: of the unified hierarchy, and of systemd's older one
/// where the host has that. See cgroups(7).
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut made = Vec::new();
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): the fifth field is the mount point; type and options come last.
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let place = if kind.starts_with("cgroup2 ") {
            ours.lines().find_map(|line| line.strip_prefix("0::"))
        } else if kind.starts_with("cgroup ") && kind.contains("name=systemd") {
            ours.lines().find_map(|line| line.split_once("name=systemd:").map(|(_, place)| place))
        } else {
            continue;
        };
        let place = place.expect("every process is in one").trim_start_matches('/');
        let point = mount.split(' ').nth(4).expect("a mount point");
        let cgroup = Path::new(point).join(place).join(name);
        match std::fs::create_dir(&cgroup) {
            Ok(()) => made.push(cgroup),
            // The same hierarchy, mounted once more elsewhere.
            Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
            Err(why) => panic!("{}: {why}", cgroup.display()),
        }
    }
    made
}

/// Removes a cgroup with all below it. What has been in it may take a moment to be gone.
fn remove_cgroup(cgroup: &Path) {
    for below in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&below.path());
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let busy = |why: &Error| why.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline;
    while let Err(why) = std::fs::remove_dir(cgroup) {
        if !busy(&why) {
            eprintln!("{} stays: {why}", cgroup.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Process 1 of the container, once it is systemd: a child of `systemd-nspawn`.
fn leader(nspawn: u32) -> Option<Pid> {
    let children = format!("/proc/{nspawn}/task/{nspawn}/children");
    let children = std::fs::read_to_string(children).ok()?;
    children.split_whitespace().find_map(|child| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let is_first = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"));
        (is_first && status.starts_with("Name:\tsystemd\n")).then_some(())?;
        Pid::from_raw(child.parse().ok()?)
    })
}
