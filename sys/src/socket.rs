//! TCP sockets: listening, and the options that a viewer's connection gets.

use std::ffi::OsString;
use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, UnixAddr, bind, getsockname, getsockopt,
    listen as start_listening, recv, setsockopt, shutdown, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::moved::{Moved, uninterrupted};

/// How long a connection may be silent, and how soon a vanished peer is noticed.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    /// Silence after which the kernel asks whether the peer is still there (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between two such questions (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Questions without answer after which the peer is gone (`TCP_KEEPCNT`).
    pub count: u32,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub unacknowledged: Duration,
}

/// Listens on `address`, non-blocking, with room for `backlog` connections that wait to be accepted
/// (the kernel caps it at `net.core.somaxconn`).
///
/// The unspecified IPv6 address takes IPv4 connections as well.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let fd = bound(address, false)?;
    start_listening(&fd, Backlog::new(backlog)?)?;
    Ok(TcpListener::from(fd))
}

/// Listens on `address` likewise, with `count` listeners that the kernel spreads connections over
/// (`SO_REUSEPORT`). Port 0 is one port, the same for all.
///
/// That a port is in use stays an error, [`io::ErrorKind::AddrInUse`], as it is for one listener:
/// `SO_REUSEPORT` by itself would let a second node of the same user in, which then gets a part of
/// the connections, and nobody would know. Hence the order: the first one binds and listens without
/// the option, only then gets it, and the others join.
///
/// - Binding alone proves nothing: `SO_REUSEADDR` lets two nodes that start at once bind both, and
///   if both took the option then, both would get to listen. Listening asks for the port again, and
///   lets one of them (`inet_csk_listen_start` in `net/ipv4/inet_connection_sock.c`).
/// - The option counts from when it is set (`inet_csk_bind_conflict`, the same file), and a
///   listener that is in no group yet is given one by the next to join it (`reuseport_add_sock` in
///   `net/core/sock_reuseport.c`).
/// - What cannot be kept out is a later program of the same user that asks for `SO_REUSEPORT`
///   itself (socket(7)).
///
/// Connections that come before the last one listens go to those that do.
pub fn listen_shared(
    address: SocketAddr,
    backlog: i32,
    count: NonZeroUsize,
) -> io::Result<Vec<TcpListener>> {
    let (address, _held) = numbered(address)?;
    let first = listen(address, backlog)?;
    if count.get() > 1 {
        setsockopt(&first, sockopt::ReusePort, &true)?;
    }
    let mut listeners = Vec::with_capacity(count.get());
    listeners.push(first);
    for _ in 1..count.get() {
        let fd = bound(address, true)?;
        start_listening(&fd, Backlog::new(backlog)?)?;
        listeners.push(TcpListener::from(fd));
    }
    Ok(listeners)
}

/// The address with a port that is free, if it has none, and what holds that port until one listens
/// there. The kernel takes a port away from a socket that listens no more, unless the socket was
/// bound to it by number: then it can [listen again](listen_again) (`tcp_set_state` in
/// `net/ipv4/tcp.c`, `SOCK_BINDPORT_LOCK`).
fn numbered(mut address: SocketAddr) -> io::Result<(SocketAddr, Option<OwnedFd>)> {
    if address.port() != 0 {
        return Ok((address, None));
    }
    let holder = bound(address, false)?;
    let of_holder: SockaddrStorage = getsockname(holder.as_raw_fd())?;
    let v4 = of_holder.as_sockaddr_in().map(SockaddrIn::port);
    let v6 = of_holder.as_sockaddr_in6().map(SockaddrIn6::port);
    address.set_port(v4.or(v6).unwrap_or(0));
    Ok((address, Some(holder)))
}

/// Has a listening socket listen no more, for all who have it open. Those who wait to be accepted
/// go to another one that shares its address, where something has been attached that says to which
/// (`reuseport_migrate_sock` in `net/core/sock_reuseport.c`), and are reset otherwise.
pub fn stop_listening(listener: BorrowedFd<'_>) -> io::Result<()> {
    // To shut down reading is what ends listening (`inet_shutdown` in `net/ipv4/af_inet.c`).
    Ok(shutdown(listener.as_raw_fd(), Shutdown::Read)?)
}

/// Has the connection reset when it is closed, whatever is unsent (`SO_LINGER` of no time,
/// socket(7)): nothing of it is left then, here or at the peer's.
pub fn reset_when_closed(socket: BorrowedFd<'_>) -> io::Result<()> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(setsockopt(&socket, sockopt::Linger, &at_once)?)
}

/// Has a socket listen that did before; one that listens still is no error.
pub fn listen_again(listener: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    Ok(start_listening(&listener, Backlog::new(backlog)?)?)
}

/// Why a descriptor from elsewhere is not to be accepted from.
#[derive(Debug)]
pub enum Unfit {
    /// It is a file, a pipe or something else.
    NoSocket,
    /// It is a socket for datagrams, or a raw one.
    NoStream,
    /// It is neither of IPv4 nor of IPv6.
    NotInternet,
    /// It is connected, or not used yet.
    NotListening,
    /// The kernel does not say, or refuses to make it non-blocking.
    Kernel(io::Error),
}

/// Takes over a socket that somebody else has made listen, and makes it non-blocking.
pub fn adopt(fd: OwnedFd) -> Result<TcpListener, Unfit> {
    let kernel = |errno: Errno| match errno {
        Errno::ENOTSOCK => Unfit::NoSocket,
        errno => Unfit::Kernel(errno.into()),
    };
    if getsockopt(&fd, sockopt::SockType).map_err(kernel)? != SockType::Stream {
        return Err(Unfit::NoStream);
    }
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).map_err(kernel)?;
    if !matches!(name.family(), Some(AddressFamily::Inet | AddressFamily::Inet6)) {
        return Err(Unfit::NotInternet);
    }
    if !getsockopt(&fd, sockopt::AcceptConn).map_err(kernel)? {
        return Err(Unfit::NotListening);
    }
    crate::file::set_nonblocking(fd.as_fd()).map_err(Unfit::Kernel)?;
    Ok(TcpListener::from(fd))
}

/// A socket with this address, shared with those who share it as well or its own.
fn bound(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// Has TCP send so many bytes a second at the most, or as many as it likes (`SO_MAX_PACING_RATE`,
/// socket(7)). Since Linux 4.13 TCP keeps to it by itself, whatever the queueing discipline
/// (`tcp_internal_pacing` in `net/ipv4/tcp_output.c`). Who was paced once is paced on, at the rate
/// that the congestion control finds.
pub fn pace(socket: BorrowedFd<'_>, bytes_per_second: Option<u32>) -> io::Result<()> {
    let rate: u32 = bytes_per_second.unwrap_or(u32::MAX);
    let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads the four bytes of `rate`, which is alive; the descriptor is open for
    // as long as `socket` is borrowed.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            length,
        )
    };
    Errno::result(answer).map(drop).map_err(io::Error::from)
}

/// Keeps a socket full from `bytes` of unsent bytes on (`TCP_NOTSENT_LOWAT`, tcp(7)): what the peer
/// does not take waits with us, where it can be skipped, and not in kernel memory.
pub fn limit_unsent(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads the four bytes of `bytes`, which is alive; the descriptor is open
    // for as long as `socket` is borrowed.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    Errno::result(answer)?;
    Ok(())
}

/// Sets the congestion control of a TCP connection (`TCP_CONGESTION`, tcp(7)), before or after it
/// is made; a listener's is inherited. `name` has 15 bytes at most.
///
/// One that the kernel does not have is [`io::ErrorKind::NotFound`]. One that it has but that is
/// not among `net.ipv4.tcp_allowed_congestion_control` is [`io::ErrorKind::PermissionDenied`]
/// without `CAP_NET_ADMIN`, which is what it takes to load a missing module, too
/// (`tcp_set_congestion_control` in `net/ipv4/tcp_cong.c`).
pub fn set_congestion(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    Ok(setsockopt(&socket, sockopt::TcpCongestion, &OsString::from(name))?)
}

/// Whether a connection could have this congestion control: the error is that of
/// [`set_congestion`].
pub fn try_congestion(name: &str) -> io::Result<()> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    set_congestion(fd.as_fd(), name)
}

/// The congestion control of a TCP connection.
pub fn congestion(socket: BorrowedFd<'_>) -> io::Result<String> {
    Ok(getsockopt(&socket, sockopt::TcpCongestion)?.to_string_lossy().into_owned())
}

/// Begins to connect, non-blocking: the socket is writable once that has succeeded or failed, and a
/// write tells which.
pub fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects to a unix stream socket, before `timeout` has passed (`None`: whenever it is taken).
pub fn connect_unix(path: &Path, timeout: Option<Duration>) -> io::Result<OwnedFd> {
    connect_unix_as(SockType::Stream, path, timeout)
}

/// Connects to a unix seqpacket socket, likewise.
pub fn connect_unix_packet(path: &Path, timeout: Option<Duration>) -> io::Result<OwnedFd> {
    connect_unix_as(SockType::SeqPacket, path, timeout)
}

fn connect_unix_as(kind: SockType, path: &Path, timeout: Option<Duration>) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(timeout) = timeout {
        // Connecting waits as long as sending may wait (`unix_stream_connect` in the kernel).
        // 0 would be for ever.
        let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX).max(1);
        setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(millis))?;
    }
    match nix::sys::socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(fd),
        Err(Errno::EAGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends small writes at once (`TCP_NODELAY`) and notices a vanished peer (tcp(7)).
pub fn prepare(socket: BorrowedFd<'_>, liveness: Liveness) -> io::Result<()> {
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &seconds(liveness.idle))?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &seconds(liveness.interval))?;
    setsockopt(&socket, sockopt::TcpKeepCount, &liveness.count)?;
    set_user_timeout(socket, Some(liveness.unacknowledged))
}

/// Sets how long sent bytes may stay unacknowledged; `None` leaves it to the kernel's retries.
///
/// The kernel applies it to a closed window as well: with a limit, a peer that is alive but does
/// not read is cut after that time (`tcp_probe_timer` in `net/ipv4/tcp_timer.c`).
pub fn set_user_timeout(socket: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
    let millis = limit.map_or(0, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
    Ok(setsockopt(&socket, sockopt::TcpUserTimeout, &millis)?)
}

/// How long sent bytes may stay unacknowledged; `None`: it is left to the kernel's retries.
pub fn user_timeout(socket: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let millis = getsockopt(&socket, sockopt::TcpUserTimeout)?;
    Ok((millis > 0).then(|| Duration::from_millis(millis.into())))
}

/// Ends one direction of a stream socket: nothing more will be sent.
///
/// A peer that is already gone is no error.
pub fn finish(socket: &impl AsFd) -> io::Result<()> {
    match shutdown(socket.as_fd().as_raw_fd(), Shutdown::Write) {
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes up to `room.len()` bytes from a TCP socket and throws them away in the kernel, without a
/// copy (`MSG_TRUNC`, tcp(7)); `room` is as it was.
pub fn discard(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Moved> {
    assert!(!room.is_empty(), "taking nothing looks like the end");
    let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    Moved::from_read(uninterrupted(|| recv(socket.as_raw_fd(), room, flags)))
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    mod shared;

    use std::io::{Read, Write};
    use std::net::UdpSocket;
    use std::os::unix::net::UnixListener;

    use super::*;

    const LIVENESS: Liveness = Liveness {
        idle: Duration::from_secs(10),
        interval: Duration::from_secs(5),
        count: 3,
        unacknowledged: Duration::from_secs(20),
    };

    #[test]
    fn any_address_takes_both_families() {
        let listener = listen("[::]:0".parse().unwrap(), 16).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let second = listen(first.local_addr().unwrap(), 16).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_listening_socket_is_adopted_and_nothing_else_is() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let theirs = TcpListener::bind(address).unwrap();
            let address = theirs.local_addr().unwrap();
            let ours = adopt(theirs.into()).unwrap();
            assert_eq!(ours.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let _near = TcpStream::connect(address).unwrap();
            ours.accept().unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        let unfit = |fd: OwnedFd| adopt(fd).unwrap_err();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(unfit(file.into()), Unfit::NoSocket));
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(unfit(datagrams.into()), Unfit::NoStream));
        assert!(matches!(unfit(unix.into()), Unfit::NotInternet));
        assert!(matches!(unfit(connected.into()), Unfit::NotListening));
        let unused = bound("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert!(matches!(unfit(unused), Unfit::NotListening));
    }

    #[test]
    fn options_reach_the_kernel() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(near.as_fd(), LIVENESS).unwrap();
        assert!(near.nodelay().unwrap());
        assert_eq!(user_timeout(near.as_fd()).unwrap(), Some(LIVENESS.unacknowledged));
        assert_eq!(getsockopt(&near, sockopt::TcpKeepIdle).unwrap(), 10);
        set_user_timeout(near.as_fd(), None).unwrap();
        assert_eq!(user_timeout(near.as_fd()).unwrap(), None);
    }

    #[test]
    fn unsent_bytes_are_bounded() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let fill = |limit: Option<u32>| {
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.set_nonblocking(true).unwrap();
            if let Some(limit) = limit {
                limit_unsent(near.as_fd(), limit).unwrap();
            }
            let mut sent = 0;
            while let Ok(n) = near.write(&[0; 4096]) {
                sent += n;
            }
            sent
        };
        let (free, bounded) = (fill(None), fill(Some(65_536)));
        assert!(bounded < free, "{bounded} of {free}");
    }

    #[test]
    fn a_paced_socket_takes_its_time_and_a_lifted_one_none() {
        const BYTES: u32 = 1 << 20;
        let time = |rate| {
            let listener = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap();
            let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.set_nonblocking(false).unwrap();
            let (mut near, _) = listener.accept().unwrap();
            pace(near.as_fd(), Some(BYTES)).unwrap();
            pace(near.as_fd(), rate).unwrap();
            let start = std::time::Instant::now();
            let sending = std::thread::spawn(move || near.write_all(&vec![0; BYTES as usize]));
            far.read_exact(&mut vec![0; BYTES as usize]).unwrap();
            sending.join().unwrap().unwrap();
            start.elapsed()
        };
        let paced = time(Some(4 * BYTES));
        assert!(paced > Duration::from_millis(150), "{paced:?}");
        let free = time(None);
        assert!(free < paced, "{free:?}, paced {paced:?}");
    }

    /// `reno` is in every kernel, and everybody may have it.
    #[test]
    fn a_congestion_control_is_taken_before_and_after_connecting() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut far = listener.accept().unwrap().0;
        set_congestion(far.as_fd(), "reno").unwrap();
        assert_eq!(congestion(far.as_fd()).unwrap(), "reno");
        far.write_all(b"still there").unwrap();
        let mut got = [0; 11];
        near.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"still there");
        set_congestion(listener.as_fd(), "reno").unwrap();
        let _near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        assert_eq!(congestion(far.as_fd()).unwrap(), "reno");
    }

    #[test]
    fn a_congestion_control_that_is_unknown_changes_nothing() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let before = congestion(listener.as_fd()).unwrap();
        assert!(!before.is_empty());
        for name in ["no-such-control", "RENO"] {
            let error = set_congestion(listener.as_fd(), name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}: {error}");
            assert_eq!(try_congestion(name).unwrap_err().kind(), io::ErrorKind::NotFound, "{name}");
        }
        try_congestion("reno").unwrap();
        assert_eq!(congestion(listener.as_fd()).unwrap(), before);
        let unix = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        let error = set_congestion(unix.as_fd(), "reno").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    #[test]
    fn a_unix_socket_with_a_full_backlog_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        start_listening(&fd, Backlog::new(0).unwrap()).unwrap();
        let soon = Some(Duration::from_millis(20));
        let first = connect_unix(&path, soon).unwrap();
        let second = connect_unix(&path, soon).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::TimedOut);
        drop(first);
        let nobody = connect_unix(&dir.path().join("nobody"), None).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn discarded_bytes_are_counted_and_the_next_ones_are_read() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        let mut room = [0; 5];
        assert_eq!(discard(far.as_fd(), &mut room).unwrap(), Moved::Blocked);
        near.write_all(b"first next").unwrap();
        far.peek(&mut [0]).unwrap();
        assert_eq!((discard(far.as_fd(), &mut room).unwrap().count(), room), (5, [0; 5]));
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got, " next");
        assert_eq!(discard(far.as_fd(), &mut room).unwrap(), Moved::Ended);
    }

    #[test]
    fn a_write_tells_whether_a_connection_has_come_about() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        listener.set_nonblocking(false).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let near = begin_to_connect(address).unwrap();
            crate::wait::writable([near.as_fd()], None).unwrap();
            near
        };
        connect().write_all(b"request").unwrap();
        let mut got = String::new();
        listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
        assert_eq!(got, "request");
        drop(listener);
        let refused = connect().write(b"request").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn finish_lets_the_peer_read_to_the_end_and_answer() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        near.write_all(b"last").unwrap();
        finish(&near).unwrap();
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        far.write_all(b"thanks").unwrap();
        drop(far);
        near.read_to_string(&mut got).unwrap();
        assert_eq!(got, "lastthanks");
    }
}
