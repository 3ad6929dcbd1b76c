//! The door where the kernel does not keep it: a connection is judged when it has been accepted. So
//! are those that waited at a listening socket before the kernel kept its door.
//!
//! Owns what the workers share for it: the table of rules, the times of sources, the counters. A
//! worker looks at a number, and takes another table when it has changed; it waits for nobody but
//! another worker, for as long as one source takes. Driven by the workers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::rate::{Gcra, SourceBits, Sources};
use super::rules::Verdict;
use super::table::{Decided, Table};
use crate::config;
use crate::limits::DOOR_SOURCES_MAX;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is served.
    Admitted,
    /// A rule denies it.
    Denied,
    /// Its source has made too many.
    OverRate,
}

/// What the workers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Changes after the table does.
    generation: AtomicU64,
    table: Mutex<Arc<Table>>,
    sources: Option<Mutex<Sources>>,
    /// From when sources' times are counted.
    begun: Instant,
    admitted: AtomicU64,
    denied: AtomicU64,
    over_rate: AtomicU64,
}

/// What was counted at accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AcceptCounts {
    pub(super) admitted: u64,
    pub(super) denied: u64,
    pub(super) over_rate: u64,
    pub(super) sources: u64,
}

impl Shared {
    pub(super) fn new(config: &config::Door, table: Table, now: Instant) -> Shared {
        let bits = SourceBits::new(config.source_v4, config.source_v6);
        let sources = config.rate.map(|rate| Sources::new(Gcra::new(rate), bits, DOOR_SOURCES_MAX));
        Shared {
            generation: AtomicU64::new(0),
            table: Mutex::new(Arc::new(table)),
            sources: sources.map(Mutex::new),
            begun: now,
            admitted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            over_rate: AtomicU64::new(0),
        }
    }

    /// Has the workers judge by another table.
    pub(super) fn set(&self, table: Table) {
        let table = Arc::new(table);
        // The old one is dropped behind the lock, by whoever is the last to have it.
        let _old = std::mem::replace(&mut *lock(&self.table), table);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// How many tables there have been since the first.
    #[cfg(test)]
    pub(super) fn changes(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&lock(&self.table))
    }

    /// Forgets sources that have been within their rate since `before`.
    pub(super) fn forget(&self, before: Instant) {
        if let Some(sources) = &self.sources {
            lock(sources).forget(self.nanoseconds(before));
        }
    }

    pub(super) fn counts(&self) -> AcceptCounts {
        AcceptCounts {
            admitted: self.admitted.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            over_rate: self.over_rate.load(Ordering::Relaxed),
            sources: self.sources.as_ref().map_or(0, |sources| lock(sources).len() as u64),
        }
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    fn judge(&self, table: &Table, peer: IpAddr, now: Instant) -> Admission {
        let peer = peer.to_canonical();
        if let Some(decided) = table.find(peer) {
            decided.hits.fetch_add(1, Ordering::Relaxed);
            return match decided.verdict {
                Verdict::Allow => Admission::Admitted,
                Verdict::Deny => Admission::Denied,
            };
        }
        let is_within = |sources: &Mutex<Sources>| lock(sources).admit(peer, self.nanoseconds(now));
        if self.sources.as_ref().is_none_or(is_within) {
            Admission::Admitted
        } else {
            Admission::OverRate
        }
    }

    fn count(&self, admission: Admission) {
        let counter = match admission {
            Admission::Admitted => &self.admitted,
            Admission::Denied => &self.denied,
            Admission::OverRate => &self.over_rate,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A lock that is held for some instructions only, none of which panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What those are judged by who came before the kernel kept the door. The rate is not for them: how
/// fast they came, nobody has seen.
#[derive(Clone, Debug)]
struct Early {
    table: Arc<Table>,
    denied: Arc<AtomicU64>,
}

impl Early {
    fn judge(&self, peer: IpAddr) -> Admission {
        match self.table.find(peer.to_canonical()) {
            Some(Decided { verdict: Verdict::Deny, hits }) => {
                hits.fetch_add(1, Ordering::Relaxed);
                self.denied.fetch_add(1, Ordering::Relaxed);
                Admission::Denied
            }
            _ => Admission::Admitted,
        }
    }
}

/// What a worker has of the door.
#[derive(Clone, Debug)]
pub struct AtAccept(Place);

#[derive(Clone, Debug)]
enum Place {
    /// `None`: nobody waits any more who came before it did.
    Kernel(Option<Early>),
    Accept {
        shared: Arc<Shared>,
        table: Arc<Table>,
        generation: u64,
    },
}

impl AtAccept {
    /// The kernel keeps the door. Who came before it did is judged by `table`, and counted when
    /// denied.
    pub(super) fn behind_the_kernel(table: Table, denied: Arc<AtomicU64>) -> AtAccept {
        AtAccept(Place::Kernel(Some(Early { table: Arc::new(table), denied })))
    }

    pub(super) fn new(shared: Arc<Shared>) -> AtAccept {
        // The number first: the table may be newer than it, but not older.
        let generation = shared.generation.load(Ordering::Acquire);
        AtAccept(Place::Accept { table: shared.table(), generation, shared })
    }

    /// What becomes of a connection from this address, which is counted.
    pub fn judge(&mut self, peer: IpAddr, now: Instant) -> Admission {
        let (shared, table, generation) = match &mut self.0 {
            Place::Accept { shared, table, generation } => (shared, table, generation),
            Place::Kernel(Some(early)) => return early.judge(peer),
            Place::Kernel(None) => return Admission::Admitted,
        };
        let latest = shared.generation.load(Ordering::Acquire);
        if *generation != latest {
            *table = shared.table();
            *generation = latest;
        }
        let admission = shared.judge(table, peer, now);
        shared.count(admission);
        admission
    }

    /// Whether the kernel has judged before anything is accepted: then an accepted socket has the
    /// listening one's filter, of which [`restreamer_sys::door::detach`] relieves it.
    pub fn in_kernel(&self) -> bool {
        matches!(self.0, Place::Kernel(_))
    }

    /// All have been taken who waited when this began: where the kernel keeps the door, it has
    /// judged everybody from now on.
    pub fn early_are_in(&mut self) {
        if let Place::Kernel(early) = &mut self.0 {
            *early = None;
        }
    }
}
