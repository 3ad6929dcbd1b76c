//! The side port: metrics, health and status for operators and their tools, and the door's lists.
//!
//! Owns its listeners, a thread that accepts on each, and a bounded number of short-lived threads,
//! one a connection. Never touches a worker: it reads what workers publish.

pub mod door;
pub mod routes;
pub mod streams;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use restreamer_sys::wait;
use slog::{Logger, error};

use crate::http::request::{Method, Parsed, Version, parse};
use crate::http::response::Response;
use crate::limits::{HEAD_BYTES_MAX, SIDE_CONNECTIONS_MAX, SIDE_TIMEOUT};
use crate::resource::Node;

pub use door::Porter;

/// What the side port answers from.
#[derive(Debug)]
pub struct Desk {
    /// What there is to tell.
    node: Arc<Node>,
    /// Where a door is configured: who speaks for it.
    porter: Option<Porter>,
    /// Says who has changed something.
    log: Logger,
}

impl Desk {
    /// A side port that answers from this. Without a porter there is no door to ask about.
    pub fn new(node: &Arc<Node>, porter: Option<Porter>, log: Logger) -> Desk {
        Desk { node: Arc::clone(node), porter, log }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Their address.
    pub address: IpAddr,
    /// They are on this host.
    pub is_local: bool,
}

/// Serves the side port on threads of its own, for as long as the process lives.
pub fn start(listeners: Vec<TcpListener>, desk: Desk) -> io::Result<()> {
    let desk = Arc::new(desk);
    for listener in listeners {
        let desk = Arc::clone(&desk);
        std::thread::Builder::new().name("side".into()).spawn(move || {
            if let Err(why) = serve(&listener, &desk) {
                error!(desk.log, "the side port is out of order: {why}";
                    "event" => "error", "error" => "side");
            }
        })?;
    }
    Ok(())
}

fn serve(listener: &TcpListener, desk: &Arc<Desk>) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        if wait::readable([listener.as_fd()], None)? != [true] {
            continue;
        }
        let Ok((socket, _)) = listener.accept() else {
            // Gone again, or out of descriptors: the next attempt is not to spin.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if open.fetch_add(1, Ordering::AcqRel) >= SIDE_CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (desk, place) = (Arc::clone(desk), Place(Arc::clone(&open)));
        // Without a thread the connection is closed, and the place is free again.
        let _no_thread = std::thread::Builder::new().name("side".into()).spawn(move || {
            let _place = place;
            // Who asks here hangs up as he likes; there is nobody to tell.
            let _hung_up = answer(socket, &desk);
        });
    }
}

/// A connection's place among [`SIDE_CONNECTIONS_MAX`].
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn answer(mut socket: TcpStream, desk: &Desk) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let asker = Asker::at(socket.peer_addr()?.ip(), socket.local_addr()?.ip());
    let deadline = Instant::now() + SIDE_TIMEOUT;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    let (method, version, response) = loop {
        match parse(&head) {
            Parsed::Part if head.len() <= HEAD_BYTES_MAX => {}
            Parsed::Whole(request, _) => {
                break (request.method, request.version, routes::answer(desk, &request, asker));
            }
            Parsed::Part => return Ok(()),
            Parsed::Refused(error) => {
                break (Method::Get, Version::Http11, Response::text(error.status()));
            }
        }
        socket.set_read_timeout(Some(left(deadline)?))?;
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&buffer[..n]),
        }
    };
    let answer = response.outgoing(method, version, false);
    let mut sent = 0;
    while sent < answer.len() {
        socket.set_write_timeout(Some(left(deadline)?))?;
        sent += socket.write_vectored(&answer.after(sent))?;
    }
    socket.shutdown(Shutdown::Write)?;
    // Until the client has hung up: closing with unread input would reset the connection.
    socket.set_read_timeout(Some(left(deadline)?))?;
    while socket.read(&mut buffer)? > 0 && Instant::now() < deadline {}
    Ok(())
}

impl Asker {
    /// Who has connected from `peer` to `own`. This host connects to itself by the loopback or by
    /// the address it is asked at.
    fn at(peer: IpAddr, own: IpAddr) -> Asker {
        let address = peer.to_canonical();
        Asker { address, is_local: address.is_loopback() || peer == own }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
