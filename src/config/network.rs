//! Networks of addresses, as people write them.
//!
//! Owns how a network is read, and the one form in which two are compared. Driven by `check`, and
//! by whoever is given a network while the node runs.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// How many leading bits say that an IPv6 address is one of IPv4 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network as in `10.0.0.0/8`, or one address; as it is written, see [`canonical`].
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

/// Bits behind the prefix are cut off, as in 10.1.2.3/8; a network of IPv4 addresses mapped into
/// IPv6 is one of IPv4 addresses, as its members are wherever one is compared with it.
pub fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED_BITS));
    let four = four.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    four.map_or(network, IpNet::V4)
}
