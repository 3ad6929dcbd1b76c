//! Datagram upstreams: UDP unicast and multicast, RTP, unix datagram and seqpacket sockets. Blocks.
//!
//! Owns the making of the socket; what comes through it is the fill's.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use restreamer_sys::{datagram, file, socket};

use super::error::DialError;
use super::{Body, Dialed};
use crate::clock::remaining;
use crate::config::{Datagrams, Reception};
use crate::limits::REJOIN_MIN;

/// What a datagram socket's datagrams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Packets.
    Packets,
    /// Packets behind an RTP header.
    Rtp,
}

/// A datagram socket and what it takes to read it.
#[derive(Debug)]
pub struct Datagram {
    /// What its datagrams are.
    pub payload: Payload,
    /// The longest one, in bytes.
    pub longest: usize,
    /// Whether one of no length is the end, as on a seqpacket socket.
    pub ends: bool,
    /// The group it belongs to.
    pub membership: Option<Membership>,
    /// After how long a silence the group is joined again.
    pub rejoin: Option<Duration>,
    /// A socket's file that goes with the socket.
    name: Option<Name>,
}

impl Datagram {
    fn of(payload: Payload, reception: &Reception) -> Datagram {
        Datagram {
            payload,
            longest: reception.datagram_bytes,
            ends: false,
            membership: None,
            rejoin: reception.rejoin.map(|after| after.max(REJOIN_MIN)),
            name: None,
        }
    }
}

/// A socket's place in a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    group: IpAddr,
    source: Option<IpAddr>,
    interface: u32,
    /// The interface may come back as another of the same name.
    name: Option<String>,
}

impl Membership {
    /// Leaves the group and joins it again, so that the network is told anew: a querier may have
    /// forgotten us, or the interface may have changed its address.
    pub fn renew(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // Not a member any more: the interface has gone. All the more reason to join.
        let _no_member = datagram::leave(socket, self.group, self.source, self.interface);
        let interface = match &self.name {
            Some(name) => datagram::interface(name)?,
            None => self.interface,
        };
        datagram::join(socket, self.group, self.source, interface)
    }
}

/// Binds a UDP socket, and joins the group if the address is one.
pub fn udp(
    remote: &Datagrams,
    payload: Payload,
    reception: &Reception,
    buffer_bytes: usize,
) -> Result<Dialed, DialError> {
    let mut address = resolve(&remote.address.host, remote.address.port)?;
    let source = match &remote.source {
        Some(source) => Some(resolve(source, 0)?.ip()),
        None => None,
    };
    let mut interface = match &reception.interface {
        Some(name) => datagram::interface(name)
            .map_err(|error| DialError::Interface { name: name.clone(), error })?,
        None => 0,
    };
    // The interface may stand in the address, too (`ff02::1%eth0`), and belongs there.
    if let SocketAddr::V6(v6) = &mut address {
        match interface {
            0 => interface = v6.scope_id(),
            given => v6.set_scope_id(given),
        }
    }
    let open = || {
        let socket = match datagram::bind(address) {
            // All interfaces, on a host without IPv6.
            Err(error)
                if error.kind() != io::ErrorKind::AddrInUse
                    && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
            {
                datagram::bind((Ipv4Addr::UNSPECIFIED, address.port()).into())?
            }
            bound => bound?,
        };
        datagram::prepare(socket.as_fd(), buffer_bytes)?;
        Ok(socket)
    };
    let socket: OwnedFd = open().map_err(DialError::Bind)?;
    let membership = address.ip().is_multicast().then_some(Membership {
        group: address.ip(),
        source,
        interface,
        name: reception.interface.clone(),
    });
    if membership.is_some() {
        datagram::join(socket.as_fd(), address.ip(), source, interface).map_err(DialError::Join)?;
    }
    let mut datagram = Datagram::of(payload, reception);
    datagram.membership = membership;
    Ok(Dialed { body: Body::Datagrams(datagram), ..Dialed::raw(socket) })
}

/// Binds a unix datagram socket at `path`. A socket's file that nobody reads any more is replaced.
pub fn unix_datagram(
    path: &Path,
    reception: &Reception,
    buffer_bytes: usize,
) -> Result<Dialed, DialError> {
    if is_left_over(path) {
        fs::remove_file(path).map_err(DialError::Bind)?;
    }
    let socket = UnixDatagram::bind(path).map_err(DialError::Bind)?;
    let mut of = Datagram::of(Payload::Packets, reception);
    of.name = Some(Name::of(path).map_err(DialError::Bind)?);
    socket.set_nonblocking(true).map_err(DialError::Bind)?;
    datagram::prepare(socket.as_fd(), buffer_bytes).map_err(DialError::Bind)?;
    Ok(Dialed { body: Body::Datagrams(of), ..Dialed::raw(socket) })
}

/// Connects to a unix seqpacket socket.
pub fn unix_packet(
    path: &Path,
    reception: &Reception,
    deadline: Option<Instant>,
) -> Result<Dialed, DialError> {
    let patience = remaining(deadline, Instant::now());
    let socket = socket::connect_unix_packet(path, patience).map_err(DialError::of_connect)?;
    file::set_nonblocking(socket.as_fd()).map_err(DialError::Connect)?;
    let of = Datagram { ends: true, ..Datagram::of(Payload::Packets, reception) };
    Ok(Dialed { body: Body::Datagrams(of), ..Dialed::raw(socket) })
}

/// Whether `path` is a socket that a process before us has left behind.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let nobody_reads = || {
        let probe = UnixDatagram::unbound().and_then(|probe| probe.connect(path));
        probe.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    is_socket && nobody_reads()
}

/// A socket's file, removed with the socket.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// Device and inode: what stands at the path later may be somebody else's.
    identity: (u64, u64),
}

impl Name {
    fn of(path: &Path) -> io::Result<Name> {
        Ok(Name { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Not ours to remove any more: then the next one replaces it.
            let _refused = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, DialError> {
    let failed = |error| DialError::Resolve { host: host.to_owned(), error };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    // Of a name with both, senders most likely use the older.
    let best = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    best.copied().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}
