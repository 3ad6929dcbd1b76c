//! A connection to an HTTP server: straight or by a proxy, plain or by TLS. Blocks.
//!
//! Owns the order of things, all of them within the attempt's deadline: connect, tunnel, handshake.
//! A name that a proxy leads to is never resolved here.

use std::io::{self, Read, Write};
use std::time::Instant;

use url::{Position, Url};

use super::error::DialError;
use super::head::{Head, ask, header};
use super::tcp::{self, Timed};
use super::tls::{Decrypting, Session};
use super::{Body, Dialed};
use crate::egress::address::host_and_port;
use crate::egress::{Proxy, Trust};

/// A connection that a request can be sent on.
#[derive(Debug)]
pub enum Connection {
    /// As it is.
    Plain(Timed),
    /// By TLS, with a server that has proved who it is.
    Secure(Box<Session>),
}

/// What an upstream that has answered is read from.
#[derive(Debug)]
pub enum Opened {
    /// A body that can be read as it comes.
    Ready(Dialed),
    /// A body that is to be decrypted into the pipe's other end.
    ToDecrypt(Dialed, Box<Decrypting>),
}

impl Connection {
    /// Connects to where a URL leads: an `http` one to its proxy, if it has one, an `https` one
    /// through it.
    pub fn open(
        url: &Url,
        proxy: Option<&Proxy>,
        trust: &Trust,
        deadline: Option<Instant>,
    ) -> Result<Connection, DialError> {
        let secure = url.scheme() == "https";
        let socket = match proxy {
            None => {
                let (host, port) = host_and_port(url).ok_or(DialError::BadRedirect)?;
                Timed::new(tcp::connect(&host, port, deadline)?, deadline)
            }
            Some(proxy) => {
                let socket = tcp::connect(proxy.host(), proxy.port(), deadline);
                let socket = Timed::new(socket.map_err(proxied(proxy))?, deadline);
                if secure { tunnel(socket, url, proxy).map_err(proxied(proxy))? } else { socket }
            }
        };
        if !secure {
            return Ok(Connection::Plain(socket));
        }
        let session = Session::begin(socket, url, trust.client())?;
        Ok(Connection::Secure(Box::new(session)))
    }

    /// The body of an answer with this head, which begins with `early`.
    pub fn into_body(self, head: Head, early: Vec<u8>) -> Result<Opened, DialError> {
        let (framing, via) = (head.framing()?, head.via);
        match self {
            Connection::Plain(socket) => {
                let socket = socket.into_inner().map_err(DialError::Connect)?;
                socket.set_nonblocking(true).map_err(DialError::Connect)?;
                let body = Body::Stream(framing);
                Ok(Opened::Ready(Dialed { body, early, via, ..Dialed::raw(socket) }))
            }
            Connection::Secure(session) => {
                let (dialed, work) = session.into_body(framing, early)?;
                Ok(Opened::ToDecrypt(Dialed { via, ..dialed }, Box::new(work)))
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.read(buffer),
            Connection::Secure(session) => session.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.write(bytes),
            Connection::Secure(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Plain(socket) => socket.flush(),
            Connection::Secure(session) => session.flush(),
        }
    }
}

/// It was the proxy.
pub fn proxied(proxy: &Proxy) -> impl Fn(DialError) -> DialError {
    move |error| DialError::Proxy { proxy: proxy.to_string(), error: Box::new(error) }
}

/// Asks the proxy for a connection to the URL's host (RFC 9110, 9.3.6).
fn tunnel(mut socket: Timed, url: &Url, proxy: &Proxy) -> Result<Timed, DialError> {
    let host = &url[Position::BeforeHost..Position::AfterHost];
    let port = url.port_or_known_default().unwrap_or(443);
    let authorization = header("Proxy-Authorization", proxy.authorization());
    let request = format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: restreamer/{}\r\n\
         {authorization}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let (head, early) = ask(&mut socket, &request)?;
    match head.status {
        // A server of TLS has nothing to say before it was greeted.
        200..=299 if early.is_empty() => Ok(socket),
        200..=299 => Err(DialError::NotATunnel),
        other => Err(DialError::Status(other)),
    }
}
