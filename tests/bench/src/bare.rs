//! The limit: `tee` and `splice` to many sockets from one loop, and nothing else.
//!
//! Reads the source once a period, writes what came into a pipe, and duplicates that to every
//! socket, each of which has the options that the server gives its viewers. Who does not take all
//! of it loses the rest. Ends with its source, and says then what it did.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use restreamer_sys::moved::Moved;
use restreamer_sys::pipe::Pipe;
use restreamer_sys::socket::{limit_unsent, listen};
use restreamer_sys::splice::{Drain, splice, tee};
use restreamer_sys::wait;
use serde::{Deserialize, Serialize};

const PIPE_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 1024 * 1024;
/// As the server's (`UNSENT_BYTES_MAX`).
const UNSENT_BYTES: u32 = 256 * 1024;

/// The end of a period, at most.
const SLACK: Duration = Duration::from_micros(500);
/// Viewers are accepted even if the source is silent.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the bare loop is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    #[arg(long)]
    pub(crate) source: SocketAddr,
    #[arg(long)]
    pub(crate) period_micros: u64,
}

/// What it did, from beginning to end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Times that there was something to send.
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    /// Times that a socket did not take all.
    pub(crate) short: u64,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let period = Duration::from_micros(arguments.period_micros);
    let mut bare = Bare::new(arguments.listen)?;
    let mut source = TcpStream::connect(arguments.source)?;
    source.set_nonblocking(true)?;
    let mut buffer = vec![0; READ_BYTES];
    // Sending begins with what has just come, as the server's turn does, and not at some moment
    // between two steps of the source: the last bit of the period is spent waiting for it.
    let pause = period.saturating_sub(SLACK.min(period / 10));
    loop {
        wait::readable([source.as_fd()], Some(PATIENCE))?;
        let began = Instant::now();
        bare.accept();
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bare.send(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_reset) => break,
        }
        std::thread::sleep(pause.saturating_sub(began.elapsed()));
    }
    println!("{}", serde_json::to_string(&bare.done)?);
    Ok(())
}

struct Bare {
    listener: TcpListener,
    asking: Vec<TcpStream>,
    live: Vec<TcpStream>,
    trunk: Pipe,
    lane: Pipe,
    drain: Drain,
    done: Done,
}

impl Bare {
    fn new(address: SocketAddr) -> io::Result<Bare> {
        Ok(Bare {
            listener: listen(address, 4096)?,
            asking: Vec::new(),
            live: Vec::new(),
            trunk: Pipe::with_capacity(PIPE_BYTES)?,
            lane: Pipe::with_capacity(PIPE_BYTES)?,
            drain: Drain::open()?,
            done: Done::default(),
        })
    }

    /// Takes in who connects, and answers who has asked: a request comes in one piece here.
    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let options = [
                socket.set_nonblocking(true),
                socket.set_nodelay(true),
                limit_unsent(socket.as_fd(), UNSENT_BYTES),
            ];
            if options.iter().all(Result::is_ok) {
                self.asking.push(socket);
            }
        }
        for mut socket in std::mem::take(&mut self.asking) {
            match socket.read(&mut [0; 1024]) {
                Ok(0) => {}
                Ok(_) if socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok() => {
                    self.live.push(socket);
                }
                Ok(_) => {}
                Err(_not_yet) => self.asking.push(socket),
            }
        }
    }

    fn send(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        self.done.chunks += 1;
        self.done.bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let written =
                restreamer_sys::file::write(self.trunk.writer(), &[IoSlice::new(chunk)])?.count();
            chunk = &chunk[written..];
            let (trunk, lane, drain, done) = (&self.trunk, &self.lane, &self.drain, &mut self.done);
            let mut failed = None;
            self.live.retain(|socket| match give(trunk, lane, drain, socket, written) {
                Ok(Given::All) => true,
                Ok(Given::Part) => {
                    done.short += 1;
                    true
                }
                Ok(Given::Ended) => false,
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            self.drain.empty(self.trunk.reader(), written)?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

enum Given {
    All,
    Part,
    Ended,
}

fn give(
    trunk: &Pipe,
    lane: &Pipe,
    drain: &Drain,
    socket: &TcpStream,
    bytes: usize,
) -> io::Result<Given> {
    let mut left = tee(trunk.reader(), lane.writer(), bytes)?.count();
    let whole = left == bytes;
    while left > 0 {
        match splice(lane.reader(), socket.as_fd(), left)? {
            Moved::Bytes(n) => left -= n.get(),
            Moved::Blocked => {
                drain.empty(lane.reader(), left)?;
                return Ok(Given::Part);
            }
            Moved::Ended => {
                drain.empty(lane.reader(), left)?;
                return Ok(Given::Ended);
            }
        }
    }
    Ok(if whole { Given::All } else { Given::Part })
}
