//! Streams that are in every worker: their owner feeds the others.

use std::os::fd::OwnedFd;

use restreamer_sys::pipe::Pipe;
use slog::warn;

use super::Worker;
use super::handoff::{Command, Sender};
use crate::http::via::Via;
use crate::limits::{FEED_PIPE_BYTES_MIN, PIPED_BYTES, UPSTREAM_PIPE_BYTES};
use crate::upstream::Dialed;

impl Worker {
    /// The other workers.
    pub(super) fn others(&self) -> impl Iterator<Item = (usize, &Sender)> {
        self.workers.iter().enumerate().filter(|&(number, _)| number != self.number)
    }

    /// Feeds a stream, if it is hot and has just been connected here, to all other workers. One
    /// that cannot be fed has its viewers served here. Those that have been fed since before go on
    /// with what comes now, and are told when that is by another way.
    pub(super) fn feed_others(&mut self, number: usize) {
        if !self.board.is_hot(number) || self.board.owner(number) != self.number {
            return;
        }
        // A turn that upstreams shorten brings INTAKE_BYTES_PER_TURN; a fixed one may bring more.
        let bytes = if self.period.is_fixed() { UPSTREAM_PIPE_BYTES } else { PIPED_BYTES };
        let Some(stream) = self.streams.get_mut(number) else { return };
        let (via, rerouted) = (stream.via(), stream.take_rerouted());
        let slate = stream.is_slate_shown();
        let fed: Vec<bool> =
            (0..self.workers.len()).map(|worker| stream.feeds_worker(worker)).collect();
        let (mut ends, mut busy) = (Vec::new(), Vec::new());
        for (other, worker) in self.others() {
            if !fed[other] {
                match feed(worker, number, bytes, via.clone()) {
                    Ok(end) => ends.push((other, end)),
                    Err(why) => {
                        let path = self.board.path(number);
                        warn!(self.log, "{path} is not fed to worker {other}: {why}";
                            "event" => "error", "error" => "feed", "stream" => path);
                        continue;
                    }
                }
            }
            let tells = if fed[other] { rerouted } else { slate };
            let told =
                || worker.hand_over(Command::Rerouted { stream: number, via: via.clone(), slate });
            // What it cannot be told of it must not go on with.
            busy.extend((tells && told().is_err()).then_some(other));
        }
        if let Some(stream) = self.streams.get_mut(number) {
            for (other, end) in ends {
                stream.feed_to(other, end);
            }
            for other in busy {
                stream.end_feed(other);
            }
        }
    }
}

/// Why a worker is not fed.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("there is no pipe: {0}")]
    Pipe(#[from] std::io::Error),
    #[error("the kernel grants a pipe of {0} bytes only (pipe-user-pages-soft)")]
    Narrow(usize),
    #[error("it is too busy")]
    Busy,
}

/// Gives a worker the end of a pipe with so much room to read; answers the other. What comes by it
/// has come to us by `via`.
fn feed(worker: &Sender, stream: usize, bytes: usize, via: Via) -> Result<OwnedFd, FeedError> {
    let pipe = Pipe::with_capacity(bytes)?;
    if pipe.capacity() < FEED_PIPE_BYTES_MIN {
        return Err(FeedError::Narrow(pipe.capacity()));
    }
    let (reader, writer) = pipe.into_ends();
    let result = Box::new(Ok(Dialed { via, ..Dialed::raw(reader) }));
    let taken = worker.hand_over(Command::Dialed { stream, result });
    taken.map(|()| writer).map_err(|_full| FeedError::Busy)
}
