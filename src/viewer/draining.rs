//! An answer that is no stream: it is sent whole, then the connection goes on or ends in an orderly
//! way.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;

use restreamer_sys::{Moved, file, socket};

use super::asking::Asking;
use super::{Connection, Heard};
use crate::http::response::Outgoing;
use crate::limits::UNSENT_BYTES_MAX;

/// A guest who gets an answer.
///
/// If it is the last one, our side is shut first and the connection closed only when the client has
/// hung up (or its time is over): a close with unread input would reset the connection, and the
/// answer could be lost.
#[derive(Debug)]
pub struct Draining {
    connection: Connection,
    answer: Outgoing,
    sent: usize,
    then: Then,
    finished: bool,
}

/// What comes after the answer.
#[derive(Debug)]
pub enum Then {
    /// The end of the connection.
    Close,
    /// Another request, of which this has come already.
    AskAgain(Vec<u8>),
}

/// How far sending came.
#[derive(Debug)]
pub enum Drained {
    /// More is to be sent when there is room in the socket.
    Sending(Draining),
    /// More is to be sent, and its share of this turn is used up.
    Part(Draining),
    /// All is sent; the client has not hung up yet.
    Lingering(Draining),
    /// The client may ask again.
    Asking(Asking),
    /// The connection is over.
    Over,
}

impl Draining {
    /// Begins to send `answer`.
    pub fn new(connection: Connection, answer: Outgoing, then: Then) -> Draining {
        if answer.len() > UNSENT_BYTES_MAX as usize {
            // What a slow client does not take waits here, shared, and not in kernel memory. Were
            // this to fail, the connection is broken, and soon shows it.
            let _broken = socket::limit_unsent(connection.socket.as_fd(), UNSENT_BYTES_MAX);
        }
        Draining { connection, answer, sent: 0, then, finished: false }
    }

    /// Where it goes.
    pub fn socket(&self) -> &TcpStream {
        &self.connection.socket
    }

    /// What is sent behind the head.
    pub fn body(&self) -> Option<&Arc<[u8]>> {
        self.answer.body.as_ref()
    }

    /// Goes on as far as possible, for at most about `budget` bytes; takes off it what it sends.
    pub fn advance(mut self, budget: &mut usize) -> Drained {
        while self.sent < self.answer.len() {
            if *budget == 0 {
                return Drained::Part(self);
            }
            match file::write(self.connection.socket.as_fd(), &self.answer.after(self.sent)) {
                Ok(Moved::Bytes(n)) => {
                    self.sent += n.get();
                    *budget = budget.saturating_sub(n.get());
                }
                Ok(Moved::Blocked) => return self.listen(),
                Ok(Moved::Ended) | Err(_) => return Drained::Over,
            }
        }
        if let Then::AskAgain(rest) = self.then {
            return Drained::Asking(Asking::again(self.connection, rest));
        }
        if !self.finished {
            if socket::finish(&self.connection.socket).is_err() {
                return Drained::Over;
            }
            self.finished = true;
            // It is sent, and whoever lingers needs it no more.
            self.answer = Outgoing::default();
            self.sent = 0;
        }
        self.listen()
    }

    /// Reads and forgets, unless it is to be read as another request; over when the client has hung
    /// up or talks too much.
    fn listen(mut self) -> Drained {
        let heard = match self.then {
            Then::Close => self.connection.listen(),
            Then::AskAgain(_) => Heard::Silence,
        };
        match heard {
            Heard::Silence | Heard::End if !self.finished => Drained::Sending(self),
            Heard::Silence => Drained::Lingering(self),
            Heard::End | Heard::Over(_) => Drained::Over,
        }
    }
}
