//! One HTTP exchange: a request goes out, and the answer is read up to the end of its head. Blocks.

use std::io::{self, Read, Write};

use httparse::{EMPTY_HEADER, Status};

use super::Framing;
use super::error::DialError;
use crate::config::Secret;
use crate::http::chunked::Chunked;
use crate::http::via::Via;
use crate::limits::{HEADERS_MAX, UPSTREAM_HEAD_BYTES_MAX};

/// What matters of a response head.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status, 200 and above.
    pub status: u16,
    /// Where a redirect leads to.
    pub location: Option<String>,
    /// Which way it has come.
    pub via: Via,
    length: Option<u64>,
    transfer: Option<String>,
}

impl Head {
    /// RFC 9112, 6.3: a transfer coding overrides a length; without either the connection's end
    /// is the body's.
    pub fn framing(&self) -> Result<Framing, DialError> {
        match (&self.transfer, self.length) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => {
                Ok(Framing::Chunked(Chunked::new()))
            }
            (Some(coding), _) if !coding.eq_ignore_ascii_case("identity") => {
                Err(DialError::TransferCoding(coding.clone()))
            }
            (_, Some(length)) => Ok(Framing::Length(length)),
            (_, None) => Ok(Framing::Raw),
        }
    }
}

/// A line of a request's head, if there is a value for it.
pub fn header(name: &str, value: Option<&Secret>) -> String {
    value.map_or_else(String::new, |value| format!("{name}: {}\r\n", value.expose()))
}

/// Sends the request and reads up to the end of the final response head; answers it and what came
/// after it.
pub fn ask(peer: &mut (impl Read + Write), request: &str) -> Result<(Head, Vec<u8>), DialError> {
    let sent = peer.write_all(request.as_bytes()).and_then(|()| peer.flush());
    sent.map_err(DialError::of_exchange)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some((head, length)) = parse(&bytes)? {
            bytes.drain(..length);
            // 1xx: the final answer is still to come (RFC 9110, 15.2).
            if head.status >= 200 {
                return Ok((head, bytes));
            }
        }
        if bytes.len() > UPSTREAM_HEAD_BYTES_MAX {
            return Err(DialError::HeadTooLong);
        }
        match peer.read(&mut buffer) {
            Ok(0) => return Err(DialError::Head(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DialError::of_exchange(error)),
        }
    }
}

/// Parses a response head; answers it and its length, or `None` when it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, DialError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(length) = response.parse(bytes).map_err(DialError::NotHttp)? else {
        return Ok(None);
    };
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    for header in &*response.headers {
        let value = || String::from_utf8_lossy(header.value).trim().to_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "location" => head.location = Some(value()),
            "content-length" => head.length = value().parse().ok(),
            "transfer-encoding" => head.transfer = Some(value()),
            "via" => head.via.add(header.value),
            _ => {}
        }
    }
    Ok(Some((head, length)))
}
