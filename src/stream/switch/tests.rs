use proptest::prelude::*;

use super::*;
use crate::stream::tests::programs::{Program, pat};
use crate::ts::{Continuity, Counters, Packet};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn when_to_go_on() {
    let staged = |milliseconds, tables, point, wanting| Staged {
        time: Duration::from_millis(milliseconds),
        bytes: 1000,
        tables,
        point,
        wanting,
    };
    let (point, packet) = (Some(Kind::RandomAccess), Some(Kind::Packet));
    for (of, then) in [
        (staged(0, true, true, false), point),
        (staged(0, true, true, true), None),
        (staged(0, true, false, true), None),
        (staged(0, true, false, false), packet),
        (staged(0, false, true, false), None),
        (staged(2999, false, false, false), None),
        (staged(3000, false, false, false), packet),
        (staged(3000, false, true, false), point),
        (staged(9999, true, false, true), None),
        (staged(10_000, true, false, true), packet),
        (staged(10_000, true, true, true), point),
        (Staged { bytes: SWITCH_BYTES_MAX, ..staged(0, true, true, true) }, point),
        (Staged { bytes: SWITCH_BYTES_MAX, ..staged(0, false, false, true) }, packet),
    ] {
        assert_eq!(judge(of), then, "{of:?}");
    }
}

/// A connection that is waited for, after one that had these PIDs.
struct Bench {
    switch: Switch,
    probe: Probe,
    points: Points,
    now: Instant,
}

impl Bench {
    fn new(before: &[u16]) -> Bench {
        let now = Instant::now();
        let mut pids = Pids::default();
        pids.extend(before.iter().copied().map(Pid::new));
        let switch = Switch::new(Before { pids, ..Before::default() });
        Bench { switch, probe: Probe::with_content(now), points: Points::default(), now }
    }

    /// Takes packets; answers whether to go on.
    fn send(&mut self, packets: &[[u8; PACKET_BYTES]]) -> Option<Kind> {
        self.probe.at(self.now);
        let ring = self.switch.staged();
        for packet in packets {
            let (room, held) = ring.room();
            room[held..held + PACKET_BYTES].copy_from_slice(packet);
            let aligned = self.probe.align(&mut room[..held + PACKET_BYTES]);
            ring.commit(aligned.whole, aligned.held);
            self.points.take(ring.head(), &aligned, self.probe.content().unwrap());
        }
        let switched = self.switch.look(&self.probe, &self.points, self.now);
        switched.map(|switched| switched.kind)
    }

    fn tables(&mut self, programs: &mut [&mut Program]) -> Option<Kind> {
        let shared: Vec<&Program> = programs.iter().map(|one| &**one).collect();
        let mut packets = pat(&shared, 3);
        for program in programs {
            packets.extend(program.pmt());
        }
        self.send(&packets)
    }

    fn staged_bytes(&self) -> usize {
        self.switch.staged.head().since(self.switch.staged.tail())
    }
}

#[test]
fn it_waits_for_tables_and_a_picture_of_each_program() {
    let mut bench = Bench::new(&[0]);
    let (mut one, mut two) = (Program::new(1, 0x100, 0x101), Program::new(2, 0x200, 0x201));
    assert_eq!(bench.switch.deadline(&bench.probe), None, "nothing has come");
    assert_eq!(bench.send(&one.picture(true, 5)), None);
    let due = bench.now + SWITCH_TABLES_TIMEOUT;
    assert_eq!(bench.switch.deadline(&bench.probe), Some(due), "no tables");
    assert_eq!(bench.tables(&mut [&mut one, &mut two]), None);
    let due = bench.now + SWITCH_TIMEOUT;
    assert_eq!(bench.switch.deadline(&bench.probe), Some(due), "no picture");
    assert_eq!(bench.send(&one.picture(false, 5)), None);
    assert_eq!(bench.send(&one.picture(true, 5)), None);
    assert_eq!(bench.send(&two.picture(false, 5)), None);
    assert_eq!(bench.send(&two.picture(true, 5)), Some(Kind::RandomAccess));
}

#[test]
fn a_program_without_pictures_is_not_waited_for_for_long() {
    let mut bench = Bench::new(&[0]);
    let (mut one, mut two) = (Program::new(1, 0x100, 0x101), Program::new(2, 0x200, 0x201));
    bench.tables(&mut [&mut one, &mut two]);
    assert_eq!(bench.send(&one.picture(true, 5)), None);
    bench.now += SWITCH_TABLES_TIMEOUT;
    assert_eq!(bench.send(&one.picture(false, 5)), Some(Kind::RandomAccess));
}

#[test]
fn a_scrambled_one_begins_at_a_packet_at_once() {
    let mut bench = Bench::new(&[0]);
    let mut program = Program::new(1, 0x100, 0x101);
    assert_eq!(bench.tables(&mut [&mut program]), None);
    let mut picture = program.picture(true, 5);
    for packet in &mut picture {
        packet[3] |= 0x80;
    }
    assert_eq!(bench.send(&picture), Some(Kind::Packet));
}

#[test]
fn what_is_held_back_is_what_may_be_needed() {
    let mut bench = Bench::new(&[0]);
    let mut program = Program::new(1, 0x100, 0x101);
    bench.tables(&mut [&mut program]);
    for _ in 0..2000 {
        assert_eq!(bench.send(&program.picture(false, 50)), None);
    }
    assert!(bench.staged_bytes() <= 2 * crate::limits::BLOCK_BYTES, "{}", bench.staged_bytes());
    let due = bench.now + SWITCH_TIMEOUT;
    bench.now += 9 * SECOND;
    assert_eq!(bench.send(&program.picture(false, 2)), None);
    bench.now = due;
    assert_eq!(bench.send(&program.picture(false, 2)), Some(Kind::Packet));
}

/// The counters that a receiver checks, from one connection to the next.
fn assert_fits(counters: &mut Counters, packets: &[&[u8; PACKET_BYTES]]) {
    for (number, bytes) in packets.iter().enumerate() {
        let packet = Packet::new(bytes).unwrap();
        let continuity = counters.check(&packet);
        assert_eq!(continuity, Continuity::Fits, "packet {number} of {}", packet.pid());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever counters there were before, and whichever PID comes when.
    #[test]
    fn every_pid_goes_on_with_a_word(
        before in prop::collection::vec((0..16_u8, prop::sample::select(
            vec![0_u16, 0x11, 0x100, 0x101, 0x300],
        )), 5..20),
        picture in 2..40_usize,
        late in 1..30_usize,
    ) {
        let mut counters = Counters::new();
        for (counter, pid) in &before {
            let mut packet = [0; PACKET_BYTES];
            let [high, low] = pid.to_be_bytes();
            packet[..4].copy_from_slice(&[0x47, high, low, 0x10 | counter]);
            counters.check(&Packet::new(&packet).unwrap());
        }
        let pids: Vec<u16> = before.iter().map(|(_, pid)| *pid).collect();
        let mut bench = Bench::new(&pids);
        let mut program = Program::new(1, 0x100, 0x101);
        bench.tables(&mut [&mut program]);
        bench.send(&program.picture(false, 3));
        prop_assert_eq!(bench.send(&program.picture(true, picture)), Some(Kind::RandomAccess));
        let Bench { switch, mut probe, mut points, .. } = bench;
        let mut ring = Ring::new();
        let mut out = switch.open(&probe, &mut points, &mut ring);
        let start = points.start(Position::START).unwrap().position;
        // What was never there before the switch comes with a word as well.
        let mut rest = program.picture(false, late);
        rest.extend(program.pmt());
        let mut eit = rest[0];
        for pid in [0x11, 0x300_u16] {
            let [high, low] = pid.to_be_bytes();
            eit[..4].copy_from_slice(&[0x47, high, low, 0x17]);
            rest.push(eit);
            rest.extend(program.picture(false, 4));
        }
        let next = rest.len();
        rest.extend(program.picture(true, 4));
        rest.extend(program.picture(false, 4));
        for packet in &rest {
            let (room, held) = ring.room();
            room[held..held + PACKET_BYTES].copy_from_slice(packet);
            let aligned = probe.align(&mut room[..held + PACKET_BYTES]);
            out.commit(&aligned, &probe, &mut points, &mut ring);
            points.take(ring.head(), &aligned, probe.content().unwrap());
        }
        let all: Vec<_> = ring.packets(ring.tail()).collect();
        assert_fits(&mut counters, &all);
        let is_word = |packet: &&&[u8; PACKET_BYTES]| packet[3] & 0x30 == 0x20;
        let words: Vec<u16> =
            all.iter().filter(is_word).map(|p| Packet::new(p).unwrap().pid().value()).collect();
        let mut once: Vec<u16> = pids.clone();
        once.sort_unstable();
        once.dedup();
        let mut sorted = words.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, once, "one for each");
        // Points are where the packets are, whatever was put in between.
        let at = |position: Position| *ring.packets(position).next().unwrap();
        prop_assert!(at(start)[1] & 0x40 != 0 && at(start)[1..3] == [0x41, 1]);
        let newest = points.start(start.advanced(1)).unwrap().position;
        prop_assert_eq!(at(newest), rest[next]);
    }
}
