//! Keeps the rules while the node runs.
//!
//! Owns the rules, whoever judges by them: what the kernel and the workers have is made from what
//! is here. A change is carried out, entered and written before it is answered. Its thread, `door`,
//! ends what has expired and forgets idle sources. A worker never waits for anything that is done
//! here. Driven by the side port, and by boot.

mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use restreamer_sys::door as sys;
use slog::{Logger, error};

use super::accept::{AtAccept, Shared};
use super::kernel::Kernel;
use super::listing::{Dropped, Listing, Place, Rate, RuleListing, Source};
use super::rules::{Change, ChangeError, Plan, Rule, Rules, Verdict};
use super::state::{Kept, Moment, Store};
use crate::config;
use crate::limits::{DOOR_RULES_MAX, DOOR_SOURCES_MAX};
use crate::metrics::DoorCounts;

/// Keeps the rules; shared by all who ask or change them.
#[derive(Debug)]
pub struct Keeper {
    config: config::Door,
    /// Why the kernel does not keep the door.
    missing: Option<String>,
    /// Where it does not.
    accept: Option<Arc<Shared>>,
    /// Denied by a worker, since they came before the kernel kept the door.
    denied_early: Arc<AtomicU64>,
    book: Mutex<Book>,
    /// The thread has something to do earlier than it knew, or is to end.
    wake: Condvar,
    log: Logger,
}

/// What only one may touch at a time; no worker is among them.
#[derive(Debug)]
struct Book {
    rules: Rules,
    kernel: Option<Kernel>,
    store: Option<Store>,
    /// What was read last, for when nothing can be read.
    counts: DoorCounts,
    over: bool,
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whom it is about, in the form that the listing has.
    pub network: IpNet,
    /// What holds now; `None`: no rule is about them any more.
    pub verdict: Option<Verdict>,
    /// Whether it is there after a restart.
    pub saved: bool,
}

impl Keeper {
    pub(super) fn new(
        config: &config::Door,
        rules: Rules,
        kernel: Result<Kernel, String>,
        store: Option<Store>,
        log: Logger,
        now: Moment,
    ) -> Keeper {
        let (kernel, missing) = match kernel {
            Ok(kernel) => (Some(kernel), None),
            Err(missing) => (None, Some(missing)),
        };
        let shared = || Arc::new(Shared::new(config, rules.table(), now.instant));
        let accept = kernel.is_none().then(shared);
        let counts = DoorCounts { in_kernel: kernel.is_some(), ..DoorCounts::default() };
        let book = Book { rules, kernel, store, counts, over: false };
        let config = config.clone();
        let denied_early = Arc::default();
        let (book, wake) = (book.into(), Condvar::new());
        Keeper { config, missing, accept, denied_early, book, wake, log }
    }

    /// What a worker judges by.
    pub fn at_accept(&self) -> AtAccept {
        if let Some(shared) = &self.accept {
            return AtAccept::new(Arc::clone(shared));
        }
        let table = self.book().rules.table();
        AtAccept::behind_the_kernel(table, Arc::clone(&self.denied_early))
    }

    /// Whether it is the kernel that judges.
    pub fn in_kernel(&self) -> bool {
        self.accept.is_none()
    }

    /// Changes the rules. When this answers, the change holds; and when that says that it is saved,
    /// it is on the disk. Who asked is to log it: only they know for whom.
    pub fn change(&self, change: &Change) -> Result<Changed, ChangeError> {
        self.change_at(change, Moment::now())
    }

    fn change_at(&self, change: &Change, now: Moment) -> Result<Changed, ChangeError> {
        let mut book = self.book();
        let plan = book.rules.plan(change, now.instant)?;
        book.carry_out(&plan)
            .map_err(|source| ChangeError::Kernel { network: plan.network, source })?;
        self.tell_workers(&book);
        let saved = self.save(&mut book, now);
        drop(book);
        self.wake.notify_one();
        Ok(Changed { network: plan.network, verdict: plan.will, saved })
    }

    /// Has the workers judge by the rules as they are, where it is they who judge. It takes a look
    /// at each of them: once for all that has changed.
    fn tell_workers(&self, book: &Book) {
        if let Some(shared) = &self.accept {
            shared.set(book.rules.table());
        }
    }

    /// Writes what commands have said. Answers whether all of it is there after a restart.
    fn save(&self, book: &mut Book, now: Moment) -> bool {
        let kept = self.kept(book, now);
        let Some(store) = &mut book.store else {
            return kept.is_empty();
        };
        match store.write(&kept, now) {
            Ok(()) => true,
            Err(why) => {
                error!(
                    self.log,
                    "what was changed at the door will be gone after a restart: {} cannot be \
                    written: {why}", store.path().display();
                    "event" => "error", "error" => "door_state"
                );
                false
            }
        }
    }

    /// Writes the state file as it is, so that it shows now, and not with the first change, whether
    /// it can be.
    pub(super) fn prove_state(&self, now: Moment) {
        let mut book = self.book();
        if book.store.is_some() {
            self.save(&mut book, now);
        }
    }

    fn kept(&self, book: &Book, now: Moment) -> Vec<Kept> {
        let mut complaint = None;
        let kept = book.rules.iter().filter_map(|(network, rule)| {
            let commanded = rule.commanded.as_ref()?;
            let hits = book.hits(network, rule, &mut complaint);
            Some(Kept::new(network, commanded, hits, now))
        });
        let kept = kept.collect();
        self.complain(complaint);
        kept
    }

    /// All that there is to know.
    pub fn list(&self) -> Listing {
        self.list_at(Instant::now())
    }

    fn list_at(&self, now: Instant) -> Listing {
        let mut book = self.book();
        let counts = self.count(&mut book);
        let mut complaint = None;
        let mut rules = Vec::with_capacity(book.rules.len());
        for (network, rule) in book.rules.iter() {
            let (by, age) = book.rules.origin(rule, now);
            let expires = rule.commanded.and_then(|commanded| commanded.expires);
            let hits = book.hits(network, rule, &mut complaint);
            rules.extend(rule.holds().map(|verdict| RuleListing {
                network,
                verdict,
                by,
                age_seconds: age.as_secs(),
                expires_in_seconds: expires.map(|expires| whole_seconds(expires, now)),
                hits,
            }));
        }
        self.complain(complaint);
        Listing {
            place: if counts.in_kernel { Place::Kernel } else { Place::Accept },
            missing: self.missing.clone(),
            rate: self
                .config
                .rate
                .map(|rate| Rate { per_second: rate.per_second, burst: rate.burst }),
            source: Source { v4: self.config.source_v4, v6: self.config.source_v6 },
            admitted: counts.admitted,
            dropped: Dropped { denied: counts.denied, rate: counts.over_rate },
            sources: counts.sources,
            sources_max: DOOR_SOURCES_MAX,
            rules_max: DOOR_RULES_MAX,
            state: book.store.as_ref().map(|store| store.path().to_owned()),
            saved: book.is_saved(),
            rules,
        }
    }

    /// Where is kept what was changed while running.
    pub fn state(&self) -> Option<PathBuf> {
        self.book().store.as_ref().map(|store| store.path().to_owned())
    }

    /// What was counted so far.
    pub fn counts(&self) -> DoorCounts {
        self.count(&mut self.book())
    }

    fn count(&self, book: &mut Book) -> DoorCounts {
        let rules = book.rules.len() as u64;
        if let Some(shared) = &self.accept {
            let counts = shared.counts();
            book.counts = DoorCounts {
                admitted: counts.admitted,
                denied: counts.denied,
                over_rate: counts.over_rate,
                sources: counts.sources,
                ..book.counts
            };
        }
        match book.kernel.as_ref().map(Kernel::counts) {
            Some(Ok((counts, sources))) => {
                book.counts = DoorCounts {
                    admitted: counts.admitted,
                    denied: counts.denied + self.denied_early.load(Ordering::Relaxed),
                    over_rate: counts.over_rate,
                    steered: counts.steered,
                    migrated: counts.migrated,
                    sources,
                    ..book.counts
                };
            }
            Some(Err(error)) => self.complain(Some(error)),
            None => {}
        }
        book.counts.rules = rules;
        book.counts
    }

    /// Gives the kernel's door to who steers by it; `None` where there is none.
    pub fn with_kernel<R>(&self, act: impl FnOnce(&mut sys::Door) -> R) -> Option<R> {
        self.book().kernel.as_mut().map(|kernel| act(&mut kernel.door))
    }

    /// What the kernel could not be asked; what was known before is told instead.
    fn complain(&self, complaint: Option<io::Error>) {
        if let Some(why) = complaint {
            error!(self.log, "the kernel does not tell what it has counted at the door: {why}";
                "event" => "error", "error" => "door_counts");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Has the kernel judge by a plan, where it does, and enters it; or changes nothing.
    fn carry_out(&mut self, plan: &Plan) -> io::Result<()> {
        let lost = match &mut self.kernel {
            Some(kernel) => kernel.carry_out(plan)?,
            None => 0,
        };
        if let Some(rule) = self.rules.get(plan.network) {
            rule.hits.fetch_add(lost, Ordering::Relaxed);
        }
        self.rules.enter(plan);
        Ok(())
    }

    /// Hits of a rule, in the kernel and before; the first complaint is kept.
    fn hits(&self, network: IpNet, rule: &Rule, complaint: &mut Option<io::Error>) -> u64 {
        let before = rule.hits.load(Ordering::Relaxed);
        match self.kernel.as_ref().map(|kernel| kernel.hits(network)) {
            Some(Ok(hits)) => before.saturating_add(hits),
            Some(Err(error)) => {
                complaint.get_or_insert(error);
                before
            }
            None => before,
        }
    }

    /// Whether all that was changed is there after a restart.
    fn is_saved(&self) -> bool {
        match &self.store {
            Some(store) => store.is_saved(),
            None => self.rules.iter().all(|(_, rule)| rule.commanded.is_none()),
        }
    }
}

/// What is left until an instant, rounded up.
fn whole_seconds(until: Instant, now: Instant) -> u64 {
    let left = until.saturating_duration_since(now);
    left.saturating_add(Duration::from_nanos(999_999_999)).as_secs()
}

#[cfg(test)]
mod tests;
