//! The current tables of a stream: PAT and every program's PMT, read and as they came.
//!
//! Owns them, and writes them as packets for who joins. It never guesses: a table is as its last
//! sections with a right CRC have it, and one that is to be current only later
//! (`current_next_indicator`) is not looked at. [`super::content`] drives it.

use std::sync::Arc;

use super::crc::crc32;
use super::packet::{HEADER_BYTES, Pid, SYNC_BYTE};
use super::pat::{self, Head, TableError};
use super::pmt::Pmt;
use super::section::TABLE_PAT;
use crate::limits::{PACKET_BYTES, PAT_SECTIONS_MAX, PROGRAMS_MAX};

/// Where the version is in a section of a PAT or PMT, and how long its CRC is.
const VERSION_AT: usize = 5;
const CRC_BYTES: usize = 4;

/// Bytes of a section.
type Section = Arc<[u8]>;

/// PAT and PMTs that are current together.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tables {
    number: u64,
    pat: Vec<Section>,
    programs: Vec<Program>,
    left_out: usize,
}

/// One program of the PAT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its number.
    pub number: u16,
    /// The PID of its PMT.
    pub pid: Pid,
    /// Its PMT, once it has come.
    pub pmt: Option<Pmt>,
    section: Option<Section>,
}

/// What a section has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing: it is known, not current yet, or of no program of the PAT.
    Nothing,
    /// The table was not known before.
    First,
    /// The table is another one now.
    Replaced,
}

impl Program {
    /// The section that its PMT is.
    pub(super) fn section(&self) -> Option<&[u8]> {
        self.section.as_deref()
    }
}

impl Tables {
    /// Grows by one with every change of the connection's tables. 0: there are none yet.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The programs, [`PROGRAMS_MAX`] at most, in the PAT's order.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// What the sections of the PAT have in common.
    pub(super) fn pat_head(&self) -> Option<Head> {
        pat::programs(self.pat.first()?).ok().map(|(head, _)| head)
    }

    /// So many programs of the PAT are not followed, for there are too many.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether PAT and all PMTs have come.
    pub fn is_complete(&self) -> bool {
        !self.pat.is_empty() && self.programs.iter().all(|program| program.section.is_some())
    }

    /// Whether one of them has the version of another one in `other`, which it is to replace.
    pub(super) fn may_be_taken_for(&self, other: &Tables) -> bool {
        let clash = |one: &Section, other: &Section| one != other && version(one) == version(other);
        let of_pat = self.pat.iter().zip(&other.pat).any(|(one, other)| clash(one, other));
        of_pat
            || self.programs.iter().any(|program| {
                let same = |other: &&Program| other.number == program.number;
                let before = other.programs.iter().find(same).and_then(|one| one.section.as_ref());
                let both = program.section.as_ref().zip(before);
                both.is_some_and(|(one, other)| clash(one, other))
            })
    }

    /// The same under the version before theirs.
    pub(super) fn before_their_version(&self) -> Tables {
        let mut tables = self.clone();
        let pmts = tables.programs.iter_mut().filter_map(|program| program.section.as_mut());
        for section in tables.pat.iter_mut().chain(pmts) {
            *section = renumbered(section, version(section).wrapping_sub(1) & 0x1F);
        }
        tables
    }

    /// The PIDs that [`Tables::write`] writes packets of: each once.
    pub fn pids(&self) -> Vec<Pid> {
        let mut pids: Vec<Pid> = (!self.pat.is_empty()).then_some(Pid::PAT).into_iter().collect();
        for program in self.programs.iter().filter(|program| program.section.is_some()) {
            if !pids.contains(&program.pid) {
                pids.push(program.pid);
            }
        }
        pids
    }

    /// Adds packets of all that has come of PAT and PMTs to `out`. `next` is asked for the
    /// continuity counter of the packet of a PID that follows them: theirs end just before it.
    ///
    /// Each section begins in a packet of its own, with stuffing up to the end of its last one.
    pub fn write(&self, mut next: impl FnMut(Pid) -> u8, out: &mut Vec<u8>) {
        for pid in self.pids() {
            let first = out.len();
            let of_pid = |program: &&Program| program.pid == pid;
            let pmts = self.programs.iter().filter(of_pid).flat_map(|program| &program.section);
            let pat = if pid == Pid::PAT { &self.pat[..] } else { &[] };
            for section in pat.iter().chain(pmts) {
                packetize(pid, section, out);
            }
            let (packets, _) = out[first..].as_chunks_mut::<PACKET_BYTES>();
            let mut counter = next(pid);
            for packet in packets.iter_mut().rev() {
                counter = counter.wrapping_sub(1) & 0x0F;
                packet[3] |= counter;
            }
        }
    }
}

/// The version of a section (ISO/IEC 13818-1, 2.4.4.4 and 2.4.4.9).
fn version(section: &Section) -> u8 {
    section[VERSION_AT] >> 1 & 0x1F
}

/// The same section under another version.
fn renumbered(section: &Section, version: u8) -> Section {
    let mut bytes = section.to_vec();
    bytes[VERSION_AT] = bytes[VERSION_AT] & !0x3E | version << 1;
    let end = bytes.len() - CRC_BYTES;
    let crc = crc32(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Adds the packets of one section, with counters of 0.
pub(super) fn packetize(pid: Pid, section: &[u8], out: &mut Vec<u8>) {
    let [high, low] = pid.value().to_be_bytes();
    let pointer = [0];
    let (mut start, mut rest) = (&pointer[..], section);
    while !rest.is_empty() {
        let unit_start = if start.is_empty() { 0 } else { 0x40 };
        out.extend_from_slice(&[SYNC_BYTE, high | unit_start, low, 0x10]);
        out.extend_from_slice(start);
        let room = PACKET_BYTES - HEADER_BYTES - start.len();
        let (now, later) = rest.split_at(room.min(rest.len()));
        out.extend_from_slice(now);
        out.resize(out.len() + room - now.len(), 0xFF);
        (start, rest) = (&[], later);
    }
}

/// Follows a connection's tables.
#[derive(Clone, Default, Debug)]
pub struct Programs {
    tables: Arc<Tables>,
    /// The sections of a PAT that is not complete yet.
    coming: Option<Coming>,
}

#[derive(Clone, Debug)]
struct Coming {
    version: u8,
    sections: Vec<Option<Section>>,
}

impl Programs {
    /// The current tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Takes a section with a right CRC, as it came on `pid`; those of other tables are none.
    pub fn take(&mut self, pid: Pid, section: &[u8]) -> Result<Change, TableError> {
        let change = match section.first() {
            Some(&TABLE_PAT) if pid == Pid::PAT => self.pat(section),
            Some(_) if pid != Pid::PAT => self.pmt(pid, section),
            _ => Err(TableError::Other),
        }?;
        if change != Change::Nothing {
            Arc::make_mut(&mut self.tables).number += 1;
        }
        Ok(change)
    }

    fn pat(&mut self, section: &[u8]) -> Result<Change, TableError> {
        let (head, _) = pat::programs(section)?;
        let (number, last) = (usize::from(head.number), usize::from(head.last));
        if last >= PAT_SECTIONS_MAX {
            return Err(TableError::TooMany);
        }
        let known = self.tables.pat.get(number).is_some_and(|known| **known == *section);
        let known = known && self.tables.pat.len() == last + 1;
        if !head.current || known && self.coming.is_none() {
            return Ok(Change::Nothing);
        }
        let fits = |c: &Coming| c.version == head.version && c.sections.len() == last + 1;
        let mut coming = self
            .coming
            .take()
            .filter(fits)
            .unwrap_or_else(|| Coming { version: head.version, sections: vec![None; last + 1] });
        coming.sections[number] = Some(section.into());
        let whole: Option<Vec<Section>> = coming.sections.iter().cloned().collect();
        let Some(whole) = whole else {
            self.coming = Some(coming);
            return Ok(Change::Nothing);
        };
        if whole == self.tables.pat {
            return Ok(Change::Nothing);
        }
        self.replace(whole)
    }

    /// The PAT is another one: PMTs of programs that are still where they were stay.
    fn replace(&mut self, pat: Vec<Section>) -> Result<Change, TableError> {
        let mut listed = Vec::new();
        for section in &pat {
            listed.extend(pat::programs(section)?.1);
        }
        let tables = Arc::make_mut(&mut self.tables);
        let (mut programs, mut left_out): (Vec<Program>, usize) = (Vec::new(), 0);
        for (number, pid) in listed {
            if programs.iter().any(|known| known.number == number) {
                continue;
            }
            if programs.len() == PROGRAMS_MAX {
                left_out += 1;
                continue;
            }
            let old = tables.programs.iter().find(|old| (old.number, old.pid) == (number, pid));
            let new = || Program { number, pid, pmt: None, section: None };
            programs.push(old.cloned().unwrap_or_else(new));
        }
        let change = if tables.pat.is_empty() { Change::First } else { Change::Replaced };
        (tables.pat, tables.programs, tables.left_out) = (pat, programs, left_out);
        Ok(change)
    }

    fn pmt(&mut self, pid: Pid, section: &[u8]) -> Result<Change, TableError> {
        let known = |program: &Program| program.section.as_deref() == Some(section);
        if self.tables.programs.iter().any(|program| program.pid == pid && known(program)) {
            return Ok(Change::Nothing);
        }
        let pmt = Pmt::parse(section)?;
        let is_it = |program: &Program| (program.number, program.pid) == (pmt.head.id, pid);
        let Some(place) = self.tables.programs.iter().position(is_it) else {
            return Ok(Change::Nothing);
        };
        if !pmt.head.current {
            return Ok(Change::Nothing);
        }
        let program = &mut Arc::make_mut(&mut self.tables).programs[place];
        let before = program.section.replace(section.into());
        program.pmt = Some(pmt);
        Ok(if before.is_none() { Change::First } else { Change::Replaced })
    }
}

#[cfg(test)]
mod tests;
