//! The status of a stream's upstream, as the side port shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a stream's upstream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamState {
    /// Nothing was tried yet, or the next attempt is waited for.
    Waiting,
    /// An attempt is under way.
    Dialing,
    /// Data can come.
    Connected,
    /// It will not be tried again (`reconnect` is 0).
    Off,
}

/// One stream's status: written by its worker when something changes, read by the side port.
#[derive(Debug)]
pub struct StreamStatus(Mutex<Status>);

/// A copy of the status.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the upstream is doing.
    pub state: UpstreamState,
    /// Since when.
    pub since: Instant,
    /// The upstream in use or tried last, by its number in the stream's list.
    pub upstream: Option<usize>,
    /// Attempts since the start.
    pub attempts: u64,
    /// Why the last attempt failed or the last connection ended.
    pub last_error: Option<String>,
}

impl StreamStatus {
    /// Before the first attempt.
    pub fn new(now: Instant) -> StreamStatus {
        StreamStatus(Mutex::new(Status {
            state: UpstreamState::Waiting,
            since: now,
            upstream: None,
            attempts: 0,
            last_error: None,
        }))
    }

    /// A copy as of now.
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    /// An attempt on `upstream` begins.
    pub fn dialing(&self, upstream: usize, now: Instant) {
        let mut status = self.lock();
        status.state = UpstreamState::Dialing;
        (status.since, status.upstream) = (now, Some(upstream));
        status.attempts += 1;
    }

    /// The attempt succeeded.
    pub fn connected(&self, now: Instant) {
        let mut status = self.lock();
        (status.state, status.since) = (UpstreamState::Connected, now);
    }

    /// The attempt failed, or the connection ended; `again` tells whether there will be another.
    pub fn lost(&self, why: String, again: bool, now: Instant) {
        let mut status = self.lock();
        status.state = if again { UpstreamState::Waiting } else { UpstreamState::Off };
        (status.since, status.last_error) = (now, Some(why));
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Every writer leaves it whole, so that a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
