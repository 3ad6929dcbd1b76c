//! An answer that is no stream: it is sent whole, then the connection ends in an orderly way.

use std::io::IoSlice;
use std::os::fd::AsFd;

use restreamer_sys::{Moved, file, socket};

use super::{Connection, Heard};
use crate::http::response::Outgoing;

/// A guest who gets an answer and is let go.
///
/// Our side is shut first and the connection closed only when the client has hung up (or its time
/// is over): a close with unread input would reset the connection, and the answer could be lost.
#[derive(Debug)]
pub struct Draining {
    connection: Connection,
    answer: Outgoing,
    sent: usize,
    finished: bool,
}

impl Draining {
    /// Begins to send `answer`.
    pub fn new(connection: Connection, answer: Outgoing) -> Draining {
        Draining { connection, answer, sent: 0, finished: false }
    }

    /// Goes on as far as possible; `None` when the connection is over.
    pub fn advance(mut self) -> Option<Draining> {
        loop {
            let rest = self.answer.after(self.sent);
            if rest.is_empty() {
                break;
            }
            match file::write(self.connection.socket.as_fd(), &[IoSlice::new(rest)]) {
                Ok(Moved::Bytes(n)) => self.sent += n.get(),
                Ok(Moved::Blocked) => return self.hears(),
                Ok(Moved::Ended) | Err(_) => return None,
            }
        }
        if !self.finished {
            socket::finish(&self.connection.socket).ok()?;
            self.finished = true;
        }
        self.hears()
    }

    /// Reads and forgets; over when the client has hung up or talks too much.
    fn hears(mut self) -> Option<Draining> {
        match self.connection.listen() {
            Heard::Silence => Some(self),
            Heard::End if !self.finished => Some(self),
            Heard::End | Heard::Over(_) => None,
        }
    }
}
