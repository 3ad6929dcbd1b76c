//! Who asks to be let in, from an address of the test's choice, and what becomes of it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing so far.
    Silence,
    /// A connection.
    In,
    /// A connection that is reset, or closed.
    Reset,
    /// A reset for an answer.
    Refused,
}

/// One attempt to connect.
pub struct Knock {
    socket: TcpStream,
    at: Instant,
}

impl Knock {
    /// Begins to connect.
    pub fn from(source: IpAddr, to: SocketAddr) -> Knock {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        // It is under way; how it ends is seen later.
        let _under_way = socket.connect(&to.into());
        Knock { socket: socket.into(), at: Instant::now() }
    }

    /// What has become of it by now.
    pub fn fate(&self) -> Fate {
        match self.socket.take_error().unwrap().map(|error| error.kind()) {
            Some(ErrorKind::ConnectionRefused) => return Fate::Refused,
            Some(_) => return Fate::Reset,
            None => {}
        }
        if self.socket.peer_addr().is_err() {
            return Fate::Silence;
        }
        match (&self.socket).read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Fate::In,
            _ => Fate::Reset,
        }
    }

    /// The connection, for whoever goes on with it.
    pub fn into_socket(self) -> TcpStream {
        self.socket.set_nonblocking(false).unwrap();
        self.socket
    }
}

/// Many of one source, one after the other.
#[derive(Default)]
pub struct Knocks {
    pending: VecDeque<Knock>,
    pub inside: Vec<Knock>,
    pub reset: u64,
    pub silent: u64,
    /// The time from the first to the last.
    pub took: Duration,
}

impl Knocks {
    /// So many in all, one each interval. Who hears nothing for half a second gives up, before the
    /// kernel asks again for it (after a second, RFC 6298, section 2.1).
    pub fn paced(source: IpAddr, to: SocketAddr, count: u32, interval: Duration) -> Knocks {
        let mut knocks = Knocks::default();
        let began = Instant::now();
        let mut due = began;
        for _ in 0..count {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // Who is late is not in a hurry afterwards: the pace is a rate that is not exceeded.
            due = Instant::now() + interval;
            knocks.pending.push_back(Knock::from(source, to));
            knocks.took = began.elapsed();
            knocks.settle(Duration::from_millis(500));
        }
        knocks
    }

    /// Looks at those who have waited for so long.
    pub fn settle(&mut self, patience: Duration) {
        while self.pending.front().is_some_and(|knock| knock.at.elapsed() >= patience) {
            let knock = self.pending.pop_front().unwrap();
            match knock.fate() {
                Fate::Silence => self.silent += 1,
                Fate::In => self.inside.push(knock),
                Fate::Reset => self.reset += 1,
                Fate::Refused => panic!("an answer, and not even a connection"),
            }
        }
    }

    /// Looks at all of them once everything has had its time.
    pub fn end(&mut self) {
        while let Some(last) = self.pending.back() {
            let patience = Duration::from_millis(500);
            std::thread::sleep(patience.saturating_sub(last.at.elapsed()));
            self.settle(patience);
        }
        // Some were let in and then shown out.
        let (inside, out) = std::mem::take(&mut self.inside)
            .into_iter()
            .partition::<Vec<_>, _>(|knock| knock.fate() == Fate::In);
        self.inside = inside;
        self.reset += out.len() as u64;
    }
}
