use proptest::prelude::*;

use super::*;
use crate::limits::PACKET_BYTES;

/// A section of a PMT with a body of so many bytes, each of them as this one.
fn section(body: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; 8 + body];
    bytes[..8].copy_from_slice(&[TABLE_PMT, 0xB0, 0, 0, 1, 0xC1, 0, 0]);
    sealed(&bytes)
}

/// Packets with this payload; `starts` has where sections begin in it. A packet in which one begins
/// has a pointer.
fn packets(payload: &[u8], starts: &[usize]) -> Vec<[u8; PACKET_BYTES]> {
    let (mut made, mut at) = (Vec::new(), 0);
    while at < payload.len() {
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..4].copy_from_slice(&[0x47, 1, 0, 0x10]);
        // The pointer takes a byte, and nothing begins in the one that it moves into the next.
        let begins = starts.iter().find(|start| (at..at + 183).contains(*start));
        let room = match begins {
            Some(start) => {
                packet[1] |= 0x40;
                packet[4] = u8::try_from(start - at).unwrap();
                5
            }
            None => 4,
        };
        let mut bytes = (PACKET_BYTES - room).min(payload.len() - at);
        if begins.is_none() {
            bytes = starts.iter().filter(|start| **start > at).fold(bytes, |n, s| n.min(s - at));
        }
        packet[room..room + bytes].copy_from_slice(&payload[at..at + bytes]);
        at += bytes;
        made.push(packet);
    }
    made
}

fn feed(assembler: &mut Assembler, packets: &[[u8; PACKET_BYTES]]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for bytes in packets {
        assembler.take(&Packet::new(bytes).unwrap(), |found| seen.push(found.into()));
    }
    seen
}

#[derive(Debug, PartialEq)]
enum Seen {
    Section(Vec<u8>),
    Other(u8),
    Malformed(SectionError),
}

impl From<Found<'_>> for Seen {
    fn from(found: Found<'_>) -> Self {
        match found {
            Found::Section(section) => Seen::Section(section.to_vec()),
            Found::Other(table) => Seen::Other(table),
            Found::Malformed(error) => Seen::Malformed(error),
        }
    }
}

#[test]
fn sections_of_any_length_back_to_back() {
    let sections: Vec<_> = [0, 10, 160, 200, 1012, 3, 900, 1].map(|n| section(n, 7)).into();
    let mut starts = Vec::new();
    let mut payload = Vec::new();
    for section in &sections {
        starts.push(payload.len());
        payload.extend(section);
    }
    let seen = feed(&mut Assembler::default(), &packets(&payload, &starts));
    assert_eq!(seen, sections.into_iter().map(Seen::Section).collect::<Vec<_>>());
}

#[test]
fn a_prefix_may_be_cut() {
    // A section that begins one or two bytes before the end of a packet.
    for left in [1, 2, 3, 4] {
        let (first, second) = (section(183 - left - 12, 1), section(30, 2));
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..5].copy_from_slice(&[0x47, 0x41, 0, 0x10, 0]);
        packet[5..5 + first.len()].copy_from_slice(&first);
        packet[5 + first.len()..].copy_from_slice(&second[..left]);
        let mut rest = [0xFF; PACKET_BYTES];
        rest[..4].copy_from_slice(&[0x47, 1, 0, 0x11]);
        rest[4..4 + second.len() - left].copy_from_slice(&second[left..]);
        let seen = feed(&mut Assembler::default(), &[packet, rest]);
        assert_eq!(seen, [Seen::Section(first), Seen::Section(second)], "{left} bytes");
    }
}

#[test]
fn other_tables_are_passed_over() {
    let mut private = section(3000, 7);
    private[0] = 0x90;
    let known = section(20, 3);
    let payload = [&private[..], &known].concat();
    let cut = packets(&payload, &[0, private.len()]);
    let mut assembler = Assembler::default();
    let expected = || [Seen::Other(0x90), Seen::Section(known.clone())];
    assert_eq!(feed(&mut assembler, &cut), expected());
    // Also where its front is in two packets.
    let payload = [&known[..], &section(148, 1), &private, &known].concat();
    let starts = [0, known.len(), known.len() + 160, known.len() + 160 + private.len()];
    let seen = feed(&mut assembler, &packets(&payload, &starts));
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[2..], expected());
}

#[test]
fn what_is_wrong_is_told_and_the_next_one_found() {
    let good = section(20, 3);
    let mut damaged = section(30, 4);
    damaged[12] ^= 1;
    let mut long = section(1013, 5);
    let mut packet = packets(&good, &[0]);
    let mut assembler = Assembler::default();
    let mut expect = |cut: &[[u8; PACKET_BYTES]], error| {
        assert_eq!(feed(&mut assembler, cut), [Seen::Malformed(error)]);
        let next = feed(&mut assembler, &packets(&good, &[0]));
        assert_eq!(next, [Seen::Section(good.clone())]);
    };
    expect(&packets(&damaged, &[0]), SectionError::Crc);
    expect(&packets(&long, &[0]), SectionError::Length);
    long[0] = TABLE_PAT;
    expect(&packets(&long, &[0]), SectionError::Length);
    expect(&packets(&[TABLE_PMT, 0xB0, 3, 0, 0, 0], &[0]), SectionError::Length);
    packet[0][4] = 184;
    expect(&packet, SectionError::Pointer);
}

#[test]
fn a_section_that_the_next_one_cuts_is_told_once() {
    let (cut, good) = (section(500, 3), section(20, 3));
    let mut assembler = Assembler::default();
    let front = &packets(&cut, &[0])[..1];
    assert_eq!(feed(&mut assembler, front), []);
    let seen = feed(&mut assembler, &packets(&good, &[0]));
    let error = Seen::Malformed(SectionError::Length);
    assert_eq!(seen, [error, Seen::Section(good.clone())]);
    // Where the loss is known, it is none of the section's.
    assert_eq!(feed(&mut assembler, front), []);
    assembler.lose();
    assert_eq!(feed(&mut assembler, &packets(&good, &[0])), [Seen::Section(good)]);
}

proptest! {
    #[test]
    fn nothing_panics_and_memory_is_bounded(
        packets in prop::collection::vec(
            (prop::array::uniform32(any::<u8>()), any::<u8>()), 1..40),
    ) {
        let mut assembler = Assembler::default();
        for (start, fill) in packets {
            let mut bytes = [fill; PACKET_BYTES];
            bytes[..32].copy_from_slice(&start);
            bytes[0] = 0x47;
            assembler.take(&Packet::new(&bytes).unwrap(), |_| ());
            prop_assert!(assembler.front.len() <= SECTION_BYTES_MAX);
        }
    }
}
