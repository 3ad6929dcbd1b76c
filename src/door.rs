//! The door: who may connect at all, and how often.
//!
//! Owns the rules of the configuration and those of commands, which go first, and the rate of
//! sources that no rule is about. Where the kernel can it judges before there is a connection, and
//! drops without a word; where it cannot a worker judges when it has accepted. Never looks at what
//! a connection says: a rule is about the other end's address, which is the proxy's where there is
//! one. Connections that are made go on. Driven by boot, which opens it before anything listens.

mod accept;
mod keeper;
mod kernel;
mod listing;
mod missing;
mod rate;
mod rules;
mod state;
mod table;

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use restreamer_sys::door::{self as sys, LoadError};
use slog::{Logger, error, info, o, warn};

pub use accept::{Admission, AtAccept};
pub use keeper::{Changed, Keeper};
pub use listing::{Dropped, Listing, Place, Rate, RuleListing, Source};
pub use missing::Missing;
pub use rules::{By, Change, ChangeError, Verdict};

use crate::config;
use crate::limits::DOOR_RULES_MAX;
use crate::metrics::Metrics;
use kernel::Kernel;
use rules::Rules;
use state::{Found, Moment, Store};

/// The door, open: it judges what it is attached to, and nobody minds it yet.
#[derive(Debug)]
pub struct Door {
    keeper: Arc<Keeper>,
    steers: bool,
}

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The kernel is to keep it, and cannot.
    #[error("`door` is required to be in the kernel: {0}")]
    Required(Missing),
}

impl Door {
    /// Opens the door: loads the kernel's part, or says what is missing for it, and reads the state
    /// file. Needs what a start may do: capabilities, and files.
    pub fn open(
        config: &config::Door,
        workers: usize,
        metrics: &Metrics,
        log: &Logger,
    ) -> Result<Door, DoorError> {
        let log = log.new(o!("module" => "door"));
        let kernel = kernel::load(config, workers);
        let door = Door::with(config, kernel, state_path(config), log, Moment::now())?;
        let keeper = Arc::clone(&door.keeper);
        metrics.door(move || keeper.counts());
        Ok(door)
    }

    fn with(
        config: &config::Door,
        kernel: Result<sys::Door, LoadError>,
        state: Option<PathBuf>,
        log: Logger,
        now: Moment,
    ) -> Result<Door, DoorError> {
        let kernel = kernel.map(Kernel::new).map_err(Missing::from);
        let refused = |missing| Err(DoorError::Required(missing));
        let kernel = match kernel {
            Err(missing) if config.required => return refused(missing),
            kernel => kernel,
        };
        let mut rules = Rules::new(config, DOOR_RULES_MAX, now.instant);
        let store = state.map(|path| read_state(path, &mut rules, &log, now));
        if store.is_none() {
            info!(log, "what is changed at the door will be gone after a restart: there is \
                neither `state` nor STATE_DIRECTORY"; "event" => "door");
        }
        let kernel = match kernel.and_then(|kernel| with_rules(kernel, &rules)) {
            Err(missing) if config.required => return refused(missing),
            kernel => kernel,
        };
        match &kernel {
            Ok(_) => info!(log, "the kernel keeps the door"; "event" => "door"),
            Err(missing) => {
                warn!(log, "connections are judged when they have been accepted, since the kernel \
                    cannot keep the door: {missing}"; "event" => "door");
            }
        }
        let kernel = kernel.map_err(|missing| missing.why().to_owned());
        let keeper = Keeper::new(config, rules, kernel, store, log, now);
        keeper.prove_state(now);
        Ok(Door { keeper: Arc::new(keeper), steers: config.steer })
    }

    /// Has a listening socket judged by the kernel, where it keeps the door.
    pub fn attach(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.keeper.with_kernel(|door| door.attach(listener)).unwrap_or(Ok(()))
    }

    /// Takes away what an earlier run has left with a listening socket that was passed on to this
    /// one: its rules are nobody's any more.
    pub fn detach_leftover(listener: BorrowedFd<'_>) -> io::Result<()> {
        sys::detach(listener)
    }

    /// The kernel's door, for what steers by it; `None` where there is none, or it is not to.
    pub fn to_steer<R>(&self, act: impl FnOnce(&mut sys::Door) -> R) -> Option<R> {
        if self.steers { self.keeper.with_kernel(act) } else { None }
    }

    /// Whether it is the kernel that judges.
    pub fn in_kernel(&self) -> bool {
        self.keeper.in_kernel()
    }

    /// Has the door minded from now on, by a thread of its own.
    pub fn start(self) -> io::Result<Arc<Keeper>> {
        self.keeper.start()?;
        Ok(self.keeper)
    }
}

/// Where is kept what was changed while running: as configured, or else in the folder that the
/// service manager has made for the node (systemd.exec(5), `StateDirectory=`), if it has.
pub fn state_path(config: &config::Door) -> Option<PathBuf> {
    state_path_in(config, env::var_os("STATE_DIRECTORY").as_deref())
}

fn state_path_in(config: &config::Door, folders: Option<&OsStr>) -> Option<PathBuf> {
    // Several are told apart by colons.
    let first = folders.and_then(|folders| folders.as_bytes().split(|byte| *byte == b':').next());
    let folder = first.filter(|folder| !folder.is_empty()).map(OsStr::from_bytes);
    config.state.clone().or_else(|| Some(PathBuf::from(folder?).join("door.json")))
}

/// Enters the rules of the state file, and says what is wrong with it.
fn read_state(path: PathBuf, rules: &mut Rules, log: &Logger, now: Moment) -> Store {
    let (store, found) = Store::open(path);
    let path = store.path().display();
    let kept = match found {
        Found::Rules(kept) => kept,
        Found::Aside(why, aside) => {
            error!(log, "what was changed at the door is forgotten, {path} cannot be read: {why}; \
                it is kept as {}", aside.display(); "event" => "error", "error" => "door_state");
            Vec::new()
        }
        Found::InTheWay(why, error) => {
            error!(log, "what was changed at the door is forgotten, {path} cannot be read: {why}; \
                nor can it be moved: {error}"; "event" => "error", "error" => "door_state");
            Vec::new()
        }
    };
    let all = kept.len();
    let current: Vec<_> = kept.iter().filter_map(|kept| kept.restored(now)).collect();
    let expired = all - current.len();
    let entered = current
        .iter()
        .filter(|(network, commanded, hits)| rules.restore(*network, *commanded, *hits));
    let entered = entered.count();
    if entered < current.len() {
        error!(log, "{} rules of {path} are forgotten, since there is no room for them",
            current.len() - entered; "event" => "error", "error" => "door_state");
    }
    if all > 0 {
        info!(log, "{entered} rules of {path} hold again, {expired} have expired";
            "event" => "door");
    }
    store
}

/// Has the kernel judge by these rules.
fn with_rules(mut kernel: Kernel, rules: &Rules) -> Result<Kernel, Missing> {
    for (network, rule) in rules.iter() {
        if let Some(verdict) = rule.holds() {
            kernel.set(network, verdict).map_err(|error| Missing::of_rules(&error))?;
        }
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests;
