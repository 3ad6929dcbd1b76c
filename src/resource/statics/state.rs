//! What a resource is at, and who waits for it.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::condition::Condition;
use super::kept::Kept;
use super::source::Cause;
use crate::http::response::Response;
use crate::limits::STATIC_WAITING_MAX;

/// Somebody who waits for the end of a fetch.
pub(super) struct Waiting {
    condition: Condition,
    reply: Box<dyn FnOnce(Response) + Send>,
}

impl Waiting {
    pub(super) fn new(
        condition: Condition,
        reply: impl FnOnce(Response) + Send + 'static,
    ) -> Waiting {
        Waiting { condition, reply: Box::new(reply) }
    }

    /// Answers what `response` makes of the condition.
    pub(super) fn answer(self, response: impl FnOnce(&Condition) -> Response) {
        (self.reply)(response(&self.condition));
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.condition).finish()
    }
}

/// What a resource is at.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The last body. It stays when it is stale: the next one may be the same.
    kept: Option<Arc<Kept>>,
    fetch: Fetch,
    /// What the log was told last.
    trouble: Option<Cause>,
}

#[derive(Debug, Default)]
enum Fetch {
    #[default]
    Idle,
    UnderWay(Vec<Waiting>),
    /// Its time is over, and its thread has not come back.
    Hung,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is answered with this.
    Fresh(Arc<Kept>),
    /// It is to [`State::join`] those who wait.
    Join,
    /// Nobody fetches: whoever asks is to have it done, and then to [`State::begin`].
    Begin,
    /// Too many wait already.
    Full,
    /// A fetch hangs, and no other is begun before it ends.
    Hung,
}

impl State {
    /// Decides about a request.
    pub(super) fn ask(&self, cache: Duration, now: Instant) -> Asked {
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.is_fresh(cache, now)) {
            return Asked::Fresh(Arc::clone(kept));
        }
        match &self.fetch {
            Fetch::Idle => Asked::Begin,
            Fetch::UnderWay(waiting) if waiting.len() >= STATIC_WAITING_MAX => Asked::Full,
            Fetch::UnderWay(_) => Asked::Join,
            Fetch::Hung => Asked::Hung,
        }
    }

    /// A fetch begins.
    pub(super) fn begin(&mut self, first: Waiting) {
        assert!(matches!(self.fetch, Fetch::Idle), "one fetch at a time");
        self.fetch = Fetch::UnderWay(vec![first]);
    }

    /// Somebody waits for the fetch that is under way.
    pub(super) fn join(&mut self, next: Waiting) {
        match &mut self.fetch {
            Fetch::UnderWay(waiting) => waiting.push(next),
            Fetch::Idle | Fetch::Hung => unreachable!("only a fetch that is under way is joined"),
        }
    }

    /// The fetch's time is over; answers who has waited for it.
    #[must_use]
    pub(super) fn hang(&mut self) -> Vec<Waiting> {
        mem::replace(&mut self.fetch, Fetch::Hung).into_waiting()
    }

    /// The fetch has ended, in time or not; answers who is still waiting for it.
    #[must_use]
    pub(super) fn end(&mut self) -> Vec<Waiting> {
        mem::take(&mut self.fetch).into_waiting()
    }

    /// The last body, fresh or not.
    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        self.kept.clone()
    }

    /// Keeps a body instead of the last one.
    pub(super) fn keep(&mut self, kept: Arc<Kept>) {
        self.kept = Some(kept);
    }

    /// Notes what came of a fetch; answers what came of the one before.
    pub(super) fn note(&mut self, trouble: Option<Cause>) -> Option<Cause> {
        mem::replace(&mut self.trouble, trouble)
    }
}

impl Fetch {
    fn into_waiting(self) -> Vec<Waiting> {
        match self {
            Fetch::UnderWay(waiting) => waiting,
            Fetch::Idle | Fetch::Hung => Vec::new(),
        }
    }
}
