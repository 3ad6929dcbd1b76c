//! The limit: `tee` and `splice` to many sockets from one loop, and nothing else.
//!
//! Once a period it takes what came from each source into a pipe, and duplicates that to every
//! socket of that stream, each of which has the options that the server gives its viewers. Who does
//! not take all of it loses the rest. Ends with its sources, and says then what it did.
//!
//! Two ways lead into the pipe. *Packed*, as the server does it: what came is read into memory and
//! written into the pipe once, which fills its pages. *Through*: the source's socket is spliced
//! into the pipe, and what is in it is read into memory at last, in the place of emptying it: who
//! probes and keeps the packets has them as well, for one copy less.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use restreamer_sys::file;
use restreamer_sys::moved::Moved;
use restreamer_sys::pipe::Pipe;
use restreamer_sys::socket::listen;
use restreamer_sys::splice::{Drain, splice, tee};
use restreamer_sys::wait;
use serde::{Deserialize, Serialize};

use crate::options::{Options, Wakes};

const PIPE_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 1024 * 1024;

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
    pub(crate) streams: usize,
    #[arg(long)]
    pub(crate) period_micros: u64,
    /// How bytes get from a source to its viewers
    #[arg(long, value_enum)]
    pub(crate) way: Way,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The way of bytes from a source to its viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Read, written into a pipe, and duplicated from there.
    Packed,
    /// Spliced into a pipe, and duplicated from there.
    Through,
    /// Read, and written to each viewer.
    Written,
}

/// What it did, from beginning to end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Times that there was something to send.
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    /// Times that a socket did not take all.
    pub(crate) short: u64,
    /// Times that upstreams have woken it before its turn was due.
    pub(crate) wakes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let period = Duration::from_micros(arguments.period_micros);
    let mut bare = Bare::new(arguments)?;
    // Sending begins with what has just come, as the server's turn does, and not at some moment
    // between two steps of the source: the last bit of the period is spent waiting for it. Of many
    // sources some have always just sent.
    let pause = period.saturating_sub(SLACK.min(period / 10));
    loop {
        if let [stream] = &bare.streams[..] {
            wait::readable([stream.upstream.as_fd()], Some(PATIENCE))?;
        }
        let began = Instant::now();
        bare.accept();
        if !bare.turn()? {
            break;
        }
        let due = began + pause;
        match &mut bare.wakes {
            Some(wakes) => bare.relay.done.wakes += wakes.until(due)?,
            None => std::thread::sleep(due.saturating_duration_since(Instant::now())),
        }
    }
    println!("{}", serde_json::to_string(&bare.relay.done)?);
    Ok(())
}

struct Stream {
    upstream: TcpStream,
    live: Vec<TcpStream>,
}

struct Bare {
    listener: TcpListener,
    asking: Vec<TcpStream>,
    streams: Vec<Stream>,
    relay: Relay,
    way: Way,
    options: Options,
    /// If upstreams are to wake it.
    wakes: Option<Wakes>,
}

impl Bare {
    fn new(arguments: &Arguments) -> io::Result<Bare> {
        let connect = |_| {
            let upstream = TcpStream::connect(arguments.source)?;
            upstream.set_nonblocking(true)?;
            arguments.options.set_upstream(&upstream)?;
            Ok(Stream { upstream, live: Vec::new() })
        };
        let streams: Vec<_> = (0..arguments.streams).map(connect).collect::<io::Result<_>>()?;
        let watched = || Wakes::of(streams.iter().map(|stream| &stream.upstream));
        let wakes = arguments.options.woken.then(watched).transpose()?;
        Ok(Bare {
            listener: listen(arguments.listen, 4096)?,
            asking: Vec::new(),
            streams,
            relay: Relay::new(arguments.options.pipe_bytes.unwrap_or(PIPE_BYTES))?,
            way: arguments.way,
            options: arguments.options,
            wakes,
        })
    }

    /// Takes in who connects, and answers who has asked: a request comes in one piece here.
    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let options = [
                socket.set_nonblocking(true),
                socket.set_nodelay(true),
                self.options.set_viewer(&socket),
            ];
            if options.iter().all(Result::is_ok) {
                self.asking.push(socket);
            }
        }
        for mut socket in std::mem::take(&mut self.asking) {
            let mut request = [0; 1024];
            match socket.read(&mut request) {
                Ok(n) => {
                    if let Some(stream) =
                        stream_of(&request[..n]).and_then(|number| self.streams.get_mut(number))
                        && socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok()
                    {
                        stream.live.push(socket);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.asking.push(socket),
                Err(_reset) => {}
            }
        }
    }

    /// Serves every stream once; answers whether all of them go on.
    fn turn(&mut self) -> io::Result<bool> {
        for stream in &mut self.streams {
            let goes_on = match self.way {
                Way::Packed => self.relay.packed(stream),
                Way::Through => self.relay.through(stream),
                Way::Written => self.relay.written(stream),
            }?;
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Brings bytes from a source to its viewers.
struct Relay {
    trunk: Pipe,
    lane: Pipe,
    drain: Drain,
    buffer: Vec<u8>,
    done: Done,
}

impl Relay {
    fn new(pipe_bytes: usize) -> io::Result<Relay> {
        Ok(Relay {
            trunk: Pipe::with_capacity(pipe_bytes)?,
            lane: Pipe::with_capacity(pipe_bytes)?,
            drain: Drain::open()?,
            buffer: vec![0; READ_BYTES],
            done: Done::default(),
        })
    }

    /// Sends what has come, packed into pages; answers whether the stream goes on.
    fn packed(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let read = match self.read(stream)? {
            Moved::Bytes(n) => n.get(),
            Moved::Blocked => return Ok(true),
            Moved::Ended => return Ok(false),
        };
        let mut sent = 0;
        while sent < read {
            let rest = [IoSlice::new(&self.buffer[sent..read])];
            let written = file::write(self.trunk.writer(), &rest)?.count();
            sent += written;
            self.fan_out(&mut stream.live, |relay, socket| relay.give(socket, written))?;
            self.drain.empty(self.trunk.reader(), written)?;
        }
        Ok(true)
    }

    /// Sends what has come, in the fragments in which it came; answers whether the stream goes on.
    fn through(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let (mut all, mut last) = (0, Moved::Blocked);
        // One call may take a part of what is there: it is collected, so that each viewer is sent
        // to once.
        while all < READ_BYTES {
            last = splice(stream.upstream.as_fd(), self.trunk.writer(), READ_BYTES - all)?;
            match last {
                Moved::Bytes(n) => all += n.get(),
                Moved::Blocked | Moved::Ended => break,
            }
        }
        // Either there is no more, or the trunk is full: the rest waits for the next turn.
        if all > 0 {
            self.count(all);
            self.fan_out(&mut stream.live, |relay, socket| relay.give(socket, all))?;
        }
        let mut read = 0;
        while read < all {
            match file::read(self.trunk.reader(), &mut self.buffer[read..all])? {
                Moved::Bytes(n) => read += n.get(),
                Moved::Blocked | Moved::Ended => {
                    return Err(io::Error::other("the trunk holds less than was put into it"));
                }
            }
        }
        Ok(all > 0 || last != Moved::Ended)
    }

    /// Writes what has come to each viewer; answers whether the stream goes on.
    fn written(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let read = match self.read(stream)? {
            Moved::Bytes(n) => n.get(),
            Moved::Blocked => return Ok(true),
            Moved::Ended => return Ok(false),
        };
        self.fan_out(&mut stream.live, |relay, socket| {
            let chunk = [IoSlice::new(&relay.buffer[..read])];
            Ok(match file::write(socket.as_fd(), &chunk)? {
                Moved::Bytes(n) if n.get() == read => Given::All,
                Moved::Bytes(_) | Moved::Blocked => Given::Part,
                Moved::Ended => Given::Ended,
            })
        })?;
        Ok(true)
    }

    fn read(&mut self, stream: &Stream) -> io::Result<Moved> {
        let read = file::read(stream.upstream.as_fd(), &mut self.buffer)?;
        if let Moved::Bytes(bytes) = read {
            self.count(bytes.get());
        }
        Ok(read)
    }

    fn count(&mut self, bytes: usize) {
        self.done.chunks += 1;
        self.done.bytes += bytes as u64;
    }

    /// Has something given to everybody who is live.
    fn fan_out(
        &mut self,
        live: &mut Vec<TcpStream>,
        give: impl Fn(&Relay, &TcpStream) -> io::Result<Given>,
    ) -> io::Result<()> {
        let (mut failed, mut short) = (None, 0);
        live.retain(|socket| match give(self, socket) {
            Ok(Given::All) => true,
            Ok(Given::Part) => {
                short += 1;
                true
            }
            Ok(Given::Ended) => false,
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        });
        self.done.short += short;
        failed.map_or(Ok(()), Err)
    }

    fn give(&self, socket: &TcpStream, bytes: usize) -> io::Result<Given> {
        let mut left = tee(self.trunk.reader(), self.lane.writer(), bytes)?.count();
        let whole = left == bytes;
        while left > 0 {
            match splice(self.lane.reader(), socket.as_fd(), left)? {
                Moved::Bytes(n) => left -= n.get(),
                Moved::Blocked => {
                    self.drain.empty(self.lane.reader(), left)?;
                    return Ok(Given::Part);
                }
                Moved::Ended => {
                    self.drain.empty(self.lane.reader(), left)?;
                    return Ok(Given::Ended);
                }
            }
        }
        Ok(if whole { Given::All } else { Given::Part })
    }
}

enum Given {
    All,
    Part,
    Ended,
}

/// The stream that a request is for: `GET /7.ts HTTP/1.1`.
fn stream_of(request: &[u8]) -> Option<usize> {
    let request = std::str::from_utf8(request).ok()?;
    request.strip_prefix("GET /")?.split_once(".ts ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_stream() {
        assert_eq!(stream_of(b"GET /17.ts HTTP/1.1\r\nHost: x\r\n\r\n"), Some(17));
        for wrong in [&b""[..], b"GET /x.ts HTTP/1.1\r\n", b"GET /1\r\n", b"\xff", b"PUT /1.ts x"] {
            assert_eq!(stream_of(wrong), None, "{wrong:?}");
        }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn every_way_gives_every_viewer_all() {
        for way in [Relay::packed, Relay::through, Relay::written] {
            let (upstream, mut source) = pair();
            let (live, mut viewers): (Vec<_>, Vec<_>) = (0..3).map(|_| pair()).unzip();
            let mut stream = Stream { upstream, live };
            let mut relay = Relay::new(PIPE_BYTES).unwrap();
            let bytes: Vec<u8> = (0..50_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
            source.write_all(&bytes).unwrap();
            while relay.done.bytes < bytes.len() as u64 {
                wait::readable([stream.upstream.as_fd()], None).unwrap();
                assert!(way(&mut relay, &mut stream).unwrap());
            }
            for viewer in &mut viewers {
                let mut got = vec![0; bytes.len()];
                viewer.read_exact(&mut got).unwrap();
                assert!(got == bytes, "a viewer got something else");
            }
            drop(source);
            wait::readable([stream.upstream.as_fd()], None).unwrap();
            assert!(!way(&mut relay, &mut stream).unwrap(), "the source has ended");
        }
    }
}
