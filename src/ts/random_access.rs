//! Where decoding may start: random access points.
//!
//! Owns the search for a picture that stands for itself in the first bytes of a PES packet. It
//! never decodes more than a picture's type and never keeps bytes. [`super::elementary`] drives it.
//!
//! An encoder marks these points by `random_access_indicator` (ISO/IEC 13818-1, 2.4.3.5). Where it
//! has done so once, its word is taken and nothing is searched. For the others, a PES packet is a
//! random access point if what is first of these in it says so:
//! - MPEG-1 and MPEG-2: a picture header of an I picture (ISO/IEC 13818-2, 6.3.9), with a sequence
//!   header before it in the PES packet, for without one nobody can decode it.
//! - H.264: a slice of an IDR picture (`nal_unit_type` 5), or one of a picture that has only I
//!   slices, with a sequence parameter set before it in the PES packet (Rec. ITU-T H.264, 7.4.1 and
//!   table 7-6): that is how encoders with open GOPs make them.
//! - H.265: a slice of an IRAP picture (`nal_unit_type` 16 to 23; Rec. ITU-T H.265, 7.4.2.2).
//!
//! Sound without the indicator may be decoded from any PES packet on.

use super::packet::{Packet, Pid};
use crate::limits::{PICTURE_PACKETS_MAX, RANDOM_ACCESS_PER_PASS_MAX};

/// A random access point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RandomAccess {
    /// Where the packet begins with which decoding may start: bytes from the front of what the same
    /// pass has aligned. Negative where it was in an earlier pass, so many bytes before its last.
    pub offset: i64,
    /// The elementary stream's PID.
    pub pid: Pid,
    /// The number of its program.
    pub program: u16,
    /// The [number](super::programs::Tables::number) of the tables it belongs to. If it is not that
    /// of the current ones, they have changed since.
    pub tables: u64,
}

/// The random access points of one pass, oldest first: [`RANDOM_ACCESS_PER_PASS_MAX`] at most, and
/// among these the newest one of each program.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RandomAccesses(Vec<RandomAccess>);

impl RandomAccesses {
    /// Adds the newest; if there is no room, the oldest one of its program goes.
    pub(super) fn push(&mut self, found: RandomAccess) {
        if self.0.len() == RANDOM_ACCESS_PER_PASS_MAX {
            let of_program = |one: &RandomAccess| one.program == found.program;
            // Of a program that is new since, none is there.
            self.0.remove(self.0.iter().position(of_program).unwrap_or(0));
        }
        self.0.push(found);
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RandomAccess> {
        self.0.iter()
    }
}

/// How the pictures of an elementary stream are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pictures {
    /// MPEG-1 and MPEG-2.
    Mpeg,
    /// H.264.
    H264,
    /// H.265.
    Hevc,
}

/// What is known of a PES packet so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// It is a random access point.
    Found,
    /// It is none, or it does not show early enough.
    None,
    /// More packets have to tell.
    More,
}

/// Looks for the first picture in a PES packet.
#[derive(Clone, Copy, Debug)]
pub struct Finder {
    pictures: Pictures,
    /// Packets to look at yet.
    left: u8,
    /// Bytes of the PES header that are still to come.
    skip: usize,
    /// The last bytes.
    window: u32,
    /// The first bytes of the unit in which the last byte is, and how many they are.
    unit: Option<([u8; UNIT_BYTES], usize)>,
    /// There were the parameters that a decoder needs.
    parameters: bool,
}

/// Bytes of a unit, from its type on, that tell all there is to know.
const UNIT_BYTES: usize = 3;

impl Finder {
    /// Begins with the packet in which the PES packet starts.
    pub fn begin(pictures: Pictures, packet: &Packet<'_>) -> (Finder, Search) {
        let mut finder = Finder {
            pictures,
            left: PICTURE_PACKETS_MAX,
            skip: 0,
            window: u32::MAX,
            unit: None,
            parameters: false,
        };
        // Start code, stream, length, flags, length of the header (ISO/IEC 13818-1, 2.4.3.6).
        let payload = packet.payload();
        let [0, 0, 1, _, _, _, _, _, header, ..] = *payload else { return (finder, Search::None) };
        finder.skip = 9 + usize::from(header);
        let search = finder.go_on(packet);
        (finder, search)
    }

    /// Goes on with the next packet of the PID.
    pub fn go_on(&mut self, packet: &Packet<'_>) -> Search {
        let payload = packet.payload();
        let (header, bytes) = payload.split_at(self.skip.min(payload.len()));
        self.skip -= header.len();
        for byte in bytes {
            match self.step(*byte) {
                Search::More => {}
                told => return told,
            }
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Search::None } else { Search::More }
    }

    fn step(&mut self, byte: u8) -> Search {
        if let Some((head, known)) = &mut self.unit {
            head[*known] = byte;
            *known += 1;
            let (head, known) = (*head, *known);
            match self.judge(head, known) {
                Unit::Picture(yes) => return if yes { Search::Found } else { Search::None },
                Unit::More if known < UNIT_BYTES => {}
                Unit::Parameters => (self.parameters, self.unit) = (true, None),
                Unit::More | Unit::Other => self.unit = None,
            }
        }
        self.window = self.window << 8 | u32::from(byte);
        if self.window & 0x00FF_FFFF == 1 {
            self.unit = Some(([0; UNIT_BYTES], 0));
        }
        Search::More
    }

    /// What a unit is, by the first `known` bytes of it.
    fn judge(&self, [first, second, third]: [u8; UNIT_BYTES], known: usize) -> Unit {
        match self.pictures {
            Pictures::Mpeg => match first {
                0xB3 => Unit::Parameters,
                0x00 if known < 3 => Unit::More,
                // Ten bits of temporal_reference, then picture_coding_type: 1 is I.
                0x00 => Unit::Picture(self.parameters && third >> 3 & 7 == 1),
                0x01..=0xAF => Unit::Picture(false),
                _ => Unit::Other,
            },
            Pictures::H264 => match first & 0x1F {
                5 => Unit::Picture(true),
                7 => Unit::Parameters,
                1 if self.parameters && known < 2 => Unit::More,
                // first_mb_in_slice 0 is the bit 1; slice_type 7 is 0001000, 2 is 011 (9.1).
                1 => Unit::Picture(self.parameters && (second == 0x88 || second >> 4 == 0x0B)),
                2 => Unit::Picture(false),
                _ => Unit::Other,
            },
            Pictures::Hevc => match first >> 1 & 0x3F {
                16..=23 => Unit::Picture(true),
                0..=15 => Unit::Picture(false),
                _ => Unit::Other,
            },
        }
    }
}

/// What a unit after a start code is.
enum Unit {
    /// A picture, or a part of one: does it stand for itself?
    Picture(bool),
    /// Parameters of the pictures to come.
    Parameters,
    /// Nothing that matters.
    Other,
    /// More bytes have to tell.
    More,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::PACKET_BYTES;

    /// The packets of a PES packet with these bytes, and so many of stuffing in its header.
    fn pes(stuffing: u8, bytes: &[u8]) -> Vec<[u8; PACKET_BYTES]> {
        let mut pes = vec![0, 0, 1, 0xE0, 0, 0, 0x80, 0, stuffing];
        pes.resize(9 + usize::from(stuffing), 0xFF);
        pes.extend_from_slice(bytes);
        let mut packets = Vec::new();
        for (number, part) in pes.chunks(PACKET_BYTES - 4).enumerate() {
            let mut packet = [0xFF; PACKET_BYTES];
            packet[..4].copy_from_slice(&[0x47, if number == 0 { 0x41 } else { 1 }, 0, 0x10]);
            packet[4..4 + part.len()].copy_from_slice(part);
            packets.push(packet);
        }
        packets
    }

    /// What is found, and in how many packets.
    fn search(pictures: Pictures, packets: &[[u8; PACKET_BYTES]]) -> (Search, usize) {
        let (mut finder, mut told) = Finder::begin(pictures, &Packet::new(&packets[0]).unwrap());
        for (number, bytes) in packets.iter().enumerate().skip(1) {
            if told != Search::More {
                return (told, number);
            }
            told = finder.go_on(&Packet::new(bytes).unwrap());
        }
        (told, packets.len())
    }

    fn told(pictures: Pictures, bytes: &[u8]) -> Search {
        let told = search(pictures, &pes(0, bytes));
        // The header's length changes nothing, wherever the units are cut by it.
        for stuffing in [1, 150, 170, 171, 172, 173, 174, 175, 176, 177, 200, 255] {
            assert_eq!(search(pictures, &pes(stuffing, bytes)).0, told.0, "{stuffing}");
        }
        told.0
    }

    #[test]
    fn pictures_of_h264() {
        let aud = [0, 0, 0, 1, 9, 0xF0];
        let sps = [0, 0, 0, 1, 0x67, 0x42, 0, 0x1E, 0, 0, 1, 0x68, 0xCE];
        let unit = |bytes: &[u8]| [&[0, 0, 1], bytes].concat();
        let of = |parts: &[&[u8]]| told(Pictures::H264, &[&aud, &parts.concat()[..]].concat());
        assert_eq!(of(&[&unit(&[0x65, 0x88])]), Search::Found, "IDR");
        assert_eq!(of(&[&sps, &unit(&[0x65, 0x88])]), Search::Found, "IDR");
        assert_eq!(of(&[&sps, &unit(&[0x41, 0x88])]), Search::Found, "an I picture");
        assert_eq!(of(&[&sps, &unit(&[0x41, 0xB3])]), Search::Found, "an I slice");
        assert_eq!(of(&[&sps, &unit(&[0x41, 0x9A])]), Search::None, "a P picture");
        assert_eq!(of(&[&unit(&[0x41, 0x88])]), Search::None, "no parameters");
        assert_eq!(of(&[&unit(&[0x01, 0x9E])]), Search::None);
        assert_eq!(of(&[&unit(&[0x06, 5, 200])]), Search::More, "no picture yet");
    }

    #[test]
    fn pictures_of_hevc() {
        for kind in 0..48u8 {
            let bytes = [0, 0, 0, 1, 35 << 1, 1, 0x50, 0, 0, 1, kind << 1, 1, 0xAF];
            let expected = match kind {
                0..=15 => Search::None,
                16..=23 => Search::Found,
                _ => Search::More,
            };
            assert_eq!(told(Pictures::Hevc, &bytes), expected, "type {kind}");
        }
    }

    #[test]
    fn pictures_of_mpeg2() {
        let sequence = [0, 0, 1, 0xB3, 0x2D, 2, 0x40, 0x33, 0, 0, 1, 0xB8, 0, 8, 0];
        let picture = |kind: u8| [0, 0, 1, 0, 0xFF, 0xC0 | kind << 3, 0xFF];
        for kind in 1..=3 {
            let with = [&sequence[..], &picture(kind)].concat();
            let expected = if kind == 1 { Search::Found } else { Search::None };
            assert_eq!(told(Pictures::Mpeg, &with), expected);
            assert_eq!(told(Pictures::Mpeg, &picture(kind)), Search::None, "no sequence header");
        }
        assert_eq!(told(Pictures::Mpeg, &[0, 0, 1, 1, 0x13]), Search::None, "a slice");
    }

    #[test]
    fn a_picture_may_come_packets_later_but_not_too_many() {
        let picture = [0, 0, 1, 0x65, 0x88];
        for sei in [100, 700, 2600] {
            let bytes = [&[0, 0, 1, 6, 5][..], &vec![0x55; sei], &picture].concat();
            assert_eq!(told(Pictures::H264, &bytes), Search::Found, "after {sei} bytes");
        }
        let bytes = [&vec![0x55; 20 * PACKET_BYTES][..], &picture].concat();
        let most = usize::from(PICTURE_PACKETS_MAX);
        assert_eq!(search(Pictures::H264, &pes(0, &bytes)), (Search::None, most));
    }

    #[test]
    fn of_each_program_the_newest_are_kept() {
        let most = i64::try_from(RANDOM_ACCESS_PER_PASS_MAX).unwrap();
        let mut all = RandomAccesses::default();
        assert_eq!(all.iter().count(), 0);
        let one = |offset, program| RandomAccess { offset, pid: Pid::new(256), program, tables: 1 };
        all.push(one(0, 1));
        for offset in 1..most + 10 {
            all.push(one(offset, 2));
        }
        let kept: Vec<_> = all.iter().map(|one| (one.offset, one.program)).collect();
        let newest = (11..most + 10).map(|offset| (offset, 2));
        assert_eq!(kept, std::iter::once((0, 1)).chain(newest).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn nothing_panics(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(1)], 0..600),
        ) {
            for pictures in [Pictures::Mpeg, Pictures::H264, Pictures::Hevc] {
                let _any = search(pictures, &pes(0, &bytes));
            }
        }
    }
}
