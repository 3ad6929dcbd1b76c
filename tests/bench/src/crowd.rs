//! Viewers: one thread, one loop, every packet checked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::delays::Delays;
use crate::packet::{Checker, Clock, Seen};

/// Viewers that connect before those who are there are served again.
const JOINS: usize = 20;

#[derive(Debug, Default)]
struct Shared {
    welcome: AtomicUsize,
    measuring: AtomicBool,
    stop: AtomicBool,
}

/// What all viewers together have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// In the window.
    pub(crate) delays: Delays,
    /// In the window, packets alone.
    pub(crate) bytes: u64,
    /// From the beginning.
    pub(crate) seen: Seen,
    /// Viewers that were refused or cut.
    pub(crate) ended: u64,
}

/// Viewers of one address.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<Tally>>,
}

impl Crowd {
    pub(crate) fn start(address: SocketAddr, viewers: usize, clock: Clock) -> io::Result<Crowd> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let watch = move || Watch::new(theirs, clock)?.run(address, viewers);
        let thread = std::thread::Builder::new().name("viewers".to_owned()).spawn(watch)?;
        Ok(Crowd { shared, thread })
    }

    /// Waits until so many have a response head.
    pub(crate) fn wait_for(&self, viewers: usize, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let welcome = self.shared.welcome.load(Ordering::Relaxed);
            if welcome >= viewers {
                return Ok(());
            }
            if Instant::now() > deadline || self.thread.is_finished() {
                let message = format!("{welcome} of {viewers} viewers were let in");
                return Err(io::Error::other(message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Begins or ends the window.
    pub(crate) fn measure(&self, on: bool) {
        self.shared.measuring.store(on, Ordering::Relaxed);
    }

    /// Sends all home.
    pub(crate) fn stop(self) -> io::Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| io::Error::other("the viewers have panicked"))?
    }
}

#[derive(Debug)]
struct Viewer {
    socket: TcpStream,
    /// The response head as far as it has come; `None` once it is whole.
    head: Option<Vec<u8>>,
    checker: Checker,
    ended: bool,
}

struct Watch {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    viewers: Vec<Viewer>,
    tally: Tally,
    shared: Arc<Shared>,
    clock: Clock,
}

impl Watch {
    fn new(shared: Arc<Shared>, clock: Clock) -> io::Result<Watch> {
        Ok(Watch {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024],
            viewers: Vec::new(),
            tally: Tally::default(),
            shared,
            clock,
        })
    }

    fn run(mut self, address: SocketAddr, viewers: usize) -> io::Result<Tally> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let missing = viewers - self.viewers.len();
            for _ in 0..missing.min(JOINS) {
                self.join(address)?;
            }
            self.turn(if missing > 0 { Duration::ZERO } else { Duration::from_millis(20) })?;
        }
        for viewer in &self.viewers {
            let (all, seen) = (&mut self.tally.seen, viewer.checker.seen);
            all.packets += seen.packets;
            all.lost += seen.lost;
            all.torn += seen.torn;
            all.repeated += seen.repeated;
            self.tally.ended += u64::from(viewer.ended);
        }
        Ok(self.tally)
    }

    fn join(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        socket.write_all(b"GET /bench.ts HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        socket.set_nonblocking(true)?;
        let token = Token(self.viewers.len());
        let mut watched = SourceFd(&socket.as_raw_fd());
        self.poll.registry().register(&mut watched, token, Interest::READABLE)?;
        let (head, checker) = (Some(Vec::new()), Checker::default());
        self.viewers.push(Viewer { socket, head, checker, ended: false });
        Ok(())
    }

    fn turn(&mut self, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let measuring = self.shared.measuring.load(Ordering::Relaxed);
        for event in &self.events {
            let viewer = &mut self.viewers[event.token().0];
            while !viewer.ended {
                let n = match viewer.socket.read(&mut self.buffer) {
                    Ok(n) => n,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_cut) => 0,
                };
                if n == 0 {
                    viewer.ended = true;
                    break;
                }
                let was_welcome = viewer.head.is_none();
                let packets = viewer.after_head(&self.buffer[..n]);
                if !was_welcome && viewer.head.is_none() {
                    self.shared.welcome.fetch_add(1, Ordering::Relaxed);
                }
                let delays = measuring.then_some(&mut self.tally.delays);
                viewer.checker.feed(packets, self.clock.nanos(), delays);
                if measuring {
                    self.tally.bytes += packets.len() as u64;
                }
                // All was taken that was there; readiness tells of what comes next.
                if n < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Viewer {
    /// What is not of the response head. A viewer that is refused has ended.
    fn after_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        const END: &[u8] = b"\r\n\r\n";
        let Some(head) = &mut self.head else { return bytes };
        for (at, byte) in bytes.iter().enumerate() {
            head.push(*byte);
            if head.ends_with(END) {
                self.ended = !head.starts_with(b"HTTP/1.1 200 ");
                self.head = if self.ended { Some(std::mem::take(head)) } else { None };
                return if self.ended { &[] } else { &bytes[at + 1..] };
            }
        }
        &[]
    }
}
