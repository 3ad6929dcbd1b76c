//! A worker: a thread with an event loop, its streams with all their viewers, and its two pipes.
//!
//! Owns everything it touches; nothing in here is shared but metrics and the count of viewers.
//! Never blocks on anything but its own clock: names, connects, heads and files are the business of
//! other threads, which send what they have by [`handoff`]. Events mark; the *turn* works. Turns
//! keep a period: what arrives in between is collected and costs no wake-up of its own.

pub mod accept;
pub mod answer;
pub mod deadlines;
pub mod guests;
pub mod handoff;
pub mod token;
pub mod turn;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry};
use slog::{Logger, info};

use crate::clock::earlier;
use crate::config::{RefuseWith, TurnPeriod};
use crate::http::route::Routes;
use crate::limits::{DRAIN_TIMEOUT, EVENTS_MAX};
use crate::log::access::AccessLog;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::resource::{Desk, Static};
use crate::stream::Stream;
use crate::stream::failover::Attempt;
use crate::stream::join::Readiness;
use crate::stream::trunk::Trunk;
use crate::upstream::Dialer;
use accept::{Arrival, Listeners};
use answer::Resource;
use deadlines::Deadlines;
use guests::Guests;
use handoff::{Command, Orders, Sender};
use token::Token;
use turn::Period;

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number.
    pub number: usize,
    /// Its streams.
    pub streams: Vec<Stream>,
    /// What is served.
    pub resources: Vec<Resource>,
    /// Where viewers come in.
    pub listeners: Vec<TcpListener>,
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
    poll: Poll,
    trunk: Trunk,
    streams: Vec<Stream>,
    /// Streams that need a turn, each once.
    marked: Vec<usize>,
    is_marked: Vec<bool>,
    routes: Routes<usize>,
    resources: Vec<Resource>,
    arrival: Arrival,
    refuse_with: RefuseWith,
    desk: Desk,
    statics: Vec<Arc<Static>>,
    access: AccessLog,
    listeners: Listeners,
    guests: Guests,
    deadlines: Deadlines,
    orders: Orders,
    sender: Sender,
    dialer: Dialer,
    metrics: Arc<Metrics>,
    counts: WorkerMetrics,
    period: Period,
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
        let mut listeners = Listeners::new(parts.listeners);
        listeners.register(poll.registry())?;
        let worker = Worker {
            trunk: Trunk::new()?,
            is_marked: vec![false; parts.streams.len()],
            marked: Vec::with_capacity(parts.streams.len()),
            deadlines: Deadlines::new(parts.streams.len(), now),
            streams: parts.streams,
            routes: answer::routes(&parts.resources),
            resources: parts.resources,
            arrival: parts.arrival,
            refuse_with: parts.refuse_with,
            desk: parts.desk,
            statics: parts.statics,
            access: parts.access,
            listeners,
            guests: Guests::default(),
            orders,
            sender: sender.clone(),
            dialer: parts.dialer,
            counts: parts.metrics.worker(parts.number),
            metrics: parts.metrics,
            period: Period::new(parts.period, now),
            log: parts.log,
            stopping: None,
            poll,
        };
        Ok((worker, sender))
    }

    /// Works until it is told to stop and the last viewer is gone. An error is the loop's own.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        info!(self.log, "a part of a chunk is at most {} bytes", self.trunk.capacity();
            "event" => "start");
        loop {
            // What arrives between two turns is collected with one call and costs no wake-up.
            std::thread::sleep(self.period.due().saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, self.patience(Instant::now())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                self.on_event(event, now);
            }
            self.on_deadlines(now);
            if self.has_work(now) {
                self.turn(now);
            }
            if self.is_done(now) {
                for stream in &mut self.streams {
                    stream.cut(now);
                }
                return Ok(());
            }
        }
    }

    /// How long the kernel may keep us waiting for an event; `None`: for ever.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if self.has_work(now) {
            return Some(Duration::ZERO);
        }
        let next = earlier(self.deadlines.next(), self.guests.deadline());
        let next = earlier(next, self.listeners.deadline());
        earlier(next, self.stopping).map(|deadline| deadline.saturating_duration_since(now))
    }

    fn has_work(&self, now: Instant) -> bool {
        !self.marked.is_empty() || self.guests.have_work() || self.listeners.have_work(now)
    }

    fn is_done(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|deadline| {
            let left = self.streams.iter().map(Stream::viewers).sum::<usize>();
            now >= deadline || (left == 0 && self.guests.is_empty())
        })
    }

    fn on_event(&mut self, event: &mio::event::Event, now: Instant) {
        let ready = Readiness {
            readable: event.is_readable() || event.is_read_closed(),
            writable: event.is_writable(),
            closed: event.is_error() || (event.is_read_closed() && event.is_write_closed()),
        };
        match Token::from(event.token()) {
            Token::Commands => self.on_commands(now),
            Token::Listener(number) => self.listeners.mark(number),
            Token::Guest(key) => self.guests.mark(key),
            Token::Upstream(stream) => {
                self.streams[stream].mark_readable();
                self.mark(stream);
            }
            Token::Viewer(stream, key) => {
                if self.streams[stream].on_viewer(key, ready, now) {
                    self.mark(stream);
                }
            }
        }
    }

    fn on_commands(&mut self, now: Instant) {
        while let Ok(command) = self.orders.commands.try_recv() {
            match command {
                Command::Dialed { stream, result } => {
                    let connected = self.streams[stream].failover().dialed(*result, now);
                    if connected && self.stopping.is_none() {
                        self.watch_upstream(stream, now);
                    }
                    self.reschedule(stream, now);
                }
                Command::Answered { guest, response } => {
                    let status = response.status();
                    if self.guests.answered(guest, *response, now) {
                        self.metrics.answered(status);
                    }
                }
            }
        }
        if self.orders.stop() {
            self.stop(now);
        }
    }

    /// Lets the kernel tell when the upstream has something, and looks for what it has already.
    fn watch_upstream(&mut self, stream: usize, now: Instant) {
        let registry = self.poll.registry();
        let Some(fill) = self.streams[stream].failover().connected() else { return };
        let token = Token::Upstream(stream).into();
        let source = fill.source().as_raw_fd();
        match registry.register(&mut SourceFd(&source), token, Interest::READABLE) {
            Ok(()) => self.streams[stream].mark_readable(),
            Err(why) => self.streams[stream].lose_upstream(why, now),
        }
        self.mark(stream);
    }

    fn on_deadlines(&mut self, now: Instant) {
        if self.guests.deadline().is_some_and(|due| due <= now) {
            self.guests.on_deadline(now, &self.metrics);
            self.counts.guests(self.guests.len());
        }
        // All that are due first: one that is due again at once has to wait for the next round.
        let due: Vec<_> = std::iter::from_fn(|| self.deadlines.take_due(now)).collect();
        for stream in due {
            if self.streams[stream].on_deadline(now) {
                // Its turn sets its next deadline.
                self.mark(stream);
                continue;
            }
            if self.stopping.is_none()
                && let Some(attempt) = self.streams[stream].failover().begin_attempt(now)
            {
                let sender = self.sender.clone();
                let deliver = move |result| sender.dialed(stream, result);
                let Attempt { remote, reception, log } = attempt;
                if let Err(error) = self.dialer.start(remote, reception, log, deliver) {
                    self.streams[stream].failover().dialed(Err(error), now);
                }
            }
            self.reschedule(stream, now);
        }
    }

    fn reschedule(&mut self, stream: usize, now: Instant) {
        self.deadlines.set(stream, self.streams[stream].deadline(now));
    }

    fn mark(&mut self, stream: usize) {
        if !std::mem::replace(&mut self.is_marked[stream], true) {
            self.marked.push(stream);
        }
    }

    /// No new connections, no new attempts; viewers get the rest of their packet.
    fn stop(&mut self, now: Instant) {
        self.stopping = Some(now + DRAIN_TIMEOUT);
        self.listeners.close();
        self.guests.dismiss();
        self.marked.clear();
        self.is_marked.fill(false);
        for stream in 0..self.streams.len() {
            if self.streams[stream].stop(now) {
                self.mark(stream);
            }
        }
    }
}

/// Watches a connection for everything, once and for all: the kernel reports changes only.
fn watch(registry: &Registry, socket: &impl AsFd, token: Token) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_fd().as_raw_fd()), token.into(), interest)
}

/// The same connection under another token.
fn rename(registry: &Registry, socket: &impl AsFd, token: Token) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.reregister(&mut SourceFd(&socket.as_fd().as_raw_fd()), token.into(), interest)
}
