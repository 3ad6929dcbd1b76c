//! What the bare loop may be told to do otherwise than the server: the knobs of its sockets.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use restreamer_sys::socket::{limit_unsent, set_congestion};
use socket2::SockRef;

/// As the server's (`UNSENT_BYTES_MAX`).
const UNSENT_BYTES: u32 = 256 * 1024;

/// Whatever is not given is as the server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Options {
    /// `SO_SNDBUF` of viewers; the kernel doubles it, and sizes the buffer itself if it is not set
    #[arg(long)]
    pub(crate) send_bytes: Option<usize>,
    /// `TCP_NOTSENT_LOWAT` of viewers; 0: none
    #[arg(long)]
    pub(crate) unsent_bytes: Option<u32>,
    /// `TCP_CONGESTION` of viewers; the system's if it is not set
    #[arg(long, value_enum)]
    pub(crate) congestion: Option<Congestion>,
    /// Of the trunk and of the lane
    #[arg(long)]
    pub(crate) pipe_bytes: Option<usize>,
    /// `SO_RCVBUF` of upstreams; the kernel doubles it
    #[arg(long)]
    pub(crate) receive_bytes: Option<usize>,
    /// `SO_BUSY_POLL` of upstreams
    #[arg(long)]
    pub(crate) busy_poll_micros: Option<u32>,
    /// Upstreams wake the loop before its turn is due; it goes on waiting
    #[arg(long)]
    pub(crate) woken: bool,
}

/// Those that kernels commonly have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Congestion {
    Bbr,
    Cubic,
    Reno,
}

impl Congestion {
    fn name(self) -> &'static str {
        match self {
            Congestion::Bbr => "bbr",
            Congestion::Cubic => "cubic",
            Congestion::Reno => "reno",
        }
    }
}

impl Options {
    pub(crate) const NONE: Options = Options {
        send_bytes: None,
        unsent_bytes: None,
        congestion: None,
        pipe_bytes: None,
        receive_bytes: None,
        busy_poll_micros: None,
        woken: false,
    };

    /// As the command line of a bare loop has them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let numbers = [
            ("send-bytes", self.send_bytes),
            ("unsent-bytes", self.unsent_bytes.map(|bytes| bytes as usize)),
            ("pipe-bytes", self.pipe_bytes),
            ("receive-bytes", self.receive_bytes),
            ("busy-poll-micros", self.busy_poll_micros.map(|micros| micros as usize)),
        ];
        let given = numbers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut arguments: Vec<_> =
            given.map(|(name, value)| format!("--{name}={value}")).collect();
        let congestion = self.congestion.map(|control| format!("--congestion={}", control.name()));
        arguments.extend(congestion);
        arguments.extend(self.woken.then(|| "--woken".to_owned()));
        arguments
    }

    pub(crate) fn set_viewer(&self, socket: &TcpStream) -> io::Result<()> {
        if let Some(bytes) = self.send_bytes {
            SockRef::from(socket).set_send_buffer_size(bytes)?;
        }
        if let Some(control) = self.congestion {
            set_congestion(socket.as_fd(), control.name())?;
        }
        match self.unsent_bytes.unwrap_or(UNSENT_BYTES) {
            0 => Ok(()),
            bytes => limit_unsent(socket.as_fd(), bytes),
        }
    }

    pub(crate) fn set_upstream(&self, socket: &TcpStream) -> io::Result<()> {
        if let Some(bytes) = self.receive_bytes {
            SockRef::from(socket).set_recv_buffer_size(bytes)?;
        }
        if let Some(micros) = self.busy_poll_micros {
            SockRef::from(socket).set_busy_poll(micros)?;
        }
        Ok(())
    }
}

/// Upstreams that wake who waits for the next turn, as they wake a worker of the server.
pub(crate) struct Wakes {
    poll: Poll,
    events: Events,
}

impl Wakes {
    pub(crate) fn of<'a>(upstreams: impl Iterator<Item = &'a TcpStream>) -> io::Result<Wakes> {
        let poll = Poll::new()?;
        for (number, upstream) in upstreams.enumerate() {
            let mut watched = SourceFd(&upstream.as_raw_fd());
            poll.registry().register(&mut watched, Token(number), Interest::READABLE)?;
        }
        Ok(Wakes { poll, events: Events::with_capacity(1024) })
    }

    /// Waits until this moment; answers how often it was woken before.
    pub(crate) fn until(&mut self, due: Instant) -> io::Result<u64> {
        let mut wakes = 0;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            // What is less than the timer can tell is not waited for.
            if left < Duration::from_millis(1) {
                return Ok(wakes);
            }
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => wakes += u64::from(!self.events.is_empty()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn options_come_through_a_command_line() {
        let some = Options { unsent_bytes: Some(0), receive_bytes: Some(7), ..Options::NONE };
        let all = Options {
            send_bytes: Some(1),
            congestion: Some(Congestion::Cubic),
            pipe_bytes: Some(3),
            busy_poll_micros: Some(5),
            woken: true,
            ..some
        };
        for options in [Options::NONE, some, all] {
            let line = ["bare".to_owned()].into_iter().chain(options.arguments());
            assert_eq!(Line::parse_from(line).options, options);
        }
    }

    #[test]
    fn buffers_are_as_large_as_asked_for() {
        let (near, far) = pair();
        let options =
            Options { send_bytes: Some(65_536), receive_bytes: Some(32_768), ..Options::NONE };
        options.set_viewer(&near).unwrap();
        options.set_upstream(&far).unwrap();
        // The kernel doubles them for its own overhead (socket(7)).
        assert_eq!(SockRef::from(&near).send_buffer_size().unwrap(), 131_072);
        assert_eq!(SockRef::from(&far).recv_buffer_size().unwrap(), 65_536);
    }

    #[test]
    fn upstreams_wake_and_the_wait_goes_on() {
        let (near, mut far) = pair();
        let mut wakes = Wakes::of([&near].into_iter()).unwrap();
        far.write_all(b"some").unwrap();
        let due = Instant::now() + Duration::from_millis(20);
        assert_eq!(wakes.until(due).unwrap(), 1);
        assert!(Instant::now() + Duration::from_millis(1) >= due);
    }
}
