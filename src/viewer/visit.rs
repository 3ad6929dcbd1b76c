//! What a viewer came for, and what it got: the facts of its line in the access log.

use std::time::Instant;

use crate::http::request::Request;

/// What a viewer came for, and what it got.
#[derive(Debug)]
pub struct Visit {
    /// When it asked.
    pub since: Instant,
    /// The path it asked for.
    pub path: String,
    /// What it says it is.
    pub user_agent: Option<String>,
    /// It says which way its request has come: it may be a node, which tells the way on.
    pub of_node: bool,
    /// Bytes of the stream that its socket took.
    pub bytes: u64,
    /// Packets it was skipped over.
    pub packets_skipped: u64,
}

impl Visit {
    /// A visit that begins.
    pub fn new(request: Request, since: Instant) -> Visit {
        let Request { path, headers, .. } = request;
        let of_node = !headers.via.is_empty();
        Visit { since, path, user_agent: headers.user_agent, of_node, bytes: 0, packets_skipped: 0 }
    }
}
