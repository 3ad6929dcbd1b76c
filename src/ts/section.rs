//! Sections (ISO/IEC 13818-1, 2.4.4) out of the packets of one PID.
//!
//! Owns the section that is under way, of [`SECTION_BYTES_MAX`] at most. It never says what a table
//! means, and never keeps a whole section: each is handed on as soon as its last byte is there.
//! Sections of tables it does not know are passed over by their length. [`super::content`] drives
//! it, one for each PID of tables.

use super::crc::crc32;
use super::packet::Packet;
use crate::limits::{SECTION_BYTES_MAX, TABLE_SECTION_BYTES_MAX};

/// `table_id` of a program association section (2.4.4.5, table 2-31).
pub const TABLE_PAT: u8 = 0x00;
/// `table_id` of a conditional access section.
pub const TABLE_CAT: u8 = 0x01;
/// `table_id` of a program map section.
pub const TABLE_PMT: u8 = 0x02;

/// Bytes up to `section_length`.
const PREFIX_BYTES: usize = 3;

/// Bytes of the CRC.
pub(super) const CRC_BYTES: usize = 4;

/// A `table_id` that no table has: stuffing up to the packet's end (2.4.4.1).
const STUFFING: u8 = 0xFF;

/// What was found on the PID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A whole section of a known table, its CRC right.
    Section(&'a [u8]),
    /// A section of another table, by its `table_id`.
    Other(u8),
    /// A section that is none.
    Malformed(SectionError),
}

/// What is wrong with a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SectionError {
    /// The pointer leads out of the packet.
    #[error("its pointer leads out of the packet")]
    Pointer,
    /// It is longer than its table may be, too short, or ends where it should not.
    #[error("its length is wrong")]
    Length,
    /// TR 101 290, 2.2.
    #[error("its CRC is wrong")]
    Crc,
}

/// Puts sections together.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    /// The front of a section; empty when none is under way.
    front: Vec<u8>,
    /// Bytes to pass over, of a section that is not wanted.
    skip: usize,
}

impl Assembler {
    /// A packet of the PID is missing: the section that was under way is dropped.
    pub fn lose(&mut self) {
        self.front.clear();
        self.skip = 0;
    }

    /// Takes the next packet of the PID, which is whole, neither scrambled nor a repetition, and
    /// tells what it ends.
    pub fn take(&mut self, packet: &Packet<'_>, mut found: impl FnMut(Found<'_>)) {
        let payload = packet.payload();
        if !packet.unit_start() {
            self.go_on(payload, &mut found);
            return;
        }
        let Some((pointer, rest)) = payload.split_first() else { return };
        let Some((before, after)) = rest.split_at_checked(usize::from(*pointer)) else {
            self.lose();
            return found(Found::Malformed(SectionError::Pointer));
        };
        self.go_on(before, &mut found);
        if self.is_under_way() {
            self.lose();
            found(Found::Malformed(SectionError::Length));
        }
        self.begin(after, &mut found);
    }

    fn is_under_way(&self) -> bool {
        !self.front.is_empty() || self.skip > 0
    }

    /// More of the section that is under way; what comes after it is stuffing.
    fn go_on(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if self.skip > 0 {
            self.skip = self.skip.saturating_sub(bytes.len());
        } else if !self.front.is_empty() {
            self.extend(bytes, found);
        }
    }

    /// Sections, one after the other.
    fn begin(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        while let Some(table) = bytes.first().filter(|table| **table != STUFFING) {
            let Some(prefix) = bytes.first_chunk() else {
                self.front.extend_from_slice(bytes);
                return;
            };
            let length = length(*prefix);
            match longest(*table) {
                Some(most) if length > most => {
                    return found(Found::Malformed(SectionError::Length));
                }
                None => {
                    found(Found::Other(*table));
                    self.skip = length.saturating_sub(bytes.len());
                }
                Some(_) => match bytes.get(..length) {
                    Some(section) => found(check(section)),
                    None => self.front.extend_from_slice(bytes),
                },
            }
            bytes = bytes.get(length..).unwrap_or(&[]);
        }
    }

    /// More of a section whose front is there.
    fn extend(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let missing = PREFIX_BYTES.saturating_sub(self.front.len()).min(bytes.len());
        let (prefix, rest) = bytes.split_at(missing);
        self.front.extend_from_slice(prefix);
        let Some(prefix) = self.front.first_chunk() else { return };
        let (table, length) = (self.front[0], length(*prefix));
        match longest(table) {
            None => {
                self.front.clear();
                self.skip = (length - PREFIX_BYTES).saturating_sub(rest.len());
                found(Found::Other(table));
            }
            Some(most) if length > most => {
                self.front.clear();
                found(Found::Malformed(SectionError::Length));
            }
            Some(_) => {
                let missing = (length - self.front.len()).min(rest.len());
                self.front.extend_from_slice(&rest[..missing]);
                if self.front.len() == length {
                    found(check(&self.front));
                    self.front.clear();
                }
            }
        }
    }
}

/// The whole section's length, by its first bytes.
fn length([_, high, low]: [u8; PREFIX_BYTES]) -> usize {
    PREFIX_BYTES + usize::from(u16::from_be_bytes([high & 0x0F, low]))
}

/// The length of the longest section of a table; `None` where it is passed over: it has no CRC, or
/// it is none of those that TR 101 290, 2.2 lists (NIT, SDT, BAT, EIT, TOT; EN 300 468, table 2).
fn longest(table: u8) -> Option<usize> {
    match table {
        TABLE_PAT | TABLE_CAT | TABLE_PMT | 0x40 | 0x41 | 0x42 | 0x46 | 0x4A | 0x73 => {
            Some(TABLE_SECTION_BYTES_MAX)
        }
        0x4E..=0x6F => Some(SECTION_BYTES_MAX),
        _ => None,
    }
}

fn check(section: &[u8]) -> Found<'_> {
    if section.len() < PREFIX_BYTES + CRC_BYTES {
        Found::Malformed(SectionError::Length)
    } else if crc32(section) != 0 {
        Found::Malformed(SectionError::Crc)
    } else {
        Found::Section(section)
    }
}

/// The section that begins with these bytes, its length and CRC right.
pub(super) fn sealed(section: &[u8]) -> Vec<u8> {
    let mut bytes = section.to_vec();
    let length = u16::try_from(bytes.len() - PREFIX_BYTES + CRC_BYTES).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    bytes[1] = bytes[1] & 0xF0 | high & 0x0F;
    bytes[2] = low;
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
