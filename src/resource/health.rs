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
        status: status(viewer, limits.soft, limits.hard),
        viewer,
        limit: limits.soft.unwrap_or(0),
        max: limits.hard.unwrap_or(0),
        bandwidth: node.rates().all().sent * 8 / 1024,
    }
}

/// "full" from the soft or the hard limit on.
fn status(viewers: usize, soft: Option<usize>, hard: Option<usize>) -> &'static str {
    let reached = |limit: Option<usize>| limit.is_some_and(|limit| viewers >= limit);
    if reached(soft) || reached(hard) { "full" } else { "ok" }
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn full_from_either_limit_on() {
        for (viewers, soft, hard, expected) in [
            (1_000_000, None, None, "ok"),
            (9, Some(10), None, "ok"),
            (10, Some(10), None, "full"),
            (10, Some(20), Some(10), "full"),
            (0, None, Some(1), "ok"),
        ] {
            assert_eq!(status(viewers, soft, hard), expected, "{viewers} {soft:?} {hard:?}");
        }
    }
}
