//! Upstreams and viewers of a node that runs in a machine: packets that are numbered, so that
//! whoever gets them sees whether one is missing or cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::PATIENCE;
use crate::machine::Machine;

const PACKET_BYTES: usize = 188;
/// Packets sent at a time, every 10 ms: 1.5 Mbit/s.
const PACKETS_AT_A_TIME: u64 = 10;

/// A packet with its number.
fn packet(number: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0xAA; PACKET_BYTES];
    // PID 256, a payload and no more, and its continuity counter (ISO/IEC 13818-1, 2.4.3.2).
    packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | (number % 16) as u8]);
    packet[4..12].copy_from_slice(&number.to_be_bytes());
    packet
}

/// An upstream inside a machine, that sends to all who connect, until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is connected to.
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Starts it.
    pub fn start(machine: &Machine) -> Upstream {
        let listener = machine.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        listener.set_nonblocking(true).unwrap();
        let accepting = std::thread::spawn(move || {
            let mut nodes: Vec<(TcpStream, u64)> = Vec::new();
            while !until.load(Ordering::Relaxed) {
                while let Ok((node, _)) = listener.accept() {
                    node.set_nonblocking(false).unwrap();
                    nodes.push((node, 0));
                }
                nodes.retain_mut(|(node, next)| {
                    let numbers = *next..*next + PACKETS_AT_A_TIME;
                    *next = numbers.end;
                    let bytes: Vec<u8> = numbers.flat_map(packet).collect();
                    node.write_all(&bytes).is_ok()
                });
                // Its pace.
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Upstream { address, over, accepting: Some(accepting) }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

/// A viewer, or whoever asks for something.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects, from inside the machine.
    pub fn connect(machine: &Machine, port: u16) -> std::io::Result<Client> {
        machine.inside(|| Client::connect_here(port))
    }

    /// The same for one who is inside already.
    pub fn connect_here(port: u16) -> std::io::Result<Client> {
        let socket = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { socket, read: Vec::new() })
    }

    /// Asks for a path, and reads the head of the answer; answers its status. An answer that does
    /// not come, or not whole, is an error.
    pub fn ask(&mut self, path: &str) -> std::io::Result<u16> {
        write!(self.socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        status.ok_or_else(|| std::io::Error::other(head))
    }

    /// Reads until there are so many bytes of the body.
    pub fn await_bytes(&mut self, bytes: usize) {
        while self.read.len() < bytes {
            assert!(self.more().unwrap(), "it ends after {} bytes", self.read.len());
        }
    }

    /// Reads the body to the end of the connection.
    pub fn read_to_end(mut self) -> std::io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(self.read)
    }

    fn more(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16_384];
        let length = self.socket.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..length]);
        Ok(length > 0)
    }
}

/// Panics unless these are whole packets, none missing between the first and the last; answers
/// how many.
pub fn whole_packets(bytes: &[u8]) -> usize {
    let (packets, rest) = bytes.as_chunks::<PACKET_BYTES>();
    assert_eq!(rest.len(), 0, "the last packet is cut after {} bytes", rest.len());
    let number = |of: &[u8; PACKET_BYTES]| u64::from_be_bytes(of[4..12].try_into().unwrap());
    let first = packets.first().map_or(0, number);
    for (expected, got) in (first..).zip(packets) {
        assert!(*got == packet(expected), "packet {expected} is missing: {:?}", &got[..12]);
    }
    packets.len()
}
