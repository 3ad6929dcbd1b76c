//! Giving a stream to another worker, whole: with its upstream and its viewers.
//!
//! From one turn to the next another event loop watches its descriptors. Nothing is lost: what the
//! kernel has to tell of a descriptor it tells the loop that registers it.

use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use slog::{info, warn};

use super::handoff::Command;
use super::token::Token;
use super::{Worker, unwatch, watch};
use crate::stream::Stream;

impl Worker {
    /// Gives a stream to another worker, if it is here and may go now.
    pub(super) fn give(&mut self, number: usize, to: usize, now: Instant) {
        let may_go = |stream: &Stream| stream.may_move();
        if self.stopping.is_some() || !self.streams.get(number).is_some_and(may_go) {
            return;
        }
        let Some(mut stream) = self.streams.remove(number) else { return };
        self.unwatch_stream(&mut stream);
        let viewers = stream.viewers();
        match self.workers[to].hand_over(Command::Take { number, stream }) {
            Ok(()) => {
                self.board.given(number, to);
                self.counts.gave();
                let path = self.board.path(number);
                info!(self.log, "{path} moves to worker {to}";
                    "event" => "move", "stream" => path, "viewers" => viewers, "to" => to);
            }
            Err(Command::Take { number, stream }) => self.take(number, stream, now),
            Err(_other) => unreachable!("what was not taken comes back"),
        }
    }

    /// Takes a stream in.
    pub(super) fn take(&mut self, number: usize, mut stream: Box<Stream>, now: Instant) {
        let registry = self.poll.registry();
        let mut lost = Vec::new();
        for (key, socket) in stream.sockets() {
            if watch(registry, socket, Token::Viewer(number, key)).is_err() {
                lost.push(key);
            }
        }
        if !lost.is_empty() {
            warn!(self.log, "{} viewers cannot be watched, and are let go", lost.len();
                "event" => "error", "error" => "watch");
        }
        for key in lost {
            stream.drop_viewer(key, now);
        }
        self.watch_lobby(number, &mut stream, now);
        self.streams.insert(number, stream);
        self.watch_upstream(number, now);
        self.streams.mark(number);
        self.streams.reschedule(number, now);
        if self.stopping.is_some() {
            self.stop_stream(number, now);
        }
    }

    fn unwatch_stream(&self, stream: &mut Stream) {
        let registry = self.poll.registry();
        // A descriptor that is not watched has been reported: its end is known, or will be.
        for (_, socket) in stream.sockets().chain(stream.lobby_sockets()) {
            let _not_watched = unwatch(registry, socket);
        }
        let source = stream.source();
        for fill in [source.connected(), source.better(), source.slate()].into_iter().flatten() {
            let _not_watched = registry.deregister(&mut SourceFd(&fill.source().as_raw_fd()));
        }
    }
}
