//! Where the player's packets come from.
//!
//! Owns the file and its sync, or the place in the sample. It never waits for time to pass. The
//! player drives it.

use std::fs::File;
use std::io::{ErrorKind, Read};

use super::{PlayError, Source, sample};
use crate::limits::{
    PACKET_BYTES, PLAYER_BARREN_BYTES_MAX, PLAYER_READ_BYTES, SYNC_HELD_BYTES_MAX,
};
use crate::ts::{Aligned, Probe, restamp::Restamp};

/// A source of packets that is being read.
pub(super) enum Input {
    File(Box<FileInput>),
    Sample(SampleInput),
}

impl Input {
    pub(super) fn new(source: Source) -> Self {
        match source {
            Source::File(file) => Self::File(Box::new(FileInput::new(file))),
            Source::Sample => Self::Sample(SampleInput { place: 0, restamp: Restamp::new() }),
        }
    }

    /// Appends the next whole packets to `packets`, or none if what was read held none. Says
    /// whether there may be more.
    pub(super) fn fill(&mut self, packets: &mut Vec<u8>) -> Result<bool, PlayError> {
        match self {
            Self::File(input) => input.fill(packets),
            Self::Sample(input) => {
                input.fill(packets);
                Ok(true)
            }
        }
    }
}

/// A file and its sync.
pub(super) struct FileInput {
    file: File,
    probe: Probe,
    /// What the probe holds back, then room for the next bytes.
    block: Vec<u8>,
    held: usize,
    /// Bytes since the last packet.
    barren: usize,
    /// There was a packet.
    fertile: bool,
}

impl FileInput {
    fn new(file: File) -> Self {
        let block = vec![0; SYNC_HELD_BYTES_MAX + PLAYER_READ_BYTES];
        Self { file, probe: Probe::new(), block, held: 0, barren: 0, fertile: false }
    }

    fn fill(&mut self, packets: &mut Vec<u8>) -> Result<bool, PlayError> {
        let read = loop {
            match self.file.read(&mut self.block[self.held..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(PlayError::Read)?,
            }
        };
        let bytes = &mut self.block[..self.held + read];
        let ended = read == 0;
        let Aligned { whole, held, .. } =
            if ended { self.probe.finish(bytes) } else { self.probe.align(bytes) };
        packets.extend_from_slice(&bytes[..whole]);
        bytes.copy_within(whole..whole + held, 0);
        self.held = held;
        self.barren = if whole == 0 { self.barren + read } else { 0 };
        self.fertile |= whole > 0;
        if self.barren > PLAYER_BARREN_BYTES_MAX || ended && !self.fertile {
            return Err(PlayError::Barren { bytes: self.barren });
        }
        Ok(!ended)
    }
}

/// A place in the endless sample.
pub(super) struct SampleInput {
    place: usize,
    restamp: Restamp,
}

impl SampleInput {
    fn fill(&mut self, packets: &mut Vec<u8>) {
        if self.place == sample::PACKETS.len() {
            self.place = 0;
            self.restamp.next_pass(sample::LENGTH);
        }
        let rest = &sample::PACKETS[self.place..];
        let bytes = rest.len().min(PLAYER_READ_BYTES / PACKET_BYTES * PACKET_BYTES);
        let known = packets.len();
        packets.extend_from_slice(&rest[..bytes]);
        for packet in packets[known..].as_chunks_mut().0 {
            self.restamp.apply(packet);
        }
        self.place += bytes;
    }
}
