//! The upstream: packets at a rate, to one who connects.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::packet::{self, Clock, PACKET_BYTES};

/// Packets leave in steps, as from an encoder that is read in steps.
const STEP: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    bytes: AtomicU64,
}

/// A server that sends to whoever has connected last, until it is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Source {
    pub(crate) fn start(bits_per_second: u64, clock: Clock) -> io::Result<Source> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let send = move || send(&listener, bits_per_second, clock, &theirs);
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(send)?;
        Ok(Source { address, shared, thread: Some(thread) })
    }

    /// Bytes sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
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

fn send(listener: &TcpListener, bits: u64, clock: Clock, shared: &Shared) -> io::Result<()> {
    let nanos_per_packet = 1_000_000_000 * 8 * PACKET_BYTES as u64 / bits;
    let (start, mut number, mut peer) = (clock.nanos(), 0_u32, None);
    let mut packets = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nodelay(true)?;
            socket.set_write_timeout(Some(Duration::from_secs(5)))?;
            peer = Some(socket);
        }
        let now = clock.nanos();
        packets.clear();
        while u64::from(number) * nanos_per_packet < now - start {
            packet::append(&mut packets, number, now);
            number = number.wrapping_add(1);
        }
        // One who has hung up may come again; what it misses meanwhile is lost.
        if let Some(mut socket) = peer.take()
            && socket.write_all(&packets).is_ok()
        {
            shared.bytes.fetch_add(packets.len() as u64, Ordering::Relaxed);
            peer = Some(socket);
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
