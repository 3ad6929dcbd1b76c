//! `/health`, as the contract has it.

use serde::Serialize;

use super::Node;

/// The node's health.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Health {
    status: &'static str,
    viewer: usize,
    /// The soft limit; 0 is none.
    limit: usize,
    /// The hard limit; 0 is none.
    max: usize,
    /// Sent to viewers in the last second, kbit/s of 1024 bit.
    bandwidth: u64,
}

/// The health of a node.
pub fn of(node: &Node) -> Health {
    let viewer = node.admission.viewers();
    let limits = node.admission.limits();
    Health {
        status: if limits.make_full(viewer) { "full" } else { "ok" },
        viewer,
        limit: limits.soft.unwrap_or(0),
        max: limits.hard.unwrap_or(0),
        bandwidth: node.rates().all().sent * 8 / 1024,
    }
}
