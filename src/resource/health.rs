//! `/health`, as the contract has it.

use serde::Serialize;

use super::Node;

/// The node's health.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Health {
    /// "ok", "full" or, which is not the original's, "draining".
    status: &'static str,
    viewer: usize,
    /// The soft limit; 0 is none.
    limit: usize,
    /// The hard limit; 0 is none.
    max: usize,
    /// Sent to viewers in the last second, kbit/s of 1024 bit.
    bandwidth: u64,
}

impl Health {
    /// Whether those who choose among nodes may choose this one.
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

fn status(drains: bool, full: bool) -> &'static str {
    match (drains, full) {
        (true, _) => "draining",
        (false, true) => "full",
        (false, false) => "ok",
    }
}

/// The health of a node.
pub fn of(node: &Node) -> Health {
    let viewer = node.admission.viewers();
    let limits = node.admission.limits();
    Health {
        status: status(node.drains(), limits.make_full(viewer)),
        viewer,
        limit: limits.soft.unwrap_or(0),
        max: limits.hard.unwrap_or(0),
        bandwidth: node.rates().all().sent * 8 / 1024,
    }
}
