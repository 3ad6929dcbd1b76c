//! Its request head is being read.

use std::os::fd::AsFd;

use restreamer_sys::{Moved, file};

use super::Connection;
use crate::http::request::{Parsed, Refusal, Request, parse};
use crate::limits::HEAD_BYTES_MAX;

/// A guest who has not finished asking.
#[derive(Debug)]
pub struct Asking {
    connection: Connection,
    head: Vec<u8>,
}

/// What a guest has come to.
#[derive(Debug)]
pub enum Asked {
    /// More of the head is to come.
    Wait(Asking),
    /// It asked.
    Request(Connection, Request),
    /// What it sent is no request.
    Refuse(Connection, Refusal),
    /// It hung up.
    Left,
}

impl Asking {
    /// A guest who has said nothing yet.
    pub fn new(connection: Connection) -> Asking {
        Asking { connection, head: Vec::new() }
    }

    /// Reads what is there.
    pub fn read(mut self) -> Asked {
        let mut buffer = [0; 2048];
        loop {
            let room = buffer.len().min(HEAD_BYTES_MAX + 1 - self.head.len());
            match file::read(self.connection.socket.as_fd(), &mut buffer[..room]) {
                Ok(Moved::Bytes(n)) => self.head.extend_from_slice(&buffer[..n.get()]),
                Ok(Moved::Blocked) => return Asked::Wait(self),
                Ok(Moved::Ended) | Err(_) => return Asked::Left,
            }
            match parse(&self.head) {
                Parsed::Whole(request) => return Asked::Request(self.connection, request),
                Parsed::Refused(refusal) => return Asked::Refuse(self.connection, refusal),
                // The parser refuses a part of HEAD_BYTES_MAX bytes, so that there is room below.
                Parsed::Part => {}
            }
        }
    }

    /// The connection of a guest whose time is up.
    pub fn give_up(self) -> Connection {
        self.connection
    }
}
