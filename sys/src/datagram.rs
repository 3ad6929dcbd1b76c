//! Datagram sockets: UDP unicast and multicast, and unix datagrams; many datagrams a call.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind as bind_to, setsockopt, socket,
    sockopt,
};

use crate::moved::uninterrupted;

/// Datagrams taken by one call at most.
pub const BATCH_MAX: usize = 32;

/// What one call brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many datagrams; 0: there is none now.
    pub count: usize,
    /// Bytes of each.
    pub lengths: [usize; BATCH_MAX],
    /// How many of them were longer than their place, and are cut.
    pub truncated: usize,
    /// Datagrams that the kernel has dropped on this socket since it was made, modulo 2³², because
    /// its buffer was full (`SO_RXQ_OVFL`); `None`: the kernel did not say.
    pub overflow: Option<u32>,
}

/// Makes a UDP socket that receives what is sent to `address`, non-blocking. Several sockets may
/// share a multicast address and port; the unspecified IPv6 address takes IPv4 as well.
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    if address.ip().is_multicast() {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        hear_own_groups_only(fd.as_fd(), address.is_ipv4())?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    bind_to(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

/// What other sockets of this host have joined, on whatever interface, is not for this one
/// (`IP_MULTICAST_ALL`, ip(7)).
fn hear_own_groups_only(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, option) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL)
    };
    let no: libc::c_int = 0;
    set(socket, level, option, &no)
}

/// Asks for a receive buffer of so many bytes (the kernel caps it at `net.core.rmem_max` unless we
/// may exceed that), and to be told of datagrams dropped for want of room.
pub fn prepare(socket: BorrowedFd<'_>, buffer: usize) -> io::Result<()> {
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &buffer)?;
    }
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    Ok(())
}

/// The number of a network interface, by its name.
pub fn interface(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

/// Leaves a multicast group that was joined with the same source and interface.
pub fn leave(
    socket: BorrowedFd<'_>,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: u32,
) -> io::Result<()> {
    change(
        socket,
        group,
        source,
        interface,
        libc::MCAST_LEAVE_GROUP,
        libc::MCAST_LEAVE_SOURCE_GROUP,
    )
}

/// Joins a multicast group, of one source alone if it is given, on an interface (0: the one that
/// the routes say). The kernel leaves it when the socket is closed (RFC 3678).
pub fn join(
    socket: BorrowedFd<'_>,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: u32,
) -> io::Result<()> {
    change(socket, group, source, interface, libc::MCAST_JOIN_GROUP, libc::MCAST_JOIN_SOURCE_GROUP)
}

fn change(
    socket: BorrowedFd<'_>,
    group: IpAddr,
    source: Option<IpAddr>,
    interface: u32,
    of_any: i32,
    of_source: i32,
) -> io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let gsr_group = storage(group);
    match source {
        None => {
            let request = libc::group_req { gr_interface: interface, gr_group: gsr_group };
            set(socket, level, of_any, &request)
        }
        Some(source) => {
            let gsr_source = storage(source);
            let request =
                libc::group_source_req { gsr_interface: interface, gsr_group, gsr_source };
            set(socket, level, of_source, &request)
        }
    }
}

/// Takes what datagrams are there, each into a place of `slot` bytes of `room`, at most
/// [`BATCH_MAX`].
///
/// # Panics
/// When there is no room for one.
pub fn receive(socket: BorrowedFd<'_>, room: &mut [u8], slot: usize) -> io::Result<Batch> {
    assert!(slot > 0 && room.len() >= slot, "no room for a datagram");
    let mut control = [[0_u64; 4]; BATCH_MAX];
    // SAFETY: an all-zero iovec is valid: no memory, of length 0.
    let mut vectors: [libc::iovec; BATCH_MAX] = unsafe { zeroed() };
    // SAFETY: an all-zero mmsghdr is valid: no name, no vectors, no control.
    let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { zeroed() };
    let mut places = 0;
    for (number, place) in room.chunks_exact_mut(slot).take(BATCH_MAX).enumerate() {
        vectors[number] = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: slot };
        let header = &mut headers[number].msg_hdr;
        header.msg_iov = &raw mut vectors[number];
        header.msg_iovlen = 1;
        header.msg_control = control[number].as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control[number]);
        places += 1;
    }
    let taken = uninterrupted(|| {
        // SAFETY: the first `places` headers point to `vectors`, `control` and disjoint places of
        // `room`, all alive and unaliased for the call; no timeout is passed.
        Errno::result(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                places,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        })
    });
    let count = match taken {
        Ok(count) => usize::try_from(count).unwrap_or(0),
        Err(Errno::EAGAIN) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut batch = Batch { count, ..Batch::default() };
    for (number, header) in headers[..count].iter().enumerate() {
        batch.lengths[number] = usize::try_from(header.msg_len).unwrap_or(0).min(slot);
        batch.truncated += usize::from(header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
    }
    if let Some(last) = headers[..count].last() {
        batch.overflow = overflow(&last.msg_hdr);
    }
    Ok(batch)
}

/// The count of dropped datagrams that came with a message.
fn overflow(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the kernel has filled in the header; its control buffer is alive, and long and
    // aligned enough for a cmsghdr.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR answer null or a whole cmsghdr in the buffer.
        let found = unsafe { *control };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
            // SAFETY: the data of a control message follows its header.
            let data = unsafe { libc::CMSG_DATA(control) };
            // SAFETY: that of SO_RXQ_OVFL is a u32 (socket(7)), of any alignment.
            return Some(unsafe { data.cast::<u32>().read_unaligned() });
        }
        // SAFETY: `control` is a control message of this header.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is valid for reads of `length` bytes, and the kernel only reads.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length)
    };
    Errno::result(answer)?;
    Ok(())
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let from = SockaddrStorage::from(SocketAddr::new(address, 0));
    // SAFETY: an all-zero sockaddr_storage is valid: of no family.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    if let Some(v4) = from.as_sockaddr_in() {
        let bare: &libc::sockaddr_in = v4.as_ref();
        // SAFETY: a sockaddr_storage has room and alignment for every kind of address.
        unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(*bare) };
    } else if let Some(v6) = from.as_sockaddr_in6() {
        let bare: &libc::sockaddr_in6 = v6.as_ref();
        // SAFETY: as above.
        unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(*bare) };
    }
    storage
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::wait::readable;

    fn pair() -> (UdpSocket, UdpSocket) {
        let near = UdpSocket::from(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        (near, far)
    }

    #[test]
    fn many_datagrams_come_with_one_call() {
        let (near, far) = pair();
        let mut room = [0; 8 * 1500];
        assert_eq!(receive(near.as_fd(), &mut room, 1500).unwrap().count, 0);
        for number in 1..=5_u8 {
            far.send(&vec![number; 100 * usize::from(number)]).unwrap();
        }
        let batch = receive(near.as_fd(), &mut room, 1500).unwrap();
        assert_eq!((batch.count, &batch.lengths[..5]), (5, &[100, 200, 300, 400, 500][..]));
        assert_eq!((room[4 * 1500], room[4 * 1500 + 499], room[4 * 1500 + 500]), (5, 5, 0));
    }

    #[test]
    fn a_long_one_is_cut_and_told() {
        let (near, far) = pair();
        far.send(&[7; 300]).unwrap();
        let batch = receive(near.as_fd(), &mut [0; 200], 100).unwrap();
        assert_eq!((batch.count, batch.lengths[0], batch.truncated), (1, 100, 1));
    }

    #[test]
    fn what_the_kernel_dropped_is_counted() {
        let (near, far) = pair();
        prepare(near.as_fd(), 4096).unwrap();
        for _ in 0..1000 {
            far.send(&[0; 1000]).unwrap();
        }
        let mut room = vec![0; BATCH_MAX * 1000];
        let mut taken = 0;
        loop {
            match receive(near.as_fd(), &mut room, 1000).unwrap().count {
                0 => break,
                count => taken += count,
            }
        }
        far.send(&[0; 1000]).unwrap();
        let last = receive(near.as_fd(), &mut room, 1000).unwrap();
        assert_eq!(last.overflow, Some(u32::try_from(1000 - taken).unwrap()));
    }

    #[test]
    fn a_group_is_joined_on_an_interface_of_either_family() {
        let loopback = interface("lo").unwrap();
        for group in ["239.1.2.3", "ff15::1234"] {
            let group: IpAddr = group.parse().unwrap();
            let near = UdpSocket::from(bind(SocketAddr::new(group, 0)).unwrap());
            join(near.as_fd(), group, None, loopback).unwrap();
            let port = near.local_addr().unwrap().port();
            let from = if group.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let far = UdpSocket::bind(from).unwrap();
            match far.send_to(b"x", SocketAddr::new(group, port)) {
                // Without a multicast route on loopback joining is all there is to see.
                Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => continue,
                sent => assert_eq!(sent.unwrap(), 1),
            }
            if readable([near.as_fd()], Some(Duration::from_millis(200))).unwrap() == [true] {
                assert_eq!(receive(near.as_fd(), &mut [0; 10], 10).unwrap().count, 1);
            }
        }
    }

    #[test]
    fn a_source_is_joined_and_a_unicast_address_is_no_group() {
        let near = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let lo = interface("lo").unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..2 {
            join(near.as_fd(), ip("232.1.1.1"), Some(ip("127.0.0.1")), lo).unwrap();
            leave(near.as_fd(), ip("232.1.1.1"), Some(ip("127.0.0.1")), lo).unwrap();
        }
        assert!(leave(near.as_fd(), ip("232.1.1.1"), None, lo).is_err(), "not a member");
        assert!(join(near.as_fd(), ip("10.0.0.1"), None, lo).is_err());
        assert!(interface("no such interface").is_err());
    }
}
