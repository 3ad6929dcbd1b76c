//! Its request head is being read.

use std::os::fd::AsFd;

use restreamer_sys::{Moved, file};

use super::Connection;
use crate::http::proxy_protocol::{self, Header};
use crate::http::request::{HeadError, Parsed, Request, parse};
use crate::limits::HEAD_BYTES_MAX;

/// A guest who has not finished asking.
#[derive(Debug)]
pub struct Asking {
    connection: Connection,
    /// A PROXY protocol header comes first, and has not come yet.
    awaits_proxy: bool,
    head: Vec<u8>,
    /// Nothing was looked at yet.
    new: bool,
}

/// What a guest has come to.
#[derive(Debug)]
pub enum Asked {
    /// More of the head is to come.
    Wait(Asking),
    /// It asked, and sent this after it.
    Request(Connection, Box<Request>, Vec<u8>),
    /// What it sent is no request.
    Refuse(Connection, HeadError),
    /// What it sent is no PROXY protocol header, which was to come first.
    NoProxy,
    /// It hung up.
    Left,
}

impl Asking {
    /// A guest who has said nothing yet; `awaits_proxy` says whether a PROXY protocol header is to
    /// come before its request.
    pub fn new(connection: Connection, awaits_proxy: bool) -> Asking {
        Asking { connection, awaits_proxy, head: Vec::new(), new: true }
    }

    /// A guest who has had an answer, and has sent this of its next request.
    pub fn again(connection: Connection, head: Vec<u8>) -> Asking {
        Asking { connection, awaits_proxy: false, head, new: true }
    }

    /// Whether nothing of what it asks was looked at yet.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// Whether it has had an answer, and has not begun to ask again.
    pub fn is_idle(&self) -> bool {
        self.connection.requests > 0 && self.head.is_empty()
    }

    /// Whether it is told that its time is up: it has begun to ask, or never asked before. One who
    /// owes a PROXY protocol header is told nothing.
    pub fn is_told_of_timeout(&self) -> bool {
        let has_begun = !self.head.is_empty() || self.connection.requests == 0;
        has_begun && !self.awaits_proxy
    }

    /// Reads what is there.
    pub fn read(mut self) -> Asked {
        let mut buffer = [0; 2048];
        self.new = false;
        loop {
            match self.look() {
                Looked::More(asking) => self = asking,
                Looked::Asked(asked) => return asked,
            }
            // The parser refuses a part of HEAD_BYTES_MAX bytes, so that there is room.
            let room = buffer.len().min(HEAD_BYTES_MAX + 1 - self.head.len());
            match file::read(self.connection.socket.as_fd(), &mut buffer[..room]) {
                Ok(Moved::Bytes(n)) => self.head.extend_from_slice(&buffer[..n.get()]),
                Ok(Moved::Blocked) => return Asked::Wait(self),
                Ok(Moved::Ended) | Err(_) => return Asked::Left,
            }
        }
    }

    /// What the bytes so far amount to.
    fn look(mut self) -> Looked {
        if self.awaits_proxy {
            match proxy_protocol::parse(&self.head) {
                Header::Part => return Looked::More(self),
                Header::Refused(_) => return Looked::Asked(Asked::NoProxy),
                Header::Whole { length, client } => {
                    if let Some(client) = client {
                        self.connection.peer = client;
                    }
                    self.head.drain(..length);
                    self.awaits_proxy = false;
                }
            }
        }
        match parse(&self.head) {
            Parsed::Whole(request, length) => {
                self.connection.requests += 1;
                let rest = self.head.split_off(length);
                Looked::Asked(Asked::Request(self.connection, request, rest))
            }
            Parsed::Refused(error) => Looked::Asked(Asked::Refuse(self.connection, error)),
            Parsed::Part => Looked::More(self),
        }
    }

    /// The connection of a guest whose time is up.
    pub fn give_up(self) -> Connection {
        self.connection
    }
}

/// What the bytes of a head amount to.
enum Looked {
    /// More has to be read.
    More(Asking),
    /// Something to act upon.
    Asked(Asked),
}
