//! Child processes that never outlive us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::moved::uninterrupted;

/// A running command, leader of a process group of its own, with its output as pipes.
///
/// The thread that calls [`Running::start`] must live as long as the command: the kernel kills
/// the command when that *thread* ends (`PR_SET_PDEATHSIG`, prctl(2)), which is what makes it
/// end with us even after a `SIGKILL`.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Pid,
    exit: OwnedFd,
}

impl Running {
    /// Starts `command` with an empty standard input; answers it with its standard output and
    /// error. What of our environment is for us alone is not in its own.
    pub fn start(mut command: Command) -> io::Result<(Running, ChildStdout, ChildStderr)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        for variable in crate::systemd::ONLY_OURS {
            command.env_remove(variable);
        }
        let us = nix::unistd::getpid();
        let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // SAFETY: between fork and exec only sigprocmask(2), close_range(2), fcntl(2), prctl(2) and
        // getppid(2) are called, and an error is made from a number: all async-signal-safe, nothing
        // allocates or locks.
        unsafe {
            command.pre_exec(move || {
                // What we block, because one thread reads it, is to reach the command.
                SigSet::empty().thread_set_mask()?;
                close_others_on_exec(open_files);
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // We may have died before the line above: then nobody would send the signal.
                if nix::unistd::getppid() == us { Ok(()) } else { Err(Errno::ESRCH.into()) }
            });
        }
        let mut child = command.spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (output, errors) = pipes.expect("both were asked for");
        let group = Pid::from_raw(i32::try_from(child.id()).expect("a process's number"));
        match pidfd(group) {
            Ok(exit) => Ok((Running { child, group, exit }, output, errors)),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The command's process number, which is nobody else's before it is reaped.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Readable once the command has exited.
    pub fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    /// Asks the command and all it has started to end (SIGTERM to the group).
    pub fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Kills what is left of the group and reaps the command; does not block for long.
    pub fn reap(mut self) -> io::Result<ExitStatus> {
        // The group's number cannot belong to another before the command is reaped.
        self.signal(Signal::SIGKILL);
        let status = self.child.wait()?;
        // As the first process of a container we inherit those that the command has left behind.
        let rest = Pid::from_raw(-self.group.as_raw());
        while uninterrupted(|| waitpid(rest, None)).is_ok() {}
        Ok(status)
    }

    fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            // All of the group have gone already, or became another user's: nothing is left to do.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Leaves a command nothing but its standard descriptors, whoever has opened what, and how.
///
/// Linux 5.11 does this at once. Before that each number there may be (below `open_files`) is told
/// so; what was opened under a higher limit is missed.
fn close_others_on_exec(open_files: u64) {
    let (first, last) = (libc::STDERR_FILENO.cast_unsigned() + 1, libc::c_uint::MAX);
    let how = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: close_range(2) takes three numbers, and with this flag closes nothing now.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, how) };
    if answer == 0 {
        return;
    }
    for number in libc::STDERR_FILENO + 1..i32::try_from(open_files).unwrap_or(i32::MAX) {
        // SAFETY: the flag of a descriptor is changed, or there is none; no memory is touched.
        let _none = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a child's pipe non-blocking and gives it room for `bytes`, as far as the kernel grants it.
pub fn prepare_output(output: &ChildStdout, bytes: usize) -> io::Result<()> {
    crate::file::set_nonblocking(output.as_fd())?;
    crate::pipe::grow(output.as_fd(), bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::wait::readable;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_errors_arrive_and_the_status_is_reaped() {
        let (running, mut output, mut errors) =
            Running::start(shell("echo out; echo err >&2; exit 3")).unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        output.read_to_string(&mut out).unwrap();
        errors.read_to_string(&mut err).unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
        assert_eq!(readable([running.exit()], None).unwrap(), [true]);
        assert_eq!(running.reap().unwrap().code(), Some(3));
    }

    #[test]
    fn what_is_for_us_alone_is_not_in_its_environment() {
        let mut command = shell("env");
        command.env("KEPT", "yes");
        // As if they were in our own environment, which tests leave alone.
        for variable in crate::systemd::ONLY_OURS {
            command.env(variable, "ours");
        }
        let (running, mut output, _errors) = Running::start(command).unwrap();
        let mut environment = String::new();
        output.read_to_string(&mut environment).unwrap();
        running.reap().unwrap();
        assert!(environment.contains("KEPT=yes\n"), "{environment}");
        assert!(!environment.contains("=ours\n"), "{environment}");
    }

    #[test]
    fn the_whole_group_ends() {
        let (running, mut output, _errors) =
            Running::start(shell("trap '' TERM; sleep 1000 & echo $!; wait")).unwrap();
        let mut line = [0; 32];
        let length = output.read(&mut line).unwrap();
        running.ask_to_end();
        let stubborn = readable([running.exit()], Some(Duration::from_millis(100))).unwrap();
        assert_eq!(stubborn, [false], "it ignores SIGTERM");
        running.reap().unwrap();
        // Its grandchild held the pipe open: the end of the pipe is the end of the last of them.
        assert_eq!(output.read(&mut line[length..]).unwrap(), 0);
    }

    #[test]
    fn blocked_signals_reach_the_command() {
        let asked = std::thread::spawn(|| {
            let _blocked = crate::signal::Signals::block().unwrap();
            // No shell: those unblock signals by themselves.
            let mut command = Command::new("sleep");
            command.arg("1000");
            let (running, _output, _errors) = Running::start(command).unwrap();
            running.ask_to_end();
            readable([running.exit()], None).unwrap();
            running.reap().unwrap()
        });
        let status = asked.join().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
    }

    #[test]
    fn the_command_dies_with_the_thread_that_started_it() {
        let mut output = std::thread::spawn(|| {
            let (running, output, _errors) = Running::start(shell("exec sleep 1000")).unwrap();
            std::mem::forget(running);
            output
        })
        .join()
        .unwrap();
        assert_eq!(output.read(&mut [0]).unwrap(), 0, "killed, its pipe closed");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = Running::start(Command::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
