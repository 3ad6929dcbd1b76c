//! A worker's streams and what they come from: attempts are begun, connections watched.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::Interest;
use mio::unix::SourceFd;

use super::Worker;
use super::token::Token;
use crate::stream::Fill;
use crate::stream::failover::{Attempt, Show};

impl Worker {
    /// Lets the kernel tell when the upstream has something, and looks for what it has already.
    pub(super) fn watch_upstream(&mut self, number: usize, now: Instant) {
        let registry = self.poll.registry();
        let Some(stream) = self.streams.get_mut(number) else { return };
        let watch = |fill: &Fill| {
            let (source, token) = (fill.source().as_raw_fd(), Token::Upstream(number).into());
            match registry.register(&mut SourceFd(&source), token, Interest::READABLE) {
                // It has been since before.
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                result => result,
            }
        };
        if stream.source().better().is_some_and(|fill| watch(fill).is_err()) {
            stream.source().drop_better();
        }
        if stream.source().slate().is_some_and(|fill| watch(fill).is_err()) {
            stream.drop_slate(now);
        }
        stream.mark_readable();
        let watched = stream.source().last().map_or(Ok(()), watch);
        if let Err(why) = watched {
            stream.lose_upstream(why, now);
        }
        self.streams.mark(number);
    }

    /// Begins an attempt to reach a stream's upstream, if one is due.
    pub(super) fn begin_attempt(&mut self, number: usize, now: Instant) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        if self.stopping.is_none()
            && let Some(attempt) = stream.source().begin_attempt(now)
        {
            let sender = self.sender.clone();
            let deliver = move |result| sender.dialed(number, result);
            let Attempt { remote, reception, log } = attempt;
            let own = stream.gate().own().clone();
            if let Err(error) = self.dialer.start(own, remote, reception, log, deliver) {
                stream.dialed(Err(error), now);
                self.streams.mark(number);
            }
        }
        self.begin_slate(number, now);
        self.streams.reschedule(number, now);
    }

    /// Begins to play a stream's slate, if it is time.
    fn begin_slate(&mut self, number: usize, now: Instant) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        if self.stopping.is_none()
            && let Some(Show { slate, like }) = stream.begin_slate(now)
        {
            let sender = self.sender.clone();
            let deliver = move |result| sender.slate(number, result);
            let log = stream.log().clone();
            if let Err(error) = self.dialer.start_slate(slate, like, log, deliver) {
                stream.slate_begun(Err(error), now);
            }
        }
    }
}
