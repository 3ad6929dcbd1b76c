//! Those who wait for the upstream of a stream on demand: how they come to wait, and how it ends.

use std::time::Instant;

use super::answer::Target;
use super::guests::Next;
use super::token::Token;
use super::{Worker, rename, watch};
use crate::http::request::{Method, Request};
use crate::http::response::Response;
use crate::stream::join::Readiness;
use crate::stream::lobby::{Called, Waiting};
use crate::stream::{Stream, ViewerKey};
use crate::viewer::Connection;
use crate::viewer::asker::Asker;
use crate::viewer::visit::Visit;

/// The status in the log of one who has hung up before it was answered; nobody is sent it. Other
/// servers write the same.
const HUNG_UP: u16 = 499;

impl Worker {
    /// Has somebody wait who was admitted, and the upstream tried if it is not.
    pub(super) fn park(
        &mut self,
        connection: Connection,
        number: usize,
        request: Request,
        now: Instant,
    ) {
        let stream = self.streams.get_mut(number).expect("it has admitted the viewer");
        let token = Token::Waiting(number, stream.next_waiting_key());
        if rename(self.poll.registry(), &connection.socket, token).is_err() {
            stream.dismiss(connection.client);
            self.counts.accept_error();
            return;
        }
        stream.wait(Waiting { connection, request, since: now }, now);
        self.awaits(number);
        self.begin_attempt(number, now);
        // It is published how many wait.
        self.streams.mark(number);
    }

    fn awaits(&mut self, number: usize) {
        if !self.awaited.contains(&number) {
            self.awaited.push(number);
        }
    }

    /// Watches those who wait for a stream that is taken in.
    pub(super) fn watch_lobby(&mut self, number: usize, stream: &mut Stream, now: Instant) {
        let registry = self.poll.registry();
        let token = |key| Token::Waiting(number, key);
        let sockets = stream.lobby_sockets();
        let lost: Vec<ViewerKey> = sockets
            .filter_map(|(key, socket)| watch(registry, socket, token(key)).is_err().then_some(key))
            .collect();
        for key in lost {
            stream.drop_waiting(key, now);
            self.counts.accept_error();
        }
        if stream.lobby_len() > 0 {
            self.awaits(number);
        }
    }

    /// Takes note of what the connection of one who waits reports.
    pub(super) fn on_waiting(
        &mut self,
        number: usize,
        key: ViewerKey,
        ready: Readiness,
        now: Instant,
    ) {
        let stream = self.streams.get_mut(number);
        let Some((gone, why)) = stream.and_then(|stream| stream.on_waiting(key, ready, now)) else {
            return;
        };
        let Waiting { connection, request, since } = gone;
        self.log_unserved(&connection, &request, HUNG_UP, why.reason(), now - since);
        self.streams.mark(number);
    }

    /// Ends the waiting of those for whom it is over.
    pub(super) fn attend(&mut self, now: Instant) {
        if self.awaited.is_empty() {
            return;
        }
        for number in std::mem::take(&mut self.awaited) {
            let Some(stream) = self.streams.get_mut(number) else { continue };
            if self.stopping.is_some() {
                for waiting in stream.clear_lobby(now) {
                    self.turn_out(number, waiting, now);
                }
            } else {
                for (waiting, called) in stream.call(now) {
                    self.called(number, waiting, called, now);
                }
            }
            let stream = self.streams.get(number);
            if stream.is_some_and(|stream| stream.lobby_len() > 0) {
                self.awaited.push(number);
            }
        }
    }

    fn called(&mut self, number: usize, waiting: Waiting, called: Called, now: Instant) {
        let Waiting { connection, request, since } = waiting;
        self.streams.mark(number);
        match called {
            Called::In => self.welcome(connection, number, request, since, now),
            Called::Away(why) => {
                let response = self.refused_stream();
                let (target, status) = (Target::Stream(number), response.status());
                self.refuse(target, &connection, &request, status, why.reason());
                self.metrics.answered(status);
                let asker = Asker::new(connection, &request, Vec::new());
                self.send_away(Next::Send(asker.answer_last(response)), now);
            }
        }
    }

    /// We stop, and somebody waits.
    fn turn_out(&mut self, number: usize, waiting: Waiting, now: Instant) {
        let Waiting { connection, request, .. } = waiting;
        self.streams.mark(number);
        let next = self.turn_away(Target::Stream(number), connection, &request, Vec::new());
        self.send_away(next, now);
    }

    /// Sends somebody an answer who was no guest any more.
    fn send_away(&mut self, next: Next, now: Instant) {
        let Next::Send(draining) = next else { return };
        let key = self.guests.reserve();
        match rename(self.poll.registry(), draining.socket(), Token::Guest(key)) {
            Ok(()) => self.guests.adopt(key, draining, now),
            Err(_gone) => self.counts.accept_error(),
        }
    }

    /// Has a viewer join who has a place, at `now`; it has asked at `since`.
    pub(super) fn welcome(
        &mut self,
        connection: Connection,
        number: usize,
        request: Request,
        since: Instant,
        now: Instant,
    ) {
        let stream = self.streams.get(number).expect("it has admitted the viewer");
        let response = shown(stream);
        self.metrics.answered(response.status());
        let head = response.outgoing(Method::Get, request.version, false).head;
        self.join(connection, number, Visit::new(request, since), head, now);
    }
}

/// The answer with a stream.
pub(super) fn shown(stream: &Stream) -> Response {
    Response::stream(200).header("Via", &stream.via().by(stream.gate().own()))
}

#[cfg(test)]
mod tests;
