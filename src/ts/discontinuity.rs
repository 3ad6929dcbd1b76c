//! What is put into a stream where it does not go on from what came before: packets that say so,
//! and the tables of what follows.
//!
//! Owns their making. It never changes a packet of the stream and decides neither where nor when.
//! The stream drives it when it changes to another upstream, or a viewer skips.
//!
//! For each PID there is a packet with nothing but an adaptation field that has
//! `discontinuity_indicator` (ISO/IEC 13818-1, 2.4.3.5). On a PID with a clock it says that another
//! time base begins, on all that the continuity counter does not go on. A packet without payload
//! does not count (2.4.3.3): it has the counter of the one before the next.
//!
//! Decoders may take a table with the version of the one they have for that one. Where another
//! encoder has used the same version for something else, the new tables come once more before,
//! under the version before theirs: none that is taken for the old ones has the same.

use super::packet::{HEADER_BYTES, Header, Pid, SYNC_BYTE};
use super::programs::Tables;
use crate::limits::PACKET_BYTES;

/// `discontinuity_indicator`, in the flags of an adaptation field.
const DISCONTINUITY: u8 = 0x80;

/// Adds the packets with which a stream goes on elsewhere: one that signals for each of `pids`,
/// then those of `tables`.
///
/// `next` is asked for the continuity counter of the PID's first packet that follows them. Where it
/// knows none, nothing is signalled: that is for [`signal`] to do when the packet comes. The
/// counters of `tables` must be known.
pub fn resume(
    tables: &Tables,
    pids: impl IntoIterator<Item = Pid>,
    next: impl FnMut(Pid) -> Option<u8>,
    out: &mut Vec<u8>,
) {
    resume_after(tables, tables, pids, next, out);
}

/// The same for who may have the tables `before`, which are of another stream.
pub fn resume_after(
    before: &Tables,
    tables: &Tables,
    pids: impl IntoIterator<Item = Pid>,
    mut next: impl FnMut(Pid) -> Option<u8>,
    out: &mut Vec<u8>,
) {
    let mut of_tables = Vec::new();
    tables.write(|pid| next(pid).unwrap_or(0), &mut of_tables);
    if tables.may_be_taken_for(before) {
        let mut renumbered = Vec::new();
        let follows = |pid| first(&of_tables, pid).unwrap_or(0);
        tables.before_their_version().write(follows, &mut renumbered);
        of_tables = [renumbered, of_tables].concat();
    }
    for pid in pids {
        if let Some(counter) = first(&of_tables, pid).or_else(|| next(pid)) {
            out.extend_from_slice(&signal(pid, counter));
        }
    }
    out.append(&mut of_tables);
}

/// The counter of the first packet of a PID.
fn first(packets: &[u8], pid: Pid) -> Option<u8> {
    let headers = packets.as_chunks::<PACKET_BYTES>().0.iter();
    let mut headers = headers.filter_map(|[a, b, c, d, ..]| Header::new([*a, *b, *c, *d]));
    headers.find(|header| header.pid() == pid).map(Header::continuity)
}

/// The packet that says that PID does not go on from what came before, where `next` is the counter
/// of its next packet with a payload.
pub fn signal(pid: Pid, next: u8) -> [u8; PACKET_BYTES] {
    let mut packet = [0xFF; PACKET_BYTES];
    let [high, low] = pid.value().to_be_bytes();
    let before = next.wrapping_sub(1) & 0x0F;
    packet[..HEADER_BYTES].copy_from_slice(&[SYNC_BYTE, high, low, 0x20 | before]);
    // The field has all of the packet, and of that all but the flags is stuffing.
    let length = PACKET_BYTES - HEADER_BYTES - 1;
    packet[HEADER_BYTES] = u8::try_from(length).expect("a field fits its packet");
    packet[HEADER_BYTES + 1] = DISCONTINUITY;
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::programs::Programs;
    use crate::ts::{Continuity, Counters, Packet};

    /// A packet of a PID with a payload.
    fn packet(pid: Pid, counter: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        let [high, low] = pid.value().to_be_bytes();
        packet[..HEADER_BYTES].copy_from_slice(&[SYNC_BYTE, high, low, 0x10 | counter]);
        packet
    }

    fn check(counters: &mut Counters, bytes: &[u8; PACKET_BYTES]) -> Continuity {
        counters.check(&Packet::new(bytes).unwrap())
    }

    #[test]
    fn whatever_came_before_and_comes_next_the_counters_fit() {
        let pid = Pid::new(0x1234);
        for before in 0..16 {
            for next in 0..16 {
                let mut counters = Counters::new();
                check(&mut counters, &packet(pid, before));
                let signal = signal(pid, next);
                let read = Packet::new(&signal).unwrap();
                assert_eq!((read.pid(), read.payload().len()), (pid, 0));
                assert!(read.adaptation().is_some_and(|field| field.discontinuity()));
                assert_eq!(check(&mut counters, &signal), Continuity::Fits);
                assert_eq!(check(&mut counters, &packet(pid, next)), Continuity::Fits);
            }
        }
    }

    #[test]
    fn what_is_not_known_yet_is_left_to_be_signalled_later() {
        let (known, unknown) = (Pid::new(0x100), Pid::new(0x101));
        let mut out = Vec::new();
        let next = |pid| (pid == known).then_some(5);
        resume(&Tables::default(), [known, unknown], next, &mut out);
        assert_eq!(out, signal(known, 5));
    }

    /// The tables of a PMT for program 1 with its video on this PID.
    fn tables(version: u8, video: u8) -> Tables {
        let seal = |mut section: Vec<u8>| {
            section.extend(crate::ts::crc::crc32(&section).to_be_bytes());
            section
        };
        let version = 0xC1 | version << 1;
        let pmt = vec![
            2, 0xB0, 18, 0, 1, version, 0, 0, 0xE1, video, 0xF0, 0, 0x1B, 0xE1, video, 0xF0, 0,
        ];
        let mut programs = Programs::default();
        let pat = vec![0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0];
        programs.take(Pid::PAT, &seal(pat)).unwrap();
        programs.take(Pid::new(0x1000), &seal(pmt)).unwrap();
        Tables::clone(programs.tables())
    }

    /// Who goes by the version alone has the new tables all the same.
    #[test]
    fn other_tables_of_the_same_version_are_not_taken_for_the_old_ones() {
        let old = tables(3, 0x41);
        for (new, packets) in
            [(tables(3, 0x42), 4), (tables(3, 0x41), 2), (tables(4, 0x42), 2), (tables(2, 0x42), 2)]
        {
            let mut out = Vec::new();
            resume_after(&old, &new, [], |_| Some(1), &mut out);
            let (mut has, mut counters) = ((3, 0x41), Counters::new());
            for bytes in out.as_chunks::<PACKET_BYTES>().0 {
                assert_eq!(check(&mut counters, bytes), Continuity::Fits);
                let packet = Packet::new(bytes).unwrap();
                let section = &packet.payload()[1..];
                let section = &section[..3 + usize::from(section[2])];
                assert_eq!(crate::ts::crc::crc32(section), 0, "the CRC is right");
                let came = (section[5] >> 1 & 0x1F, *section.get(14).unwrap_or(&0));
                if packet.pid() != Pid::PAT && came.0 != has.0 {
                    has = came;
                }
            }
            assert_eq!(out.len() / PACKET_BYTES, packets);
            let pmt = new.programs()[0].pmt.as_ref().unwrap();
            let video = u16::from(has.1) | 0x100;
            assert_eq!((has.0, video), (pmt.head.version, pmt.elementary[0].pid.value()));
        }
    }
}
