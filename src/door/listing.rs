//! What the door tells of itself.
//!
//! Owns the shape of the answer, as the side port gives it in JSON.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use super::rules::{By, Verdict};

/// The door, its rules and what it has counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// Who judges.
    pub place: Place,
    /// Why it is not the kernel.
    pub missing: Option<String>,
    /// How many new connections a source may make.
    pub rate: Option<Rate>,
    /// How many leading bits of an address make a source.
    pub source: Source,
    /// Connections that were let in.
    pub admitted: u64,
    /// Attempts that were not, by reason.
    pub dropped: Dropped,
    /// Sources whose rate is known.
    pub sources: u64,
    /// How many of them there may be.
    pub sources_max: usize,
    /// How many rules there may be.
    pub rules_max: usize,
    /// Where is kept what was changed while running.
    pub state: Option<PathBuf>,
    /// Whether all that was changed is there after a restart.
    pub saved: bool,
    /// By network.
    pub rules: Vec<RuleListing>,
}

/// Who judges connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The kernel, before there is a connection.
    Kernel,
    /// The worker that has accepted it.
    Accept,
}

/// How many new connections a source may make.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// In the long run.
    pub per_second: f64,
    /// At once.
    pub burst: u32,
}

/// How many leading bits of an address make a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

/// Attempts that were not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// A rule has denied them.
    pub denied: u64,
    /// Their source had made too many.
    pub rate: u64,
}

/// A rule that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleListing {
    /// Whom it is about.
    pub network: IpNet,
    /// What becomes of them.
    pub verdict: Verdict,
    /// Whose rule it is.
    pub by: By,
    /// How old it is: one of the configuration as old as the run.
    pub age_seconds: u64,
    /// What is left of it, rounded up; `None` is for ever.
    pub expires_in_seconds: Option<u64>,
    /// Connections that were decided by it.
    pub hits: u64,
}
