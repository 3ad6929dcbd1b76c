//! HTTP upstreams: the request, redirects, and the response head. Blocks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Status};
use url::{Host, Url};

use super::error::DialError;
use super::{Body, Dialed, Framing, tcp};
use crate::clock::remaining;
use crate::http::chunked::Chunked;
use crate::limits::{HEADERS_MAX, REDIRECTS_MAX, UPSTREAM_HEAD_BYTES_MAX};

/// Asks for the stream and follows redirects, until its body begins.
pub fn dial(url: &Url, deadline: Option<Instant>) -> Result<Dialed, DialError> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let mut socket = connect(&at, deadline)?;
        let (head, early) = ask(&mut socket, &request(&at), deadline)?;
        match head.status {
            200 => {
                let framing = head.framing()?;
                socket.set_read_timeout(None).map_err(DialError::Connect)?;
                socket.set_nonblocking(true).map_err(DialError::Connect)?;
                return Ok(Dialed { body: Body::Stream(framing), early, ..Dialed::raw(socket) });
            }
            301 | 302 | 303 | 307 | 308 => at = redirected(&at, head.location.as_deref())?,
            other => return Err(DialError::Status(other)),
        }
    }
    Err(DialError::TooManyRedirects)
}

fn connect(url: &Url, deadline: Option<Instant>) -> Result<TcpStream, DialError> {
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(DialError::BadRedirect),
    };
    tcp::connect(&host, url.port_or_known_default().unwrap_or(80), deadline)
}

/// The request for a URL; user and password in it become Basic authorization (RFC 7617).
fn request(url: &Url) -> String {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let decode = |text| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let authorization = if url.username().is_empty() && url.password().is_none() {
        String::new()
    } else {
        let mut pair = decode(url.username());
        pair.push(b':');
        pair.extend(decode(url.password().unwrap_or_default()));
        format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair))
    };
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: restreamer/{}\r\nAccept: */*\r\n\
         Connection: close\r\n{authorization}\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// What matters of a response head.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    location: Option<String>,
    length: Option<u64>,
    transfer: Option<String>,
}

impl Head {
    /// RFC 9112, 6.3: a transfer coding overrides a length; without either the connection's end
    /// is the body's.
    fn framing(&self) -> Result<Framing, DialError> {
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

/// Sends the request and reads up to the end of the final response head; answers it and what came
/// after it.
fn ask(
    socket: &mut TcpStream,
    request: &str,
    deadline: Option<Instant>,
) -> Result<(Head, Vec<u8>), DialError> {
    socket.set_write_timeout(patience(deadline)?).map_err(DialError::Connect)?;
    socket.write_all(request.as_bytes()).map_err(late_or(DialError::Head))?;
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
        socket.set_read_timeout(patience(deadline)?).map_err(DialError::Connect)?;
        match socket.read(&mut buffer) {
            Ok(0) => return Err(DialError::Head(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(late_or(DialError::Head)(error)),
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
            _ => {}
        }
    }
    Ok(Some((head, length)))
}

/// The address of a redirect. User and password go along only to the same host and port.
fn redirected(from: &Url, location: Option<&str>) -> Result<Url, DialError> {
    let location = location.ok_or(DialError::BadRedirect)?;
    let mut to = from.join(location).map_err(|_no_url| DialError::BadRedirect)?;
    if to.scheme() != "http" {
        return Err(DialError::RedirectScheme(to.scheme().to_owned()));
    }
    if to.origin() == from.origin() && to.username().is_empty() && to.password().is_none() {
        let copied = to.set_username(from.username()).and(to.set_password(from.password()));
        copied.map_err(|()| DialError::BadRedirect)?;
    }
    Ok(to)
}

fn patience(deadline: Option<Instant>) -> Result<Option<Duration>, DialError> {
    match remaining(deadline, Instant::now()) {
        Some(Duration::ZERO) => Err(DialError::TimedOut),
        left => Ok(left),
    }
}

fn late_or(otherwise: fn(io::Error) -> DialError) -> impl Fn(io::Error) -> DialError {
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => DialError::TimedOut,
        _ => otherwise(error),
    }
}

#[cfg(test)]
mod tests;
