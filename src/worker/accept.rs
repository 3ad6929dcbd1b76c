//! Taking connections in.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use restreamer_sys::door::detach;
use restreamer_sys::limit::is_out_of_descriptors;
use restreamer_sys::socket::{reset_when_closed, stop_listening};

use super::token::Token;
use crate::door::{Admission, AtAccept};
use crate::limits::{ACCEPT_COMPLAINT_INTERVAL, ACCEPTS_PER_TURN_MAX, PERIOD_MAX};

/// The worker's listening sockets.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    /// They are open in this process alone.
    ours: bool,
    door: Option<AtAccept>,
    /// Which of them may have connections waiting.
    marked: Vec<bool>,
    /// Which of them may have some that came before the door was attached.
    early: Vec<bool>,
    /// Not before then: the process is out of descriptors or the kernel out of memory.
    rest: Option<Instant>,
    complained: Option<Instant>,
}

/// How connections come in.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// Each begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Networks of proxies whose word about a client's address counts.
    pub trusted: Vec<IpNet>,
}

impl Arrival {
    /// Whether the other end may speak to us: of those who send a PROXY protocol header only they
    /// whose word counts, if there is a list of them.
    pub fn takes(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let listed = || self.trusted.iter().any(|network| network.contains(&peer));
        !self.proxy_protocol || self.trusted.is_empty() || listed()
    }
}

/// What a turn's accepting came to.
#[derive(Debug, Default)]
pub struct Accepted {
    /// New connections, non-blocking.
    pub connections: Vec<(TcpStream, SocketAddr)>,
    /// Why there were no more, when that is worth a line in the log.
    pub complaint: Option<io::Error>,
    /// Whether accepting failed.
    pub failed: bool,
    /// Whether that was because there are no more descriptors.
    pub out_of_descriptors: bool,
}

impl Listeners {
    /// Listening sockets, non-blocking; `ours`, unless somebody else goes on with them after us.
    /// With a door, only who may come in is taken in.
    pub fn new(sockets: Vec<TcpListener>, ours: bool, door: Option<AtAccept>) -> Listeners {
        // Looked at in the first turn: a socket that was handed down may have connections waiting.
        let marked = vec![true; sockets.len()];
        let early = marked.clone();
        Listeners { sockets, ours, door, marked, early, rest: None, complained: None }
    }

    /// Lets the kernel tell when there are connections.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (number, socket) in self.sockets.iter().enumerate() {
            let token = Token::Listener(number).into();
            registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Connections may be waiting.
    pub fn mark(&mut self, number: usize) {
        if let Some(marked) = self.marked.get_mut(number) {
            *marked = true;
        }
    }

    /// Whether connections may be waiting and may be taken.
    pub fn have_work(&self, now: Instant) -> bool {
        self.marked.contains(&true) && self.rest.is_none_or(|rest| rest <= now)
    }

    /// When those that are waiting may be taken, if not now.
    pub fn deadline(&self) -> Option<Instant> {
        self.rest.filter(|_| self.marked.contains(&true))
    }

    /// What was lacking is there: connections that are waiting may be taken.
    pub fn resume(&mut self) {
        self.rest = None;
    }

    /// Stops listening: nobody is accepted any more.
    pub fn close(&mut self, registry: &Registry) {
        for socket in self.sockets.drain(..) {
            // One that was passed to us is still open elsewhere: the kernel would go on to tell us
            // of it (epoll(7)). One that is not watched tells nothing.
            let _not_watched = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
            // Who steers connections has it open as well.
            if self.ours {
                let _shut_already = stop_listening(socket.as_fd());
            }
        }
        self.marked.clear();
    }

    /// Takes connections in; what is beyond a turn's share is left for the next.
    pub fn accept(&mut self, now: Instant) -> Accepted {
        let mut accepted = Accepted::default();
        if self.rest.is_some_and(|rest| now < rest) {
            return accepted;
        }
        self.rest = None;
        // Whom the door keeps out counts as well: a turn is not for them alone.
        let mut left = ACCEPTS_PER_TURN_MAX;
        for (number, (socket, marked)) in self.sockets.iter().zip(&mut self.marked).enumerate() {
            while *marked && left > 0 {
                left -= 1;
                match accept_one(socket) {
                    Ok(connection) => {
                        let admitted = admit(&mut self.door, connection, now);
                        accepted.connections.extend(admitted);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        *marked = false;
                        is_drained(&mut self.early, number, &mut self.door);
                    }
                    // It was shut, because we seemed to be stuck, and is opened again before long.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => *marked = false,
                    // The client was faster in leaving than we in taking it in (accept(2)).
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        self.rest = Some(now + PERIOD_MAX);
                        accepted.failed = true;
                        accepted.out_of_descriptors = is_out_of_descriptors(&error);
                        let again = |at| now.duration_since(at) > ACCEPT_COMPLAINT_INTERVAL;
                        if self.complained.is_none_or(again) {
                            self.complained = Some(now);
                            accepted.complaint = Some(error);
                        }
                        return accepted;
                    }
                }
            }
        }
        accepted
    }
}

fn accept_one(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    // On a connection that goes on, an answer is not to wait for the acknowledgement of the last.
    socket.set_nodelay(true)?;
    Ok((socket, peer))
}

/// Who came before the door was attached has been taken from this socket: they are the first.
fn is_drained(early: &mut [bool], number: usize, door: &mut Option<AtAccept>) {
    if std::mem::replace(&mut early[number], false)
        && !early.contains(&true)
        && let Some(door) = door
    {
        door.early_are_in();
    }
}

/// A connection that may come in. One that may not is reset, so that nothing is left of it.
fn admit(
    door: &mut Option<AtAccept>,
    (socket, peer): (TcpStream, SocketAddr),
    now: Instant,
) -> Option<(TcpStream, SocketAddr)> {
    let Some(door) = door else { return Some((socket, peer)) };
    if door.in_kernel() {
        // It was born with the listening socket's filter, which would look at every packet of it.
        // One that stays has nothing against them.
        let _slower = detach(socket.as_fd());
    }
    match door.judge(peer.ip(), now) {
        Admission::Admitted => Some((socket, peer)),
        Admission::Denied | Admission::OverRate => {
            // It is closed in any case.
            let _not_reset = reset_when_closed(socket.as_fd());
            None
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use restreamer_sys::door::LoadError;
    use socket2::SockRef;

    use super::*;
    use crate::config;
    use crate::door::Door;
    use crate::log::silent;
    use crate::metrics::Metrics;

    /// There is no filter to take away (`sk_detach_filter` in `net/core/filter.c`).
    const ENOENT: i32 = 2;

    #[test]
    fn who_is_taken_in_has_no_filter_any_more() {
        let config = config::Door { required: true, ..config::Door::default() };
        let door = match Door::open(&config, 1, &Metrics::counting(true), &silent()) {
            Ok(door) => door,
            Err(why) if why.to_string().contains(&LoadError::Capability.to_string()) => {
                eprintln!("SKIPPED: {why}");
                return;
            }
            Err(why) => panic!("{why}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        door.attach(listener.as_fd()).unwrap();
        let door = door.start().unwrap();
        let _before = TcpStream::connect(address).unwrap();
        let (inherits, _) = listener.accept().unwrap();
        SockRef::from(&inherits).detach_filter().expect("it is born with the listener's filter");
        let _client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut listeners = Listeners::new(vec![listener], true, Some(door.at_accept()));
        let accepted = listeners.accept(Instant::now());
        let [(connection, _)] = &accepted.connections[..] else { panic!("{accepted:?}") };
        let none = SockRef::from(connection).detach_filter().unwrap_err();
        assert_eq!(none.raw_os_error(), Some(ENOENT));
        door.stop();
    }
}
