//! Upstreams that a test serves itself, byte by byte: it takes the program's connection and writes.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{PATIENCE, eventually};

/// How an upstream is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, without length.
    Http,
    /// HTTP in chunks, of sizes that fit no packet.
    Chunked,
    Tcp,
    Unix,
    Fifo,
}

/// Writes to the program.
pub type Peer = Box<dyn Write + Send>;

/// An upstream that waits for the program.
pub struct Upstream {
    pub url: String,
    place: Place,
}

enum Place {
    Tcp(TcpListener, Kind),
    Unix(UnixListener),
    Fifo(PathBuf),
}

impl Upstream {
    /// Opens one on a free port, or in `dir`.
    pub fn open(kind: Kind, dir: &Path) -> Upstream {
        let (url, place) = match kind {
            Kind::Unix => {
                let path = dir.join("upstream.socket");
                (
                    format!("unix://{}", path.display()),
                    Place::Unix(UnixListener::bind(path).unwrap()),
                )
            }
            Kind::Fifo => {
                let path = dir.join("upstream.fifo");
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
                (format!("file://{}", path.display()), Place::Fifo(path))
            }
            Kind::Http | Kind::Chunked | Kind::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let at = listener.local_addr().unwrap();
                let url = if kind == Kind::Tcp {
                    format!("tcp://{at}")
                } else {
                    format!("http://{at}/live.ts")
                };
                (url, Place::Tcp(listener, kind))
            }
        };
        Upstream { url, place }
    }

    /// Takes the program's next connection; an HTTP one is answered with 200.
    pub fn accept(&self) -> Peer {
        match &self.place {
            Place::Tcp(listener, Kind::Tcp) => Box::new(accept(listener)),
            Place::Tcp(listener, kind) => {
                let mut peer = accept(listener);
                read_head(&mut peer);
                answer(&mut peer, *kind);
                if *kind == Kind::Chunked { Box::new(Chunked(peer)) } else { Box::new(peer) }
            }
            Place::Unix(listener) => {
                listener.set_nonblocking(true).unwrap();
                let (peer, _) = eventually("a connection", || not_yet(listener.accept()));
                peer.set_nonblocking(false).unwrap();
                peer.set_write_timeout(Some(PATIENCE)).unwrap();
                Box::new(peer)
            }
            // Waits until the program has opened it.
            Place::Fifo(path) => Box::new(OpenOptions::new().write(true).open(path).unwrap()),
        }
    }
}

/// The next connection, that no test waits on for ever.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (peer, _) = eventually("a connection", || not_yet(listener.accept()));
    peer.set_nonblocking(false).unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn not_yet<T>(accepted: std::io::Result<T>) -> Option<T> {
    match accepted {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        accepted => Some(accepted.unwrap()),
    }
}

/// Reads the head of the program's request.
pub fn read_head(peer: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(peer.read(&mut byte).unwrap(), 1, "the request ends early");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn answer(peer: &mut TcpStream, kind: Kind) {
    let coding = if kind == Kind::Chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    write!(peer, "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{coding}\r\n").unwrap();
}

/// Puts what is written into chunks; dropping it ends the connection, not the body.
struct Chunked(TcpStream);

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = &bytes[..bytes.len().min(1000)];
        let mut framed = format!("{:x};x=y\r\n", piece.len()).into_bytes();
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        self.0.write_all(&framed)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes at a rate: in real time, if it is the stream's own. Ends early when the program hangs up.
pub fn write_at(peer: &mut impl Write, bytes: &[u8], bits_per_second: u64) {
    const STEP: Duration = Duration::from_millis(2);
    let (start, mut written) = (Instant::now(), 0);
    while written < bytes.len() {
        let due = u64::try_from(start.elapsed().as_micros()).unwrap() * bits_per_second / 8_000_000;
        let due = usize::try_from(due).unwrap().min(bytes.len());
        if peer.write_all(&bytes[written..due]).is_err() {
            return;
        }
        written = due;
        std::thread::sleep(STEP);
    }
}

/// A port nobody listens on: for a program that must bind it itself.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
