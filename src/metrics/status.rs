//! The status of a stream's upstreams, as the side port shows it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::ATTEMPTS_SHOWN_MAX;

/// What a stream's upstreams are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamState {
    /// Nobody wants the stream, and nothing is tried before somebody does.
    Idle,
    /// Nothing was tried yet, or the next attempt is waited for.
    Waiting,
    /// An attempt is under way.
    Dialing,
    /// Data can come.
    Connected,
    /// None will be tried again (`reconnect` is 0).
    Off,
}

impl UpstreamState {
    /// Every state.
    pub const ALL: [UpstreamState; 5] = [
        UpstreamState::Idle,
        UpstreamState::Waiting,
        UpstreamState::Dialing,
        UpstreamState::Connected,
        UpstreamState::Off,
    ];

    /// The word for it, on the side port and in the metric's label.
    pub fn word(self) -> &'static str {
        match self {
            UpstreamState::Idle => "idle",
            UpstreamState::Waiting => "waiting",
            UpstreamState::Dialing => "dialing",
            UpstreamState::Connected => "connected",
            UpstreamState::Off => "off",
        }
    }
}

/// Why an attempt is made. Shown as `start`, `demand`, `failed: connect`, `lost: ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the first.
    Start,
    /// Somebody wants a stream that nobody wanted.
    Demand,
    /// The one before failed, with an error of this kind.
    Failed(&'static str),
    /// It is preferred to the one in use.
    Preferred,
    /// The connection that the one before led to has ended, for this reason.
    Lost(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Start => f.write_str("start"),
            Reason::Demand => f.write_str("demand"),
            Reason::Preferred => f.write_str("preferred"),
            Reason::Failed(kind) => write!(f, "failed: {kind}"),
            Reason::Lost(kind) => write!(f, "lost: {kind}"),
        }
    }
}

/// An attempt on an upstream that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Its number, from 1 on.
    pub number: u64,
    /// The upstream, by its number in the stream's list.
    pub upstream: usize,
    /// Why it is made.
    pub reason: Reason,
    /// When it began.
    pub at: Instant,
}

/// An attempt and what came of it.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// The attempt.
    pub begun: Begun,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing yet.
    Dialing,
    /// A connection.
    Connected {
        /// After so long.
        took: Duration,
    },
    /// An error.
    Failed {
        /// After so long.
        took: Duration,
        /// The word for it.
        kind: &'static str,
        /// All of it.
        why: String,
    },
}

/// One stream's status: written by its worker when something changes, read by the side port.
#[derive(Debug)]
pub struct StreamStatus(Mutex<Status>);

/// A copy of the status.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the upstreams are doing.
    pub state: UpstreamState,
    /// Since when.
    pub since: Instant,
    /// The last attempts, [`ATTEMPTS_SHOWN_MAX`] at most, the last one last.
    pub attempts: VecDeque<Attempted>,
    /// Why the last attempt failed or the last connection ended.
    pub last_error: Option<String>,
}

impl Status {
    /// The last attempt.
    pub fn last(&self) -> Option<Begun> {
        self.attempts.back().map(|attempted| attempted.begun)
    }

    /// Whether somebody who comes now is served, as far as can be known: a stream that rests is
    /// none that has failed, nor one that is just being connected for somebody.
    pub fn is_available(&self) -> bool {
        match self.state {
            UpstreamState::Connected | UpstreamState::Idle => true,
            UpstreamState::Dialing => {
                self.last().is_some_and(|begun| begun.reason == Reason::Demand)
            }
            UpstreamState::Waiting | UpstreamState::Off => false,
        }
    }
}

impl StreamStatus {
    /// Before the first attempt.
    pub fn new(now: Instant) -> StreamStatus {
        StreamStatus(Mutex::new(Status {
            state: UpstreamState::Waiting,
            since: now,
            attempts: VecDeque::with_capacity(ATTEMPTS_SHOWN_MAX),
            last_error: None,
        }))
    }

    /// A copy as of now.
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    /// Whether an upstream is connected.
    pub fn is_connected(&self) -> bool {
        self.lock().state == UpstreamState::Connected
    }

    /// Whether somebody who comes now is served, as far as can be known.
    pub fn is_available(&self) -> bool {
        self.lock().is_available()
    }

    /// Nobody wants the stream: it rests.
    pub fn idle(&self, now: Instant) {
        let mut status = self.lock();
        (status.state, status.since) = (UpstreamState::Idle, now);
    }

    /// An attempt begins.
    pub fn dialing(&self, begun: Begun) {
        let mut status = self.lock();
        (status.state, status.since) = (UpstreamState::Dialing, begun.at);
        if status.attempts.len() == ATTEMPTS_SHOWN_MAX {
            status.attempts.pop_front();
        }
        status.attempts.push_back(Attempted { begun, outcome: Outcome::Dialing });
    }

    /// The attempt succeeded.
    pub fn connected(&self, now: Instant) {
        let mut status = self.lock();
        (status.state, status.since) = (UpstreamState::Connected, now);
        status.finish(|took| Outcome::Connected { took }, now);
    }

    /// The attempt failed; `again` tells whether there will be another.
    pub fn failed(&self, kind: &'static str, why: &str, again: bool, now: Instant) {
        let mut status = self.lock();
        status.wait(why, again, now);
        status.finish(|took| Outcome::Failed { took, kind, why: why.to_owned() }, now);
    }

    /// The connection ended; `again` tells whether there will be another attempt.
    pub fn lost(&self, why: &str, again: bool, now: Instant) {
        self.lock().wait(why, again, now);
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Every writer leaves it whole, so that a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn finish(&mut self, outcome: impl FnOnce(Duration) -> Outcome, now: Instant) {
        if let Some(attempted) = self.attempts.back_mut() {
            attempted.outcome = outcome(now.saturating_duration_since(attempted.begun.at));
        }
    }

    fn wait(&mut self, why: &str, again: bool, now: Instant) {
        self.state = if again { UpstreamState::Waiting } else { UpstreamState::Off };
        (self.since, self.last_error) = (now, Some(why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempts_are_kept_with_what_came_of_them() {
        let start = Instant::now();
        let status = StreamStatus::new(start);
        assert!(status.get().last().is_none());
        let second = Duration::from_secs(1);
        let last = ATTEMPTS_SHOWN_MAX as u64 + 2;
        for number in 1..=last {
            let reason = if number == 1 { Reason::Start } else { Reason::Failed("status") };
            let begun = start + second * u32::try_from(number).unwrap();
            status.dialing(Begun { number, upstream: 0, reason, at: begun });
            assert!(matches!(status.get().attempts.back().unwrap().outcome, Outcome::Dialing));
            if number < last {
                status.failed("status", "upstream x answered 500", true, begun + second / 2);
                assert_eq!(status.get().state, UpstreamState::Waiting);
            } else {
                status.connected(begun + second);
            }
        }
        let now = status.get();
        assert_eq!(now.state, UpstreamState::Connected);
        let numbers: Vec<u64> =
            now.attempts.iter().map(|attempted| attempted.begun.number).collect();
        assert_eq!(numbers, (3..=last).collect::<Vec<_>>());
        let Outcome::Failed { took, kind, why } = &now.attempts[0].outcome else {
            panic!("{:?}", now.attempts[0]);
        };
        assert_eq!((*took, *kind, why.as_str()), (second / 2, "status", "upstream x answered 500"));
        let newest = now.attempts.back().unwrap();
        assert!(matches!(newest.outcome, Outcome::Connected { took } if took == second));
        // A loss ends the connection, not the attempt that led to it.
        status.lost("upstream x ended", false, start);
        let now = status.get();
        assert_eq!(
            (now.state, now.last_error.as_deref()),
            (UpstreamState::Off, Some("upstream x ended"))
        );
        assert!(matches!(now.attempts.back().unwrap().outcome, Outcome::Connected { .. }));
    }

    #[test]
    fn who_rests_has_not_failed() {
        let now = Instant::now();
        let status = StreamStatus::new(now);
        let dial = |number, reason| status.dialing(Begun { number, upstream: 0, reason, at: now });
        assert!(!status.is_available(), "nothing is connected yet");
        dial(1, Reason::Start);
        assert!(!status.is_available());
        status.idle(now);
        assert!(status.is_available());
        dial(2, Reason::Demand);
        assert!(status.is_available(), "nothing has failed yet");
        status.failed("connect", "refused", true, now);
        assert!(!status.is_available());
        dial(3, Reason::Failed("connect"));
        assert!(!status.is_available());
        status.connected(now);
        assert!(status.is_available());
        status.idle(now);
        assert_eq!(status.get().state.word(), "idle");
        assert!(status.is_available());
    }

    #[test]
    fn reasons_in_words() {
        for (reason, words) in [
            (Reason::Start, "start"),
            (Reason::Demand, "demand"),
            (Reason::Failed("connect"), "failed: connect"),
            (Reason::Lost("ended"), "lost: ended"),
        ] {
            assert_eq!(reason.to_string(), words);
        }
    }
}
