//! Several listeners of one address.

use std::net::IpAddr;

use nix::errno::Errno;

use super::*;

/// A listener that is chosen by none of so many connections would be a miracle.
const CONNECTIONS: usize = 256;

fn shared(address: &str, count: usize) -> io::Result<Vec<TcpListener>> {
    listen_shared(address.parse().unwrap(), 1024, NonZeroUsize::new(count).unwrap())
}

/// How many of [`CONNECTIONS`] connections to `host` each of four listeners gets.
fn spread(listeners: &[TcpListener], host: &str) -> [usize; 4] {
    let listeners: &[TcpListener; 4] = listeners.try_into().unwrap();
    let to = SocketAddr::from((
        host.parse::<IpAddr>().unwrap(),
        listeners[0].local_addr().unwrap().port(),
    ));
    let _near: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(to).unwrap()).collect();
    let mut counts = [0; 4];
    while counts.iter().sum::<usize>() < CONNECTIONS {
        let fds = [0, 1, 2, 3].map(|n: usize| listeners[n].as_fd());
        let ready = crate::wait::readable(fds, Some(Duration::from_secs(10))).unwrap();
        assert!(ready.contains(&true), "{counts:?} of {CONNECTIONS}");
        for (listener, count) in listeners.iter().zip(&mut counts) {
            while listener.accept().is_ok() {
                *count += 1;
            }
        }
    }
    counts
}

#[test]
fn connections_are_spread_over_all() {
    let listeners = shared("127.0.0.1:0", 4).unwrap();
    let counts = spread(&listeners, "127.0.0.1");
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn any_address_spreads_both_families() {
    let listeners = shared("[::]:0", 4).unwrap();
    for host in ["127.0.0.1", "::1"] {
        let counts = spread(&listeners, host);
        assert!(counts.iter().all(|&count| count > 0), "{host}: {counts:?}");
    }
}

#[test]
fn port_0_is_one_port() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let listeners = shared(address, 4).unwrap();
        let first = listeners[0].local_addr().unwrap();
        assert!(first.port() > 0);
        assert!(listeners.iter().all(|l| l.local_addr().unwrap() == first), "{listeners:?}");
    }
}

#[test]
fn a_second_node_is_refused() {
    for counts in [(4, 4), (4, 1), (1, 4)] {
        for any in ["127.0.0.1", "[::]"] {
            let first = shared(&format!("{any}:0"), counts.0).unwrap();
            let port = first[0].local_addr().unwrap().port();
            for host in ["127.0.0.1", any] {
                let second = shared(&format!("{host}:{port}"), counts.1).unwrap_err();
                assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{counts:?} {any} {host}");
            }
            drop(first);
            shared(&format!("{any}:{port}"), counts.1).unwrap();
        }
    }
}

/// Both have bound the port, since neither listens yet: `SO_REUSEADDR` lets them.
#[test]
fn of_two_nodes_that_start_at_once_one_is_refused() {
    let late = bound("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address: SockaddrStorage = getsockname(late.as_raw_fd()).unwrap();
    let first = shared(&address.to_string(), 4).unwrap();
    let refused = start_listening(&late, Backlog::new(16).unwrap()).unwrap_err();
    assert_eq!(refused, Errno::EADDRINUSE);
    drop(late);
    let counts = spread(&first, "127.0.0.1");
    assert_eq!(counts.iter().sum::<usize>(), CONNECTIONS);
}

#[test]
fn a_stranger_is_refused() {
    let listeners = shared("127.0.0.1:0", 2).unwrap();
    let address = listeners[0].local_addr().unwrap();
    // The standard library asks for `SO_REUSEADDR`.
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(bind_plainly(address).unwrap_err(), Errno::EADDRINUSE);
}

/// Without any option.
fn bind_plainly(address: SocketAddr) -> nix::Result<()> {
    let plain =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(plain.as_raw_fd(), &SockaddrStorage::from(address))
}

/// A node that has crashed leaves connections in `TIME_WAIT` behind.
#[test]
fn a_port_with_old_connections_can_be_had_again() {
    let listeners = shared("127.0.0.1:0", 4).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let mut near = TcpStream::connect(address).unwrap();
    let fds = [0, 1, 2, 3].map(|n: usize| listeners[n].as_fd());
    let ready = crate::wait::readable(fds, Some(Duration::from_secs(10))).unwrap();
    let chosen = ready.iter().position(|&ready| ready).unwrap();
    // Who ends first is left with `TIME_WAIT`.
    drop(listeners[chosen].accept().unwrap());
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
    drop(near);
    drop(listeners);
    assert_eq!(bind_plainly(address).unwrap_err(), Errno::EADDRINUSE);
    assert_eq!(shared(&address.to_string(), 4).unwrap().len(), 4);
}
