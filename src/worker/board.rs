//! What workers know of each other: who has which stream, and what each has to do.
//!
//! Written with plain atomic stores, a few a turn, and read when a request is for a stream that is
//! not here, or when streams are spread anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::load::Work;
use crate::metrics::{StreamMetrics, StreamStatus};
use crate::stream::gate::Gate;

/// See the module.
#[derive(Debug)]
pub struct Board {
    streams: Box<[Entry]>,
    workers: Box<[Worked]>,
}

/// What a worker has done.
#[derive(Debug, Default)]
struct Worked {
    busy_ns: AtomicU64,
    turns: AtomicU64,
    chunks: AtomicU64,
    bytes: AtomicU64,
    /// As it has told last.
    demand: AtomicU64,
    viewers: AtomicUsize,
}

/// What a worker's viewers ask of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes a second: each viewer counts with the bitrate of his stream.
    pub bytes_per_second: u64,
    /// The viewers.
    pub viewers: usize,
}

impl Worked {
    fn take(&self) -> Work {
        let take = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        Work {
            busy: Duration::from_nanos(take(&self.busy_ns)),
            turns: take(&self.turns),
            chunks: take(&self.chunks),
            bytes: take(&self.bytes),
        }
    }
}

/// A stream on the board.
#[derive(Debug)]
pub struct Entry {
    /// Where it is served.
    pub path: String,
    /// The worker that has it.
    pub owner: AtomicUsize,
    /// It is in every worker, and stays there.
    pub hot: bool,
    /// What its turns have taken, in nanoseconds.
    pub cost_ns: AtomicU64,
    /// Who may enter it.
    pub gate: Arc<Gate>,
    /// What its upstreams are doing.
    pub status: Arc<StreamStatus>,
    /// What is counted of it.
    pub metrics: StreamMetrics,
}

/// What streams and workers had to do in an interval, as if all turns were of one length.
#[derive(Clone, Debug)]
pub struct Loads {
    /// Each worker's time.
    pub workers: Vec<Duration>,
    /// Each stream.
    pub streams: Vec<StreamLoad>,
}

/// What a stream had to do.
#[derive(Clone, Copy, Debug)]
pub struct StreamLoad {
    /// The worker that has it.
    pub owner: usize,
    /// The time of its turns.
    pub cost: Duration,
    /// It stays where it is.
    pub fixed: bool,
}

impl StreamLoad {
    /// Whether it costs a worker anything of which it could be relieved.
    pub fn may_move(&self, from: usize) -> bool {
        self.owner == from && !self.fixed && !self.cost.is_zero()
    }
}

impl Board {
    /// Streams in the order of their numbers, and so many workers.
    pub fn new(streams: impl IntoIterator<Item = Entry>, workers: usize) -> Board {
        let workers = (0..workers).map(|_| Worked::default()).collect();
        Board { streams: streams.into_iter().collect(), workers }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Where the stream is served.
    pub fn path(&self, stream: usize) -> &str {
        &self.streams[stream].path
    }

    /// The worker that has the stream, or will have it before it reads what it is sent now.
    pub fn owner(&self, stream: usize) -> usize {
        self.streams[stream].owner.load(Ordering::Acquire)
    }

    /// The stream has been sent to another worker: what is sent there from now on finds it.
    pub fn given(&self, stream: usize, owner: usize) {
        self.streams[stream].owner.store(owner, Ordering::Release);
    }

    /// Whether the stream's viewers are spread over all workers.
    pub fn is_hot(&self, stream: usize) -> bool {
        self.streams[stream].hot
    }

    /// Whether somebody who wants the stream now is served, as far as can be known.
    pub fn is_available(&self, stream: usize) -> bool {
        self.streams[stream].status.is_available()
    }

    /// Switches the stream on or off: from now on nobody, or everybody, may enter. Answers whether
    /// that changes anything.
    pub fn switch(&self, stream: usize, on: bool) -> bool {
        let Entry { gate, metrics, .. } = &self.streams[stream];
        let changes = gate.switch(on);
        if changes {
            metrics.switched(on);
        }
        changes
    }

    /// Counts a request for the stream that was refused.
    pub fn refused(&self, stream: usize, reason: &str) {
        self.streams[stream].metrics.refused(reason);
    }

    /// Counts what a stream's turn took. For one in every worker nobody asks.
    pub fn spent(&self, stream: usize, took: Duration) {
        let Entry { hot, cost_ns, .. } = &self.streams[stream];
        if !hot {
            cost_ns.fetch_add(nanoseconds(took), Ordering::Relaxed);
        }
    }

    /// Counts what a worker had to do.
    pub fn worked(&self, worker: usize, took: Duration) {
        self.workers[worker].busy_ns.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    /// Counts a worker's turn, and the chunks it has sent, once for each viewer.
    pub fn turned(&self, worker: usize, chunks: u64, bytes: u64) {
        let of = &self.workers[worker];
        of.turns.fetch_add(1, Ordering::Relaxed);
        of.chunks.fetch_add(chunks, Ordering::Relaxed);
        of.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells what a worker's viewers ask of it.
    pub fn demands(&self, worker: usize, demand: Demand) {
        let of = &self.workers[worker];
        of.demand.store(demand.bytes_per_second, Ordering::Relaxed);
        of.viewers.store(demand.viewers, Ordering::Relaxed);
    }

    /// What every worker has told last.
    pub fn take_demands(&self) -> Vec<Demand> {
        let of = |worker: &Worked| Demand {
            bytes_per_second: worker.demand.load(Ordering::Relaxed),
            viewers: worker.viewers.load(Ordering::Relaxed),
        };
        self.workers.iter().map(of).collect()
    }

    /// What everybody had to do since the last time, which was so long ago.
    pub fn take_loads(&self, interval: Duration) -> Loads {
        let work: Vec<Work> = self.workers.iter().map(Worked::take).collect();
        let of_stream = |Entry { owner, cost_ns, hot, .. }: &Entry| {
            let cost = Duration::from_nanos(cost_ns.swap(0, Ordering::Relaxed));
            (owner.load(Ordering::Acquire), cost, *hot)
        };
        Loads::of(&work, self.streams.iter().map(of_stream), interval)
    }
}

impl Loads {
    /// Those of workers that have done so much, and of streams: the worker that has each, the time
    /// of its turns, and whether it stays there.
    pub fn of(
        work: &[Work],
        streams: impl Iterator<Item = (usize, Duration, bool)>,
        interval: Duration,
    ) -> Loads {
        let factors: Vec<f64> = work.iter().map(|work| work.in_common_turns(interval)).collect();
        let stream = |(owner, cost, fixed): (usize, Duration, bool)| StreamLoad {
            owner,
            cost: cost.mul_f64(factors[owner]),
            fixed,
        };
        let worker = |(work, factor): (&Work, &f64)| work.busy.mul_f64(*factor);
        Loads {
            workers: work.iter().zip(&factors).map(worker).collect(),
            streams: streams.map(stream).collect(),
        }
    }
}

fn nanoseconds(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}
