//! Guests of a worker that is told to stop.
//!
//! Nobody who was let in goes without an answer. Who waits for one is told to come again. Who has
//! not asked yet is heard for a moment: a request may be on its way, or in the socket already. Who
//! has had an answer and is silent goes: HTTP leaves it to the server when to close an idle
//! connection (RFC 9112, 9.5).

use std::time::Instant;

use super::{Guest, Guests, Stage, ViewerKey, refusal};
use crate::http::response::Response;
use crate::limits::STOP_ASKING_TIMEOUT;
use crate::metrics::Metrics;
use crate::viewer::asking::Asking;

/// What somebody gets who asks a worker that stops, or that cannot serve it now.
pub fn unavailable() -> Response {
    Response::stream(503).header("Retry-After", "1")
}

impl Guests {
    /// Begins to let everybody go. From now on what is asked is answered for the last time.
    pub fn close(&mut self, now: Instant, metrics: &Metrics) {
        let heard_until = now + STOP_ASKING_TIMEOUT;
        self.closing = Some(heard_until);
        for (_, index) in std::mem::take(&mut self.queues[Stage::Asking as usize]) {
            let place = &mut self.places[index];
            place.deadline = place.deadline.min(heard_until);
            self.queues[Stage::Asking as usize].insert((place.deadline, index));
            let key = ViewerKey { index, generation: self.places[index].generation };
            self.mark(key);
        }
        while let Some(&(_, index)) = self.queues[Stage::Waiting as usize].first() {
            let key = ViewerKey { index, generation: self.places[index].generation };
            let next = match self.take(key) {
                Some(Guest::Waiting(asker)) => {
                    metrics.answered(503);
                    Some(Guest::Sending(asker.answer_last(unavailable())))
                }
                _ => None,
            };
            self.put_back(key, next, now);
            self.mark(key);
        }
    }

    /// One who has not asked, or not to the end, stays unless we stop and it is idle.
    pub(super) fn stays(&self, asking: Asking) -> Option<Guest> {
        let goes = self.closing.is_some() && asking.is_idle();
        (!goes).then_some(Guest::Asking(asking))
    }

    /// What becomes of one who has not asked in time.
    pub(super) fn too_late(
        &mut self,
        key: ViewerKey,
        asking: Asking,
        metrics: &Metrics,
    ) -> Option<Guest> {
        if !asking.is_told_of_timeout() {
            return None;
        }
        let answer = if self.closing.is_some() { unavailable() } else { Response::text(408) };
        metrics.answered(answer.status());
        self.send(key, refusal(asking.give_up(), answer))
    }
}
