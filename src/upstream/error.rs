//! Why an upstream could not be reached, and why a connection ended.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::tls::TlsError;
use crate::http::chunked::ChunkedError;
use crate::limits::{REDIRECTS_MAX, UPSTREAM_HEAD_BYTES_MAX};

/// Why an attempt failed. The text goes on from the upstream's address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot be reached: {host} cannot be resolved: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No connection.
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    /// `timeout` is over.
    #[error("gave no answer within the timeout")]
    TimedOut,
    /// No TLS.
    #[error("cannot be reached by TLS: {0}")]
    Tls(#[from] TlsError),
    /// The proxy that leads to it does not.
    #[error("cannot be reached by way of {proxy}: the proxy {error}")]
    Proxy {
        /// The proxy's address, its password masked.
        proxy: String,
        /// What it did.
        error: Box<DialError>,
    },
    /// A proxy that speaks where only the server may.
    #[error("sent something of its own where the server's TLS begins")]
    NotATunnel,
    /// The connection broke or ended before the response head was whole.
    #[error("broke off before its response head was whole: {0}")]
    Head(io::Error),
    /// The response is not HTTP.
    #[error("does not answer in HTTP: {0}")]
    NotHttp(httparse::Error),
    /// The response head is too long.
    #[error("answered with a head longer than {UPSTREAM_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// The answer is not the stream.
    #[error("answered {0}, expected 200")]
    Status(u16),
    /// Redirected too often.
    #[error("redirected more than {REDIRECTS_MAX} times")]
    TooManyRedirects,
    /// Redirected to nowhere.
    #[error("redirected with a location that is missing or no address")]
    BadRedirect,
    /// Redirected to what this version cannot reach.
    #[error("redirected to {0}://, which this version cannot reach")]
    RedirectScheme(String),
    /// A transfer coding that is not `chunked`.
    #[error("answered with transfer coding {0:?}, which is not known")]
    TransferCoding(String),
    /// A file, FIFO or socket that cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// A socket that cannot be bound.
    #[error("cannot be received: {0}")]
    Bind(io::Error),
    /// A multicast group that cannot be joined.
    #[error("cannot be joined: {0}")]
    Join(io::Error),
    /// No such network interface.
    #[error("cannot be received on {name}: {error}")]
    Interface {
        /// The interface.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Neither a FIFO, a device nor a regular file.
    #[error("is neither file, device nor FIFO: {}", .0.display())]
    NotAFile(PathBuf),
    /// A command that cannot be started.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// No thread for the attempt.
    #[error("cannot be tried: no thread: {0}")]
    Thread(io::Error),
}

impl DialError {
    /// What an error of a connect that was given a limit of time means.
    pub fn of_connect(error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut,
            _ => DialError::Connect(error),
        }
    }

    /// What an error before the end of the response head means.
    pub fn of_exchange(error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut,
            io::ErrorKind::UnexpectedEof => DialError::Head(error.kind().into()),
            _ => match error.downcast::<rustls::Error>() {
                Ok(error) => DialError::Tls(error.into()),
                Err(error) => DialError::Head(error),
            },
        }
    }

    /// One word for the metric's label and the log's `error` key.
    pub fn kind(&self) -> &'static str {
        match self {
            DialError::Resolve { .. } => "resolve",
            DialError::Connect(_) => "connect",
            DialError::TimedOut => "timeout",
            DialError::Tls(_) => "tls",
            // Whoever it waits for: what takes too long is one thing, to whom counts.
            DialError::Proxy { error, .. } if matches!(**error, DialError::TimedOut) => "timeout",
            DialError::Proxy { .. } => "proxy",
            DialError::Head(_) | DialError::HeadTooLong => "head",
            DialError::NotHttp(_) | DialError::TransferCoding(_) | DialError::NotATunnel => {
                "protocol"
            }
            DialError::Status(_) => "status",
            DialError::TooManyRedirects | DialError::BadRedirect | DialError::RedirectScheme(_) => {
                "redirect"
            }
            DialError::Bind(_) => "bind",
            DialError::Join(_) | DialError::Interface { .. } => "join",
            DialError::Open(_) | DialError::NotAFile(_) => "open",
            DialError::Start(_) => "start",
            DialError::Thread(_) => "thread",
        }
    }
}

/// Why a connection to an upstream ended. The text goes on from the upstream's address.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// It closed the connection, or the body has its length.
    #[error("ended")]
    Ended,
    /// It closed the connection in the middle of a framed body.
    #[error("ended in the middle of its body")]
    Truncated,
    /// The connection broke.
    #[error("broke: {0}")]
    Broken(io::Error),
    /// The body's framing is broken.
    #[error("sent a broken body: {0}")]
    Framing(ChunkedError),
    /// No data for `readtimeout`.
    #[error("sent nothing for {0:?}")]
    Silent(Duration),
}

impl Loss {
    /// One word for the metric's label and the log's `error` key.
    pub fn kind(&self) -> &'static str {
        match self {
            Loss::Ended => "ended",
            Loss::Truncated => "truncated",
            Loss::Broken(_) => "broken",
            Loss::Framing(_) => "framing",
            Loss::Silent(_) => "silent",
        }
    }
}
