use std::time::Instant;

use super::*;
use crate::limits::PACKET_BYTES;
use crate::ring::Ring;
use crate::stream::tests::programs::{Program, pat};
use crate::ts::Probe;

/// A connection whose packets go into a ring.
struct Bench {
    probe: Probe,
    ring: Ring,
    points: Points,
}

impl Bench {
    fn new() -> Bench {
        let probe = Probe::with_content(Instant::now());
        Bench { probe, ring: Ring::new(), points: Points::default() }
    }

    /// Answers where the packets begin.
    fn send(&mut self, packets: &[[u8; PACKET_BYTES]]) -> Position {
        let front = self.ring.head();
        for packet in packets {
            let (room, held) = self.ring.room();
            room[held..held + PACKET_BYTES].copy_from_slice(packet);
            let aligned = self.probe.align(&mut room[..held + PACKET_BYTES]);
            let content = self.probe.content().unwrap();
            self.ring.commit(aligned.whole, aligned.held);
            self.points.take(self.ring.head(), &aligned, content);
        }
        front
    }

    /// The same, with all of them in one pass; they must fit a block.
    fn send_at_once(&mut self, packets: &[[u8; PACKET_BYTES]]) -> Position {
        let bytes = packets.as_flattened();
        // Up to the end of this one, there are null packets.
        while self.ring.room().0.len() < bytes.len() {
            let mut null = [0xFF; PACKET_BYTES];
            null[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
            self.send(&[null]);
        }
        let front = self.ring.head();
        let (room, held) = self.ring.room();
        assert_eq!(held, 0);
        room[..bytes.len()].copy_from_slice(bytes);
        let aligned = self.probe.align(&mut room[..bytes.len()]);
        assert_eq!(aligned.whole, bytes.len());
        self.ring.commit(aligned.whole, aligned.held);
        self.points.take(self.ring.head(), &aligned, self.probe.content().unwrap());
        front
    }

    fn start(&self, floor: Position) -> Option<Position> {
        self.points.start(floor).map(|point| point.position)
    }
}

#[test]
fn a_point_counts_once_its_picture_is_whole() {
    let mut bench = Bench::new();
    let mut program = Program::new(1, 0x100, 0x101);
    bench.send(&pat(&[&program], 0));
    bench.send(&program.pmt());
    // The first three packets prove each other, and come together.
    bench.send(&program.picture(false, 5));
    assert_eq!((bench.start(Position::START), bench.points.are_known()), (None, false));
    let first = bench.send(&program.picture(true, 5));
    assert_eq!(bench.start(Position::START), Some(first), "better than none");
    bench.send(&program.picture(false, 5));
    let second = bench.send(&program.picture(true, 5));
    assert_eq!(bench.start(Position::START), Some(first), "the second is not whole");
    assert_eq!(bench.start(first.advanced(1)), Some(second), "the first is not there any more");
    bench.send(&program.picture(false, 1));
    assert_eq!(bench.start(Position::START), Some(second));
    assert_eq!(bench.start(second.advanced(1)), None);
    assert!(bench.points.are_known());
}

#[test]
fn of_several_programs_each_has_its_picture() {
    let mut bench = Bench::new();
    let mut one = Program::new(1, 0x100, 0x101);
    let mut two = Program::new(2, 0x200, 0x201);
    bench.send(&pat(&[&one, &two], 0));
    bench.send(&one.pmt());
    bench.send(&two.pmt());
    bench.send(&one.picture(false, 3));
    bench.send(&two.picture(false, 3));
    let first = bench.send(&one.picture(true, 3));
    let second = bench.send(&two.picture(true, 3));
    bench.send(&one.picture(false, 3));
    bench.send(&two.picture(false, 3));
    assert_eq!(bench.start(Position::START), Some(first));
    assert_eq!(bench.start(first.advanced(1)), Some(second), "who has none is not waited for");
    bench.send(&one.picture(true, 3));
    bench.send(&one.picture(false, 3));
    assert_eq!(bench.start(Position::START), Some(second));
    // A program that is gone is not waited for either.
    let third = bench.send(&one.picture(true, 3));
    bench.send(&pat(&[&one], 1));
    bench.send(&one.picture(false, 3));
    assert_eq!(bench.start(Position::START), Some(third));
    assert_eq!(bench.points.start(third).unwrap().tables.programs().len(), 2, "as it was then");
}

/// As on a transponder: whatever else comes in the same pass, each program's newest one is known.
#[test]
fn of_many_programs_in_one_pass_each_has_its_picture() {
    let mut bench = Bench::new();
    let program = |number: u8| {
        let pid = 0x100 + 2 * u16::from(number);
        Program::new(number, pid, pid + 1)
    };
    let mut programs: Vec<Program> = (1..=20).map(program).collect();
    bench.send(&pat(&programs.iter().collect::<Vec<_>>(), 0));
    for program in &mut programs {
        bench.send(&program.pmt());
        bench.send(&program.picture(false, 3));
    }
    let mut all = Vec::new();
    for _ in 0..2 {
        for program in &mut programs {
            all.extend(program.picture(true, 3));
            all.extend(program.picture(false, 3));
        }
    }
    let front = bench.send_at_once(&all);
    let second = front.advanced(all.len() / 2 * PACKET_BYTES);
    assert_eq!(bench.start(Position::START), Some(second));
}
