//! What systemd, or whoever starts us as it does, passes on and wants to be told.
//!
//! Owns the socket that it is told by, and knows which variables of the environment are meant for
//! this process alone. Never touches the environment itself: other threads may be reading it; what
//! we start is kept from seeing these variables instead ([`ONLY_OURS`]).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Variables that speak to the process that was started, and not to its children: a child that
/// heeded them could speak in our name, or take descriptors for its own that it does not have
/// (`sd_notify(3)`, `sd_listen_fds(3)`, `sd_watchdog_enabled(3)`).
pub const ONLY_OURS: [&str; 6] =
    [NOTIFY_SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// How long it may keep us waiting until it has room for what it is told.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket that was passed.
#[derive(Debug)]
pub struct Passed {
    /// Its number when it was passed.
    pub number: i32,
    /// Its name (`FileDescriptorName=` of a socket unit, which is the unit's name where nothing is
    /// said); `unknown` where no names are passed.
    pub name: String,
    /// The socket, which no program started by us gets.
    pub socket: OwnedFd,
}

/// The descriptors that were passed to this process (`LISTEN_FDS`), in their order. A second call
/// answers none: they are given away once.
pub fn passed() -> io::Result<Vec<Passed>> {
    static GIVEN: AtomicBool = AtomicBool::new(false);
    if GIVEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    // Each is open, or this is an error: it has been made to close on exec.
    let descriptors = sd_notify::listen_fds_with_names()?;
    let own = |(number, name)| {
        // SAFETY: who started us has opened this descriptor for us and says so by LISTEN_PID; it
        // has just been found open, nothing else of ours knows of it, and it is given away once.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        Passed { number, name, socket }
    };
    Ok(descriptors.map(own).collect())
}

/// How often it wants to hear that we are well, at least (`WATCHDOG_USEC`); `None`: never.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// Tells the service manager how we are; nobody, where there is none.
#[derive(Debug)]
pub struct Manager {
    socket: Option<UnixDatagram>,
}

/// Something to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// All is there that there is to be.
    Ready,
    /// We are about to end.
    Stopping,
    /// We are well.
    Watchdog,
    /// How we are, in a line for people.
    Status(&'a str),
}

impl State<'_> {
    /// A line of `sd_notify(3)`; a text has its first line only.
    fn line(self) -> String {
        match self {
            State::Ready => "READY=1\n".into(),
            State::Stopping => "STOPPING=1\n".into(),
            State::Watchdog => "WATCHDOG=1\n".into(),
            State::Status(text) => format!("STATUS={}\n", text.lines().next().unwrap_or_default()),
        }
    }
}

impl Manager {
    /// The one that has started us (`NOTIFY_SOCKET`). It is connected to once: later we may not be
    /// allowed to.
    pub fn from_env() -> io::Result<Manager> {
        let named = std::env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty());
        named.map_or_else(|| Ok(Manager::nobody()), |name| Manager::at(&name))
    }

    /// Nobody.
    pub fn nobody() -> Manager {
        Manager { socket: None }
    }

    /// The one that listens there.
    pub fn at(name: &OsStr) -> io::Result<Manager> {
        let address = address(name)?;
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(TELL_TIMEOUT))?;
        Ok(Manager { socket: Some(socket) })
    }

    /// Whether there is anybody to tell.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells all of this at once. Waits for a second at most.
    pub fn tell(&self, states: &[State<'_>]) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let text: String = states.iter().map(|state| state.line()).collect();
        socket.send(text.as_bytes()).map(drop)
    }
}

/// A path, or behind `@` a name in the abstract namespace (unix(7)).
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").into_os_string();
        let abstract_name = OsString::from(format!("@restreamer-notify-{}", std::process::id()));
        for name in [path, abstract_name] {
            let far = UnixDatagram::bind_addr(&address(&name).unwrap()).unwrap();
            far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let manager = Manager::at(&name).unwrap();
            assert!(manager.listens());
            manager.tell(&[State::Ready, State::Status("two\nREADY=0"), State::Watchdog]).unwrap();
            manager.tell(&[State::Stopping]).unwrap();
            let read = || {
                let mut buffer = [0; 256];
                let length = far.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            };
            assert_eq!(read(), "READY=1\nSTATUS=two\nWATCHDOG=1\n");
            assert_eq!(read(), "STOPPING=1\n");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_none_at_all_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("nobody").into_os_string();
        assert_eq!(Manager::at(&nowhere).unwrap_err().kind(), io::ErrorKind::NotFound);
        let strange = Manager::at(OsStr::new("vsock:2:1234")).unwrap_err();
        assert_eq!(strange.kind(), io::ErrorKind::Unsupported);
        let nobody = Manager { socket: None };
        assert!(!nobody.listens());
        nobody.tell(&[State::Ready]).unwrap();
    }

    #[test]
    fn one_who_does_not_listen_keeps_us_waiting_for_a_moment_only() {
        let name = OsString::from(format!("@restreamer-deaf-{}", std::process::id()));
        let _deaf = UnixDatagram::bind_addr(&address(&name).unwrap()).unwrap();
        let manager = Manager::at(&name).unwrap();
        // Its queue has an end (net.unix.max_dgram_qlen).
        let full = (0..100_000).find_map(|_| manager.tell(&[State::Watchdog]).err());
        assert_eq!(full.expect("an end").kind(), io::ErrorKind::WouldBlock);
    }
}
