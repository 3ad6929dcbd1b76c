//! What the end-to-end tests share: the program as a process, upstreams, viewers that verify.
//!
//! A test file uses a part of it each, so that what it leaves unused is no defect.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod broadcast;
pub mod client;
pub mod crowd;
pub mod datagram;
pub mod film;
pub mod hosts;
pub mod http;
pub mod knock;
pub mod media;
pub mod node;
pub mod packets;
pub mod source;
pub mod syn;
pub mod tls;
pub mod tool;
pub mod upstream;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` answers, for [`PATIENCE`] at most. For state that nobody
/// announces: a metric, a descriptor count.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address that refuses connections. It is taken for as long as the test runs, so that no other
/// test gets it to listen on.
pub fn nobody() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}
