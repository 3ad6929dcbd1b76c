//! Pictures: tables and random access points among the numbered packets.

use std::time::Duration;

use crate::packet::{self, PACKET_BYTES, SYNC, VIDEO};

/// One program, number 1, with its PMT on PID 0x1000; with its CRC, as it follows.
const PAT: [u8; 16] = [0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0, 0x2A, 0xB1, 0x04, 0xB2];
/// H.264 on [`VIDEO`].
const PMT: [u8; 21] = [
    2, 0xB0, 18, 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 0, 0x15, 0xBD, 0x4D, 0x56,
];
const PMT_PID: u16 = 0x1000;
const PICTURES_PER_SECOND: u64 = 25;
/// A picture that stands for itself is so many times as large as the others.
const KEY_PICTURES: u32 = 5;
/// Tables come before each so-manieth picture: about ten times a second.
const PICTURES_PER_TABLES: u32 = 3;

/// A stream of pictures.
#[derive(Debug)]
pub(crate) struct Film {
    /// Packets of a picture, and of a group of them.
    picture: u32,
    group: u32,
    /// Tables that were sent.
    tables: u8,
}

impl Film {
    /// One with a random access point every `group`, at this rate.
    pub(crate) fn new(group: Duration, bits_per_second: u64) -> Film {
        let packets = |nanos: u128| {
            let bits = u128::from(bits_per_second) * nanos / 1_000_000_000;
            u32::try_from(bits / (8 * PACKET_BYTES as u128)).unwrap_or(u32::MAX).max(1)
        };
        let picture = packets(1_000_000_000 / u128::from(PICTURES_PER_SECOND));
        Film { picture, group: packets(group.as_nanos()), tables: 0 }
    }

    /// Appends the packet with this number, with the tables before it if it is their time.
    pub(crate) fn append(&mut self, packets: &mut Vec<u8>, number: u32, stamp: u64) {
        let at = number % self.group;
        if at.is_multiple_of(self.picture * PICTURES_PER_TABLES) {
            for (pid, section) in [(0, &PAT[..]), (PMT_PID, &PMT[..])] {
                table(packets, pid, self.tables, section);
            }
            self.tables = self.tables.wrapping_add(1);
        }
        let starts = at >= KEY_PICTURES * self.picture && at.is_multiple_of(self.picture);
        packet::append_unit(packets, number, stamp, starts || at == 0, at == 0);
    }
}

fn table(packets: &mut Vec<u8>, pid: u16, number: u8, section: &[u8]) {
    let end = packets.len() + PACKET_BYTES;
    let [high, low] = pid.to_be_bytes();
    packets.extend([SYNC, 0x40 | high, low, 0x10 | (number % 16), 0]);
    packets.extend(section);
    packets.resize(end, 0xff);
}

/// How far one who joins has come to see something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Without the PAT.
    #[default]
    Nothing,
    Pat,
    Tables,
    /// A random access point has begun.
    Begun,
    /// It has come in whole: it can be decoded.
    Picture,
}

impl Sight {
    /// After the next packet, of which none before was missing.
    pub(crate) fn after(self, packet: &[u8]) -> Sight {
        let [_, high, low, flags, length, field, ..] = *packet else { return self };
        let (starts, pid) = (high & 0x40 != 0, u16::from_be_bytes([high & 0x1F, low]));
        let is_key = starts && flags & 0x20 != 0 && length > 0 && field & 0x40 != 0;
        match self {
            Sight::Nothing if starts && pid == 0 => Sight::Pat,
            Sight::Pat if starts && pid == PMT_PID => Sight::Tables,
            Sight::Tables if pid == VIDEO && is_key => Sight::Begun,
            Sight::Begun if pid == VIDEO && starts => Sight::Picture,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use restreamer::ts::Probe;

    use super::*;
    use crate::packet::{Checker, Seen};

    fn film(packets: u32) -> Vec<u8> {
        let mut film = Film::new(Duration::from_secs(2), 8_000_000);
        let mut bytes = Vec::new();
        (0..packets).for_each(|number| film.append(&mut bytes, number, 0));
        bytes
    }

    #[test]
    fn the_server_finds_tables_and_pictures() {
        let (mut probe, mut bytes) = (Probe::with_content(Instant::now()), film(25_000));
        let aligned = probe.align(&mut bytes);
        assert_eq!((aligned.counts.continuity_errors, aligned.counts.sync_losses), (0, 0));
        let content = probe.content().unwrap();
        assert!(content.tables().is_complete());
        assert_eq!(aligned.random_access.iter().count(), 3, "at 0, 2 and 4 s");
        assert!(content.is_whole(restreamer::ts::Pid::new(VIDEO)));
    }

    #[test]
    fn a_viewer_sees_a_picture_once_it_is_whole() {
        let bytes = film(5000);
        let key =
            usize::try_from(5 * Film::new(Duration::from_secs(2), 8_000_000).picture).unwrap();
        for pieces in [100, 188, 5000] {
            let (mut checker, mut came) = (Checker::default(), 0);
            for piece in bytes.chunks(pieces) {
                checker.feed(piece, 0, None);
                came += piece.len();
                // The picture's packets with PAT and PMT once or twice, and the next one's first.
                let whole = came / PACKET_BYTES;
                if whole < key + 3 {
                    assert!(!checker.has_picture(), "after {whole} packets");
                }
            }
            assert!(checker.has_picture());
            assert_eq!(checker.seen, Seen { packets: 5000, ..Seen::default() });
        }
    }

    #[test]
    fn without_tables_or_from_the_middle_there_is_none() {
        let bytes = film(5000);
        for from in [2, 3, 300] {
            let mut checker = Checker::default();
            checker.feed(&bytes[from * PACKET_BYTES..], 0, None);
            assert!(!checker.has_picture(), "from packet {from} on");
        }
    }
}
