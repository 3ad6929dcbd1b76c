//! Signals as values, read by one thread.

use std::io;

use nix::sys::signal::{SigSet, Signal as Nix};

/// The signals the program answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGUSR1: close the log file and open it again.
    Reopen,
}

/// The blocked set of signals; from the moment it exists they arrive only through
/// [`Signals::wait`].
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks the signals in this thread and in all it will start. Call it before any other thread.
    pub fn block() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [Nix::SIGTERM, Nix::SIGINT, Nix::SIGUSR1] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Signals(set))
    }

    /// Waits for the next of them.
    pub fn wait(&self) -> io::Result<Signal> {
        Ok(match self.0.wait()? {
            Nix::SIGUSR1 => Signal::Reopen,
            _stop => Signal::Stop,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_and_does_not_kill() {
        let signals = Signals::block().unwrap();
        for (sent, read) in [
            (Nix::SIGUSR1, Signal::Reopen),
            (Nix::SIGTERM, Signal::Stop),
            (Nix::SIGINT, Signal::Stop),
        ] {
            // raise(3) aims at this thread: the test runner's other threads do not block them.
            nix::sys::signal::raise(sent).unwrap();
            assert_eq!(signals.wait().unwrap(), read);
        }
    }
}
