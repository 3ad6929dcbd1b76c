//! One entry of `NO_PROXY`: whom no proxy leads to.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// Addresses that are reached straight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    /// `*`
    All,
    /// `10.0.0.0/8`
    Network(IpNet),
    /// `10.1.2.3`, `10.1.2.3:8080`, `[fd00::1]:8080`
    Address(IpAddr, Option<u16>),
    /// `example.org` and `example.org:8080` (sub-domains, too), `.example.org` and `*.example.org`
    /// (sub-domains only).
    Name {
        /// What a sub-domain ends with, dot included.
        suffix: String,
        /// Whether the name itself is meant as well.
        itself: bool,
        port: Option<u16>,
    },
}

impl Exception {
    /// `None`: it fits nothing.
    pub(super) fn parse(entry: &str) -> Option<Exception> {
        if entry == "*" {
            return Some(Exception::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Exception::Network(network));
        }
        if let Some(address) = address(entry) {
            return Some(Exception::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Some(address) = address(host) {
            return Some(Exception::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let (name, itself) = match host.strip_prefix('.') {
            Some(name) => (name, false),
            None => (host, true),
        };
        // As the host of an address is written: in small letters and Punycode.
        let Ok(Host::Domain(name)) = Host::parse(name) else { return None };
        Some(Exception::Name { suffix: format!(".{name}"), itself, port })
    }

    pub(super) fn is_for(&self, host: &Host<&str>, port: u16) -> bool {
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(address.to_canonical()),
        };
        match (self, host) {
            (Exception::All, _) => true,
            (Exception::Network(network), _) => {
                address.is_some_and(|address| network.contains(&address))
            }
            (Exception::Address(ours, only), _) => {
                address == Some(*ours) && only.is_none_or(|only| only == port)
            }
            (Exception::Name { suffix, itself, port: only }, Host::Domain(name)) => {
                let named = name.ends_with(suffix) || (*itself && *name == &suffix[1..]);
                named && only.is_none_or(|only| only == port)
            }
            (Exception::Name { .. }, _) => false,
        }
    }
}

/// An IP address, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = inner.unwrap_or(text).parse().ok()?;
    Some(address.to_canonical())
}
