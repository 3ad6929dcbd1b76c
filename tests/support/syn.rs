//! Packets that begin a TCP connection (RFC 9293, section 3.5) and that nobody stands behind: from
//! any address, and not sent again, so that each of them can be counted. It takes root.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// "Whatever the header says" (raw(7)): the header of IP is ours to write, in both families.
const ANY_PROTOCOL: i32 = 255;
const TCP: u8 = 6;
const TCP_BYTES: usize = 20;
/// The flag, and nothing but it.
const SYN: u8 = 0x02;

/// Sends them to one address.
pub struct Syns {
    socket: Socket,
    to: SocketAddr,
}

impl Syns {
    pub fn to(to: SocketAddr) -> io::Result<Syns> {
        let protocol = Some(Protocol::from(ANY_PROTOCOL));
        let socket = Socket::new(Domain::for_address(to), Type::RAW, protocol)?;
        Ok(Syns { socket, to })
    }

    /// Sends one, from an address of the same family.
    pub fn send(&self, from: SocketAddr) -> io::Result<()> {
        let packet = match (from.ip(), self.to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let tcp =
                    segment(from.port(), self.to.port(), &[&source.octets(), &target.octets()]);
                [ipv4(source, target), tcp].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let tcp =
                    segment(from.port(), self.to.port(), &[&source.octets(), &target.octets()]);
                [ipv6(source, target), tcp].concat()
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // Whose port is in the packet, and none of the address's here (ipv6(7)).
        let to = SocketAddr::new(self.to.ip(), 0).into();
        self.socket.send_to(&packet, &to).map(|_| ())
    }

    /// Sends so many a second, for so long, each from who is next; answers how many.
    pub fn flood(
        &self,
        per_second: u32,
        length: Duration,
        mut next: impl FnMut() -> SocketAddr,
    ) -> io::Result<u64> {
        const STEP: Duration = Duration::from_millis(1);
        /// Not more at once than who receives has room for (`net.core.netdev_max_backlog`), should
        /// we have been kept from sending for a while.
        const AT_ONCE_MAX: u64 = 400;
        let began = Instant::now();
        let (mut now, mut sent) = (began, 0);
        while now < began + length {
            std::thread::sleep(STEP);
            now = Instant::now();
            let due =
                u128::from(per_second) * now.min(began + length).duration_since(began).as_micros();
            let left = u64::try_from(due / 1_000_000).unwrap_or(u64::MAX) - sent;
            for _ in 0..left.min(AT_ONCE_MAX) {
                self.send(next())?;
                sent += 1;
            }
        }
        Ok(sent)
    }
}

/// RFC 791, section 3.1. The kernel fills in the length, the number and the checksum.
fn ipv4(source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0];
    header.extend(source.octets());
    header.extend(target.octets());
    header
}

/// RFC 8200, section 3.
fn ipv6(source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let length = u8::try_from(TCP_BYTES).unwrap_or(u8::MAX);
    let mut header = vec![0x60, 0, 0, 0, 0, length, TCP, 64];
    header.extend(source.octets());
    header.extend(target.octets());
    header
}

/// RFC 9293, section 3.1.
fn segment(from: u16, to: u16, addresses: &[&[u8]]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(TCP_BYTES);
    segment.extend(from.to_be_bytes());
    segment.extend(to.to_be_bytes());
    segment.extend([0; 8]); // from number 0 on, and nothing is acknowledged
    segment.extend([5 << 4, SYN, 0xff, 0xff]); // five words, a window, and behind it the checksum
    segment.extend([0; 4]);
    let length = u16::try_from(TCP_BYTES).unwrap_or(u16::MAX).to_be_bytes();
    let pseudo = addresses.concat().into_iter().chain([0, TCP]).chain(length);
    let sum = checksum(pseudo.chain(segment.iter().copied()));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum: u32 = 0;
    for (at, byte) in bytes.enumerate() {
        sum += if at % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
