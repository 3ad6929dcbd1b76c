//! What other threads, and other workers, hand to a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Instant;

use mio::{Registry, Waker};

use super::answer::Target;
use super::guests::{Next, unavailable};
use super::pulse::Pulse;
use super::token::Token;
use super::{Worker, unwatch, watch};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::via::Via;
use crate::limits::{ANSWERS_MAX, HANDED_OVER_MAX};
use crate::stream::{Stream, ViewerKey};
use crate::upstream::{DialError, Dialed};
use crate::viewer::Connection;
use crate::viewer::asker::Asker;

/// Something for a worker to do.
#[derive(Debug)]
pub enum Command {
    /// An attempt to reach a stream's upstream has come to an end, or the stream's owner feeds it.
    Dialed {
        /// The stream.
        stream: usize,
        /// What came of it.
        result: Box<Result<Dialed, DialError>>,
    },
    /// A stream's slate is being played, or cannot be.
    Slate {
        /// The stream.
        stream: usize,
        /// What came of it.
        result: Box<Result<Dialed, DialError>>,
    },
    /// A stream comes to its owner, who feeds it, by another way.
    Rerouted {
        /// The stream.
        stream: usize,
        /// The way.
        via: Via,
        /// It is the slate that comes.
        slate: bool,
    },
    /// What a guest asked for has been made.
    Answered {
        /// The guest.
        guest: ViewerKey,
        /// Its answer.
        response: Box<Response>,
    },
    /// Another worker's guest asks for a stream of this one.
    Asked(Box<HandedOver>),
    /// A stream is to go to another worker.
    Give {
        /// The stream.
        stream: usize,
        /// The other worker.
        to: usize,
    },
    /// A stream comes from another worker.
    Take {
        /// Its number.
        number: usize,
        /// The stream, which no event loop watches now.
        stream: Box<Stream>,
    },
    /// Another worker has no descriptors to accept connections with, and no guests to turn out.
    FreeDescriptors {
        /// How many guests are to go.
        guests: usize,
    },
    /// A stream has been switched off.
    SwitchedOff {
        /// The stream.
        stream: usize,
    },
}

/// A request for a stream, and the connection that it came on, which no event loop watches now.
#[derive(Debug)]
pub struct HandedOver {
    /// The stream.
    pub stream: usize,
    /// The connection.
    pub connection: Connection,
    /// The request, whose sender may have the stream.
    pub request: Request,
    /// What came after it.
    pub rest: Vec<u8>,
}

/// Sends commands to a worker, and wakes it.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: SyncSender<Queued>,
    /// Commands of other workers that wait.
    handed_over: Arc<AtomicUsize>,
    /// Commands have come since the worker last looked.
    come: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    waker: Arc<Waker>,
}

/// What a worker gets: commands, and the order to let its viewers go and end.
#[derive(Debug)]
pub struct Orders {
    /// Commands, in their order.
    pub commands: Commands,
    /// What it answers at the top of its loop.
    pub pulse: Arc<Pulse>,
    come: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

/// A command that waits.
#[derive(Debug)]
struct Queued {
    command: Command,
    /// It is another worker's, and counted.
    handed_over: bool,
}

/// The commands that wait for a worker.
#[derive(Debug)]
pub struct Commands {
    queue: Receiver<Queued>,
    handed_over: Arc<AtomicUsize>,
}

impl Commands {
    /// The next one, if there is any. Never waits.
    pub fn try_recv(&self) -> Result<Command, TryRecvError> {
        let Queued { command, handed_over } = self.queue.try_recv()?;
        if handed_over {
            self.handed_over.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(command)
    }
}

impl Orders {
    /// Whether commands have come since the last time.
    pub fn have_come(&self) -> bool {
        self.come.swap(false, Ordering::Acquire)
    }

    /// Whether the worker is to stop; true once.
    pub fn stop(&self) -> bool {
        self.stop.swap(false, Ordering::Acquire)
    }

    /// Other workers can hand over nothing from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// Makes the queue of a worker of a node with so many streams. There is at most one attempt a
/// stream; the rest of the room is for answers, and for what other workers hand over, which have
/// their part of it and no more. A thread that finds the queue full waits for the worker; another
/// worker never does.
pub fn channel(registry: &Registry, streams: usize) -> io::Result<(Sender, Orders)> {
    let (queue, waiting) = sync_channel(streams + ANSWERS_MAX + HANDED_OVER_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(Waker::new(registry, Token::Commands.into())?);
    let closed = Arc::new(AtomicBool::new(false));
    let handed_over = Arc::new(AtomicUsize::new(0));
    let commands = Commands { queue: waiting, handed_over: Arc::clone(&handed_over) };
    let (come, pulse) = (Arc::new(AtomicBool::new(false)), Arc::new(Pulse::default()));
    let sender = Sender { queue, handed_over, come, stop, closed, pulse, waker };
    let orders = Orders {
        commands,
        pulse: Arc::clone(&sender.pulse),
        come: Arc::clone(&sender.come),
        stop: Arc::clone(&sender.stop),
        closed: Arc::clone(&sender.closed),
    };
    Ok((sender, orders))
}

impl Sender {
    /// Hands over the result of an attempt.
    pub fn dialed(&self, stream: usize, result: Result<Dialed, DialError>) {
        self.send(Command::Dialed { stream, result: Box::new(result) });
    }

    /// Hands over the connection of a slate.
    pub fn slate(&self, stream: usize, result: Result<Dialed, DialError>) {
        self.send(Command::Slate { stream, result: Box::new(result) });
    }

    /// Hands over the answer that a guest waits for.
    pub fn answered(&self, guest: ViewerKey, response: Response) {
        self.send(Command::Answered { guest, response: Box::new(response) });
    }

    /// Hands over something of another worker's, if there is room and this one has not been told to
    /// stop: never waits.
    pub fn hand_over(&self, command: Command) -> Result<(), Command> {
        if self.closed.load(Ordering::Acquire) {
            return Err(command);
        }
        // Counted before it is there: it may be taken at once.
        let before = self.handed_over.fetch_add(1, Ordering::Relaxed);
        let refused = if before < HANDED_OVER_MAX {
            match self.queue.try_send(Queued { command, handed_over: true }) {
                Ok(()) => {
                    self.announce();
                    return Ok(());
                }
                Err(TrySendError::Full(queued) | TrySendError::Disconnected(queued)) => {
                    queued.command
                }
            }
        } else {
            command
        };
        self.handed_over.fetch_sub(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Tells the worker to stop. Never waits, not for one that hangs either.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn send(&self, command: Command) {
        // A worker that is gone needs no commands; what they carry is closed by dropping it.
        if self.queue.send(Queued { command, handed_over: false }).is_ok() {
            self.announce();
        }
    }

    /// Asks the worker whether its loop goes round. Never waits.
    pub fn ask_pulse(&self) {
        self.pulse.ask();
        self.wake();
    }

    /// Whether the worker has answered that since.
    pub fn has_answered(&self) -> bool {
        self.pulse.is_answered()
    }

    /// A command is in the queue.
    fn announce(&self) {
        self.come.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.waker.wake().expect("an eventfd takes a wake-up");
    }
}

impl Worker {
    /// Hands a request over to the worker that has its stream.
    pub(super) fn hand_over(&mut self, key: ViewerKey, asked: HandedOver) -> Next {
        if unwatch(self.poll.registry(), &asked.connection.socket).is_err() {
            self.counts.accept_error();
            return Next::Gone;
        }
        let owner = self.board.owner(asked.stream);
        let Err(command) = self.workers[owner].hand_over(Command::Asked(Box::new(asked))) else {
            self.counts.handed_over();
            return Next::Gone;
        };
        // It has more to do than there is room for, or has stopped.
        let Command::Asked(asked) = command else { return Next::Gone };
        let HandedOver { stream, connection, request, rest } = *asked;
        let response = unavailable();
        let target = Target::Stream(stream);
        self.refuse(target, &connection, &request, response.status(), "worker_busy");
        self.metrics.answered(response.status());
        if watch(self.poll.registry(), &connection.socket, Token::Guest(key)).is_err() {
            self.counts.accept_error();
            return Next::Gone;
        }
        Next::Send(Asker::new(connection, &request, rest).answer_last(response))
    }

    /// Goes on with a request that another worker has handed over.
    pub(super) fn take_over(&mut self, asked: HandedOver, now: Instant) {
        let key = self.guests.reserve();
        let socket = &asked.connection.socket;
        if watch(self.poll.registry(), socket, Token::Guest(key)).is_err() {
            self.counts.accept_error();
            return;
        }
        let next = if self.stopping.is_some() {
            let HandedOver { stream, connection, request, rest } = asked;
            self.turn_away(Target::Stream(stream), connection, &request, rest)
        } else {
            self.show(key, asked, now)
        };
        if let Next::Send(draining) = next {
            self.guests.adopt(key, draining, now);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
