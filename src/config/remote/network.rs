//! The network's schemes: `tcp://`, `udp://` and `rtp://`.
//!
//! Owns their syntax. Never resolves a name. Driven by `remote`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::address::{self, AddressError, HostPort};
use super::{RemoteError, UrlError};

/// Where datagrams are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagrams {
    /// An address or a name of this machine, or a multicast group; `::` is all interfaces, IPv4
    /// and IPv6.
    pub address: HostPort,
    /// The one sender to be heard: a unicast IP address without brackets or zone. With it, the
    /// address is a multicast group of the same family (RFC 4607).
    pub source: Option<String>,
}

/// What is behind `tcp:`.
pub(super) fn tcp(rest: &str) -> Result<HostPort, RemoteError> {
    let form = RemoteError::Form { scheme: "tcp", form: "tcp://host:port" };
    if rest.contains('@') {
        return Err(RemoteError::Credentials("tcp"));
    }
    let address = rest.strip_prefix("//").ok_or_else(|| form.clone())?;
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.contains(['/', '?', '#']) {
        return Err(form);
    }
    if address.is_empty() {
        return Err(RemoteError::NoHost("tcp"));
    }
    let (host, port) = host_port("tcp", address)?;
    let host = host.ok_or(RemoteError::NoHost("tcp"))?.to_owned();
    Ok(HostPort { host, port })
}

/// What is behind the colon of `scheme`: `//host:port`, `//:port`, `//@group:port` (an empty source
/// means nothing: so VLC and ffmpeg write it) or `//source@group:port`.
pub(super) fn datagrams(
    scheme: &'static str,
    form: &'static str,
    rest: &str,
) -> Result<Datagrams, RemoteError> {
    let form = RemoteError::Form { scheme, form };
    let behind = rest.strip_prefix("//").ok_or_else(|| form.clone())?;
    let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
    let (authority, tail) = behind.split_at(end);
    let tail = tail.strip_prefix('/').unwrap_or(tail);
    if tail.starts_with('?') {
        return Err(RemoteError::Options(scheme));
    }
    if !tail.is_empty() {
        return Err(form);
    }
    let (source, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let source = source_address(scheme, source)?;
    let (host, port) = host_port(scheme, address)?;
    if let Some(source) = source {
        let group = host.and_then(address_of).filter(IpAddr::is_multicast);
        let group = group.ok_or(RemoteError::Group(scheme))?;
        if group.is_ipv4() != source.is_ipv4() {
            return Err(RemoteError::Families);
        }
    }
    let host = host.unwrap_or("::").to_owned();
    let source = source.map(|source| source.to_string());
    Ok(Datagrams { address: HostPort { host, port }, source })
}

/// What is in front of the `@`, if anything is.
fn source_address(scheme: &'static str, text: &str) -> Result<Option<IpAddr>, RemoteError> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text.strip_prefix('[').and_then(|behind| behind.strip_suffix(']'));
    let source = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
        None if text.parse::<Ipv6Addr>().is_ok() => return Err(RemoteError::NoBrackets(scheme)),
        None if text.contains(':') => return Err(RemoteError::Password(scheme)),
        None => text.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    let unicast = |source: &IpAddr| {
        !source.is_multicast() && !source.is_unspecified() && *source != Ipv4Addr::BROADCAST
    };
    source.ok().filter(unicast).map(Some).ok_or(RemoteError::Source(scheme))
}

/// The address that a host is, without its zone; `None` for a name.
fn address_of(host: &str) -> Option<IpAddr> {
    host.split('%').next().and_then(|address| address.parse().ok())
}

/// Host, if there is one, and port, which is not 0.
fn host_port<'a>(
    scheme: &'static str,
    address: &'a str,
) -> Result<(Option<&'a str>, u16), RemoteError> {
    // Errors of `address` quote the text, so they are said again in words that do not.
    let (host, port) = address::split(address).map_err(|error| match error {
        AddressError::Empty | AddressError::NoPort => RemoteError::NoPort(scheme),
        AddressError::NoBrackets => RemoteError::NoBrackets(scheme),
        AddressError::Host(_) => RemoteError::Host,
        AddressError::Port(_) | AddressError::Service(_) => UrlError::Port.into(),
    })?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port| digits && port != 0).ok_or(UrlError::Port)?;
    Ok((host, port))
}
