//! The desk: answers what is asked of the node on the main port, on threads of its own.
//!
//! Encoding the metrics of many streams takes milliseconds, which a worker does not have, nor
//! anybody who asks for the node's health: the metrics have a thread of their own. The other one
//! measures the rates.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use super::{Node, health, node, statistics};
use crate::http::response::Response;
use crate::limits::{DESK_JOBS_MAX, METRICS_SHARED_FOR, RATE_INTERVAL};

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
    numbers: SyncSender<Job>,
    metrics: SyncSender<Job>,
}

struct Job {
    question: Question,
    reply: Box<dyn FnOnce(Response) + Send>,
}

impl Desk {
    /// Starts the desk's threads, which live as long as a desk does.
    pub fn start(node: &Arc<Node>) -> io::Result<Desk> {
        let start = |name: &str, work: fn(&Receiver<Job>, &Node)| {
            let (jobs, queue) = sync_channel(DESK_JOBS_MAX);
            let node = Arc::clone(node);
            let thread = std::thread::Builder::new().name(name.into());
            thread.spawn(move || work(&queue, &node))?;
            io::Result::Ok(jobs)
        };
        Ok(Desk { numbers: start("desk", numbers)?, metrics: start("metrics", metrics)? })
    }

    /// Has a question answered. Never waits: an answer that is here at once says that there are
    /// too many questions, and `reply` gets none; otherwise it does, on the desk's thread.
    pub fn ask(
        &self,
        question: Question,
        reply: impl FnOnce(Response) + Send + 'static,
    ) -> Option<Response> {
        let jobs = match question {
            Question::Health | Question::Statistics => &self.numbers,
            Question::Prometheus => &self.metrics,
        };
        match jobs.try_send(Job { question, reply: Box::new(reply) }) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Some(Response::text(503)),
        }
    }
}

fn numbers(queue: &Receiver<Job>, node: &Node) {
    let mut next = Instant::now() + RATE_INTERVAL;
    loop {
        match queue.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Job { question: Question::Statistics, reply }) => {
                reply(node::json(&statistics::of(node)));
            }
            Ok(Job { reply, .. }) => reply(node::json(&health::of(node))),
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

/// Many who ask at once are sent the same text, which is in memory once.
fn metrics(queue: &Receiver<Job>, node: &Node) {
    let mut shared: Option<(Instant, Response)> = None;
    for Job { reply, .. } in queue {
        let now = Instant::now();
        let response = match shared.take() {
            Some((made, response)) if now - made < METRICS_SHARED_FOR => (made, response),
            _ => (now, node.prometheus()),
        };
        reply(response.1.clone());
        shared = Some(response);
    }
}
