//! What is measured: a process on a core of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::process::{ChildStdout, Command};
use std::time::Duration;

use restreamer_sys::process::Running;
use restreamer_sys::wait;

/// The core of whatever is measured; `tests/bench/run` keeps the rest off it.
const CORE: &str = "0";
/// The core of source and viewers.
const LOAD_CORE: &str = "1";
/// `USER_HZ`, which is 100 on every architecture that matters here (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running process, killed with us.
pub(crate) struct Child {
    running: Running,
    output: ChildStdout,
}

impl Child {
    /// Starts a program on the core that is measured. Its standard error is ours.
    pub(crate) fn start<I: AsRef<OsStr>>(program: &OsStr, arguments: &[I]) -> io::Result<Child> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CORE]).arg(program).args(arguments);
        let (running, output, mut errors) = Running::start(command)?;
        std::thread::spawn(move || io::copy(&mut errors, &mut io::stderr()));
        Ok(Child { running, output })
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.running.id()))?;
        // The name in parentheses may hold anything; state is the third field, utime the 14th.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).map(number).sum::<f64>();
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Time of the first thread with this name so far, in seconds: user and system time, to the
    /// nanosecond (Documentation/scheduler/sched-stats.rst).
    pub(crate) fn thread_seconds(&self, name: &str) -> io::Result<f64> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.running.id()))? {
            let thread = thread?.path();
            if fs::read_to_string(thread.join("comm"))?.trim() == name {
                let text = fs::read_to_string(thread.join("schedstat"))?;
                return Ok(text.split(' ').next().map_or(0.0, number) / 1e9);
            }
        }
        Err(io::Error::other(format!("there is no thread {name}")))
    }

    /// Resident memory, in MB.
    pub(crate) fn resident_mb(&self) -> io::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.running.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).map_or(0.0, number);
        Ok(kib * 1024.0 / 1e6)
    }

    /// Whether it has come to its end.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let [ended] = wait::readable([self.running.exit()], Some(Duration::ZERO))?;
        Ok(ended)
    }

    /// Waits for its end, asking for it unless it is to come by itself; answers what it has said.
    pub(crate) fn finish(mut self, ask: bool) -> io::Result<String> {
        if ask {
            self.running.ask_to_end();
        }
        let [ended] = wait::readable([self.running.exit()], Some(Duration::from_secs(5)))?;
        self.running.reap()?;
        if !ended {
            return Err(io::Error::other("did not end within 5 s, and was killed"));
        }
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        Ok(said)
    }
}

/// Seconds that the cores have not been idle: the measured one, and that of source and viewers.
pub(crate) fn busy_seconds() -> io::Result<[f64; 2]> {
    let text = fs::read_to_string("/proc/stat")?;
    Ok([CORE, LOAD_CORE].map(|core| busy_seconds_of(core, &text)))
}

fn busy_seconds_of(core: &str, stat: &str) -> f64 {
    let ticks = ticks_of(core, stat);
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&field| ticks.get(field)).sum::<f64>();
    busy / TICKS_PER_SECOND
}

/// User, nice, system, idle, iowait, irq, softirq, steal and so on (proc(5)).
fn ticks_of(core: &str, stat: &str) -> Vec<f64> {
    let prefix = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default();
    line.split_whitespace().map(number).collect()
}

/// Seconds of the measured core.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    /// That it has not been idle.
    pub(crate) all: f64,
    /// That it has been in softirqs.
    pub(crate) softirq: f64,
}

pub(crate) fn busy() -> io::Result<Busy> {
    let text = fs::read_to_string("/proc/stat")?;
    let softirq = ticks_of(CORE, &text).get(6).map_or(0.0, |ticks| ticks / TICKS_PER_SECOND);
    Ok(Busy { all: busy_seconds_of(CORE, &text), softirq })
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_but_for_idle_and_iowait() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9\ncpu0 100 20 30 5000 600 7 8 900 0 0\ncpu1 1 1 1 1 1 1 1\n";
        let seconds = busy_seconds_of("0", stat);
        assert!((seconds - 1.65).abs() < 1e-9, "{seconds}");
        assert!(busy_seconds_of("2", stat) == 0.0);
    }
}
