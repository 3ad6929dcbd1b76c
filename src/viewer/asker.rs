//! It has asked, and is to be answered, now or when the answer is there.

use super::Connection;
use super::draining::{Draining, Then};
use crate::http::request::{Method, Request, Version};
use crate::http::response::Response;

/// A guest that has asked, with all that its answer depends on.
#[derive(Debug)]
pub struct Asker {
    connection: Connection,
    method: Method,
    version: Version,
    /// The connection goes on after the answer.
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
