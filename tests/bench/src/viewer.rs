//! One viewer: what it has asked, and how closely it looks at what it gets.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use restreamer_sys::file;
use restreamer_sys::moved::Moved;
use restreamer_sys::socket::{begin_to_connect, discard};

use crate::packet::{Checker, PACKET_BYTES};

/// Of so many reads of a viewer that looks at spots, one is looked at.
const SPOT: u32 = 16;
/// The room that a response head may take.
const HEAD_BYTES: usize = 4096;

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Looks at every packet.
    Whole,
    /// Looks at the packets of one read in [`SPOT`], and counts the others.
    Spots,
    /// The same, and has its time taken until its body begins.
    Joining,
    /// Looks at every packet, and has its time taken until it has a picture.
    Awaiting,
    /// Reads the response head and nothing after it.
    Stalled,
}

#[derive(Debug)]
enum Stage {
    /// Until it is connected: what it is going to ask.
    Asking(String),
    /// The response head as far as it has come.
    Head(Vec<u8>),
    Body,
    Ended,
}

/// A viewer with its connection.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) socket: TcpStream,
    pub(crate) manner: Manner,
    stage: Stage,
    pub(crate) checker: Checker,
    reads: u32,
    /// Whether the last look that is taken at everybody was taken.
    looked: bool,
    /// When it connected, until it has what it came for.
    pub(crate) began: Option<u64>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got<'a> {
    Nothing,
    /// So many bytes were taken from the socket; these are of the body and are to be checked.
    Seen(usize, &'a [u8]),
    /// So many bytes of the body, which nobody has seen.
    Unseen(usize),
    Ended,
}

impl Viewer {
    /// Connects, without waiting for it, to ask for `path`.
    pub(crate) fn connect(address: SocketAddr, path: &str, manner: Manner) -> io::Result<Viewer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        Ok(Viewer {
            socket: begin_to_connect(address)?,
            manner,
            began: None,
            stage: Stage::Asking(request),
            checker: Checker::default(),
            reads: 0,
            looked: false,
        })
    }

    /// Whether it comes in the window.
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.manner, Manner::Joining | Manner::Awaiting)
    }

    /// Whether it has what it came for, once bytes of a body have come.
    pub(crate) fn is_content(&self) -> bool {
        self.manner != Manner::Awaiting || self.checker.has_picture()
    }

    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Body)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether the last look at it is still to be taken.
    pub(crate) fn is_unlooked(&self) -> bool {
        self.is_in_body() && self.manner != Manner::Stalled && !self.looked
    }

    /// Asks, if it has not yet and is connected.
    pub(crate) fn ask(&mut self) {
        let Stage::Asking(request) = &self.stage else { return };
        // A request fits into the buffer of a new connection: it is written whole or not at all.
        match self.socket.write(request.as_bytes()) {
            Ok(_) => self.stage = Stage::Head(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_refused) => self.stage = Stage::Ended,
        }
    }

    /// Reads once. At `closing` everybody looks once more at what is there.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8], closing: bool) -> Got<'a> {
        match self.stage {
            Stage::Asking(_) | Stage::Ended => return Got::Nothing,
            Stage::Body if self.manner == Manner::Stalled => return Got::Nothing,
            Stage::Head(_) | Stage::Body => {}
        }
        self.reads = self.reads.wrapping_add(1);
        if !self.looks(closing) {
            return match discard(self.socket.as_fd(), buffer) {
                Ok(Moved::Bytes(n)) => Got::Unseen(n.get()),
                Ok(Moved::Blocked) => Got::Nothing,
                Ok(Moved::Ended) | Err(_) => self.end(),
            };
        }
        // One who is going to stall leaves the body where it is, but for what came with the head.
        let room = if self.manner == Manner::Stalled { 512 } else { buffer.len() };
        let n = match file::read(self.socket.as_fd(), &mut buffer[..room]) {
            Ok(Moved::Bytes(n)) => n.get(),
            Ok(Moved::Blocked) => return Got::Nothing,
            Ok(Moved::Ended) | Err(_) => return self.end(),
        };
        let body = self.after_head(&buffer[..n]);
        self.looked |= closing && body.len() >= 2 * PACKET_BYTES;
        if self.has_ended() { Got::Ended } else { Got::Seen(n, body) }
    }

    fn looks(&self, closing: bool) -> bool {
        !self.is_in_body()
            || !matches!(self.manner, Manner::Spots | Manner::Joining)
            || !self.checker.has_begun()
            || closing && !self.looked
            || self.reads.is_multiple_of(SPOT)
    }

    fn end(&mut self) -> Got<'static> {
        self.stage = Stage::Ended;
        Got::Ended
    }

    /// What is not of the response head. A viewer that is refused has ended.
    fn after_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Stage::Head(head) = &mut self.stage else { return bytes };
        for (at, byte) in bytes.iter().enumerate() {
            head.push(*byte);
            if head.ends_with(b"\r\n\r\n") {
                let status = head.split(|&byte| byte == b' ').nth(1);
                let is_served = head.starts_with(b"HTTP/1.") && status == Some(b"200");
                self.stage = if is_served { Stage::Body } else { Stage::Ended };
                return if is_served { &bytes[at + 1..] } else { &[] };
            }
        }
        if head.len() > HEAD_BYTES {
            self.stage = Stage::Ended;
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use restreamer_sys::wait;

    use super::*;
    use crate::packet;

    /// A viewer that has asked, and the connection that it asks on.
    fn asked(manner: Manner) -> (Viewer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut viewer = Viewer::connect(address, "/7.ts", manner).unwrap();
        let mut server = listener.accept().unwrap().0;
        while matches!(viewer.stage, Stage::Asking(_)) {
            viewer.ask();
        }
        let expected = b"GET /7.ts HTTP/1.1\r\nHost: bench\r\n\r\n";
        let mut request = vec![0; expected.len()];
        server.read_exact(&mut request).unwrap();
        assert_eq!(request, expected);
        (viewer, server)
    }

    /// Sends, and has the viewer read all of it.
    fn exchange(viewer: &mut Viewer, server: &mut TcpStream, bytes: &[u8]) -> (usize, usize) {
        server.write_all(bytes).unwrap();
        let (mut taken, mut unseen, mut buffer) = (0, 0, vec![0; 65_536]);
        while taken < bytes.len() {
            wait::readable([viewer.socket.as_fd()], None).unwrap();
            match viewer.read(&mut buffer, false) {
                Got::Nothing | Got::Ended => break,
                Got::Unseen(n) => {
                    viewer.checker.skip(n);
                    (taken, unseen) = (taken + n, unseen + n);
                }
                Got::Seen(n, body) => {
                    viewer.checker.feed(body, 0, None);
                    taken += n;
                }
            }
        }
        (taken, unseen)
    }

    fn packets(numbers: std::ops::Range<u32>) -> Vec<u8> {
        let mut bytes = Vec::new();
        numbers.for_each(|number| packet::append(&mut bytes, number, 0));
        bytes
    }

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

    #[test]
    fn spots_are_checked_and_all_is_counted() {
        for (manner, sees_all) in [(Manner::Whole, true), (Manner::Spots, false)] {
            let (mut viewer, mut server) = asked(manner);
            let mut unseen = 0;
            exchange(&mut viewer, &mut server, &[HEAD, &packets(0..2)].concat());
            for at in 1..50 {
                let batch = packets(at * 2..at * 2 + 2);
                unseen += exchange(&mut viewer, &mut server, &batch).1;
            }
            assert_eq!((viewer.checker.seen.packets, viewer.checker.seen.lost), (100, 0));
            assert_eq!(unseen == 0, sees_all, "{manner:?}: {unseen} unseen");
            // What is missing between two looks is found by the next.
            for at in 60..60 + 2 * SPOT {
                exchange(&mut viewer, &mut server, &packets(at * 2..at * 2 + 2));
            }
            assert_eq!(viewer.checker.seen.lost, 20, "{manner:?}");
        }
    }

    #[test]
    fn the_last_look_is_taken_by_everybody() {
        let (mut viewer, mut server) = asked(Manner::Spots);
        exchange(&mut viewer, &mut server, &[HEAD, &packets(0..2)].concat());
        assert!(viewer.is_unlooked());
        server.write_all(&packets(2..4)).unwrap();
        wait::readable([viewer.socket.as_fd()], None).unwrap();
        let mut buffer = [0; 1024];
        assert!(matches!(viewer.read(&mut buffer, true), Got::Seen(..)));
        assert!(!viewer.is_unlooked());
    }

    #[test]
    fn one_who_stalls_leaves_the_body() {
        let (mut viewer, mut server) = asked(Manner::Stalled);
        let (taken, _) = exchange(&mut viewer, &mut server, &[HEAD, &packets(0..50)].concat());
        assert!(taken <= 512 && viewer.is_in_body(), "{taken} taken");
        assert_eq!(viewer.read(&mut [0; 1024], true), Got::Nothing);
        assert!(!viewer.is_unlooked());
    }

    #[test]
    fn a_refused_viewer_has_ended() {
        let (mut viewer, mut server) = asked(Manner::Whole);
        exchange(&mut viewer, &mut server, b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(viewer.has_ended());
    }
}
