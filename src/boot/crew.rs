//! The workers: made, started and stopped together.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use restreamer_sys::cpu;
use slog::{Logger, crit, info, o, warn};

use super::{BootError, kernel};
use crate::config::Config;
use crate::limits::{LOG_FLUSH_TIMEOUT, WORKERS_MAX};
use crate::log::LogHandle;
use crate::stream::Stream;
use crate::worker::board::Board;
use crate::worker::handoff::Sender;
use crate::worker::{Parts, Worker, balance};

/// How many workers there are to be: as many as the configuration says, or as there are cores, but
/// none without a stream to serve.
pub(super) fn size(config: &Config, cores: usize) -> NonZeroUsize {
    let wanted = config.workers.unwrap_or_else(|| {
        let hot = config.streams.iter().any(|stream| stream.hot);
        if hot { cores } else { cores.min(config.streams.len()) }
    });
    NonZeroUsize::new(wanted.min(WORKERS_MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// The owner of a stream before anything is known of what it costs.
pub(super) fn first_owner(stream: usize, workers: usize) -> usize {
    stream % workers
}

/// Running workers.
#[derive(Debug)]
pub(super) struct Crew {
    senders: Arc<[Sender]>,
    done: Receiver<()>,
}

/// What all workers are made with, and what each has for itself.
pub(super) struct Making<'a> {
    pub(super) streams: Vec<Stream>,
    /// Each worker's listening sockets.
    pub(super) listeners: Vec<Vec<TcpListener>>,
    /// Each on a core of its own.
    pub(super) pin: bool,
    pub(super) root: &'a Logger,
    pub(super) log_handle: &'a LogHandle,
    pub(super) now: Instant,
}

impl Crew {
    /// Makes the workers, one for each set of listening sockets, and starts them.
    pub(super) fn start(
        making: Making<'_>,
        board: &Arc<Board>,
        parts: impl Fn(usize, Vec<Option<Stream>>, Vec<TcpListener>) -> Parts,
    ) -> Result<Crew, BootError> {
        let size = making.listeners.len();
        let mut shares = deal(making.streams, size);
        let mut workers = Vec::with_capacity(size);
        let mut senders = Vec::with_capacity(size);
        for (number, listeners) in making.listeners.into_iter().enumerate() {
            let parts = parts(number, std::mem::take(&mut shares[number]), listeners);
            let (worker, sender) =
                Worker::new(parts, making.now).map_err(kernel("a worker cannot be made"))?;
            workers.push(worker);
            senders.push(sender);
        }
        let senders: Arc<[Sender]> = senders.into();
        let (finished, done) = sync_channel(size);
        let cores = if making.pin { cores(making.root) } else { Vec::new() };
        for (number, mut worker) in workers.into_iter().enumerate() {
            let core = cores.get(number % cores.len().max(1)).copied();
            worker.meet(Arc::clone(&senders));
            let log = making.root.new(o!("module" => "worker", "worker" => number));
            let end =
                End { log, log_handle: making.log_handle.clone(), finished: finished.clone() };
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    end.pin(core);
                    end.of(worker.run());
                })
                .map_err(kernel("a worker's thread cannot be started"))?;
        }
        if size > 1 {
            balance::start(Arc::clone(board), Arc::clone(&senders))
                .map_err(kernel("a thread cannot be started"))?;
        }
        Ok(Crew { senders, done })
    }

    /// Tells all to stop; answers how many have not stopped in time.
    pub(super) fn stop(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        for sender in self.senders.iter() {
            sender.stop();
        }
        let mut left = self.senders.len();
        while left > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.done.recv_timeout(patience) {
                Ok(()) => left -= 1,
                Err(_late) => break,
            }
        }
        left
    }
}

/// What becomes of a worker that has ended.
struct End {
    log: Logger,
    log_handle: LogHandle,
    finished: SyncSender<()>,
}

impl End {
    /// Keeps the worker on its core, if it has one.
    fn pin(&self, core: Option<usize>) {
        let Some(core) = core else { return };
        match cpu::pin(core) {
            Ok(()) => {
                info!(self.log, "pinned to core {core}"; "event" => "start", "core" => core);
            }
            Err(why) => warn!(self.log, "cannot be pinned to core {core}: {why}";
                "event" => "error", "error" => "pin"),
        }
    }

    fn of(self, result: io::Result<()>) {
        match result {
            Ok(()) => {
                let _nobody_waits = self.finished.send(());
            }
            Err(error) => {
                crit!(self.log, "the worker's loop failed: {error}";
                    "event" => "error", "error" => "loop");
                self.log_handle.flush(LOG_FLUSH_TIMEOUT);
                std::process::exit(1);
            }
        }
    }
}

/// The cores there are.
fn cores(log: &Logger) -> Vec<usize> {
    cpu::cores().unwrap_or_else(|why| {
        warn!(log, "workers cannot be pinned: {why}"; "event" => "error", "error" => "pin");
        Vec::new()
    })
}

/// Each worker's streams, in the order of all.
fn deal(streams: Vec<Stream>, workers: usize) -> Vec<Vec<Option<Stream>>> {
    let mut shares: Vec<Vec<Option<Stream>>> = (0..workers).map(|_| Vec::new()).collect();
    for (number, stream) in streams.into_iter().enumerate() {
        for share in &mut shares {
            share.push(None);
        }
        shares[first_owner(number, workers)][number] = Some(stream);
    }
    shares
}
