//! Viewers: one thread, one loop, every byte accounted for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::delays::Delays;
use crate::packet::{Clock, Seen};
use crate::scenario::Scenario;
use crate::subject::Running;
use crate::watch::Watch;

/// What is recorded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Nothing,
    /// Delays alone, to compare those of the window with.
    Before,
    /// The window; if viewers are to join, they begin with it.
    Window,
}

/// What the crowd's owner and its thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Viewers that have a response head.
    pub(crate) welcome: AtomicUsize,
    pub(crate) stop: AtomicBool,
    phase: AtomicU8,
}

impl Shared {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Nothing,
            1 => Phase::Before,
            _ => Phase::Window,
        }
    }
}

/// What all viewers together have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// In the window.
    pub(crate) delays: Delays,
    /// In the phase before it.
    pub(crate) delays_before: Delays,
    /// In the window, of bodies alone.
    pub(crate) bytes: u64,
    /// From the beginning.
    pub(crate) seen: Seen,
    /// Viewers that were refused or cut.
    pub(crate) ended: u64,
    /// Viewers at whom no last look could be taken, because nothing came any more.
    pub(crate) silent: u64,
    /// From `connect` to the first byte of the body, or to the first whole picture where there are
    /// any, of those who joined in the window.
    pub(crate) joins: Delays,
}

/// Viewers of one subject.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<Tally>>,
}

impl Crowd {
    pub(crate) fn start(running: &Running, scenario: &Scenario, clock: Clock) -> io::Result<Crowd> {
        let shared = Arc::new(Shared::default());
        let watch = Watch::new(Arc::clone(&shared), clock, running, scenario)?;
        let run = move || watch.run();
        let thread = std::thread::Builder::new().name("viewers".to_owned()).spawn(run)?;
        Ok(Crowd { shared, thread })
    }

    /// Waits until so many have a response head.
    pub(crate) fn wait_for(&self, viewers: usize, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let welcome = self.shared.welcome.load(Ordering::Relaxed);
            if welcome >= viewers {
                return Ok(());
            }
            if Instant::now() > deadline || self.thread.is_finished() {
                let message = format!("{welcome} of {viewers} viewers were let in");
                return Err(io::Error::other(message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Sends all home.
    pub(crate) fn stop(self) -> io::Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| io::Error::other("the viewers have panicked"))?
    }
}
