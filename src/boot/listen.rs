//! Listening on what the configuration says, unless sockets that listen were passed to us.

mod passed;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::num::NonZeroUsize;

use passed::Passed;
use restreamer_sys::socket;

use super::{BootError, Remark};
use crate::config::{Config, Listen};
use crate::limits::BACKLOG_MAX;

pub use passed::PassedError;

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {address}: {error}")]
pub struct ListenError {
    key: &'static str,
    address: String,
    error: io::Error,
}

/// Where people come in.
#[derive(Debug)]
pub(super) struct Listening {
    /// Each worker's sockets for viewers.
    pub(super) viewers: Vec<Vec<TcpListener>>,
    /// Whether these are ours alone: what was passed to us somebody else goes on with.
    pub(super) ours: bool,
    /// The side port's.
    pub(super) side: Vec<TcpListener>,
    /// What is to be said of them in the log.
    pub(super) remarks: Vec<Remark>,
}

impl Listening {
    /// Listens on all that the configuration says; what was passed to us takes its place.
    pub(super) fn open(config: &Config, workers: NonZeroUsize) -> Result<Listening, BootError> {
        let passed = Passed::take()?;
        let mut remarks = Vec::new();
        let ours = passed.viewers.is_empty();
        let viewers = if ours {
            listen_for("listen", &config.listen, workers)?
        } else {
            remarks.extend(differing("listen", Some(&config.listen), &passed.viewers));
            passed::deal(passed.viewers, workers)?
        };
        let side = if passed.side.is_empty() {
            let (side, no_side) = listen_aside(config)?;
            remarks.extend(no_side);
            side
        } else {
            remarks.extend(differing("side", config.side.as_ref(), &passed.side));
            passed.side
        };
        Ok(Listening { viewers, ours, side, remarks })
    }

    /// Where viewers are served, and where the side port is.
    pub(super) fn addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        (bound(&self.viewers[0]), bound(&self.side))
    }
}

/// What is to be said where sockets that were passed are not what the configuration says.
fn differing(key: &'static str, listen: Option<&Listen>, passed: &[TcpListener]) -> Option<Remark> {
    let addresses = bound(passed);
    let meant = |address: &SocketAddr| listen.is_some_and(|listen| is_meant(listen, *address));
    if addresses.iter().all(meant) {
        return None;
    }
    let said = listen.map_or_else(|| "nowhere".to_owned(), Listen::to_string);
    let mut passed: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    passed.dedup();
    let passed = passed.join(", ");
    let text = format!("{key}: {said} is not heeded: sockets at {passed} were passed (LISTEN_FDS)");
    Some(Remark { text, is_error: false })
}

/// Whether the configuration means this address too.
fn is_meant(listen: &Listen, address: SocketAddr) -> bool {
    let Some(host) = &listen.host else {
        return address.ip().is_unspecified() && listen.port == address.port();
    };
    // A name that cannot be resolved means none.
    let resolved = (host.as_str(), listen.port).to_socket_addrs();
    resolved.is_ok_and(|mut all| all.any(|meant| meant == address))
}

fn bound(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Listens on every address that `listen` means. `key` is the configuration's, for the error.
fn listen(key: &'static str, listen: &Listen) -> Result<Vec<TcpListener>, ListenError> {
    let alone = listen_for(key, listen, NonZeroUsize::MIN)?;
    Ok(alone.into_iter().flatten().collect())
}

/// The same for so many workers: each has sockets of its own for all addresses, among which the
/// kernel spreads those who connect.
fn listen_for(
    key: &'static str,
    listen: &Listen,
    workers: NonZeroUsize,
) -> Result<Vec<Vec<TcpListener>>, ListenError> {
    let mut shares: Vec<Vec<TcpListener>> = (0..workers.get()).map(|_| Vec::new()).collect();
    for shared in bind_all(key, listen, workers)? {
        shares.iter_mut().zip(shared).for_each(|(share, socket)| share.push(socket));
    }
    Ok(shares)
}

/// So many sockets for each address.
fn bind_all(
    key: &'static str,
    listen: &Listen,
    sockets: NonZeroUsize,
) -> Result<Vec<Vec<TcpListener>>, ListenError> {
    let fail = |address: String| move |error| ListenError { key, address, error };
    let bind = |address: SocketAddr| socket::listen_shared(address, BACKLOG_MAX, sockets);
    let Some(host) = &listen.host else {
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, listen.port).into();
        let listener = match bind(any) {
            Err(error) if is_missing_family(&error) => {
                bind((Ipv4Addr::UNSPECIFIED, listen.port).into())
            }
            answer => answer,
        };
        return listener.map(|l| vec![l]).map_err(fail(listen.to_string()));
    };
    let resolved = (host.as_str(), listen.port).to_socket_addrs();
    let mut addresses: Vec<_> = resolved.map_err(fail(listen.to_string()))?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut listeners = Vec::new();
    let mut missing = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            // localhost is ::1 as well, and a host may be without IPv6: one of them is enough.
            Err(error) if is_missing_family(&error) => missing = error,
            Err(error) => return Err(fail(address.to_string())(error)),
        }
    }
    if listeners.is_empty() { Err(fail(listen.to_string())(missing)) } else { Ok(listeners) }
}

/// Listens for the side port. One that nobody asked for is done without where its address is taken,
/// by another node of ours more likely than not; that is to be said in the log.
fn listen_aside(config: &Config) -> Result<(Vec<TcpListener>, Option<Remark>), ListenError> {
    let Some(side) = &config.side else { return Ok((Vec::new(), None)) };
    match listen("side", side) {
        Ok(listeners) => Ok((listeners, None)),
        Err(error) if config.side_given => Err(error),
        Err(error) => {
            let text = format!("{error}; metrics, health and status have no port of their own");
            Ok((Vec::new(), Some(Remark { text, is_error: false })))
        }
    }
}

/// `EAFNOSUPPORT` (no such protocol here) or `EADDRNOTAVAIL` (no such address here).
fn is_missing_family(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: Option<&str>, port: u16) -> Listen {
        Listen { host: host.map(str::to_owned), port }
    }

    #[test]
    fn a_name_is_all_its_addresses() {
        let listeners = listen("listen", &at(Some("localhost"), 0)).unwrap();
        assert!(!listeners.is_empty());
        assert!(listeners.iter().all(|l| l.local_addr().unwrap().ip().is_loopback()));
    }

    #[test]
    fn no_host_is_every_interface() {
        let listeners = listen("listen", &at(None, 0)).unwrap();
        assert!(listeners[0].local_addr().unwrap().ip().is_unspecified());
    }

    #[test]
    fn an_error_names_key_and_address() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen("listen", &at(Some("127.0.0.1"), port)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("listen: cannot listen on 127.0.0.1:{port}: ")),
            "{error}"
        );
        let error = listen("side", &at(Some("192.0.2.1"), 1)).unwrap_err().to_string();
        assert!(error.starts_with("side: cannot listen on 192.0.2.1:1: "), "{error}");
    }

    #[test]
    fn passed_sockets_are_remarked_upon_only_where_the_configuration_says_something_else() {
        let passed = [TcpListener::bind("127.0.0.1:0").unwrap()];
        let port = passed[0].local_addr().unwrap().port();
        for (listen, differs) in [
            (Some(at(Some("127.0.0.1"), port)), false),
            (Some(at(Some("localhost"), port)), false),
            (Some(at(Some("127.0.0.1"), port ^ 1)), true),
            (Some(at(Some("127.0.0.2"), port)), true),
            (Some(at(None, port)), true),
            (None, true),
        ] {
            let remark = differing("listen", listen.as_ref(), &passed);
            assert_eq!(remark.is_some(), differs, "{listen:?}: {remark:?}");
        }
        let remark = differing("listen", Some(&at(None, 1)), &passed).unwrap();
        assert_eq!(
            remark.text,
            format!(
                "listen: :1 is not heeded: sockets at 127.0.0.1:{port} were passed (LISTEN_FDS)"
            )
        );
        let all = [TcpListener::bind("[::]:0").unwrap()];
        let port = all[0].local_addr().unwrap().port();
        assert!(differing("listen", Some(&at(None, port)), &all).is_none());
    }

    #[test]
    fn a_side_port_that_nobody_asked_for_is_done_without() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let side = Some(at(Some("127.0.0.1"), taken.local_addr().unwrap().port()));
        let asked_for = Config { side: side.clone(), side_given: true, ..Config::default() };
        assert!(listen_aside(&asked_for).is_err());
        let default = Config { side, side_given: false, ..Config::default() };
        let (listeners, remark) = listen_aside(&default).unwrap();
        assert!(listeners.is_empty());
        assert!(remark.unwrap().text.starts_with("side: cannot listen on 127.0.0.1:"));
    }
}
