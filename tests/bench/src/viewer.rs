//! One viewer: what it has asked, and how closely it looks at what it gets.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use restreamer_sys::file;
use restreamer_sys::moved::Moved;
use restreamer_sys::socket::{begin_to_connect, discard};

use crate::packet::{Checker, PACKET_BYTES};

/// Of so many reads of a viewer that looks at spots, one is looked at.
const SPOT: u32 = 16;
/// The room that a response head may take.
const HEAD_BYTES: usize = 4096;

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Looks at every packet.
    Whole,
    /// Looks at the packets of one read in [`SPOT`], and counts the others.
    Spots,
    /// The same, and has its time taken until its body begins.
    Joining,
    /// Reads the response head and nothing after it.
    Stalled,
}

#[derive(Debug)]
enum Stage {
    /// Until it is connected: what it is going to ask.
    Asking(String),
    /// The response head as far as it has come.
    Head(Vec<u8>),
    Body,
    Ended,
}

/// A viewer with its connection.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) socket: TcpStream,
    pub(crate) manner: Manner,
    stage: Stage,
    pub(crate) checker: Checker,
    reads: u32,
    /// Whether the last look that is taken at everybody was taken.
    looked: bool,
    /// When it connected, until its body begins.
    pub(crate) began: Option<u64>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got<'a> {
    Nothing,
    /// So many bytes were taken from the socket; these are of the body and are to be checked.
    Seen(usize, &'a [u8]),
    /// So many bytes of the body, which nobody has seen.
    Unseen(usize),
    Ended,
}

impl Viewer {
    /// Connects, without waiting for it, to ask for `path`.
    pub(crate) fn connect(address: SocketAddr, path: &str, manner: Manner) -> io::Result<Viewer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        Ok(Viewer {
            socket: begin_to_connect(address)?,
            manner,
            began: None,
            stage: Stage::Asking(request),
            checker: Checker::default(),
            reads: 0,
            looked: false,
        })
    }

    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Body)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether the last look at it is still to be taken.
    pub(crate) fn is_unlooked(&self) -> bool {
        self.is_in_body() && self.manner != Manner::Stalled && !self.looked
    }

    /// Asks, if it has not yet and is connected.
    pub(crate) fn ask(&mut self) {
        let Stage::Asking(request) = &self.stage else { return };
        // A request fits into the buffer of a new connection: it is written whole or not at all.
        match self.socket.write(request.as_bytes()) {
            Ok(_) => self.stage = Stage::Head(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_refused) => self.stage = Stage::Ended,
        }
    }

    /// Reads once. At `closing` everybody looks once more at what is there.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8], closing: bool) -> Got<'a> {
        match self.stage {
            Stage::Asking(_) | Stage::Ended => return Got::Nothing,
            Stage::Body if self.manner == Manner::Stalled => return Got::Nothing,
            Stage::Head(_) | Stage::Body => {}
        }
        self.reads = self.reads.wrapping_add(1);
        if !self.looks(closing) {
            return match discard(self.socket.as_fd(), buffer) {
                Ok(Moved::Bytes(n)) => Got::Unseen(n.get()),
                Ok(Moved::Blocked) => Got::Nothing,
                Ok(Moved::Ended) | Err(_) => self.end(),
            };
        }
        // One who is going to stall leaves the body where it is, but for what came with the head.
        let room = if self.manner == Manner::Stalled { 512 } else { buffer.len() };
        let n = match file::read(self.socket.as_fd(), &mut buffer[..room]) {
            Ok(Moved::Bytes(n)) => n.get(),
            Ok(Moved::Blocked) => return Got::Nothing,
            Ok(Moved::Ended) | Err(_) => return self.end(),
        };
        let body = self.after_head(&buffer[..n]);
        self.looked |= closing && body.len() >= 2 * PACKET_BYTES;
        if self.has_ended() { Got::Ended } else { Got::Seen(n, body) }
    }

    fn looks(&self, closing: bool) -> bool {
        !self.is_in_body()
            || !matches!(self.manner, Manner::Spots | Manner::Joining)
            || !self.checker.has_begun()
            || closing && !self.looked
            || self.reads.is_multiple_of(SPOT)
    }

    fn end(&mut self) -> Got<'static> {
        self.stage = Stage::Ended;
        Got::Ended
    }

    /// What is not of the response head. A viewer that is refused has ended.
    fn after_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Stage::Head(head) = &mut self.stage else { return bytes };
        for (at, byte) in bytes.iter().enumerate() {
            head.push(*byte);
            if head.ends_with(b"\r\n\r\n") {
                let status = head.split(|&byte| byte == b' ').nth(1);
                let is_served = head.starts_with(b"HTTP/1.") && status == Some(b"200");
                self.stage = if is_served { Stage::Body } else { Stage::Ended };
                return if is_served { &bytes[at + 1..] } else { &[] };
            }
        }
        if head.len() > HEAD_BYTES {
            self.stage = Stage::Ended;
        }
        &[]
    }
}
