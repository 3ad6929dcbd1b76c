//! `statistics`, as the contract has it.

use serde::Serialize;

use super::Node;
use super::rates::Passed;
use crate::stream::admission::Limits;

/// What has passed through the node, in all and in the last second.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Statistics {
    status: &'static str,
    connections: usize,
    /// The hard limit; 0 is none.
    max_connections: usize,
    /// The soft limit; 0 is none.
    full_connections: usize,
    total_packets_received: u64,
    total_packets_sent: u64,
    total_packets_dropped: u64,
    total_bytes_received: u64,
    total_bytes_sent: u64,
    total_bytes_dropped: u64,
    /// Time that viewers were connected, added up.
    total_stream_time_ns: u64,
    packets_per_second_received: u64,
    packets_per_second_sent: u64,
    packets_per_second_dropped: u64,
    bytes_per_second_received: u64,
    bytes_per_second_sent: u64,
    bytes_per_second_dropped: u64,
}

/// The statistics of a node: the totals as of now, the rates as of the last measurement.
pub fn of(node: &Node) -> Statistics {
    let limits = node.admission.limits();
    let connections = node.admission.viewers();
    let total: Passed = super::rates::sample(&node.streams).into_iter().sum();
    let rate = node.rates().all();
    let time = node.streams.iter().map(|shown| shown.metrics.duration_ns()).sum();
    Statistics {
        status: status(connections, limits),
        connections,
        max_connections: limits.hard.unwrap_or(0),
        full_connections: limits.soft.unwrap_or(0),
        total_packets_received: total.packets_received,
        total_packets_sent: total.packets_sent,
        total_packets_dropped: total.packets_dropped,
        total_bytes_received: total.received,
        total_bytes_sent: total.sent,
        total_bytes_dropped: total.dropped,
        total_stream_time_ns: time,
        packets_per_second_received: rate.packets_received,
        packets_per_second_sent: rate.packets_sent,
        packets_per_second_dropped: rate.packets_dropped,
        bytes_per_second_received: rate.received,
        bytes_per_second_sent: rate.sent,
        bytes_per_second_dropped: rate.dropped,
    }
}

/// "overload" at the hard limit, "full" from the soft limit on.
fn status(viewers: usize, limits: Limits) -> &'static str {
    match (limits.are_reached(viewers), limits.make_full(viewers)) {
        (true, _) => "overload",
        (false, true) => "full",
        (false, false) => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_at_the_hard_limit_and_full_from_the_soft_one_on() {
        for (viewers, soft, hard, expected) in [
            (1_000_000, None, None, "ok"),
            (9, Some(10), Some(20), "ok"),
            (10, Some(10), Some(20), "full"),
            (19, Some(10), Some(20), "full"),
            (20, Some(10), Some(20), "overload"),
            (20, Some(30), Some(20), "overload"),
        ] {
            let limits = Limits { hard, soft, per_address: None };
            assert_eq!(status(viewers, limits), expected, "{viewers} {soft:?} {hard:?}");
        }
    }
}
