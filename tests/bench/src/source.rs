//! The upstreams: packets at a rate, to everybody who connects.
//!
//! All connections get the same packets if they are few. Where they are many, they are served in
//! groups, one after the other: each has packets (and numbers and stamps) of its own, made just
//! before they are sent, so that load comes evenly and delays are true.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::packet::{self, Clock, PACKET_BYTES};
use crate::picture::Film;

/// Packets leave in steps, as from an encoder that is read in steps.
const STEP: Duration = Duration::from_millis(5);
/// Streams beyond which connections are served in groups.
const FEW: usize = 5;
/// Groups, and the time from one to the next: each is served every 20 ms.
const GROUPS: usize = 10;
const GROUP_STEP: Duration = Duration::from_millis(2);

/// How the source greets who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Packets at once.
    None,
    /// A response head, once a request has come.
    Response,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    bytes: AtomicU64,
    /// Packets that were made while a connection had still to take earlier ones.
    missed: AtomicU64,
    connections: AtomicUsize,
    /// Connections that we have made.
    made: Mutex<Vec<TcpStream>>,
}

/// A server of packets, until it is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Source {
    /// Serves streams of this rate; how many there are going to be decides how. With a `group` they
    /// have tables, and a random access point so often.
    pub(crate) fn start(
        bits_per_second: u64,
        streams: usize,
        group: Option<Duration>,
        greeting: Greeting,
        clock: Clock,
    ) -> io::Result<Source> {
        let listener = restreamer_sys::socket::listen(([127, 0, 0, 1], 0).into(), 4096)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let groups = if streams > FEW { GROUPS } else { 1 };
        let mut sending = Sending {
            listener,
            greeting,
            asking: Vec::new(),
            groups: (0..groups).map(|_| Group::new(group, bits_per_second)).collect(),
            accepted: 0,
            bits_per_second,
            shared: Arc::clone(&shared),
        };
        let step = if streams > FEW { GROUP_STEP } else { STEP };
        let send = move || sending.run(clock, step);
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(send)?;
        Ok(Source { address, shared, thread: Some(thread) })
    }

    /// Sends to this connection as well.
    pub(crate) fn send_to(&self, socket: TcpStream) {
        self.shared.made.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    }

    /// Bytes sent so far, of all streams.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Packets that were not sent, because their connection had not taken earlier ones: a live
    /// stream does not wait.
    pub(crate) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Connections that are being sent to.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Hangs up.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(answer)) => answer,
            Some(Err(_panic)) => Err(io::Error::other("the source has panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Connections that are served at once.
#[derive(Debug, Default)]
struct Group {
    /// Of the next packet.
    number: u32,
    film: Option<Film>,
    members: Vec<Member>,
}

impl Group {
    fn new(group: Option<Duration>, bits_per_second: u64) -> Group {
        let film = group.map(|group| Film::new(group, bits_per_second));
        Group { film, ..Group::default() }
    }

    /// Appends its next packet.
    fn append(&mut self, packets: &mut Vec<u8>, stamp: u64) {
        match &mut self.film {
            Some(film) => film.append(packets, self.number, stamp),
            None => packet::append(packets, self.number, stamp),
        }
        self.number = self.number.wrapping_add(1);
    }
}

#[derive(Debug)]
struct Member {
    socket: TcpStream,
    /// What it has not taken yet.
    rest: Vec<u8>,
}

/// What became of packets.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// They are on their way, or will be: who has taken a part gets the rest.
    Bytes,
    Missed,
    /// The peer has hung up.
    Ended,
}

impl Member {
    /// Sends packets without waiting for it.
    fn send(&mut self, packets: &[u8]) -> Sent {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            if !self.write(&rest) {
                return Sent::Ended;
            }
        }
        if self.rest.is_empty() {
            if self.write(packets) { Sent::Bytes } else { Sent::Ended }
        } else {
            Sent::Missed
        }
    }

    /// Keeps what is not taken; answers whether the peer is there.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(0) => return false,
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_reset) => return false,
            }
        }
        self.rest.extend_from_slice(bytes);
        true
    }
}

#[derive(Debug)]
struct Sending {
    listener: TcpListener,
    greeting: Greeting,
    /// Who has not sent a request yet.
    asking: Vec<TcpStream>,
    groups: Vec<Group>,
    accepted: usize,
    bits_per_second: u64,
    shared: Arc<Shared>,
}

impl Sending {
    fn run(&mut self, clock: Clock, step: Duration) -> io::Result<()> {
        let (start, mut packets) = (clock.nanos(), Vec::new());
        let mut due = Instant::now();
        for turn in 0.. {
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            self.accept()?;
            let group = turn % self.groups.len();
            let group = &mut self.groups[group];
            let now = clock.nanos();
            packets.clear();
            while u64::from(group.number) < packets_due(self.bits_per_second, now - start) {
                group.append(&mut packets, now);
            }
            // One who has hung up may come again; what it misses meanwhile is lost.
            let bytes = packets.len() as u64;
            group.members.retain_mut(|member| {
                let sent = member.send(&packets);
                match sent {
                    Sent::Bytes => self.shared.bytes.fetch_add(bytes, Ordering::Relaxed),
                    Sent::Missed => {
                        let packets = bytes / PACKET_BYTES as u64;
                        self.shared.missed.fetch_add(packets, Ordering::Relaxed)
                    }
                    Sent::Ended => self.shared.connections.fetch_sub(1, Ordering::Relaxed) as u64,
                };
                sent != Sent::Ended
            });
            // Who is late by some steps does not make up for them: packets are due by the clock.
            due = (due + step).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let made =
            std::mem::take(&mut *self.shared.made.lock().unwrap_or_else(PoisonError::into_inner));
        for socket in made {
            self.admit(socket)?;
        }
        while let Ok((socket, _)) = self.listener.accept() {
            match self.greeting {
                Greeting::None => self.admit(socket)?,
                Greeting::Response => {
                    socket.set_nonblocking(true)?;
                    self.asking.push(socket);
                }
            }
        }
        for mut socket in std::mem::take(&mut self.asking) {
            match socket.read(&mut [0; 4096]) {
                Ok(0) => {}
                Ok(_) => {
                    let head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\
                                 Connection: close\r\n\r\n";
                    if socket.write_all(head).is_ok() {
                        self.admit(socket)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.asking.push(socket),
                Err(_reset) => {}
            }
        }
        Ok(())
    }

    fn admit(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let group = self.accepted % self.groups.len();
        self.groups[group].members.push(Member { socket, rest: Vec::new() });
        self.accepted += 1;
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Packets of a stream until this time.
fn packets_due(bits_per_second: u64, nanos: u64) -> u64 {
    let bits = u128::from(bits_per_second) * u128::from(nanos) / 1_000_000_000;
    u64::try_from(bits / (8 * PACKET_BYTES as u128)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Checker;

    #[test]
    fn packets_become_due_at_the_rate() {
        assert_eq!(packets_due(8_000_000, 1_000_000_000), 5319);
        assert_eq!((packets_due(8_000_000, 0), packets_due(0, u64::MAX)), (0, 0));
    }

    /// Reads a second's worth of packets at most, until some are there.
    fn take(socket: &mut TcpStream) -> Checker {
        let (mut checker, mut buffer) = (Checker::default(), [0; 4096]);
        while checker.seen.packets < 20 {
            let n = socket.read(&mut buffer).unwrap();
            assert_ne!(n, 0, "the source has hung up");
            checker.feed(&buffer[..n], 0, None);
        }
        checker
    }

    #[test]
    fn everybody_is_served_whoever_has_connected() {
        for streams in [1, 2 * GROUPS] {
            let source =
                Source::start(8_000_000, streams, None, Greeting::None, Clock::start()).unwrap();
            let sink = TcpListener::bind("127.0.0.1:0").unwrap();
            source.send_to(TcpStream::connect(sink.local_addr().unwrap()).unwrap());
            let mut sockets = vec![sink.accept().unwrap().0];
            sockets.extend((1..streams).map(|_| TcpStream::connect(source.address).unwrap()));
            for socket in &mut sockets {
                let seen = take(socket).seen;
                assert_eq!((seen.lost, seen.torn, seen.repeated), (0, 0, 0));
            }
            assert_eq!(source.connections(), streams);
            assert!(source.bytes() >= 20 * PACKET_BYTES as u64);
            source.stop().unwrap();
        }
    }

    #[test]
    fn who_takes_nothing_misses_packets_and_begins_again_with_a_whole_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let mut member = Member { socket, rest: Vec::new() };
        let (mut packets, mut number) = (Vec::new(), 0);
        let mut next = |member: &mut Member| {
            packets.clear();
            for _ in 0..1000 {
                packet::append(&mut packets, number, 0);
                number += 1;
            }
            member.send(&packets)
        };
        let sent = (0..1000).take_while(|_| next(&mut member) == Sent::Bytes).count();
        assert!(sent < 999, "188 MB cannot fit a socket that nobody reads");
        let (mut checker, mut buffer) = (Checker::default(), vec![0; 1 << 20]);
        while checker.seen.lost == 0 {
            let n = peer.read(&mut buffer).unwrap();
            checker.feed(&buffer[..n], 0, None);
            assert_ne!(next(&mut member), Sent::Ended);
        }
        assert!(checker.seen.lost >= 1000 && checker.seen.lost.is_multiple_of(1000));
        assert_eq!((checker.seen.torn, checker.seen.repeated), (0, 0));
        drop(peer);
        assert!((0..1000).any(|_| next(&mut member) == Sent::Ended), "a reset is noticed");
    }

    #[test]
    fn a_request_is_answered_before_the_packets() {
        let source = Source::start(8_000_000, 1, None, Greeting::Response, Clock::start()).unwrap();
        let mut socket = TcpStream::connect(source.address).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(take(&mut socket).seen.torn, 0);
        source.stop().unwrap();
    }
}
