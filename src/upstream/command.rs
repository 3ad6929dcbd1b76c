//! Commands whose standard output is the stream.
//!
//! Owns the command from its start until it is reaped, on the thread of its attempt: the kernel
//! kills a command whose starting thread ends, and that thread is this one. Its standard error goes
//! to the log, by line, at a bounded rate.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStderr, Command, ExitStatus};
use std::time::{Duration, Instant};

use restreamer_sys::process::{Running, prepare_output};
use restreamer_sys::{Moved, file, wait};
use slog::{Logger, error, info, warn};

use super::error::DialError;
use super::{Dialed, Keeper};
use crate::config::mask_passwords;
use crate::limits::{
    COMMAND_END_TIMEOUT, COMMAND_LAST_READS_MAX, COMMAND_LINE_BYTES_MAX,
    COMMAND_LINES_PER_SECOND_MAX, UPSTREAM_PIPE_BYTES,
};

/// Held by whoever uses the command's output: when it is dropped, the command is ended.
#[derive(Debug)]
pub struct Hold {
    _alive: PipeWriter,
}

/// Starts a command, delivers its output, and stays with it until it is reaped.
pub fn run(
    program: &Path,
    arguments: &[String],
    log: &Logger,
    deliver: impl FnOnce(Result<Dialed, DialError>),
) {
    let mut command = Command::new(program);
    command.args(arguments);
    match start(command) {
        Ok((minder, dialed)) => {
            deliver(Ok(dialed));
            minder.stay(log);
        }
        Err(error) => deliver(Err(DialError::Start(error))),
    }
}

fn start(command: Command) -> std::io::Result<(Minder, Dialed)> {
    let (unwanted, alive) = std::io::pipe()?;
    let (running, output, errors) = Running::start(command)?;
    let prepared = prepare_output(&output, UPSTREAM_PIPE_BYTES)
        .and_then(|()| file::set_nonblocking(errors.as_fd()));
    if let Err(error) = prepared {
        running.reap()?;
        return Err(error);
    }
    let keeper = Some(Keeper::Command(Hold { _alive: alive }));
    let dialed = Dialed { keeper, ..Dialed::raw(output) };
    Ok((Minder { running, errors, unwanted }, dialed))
}

struct Minder {
    running: Running,
    errors: ChildStderr,
    /// Ends when the hold is dropped.
    unwanted: PipeReader,
}

impl Minder {
    fn stay(self, log: &Logger) {
        let mut lines = Lines::new(Instant::now());
        let mut asked = None;
        let mut silent = false;
        let waited = loop {
            let (exit, unwanted) = (self.running.exit(), self.unwanted.as_fd());
            let errors = self.errors.as_fd();
            // What has ended is readable for ever: it must not be waited for again.
            let ready = match (asked, silent) {
                (None, false) => wait::readable([exit, unwanted, errors], None),
                (None, true) => wait::readable([exit, unwanted], None).map(|[e, u]| [e, u, false]),
                (Some(asked), _) => {
                    let left = COMMAND_END_TIMEOUT.saturating_sub(Instant::elapsed(&asked));
                    wait::readable([exit], Some(left)).map(|[e]| [e, !e, false])
                }
            };
            match ready {
                Err(error) => break Err(error),
                Ok([true, ..]) => break Ok(()),
                Ok([_, true, _]) if asked.is_some() => break Ok(()),
                Ok([_, true, _]) => {
                    self.running.ask_to_end();
                    asked = Some(Instant::now());
                }
                Ok([.., true]) => silent = self.hear(&mut lines, log),
                Ok(_) => {}
            }
        };
        if let Err(error) = waited {
            error!(log, "the command cannot be waited for: {error}";
                "event" => "error", "error" => "wait");
        }
        // What it said last is still in the pipe; those it left behind may say more for ever.
        let _ended = (0..COMMAND_LAST_READS_MAX).any(|_| self.hear(&mut lines, log));
        lines.finish(|line| say(log, line));
        match self.running.reap() {
            Ok(status) => tell(status, asked.is_some(), log),
            Err(error) => error!(log, "the command cannot be reaped: {error}";
                "event" => "error", "error" => "wait"),
        }
    }

    /// Reads some of the standard error; answers whether it has ended.
    fn hear(&self, lines: &mut Lines, log: &Logger) -> bool {
        let mut buffer = [0; 4096];
        match file::read(self.errors.as_fd(), &mut buffer) {
            Ok(Moved::Bytes(n)) => {
                lines.feed(&buffer[..n.get()], Instant::now(), |line| say(log, line));
                false
            }
            Ok(Moved::Blocked) => false,
            Ok(Moved::Ended) | Err(_) => true,
        }
    }
}

fn tell(status: ExitStatus, asked: bool, log: &Logger) {
    if asked || status.success() {
        info!(log, "the command ended: {status}"; "event" => "exit");
    } else {
        warn!(log, "the command failed: {status}"; "event" => "error", "error" => "exit");
    }
}

/// A command that prints the address it was given prints the password in it.
fn say(log: &Logger, line: &str) {
    info!(log, "{}", mask_passwords(line); "event" => "stderr");
}

/// Cuts a command's standard error into lines, as many and as long as the log can bear.
#[derive(Debug)]
struct Lines {
    line: Vec<u8>,
    second: Instant,
    said: u32,
    kept_back: u64,
}

impl Lines {
    fn new(now: Instant) -> Lines {
        Lines { line: Vec::new(), second: now, said: 0, kept_back: 0 }
    }

    /// Takes bytes and gives whole lines to `say`. A carriage return ends a line, too (progress).
    fn feed(&mut self, bytes: &[u8], now: Instant, mut say: impl FnMut(&str)) {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.said) = (now, 0);
            self.confess(&mut say);
        }
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(&mut say),
                _ if self.line.len() < COMMAND_LINE_BYTES_MAX => self.line.push(byte),
                _ => {}
            }
        }
    }

    /// Gives what is left to `say`.
    fn finish(mut self, mut say: impl FnMut(&str)) {
        self.end_line(&mut say);
        self.confess(&mut say);
    }

    fn end_line(&mut self, say: &mut impl FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            return;
        }
        if self.said < COMMAND_LINES_PER_SECOND_MAX {
            self.said += 1;
            say(text.trim_end());
        } else {
            self.kept_back += 1;
        }
    }

    fn confess(&mut self, say: &mut impl FnMut(&str)) {
        if self.kept_back > 0 {
            say(&format!("({} more lines kept back)", std::mem::take(&mut self.kept_back)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(pieces: &[&str]) -> Vec<String> {
        let now = Instant::now();
        let (mut lines, mut said) = (Lines::new(now), Vec::new());
        for piece in pieces {
            lines.feed(piece.as_bytes(), now, |line| said.push(line.to_owned()));
        }
        lines.finish(|line| said.push(line.to_owned()));
        said
    }

    #[test]
    fn lines_whatever_the_pieces() {
        assert_eq!(
            lines_of(&["one\ntw", "o\r\n\n", "frame=1\rframe=2\rla", "st"]),
            ["one", "two", "frame=1", "frame=2", "last"]
        );
    }

    #[test]
    fn long_lines_are_cut_and_many_are_kept_back() {
        let long = "x".repeat(3 * COMMAND_LINE_BYTES_MAX);
        assert_eq!(lines_of(&[&long])[0].len(), COMMAND_LINE_BYTES_MAX);
        let said = lines_of(&[&"y\n".repeat(100)]);
        let bound = COMMAND_LINES_PER_SECOND_MAX as usize;
        assert_eq!(said.len(), bound + 1);
        assert_eq!(said[bound], format!("({} more lines kept back)", 100 - bound));
    }
}
