//! A worker that is told to stop, and how long it goes on.

use std::time::Instant;

use super::Worker;
use super::answer::Target;
use super::guests::{Next, unavailable};
use super::handoff::Command;
use crate::http::request::Request;
use crate::limits::DRAIN_TIMEOUT;
use crate::stream::Stream;
use crate::viewer::Connection;
use crate::viewer::asker::Asker;

impl Worker {
    /// No new connections, no new attempts; viewers get the rest of their packet, and guests an
    /// answer.
    pub(super) fn stop(&mut self, now: Instant) {
        self.stopping = Some(now + DRAIN_TIMEOUT);
        self.orders.close();
        // What was handed over before is looked at before anybody says that nobody is left.
        self.commanded = true;
        self.listeners.close(self.poll.registry());
        self.guests.close(now, &self.metrics);
        self.streams.unmark_all();
        for number in self.streams.numbers() {
            self.stop_stream(number, now);
        }
    }

    pub(super) fn stop_stream(&mut self, number: usize, now: Instant) {
        let stream = self.streams.get_mut(number);
        if stream.is_some_and(|stream| stream.stop(now)) {
            self.streams.mark(number);
        }
    }

    /// What somebody gets who asks while we stop.
    pub(super) fn turn_away(
        &mut self,
        target: Target,
        connection: Connection,
        request: &Request,
        rest: Vec<u8>,
    ) -> Next {
        let response = unavailable();
        self.refuse(target, &connection, request, response.status(), "stopping");
        self.metrics.answered(response.status());
        Next::Send(Asker::new(connection, request, rest).answer_last(response))
    }

    /// Ends: who has not taken the rest in time is cut, on a stream that comes too late as well.
    pub(super) fn cut(&mut self, now: Instant) {
        while let Ok(command) = self.orders.commands.try_recv() {
            if let Command::Take { mut stream, .. } = command {
                stream.cut(now);
            }
        }
        for number in self.streams.numbers() {
            if let Some(stream) = self.streams.get_mut(number) {
                stream.cut(now);
            }
        }
    }

    /// Whether nobody is left, or their time is up.
    pub(super) fn is_done(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|deadline| {
            let left = self.streams.iter().map(Stream::viewers).sum::<usize>();
            now >= deadline || (left == 0 && self.guests.is_empty() && !self.commanded)
        })
    }
}
