//! Where a stream comes from.
//!
//! Owns the ways to reach an upstream: each attempt is a *dial* on a thread of its own, where DNS,
//! connect, TLS, response head, opening and starting may block. What a worker gets is a descriptor
//! it can read without blocking, and how the body in it is framed. Never reads the body itself, but
//! for regular files and TLS, which a thread paces or decrypts into a pipe. Driven by the stream's
//! schedule.

pub mod command;
pub mod connection;
pub mod datagram;
pub mod dial;
pub mod error;
pub mod file;
pub mod framing;
pub mod head;
pub mod http;
pub mod player;
pub mod rtp;
pub mod schedule;
pub mod tcp;
pub mod tls;

use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};

use restreamer_sys::{file as descriptor, pipe};

pub use dial::Dialer;
pub use error::{DialError, Loss};
pub use framing::Framing;

use crate::http::via::Via;
use crate::limits::PIPED_BYTES;

/// An upstream that answered.
#[derive(Debug)]
pub struct Dialed {
    /// What is read from the source. Let go of before it: a socket's file goes first.
    pub body: Body,
    /// The body, non-blocking, from the first byte that is not in `early` on.
    pub source: OwnedFd,
    /// The beginning of the body, if it came with the response head.
    pub early: Vec<u8>,
    /// Ends what has to end with the connection, when it is dropped.
    pub keeper: Option<Keeper>,
    /// Which way the body has come.
    pub via: Via,
}

/// Held by whoever reads an upstream: dropping it ends what has to end with the connection.
#[derive(Debug)]
pub enum Keeper {
    /// A command.
    Command(command::Hold),
    /// A TLS connection.
    Tls(tls::Hold),
}

impl Keeper {
    /// Why there is nothing more to read, if it is not the body's end.
    pub fn fault(&self) -> Option<io::Error> {
        match self {
            Keeper::Command(_) => None,
            Keeper::Tls(hold) => hold.fault(),
        }
    }
}

/// What is read from an upstream's descriptor.
#[derive(Debug)]
pub enum Body {
    /// A stream of bytes, and how it is framed.
    Stream(Framing),
    /// Datagrams.
    Datagrams(datagram::Datagram),
}

impl Dialed {
    /// A body without framing that is just read.
    pub fn raw(source: impl Into<OwnedFd>) -> Dialed {
        let body = Body::Stream(Framing::Raw);
        let (early, via) = (Vec::new(), Via::default());
        Dialed { source: source.into(), body, early, keeper: None, via }
    }

    /// What a thread of ours writes into a pipe, and the end where it writes (and waits).
    pub fn piped() -> io::Result<(Dialed, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        descriptor::set_nonblocking(reader.as_fd())?;
        pipe::grow(reader.as_fd(), PIPED_BYTES)?;
        Ok((Dialed::raw(reader), writer))
    }
}
