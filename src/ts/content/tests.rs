use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::integrity::Indicator;
use super::super::probe::{Counts, Probe};
use super::super::section::sealed;
use super::*;

type Bytes = [u8; PACKET_BYTES];

/// A packet with these control bits (1 payload, 2 adaptation field, 3 both), without its counter.
fn packet(pid: u16, control: u8, payload: &[u8]) -> Bytes {
    let [high, low] = pid.to_be_bytes();
    let mut bytes = [0xFF; PACKET_BYTES];
    bytes[..4].copy_from_slice(&[0x47, high, low, control << 4]);
    bytes[4..4 + payload.len()].copy_from_slice(payload);
    bytes
}

/// The packets of a section.
fn packets(pid: u16, section: &[u8]) -> Vec<Bytes> {
    let bytes = [&[0], section].concat();
    let mut packets: Vec<_> = bytes.chunks(184).map(|part| packet(pid, 1, part)).collect();
    packets[0][1] |= 0x40;
    packets
}

/// A PAT of these programs, by number and PID.
fn pat(version: u8, programs: impl IntoIterator<Item = (u16, u16)>) -> Vec<Bytes> {
    let mut section = vec![0, 0xB0, 0, 0, 1, 0xC1 | version << 1, 0, 0];
    for (number, pid) in programs {
        section.extend(number.to_be_bytes());
        section.extend((0xE000 | pid).to_be_bytes());
    }
    packets(0, &sealed(&section))
}

/// The PMT of a program, with H.264 in so many PIDs from the first one on.
fn pmt(program: u16, pid: u16, version: u8, first: u16, count: u16) -> Vec<Bytes> {
    let mut section = vec![2, 0xB0, 0];
    section.extend(program.to_be_bytes());
    section.extend([0xC1 | version << 1, 0, 0, 0xFF, 0xFF, 0xF0, 0]);
    for pid in first..first + count {
        section.push(0x1B);
        section.extend((0xE000 | pid).to_be_bytes());
        section.extend([0xF0, 0]);
    }
    packets(pid, &sealed(&section))
}

/// Gives packets their counters.
fn number(packets: &mut [Bytes]) {
    let mut next = [0u8; Pid::COUNT];
    for bytes in packets {
        let counter = &mut next[usize::from(u16::from_be_bytes([bytes[1] & 0x1F, bytes[2]]))];
        let payload = bytes[3] >> 4 & 1;
        bytes[3] |= counter.wrapping_add(payload).wrapping_sub(1) & 0x0F;
        *counter = counter.wrapping_add(payload) & 0x0F;
    }
}

/// What is counted of the packets, so many of which come at once.
fn probed(packets: &[Bytes], at_once: usize) -> (Counts, Probe) {
    let start = Instant::now();
    let (mut probe, mut counts, mut held) =
        (Probe::with_content(start), Counts::default(), Vec::new());
    for packets in packets.chunks(at_once) {
        held.extend_from_slice(packets.as_flattened());
        let aligned = probe.align(&mut held);
        counts += aligned.counts;
        held.truncate(aligned.whole + aligned.held);
        held.drain(..aligned.whole);
    }
    counts += probe.finish(&mut held).counts;
    (counts, probe)
}

#[test]
fn each_that_is_left_out_is_counted_once() {
    let programs = |more: u16| (1..=64 + more).map(|number| (number, 0x100 + number));
    let mut all = pat(0, programs(3));
    for _ in 0..3 {
        all.extend(pmt(1, 0x101, 0, 0x200, 100));
        all.extend(pmt(2, 0x102, 0, 0x300, 60));
        all.extend(pat(0, programs(3)));
    }
    let malformed = |all: &[Bytes]| {
        let mut all = all.to_vec();
        number(&mut all);
        let (counts, probe) = probed(&all, 50);
        let followed = probe.content().unwrap().elementary().count();
        (counts.faults[Indicator::Malformed], followed)
    };
    assert_eq!(malformed(&all), (3, 160), "programs");
    all.extend(pmt(3, 0x103, 0, 0x400, 5));
    assert_eq!(malformed(&all), (3 + 5, 160), "and elementary streams");
    all.extend(pmt(4, 0x104, 0, 0x200, 100));
    assert_eq!(malformed(&all), (3 + 5, 160), "that are followed for another program");
    all.extend(pmt(2, 0x102, 1, 0x300, 55));
    assert_eq!(malformed(&all), (3 + 5, 160), "there is room");
    all.extend(pmt(2, 0x102, 2, 0x300, 57));
    assert_eq!(malformed(&all), (3 + 5 + 2, 160), "and none again");
}

/// An upstream whose tables change with every packet must not keep a worker from its others.
#[test]
fn tables_may_change_with_every_packet() {
    let mut all = pat(0, (1..=40).map(|number| (number, 0x100 + number)));
    for number in 1..=40 {
        all.extend(pmt(number, 0x100 + number, 0, 0x200 + 4 * number, 4));
    }
    let calm = all.len();
    for version in 0..20_000u16 {
        all.extend(pmt(1, 0x101, version.to_le_bytes()[0] & 1, 0x204, 3));
    }
    number(&mut all);
    let began = Instant::now();
    let (counts, probe) = probed(&all, 100);
    let took = began.elapsed();
    let content = probe.content().unwrap();
    assert_eq!(content.roles.len(), FIXED_SLOTS + 40 + 159);
    assert!(counts.table_changes > 19_900, "{counts:?}");
    assert_eq!(content.packets(), [all.len() as u64, 0]);
    // What stays is known as before: nothing of it was counted anew.
    assert!(calm < 100 && counts.faults == Faults::default(), "{counts:?}");
    assert!(took < Duration::from_secs(1), "{took:?} for {} packets", all.len());
}

/// Packets of a few PIDs: plain ones mostly, but any of their flags at times, and other counters.
fn any_packets() -> impl Strategy<Value = Vec<Bytes>> {
    let pids = prop::sample::select(vec![0u16, 0x101, 0x200, 0x200, 0x201, 0x300, 0x1FFF]);
    let flags = prop::sample::select(vec![0u8, 0, 0, 0, 0x40, 0x80, 0x20, 0xC0]);
    let control = prop::sample::select(vec![1u8, 1, 1, 1, 1, 1, 2, 3, 9, 13]);
    let skipped = prop::sample::select(vec![0u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 15]);
    let row = (pids, flags, control, skipped, 1..40usize);
    prop::collection::vec(row, 1..40).prop_map(|rows| {
        let mut all = pat(0, [(1, 0x101)]);
        all.extend(pmt(1, 0x101, 0, 0x200, 2));
        let mut skips = vec![0; all.len()];
        for (pid, flags, control, skipped, count) in rows {
            for nth in 0..count {
                let mut bytes = packet(pid, control, &[1, 0x40, 0, 0, 1, 0xE0, 0, 0, 0x80, 0]);
                if control & 3 == 2 {
                    bytes[4] = 183;
                }
                // The first of a row alone has flags; scrambling all of it.
                bytes[1] |= if nth == 0 { flags } else { 0 };
                all.push(bytes);
                skips.push(if nth == 0 { skipped } else { 0 });
            }
        }
        number(&mut all);
        for (bytes, skip) in all.iter_mut().zip(skips) {
            bytes[3] = bytes[3] & 0xF0 | bytes[3].wrapping_add(skip) & 0x0F;
        }
        all
    })
}

proptest! {
    #[test]
    fn rows_are_seen_as_their_packets(all in any_packets()) {
        let shown = |at_once| {
            let (counts, probe) = probed(&all, at_once);
            let content = probe.content().unwrap();
            let elementary: Vec<_> = content.elementary().map(|one| one.packets).collect();
            let next: Vec<_> =
                (0..0x2000).map(|pid| probe.next_counter(Pid::new(pid))).collect();
            (counts, content.packets(), elementary, next)
        };
        // One at a time there are no rows.
        let expected = shown(1);
        for at_once in [2, 7, all.len()] {
            prop_assert_eq!(shown(at_once), expected.clone(), "{} at once", at_once);
        }
    }
}
