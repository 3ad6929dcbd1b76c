//! Gives the program of a recording the numbers that another stream's program has, so that a player
//! which follows that one follows the recording too.
//!
//! Owns which PID becomes which, and the tables that say so. It never changes the length, number or
//! order of packets: what has no place in the new tables becomes a null packet. The player drives
//! it for a slate.
//!
//! A PID is given to an elementary stream of the same codec only: a decoder need not be exchanged
//! then. All others get PIDs that the other stream does not have. The version of the tables is the
//! one after the other stream's, so that nobody takes them for known.

use super::packet::{HEADER_BYTES, Packet, Pid};
use super::pat::HEAD_BYTES;
use super::pmt::Pmt;
use super::programs::{Program, Tables, packetize};
use super::section::{CRC_BYTES, TABLE_PAT, sealed};
use crate::limits::PACKET_BYTES;

/// The first PID that is tried for what has none in the other stream: far from those that encoders
/// begin with.
const FREE_PIDS_FROM: u16 = 0x1F00;

/// See the module.
#[derive(Clone, Debug)]
pub struct Remap {
    /// Elementary streams and the clock, before and after.
    pids: Vec<(Pid, Pid)>,
    pat: Table,
    pmt: Table,
}

/// The packets that take the place of a table's.
#[derive(Clone, Debug)]
struct Table {
    /// Whose place they take.
    pid: Pid,
    packets: Vec<[u8; PACKET_BYTES]>,
    /// The next of them; none before a section starts.
    next: usize,
}

impl Table {
    fn new(pid: Pid, to: Pid, section: &[u8]) -> Table {
        let mut packets = Vec::new();
        packetize(to, section, &mut packets);
        let packets = packets.as_chunks::<PACKET_BYTES>().0.to_vec();
        Table { pid, next: packets.len(), packets }
    }

    /// The packet that takes the place of `packet`.
    fn replace(&mut self, packet: &Packet<'_>) -> Option<[u8; PACKET_BYTES]> {
        if packet.unit_start() {
            self.next = 0;
        }
        let mut made = *self.packets.get(self.next).filter(|_| packet.has_payload())?;
        self.next += 1;
        made[3] |= packet.continuity();
        Some(made)
    }
}

impl Remap {
    /// Gives the first program of `own` the numbers of the first of `other`. There is nothing to be
    /// done where either has none.
    pub fn new(own: &Tables, other: &Tables) -> Option<Remap> {
        let (from, own) = first(own)?;
        let (to, like) = first(other)?;
        let pids = assign(own, like, to.pid, other);
        let pat = pat(to, other);
        let version = like.head.version.wrapping_add(1) & 0x1F;
        let pmt = pmt(from, to.number, version, &pids)?;
        let (pat, pmt) = (Table::new(Pid::PAT, Pid::PAT, &pat), Table::new(from.pid, to.pid, &pmt));
        Some(Remap { pids, pat, pmt })
    }

    /// Changes one packet. Bytes that are no packet stay as they are.
    pub fn apply(&mut self, bytes: &mut [u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        let pid = packet.pid();
        let table = [&mut self.pat, &mut self.pmt].into_iter().find(|table| table.pid == pid);
        if let Some(table) = table {
            *bytes = table.replace(&packet).unwrap_or_else(null);
        } else if let Some((_, to)) = self.pids.iter().find(|(from, _)| *from == pid) {
            let [high, low] = to.value().to_be_bytes();
            (bytes[1], bytes[2]) = (bytes[1] & 0xE0 | high, low);
        } else {
            *bytes = null();
        }
    }
}

/// The first program whose PMT has come.
fn first(tables: &Tables) -> Option<(&Program, &Pmt)> {
    tables.programs().iter().find_map(|program| program.pmt.as_ref().map(|pmt| (program, pmt)))
}

/// New PIDs for the elementary streams of `own`, and for its clock.
fn assign(own: &Pmt, like: &Pmt, pmt: Pid, other: &Tables) -> Vec<(Pid, Pid)> {
    let mut pids: Vec<(Pid, Pid)> = Vec::new();
    let of_other = other.programs().iter().flat_map(|program| {
        let elementary = program.pmt.iter().flat_map(|pmt| &pmt.elementary).map(|one| one.pid);
        let clock = program.pmt.as_ref().and_then(|pmt| pmt.pcr);
        elementary.chain(clock).chain([program.pid])
    });
    let taken: Vec<Pid> = of_other.chain([pmt]).collect();
    let mut free = (FREE_PIDS_FROM..Pid::NULL.value()).map(Pid::new);
    let mut free = || free.find(|pid| !taken.contains(pid));
    for one in &own.elementary {
        let given = |pid: Pid| pids.iter().any(|(_, to)| *to == pid);
        let same = like.elementary.iter().find(|it| it.codec == one.codec && !given(it.pid));
        // There are more PIDs than elementary streams.
        pids.extend(same.map(|it| it.pid).or_else(&mut free).map(|to| (one.pid, to)));
    }
    if let Some(clock) = own.pcr.filter(|clock| pids.iter().all(|(from, _)| from != clock)) {
        pids.extend(free().map(|to| (clock, to)));
    }
    pids
}

/// A PAT with the program `to` alone, in the name of the stream that it is of.
fn pat(to: &Program, other: &Tables) -> Vec<u8> {
    let (id, version) = other.pat_head().map_or((0, 0), |head| (head.id, head.version));
    let version = version.wrapping_add(1) & 0x1F;
    let mut pat = vec![TABLE_PAT, 0xB0, 0];
    pat.extend(id.to_be_bytes());
    pat.extend([0xC1 | version << 1, 0, 0]);
    pat.extend(to.number.to_be_bytes());
    pat.extend((0xE000 | to.pid.value()).to_be_bytes());
    sealed(&pat)
}

/// The PMT of `from` with other numbers.
fn pmt(from: &Program, number: u16, version: u8, pids: &[(Pid, Pid)]) -> Option<Vec<u8>> {
    let section = from.section()?;
    let mut section = section[..section.len().checked_sub(CRC_BYTES)?].to_vec();
    section.get_mut(3..5)?.copy_from_slice(&number.to_be_bytes());
    section[5] = section[5] & 0xC1 | version << 1;
    let mut renumber = |at: usize| -> Option<()> {
        let place = section.get_mut(at..at + 2)?.first_chunk_mut::<2>()?;
        let word = u16::from_be_bytes(*place);
        if let Some((_, to)) = pids.iter().find(|(from, _)| *from == Pid::new(word)) {
            *place = (word & 0xE000 | to.value()).to_be_bytes();
        }
        Some(())
    };
    renumber(HEAD_BYTES)?;
    // The PMT was read before, so that its lengths are right (2.4.4.9).
    let length = |section: &[u8], at: usize| {
        let bytes = section.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes) & 0x0FFF))
    };
    let original = from.section()?;
    let end = original.len() - CRC_BYTES;
    let mut at = HEAD_BYTES + 4 + length(original, HEAD_BYTES + 2)?;
    while at + 5 <= end {
        renumber(at + 1)?;
        at += 5 + length(original, at + 3)?;
    }
    Some(sealed(&section))
}

/// A null packet (2.4.3.3).
fn null() -> [u8; PACKET_BYTES] {
    let mut packet = [0xFF; PACKET_BYTES];
    let [high, low] = Pid::NULL.value().to_be_bytes();
    packet[..HEADER_BYTES].copy_from_slice(&[0x47, high, low, 0x10]);
    packet
}

#[cfg(test)]
mod tests;
