//! The rules: what is known of each network, and by whom.
//!
//! Owns which rule holds for a network, and since when and until when. Never counts, never looks an
//! address up, and does nothing: a change is planned, carried out by the keeper, and then entered.
//! Time is passed in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::table::{Decided, Table};
use crate::config::{self, canonical};
use crate::limits::{DOOR_LASTING_MAX, DOOR_LASTING_MIN};

/// What becomes of those whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They come in, at whatever rate.
    Allow,
    /// They do not.
    Deny,
}

impl Verdict {
    /// As commands and the configuration have it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        }
    }
}

/// Whose rule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The configuration's.
    Configuration,
    /// That of somebody who gave a command.
    Command,
}

/// What somebody wants to have otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Refuse these; for ever, if no time is given.
    Deny {
        /// Whom.
        network: IpNet,
        /// For how long.
        lasting: Option<Duration>,
    },
    /// Take these, at whatever rate.
    Allow {
        /// Whom.
        network: IpNet,
        /// For how long.
        lasting: Option<Duration>,
    },
    /// Forget what a command has said about these.
    Remove {
        /// Whom.
        network: IpNet,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, network, lasting) = match self {
            Change::Deny { network, lasting } => (Verdict::Deny.word(), network, lasting),
            Change::Allow { network, lasting } => (Verdict::Allow.word(), network, lasting),
            Change::Remove { network } => ("remove", network, &None),
        };
        write!(f, "{word} {}", canonical(*network))?;
        lasting.map_or(Ok(()), |lasting| write!(f, " for {} s", lasting.as_secs()))
    }
}

/// Why there is no change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing to remove.
    #[error("no rule is about {0}")]
    NotThere(IpNet),
    /// What is to be removed is the configuration's.
    #[error(
        "the configuration has `{}` for {network}, which cannot be removed while the node runs: \
        `{}` it, which goes first",
        .verdict.word(), .verdict.opposite().word()
    )]
    OfConfiguration {
        /// Whom it is about.
        network: IpNet,
        /// What it says.
        verdict: Verdict,
    },
    /// As many rules as there may be.
    #[error("there are {0} rules already, which is as many as there may be")]
    Full(usize),
    /// A time that makes no sense.
    #[error(
        "a rule lasts for {} to {} seconds, or for ever if no time is given",
        DOOR_LASTING_MIN.as_secs(), DOOR_LASTING_MAX.as_secs()
    )]
    Lasting,
    /// The kernel refuses it; nothing has changed.
    #[error("the kernel refuses the rule about {network}, nothing has changed: {source}")]
    Kernel {
        /// Whom it is about.
        network: IpNet,
        /// What the kernel says.
        source: std::io::Error,
    },
}

impl Verdict {
    fn opposite(self) -> Verdict {
        match self {
            Verdict::Allow => Verdict::Deny,
            Verdict::Deny => Verdict::Allow,
        }
    }
}

/// When a rule was made, by a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// An instant of this run.
    at: Instant,
    /// How old it was then.
    age: Duration,
}

impl Since {
    pub(super) fn new(now: Instant, age: Duration) -> Since {
        Since { at: now, age }
    }

    pub(super) fn age(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).saturating_add(self.age)
    }
}

/// What a command has said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commanded {
    pub(super) verdict: Verdict,
    pub(super) since: Since,
    /// `None` is for ever.
    pub(super) expires: Option<Instant>,
}

/// What is known of a network: one of the two at least.
#[derive(Debug, Default)]
pub(super) struct Rule {
    configured: Option<Verdict>,
    pub(super) commanded: Option<Commanded>,
    /// Connections that were decided by it; where the kernel counts, those before it began anew.
    pub(super) hits: Arc<AtomicU64>,
}

impl Rule {
    /// The rule that holds.
    pub(super) fn holds(&self) -> Option<Verdict> {
        self.commanded.map(|commanded| commanded.verdict).or(self.configured)
    }
}

/// A change that can be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) network: IpNet,
    /// What held so far.
    pub(super) was: Option<Verdict>,
    /// What is to hold.
    pub(super) will: Option<Verdict>,
    commanded: Option<Commanded>,
}

/// All rules, by network.
#[derive(Debug)]
pub(super) struct Rules {
    of: BTreeMap<IpNet, Rule>,
    begun: Instant,
    most: usize,
}

impl Rules {
    /// Those of the configuration, which hold from now on. Room for `most` in all.
    pub(super) fn new(config: &config::Door, most: usize, now: Instant) -> Rules {
        let rule = |verdict| Rule { configured: Some(verdict), ..Rule::default() };
        let denied = config.deny.iter().map(|network| (*network, rule(Verdict::Deny)));
        let allowed = config.allow.iter().map(|network| (*network, rule(Verdict::Allow)));
        Rules { of: denied.chain(allowed).collect(), begun: now, most }
    }

    /// What a change comes to, unless it cannot be.
    pub(super) fn plan(&self, change: &Change, now: Instant) -> Result<Plan, ChangeError> {
        let (network, said) = match *change {
            Change::Deny { network, lasting } => (network, Some((Verdict::Deny, lasting))),
            Change::Allow { network, lasting } => (network, Some((Verdict::Allow, lasting))),
            Change::Remove { network } => (network, None),
        };
        let network = canonical(network);
        match said {
            Some((verdict, lasting)) => self.plan_to_set(network, verdict, lasting, now),
            None => self.plan_to_remove(network),
        }
    }

    fn plan_to_set(
        &self,
        network: IpNet,
        verdict: Verdict,
        lasting: Option<Duration>,
        now: Instant,
    ) -> Result<Plan, ChangeError> {
        let bounds = DOOR_LASTING_MIN..=DOOR_LASTING_MAX;
        if lasting.is_some_and(|lasting| !bounds.contains(&lasting)) {
            return Err(ChangeError::Lasting);
        }
        if !self.of.contains_key(&network) && self.of.len() >= self.most {
            return Err(ChangeError::Full(self.of.len()));
        }
        let expires = lasting.map(|lasting| now + lasting);
        let commanded = Commanded { verdict, since: Since::new(now, Duration::ZERO), expires };
        Ok(self.planned(network, Some(commanded)))
    }

    fn plan_to_remove(&self, network: IpNet) -> Result<Plan, ChangeError> {
        match self.of.get(&network) {
            None => Err(ChangeError::NotThere(network)),
            Some(Rule { commanded: None, configured: Some(verdict), .. }) => {
                Err(ChangeError::OfConfiguration { network, verdict: *verdict })
            }
            Some(_) => Ok(self.planned(network, None)),
        }
    }

    fn planned(&self, network: IpNet, commanded: Option<Commanded>) -> Plan {
        let rule = self.of.get(&network);
        let configured = rule.and_then(|rule| rule.configured);
        Plan {
            network,
            was: rule.and_then(Rule::holds),
            will: commanded.map(|commanded| commanded.verdict).or(configured),
            commanded,
        }
    }

    /// What ends what has expired.
    pub(super) fn expired(&self, now: Instant) -> Vec<Plan> {
        let over = |rule: &Rule| {
            let expires = rule.commanded.and_then(|commanded| commanded.expires);
            expires.is_some_and(|expires| expires <= now)
        };
        let expired = self.of.iter().filter(|(_, rule)| over(rule));
        expired.map(|(network, _)| self.planned(*network, None)).collect()
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.of.values().filter_map(|rule| rule.commanded?.expires).min()
    }

    /// Enters what was carried out.
    pub(super) fn enter(&mut self, plan: &Plan) {
        let rule = self.of.entry(plan.network).or_default();
        rule.commanded = plan.commanded;
        if rule.holds().is_none() {
            self.of.remove(&plan.network);
        }
    }

    /// Enters what a command has said in an earlier run, with the hits it had. Answers whether
    /// there was room.
    pub(super) fn restore(&mut self, network: IpNet, commanded: Commanded, hits: u64) -> bool {
        if !self.of.contains_key(&network) && self.of.len() >= self.most {
            return false;
        }
        let rule = self.of.entry(network).or_default();
        rule.commanded = Some(commanded);
        rule.hits = Arc::new(AtomicU64::new(hits));
        true
    }

    /// Every network, in order, with what is known of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, &Rule)> {
        self.of.iter().map(|(network, rule)| (*network, rule))
    }

    pub(super) fn get(&self, network: IpNet) -> Option<&Rule> {
        self.of.get(&network)
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// Whose rule holds, and for how long it has.
    pub(super) fn origin(&self, rule: &Rule, now: Instant) -> (By, Duration) {
        match rule.commanded {
            Some(commanded) => (By::Command, commanded.since.age(now)),
            None => (By::Configuration, now.saturating_duration_since(self.begun)),
        }
    }

    /// What is looked up at accept.
    pub(super) fn table(&self) -> Table {
        let decided = |(network, rule): (IpNet, &Rule)| {
            let hits = Arc::clone(&rule.hits);
            rule.holds().map(|verdict| (network, Decided { verdict, hits }))
        };
        Table::new(self.iter().filter_map(decided))
    }
}

#[cfg(test)]
mod tests;
