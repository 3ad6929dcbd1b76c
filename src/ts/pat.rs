//! The program association table (ISO/IEC 13818-1, 2.4.4.3): which programs there are.
//!
//! Owns the layout of one section of it. It never puts sections together: [`super::programs`] does,
//! which also drives this.

use super::packet::Pid;
use super::section::{CRC_BYTES, TABLE_PAT};

/// What is wrong with a table's section whose CRC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// It is no section of this table.
    #[error("it is no such table")]
    Other,
    /// What it holds leads beyond its end.
    #[error("its parts are longer than it is")]
    Length,
    /// It has a number behind the last one, or more parts than are followed.
    #[error("it has too many parts")]
    TooMany,
}

/// Bytes before what a section of a table is about: up to `last_section_number`.
pub(super) const HEAD_BYTES: usize = 8;

/// The fields that the sections of PAT and PMT have in common (2.4.4.4, 2.4.4.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// `transport_stream_id`, or `program_number`.
    pub id: u16,
    /// `version_number`, 0 to 31.
    pub version: u8,
    /// `current_next_indicator`: it holds now, and not only some time later.
    pub current: bool,
    /// `section_number`.
    pub number: u8,
    /// `last_section_number`.
    pub last: u8,
}

impl Head {
    /// The head of a section of `table`, and what is between it and the CRC.
    pub(super) fn split(section: &[u8], table: u8) -> Result<(Head, &[u8]), TableError> {
        let (head, rest) = section.split_first_chunk::<HEAD_BYTES>().ok_or(TableError::Length)?;
        let [id, flags, _, high, low, version, number, last] = *head;
        if id != table || flags & 0x80 == 0 {
            return Err(TableError::Other);
        }
        let body = rest.len().checked_sub(CRC_BYTES).ok_or(TableError::Length)?;
        if number > last {
            return Err(TableError::TooMany);
        }
        let head = Head {
            id: u16::from_be_bytes([high, low]),
            version: version >> 1 & 0x1F,
            current: version & 1 == 1,
            number,
            last,
        };
        Ok((head, &rest[..body]))
    }
}

/// The programs of a section, by number, with the PIDs of their PMTs. What is listed as program 0,
/// the network's PID, is none, and neither is one whose PMT could not have that PID.
pub fn programs(section: &[u8]) -> Result<(Head, Vec<(u16, Pid)>), TableError> {
    let (head, body) = Head::split(section, TABLE_PAT)?;
    let (entries, []) = body.as_chunks::<4>() else { return Err(TableError::Length) };
    let entry = |[a, b, c, d]: &[u8; 4]| {
        (u16::from_be_bytes([*a, *b]), Pid::new(u16::from_be_bytes([*c, *d])))
    };
    let entries = entries.iter().map(entry);
    let programs = entries.filter(|(number, pid)| *number != 0 && pid.is_assignable()).collect();
    Ok((head, programs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ts::section::sealed;

    #[test]
    fn programs_and_their_pids() {
        let body = [0, 0, 0xE0, 0x10, 0, 1, 0xF0, 0, 0, 2, 0xE0, 0, 0, 3, 0xFF, 0xFF];
        let section = sealed(&[&[0, 0xB0, 0, 0, 7, 0xC5, 1, 2], &body[..]].concat());
        let (head, programs) = programs(&section).unwrap();
        let expected = Head { id: 7, version: 2, current: true, number: 1, last: 2 };
        assert_eq!(head, expected);
        assert_eq!(programs, [(1, Pid::new(0x1000))], "no network, no PAT's PID, no null packets");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let of = |bytes: &[u8]| programs(&sealed(bytes)).unwrap_err();
        assert_eq!(of(&[2, 0xB0, 0, 0, 1, 0xC1, 0, 0]), TableError::Other);
        assert_eq!(of(&[0, 0x30, 0, 0, 1, 0xC1, 0, 0]), TableError::Other);
        assert_eq!(of(&[0, 0xB0, 0, 0, 1, 0xC1, 1, 0]), TableError::TooMany);
        assert_eq!(of(&[0, 0xB0, 0, 0, 1, 0xC1, 0, 0, 0, 1, 0xE1]), TableError::Length);
        assert_eq!(of(&[0, 0xB0, 0, 0, 1, 0xC1, 0]), TableError::Length);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _any = programs(&bytes);
        }
    }
}
