//! Many viewers on one thread, each of which verifies what it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::packets::Verifier;

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it comes.
    Fast,
    /// So many bytes a second.
    Slow(u64),
    /// Never, after the response head.
    Stalled,
}

/// One of the crowd.
pub struct Watcher {
    socket: TcpStream,
    pace: Pace,
    head: Vec<u8>,
    allowed: u64,
    taken: u64,
    pub verifier: Verifier,
    pub ended: bool,
}

/// Viewers of one stream.
pub struct Crowd {
    poll: Poll,
    pub watchers: Vec<Watcher>,
    started: Instant,
}

impl Crowd {
    pub fn new() -> Crowd {
        Crowd { poll: Poll::new().unwrap(), watchers: Vec::new(), started: Instant::now() }
    }

    /// Adds viewers, and waits until each has its response head. Slow ones have a small receive
    /// buffer, as set-top boxes do: what the kernel would take for them hides their pace.
    pub fn join(&mut self, address: SocketAddr, path: &str, count: usize, pace: Pace) {
        for _ in 0..count {
            let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            if pace != Pace::Fast {
                socket.set_recv_buffer_size(32 * 1024).unwrap();
            }
            socket.connect_timeout(&address.into(), PATIENCE).unwrap();
            let mut socket = TcpStream::from(socket);
            write!(socket, "GET {path} HTTP/1.1\r\nHost: crowd\r\n\r\n").unwrap();
            socket.set_nonblocking(true).unwrap();
            let token = Token(self.watchers.len());
            let mut source = SourceFd(&socket.as_raw_fd());
            self.poll.registry().register(&mut source, token, Interest::READABLE).unwrap();
            let verifier = Verifier::default();
            let (head, ended) = (Vec::new(), false);
            self.watchers.push(Watcher {
                socket,
                pace,
                head,
                allowed: 0,
                taken: 0,
                verifier,
                ended,
            });
        }
        self.watch_until(|all| all.iter().all(|w| w.is_welcome() || w.ended), PATIENCE);
    }

    /// Watches for a while.
    pub fn watch(&mut self, time: Duration) {
        let until = Instant::now() + time;
        self.watch_until(|_| Instant::now() >= until, time + PATIENCE);
    }

    /// Watches until `enough`, for `patience` at most.
    pub fn watch_until(&mut self, enough: impl Fn(&[Watcher]) -> bool, patience: Duration) {
        const STEP: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + patience;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        while !enough(&self.watchers) {
            assert!(Instant::now() < deadline, "watched in vain");
            self.poll.poll(&mut events, Some(STEP)).unwrap();
            let elapsed = self.started.elapsed();
            for event in &events {
                let watcher = &mut self.watchers[event.token().0];
                if !matches!(watcher.pace, Pace::Slow(_)) {
                    watcher.read(&mut buffer, elapsed);
                }
            }
            for watcher in &mut self.watchers {
                if matches!(watcher.pace, Pace::Slow(_)) {
                    watcher.read(&mut buffer, elapsed);
                }
            }
        }
    }

    /// The viewers with this pace.
    pub fn of(&self, is_it: impl Fn(Pace) -> bool) -> impl Iterator<Item = &Watcher> {
        self.watchers.iter().filter(move |watcher| is_it(watcher.pace))
    }
}

impl Watcher {
    /// How it reads.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether its response head has come.
    pub fn is_welcome(&self) -> bool {
        self.head.ends_with(b"\r\n\r\n")
    }

    /// Lets it read as fast as it comes from now on.
    pub fn hurry(&mut self) {
        self.pace = Pace::Slow(u64::MAX / (1 << 32));
    }

    fn read(&mut self, buffer: &mut [u8], elapsed: Duration) {
        while !self.ended {
            let room = match self.pace {
                _ if !self.is_welcome() => 1,
                Pace::Fast => buffer.len(),
                Pace::Stalled => return,
                Pace::Slow(rate) => {
                    self.allowed = rate * u64::try_from(elapsed.as_millis()).unwrap() / 1000;
                    let room = self.allowed.saturating_sub(self.taken);
                    usize::try_from(room).unwrap().min(buffer.len())
                }
            };
            if room == 0 {
                return;
            }
            match self.socket.read(&mut buffer[..room]) {
                Ok(0) => self.ended = true,
                Ok(n) if self.is_welcome() => {
                    self.taken += n as u64;
                    self.verifier.feed(&buffer[..n]);
                }
                Ok(_) => {
                    self.head.push(buffer[0]);
                    if self.is_welcome() {
                        let head = String::from_utf8_lossy(&self.head);
                        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("a viewer was cut: {error}"),
            }
        }
    }
}
