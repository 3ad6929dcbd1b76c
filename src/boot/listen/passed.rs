//! Sockets that whoever has started us has made listen already (`sd_listen_fds(3)`).
//!
//! Owns what they are for, by their names, and how they are dealt out among workers. Those who
//! connect while no node runs wait in such a socket. So a node accepts from these and adds none of
//! its own beside them: what waited in its own would be lost with it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use restreamer_sys::socket::{self, Unfit};
use restreamer_sys::systemd;

/// Why the sockets that were passed cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// What the environment says of them is not so.
    #[error("LISTEN_FDS: {0}")]
    Environment(io::Error),
    /// It is for something that we do not know.
    #[error("LISTEN_FDS: socket {number} is named `{name}`, expected `viewers` or `side`")]
    Name {
        /// The descriptor.
        number: i32,
        /// What it is named.
        name: String,
    },
    /// Nobody can connect to it, or not by TCP.
    #[error("LISTEN_FDS: socket {number}, named `{name}`, {}", told(why))]
    Unfit {
        /// The descriptor.
        number: i32,
        /// What it is named.
        name: String,
        /// What is wrong with it.
        why: Unfit,
    },
    /// The kernel gives us no more of them.
    #[error("LISTEN_FDS: a socket cannot be shared among workers: {0}")]
    Share(io::Error),
}

fn told(why: &Unfit) -> String {
    match why {
        Unfit::NoSocket => "is no socket".to_owned(),
        Unfit::NoStream => "is no stream socket".to_owned(),
        Unfit::NotInternet => "is neither an IPv4 nor an IPv6 socket".to_owned(),
        Unfit::NotListening => "does not listen".to_owned(),
        Unfit::Kernel(error) => format!("cannot be used: {error}"),
    }
}

/// The sockets, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) viewers: Vec<TcpListener>,
    pub(super) side: Vec<TcpListener>,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Viewers,
    Side,
}

impl Purpose {
    /// By its name. One that nobody has named is for viewers: systemd then gives it the name of its
    /// unit, others none (systemd.socket(5), `FileDescriptorName=`).
    fn named(name: &str) -> Option<Purpose> {
        match name {
            "side" => Some(Purpose::Side),
            "viewers" | "" | "unknown" => Some(Purpose::Viewers),
            unit if unit.ends_with(".socket") => Some(Purpose::Viewers),
            _other => None,
        }
    }
}

impl Passed {
    /// Takes over what was passed to this process; nothing, if nothing was.
    pub(super) fn take() -> Result<Passed, PassedError> {
        Passed::sort(systemd::passed().map_err(PassedError::Environment)?)
    }

    fn sort(all: Vec<systemd::Passed>) -> Result<Passed, PassedError> {
        let mut sorted = Passed::default();
        for systemd::Passed { number, name, socket } in all {
            let Some(purpose) = Purpose::named(&name) else {
                return Err(PassedError::Name { number, name });
            };
            let listener = socket::adopt(socket).map_err(|why| PassedError::Unfit {
                number,
                name: name.clone(),
                why,
            })?;
            match purpose {
                Purpose::Viewers => sorted.viewers.push(listener),
                Purpose::Side => sorted.side.push(listener),
            }
        }
        Ok(sorted)
    }
}

/// Deals sockets out to so many workers. Each worker has one of every address at least, so that
/// none is idle: where there are fewer sockets than workers, some share one, and the first to come
/// takes whoever waits. All of them are woken then, once a turn at most; and the one with more to
/// do comes later, so that the others get more of them.
pub(super) fn deal(
    sockets: Vec<TcpListener>,
    workers: NonZeroUsize,
) -> Result<Vec<Vec<TcpListener>>, PassedError> {
    let mut addresses: BTreeMap<SocketAddr, Vec<TcpListener>> = BTreeMap::new();
    for socket in sockets {
        let address = socket.local_addr().map_err(PassedError::Share)?;
        addresses.entry(address).or_default().push(socket);
    }
    let mut shares: Vec<Vec<TcpListener>> = (0..workers.get()).map(|_| Vec::new()).collect();
    for sockets in addresses.into_values() {
        let more = workers.get().saturating_sub(sockets.len());
        let copies: io::Result<Vec<_>> =
            sockets.iter().cycle().take(more).map(TcpListener::try_clone).collect();
        let all = sockets.into_iter().chain(copies.map_err(PassedError::Share)?);
        for (number, socket) in all.enumerate() {
            shares[number % workers.get()].push(socket);
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;

    fn passed(name: &str, socket: impl Into<OwnedFd>) -> systemd::Passed {
        let socket = socket.into();
        systemd::Passed { number: socket.as_raw_fd(), name: name.to_owned(), socket }
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn sockets_are_for_viewers_unless_they_are_named_otherwise() {
        let all = ["viewers", "side", "", "unknown", "restreamer.socket"];
        let sorted = Passed::sort(all.map(|name| passed(name, listener())).into()).unwrap();
        assert_eq!((sorted.viewers.len(), sorted.side.len()), (4, 1));
        let error = Passed::sort(vec![passed("seid", listener())]).unwrap_err().to_string();
        assert!(error.ends_with("is named `seid`, expected `viewers` or `side`"), "{error}");
    }

    #[test]
    fn what_nobody_can_connect_to_is_refused_by_name() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = datagrams.as_raw_fd();
        let all = vec![passed("viewers", listener()), passed("side", datagrams)];
        let error = Passed::sort(all).unwrap_err().to_string();
        let said = format!("LISTEN_FDS: socket {number}, named `side`, is no stream socket");
        assert_eq!(error, said);
    }

    /// Every worker accepts at every address, and every socket is accepted from.
    #[test]
    fn sockets_are_dealt_out_and_shared_where_there_are_too_few() {
        for (sockets, workers) in [(1, 1), (1, 4), (2, 3), (3, 2), (2, 2), (5, 2)] {
            let at = |address: &str| {
                let count = NonZeroUsize::new(sockets).unwrap();
                socket::listen_shared(address.parse().unwrap(), 64, count).unwrap()
            };
            let all: Vec<_> = at("127.0.0.1:0").into_iter().chain(at("[::1]:0")).collect();
            let mut addresses: Vec<_> = all.iter().map(|one| one.local_addr().unwrap()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            let told = format!("{sockets} sockets, {workers} workers");
            let shares = deal(all, NonZeroUsize::new(workers).unwrap()).unwrap();
            assert_eq!(shares.len(), workers, "{told}");
            let each = sockets.max(workers);
            assert_eq!(shares.iter().flatten().count(), 2 * each, "{told}");
            for share in &shares {
                for address in &addresses {
                    let here = share.iter().filter(|one| one.local_addr().unwrap() == *address);
                    let here = here.count();
                    assert!((each / workers..=each.div_ceil(workers)).contains(&here), "{told}");
                }
            }
            // Wherever the kernel puts somebody, there is one who accepts: nobody is left over.
            let near: Vec<_> =
                (0..50).map(|n| std::net::TcpStream::connect(addresses[n % 2]).unwrap()).collect();
            let accepted = shares.iter().flatten().map(|one| one.incoming().map_while(Result::ok));
            assert_eq!(accepted.flatten().count(), near.len(), "{told}");
        }
    }
}
