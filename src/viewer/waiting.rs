//! It has asked for what is not there at once.

use super::Connection;
use super::draining::{Draining, Then};
use crate::http::request::{Method, Request, Version};
use crate::http::response::Response;

/// A guest whose answer is being made on another thread.
#[derive(Debug)]
pub struct Waiting {
    asked: Asker,
}

/// A guest that has asked, with all that its answer depends on.
#[derive(Debug)]
pub struct Asker {
    connection: Connection,
    method: Method,
    version: Version,
    /// The connection goes on after the answer, if that allows it.
    keep: bool,
    /// What it sent after its request.
    rest: Vec<u8>,
}

impl Asker {
    /// A guest that sent `request`, and `rest` after it.
    pub fn new(connection: Connection, request: &Request, rest: Vec<u8>) -> Asker {
        let (method, version, keep) = (request.method, request.version, request.may_keep);
        Asker { connection, method, version, keep, rest }
    }

    /// Waits for its answer.
    pub fn wait(self) -> Waiting {
        Waiting { asked: self }
    }

    /// Gets its answer, and may ask again.
    pub fn answer(self, response: Response) -> Draining {
        let Asker { connection, method, version, keep, rest } = self;
        let then = if keep { Then::AskAgain(rest) } else { Then::Close };
        Draining::new(connection, response.outgoing(method, version, keep), then)
    }

    /// Gets its answer, the last on its connection.
    pub fn answer_last(self, response: Response) -> Draining {
        Asker { keep: false, ..self }.answer(response)
    }
}

impl Waiting {
    /// Here is the answer.
    pub fn answer(self, response: Response) -> Draining {
        self.asked.answer(response)
    }

    /// There will be none.
    pub fn give_up(self) -> Draining {
        self.asked.answer_last(Response::text(504))
    }
}
