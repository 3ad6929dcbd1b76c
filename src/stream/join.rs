//! Viewers come, and what their sockets report.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use super::Stream;
use super::admission::Full;
use super::demand::pace;
use super::gate::Closed;
pub use super::members::ViewerKey;
use crate::http::response::Outgoing;
use crate::http::via::Via;
use crate::viewer::catching_up::CatchingUp;
use crate::viewer::visit::Visit;
use crate::viewer::{Connection, Departure, Heard, State, Viewer};

/// What an event says of a viewer's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It sent something, or will send nothing more.
    pub readable: bool,
    /// There is room in the socket.
    pub writable: bool,
    /// The connection is over in both directions, or broke.
    pub closed: bool,
}

/// Why a viewer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No upstream is connected.
    NoUpstream,
    /// None was connected for as long as somebody waits for it.
    StartTimeout,
    /// It is the stream itself that asks, as its own upstream.
    Loop,
    /// The stream is switched off.
    SwitchedOff,
    /// The stream has as many viewers as it may have.
    StreamFull,
    /// The node or the viewer's address has.
    Full(Full),
}

impl From<Closed> for Refused {
    fn from(closed: Closed) -> Refused {
        match closed {
            Closed::Off => Refused::SwitchedOff,
            Closed::Full => Refused::StreamFull,
        }
    }
}

impl Refused {
    /// The metric's label, and the word in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::NoUpstream => "no_upstream",
            Refused::StartTimeout => "start_timeout",
            Refused::Loop => "loop",
            Refused::SwitchedOff => "switched_off",
            Refused::StreamFull => "stream_full",
            Refused::Full(Full::Node) => "node_full",
            Refused::Full(Full::Address) => "address_full",
        }
    }
}

impl Stream {
    /// Which way it comes here.
    pub fn via(&self) -> Via {
        // A worker that was fed another connection's bytes before still sends what is left of them.
        self.source.last().map(|fill| fill.via().clone()).unwrap_or_default()
    }

    /// Gives a viewer a place, which it has until it goes. Its request has come by `via`. Without
    /// an upstream it is a place to [wait](Stream::wait).
    pub fn admit(&self, client: IpAddr, via: &Via, now: Instant) -> Result<(), Refused> {
        self.judge(via)?;
        self.gate.enter().map_err(Refused::from)?;
        let connected = self.connected_for(via, now);
        let admitted = connected.and_then(|()| self.admission.enter(client).map_err(Refused::Full));
        if admitted.is_err() {
            self.gate.leave();
        }
        admitted
    }

    /// Whether a viewer would be given a place now.
    pub fn would_admit(&self, client: IpAddr, via: &Via, now: Instant) -> Result<(), Refused> {
        self.judge(via)?;
        self.gate.would_enter().map_err(Refused::from)?;
        self.connected_for(via, now)?;
        self.admission.would_enter(client).map_err(Refused::Full)
    }

    /// Whether there is an upstream, or may be one in time.
    fn connected_for(&self, via: &Via, now: Instant) -> Result<(), Refused> {
        let is_served = self.is_connected() || self.lets_wait(via, now) || self.shows_slate(via);
        let sees_slate = !via.is_empty() && self.is_slate_shown();
        if is_served && !sees_slate { Ok(()) } else { Err(Refused::NoUpstream) }
    }

    /// Whether who was admitted joins now, and does not wait first.
    pub fn serves_at_once(&self, via: &Via, now: Instant) -> bool {
        let sees_slate = self.source.is_slate_shown() && self.shows_slate(via);
        self.is_connected() || sees_slate || !self.lets_wait(via, now)
    }

    fn judge(&self, via: &Via) -> Result<(), Refused> {
        if self.gate.closes_ring(via) { Err(Refused::Loop) } else { Ok(()) }
    }

    /// Takes back the place of a viewer who could not join after all.
    pub fn dismiss(&self, client: IpAddr) {
        self.gate.leave();
        self.admission.leave(client);
    }

    /// The key that the next viewer will have.
    pub fn next_key(&self) -> ViewerKey {
        self.members.next_key()
    }

    /// Takes note of where who joins may begin, and counts when that is the head again.
    pub(super) fn look_back(&mut self, now: Instant) {
        if let Some(why) = self.history.look(self.source.flowing(), &self.ring, now) {
            self.metrics.lost_history(why);
        }
    }

    /// Takes a viewer in, who was admitted: it gets `head` and the preamble, then the tables and
    /// the stream from where one begins on. It begins in the stream's next turn.
    pub fn join(&mut self, connection: Connection, visit: Visit, head: Vec<u8>, now: Instant) {
        self.count_time(now);
        self.want(now);
        let answer = Outgoing { head, body: self.preamble.clone() };
        let (start, tables) = self.history.begin(self.source.flowing(), &self.ring);
        let behind = self.ring.head().since(start.position);
        let rate = pace(self.pacing_percent, &self.meter).filter(|_| behind > 0);
        // A kernel that cannot do it serves as well.
        let paced = rate.is_some_and(|rate| {
            restreamer_sys::socket::pace(connection.socket.as_fd(), Some(rate)).is_ok()
        });
        let state = CatchingUp::joining(answer, start.position).with_tables(tables);
        let state = state.behind(behind, paced);
        let state = State::CatchingUp(state);
        self.members.insert(Viewer { connection, state, visit });
        self.metrics.joined(start.joined);
    }

    /// Takes note of what a viewer's socket reports. Answers whether the stream needs a turn: to
    /// send, to tell who is left, or to be looked at again in time.
    pub fn on_viewer(&mut self, key: ViewerKey, ready: Readiness, now: Instant) -> bool {
        let Some(viewer) = self.members.get_mut(key) else { return false };
        if ready.closed {
            let why = Departure::of(&viewer.connection.socket);
            self.remove(key.index, why, now);
            return true;
        }
        let waited = ready.writable && viewer.unblock();
        match if ready.readable { viewer.connection.listen() } else { Heard::Silence } {
            Heard::Silence => waited,
            Heard::End => {
                viewer.connection.half_closed.get_or_insert(now);
                self.check_soon(now);
                true
            }
            Heard::Over(why) => {
                self.remove(key.index, why, now);
                true
            }
        }
    }
}
