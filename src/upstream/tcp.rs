//! Connecting to TCP upstreams, and speaking to them before a deadline.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use restreamer_sys::socket::{Liveness, prepare};

use super::error::DialError;
use crate::clock::remaining;
use crate::limits::{KEEPALIVE_COUNT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, UNACKNOWLEDGED_TIMEOUT};

/// How soon a vanished peer, up or down the stream, is noticed.
pub const LIVENESS: Liveness = Liveness {
    idle: KEEPALIVE_IDLE,
    interval: KEEPALIVE_INTERVAL,
    count: KEEPALIVE_COUNT,
    unacknowledged: UNACKNOWLEDGED_TIMEOUT,
};

/// Resolves a name and connects to the first of its addresses that answers. Blocks.
pub fn connect(host: &str, port: u16, deadline: Option<Instant>) -> Result<TcpStream, DialError> {
    let resolve = |error| DialError::Resolve { host: host.to_owned(), error };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(resolve)?.collect();
    let mut last = resolve(io::ErrorKind::NotFound.into());
    for (tried, address) in addresses.iter().enumerate() {
        let answer = match remaining(deadline, Instant::now()) {
            None => TcpStream::connect(address),
            Some(Duration::ZERO) => return Err(DialError::TimedOut),
            // A silent address may not use up the time of those after it.
            Some(left) => {
                let share = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
                TcpStream::connect_timeout(address, (left / share).max(Duration::from_millis(1)))
            }
        };
        match answer {
            Ok(socket) => {
                prepare(socket.as_fd(), LIVENESS).map_err(DialError::Connect)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && deadline.is_some() => {
                last = DialError::TimedOut;
            }
            Err(error) => last = DialError::Connect(error),
        }
    }
    Err(last)
}

/// A socket whose every call ends by a deadline, with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Timed {
    socket: TcpStream,
    deadline: Option<Instant>,
}

impl Timed {
    /// A blocking socket; `None` waits for ever.
    pub fn new(socket: TcpStream, deadline: Option<Instant>) -> Timed {
        Timed { socket, deadline }
    }

    /// The socket, which waits for ever again.
    pub fn into_inner(self) -> io::Result<TcpStream> {
        self.socket.set_read_timeout(None)?;
        self.socket.set_write_timeout(None)?;
        Ok(self.socket)
    }

    fn patience(&self) -> io::Result<Option<Duration>> {
        match remaining(self.deadline, Instant::now()) {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.patience()?)?;
        self.socket.read(buffer).map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.patience()?)?;
        self.socket.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // localhost may resolve to ::1 first, where nobody listens.
        let socket = connect("localhost", port, None).unwrap();
        assert_eq!(socket.peer_addr().unwrap().port(), port);
    }

    #[test]
    fn errors_say_which_step_failed() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let soon = Some(Instant::now() + Duration::from_secs(5));
        assert_eq!(connect("127.0.0.1", free, soon).unwrap_err().kind(), "connect");
        assert_eq!(connect("no such name", 1, soon).unwrap_err().kind(), "resolve");
        let past = Some(Instant::now());
        assert_eq!(connect("127.0.0.1", free, past).unwrap_err().kind(), "timeout");
    }
    #[test]
    fn every_call_ends_by_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Timed::new(socket, Some(Instant::now() + Duration::from_millis(50)));
        let late = |done: io::Result<usize>| done.unwrap_err().kind() == io::ErrorKind::TimedOut;
        assert!(late(socket.read(&mut [0])));
        assert!(late(socket.write(&[0])), "the time is over before it begins");
        assert_eq!(socket.into_inner().unwrap().read_timeout().unwrap(), None);
    }
}
