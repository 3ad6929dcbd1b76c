//! Attempts to reach upstreams, each on a thread of its own.
//!
//! A stream has at most one attempt at a time, so that there are never more of these threads than
//! streams; a name server or a peer that hangs delays its own stream alone. The thread of a command
//! stays with it, that of a regular file plays it, that of an HTTPS upstream decrypts it; each ends
//! soon after its upstream was let go.

use std::fs::{self, File};
use std::io::{self, PipeWriter};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use restreamer_sys::cpu;
use slog::{Logger, error};

use super::datagram::{self, Payload};
use super::error::DialError;
use super::player::{self, PlayError, Source, SystemClock};
use super::{Dialed, command, connection, file, http, tcp};
use crate::config::{Reception, Remote, RemoteKind, Slate};
use crate::egress::Egress;
use crate::http::via::Pseudonym;
use crate::limits::DIAL_STACK_BYTES;
use crate::ts::programs::Tables;

/// Starts attempts and knows the commands that are running.
#[derive(Clone, Debug)]
pub struct Dialer {
    timeout: Option<Duration>,
    /// Receive buffer of datagram sockets.
    buffer_bytes: usize,
    egress: Egress,
    minded: Arc<Minded>,
}

/// Commands that have not been reaped yet.
#[derive(Debug, Default)]
struct Minded {
    running: Mutex<usize>,
    changed: Condvar,
}

impl Dialer {
    /// `timeout` bounds each attempt: connect, TLS, redirects and response head together.
    /// `buffer_bytes` is the receive buffer of datagram sockets, `egress` is for HTTP and HTTPS.
    pub fn new(timeout: Option<Duration>, buffer_bytes: usize, egress: Egress) -> Dialer {
        Dialer { timeout, buffer_bytes, egress, minded: Arc::default() }
    }

    /// Starts an attempt of the stream that is called `own`. `deliver` gets its result, on the
    /// attempt's thread; without a thread there is none.
    pub fn start(
        &self,
        own: Pseudonym,
        remote: Remote,
        reception: Reception,
        log: Logger,
        deliver: impl FnOnce(Result<Dialed, DialError>) + Send + 'static,
    ) -> Result<(), DialError> {
        let dialer = self.clone();
        let thread = std::thread::Builder::new().name("dial".into()).stack_size(DIAL_STACK_BYTES);
        let run = move || {
            cpu::roam();
            dialer.run(&own, &remote, &reception, &log, deliver);
        };
        thread.spawn(run).map(drop).map_err(DialError::Thread)
    }

    /// Starts to play a slate, with the numbers of the stream that has these tables. `deliver` gets
    /// the pipe, on the thread that plays it.
    pub fn start_slate(
        &self,
        slate: Slate,
        like: Arc<Tables>,
        log: Logger,
        deliver: impl FnOnce(Result<Dialed, DialError>) + Send + 'static,
    ) -> Result<(), DialError> {
        let thread = std::thread::Builder::new().name("slate".into()).stack_size(DIAL_STACK_BYTES);
        let run = move || {
            cpu::roam();
            match Dialed::piped() {
                Ok((dialed, sink)) => {
                    deliver(Ok(dialed));
                    play_slate(&slate, like, sink, &log);
                }
                Err(error) => deliver(Err(DialError::Open(error))),
            }
        };
        thread.spawn(run).map(drop).map_err(DialError::Thread)
    }

    /// Waits until every command has been reaped, at most for `patience`.
    pub fn wait_for_commands(&self, patience: Duration) {
        let running = self.minded.running.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.minded.changed.wait_timeout_while(running, patience, |n| *n > 0);
        drop(waited);
    }

    fn run(
        &self,
        own: &Pseudonym,
        remote: &Remote,
        reception: &Reception,
        log: &Logger,
        deliver: impl FnOnce(Result<Dialed, DialError>),
    ) {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        match remote.kind() {
            RemoteKind::Http(url) => match http::dial(url, own, &self.egress, deadline) {
                Ok(connection::Opened::Ready(dialed)) => deliver(Ok(dialed)),
                Ok(connection::Opened::ToDecrypt(dialed, work)) => {
                    deliver(Ok(dialed));
                    work.run();
                }
                Err(error) => deliver(Err(error)),
            },
            RemoteKind::Tcp(at) => deliver(connect_tcp(&at.host, at.port, deadline)),
            RemoteKind::Udp(of) => {
                deliver(datagram::udp(of, Payload::Packets, reception, self.buffer_bytes));
            }
            RemoteKind::Rtp(of) => {
                deliver(datagram::udp(of, Payload::Rtp, reception, self.buffer_bytes));
            }
            RemoteKind::UnixDatagram(path) => {
                deliver(datagram::unix_datagram(path, reception, self.buffer_bytes));
            }
            RemoteKind::UnixPacket(path) => {
                deliver(datagram::unix_packet(path, reception, deadline));
            }
            RemoteKind::Unix(path) => deliver(file::connect_unix(path, deadline)),
            RemoteKind::File(path) => match file::open(path) {
                Ok(file::Opened::Ready(dialed)) => deliver(Ok(dialed)),
                Ok(file::Opened::ToPlay(dialed, source, sink)) => {
                    deliver(Ok(dialed));
                    play(Source::File(source), sink, log);
                }
                Err(error) => deliver(Err(error)),
            },
            RemoteKind::Sample => match Dialed::piped() {
                Ok((dialed, sink)) => {
                    deliver(Ok(dialed));
                    play(Source::Sample, sink, log);
                }
                Err(error) => deliver(Err(DialError::Open(error))),
            },
            RemoteKind::Command { program, arguments } => {
                let minding = Minding::begin(&self.minded);
                command::run(program, arguments, log, deliver);
                drop(minding);
            }
        }
    }
}

fn connect_tcp(host: &str, port: u16, deadline: Option<Instant>) -> Result<Dialed, DialError> {
    let socket = tcp::connect(host, port, deadline)?;
    socket.set_nonblocking(true).map_err(DialError::Connect)?;
    Ok(Dialed::raw(socket))
}

/// Plays until the source ends or the worker has let go of the pipe.
fn play(source: Source, mut sink: PipeWriter, log: &Logger) {
    if let Err(why) = player::play(source, &mut sink, &SystemClock) {
        error!(log, "the file cannot be played: {why}"; "event" => "error", "error" => "play");
    }
}

/// Plays a slate until the worker has let go of the pipe: the one that is built in where another
/// one cannot be played.
fn play_slate(slate: &Slate, like: Arc<Tables>, mut sink: PipeWriter, log: &Logger) {
    if let Slate::File(path) = slate {
        let played = open_recording(path).and_then(|file| {
            let source = Source::Slate { file: Some(file), like: Arc::clone(&like) };
            player::play(source, &mut sink, &SystemClock)
        });
        let Err(why) = played else { return };
        error!(log, "slate {} cannot be played, the built-in one is: {why}", path.display();
            "event" => "error", "error" => "slate");
    }
    play(Source::Slate { file: None, like }, sink, log);
}

/// Opens a regular file. To open a FIFO would be to wait for its writer.
fn open_recording(path: &Path) -> Result<File, PlayError> {
    let kind = fs::metadata(path).map_err(PlayError::Read)?.file_type();
    if !kind.is_file() {
        return Err(PlayError::Read(io::Error::other("it is no regular file")));
    }
    File::open(path).map_err(PlayError::Read)
}

/// Counts a command from before it starts until it is reaped.
struct Minding<'a>(&'a Minded);

impl Minding<'_> {
    fn begin(minded: &Minded) -> Minding<'_> {
        *minded.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Minding(minded)
    }
}

impl Drop for Minding<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}
