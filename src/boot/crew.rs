//! The workers: made, started and stopped together.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use restreamer_sys::cpu;
use slog::{Logger, crit, info, o, warn};

use super::door::Minded;
use super::{BootError, kernel, resources};
use crate::config::Config;
use crate::limits::{LOG_FLUSH_TIMEOUT, WORKERS_MAX};
use crate::log::LogHandle;
use crate::log::access::AccessLog;
use crate::metrics::Metrics;
use crate::resource::{Desk, Shown, Static};
use crate::stream::Stream;
use crate::upstream::Dialer;
use crate::worker::board::{Board, Entry};
use crate::worker::guests::Room;
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
fn first_owner(stream: usize, workers: usize) -> usize {
    stream % workers
}

/// Running workers.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) senders: Arc<[Sender]>,
    done: Receiver<()>,
}

/// What the workers are made of.
pub(super) struct Making<'a> {
    pub(super) config: &'a Config,
    /// The streams, each in its parts, the owner's first.
    pub(super) streams: Vec<Vec<Stream>>,
    /// Each worker's listening sockets.
    pub(super) listeners: Vec<Vec<TcpListener>>,
    /// Whether these are open in this process alone.
    pub(super) ours: bool,
    /// Who may connect.
    pub(super) door: Option<&'a Minded>,
    pub(super) board: Arc<Board>,
    pub(super) desk: Desk,
    pub(super) statics: Vec<Arc<Static>>,
    pub(super) access: &'a AccessLog,
    pub(super) dialer: &'a Dialer,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) root: &'a Logger,
    pub(super) log_handle: &'a LogHandle,
    /// How many descriptors the process may have.
    pub(super) open_files: u64,
    pub(super) now: Instant,
}

impl Making<'_> {
    fn log(&self, worker: usize) -> Logger {
        self.root.new(o!("module" => "worker", "worker" => worker))
    }

    fn parts(
        &self,
        number: usize,
        workers: usize,
        streams: Vec<Option<Stream>>,
        listeners: Vec<TcpListener>,
    ) -> Parts {
        Parts {
            number,
            room: Room::of(workers, self.open_files),
            streams,
            listeners,
            ours: self.ours,
            door: self.door.map(Minded::at_accept),
            resources: resources::resources(self.config),
            board: Arc::clone(&self.board),
            arrival: resources::arrival(self.config),
            refuse_with: self.config.refuse_with,
            desk: self.desk.clone(),
            statics: self.statics.clone(),
            access: self.access.clone(),
            dialer: self.dialer.clone(),
            metrics: Arc::clone(self.metrics),
            period: self.config.turn,
            log: self.log(number),
        }
    }
}

impl Crew {
    /// Makes the workers, one for each set of listening sockets, and starts them.
    pub(super) fn start(mut making: Making<'_>) -> Result<Crew, BootError> {
        let listeners = std::mem::take(&mut making.listeners);
        let size = listeners.len();
        let shares = deal(std::mem::take(&mut making.streams), size);
        let (mut workers, mut senders) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for (number, (streams, listeners)) in shares.into_iter().zip(listeners).enumerate() {
            let parts = making.parts(number, size, streams, listeners);
            let (worker, sender) =
                Worker::new(parts, making.now).map_err(kernel("a worker cannot be made"))?;
            workers.push(worker);
            senders.push(sender);
        }
        let senders: Arc<[Sender]> = senders.into();
        let (finished, done) = sync_channel(size);
        let cores = if making.config.pin_workers { cores(making.root) } else { Vec::new() };
        for (number, mut worker) in workers.into_iter().enumerate() {
            let core = cores.get(number % cores.len().max(1)).copied();
            worker.meet(Arc::clone(&senders));
            let log = making.log(number);
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
            balance::start(making.board, Arc::clone(&senders))
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
fn deal(streams: Vec<Vec<Stream>>, workers: usize) -> Vec<Vec<Option<Stream>>> {
    let mut shares: Vec<Vec<Option<Stream>>> = (0..workers).map(|_| Vec::new()).collect();
    for (number, parts) in streams.into_iter().enumerate() {
        for share in &mut shares {
            share.push(None);
        }
        for (part, stream) in parts.into_iter().enumerate() {
            shares[(first_owner(number, workers) + part) % workers][number] = Some(stream);
        }
    }
    shares
}

/// What workers know of each other, at the start. `streams` are those of `shown`.
pub(super) fn board(
    config: &Config,
    shown: &[Shown],
    streams: &[Vec<Stream>],
    workers: usize,
) -> Arc<Board> {
    let numbered = shown.iter().zip(streams).enumerate();
    let entries = numbered.map(|(number, (shown, parts))| Entry {
        path: shown.path.clone(),
        owner: AtomicUsize::new(first_owner(number, workers)),
        hot: config.streams[number].hot,
        cost_ns: AtomicU64::new(0),
        gate: Arc::clone(parts[0].gate()),
        status: Arc::clone(&shown.status),
        metrics: shown.metrics.clone(),
    });
    Arc::new(Board::new(entries, workers))
}
