//! What the kernel knows of a TCP connection (`TCP_INFO`, tcp(7)).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The part of `struct tcp_info` that tells a paused peer from a vanished one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments sent and not acknowledged. 0 with bytes waiting: the peer's window is closed.
    pub unacknowledged: u32,
    /// Window or keepalive probes sent since the peer was last heard of.
    pub probes: u8,
}

/// Asks the kernel about a TCP socket.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: `info` is valid for writes of `length` bytes, the kernel writes no more than that and
    // updates `length`; the descriptor is open for as long as `socket` is borrowed.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field of the struct is an integer, for which the zeroes that an older kernel
    // leaves unwritten are valid values.
    let info = unsafe { info.assume_init() };
    Ok(TcpInfo { unacknowledged: info.tcpi_unacked, probes: info.tcpi_probes })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_has_acknowledged_all_it_has_room_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _far = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        crate::wait::writable([near.as_fd()], Some(Duration::from_millis(1200))).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        let info = tcp_info(near.as_fd()).unwrap();
        assert_eq!(info.unacknowledged, 0, "{info:?}");
    }

    #[test]
    fn anything_but_tcp_is_an_error() {
        let pipe = crate::pipe::Pipe::with_capacity(4096).unwrap();
        assert_eq!(tcp_info(pipe.reader()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
