//! PROXY protocol headers, versions 1 and 2: whose connection a balancer has passed on.
//!
//! The sections named are those of the protocol's specification, `doc/proxy-protocol.txt` of
//! `HAProxy`. Owns how far the bytes of a connection lead; never asks whether their sender is to be
//! believed. Driven by whoever reads a connection's first bytes.

use std::net::{IpAddr, SocketAddr};

use crate::limits::{PROXY_BINARY_BYTES_MAX, PROXY_TEXT_BYTES_MAX};

/// How far the bytes of a connection lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A whole header.
    Whole {
        /// Its bytes; what the client sent comes after them.
        length: usize,
        /// Whose connection it is, canonical. `None`: the sender's own, or of no address.
        client: Option<SocketAddr>,
    },
    /// The beginning of one.
    Part,
    /// No header, and never one.
    Refused(ProxyError),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version begins like this.
    #[error("no PROXY protocol header")]
    Missing,
    /// Version 1: the line is not as 2.1 wants it.
    #[error("malformed PROXY protocol line")]
    Line,
    /// Version 2: the version is another one.
    #[error("PROXY protocol version {0} is not known")]
    Version(u8),
    /// Version 2: the command is neither LOCAL nor PROXY.
    #[error("PROXY protocol command {0} is not known")]
    Command(u8),
    /// Version 2: the byte of the addresses' family and protocol has no meaning.
    #[error("PROXY protocol address family {0:#04x} is not known")]
    Family(u8),
    /// Version 2: shorter than the addresses it should have.
    #[error("PROXY protocol header without room for its addresses")]
    TooShort,
    /// Longer than [`PROXY_TEXT_BYTES_MAX`] or [`PROXY_BINARY_BYTES_MAX`].
    #[error("PROXY protocol header too long")]
    TooLong,
}

/// Reads a header from all the bytes of a connection so far; what comes behind it does not matter.
pub fn parse(bytes: &[u8]) -> Header {
    let read = if agree(bytes, SIGNATURE) {
        binary(bytes)
    } else if agree(bytes, UNKNOWN) {
        unknown(bytes)
    } else if agree(bytes, TCP4) || agree(bytes, TCP6) {
        text(bytes)
    } else if agree(bytes, b"PROXY ") {
        Err(ProxyError::Line)
    } else {
        Err(ProxyError::Missing)
    };
    read.unwrap_or_else(Header::Refused)
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
const TCP4: &[u8] = b"PROXY TCP4 ";
const TCP6: &[u8] = b"PROXY TCP6 ";

/// Whether two are the same as far as the shorter goes.
fn agree(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// Version 2 (2.2). LOCAL is the sender's own connection, a health check, whatever else the header
/// says.
fn binary(bytes: &[u8]) -> Result<Header, ProxyError> {
    const FIXED_BYTES: usize = SIGNATURE.len() + 4;
    let mut fixed = bytes.iter().skip(SIGNATURE.len());
    let proxied = match fixed.next() {
        None => return Ok(Header::Part),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(byte) if byte >> 4 == 2 => return Err(ProxyError::Command(byte & 0xf)),
        Some(byte) => return Err(ProxyError::Version(byte >> 4)),
    };
    let Some(&family) = fixed.next() else { return Ok(Header::Part) };
    let addresses_bytes = match family {
        _ if !proxied => 0,
        0x00..=0x02 => 0,
        0x10..=0x12 => 12,
        0x20..=0x22 => 36,
        0x30..=0x32 => 216,
        _ => return Err(ProxyError::Family(family)),
    };
    let Some(&high) = fixed.next() else { return Ok(Header::Part) };
    let low = fixed.next();
    let length = usize::from(u16::from_be_bytes([high, low.copied().unwrap_or(0)]));
    if FIXED_BYTES + length > PROXY_BINARY_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    if low.is_some() && length < addresses_bytes {
        return Err(ProxyError::TooShort);
    }
    let Some(header) = bytes.get(..FIXED_BYTES + length).filter(|_| low.is_some()) else {
        return Ok(Header::Part);
    };
    let client = if proxied { client_of_binary(family, &header[FIXED_BYTES..]) } else { None };
    Ok(Header::Whole { length: header.len(), client })
}

/// Of what is behind the length, which has room for them: two addresses, then two ports; `None`
/// where they are of unix sockets or of no protocol.
fn client_of_binary(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let port_at = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    match family {
        0x11 | 0x12 => Some(client(*addresses.first_chunk::<4>()?, port_at(8))),
        0x21 | 0x22 => Some(client(*addresses.first_chunk::<16>()?, port_at(32))),
        _ => None,
    }
}

/// Version 1 of what is neither TCP over IPv4 nor over IPv6: what comes before the end of the line
/// is ignored.
fn unknown(bytes: &[u8]) -> Result<Header, ProxyError> {
    let rest = bytes.get(UNKNOWN.len()..).unwrap_or_default();
    match end_of_line(bytes) {
        _ if !agree(rest, b" ") && !agree(rest, b"\r\n") => Err(ProxyError::Line),
        Some(length) => Ok(Header::Whole { length, client: None }),
        None if bytes.len() >= PROXY_TEXT_BYTES_MAX => Err(ProxyError::TooLong),
        None => Ok(Header::Part),
    }
}

/// Version 1 (2.1).
fn text(bytes: &[u8]) -> Result<Header, ProxyError> {
    match end_of_line(bytes) {
        Some(length) => {
            let client = Some(client_of_line(&bytes[..length]).ok_or(ProxyError::Line)?);
            Ok(Header::Whole { length, client })
        }
        None if is_beginning_of_line(bytes) => Ok(Header::Part),
        None => Err(ProxyError::Line),
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(PROXY_TEXT_BYTES_MAX)];
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

/// A line is begun if there is an ending that makes it whole. Few are enough to find one: the end
/// of a line of zeros, or after an address in IPv6's many shapes one that completes it, and that.
fn is_beginning_of_line(bytes: &[u8]) -> bool {
    const ENDS_4: &str = "0.0.0.0 0.0.0.0 0 0\r\n";
    const ENDS_6: &str = ":: 0 0\r\n";
    const ADDRESS_ENDS: [&str; 9] = ["", ":", "::", ":0", "0", ".0", "0.0", ".0.0", "0.0.0"];
    if bytes.len() >= PROXY_TEXT_BYTES_MAX {
        return false;
    }
    let completes = |ending: &[&str]| {
        let line = [bytes, ending.concat().as_bytes()].concat();
        client_of_line(&line).is_some()
    };
    if bytes.len() < TCP4.len() {
        true
    } else if agree(bytes, TCP4) {
        (0..ENDS_4.len()).any(|at| completes(&[&ENDS_4[at..]]))
    } else {
        let rests = [" :: 0 0\r\n", " 0 0\r\n"];
        let mut pairs = ADDRESS_ENDS.iter().flat_map(|end| rests.map(|rest| [*end, rest]));
        (0..ENDS_6.len()).any(|at| completes(&[&ENDS_6[at..]]))
            || pairs.any(|pair| completes(&pair))
    }
}

/// Of a whole line that begins as [`TCP4`] or [`TCP6`] does.
fn client_of_line(line: &[u8]) -> Option<SocketAddr> {
    let line = str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [_proxy, family, source, to, source_port, to_port] = words[..] else { return None };
    let (source, to): (IpAddr, IpAddr) = (source.parse().ok()?, to.parse().ok()?);
    let (source_port, _) = (port(source_port)?, port(to_port)?);
    let four = family == "TCP4";
    let of_family = source.is_ipv4() == four && to.is_ipv4() == four;
    of_family.then(|| client(source, source_port))
}

/// Digits only, without a zero in front.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| port.to_string() == text)
}

fn client(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().to_canonical(), port)
}

#[cfg(test)]
mod tests;
