//! A plain HTTP client, down to the bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::PATIENCE;

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(self) -> String {
        String::from_utf8(self.body).unwrap()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Takes an answer apart.
    pub fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no response head in {:?}", String::from_utf8_lossy(bytes));
        });
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }
}

/// A connection that no test waits on for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks with a whole request in bytes; reads the answer to the end.
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    Answer::parse(&exchange(address, request))
}

/// Sends bytes and reads whatever comes, to the end of the connection.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    answer
}

/// GET of what ends by itself.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path)
}

/// Any method on what ends by itself.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Answer {
    ask(address, format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
}

/// Asks with a whole request in bytes; reads the head of the answer and leaves the rest to come.
pub fn open(address: SocketAddr, request: &[u8]) -> (Answer, TcpStream) {
    open_on(connect(address), request)
}

/// The same on a connection that is there.
pub fn open_on(mut socket: TcpStream, request: &[u8]) -> (Answer, TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "the head ends early: {head:?}");
        head.push(byte[0]);
    }
    (Answer::parse(&head), socket)
}

/// A viewer of a stream: its connection, after the response head, which must be 200.
pub fn watch(address: SocketAddr, path: &str) -> TcpStream {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let (answer, socket) = open(address, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.head);
    socket
}

/// Reads exactly so many bytes.
pub fn read_bytes(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    socket.read_exact(&mut buffer).unwrap();
    buffer
}

/// Ends a connection as a crashed or impatient client does.
pub fn reset(socket: TcpStream) {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Hangs up, as a player does.
pub fn hang_up(socket: &TcpStream) {
    // It may be gone already.
    let _gone = socket.shutdown(Shutdown::Both);
}

/// A connection that carries one request after the other.
pub struct Session {
    socket: TcpStream,
    /// What came behind the last answer.
    rest: Vec<u8>,
}

impl Session {
    pub fn open(address: SocketAddr) -> Session {
        Session { socket: connect(address), rest: Vec::new() }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Reads the answer to a request with this method, which says its length.
    pub fn hear(&mut self, method: &str) -> Answer {
        let is_end = |four: &[u8]| four == b"\r\n\r\n";
        let head = loop {
            match self.rest.windows(4).position(is_end) {
                Some(end) => break end + 4,
                None => self.read_more(),
            }
        };
        let mut answer = Answer::parse(&self.rest[..head]);
        let length = match (method, answer.status) {
            ("HEAD", _) | (_, 204 | 304) => 0,
            _ => answer.header("Content-Length").expect("a length").parse().unwrap(),
        };
        while self.rest.len() < head + length {
            self.read_more();
        }
        answer.body = self.rest[head..head + length].to_vec();
        self.rest.drain(..head + length);
        answer
    }

    pub fn ask(&mut self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, "")
    }

    /// Asks with more header lines, each with its end.
    pub fn ask_with(&mut self, method: &str, path: &str, lines: &str) -> Answer {
        self.say(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n").as_bytes());
        self.hear(method)
    }

    /// Whether nothing has come behind the last answer so far.
    pub fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let nothing = self.socket.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).unwrap();
        self.rest.is_empty() && nothing
    }

    /// The connection, if nothing came behind the last answer.
    pub fn into_socket(self) -> TcpStream {
        assert_eq!(String::from_utf8_lossy(&self.rest), "", "behind the last answer");
        self.socket
    }

    /// Asserts that the connection ends in order, and that nothing more comes.
    pub fn assert_over(mut self) {
        self.socket.read_to_end(&mut self.rest).expect("closed, not reset");
        self.into_socket();
    }

    fn read_more(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        let n = self.socket.read(&mut buffer).unwrap();
        assert!(n > 0, "the connection ends behind {:?}", String::from_utf8_lossy(&self.rest));
        self.rest.extend_from_slice(&buffer[..n]);
    }
}

/// GET of what says its length, on a connection that goes on or not.
pub fn fetch(address: SocketAddr, path: &str) -> Answer {
    Session::open(address).ask("GET", path)
}
