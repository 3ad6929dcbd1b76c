//! A viewer's connection and what it is doing.
//!
//! Owns the socket and the state of one viewer; each state is a type, and a transition takes the
//! old one by value: [`asking::Asking`] (its request head is read) → [`catching_up::CatchingUp`]
//! (served from the ring, at its own position) ⇄ [`live::Live`] (at the head, fed by the fan-out)
//! → [`ending::Ending`] (gets the rest, then is let go). Who asks for something else or is refused
//! is an [`asker::Asker`], then [`draining::Draining`] when the answer is there, and may ask again.
//! Never holds a copy of the stream beyond the rest of one packet. Driven by the stream's turn; a
//! guest that is no viewer is driven by the worker.

pub mod allowance;
pub mod asker;
pub mod asking;
pub mod catching_up;
pub mod draining;
pub mod ending;
pub mod live;
pub mod stall;
pub mod visit;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use restreamer_sys::Moved;

use crate::limits::TALK_BYTES_MAX;
use crate::metrics::StreamCounts;
use crate::ring::Ring;
use catching_up::CatchingUp;
use ending::Ending;
use live::Live;
use visit::Visit;

/// A viewer of a stream.
#[derive(Debug)]
pub struct Viewer {
    /// Its connection.
    pub connection: Connection,
    /// What it is doing.
    pub state: State,
    /// What it came for, and what it got.
    pub visit: Visit,
}

/// The connection under a viewer or guest.
#[derive(Debug)]
pub struct Connection {
    /// The socket, non-blocking.
    pub socket: TcpStream,
    /// The other end of it, or whom its PROXY protocol header names.
    pub peer: SocketAddr,
    /// Who is behind it: the peer, or whoever a proxy that we trust speaks for.
    pub client: IpAddr,
    /// Requests it has made.
    pub requests: u32,
    /// Bytes it sent that nobody asked for.
    talked: usize,
    /// When it ended its side: it may still listen, or have hung up.
    pub half_closed: Option<Instant>,
}

/// What a viewer is doing.
#[derive(Debug)]
pub enum State {
    /// Served from the ring.
    CatchingUp(CatchingUp),
    /// At the head.
    Live(Live),
    /// Gets the rest and is let go.
    Ending(Ending),
}

/// Why a viewer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It hung up.
    Left,
    /// Its connection broke: no answer from its host, or a network error.
    Vanished,
    /// It sent more than a viewer has to say.
    Talked,
    /// It has all there was.
    Finished,
    /// It lagged too far.
    TooSlow,
    /// It did not take the rest in time.
    TooSlowToEnd,
    /// Its stream comes another way than it was told.
    Rerouted,
    /// Its stream was switched off.
    SwitchedOff,
    /// The node stops.
    Stopped,
}

/// What a client says when it has nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing more.
    Silence,
    /// It will send nothing more; it may still listen.
    End,
    /// Its connection is over.
    Over(Departure),
}

impl Departure {
    /// Why a connection that is closed was closed: the kernel gave up asking, or the viewer left.
    pub fn of(socket: &TcpStream) -> Departure {
        use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        match socket.take_error().ok().flatten().map(|error| error.kind()) {
            Some(TimedOut | HostUnreachable | NetworkUnreachable) => Departure::Vanished,
            _ => Departure::Left,
        }
    }

    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Departure::Left => "left",
            Departure::Vanished => "vanished",
            Departure::Talked => "talked",
            Departure::Finished => "finished",
            Departure::TooSlow => "too_slow",
            Departure::TooSlowToEnd => "too_slow_to_end",
            Departure::Rerouted => "rerouted",
            Departure::SwitchedOff => "switched_off",
            Departure::Stopped => "stopped",
        }
    }
}

impl Viewer {
    /// There is room in its socket. Answers whether it has waited for that.
    pub fn unblock(&mut self) -> bool {
        match &mut self.state {
            State::Live(_) => false,
            State::CatchingUp(state) => state.unblock(),
            State::Ending(state) => state.unblock(),
        }
    }

    /// Ends it before `deadline`: with all there is in the ring if the stream has come to its end
    /// or goes on another way, or else with the packet it stands in.
    pub fn end(
        &mut self,
        why: Departure,
        ring: &Ring,
        deadline: Instant,
        counts: &mut StreamCounts,
    ) {
        let head = ring.head();
        let mut ending = match std::mem::replace(&mut self.state, State::Live(Live)) {
            State::Live(_) => Ending::new(CatchingUp::at(head), head, deadline, why),
            State::CatchingUp(state) => Ending::new(state, head, deadline, why),
            State::Ending(state) => state,
        };
        if !matches!(why, Departure::Finished | Departure::Rerouted) {
            let dropped = counts.packets_dropped;
            ending.hurry(ring, deadline, counts);
            self.visit.packets_skipped += counts.packets_dropped - dropped;
        }
        self.state = State::Ending(ending);
    }
}

impl Connection {
    /// A connection just accepted.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> Connection {
        // An IPv4 peer of a listener for both families comes mapped into IPv6.
        let client = peer.ip().to_canonical();
        let peer = SocketAddr::new(client, peer.port());
        Connection { socket, peer, client, requests: 0, talked: 0, half_closed: None }
    }

    /// Reads and forgets what a client sends beyond its request, so that closing the connection
    /// does not reset it.
    pub fn listen(&mut self) -> Heard {
        let mut buffer = [0; 2048];
        loop {
            match restreamer_sys::file::read(self.socket.as_fd(), &mut buffer) {
                Ok(Moved::Bytes(n)) => self.talked += n.get(),
                Ok(Moved::Blocked) => return Heard::Silence,
                Ok(Moved::Ended) => return Heard::End,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Heard::Over(Departure::Left);
                }
                Err(_broken) => return Heard::Over(Departure::Vanished),
            }
            if self.talked > TALK_BYTES_MAX {
                return Heard::Over(Departure::Talked);
            }
        }
    }
}
