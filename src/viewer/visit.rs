//! What a viewer came for, and what it got: the facts of its line in the access log.

use crate::http::request::Request;

/// What a viewer came for, and what it got.
#[derive(Debug, Default)]
pub struct Visit {
    /// The path it asked for.
    pub path: String,
    /// What it says it is.
    pub user_agent: Option<String>,
    /// Bytes of the stream that its socket took.
    pub bytes: u64,
    /// Packets it was skipped over.
    pub packets_skipped: u64,
}

impl Visit {
    /// A visit that begins.
    pub fn new(request: Request) -> Visit {
        let user_agent = request.headers.user_agent;
        Visit { path: request.path, user_agent, ..Visit::default() }
    }
}
