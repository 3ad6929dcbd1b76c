//! PES packet headers (ISO/IEC 13818-1, 2.4.3.6): where the time stamps stand.
//!
//! Owns the 33-bit time stamps of 90 kHz. It never reassembles a PES packet: what does not fit the
//! transport packet in which it starts reads as absent. [`super::restamp`] drives it.

use super::packet::Packet;

/// Bytes of a time stamp with its prefix and markers.
pub(super) const STAMP_BYTES: usize = 5;

/// Bytes before the optional fields: start code, stream, length, two of flags, header length.
const FIXED_BYTES: usize = 9;

/// `stream_id`s without the optional header (2.4.3.7, table 2-21): program stream map, padding,
/// private stream 2, ECM, EMM, DSM-CC, H.222.1 type E, program stream directory.
const PLAIN_STREAMS: [u8; 8] = [0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF];

/// A time stamp of 90 kHz, modulo 2³³ (2.4.3.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    const WRAP: u64 = 1 << 33;

    /// The stamp `ticks` of 90 kHz after zero, wrapped.
    pub const fn new(ticks: u64) -> Self {
        Self(ticks % Self::WRAP)
    }

    /// Ticks of 90 kHz since zero.
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// Ticks of 90 kHz from `earlier` to here, across a wrap if need be.
    pub const fn since(self, earlier: Self) -> u64 {
        (self.0 + Self::WRAP - earlier.0) % Self::WRAP
    }

    /// Reads a time stamp, whatever its prefix and markers.
    pub(super) fn from_bytes(bytes: [u8; STAMP_BYTES]) -> Self {
        let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        Self((bits >> 3 & 7 << 30) | (bits >> 2 & 0x7FFF << 15) | (bits >> 1 & 0x7FFF))
    }

    /// Writes the time stamp over another, whose prefix and markers stay.
    pub(super) fn write(self, bytes: &mut [u8; STAMP_BYTES]) {
        let places = [(29, 0x0E), (22, 0xFF), (14, 0xFE), (7, 0xFF), (0, 0xFE)];
        for (byte, (shift, mask)) in bytes.iter_mut().zip(places) {
            let bits = if shift == 0 { self.0 << 1 } else { self.0 >> shift };
            *byte = *byte & !mask | bits.to_be_bytes()[7] & mask;
        }
    }
}

/// The time stamps of a PES packet that starts in a transport packet, by their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PesHeader<'a> {
    payload: &'a [u8],
    stamps: usize,
}

impl<'a> PesHeader<'a> {
    /// The header of the PES packet that starts in `packet`; `None` when none does, when the
    /// payload is scrambled, when its kind has no time stamps, or when the stamps go on in the next
    /// packet.
    pub fn of(packet: &Packet<'a>) -> Option<Self> {
        let payload = packet.payload();
        let [0, 0, 1, stream, _, _, marker, flags, length, ..] = *payload else { return None };
        let stamps = match flags >> 6 {
            2 => 1,
            3 => 2,
            _ => 0,
        };
        let bytes = stamps * STAMP_BYTES;
        let valid = packet.unit_start()
            && !packet.scrambled()
            && !PLAIN_STREAMS.contains(&stream)
            && marker >> 6 == 2
            && usize::from(length) >= bytes
            && payload.len() >= FIXED_BYTES + bytes;
        valid.then_some(Self { payload, stamps })
    }

    /// `stream_id`.
    pub fn stream(&self) -> u8 {
        self.payload[3]
    }

    /// The presentation time stamp.
    pub fn pts(&self) -> Option<Timestamp> {
        self.stamp(0)
    }

    /// The decoding time stamp, where it differs from the other.
    pub fn dts(&self) -> Option<Timestamp> {
        self.stamp(1)
    }

    /// Where in the payload the time stamps begin.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.stamps).map(|stamp| FIXED_BYTES + stamp * STAMP_BYTES)
    }

    fn stamp(&self, which: usize) -> Option<Timestamp> {
        let place = self.places().nth(which)?;
        self.payload.get(place..)?.first_chunk().map(|bytes| Timestamp::from_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_read_and_write_alike() {
        // PTS 0x1_2345_6789 with prefix 3 and all markers
        let mut bytes = [0x39, 0x8D, 0x15, 0xCF, 0x13];
        let stamp = Timestamp::from_bytes(bytes);
        for ticks in [0, 1, 0x1_2345_6789, Timestamp::WRAP - 1, 0x0_AAAA_AAAA] {
            Timestamp::new(ticks).write(&mut bytes);
            assert_eq!(Timestamp::from_bytes(bytes).ticks(), ticks);
            assert_eq!((bytes[0] & 0xF1, bytes[2] & 1, bytes[4] & 1), (0x31, 1, 1));
        }
        stamp.write(&mut bytes);
        assert_eq!(bytes, [0x39, 0x8D, 0x15, 0xCF, 0x13]);
    }

    #[test]
    fn differences_cross_the_wrap() {
        let (before, behind) = (Timestamp::new(Timestamp::WRAP - 1), Timestamp::new(2));
        assert_eq!(behind.since(before), 3);
    }

    #[test]
    fn only_whole_headers_count() {
        let mut bytes = [0xFF; 188];
        let head = [0x47, 0x41, 0x00, 0x10, 0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10];
        bytes[..13].copy_from_slice(&head);
        bytes[13..23].copy_from_slice(&[0x31, 0, 1, 0, 7, 0x11, 0, 1, 0, 5]);
        let read = |bytes: &[u8; 188]| {
            let packet = Packet::new(bytes).unwrap();
            PesHeader::of(&packet).map(|header| (header.pts(), header.dts()))
        };
        let stamps = (Some(Timestamp::new(3)), Some(Timestamp::new(2)));
        assert_eq!(read(&bytes), Some(stamps));
        for (place, value) in [(1, 0x01), (3, 0x90), (6, 2), (7, 0xBF), (10, 0x40), (12, 9)] {
            let mut other = bytes;
            other[place] = value;
            assert_eq!(read(&other), None, "byte {place}");
        }
        let mut pts_only = bytes;
        pts_only[11] = 0x80;
        assert_eq!(read(&pts_only), Some((stamps.0, None)));
        // An adaptation field that leaves 18 bytes of payload: one too few.
        let mut late = [0xFF; 188];
        late[..6].copy_from_slice(&[0x47, 0x41, 0x00, 0x30, 165, 0]);
        late[170..].copy_from_slice(&bytes[4..22]);
        assert_eq!(read(&late), None);
    }
}
