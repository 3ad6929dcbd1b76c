//! Upstreams: servers that send verifiable packets at a rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::packets::{PACKET_BYTES, packet};

/// How an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Packets and nothing else.
    Raw,
    /// An HTTP answer without length.
    Http,
    /// An HTTP answer in chunks, of sizes that fit no packet.
    Chunked,
}

/// An upstream that sends numbered packets to everybody who connects, each from its current packet
/// on, until it is dropped.
pub struct Source {
    pub address: SocketAddr,
    number: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts one on a free port, at so many bits a second.
    pub fn start(speech: Speech, bits_per_second: u64) -> Source {
        Source::start_at(TcpListener::bind("127.0.0.1:0").unwrap(), speech, bits_per_second, 0)
    }

    /// Starts one on a listener, from the packet with this number on.
    pub fn start_at(listener: TcpListener, speech: Speech, bits: u64, first: u64) -> Source {
        let address = listener.local_addr().unwrap();
        let number = Arc::new(AtomicU64::new(first));
        let connections = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&number), Arc::clone(&connections), Arc::clone(&stop));
        let thread = std::thread::spawn(move || send(&listener, speech, bits, &shared));
        Source { address, number, connections, stop, thread: Some(thread) }
    }

    /// The URL of it as a `tcp` or `http` upstream.
    pub fn url(&self, speech: Speech) -> String {
        let scheme = if speech == Speech::Raw { "tcp" } else { "http" };
        let path = if speech == Speech::Raw { "" } else { "/live.ts" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// The number of the packet that is sent next.
    pub fn next_number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops it; answers the number of the packet that would have been sent next.
    pub fn stop(mut self) -> u64 {
        self.halt();
        self.next_number()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.halt();
    }
}

type Shared = (Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>);

fn send(listener: &TcpListener, speech: Speech, bits: u64, (number, connections, stop): &Shared) {
    const STEP: Duration = Duration::from_millis(2);
    listener.set_nonblocking(true).unwrap();
    let mut peers: Vec<TcpStream> = Vec::new();
    let (start, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        while let Ok((peer, _)) = listener.accept() {
            connections.fetch_add(1, Ordering::Relaxed);
            peers.extend(welcome(peer, speech));
        }
        let due = u64::try_from(start.elapsed().as_micros()).unwrap() * bits
            / (8 * 1_000_000 * PACKET_BYTES as u64);
        let first = number.load(Ordering::Relaxed);
        let bytes: Vec<u8> = (first..first + due - sent).flat_map(packet).collect();
        number.fetch_add(due - sent, Ordering::Relaxed);
        sent = due;
        // One who has hung up, or does not read for long, is forgotten.
        peers.retain_mut(|peer| say(peer, speech, &bytes).is_ok());
        std::thread::sleep(STEP);
    }
}

fn welcome(mut peer: TcpStream, speech: Speech) -> Option<TcpStream> {
    peer.set_nonblocking(false).ok()?;
    peer.set_nodelay(true).ok()?;
    peer.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    peer.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    if speech != Speech::Raw {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if peer.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let coding = if speech == Speech::Chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        write!(peer, "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{coding}\r\n").ok()?;
    }
    Some(peer)
}

fn say(peer: &mut TcpStream, speech: Speech, bytes: &[u8]) -> std::io::Result<()> {
    if speech != Speech::Chunked {
        return peer.write_all(bytes);
    }
    for piece in bytes.chunks(1000) {
        let mut framed = format!("{:x};x=y\r\n", piece.len()).into_bytes();
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        peer.write_all(&framed)?;
    }
    Ok(())
}
