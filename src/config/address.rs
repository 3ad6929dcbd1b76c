//! Addresses as the file writes them: `host:port`, `:port`, `[v6]:port`; a port may be a service's
//! name.
//!
//! Owns their syntax and the table of service names. Never resolves a host. Driven by `check` and
//! `remote`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::excerpt::excerpt;
use crate::limits::{HOST_BYTES_MAX, SERVICES_FILE_BYTES_MAX};

/// Service names that work on every machine, with or without `/etc/services`.
const SERVICES: [(&str, u16); 3] = [("http", 80), ("https", 443), ("http-alt", 8080)];

/// An address to listen on. `Display` is what the file would say: `[::1]:80`, `:80`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address without brackets; `None` is all interfaces, IPv4 and IPv6.
    pub host: Option<String>,
    /// The port; 0 lets the kernel choose one.
    pub port: u16,
}

impl Listen {
    /// Whether both can surely not be bound at once. (Names are not resolved: a `false` proves
    /// nothing.)
    pub(super) fn clashes(&self, other: &Listen) -> bool {
        let host = |listen: &Listen| match listen.host.as_deref() {
            None | Some("0.0.0.0" | "::") => None,
            Some(name) => Some(name.to_ascii_lowercase()),
        };
        let (ours, theirs) = (host(self), host(other));
        let same_host = ours.is_none() || theirs.is_none() || ours == theirs;
        self.port != 0 && self.port == other.port && same_host
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    /// Reads an address as the command line has it; the port may be a service of this machine.
    fn from_str(text: &str) -> Result<Listen, AddressError> {
        parse(text, &system_service)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(f, self.host.as_deref().unwrap_or_default(), self.port)
    }
}

/// A host and a port to connect to or to receive at. `Display` is `host:port` or `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(f, &self.host, self.port)
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The empty string.
    #[error("is empty, expected host:port or :port")]
    Empty,
    /// No colon, or nothing behind it.
    #[error("needs a port, as in localhost:8000")]
    NoPort,
    /// Several colons outside brackets.
    #[error("an IPv6 address needs brackets, as in [::1]:8000")]
    NoBrackets,
    /// Neither a host name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// A number beyond 65535.
    #[error("port {0} is not within 0 and 65535")]
    Port(String),
    /// A name that no table has.
    #[error("unknown service name `{0}`")]
    Service(String),
}

/// Parses an address to listen on.
pub(super) fn parse(
    text: &str,
    services: &dyn Fn(&str) -> Option<u16>,
) -> Result<Listen, AddressError> {
    let (host, port) = split(text)?;
    Ok(Listen { host: host.map(str::to_owned), port: parse_port(port, services)? })
}

/// Host (checked, without brackets, `None` when empty) and port (not empty, not checked).
pub(super) fn split(text: &str) -> Result<(Option<&str>, &str), AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(AddressError::NoBrackets)?;
        let address = host.split_once('%').map_or(host, |(address, _zone)| address);
        if address.parse::<Ipv6Addr>().is_err() || !host.bytes().all(is_host_byte) {
            return Err(AddressError::Host(excerpt(host)));
        }
        (host, after.strip_prefix(':').ok_or(AddressError::NoPort)?)
    } else {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        if host.contains(':') {
            return Err(AddressError::NoBrackets);
        }
        if !is_host(host) {
            return Err(AddressError::Host(excerpt(host)));
        }
        (host, port)
    };
    if port.is_empty() {
        return Err(AddressError::NoPort);
    }
    Ok((Some(host).filter(|host| !host.is_empty()), port))
}

/// Whether it is empty, an IPv4 address, or can be a host name. What consists of digits and dots
/// only would never resolve as a name.
fn is_host(host: &str) -> bool {
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let name = host.len() <= HOST_BYTES_MAX
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    host.is_empty() || if numeric { host.parse::<Ipv4Addr>().is_ok() } else { name }
}

/// What an IPv6 address and its zone (an interface's name or number) consist of.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":.%-_".contains(&byte)
}

fn parse_port(text: &str, services: &dyn Fn(&str) -> Option<u16>) -> Result<u16, AddressError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| AddressError::Port(excerpt(text)));
    }
    let built_in = SERVICES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let port = built_in.map(|&(_, port)| port).or_else(|| services(text));
    port.ok_or_else(|| AddressError::Service(excerpt(text)))
}

/// The TCP port of a service by `/etc/services`; `None` too when that cannot be read.
pub fn system_service(name: &str) -> Option<u16> {
    let mut text = String::new();
    let file = File::open("/etc/services").ok()?;
    file.take(SERVICES_FILE_BYTES_MAX as u64).read_to_string(&mut text).ok()?;
    find_service(&text, name)
}

/// Looks a name or an alias up in the text of `/etc/services`, tcp lines only (services(5)).
fn find_service(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let service = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        let named = std::iter::once(service).chain(words).any(|n| n.eq_ignore_ascii_case(name));
        if named { port.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests;
