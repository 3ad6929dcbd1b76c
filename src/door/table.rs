//! Rules as they are looked up: by the longest prefix.
//!
//! Owns one state of the rules, which never changes; a change makes another table. What a rule has
//! decided is counted beyond tables. Driven by the keeper, read by the workers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::rules::Verdict;

/// What is known of a network.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    /// Connections that it was decided for.
    pub(super) hits: Arc<AtomicU64>,
}

/// The networks that a rule is about. Those of IPv6 hold no address of IPv4.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: PrefixMap<Ipv4Net, Decided>,
    v6: PrefixMap<Ipv6Net, Decided>,
}

impl Table {
    pub(super) fn new(rules: impl Iterator<Item = (IpNet, Decided)>) -> Table {
        let mut table = Table::default();
        for (network, decided) in rules {
            match network {
                IpNet::V4(network) => drop(table.v4.insert(network, decided)),
                IpNet::V6(network) => drop(table.v6.insert(network, decided)),
            }
        }
        table
    }

    /// The rule about a canonical address.
    pub(super) fn find(&self, address: IpAddr) -> Option<&Decided> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, decided)| decided),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, decided)| decided),
        }
    }
}
