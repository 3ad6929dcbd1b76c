//! Where a stream comes from.
//!
//! Owns the ways to reach an upstream: each attempt is a *dial* on a thread of its own, where DNS,
//! connect, response head, opening and starting may block. What a worker gets is a descriptor it
//! can read without blocking, and how the body in it is framed. Never reads the body itself, but
//! for regular files, which a player paces into a pipe. Driven by the stream's schedule.

pub mod command;
pub mod datagram;
pub mod dial;
pub mod error;
pub mod file;
pub mod framing;
pub mod http;
pub mod player;
pub mod rtp;
pub mod schedule;
pub mod tcp;

use std::os::fd::OwnedFd;

pub use dial::Dialer;
pub use error::{DialError, Loss};
pub use framing::Framing;

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
    pub keeper: Option<command::Keeper>,
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
        Dialed { source: source.into(), body, early: Vec::new(), keeper: None }
    }
}
