use super::*;
use crate::ts::pmt::Codec;
use crate::ts::programs::Programs;
use crate::ts::section::TABLE_PMT;
use crate::ts::{Continuity, Counters, Probe};

/// The tables of one program: number, PMT's PID, version, clock, elementary streams by type.
fn tables(number: u16, pmt: u16, version: u8, pcr: u16, of: &[(u8, u16)]) -> Programs {
    let mut pat = vec![TABLE_PAT, 0xB0, 0, 0, 9, 0xC1 | version << 1, 0, 0];
    pat.extend(number.to_be_bytes());
    pat.extend((0xE000 | pmt).to_be_bytes());
    let mut section = vec![TABLE_PMT, 0xB0, 0];
    section.extend(number.to_be_bytes());
    section.extend([0xC1 | version << 1, 0, 0]);
    section.extend((0xE000 | pcr).to_be_bytes());
    section.extend([0xF0, 3, 0x80, 1, 7]);
    for (stream_type, pid) in of {
        section.push(*stream_type);
        section.extend((0xE000 | pid).to_be_bytes());
        section.extend([0xF0, 6, 0x0A, 4, b'd', b'e', b'u', 0]);
    }
    let mut programs = Programs::default();
    programs.take(Pid::PAT, &sealed(&pat)).unwrap();
    programs.take(Pid::new(pmt), &sealed(&section)).unwrap();
    programs
}

/// A packet of stuffing.
fn packet(pid: u16, counter: u8) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let [high, low] = pid.to_be_bytes();
    packet[..4].copy_from_slice(&[0x47, high, low, 0x10 | counter]);
    packet
}

/// What a probe finds in a recording of `own` with so many rounds of its tables, given the numbers
/// of `other`.
fn remapped(own: &Programs, other: &Programs, pids: &[u16], rounds: u8) -> Probe {
    let mut remap = Remap::new(own.tables(), other.tables()).unwrap();
    let mut probe = Probe::with_content(std::time::Instant::now());
    let mut counters = Counters::new();
    let (mut once, mut bytes) = (Vec::new(), Vec::new());
    own.tables().write(|_| 0, &mut once);
    // All but the PAT's.
    let of_pmt = u8::try_from(once.len() / PACKET_BYTES - 1).unwrap();
    for round in 0..rounds {
        let mut packets = Vec::new();
        let after = |pid| (round + 1) * if pid == Pid::PAT { 1 } else { of_pmt };
        own.tables().write(after, &mut packets);
        packets.extend(pids.iter().flat_map(|pid| packet(*pid, round)));
        bytes.extend(packets);
    }
    for packet in bytes.as_chunks_mut().0 {
        remap.apply(packet);
        let packet = Packet::new(packet).unwrap();
        assert_eq!(counters.check(&packet), Continuity::Fits, "{:?}", packet.pid());
    }
    let aligned = probe.align(&mut bytes);
    assert_eq!((aligned.held, aligned.counts.continuity_errors), (0, 0));
    probe
}

#[test]
fn what_has_a_counterpart_gets_its_numbers() {
    let own = tables(1, 0x1000, 31, 0x100, &[(0x1B, 0x100), (0x0F, 0x101)]);
    let like = [(0x03, 0x44), (0x0F, 0x45), (0x1B, 0x46), (0x0F, 0x47)];
    let other = tables(0x2BC0, 0x42, 5, 0x46, &like);
    let probe = remapped(&own, &other, &[0x100, 0x101, 0x11], 4);
    let tables = probe.content().unwrap().tables();
    assert_eq!(tables.pat_head().map(|head| (head.id, head.version)), Some((9, 6)));
    let [program] = tables.programs() else { panic!("{tables:?}") };
    let pmt = program.pmt.as_ref().unwrap();
    assert_eq!((program.number, program.pid, pmt.head.version), (0x2BC0, Pid::new(0x42), 6));
    assert_eq!(pmt.pcr, Some(Pid::new(0x46)));
    let of: Vec<_> = pmt.elementary.iter().map(|one| (one.pid.value(), one.codec)).collect();
    assert_eq!(of, [(0x46, Codec::H264), (0x45, pmt.elementary[1].codec)]);
    let pids: Vec<_> = probe.pids().map(Pid::value).collect();
    assert_eq!(pids, [0, 0x42, 0x45, 0x46], "and nothing else");
}

#[test]
fn what_has_none_gets_numbers_that_are_free() {
    // Another codec, a second sound, and a clock on a PID of its own.
    let own = tables(1, 0x1000, 0, 0x1FE, &[(0x1B, 0x100), (0x0F, 0x101), (0x0F, 0x102)]);
    let other = tables(7, 0x100, 31, 0x1F00, &[(0x24, 0x1F00), (0x0F, 0x1F01)]);
    let probe = remapped(&own, &other, &[0x100, 0x101, 0x102, 0x1FE], 2);
    let tables = probe.content().unwrap().tables();
    let pmt = tables.programs()[0].pmt.as_ref().unwrap();
    assert_eq!((pmt.head.version, pmt.pcr), (0, Some(Pid::new(0x1F04))), "32 versions there are");
    let of: Vec<_> = pmt.elementary.iter().map(|one| one.pid.value()).collect();
    assert_eq!(of, [0x1F02, 0x1F01, 0x1F03]);
    assert_eq!(probe.pids().count(), 6);
}

#[test]
fn a_pmt_of_several_packets_stays_one() {
    let many: Vec<_> = (0..30).map(|number| (0x0F, 0x200 + number)).collect();
    let own = tables(1, 0x1000, 0, 0x200, &many);
    let other = tables(2, 0x20, 0, 0x21, &[(0x0F, 0x21)]);
    let probe = remapped(&own, &other, &[0x200], 3);
    let tables = probe.content().unwrap().tables();
    assert_eq!(tables.programs()[0].pmt.as_ref().unwrap().elementary.len(), 30);
}

#[test]
fn without_tables_there_is_nothing_to_do() {
    let some = tables(1, 0x1000, 0, 0x100, &[(0x1B, 0x100)]);
    assert!(Remap::new(some.tables(), &Tables::default()).is_none());
    assert!(Remap::new(&Tables::default(), some.tables()).is_none());
}
