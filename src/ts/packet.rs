//! One packet of 188 bytes (ISO/IEC 13818-1, 2.4.3.2), checked once.
//!
//! Owns the layout of the header and of the adaptation field (2.4.3.4, 2.4.3.5). It never changes a
//! byte and never fails after the check: a nonsensical adaptation field reads as none. Everything
//! in `ts` drives it.

use std::fmt;

use super::pcr::Pcr;
use crate::limits::PACKET_BYTES;

/// `sync_byte`, the first byte of every packet (2.4.3.3).
pub const SYNC_BYTE: u8 = 0x47;

/// Bytes of the fixed part of the header (2.4.3.2).
pub const HEADER_BYTES: usize = 4;

/// The longest adaptation field after its length byte, in bytes (2.4.3.5): the whole packet.
const ADAPTATION_ROOM_BYTES: usize = PACKET_BYTES - HEADER_BYTES - 1;

/// A packet identifier, 13 bits (2.4.3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(u16);

impl Pid {
    /// How many identifiers there are.
    pub const COUNT: usize = 1 << 13;
    /// The program association table's (2.4.4.3).
    pub const PAT: Pid = Pid(0);
    /// The conditional access table's (2.4.4.6).
    pub const CAT: Pid = Pid(1);
    /// The null packets', which carry nothing (2.4.3.3).
    pub const NULL: Pid = Pid(0x1FFF);

    /// The identifier in the low 13 bits of `bits`; the others are ignored.
    pub const fn new(bits: u16) -> Self {
        Self(bits & 0x1FFF)
    }

    /// The identifier as a number below [`Pid::COUNT`].
    pub const fn value(self) -> u16 {
        self.0
    }

    /// Whether a PMT or an elementary stream may have it (table 2-3): what is below is for tables
    /// of their own.
    pub(super) const fn is_assignable(self) -> bool {
        self.0 >= 0x10 && self.0 != Self::NULL.0
    }

    /// The place of the identifier in a table of [`Pid::COUNT`] entries.
    pub(super) fn index(self) -> usize {
        // Masked again so that the compiler sees the bound.
        usize::from(self.0) % Self::COUNT
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:#06x})", self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// The four fixed bytes of a packet (2.4.3.2), known to begin with the sync byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(u32);

impl Header {
    /// The header in `bytes`, or `None` when they do not begin with [`SYNC_BYTE`].
    pub const fn new(bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        if bytes[0] == SYNC_BYTE { Some(Self(u32::from_be_bytes(bytes))) } else { None }
    }

    /// The packet identifier.
    pub const fn pid(self) -> Pid {
        Pid::new(self.bits(8))
    }

    /// `transport_error_indicator`: at least one bit of the packet is wrong.
    pub const fn transport_error(self) -> bool {
        self.0 & 0x0080_0000 != 0
    }

    /// `payload_unit_start_indicator`: a PES packet or a section starts in the payload.
    pub const fn unit_start(self) -> bool {
        self.0 & 0x0040_0000 != 0
    }

    /// `transport_scrambling_control` is not zero: the payload is scrambled.
    pub const fn scrambled(self) -> bool {
        self.0 & 0xC0 != 0
    }

    /// `adaptation_field_control` announces an adaptation field.
    pub const fn has_adaptation(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// `adaptation_field_control` announces a payload.
    pub const fn has_payload(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// `continuity_counter`, 0 to 15.
    pub const fn continuity(self) -> u8 {
        self.0.to_be_bytes()[3] & 0x0F
    }

    /// How many `packets` after the one with this header are the next of its PID, one after the
    /// other, with nothing but payload.
    pub(super) fn row(self, packets: &[[u8; PACKET_BYTES]]) -> usize {
        // Without error, start, adaptation field and counter.
        let plain = self.0 & !0x00C0_002F | 0x10;
        let counters = (self.0 + 1..).map(|counter| counter & 0x0F);
        let is_next = |([a, b, c, d, ..], counter): &(&[u8; PACKET_BYTES], u32)| {
            u32::from_be_bytes([*a, *b, *c, *d]) == plain | counter
        };
        packets.iter().zip(counters).take_while(is_next).count()
    }

    /// Whether the packet with this header has a PCR, `random_access_indicator` or
    /// `discontinuity_indicator`.
    #[inline]
    pub(super) fn indicates(self, bytes: &[u8; PACKET_BYTES]) -> bool {
        self.has_adaptation() && bytes[HEADER_BYTES] != 0 && bytes[HEADER_BYTES + 1] & 0xD0 != 0
    }

    /// Whether the header is valid as far as it goes, given the byte after it: an
    /// `adaptation_field_control` that is not reserved, an adaptation field of a valid length
    /// (2.4.3.5).
    pub(super) fn valid(self, fifth: u8) -> bool {
        let length = usize::from(fifth);
        match (self.has_adaptation(), self.has_payload()) {
            (false, payload) => payload,
            (true, false) => length == ADAPTATION_ROOM_BYTES,
            (true, true) => length < ADAPTATION_ROOM_BYTES,
        }
    }

    /// Sixteen bits of the header, `shift` above its end.
    const fn bits(self, shift: u32) -> u16 {
        let bytes = (self.0 >> shift).to_be_bytes();
        u16::from_be_bytes([bytes[2], bytes[3]])
    }
}

/// One packet in place, known to begin with the sync byte.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: Header,
    bytes: &'a [u8; PACKET_BYTES],
}

impl<'a> Packet<'a> {
    /// The packet in `bytes`, or `None` when they do not begin with [`SYNC_BYTE`].
    pub fn new(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let [a, b, c, d, ..] = *bytes;
        Some(Self { header: Header::new([a, b, c, d])?, bytes })
    }

    /// The bytes of the packet.
    pub fn bytes(&self) -> &'a [u8; PACKET_BYTES] {
        self.bytes
    }

    /// The fixed part of the header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// See [`Header::pid`].
    pub fn pid(&self) -> Pid {
        self.header.pid()
    }

    /// See [`Header::transport_error`].
    pub fn transport_error(&self) -> bool {
        self.header.transport_error()
    }

    /// See [`Header::unit_start`].
    pub fn unit_start(&self) -> bool {
        self.header.unit_start()
    }

    /// See [`Header::scrambled`].
    pub fn scrambled(&self) -> bool {
        self.header.scrambled()
    }

    /// See [`Header::has_payload`].
    pub fn has_payload(&self) -> bool {
        self.header.has_payload()
    }

    /// See [`Header::continuity`].
    pub fn continuity(&self) -> u8 {
        self.header.continuity()
    }

    /// The adaptation field; `None` when there is none, when it is empty (one stuffing byte) or
    /// when its length does not fit the packet.
    pub fn adaptation(&self) -> Option<Adaptation<'a>> {
        let length = usize::from(self.bytes[HEADER_BYTES]);
        if !self.header.has_adaptation() || length == 0 {
            return None;
        }
        let start = HEADER_BYTES + 1;
        self.bytes.get(start..start + length).map(|bytes| Adaptation { bytes })
    }

    /// The payload; empty when there is none or when the adaptation field's length leaves none.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_start()..).unwrap_or(&[])
    }

    /// Where the payload begins in the packet; at or beyond the packet's end when there is none.
    pub(super) fn payload_start(&self) -> usize {
        match (self.header.has_adaptation(), self.header.has_payload()) {
            (_, false) => PACKET_BYTES,
            (false, true) => HEADER_BYTES,
            (true, true) => HEADER_BYTES + 1 + usize::from(self.bytes[HEADER_BYTES]),
        }
    }
}

/// An adaptation field of at least its flags byte (2.4.3.4).
#[derive(Clone, Copy, Debug)]
pub struct Adaptation<'a> {
    /// The field after its length byte: at least one byte.
    bytes: &'a [u8],
}

impl Adaptation<'_> {
    /// `discontinuity_indicator`: the counter, or the PCR's time base, starts anew here.
    pub fn discontinuity(&self) -> bool {
        self.flags() & 0x80 != 0
    }

    /// `random_access_indicator`: decoding may start here.
    pub fn random_access(&self) -> bool {
        self.flags() & 0x40 != 0
    }

    /// The program clock reference; `None` when there is none or the field is too short for it.
    pub fn pcr(&self) -> Option<Pcr> {
        let (bytes, _) = self.bytes.get(1..)?.split_first_chunk()?;
        (self.flags() & 0x10 != 0).then(|| Pcr::from_bytes(*bytes))
    }

    /// The byte of flags.
    fn flags(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
