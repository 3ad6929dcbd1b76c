use super::*;
use crate::ts::section::sealed;
use crate::ts::section::{Assembler, Found, TABLE_PMT};
use crate::ts::{Continuity, Counters, Packet, discontinuity};

fn pat(version: u8, number: u8, last: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let mut section = vec![TABLE_PAT, 0xB0, 0, 0, 1, 0xC1 | version << 1, number, last];
    for (program, pid) in programs {
        section.extend(program.to_be_bytes());
        section.extend((pid | 0xE000).to_be_bytes());
    }
    sealed(&section)
}

/// A PMT with so many elementary streams.
fn pmt(program: u16, version: u8, streams: u16) -> Vec<u8> {
    let mut section = vec![TABLE_PMT, 0xB0, 0, 0, 0, 0xC1 | version << 1, 0, 0];
    section[3..5].copy_from_slice(&program.to_be_bytes());
    section.extend([0xE1, 0, 0xF0, 0]);
    for number in 0..streams {
        section.push(0x0F);
        section.extend((0xE100 + number).to_be_bytes());
        section.extend([0xF0, 6, 0x0A, 4, b'd', b'e', b'u', 0]);
    }
    sealed(&section)
}

fn programs(sections: &[(Pid, Vec<u8>)]) -> Programs {
    let mut programs = Programs::default();
    for (pid, section) in sections {
        programs.take(*pid, section).unwrap();
    }
    programs
}

const A: Pid = Pid::new(0x1000);
const B: Pid = Pid::new(0x1001);

#[test]
fn tables_come_and_change() {
    let mut programs = Programs::default();
    assert!(!programs.tables().is_complete());
    let first = pat(0, 0, 0, &[(1, 0x1000), (2, 0x1001)]);
    assert_eq!(programs.take(A, &pmt(1, 0, 1)), Ok(Change::Nothing), "not of the PAT");
    assert_eq!(programs.take(Pid::PAT, &first), Ok(Change::First));
    assert_eq!(programs.take(Pid::PAT, &first), Ok(Change::Nothing));
    assert_eq!(programs.take(A, &pmt(1, 0, 1)), Ok(Change::First));
    assert!(!programs.tables().is_complete());
    assert_eq!(programs.take(A, &pmt(2, 0, 1)), Ok(Change::Nothing), "another PID's");
    assert_eq!(programs.take(B, &pmt(2, 0, 1)), Ok(Change::First));
    assert!(programs.tables().is_complete());
    let before = Arc::clone(programs.tables());
    assert_eq!(programs.take(B, &pmt(2, 1, 2)), Ok(Change::Replaced));
    assert_eq!((before.number(), programs.tables().number()), (3, 4));
    let streams = |tables: &Tables| tables.programs()[1].pmt.as_ref().unwrap().elementary.len();
    assert_eq!((streams(&before), streams(programs.tables())), (1, 2));
    // A PMT that holds later only.
    let mut next = pmt(2, 2, 3);
    next.truncate(next.len() - 4);
    next[5] &= !1;
    assert_eq!(programs.take(B, &sealed(&next)), Ok(Change::Nothing));
    // The second program goes, the first one stays as it was.
    assert_eq!(programs.take(Pid::PAT, &pat(1, 0, 0, &[(1, 0x1000)])), Ok(Change::Replaced));
    assert!(programs.tables().is_complete() && programs.tables().programs().len() == 1);
    assert_eq!(programs.take(B, &first), Err(TableError::Other));
    assert_eq!(programs.take(Pid::PAT, &pmt(1, 0, 1)), Err(TableError::Other));
}

#[test]
fn a_pat_of_several_sections_holds_once_it_is_whole() {
    let mut programs = Programs::default();
    let parts = |version| [pat(version, 0, 1, &[(1, 0x1000)]), pat(version, 1, 1, &[(2, 0x1001)])];
    let [zero, one] = parts(0);
    assert_eq!(programs.take(Pid::PAT, &one), Ok(Change::Nothing));
    assert_eq!(programs.take(Pid::PAT, &zero), Ok(Change::First));
    assert_eq!(programs.tables().programs().len(), 2);
    assert_eq!(programs.take(Pid::PAT, &one), Ok(Change::Nothing));
    let [zero, one] = parts(1);
    assert_eq!(programs.take(Pid::PAT, &zero), Ok(Change::Nothing));
    assert_eq!(programs.tables().number(), 1);
    assert_eq!(programs.take(Pid::PAT, &one), Ok(Change::Replaced));
    assert_eq!(programs.take(Pid::PAT, &pat(2, 0, 9, &[])), Err(TableError::TooMany));
}

#[test]
fn programs_are_bounded() {
    let many: Vec<(u16, u16)> = (1..200).map(|number| (number, 0x100 + number)).collect();
    let programs = programs(&[(Pid::PAT, pat(0, 0, 0, &many))]);
    assert_eq!(programs.tables().programs().len(), PROGRAMS_MAX);
}

#[test]
fn what_is_written_is_read_again_and_its_counters_fit() {
    // Two programs with their PMTs on one PID, a third whose PMT takes several packets.
    let sections = [
        (Pid::PAT, pat(3, 0, 1, &[(1, 0x1000), (2, 0x1000)])),
        (Pid::PAT, pat(3, 1, 1, &[(3, 0x1001)])),
        (A, pmt(1, 0, 1)),
        (A, pmt(2, 0, 16)),
        (B, pmt(3, 0, 60)),
    ];
    let written = programs(&sections);
    let (mut out, next) = (Vec::new(), |pid: Pid| if pid == A { 1 } else { 14 });
    written.tables().write(next, &mut out);
    let (packets, []) = out.as_chunks::<PACKET_BYTES>() else { panic!("{}", out.len()) };
    assert_eq!(packets.len(), 2 + 3 + 4);

    let (mut counters, mut read) = (Counters::new(), Programs::default());
    let mut assemblers = [Pid::PAT, A, B].map(|pid| (pid, Assembler::default()));
    for bytes in packets {
        let packet = Packet::new(bytes).unwrap();
        assert_eq!(counters.check(&packet), Continuity::Fits);
        let of_pid = assemblers.iter_mut().find(|(pid, _)| *pid == packet.pid());
        let (pid, assembler) = of_pid.unwrap();
        assembler.take(&packet, |found| {
            let Found::Section(section) = found else { panic!("{found:?}") };
            read.take(*pid, section).unwrap();
        });
    }
    assert_eq!(*read.tables(), *written.tables());
    // The packets of the stream that follow.
    for pid in [Pid::PAT, A, B] {
        let [high, low] = pid.value().to_be_bytes();
        let mut bytes = [0xFF; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, high, low, 0x10 | next(pid)]);
        assert!(counters.expects(&Packet::new(&bytes).unwrap()), "{pid}");
    }
}

#[test]
fn where_a_stream_goes_on_elsewhere_tables_and_signals_fit_what_is_before_and_after() {
    let sections = [(Pid::PAT, pat(3, 0, 0, &[(1, 0x1000)])), (A, pmt(1, 0, 60))];
    let (written, video) = (programs(&sections), Pid::new(0x100));
    let (mut out, next) = (Vec::new(), |pid: Pid| Some(if pid == A { 1 } else { 14 }));
    discontinuity::resume(written.tables(), [video, A, Pid::PAT], next, &mut out);
    let (packets, []) = out.as_chunks::<PACKET_BYTES>() else { panic!("{}", out.len()) };
    assert_eq!(packets.len(), 3 + 1 + 4, "three signals, a PAT, a PMT of four packets");

    let packet = |pid: Pid, counter: u8| {
        let [high, low] = pid.value().to_be_bytes();
        let mut bytes = [0xFF; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, high, low, 0x10 | counter]);
        bytes
    };
    for before in 0..16 {
        let mut counters = Counters::new();
        let earlier = [video, A, Pid::PAT].map(|pid| packet(pid, before));
        let later = [video, A, Pid::PAT].map(|pid| packet(pid, next(pid).unwrap()));
        for bytes in earlier.iter().chain(packets).chain(&later) {
            let packet = Packet::new(bytes).unwrap();
            assert_eq!(counters.check(&packet), Continuity::Fits, "{before}: {:?}", packet.pid());
        }
    }
}

#[test]
fn nothing_is_written_of_what_has_not_come() {
    let mut out = Vec::new();
    Tables::default().write(|_| 0, &mut out);
    assert!(out.is_empty());
    let half = programs(&[(Pid::PAT, pat(0, 0, 0, &[(1, 0x1000)]))]);
    half.tables().write(|_| 0, &mut out);
    assert_eq!((out.len(), out[3], half.tables().pids()), (PACKET_BYTES, 0x1F, vec![Pid::PAT]));
}
