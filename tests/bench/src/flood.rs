//! A flood of attempts to connect, from addresses that are nobody's, beside viewers who watch.
//!
//! The server is on a host of its own (a network namespace), with source and viewers; the flood
//! comes in by a virtual cable. What receives it is on the measured core: so it is where a network
//! card interrupts the core of a worker, and for the worker nothing is worse. In the window a
//! second without the flood and a second with it take turns, so that both see the same machine.
//!
//! A thread's time has in it what the kernel does in its interrupts while the thread runs, where
//! the kernel does not account for that by itself (`CONFIG_IRQ_TIME_ACCOUNTING`).

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ask::{metrics, sum};
use crate::child::{Busy, busy};
use crate::figures::float;
use crate::hosts::Hosts;
use crate::subject::Running;
use crate::syn::Syns;

/// Where the flood is from, for those who are to deny it: a network that is set aside for
/// measurements (RFC 2544).
pub(crate) const NETWORK: &str = "198.18.0.0/15";
/// Where the server is, seen from the flood.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
/// Its worker's thread.
const WORKER: &str = "worker-0";
/// With the flood or without.
const PHASE: Duration = Duration::from_secs(1);
/// From the beginning of the flood to that of the phase: it is to be under way.
const SETTLE: Duration = Duration::from_millis(100);
/// The flood, which begins before its phase and ends after it.
const FLOOD: Duration = Duration::from_millis(1200);

/// What a flood did to who was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Flooded {
    /// SYNs that reached the server's host, a second of flood.
    pub(crate) per_second: f64,
    /// SYNs that reached it, and that the server does not count as denied; it may count none.
    pub(crate) uncounted: Option<f64>,
    /// Of a core, by the worker's thread: without the flood, and with it.
    pub(crate) worker: [f64; 2],
    /// Of the measured core, by everybody.
    pub(crate) core: [f64; 2],
    /// Of the measured core, in softirqs: by its ticks.
    pub(crate) softirq: [f64; 2],
}

impl Flooded {
    /// By how much of a core the worker's thread takes more.
    pub(crate) fn growth(&self) -> f64 {
        self.worker[1] - self.worker[0]
    }
}

/// The hosts of one measurement.
pub(crate) struct Ground(Hosts);

impl Ground {
    pub(crate) fn new() -> io::Result<Ground> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("a flood is on a network of its own, which takes root"));
        }
        let hosts = Hosts::new("flood");
        hosts.add_network(NETWORK);
        // Not where it is sent, but on the core of who is measured
        // (Documentation/networking/scaling.rst, RPS).
        let core = "echo 1 >/sys/class/net/cable/queues/rx-0/rps_cpus";
        let entering = ["netns", "exec", &hosts.node, "sh", "-c", core];
        let status = Command::new("ip").args(entering).status()?;
        if !status.success() {
            return Err(io::Error::other("packets cannot be received on a core of choice"));
        }
        Ok(Ground(hosts))
    }

    /// Has something done on the server's host, which who it starts there stays on.
    pub(crate) fn on_server<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        Hosts::on(&self.0.node, act)
    }

    /// Lets the flood come and go for so long, and looks what becomes of who is measured.
    pub(crate) fn watch(
        &self,
        running: &Running,
        per_second: u32,
        length: Duration,
    ) -> io::Result<Flooded> {
        let pairs = length.as_secs().div_ceil(2 * PHASE.as_secs()).max(1);
        let before = denied(running)?;
        let (mut without, mut with, mut arrived) = (Look::default(), Look::default(), 0);
        for _ in 0..pairs {
            without = without.plus(phase(running)?);
            let (spent, came) = self.flooded_phase(running, per_second)?;
            with = with.plus(spent);
            arrived += came;
        }
        let counted = denied(running)?.zip(before).map(|(now, then)| now - then);
        let seconds = float(pairs) * PHASE.as_secs_f64();
        let both = |of: fn(&Look) -> f64| [of(&without) / seconds, of(&with) / seconds];
        Ok(Flooded {
            per_second: float(arrived) / (float(pairs) * FLOOD.as_secs_f64()),
            uncounted: counted.map(|counted| float(arrived) - counted),
            worker: both(|look| look.worker),
            core: both(|look| look.busy.all),
            softirq: both(|look| look.busy.softirq),
        })
    }

    /// A phase with the flood; answers what was spent, and how many have reached the server's host.
    fn flooded_phase(&self, running: &Running, per_second: u32) -> io::Result<(Look, u64)> {
        let target = SocketAddr::from((SERVER, running.viewers.port()));
        let flood = || {
            let lost = lost_on_the_way()?;
            let sent = Syns::to(target)?.flood(per_second, FLOOD, strangers())?;
            Ok::<u64, io::Error>(sent - (lost_on_the_way()? - lost))
        };
        thread::scope(|scope| {
            let flood = scope.spawn(|| Hosts::on(&self.0.sender, flood));
            thread::sleep(SETTLE);
            let spent = phase(running)?;
            let came = flood.join().map_err(|_| io::Error::other("the flood has panicked"))??;
            Ok((spent, came))
        })
    }
}

/// What was spent by some moment, or between two, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    worker: f64,
    busy: Busy,
}

impl Look {
    fn take(running: &Running) -> io::Result<Look> {
        Ok(Look { worker: running.child.thread_seconds(WORKER)?, busy: busy()? })
    }

    fn plus(self, other: Look) -> Look {
        self.and(other, 1.0)
    }

    fn and(self, other: Look, factor: f64) -> Look {
        let busy = Busy {
            all: self.busy.all + factor * other.busy.all,
            softirq: self.busy.softirq + factor * other.busy.softirq,
        };
        Look { worker: self.worker + factor * other.worker, busy }
    }
}

/// What is spent in one phase.
fn phase(running: &Running) -> io::Result<Look> {
    let before = Look::take(running)?;
    thread::sleep(PHASE);
    Ok(Look::take(running)?.and(before, -1.0))
}

/// What the server says that it has denied, if it has a door.
fn denied(running: &Running) -> io::Result<Option<f64>> {
    let text = running.side.map(metrics).transpose()?.unwrap_or_default();
    Ok(sum(&text, "restreamer_door_dropped_total").ok())
}

/// What the sender's end of the cable could not hand over.
fn lost_on_the_way() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("cable:"));
    // Eight columns of what was received; sent bytes, packets, errors, drops (proc(5)).
    let drops = line.and_then(|line| line.split_whitespace().nth(11)?.parse().ok());
    drops.ok_or_else(|| io::Error::other("the kernel tells nothing of the cable"))
}

/// Another address of the network each time, and another port.
fn strangers() -> impl FnMut() -> SocketAddr {
    let mut number: u32 = 0;
    move || {
        number = number.wrapping_add(0x9E37_79B1);
        let [_, _, high, low] = number.to_be_bytes();
        let port = 0x8000 | (u16::from(high) << 8 | u16::from(low)) >> 1;
        (Ipv4Addr::new(198, 18 + (high & 1), low, high), port).into()
    }
}
