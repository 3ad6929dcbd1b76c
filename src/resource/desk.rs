//! The desk: answers what is asked of the node on the main port, on a thread of its own.
//!
//! Encoding the metrics of many streams takes milliseconds, which a worker does not have. The same
//! thread measures the rates.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use super::{Node, health, node, statistics};
use crate::http::response::Response;
use crate::limits::{DESK_JOBS_MAX, RATE_INTERVAL};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `health`
    Health,
    /// `statistics`
    Statistics,
    /// `prometheus`
    Prometheus,
}

/// Takes questions.
#[derive(Clone, Debug)]
pub struct Desk {
    jobs: SyncSender<Job>,
}

struct Job {
    question: Question,
    reply: Box<dyn FnOnce(Response) + Send>,
}

impl Desk {
    /// Starts the desk's thread, which lives as long as a desk does.
    pub fn start(node: Arc<Node>) -> io::Result<Desk> {
        let (jobs, queue) = sync_channel(DESK_JOBS_MAX);
        std::thread::Builder::new().name("desk".into()).spawn(move || work(&queue, &node))?;
        Ok(Desk { jobs })
    }

    /// Has a question answered. Never waits: an answer that is here at once says that there are
    /// too many questions, and `reply` gets none; otherwise it does, on the desk's thread.
    pub fn ask(
        &self,
        question: Question,
        reply: impl FnOnce(Response) + Send + 'static,
    ) -> Option<Response> {
        match self.jobs.try_send(Job { question, reply: Box::new(reply) }) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Some(Response::text(503)),
        }
    }
}

fn work(queue: &Receiver<Job>, node: &Node) {
    let mut next = Instant::now() + RATE_INTERVAL;
    loop {
        match queue.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Job { question, reply }) => reply(match question {
                Question::Health => node::json(&health::of(node)),
                Question::Statistics => node::json(&statistics::of(node)),
                Question::Prometheus => node.prometheus(),
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now >= next {
            node.measure(now);
            next = now + RATE_INTERVAL;
        }
    }
}
