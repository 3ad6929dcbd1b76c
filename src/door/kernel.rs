//! The door in the kernel, as the keeper has it.
//!
//! Owns the programs and their maps, and what was read of them last. Never knows why a rule is what
//! it is. Driven by the keeper.

use std::io;
use std::time::Duration;

use ipnet::IpNet;
use restreamer_sys::door::{self, Counts, LoadError, Network, Rate, Settings};

use super::rules::{Plan, Verdict};
use crate::config;
use crate::limits::{DOOR_RULES_MAX, DOOR_SOURCES_MAX};

/// The programs and what is known of them.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) door: door::Door,
    /// Sources that there were when they were counted last, and how many had been entered by then.
    counted: (u64, u64),
}

impl Kernel {
    pub(super) fn new(door: door::Door) -> Kernel {
        Kernel { door, counted: (0, 0) }
    }

    /// Sets a rule, which has no hits then.
    pub(super) fn set(&mut self, network: IpNet, verdict: Verdict) -> io::Result<()> {
        let verdict = match verdict {
            Verdict::Allow => door::Verdict::Allow,
            Verdict::Deny => door::Verdict::Deny,
        };
        self.door.set(of_ipv6(network), verdict)
    }

    /// Makes a change, or none at all. Answers the hits that the rule has lost by it.
    pub(super) fn carry_out(&mut self, plan: &Plan) -> io::Result<u64> {
        if plan.was == plan.will {
            return Ok(0);
        }
        let hits = if plan.was.is_some() { self.hits(plan.network)? } else { 0 };
        match plan.will {
            Some(verdict) => self.set(plan.network, verdict)?,
            None => self.door.remove(of_ipv6(plan.network))?,
        }
        Ok(hits)
    }

    /// Hits of the rule about this network since it was set.
    pub(super) fn hits(&self, network: IpNet) -> io::Result<u64> {
        self.door.hits(of_ipv6(network))
    }

    /// What was counted, and how many sources there are, about.
    pub(super) fn counts(&self) -> io::Result<(Counts, u64)> {
        let counts = self.door.counts()?;
        let (left, entered) = self.counted;
        let sources = left.saturating_add(counts.sources.saturating_sub(entered));
        Ok((counts, sources.min(DOOR_SOURCES_MAX as u64)))
    }

    /// Forgets sources that have been within their rate for so long.
    pub(super) fn forget_idle(&mut self, idle: Duration) -> io::Result<()> {
        let entered = self.door.counts()?.sources;
        let left = self.door.forget_idle(idle)?;
        self.counted = (left as u64, entered);
        Ok(())
    }
}

/// Loads the programs for this door.
pub(super) fn load(config: &config::Door, workers: usize) -> Result<door::Door, LoadError> {
    let rate = |rate: config::DoorRate| Rate { interval: rate.interval(), burst: rate.burst };
    let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    door::Door::load(&Settings {
        rate: config.rate.map(rate),
        source_bits_v4: config.source_v4,
        source_bits_v6: config.source_v6,
        // One more: where all are taken, some kernels do not even change one.
        rules: few(DOOR_RULES_MAX + 1),
        sources: few(DOOR_SOURCES_MAX),
        workers: few(workers),
    })
}

/// A network as the kernel's rules have it.
fn of_ipv6(network: IpNet) -> Network {
    const MAPPED_BITS: u8 = 96;
    match network {
        IpNet::V4(four) => {
            Network { address: four.addr().to_ipv6_mapped(), bits: MAPPED_BITS + four.prefix_len() }
        }
        IpNet::V6(six) => Network { address: six.addr(), bits: six.prefix_len() },
    }
}
