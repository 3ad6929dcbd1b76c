//! A worker: a thread with an event loop, its streams with all their viewers, and its two pipes.
//!
//! Owns everything it touches; what is shared is made for it: metrics, limits of viewers, the
//! [`board`] of all workers, and queues.
//! Never blocks on anything but its own clock: names, connects, heads and files are the business of
//! other threads, which send what they have by [`handoff`]. Events mark; the *turn* works. Turns
//! keep a period: what arrives in between is collected and costs no wake-up of its own.

pub mod accept;
pub mod answer;
pub mod balance;
pub mod board;
pub mod deadlines;
pub mod guests;
pub mod handoff;
pub mod load;
mod lobbies;
pub mod pulse;
mod spread;
pub mod steer;
mod stop;
pub mod streams;
pub mod token;
pub mod transfer;
pub mod turn;
mod upstreams;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry};
use slog::{Logger, info, warn};

use crate::clock::earlier;
use crate::config::{RefuseWith, TurnPeriod};
use crate::door::AtAccept;
use crate::http::route::Routes;
use crate::limits::{COMMANDS_PER_TURN_MAX, EVENTS_MAX};
use crate::log::access::AccessLog;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::resource::{Desk, Static};
use crate::stream::Stream;
use crate::stream::join::Readiness;
use crate::stream::trunk::Trunk;
use crate::upstream::Dialer;
use accept::{Arrival, Listeners};
use answer::Resource;
use board::Board;
use guests::{Guests, Room};
use handoff::{Command, Orders, Sender};
use streams::Streams;
use token::Token;
use turn::{Period, Told};

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number.
    pub number: usize,
    /// Its share of the room for guests.
    pub room: Room,
    /// The node's streams, in their order: those that it has.
    pub streams: Vec<Option<Stream>>,
    /// Who has which stream.
    pub board: Arc<Board>,
    /// What is served.
    pub resources: Vec<Resource>,
    /// Where viewers come in.
    pub listeners: Vec<TcpListener>,
    /// Whether these are open in this process alone.
    pub ours: bool,
    /// Who may connect, where there is a door.
    pub door: Option<AtAccept>,
    /// What starts attempts to reach upstreams.
    pub dialer: Dialer,
    /// How connections come in.
    pub arrival: Arrival,
    /// What a viewer gets who is refused.
    pub refuse_with: RefuseWith,
    /// What answers questions about the node.
    pub desk: Desk,
    /// The static resources.
    pub statics: Vec<Arc<Static>>,
    /// Where it is told that viewers were refused.
    pub access: AccessLog,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// The turn's period.
    pub period: TurnPeriod,
    /// The log.
    pub log: Logger,
}

/// A worker; see the module.
#[derive(Debug)]
pub struct Worker {
    number: usize,
    poll: Poll,
    trunk: Trunk,
    streams: Streams,
    board: Arc<Board>,
    /// All workers, in the order of their numbers.
    workers: Arc<[Sender]>,
    routes: Routes<usize>,
    resources: Vec<Resource>,
    arrival: Arrival,
    refuse_with: RefuseWith,
    desk: Desk,
    statics: Vec<Arc<Static>>,
    access: AccessLog,
    listeners: Listeners,
    /// Streams that somebody waits for.
    awaited: Vec<usize>,
    guests: Guests,
    orders: Orders,
    /// Commands may be waiting.
    commanded: bool,
    sender: Sender,
    dialer: Dialer,
    metrics: Arc<Metrics>,
    counts: WorkerMetrics,
    period: Period,
    told: Told,
    log: Logger,
    /// When the rest of the viewers is cut, once we are told to stop.
    stopping: Option<Instant>,
}

impl Worker {
    /// Makes a worker and answers it with what sends it commands. It does nothing before
    /// [`Worker::run`].
    pub fn new(parts: Parts, now: Instant) -> io::Result<(Worker, Sender)> {
        let poll = Poll::new()?;
        let (sender, orders) = handoff::channel(poll.registry(), parts.streams.len())?;
        let mut listeners = Listeners::new(parts.listeners, parts.ours, parts.door);
        listeners.register(poll.registry())?;
        let worker = Worker {
            number: parts.number,
            trunk: Trunk::new()?,
            streams: Streams::new(parts.streams, now),
            board: parts.board,
            workers: Arc::new([]),
            routes: answer::routes(&parts.resources),
            resources: parts.resources,
            arrival: parts.arrival,
            refuse_with: parts.refuse_with,
            desk: parts.desk,
            statics: parts.statics,
            access: parts.access,
            listeners,
            awaited: Vec::new(),
            guests: Guests::new(parts.room),
            orders,
            commanded: false,
            sender: sender.clone(),
            dialer: parts.dialer,
            counts: parts.metrics.worker(parts.number),
            metrics: parts.metrics,
            period: Period::new(parts.period, now),
            told: Told::new(now),
            log: parts.log,
            stopping: None,
            poll,
        };
        Ok((worker, sender))
    }

    /// Makes it known to the others. `workers` are all there are, in the order of their numbers.
    pub fn meet(&mut self, workers: Arc<[Sender]>) {
        self.workers = workers;
    }

    /// Works until it is told to stop and the last viewer is gone. An error is the loop's own.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        info!(self.log, "a part of a chunk is at most {} bytes", self.trunk.capacity();
            "event" => "start");
        let mut awake = Instant::now();
        loop {
            let rest = Instant::now();
            self.worked(rest.duration_since(awake));
            // What arrives between two turns is collected with one call and costs no wake-up.
            std::thread::sleep(self.period.due().saturating_duration_since(rest));
            match self.poll.poll(&mut events, self.patience(Instant::now())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.orders.pulse.answer();
            let now = Instant::now();
            awake = now;
            for event in &events {
                self.on_event(event, now);
            }
            self.on_deadlines(now);
            if self.has_work(now) {
                self.turn(now);
            }
            if self.is_done(now) {
                self.cut(now);
                self.orders.pulse.end();
                return Ok(());
            }
        }
    }

    fn worked(&self, took: Duration) {
        self.board.worked(self.number, took);
        self.counts.busy(took);
    }

    /// How long the kernel may keep us waiting for an event; `None`: for ever.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if self.has_work(now) {
            return Some(Duration::ZERO);
        }
        let next = earlier(self.streams.deadline(), self.guests.deadline());
        let next = earlier(next, self.listeners.deadline());
        earlier(next, self.stopping).map(|deadline| deadline.saturating_duration_since(now))
    }

    fn has_work(&self, now: Instant) -> bool {
        self.commanded
            || self.streams.have_work()
            || self.guests.have_work()
            || self.listeners.have_work(now)
    }

    fn on_event(&mut self, event: &mio::event::Event, now: Instant) {
        let ready = Readiness {
            readable: event.is_readable() || event.is_read_closed(),
            writable: event.is_writable(),
            closed: event.is_error() || (event.is_read_closed() && event.is_write_closed()),
        };
        match Token::from(event.token()) {
            Token::Commands => {
                // A question alone is no work.
                self.commanded |= self.orders.have_come();
                if self.orders.stop() {
                    self.stop(now);
                }
            }
            Token::Listener(number) => self.listeners.mark(number),
            Token::Guest(key) => self.guests.mark(key),
            Token::Upstream(number) => {
                if let Some(stream) = self.streams.get_mut(number) {
                    stream.mark_readable();
                    self.streams.mark(number);
                }
            }
            Token::Waiting(number, key) => self.on_waiting(number, key, ready, now),
            Token::Viewer(number, key) => {
                let stream = self.streams.get_mut(number);
                if stream.is_some_and(|stream| stream.on_viewer(key, ready, now)) {
                    self.streams.mark(number);
                }
            }
        }
    }

    /// Does what other threads and workers ask for; what is beyond a turn's share waits for the
    /// next one.
    fn heed_commands(&mut self, now: Instant) {
        if !std::mem::take(&mut self.commanded) {
            return;
        }
        for _ in 0..COMMANDS_PER_TURN_MAX {
            match self.orders.commands.try_recv() {
                Ok(command) => self.heed(command, now),
                Err(_no_more) => return,
            }
        }
        self.commanded = true;
    }

    fn heed(&mut self, command: Command, now: Instant) {
        match command {
            Command::Dialed { stream: number, result } => {
                let stream = self.streams.get_mut(number).expect("no stream leaves that dials");
                let connected = stream.dialed(*result, now);
                if connected && self.stopping.is_none() {
                    self.watch_upstream(number, now);
                    self.feed_others(number);
                }
                self.streams.reschedule(number, now);
                // Whoever waits for it is called, or nobody wants it any more.
                self.streams.mark(number);
            }
            Command::Slate { stream: number, result } => {
                let stream =
                    self.streams.get_mut(number).expect("no stream leaves that begins one");
                if stream.slate_begun(*result, now) && self.stopping.is_none() {
                    self.watch_upstream(number, now);
                    self.feed_others(number);
                }
                self.streams.reschedule(number, now);
            }
            Command::Rerouted { stream: number, via, slate } => {
                if let Some(stream) = self.streams.get_mut(number) {
                    stream.reroute(&via, slate, now);
                    self.streams.mark(number);
                }
            }
            Command::Answered { guest, response } => {
                let status = response.status();
                if self.guests.answered(guest, *response, now) {
                    self.metrics.answered(status);
                }
            }
            Command::Asked(asked) => self.take_over(*asked, now),
            Command::Give { stream, to } => self.give(stream, to, now),
            Command::Take { number, stream } => self.take(number, stream, now),
            Command::FreeDescriptors { guests } => {
                self.guests.free_descriptors(guests);
            }
            Command::SwitchedOff { stream } => {
                if !self.end_viewers(stream, now) {
                    let path = self.board.path(stream);
                    warn!(self.log, "the viewers of {path} stay: its worker is busy";
                        "event" => "error", "error" => "busy", "stream" => path);
                }
            }
        }
    }

    fn on_deadlines(&mut self, now: Instant) {
        if self.guests.deadline().is_some_and(|due| due <= now) {
            self.guests.on_deadline(now, &self.metrics);
            self.counts.guests(self.guests.len());
        }
        for number in self.streams.take_due(now) {
            let Some(stream) = self.streams.get_mut(number) else { continue };
            if stream.on_deadline(now) {
                // Its turn sets its next deadline.
                self.streams.mark(number);
                continue;
            }
            self.begin_attempt(number, now);
        }
    }
}

/// Watches a connection for everything, once and for all: the kernel reports changes only.
fn watch(registry: &Registry, socket: &impl AsFd, token: Token) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_fd().as_raw_fd()), token.into(), interest)
}

/// Watches a connection no longer.
fn unwatch(registry: &Registry, socket: &impl AsFd) -> io::Result<()> {
    registry.deregister(&mut SourceFd(&socket.as_fd().as_raw_fd()))
}

/// The same connection under another token.
fn rename(registry: &Registry, socket: &impl AsFd, token: Token) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.reregister(&mut SourceFd(&socket.as_fd().as_raw_fd()), token.into(), interest)
}
