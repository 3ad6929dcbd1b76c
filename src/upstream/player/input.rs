//! Where the player's packets come from.
//!
//! Owns the recording, its sync and its passes. It never waits for time to pass. The player drives
//! it.

use std::io::{Cursor, ErrorKind, Read, Seek};
use std::time::Instant;

use super::measure::Measure;
use super::{PlayError, Source, built_in};
use crate::limits::{
    LOOP_BYTES_MAX, PACKET_BYTES, PLAYER_BARREN_BYTES_MAX, PLAYER_READ_BYTES, SYNC_HELD_BYTES_MAX,
};
use crate::ts::programs::Tables;
use crate::ts::remap::Remap;
use crate::ts::restamp::Restamp;
use crate::ts::{Aligned, Content, Probe};

/// What is read from the front, once or over and over.
trait Recording: Read + Seek {}
impl<T: Read + Seek> Recording for T {}

/// A source of packets that is being read.
pub(super) enum Input {
    Once(Box<Pass>),
    Loop(Box<Loop>),
}

impl Input {
    /// Reads a recording that will be looped once, to know how long it is.
    pub(super) fn new(source: Source) -> Result<Self, PlayError> {
        Ok(match source {
            Source::File(file) => Self::Once(Box::new(Pass::new(file, Probe::new()))),
            Source::Sample => Self::Loop(Box::new(Loop::new(Cursor::new(built_in::SAMPLE), None)?)),
            Source::Slate { file, like } => Self::Loop(Box::new(match file {
                Some(file) => Loop::new(file, Some(&like))?,
                None => Loop::new(Cursor::new(built_in::SLATE), Some(&like))?,
            })),
        })
    }

    /// Appends the next whole packets to `packets`, or none if what was read held none. Says
    /// whether there may be more.
    pub(super) fn fill(&mut self, packets: &mut Vec<u8>) -> Result<bool, PlayError> {
        match self {
            Self::Once(pass) => pass.fill(packets),
            Self::Loop(all) => all.fill(packets).map(|()| true),
        }
    }
}

/// One reading of a recording, and its sync.
pub(super) struct Pass {
    recording: Box<dyn Recording>,
    probe: Probe,
    /// What the probe holds back, then room for the next bytes.
    block: Vec<u8>,
    held: usize,
    /// Bytes since the last packet.
    barren: usize,
    /// There was a packet.
    fertile: bool,
}

impl Pass {
    fn new(recording: impl Recording + 'static, probe: Probe) -> Self {
        let block = vec![0; SYNC_HELD_BYTES_MAX + PLAYER_READ_BYTES];
        let recording = Box::new(recording);
        Self { recording, probe, block, held: 0, barren: 0, fertile: false }
    }

    /// Begins at the front again.
    fn rewind(&mut self) -> Result<(), PlayError> {
        self.recording.rewind().map_err(PlayError::Read)?;
        (self.probe, self.held, self.barren, self.fertile) = (Probe::new(), 0, 0, false);
        Ok(())
    }

    fn fill(&mut self, packets: &mut Vec<u8>) -> Result<bool, PlayError> {
        let read = loop {
            match self.recording.read(&mut self.block[self.held..]) {
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

/// A recording that is read over and over, as one continuous stream.
pub(super) struct Loop {
    pass: Pass,
    /// Ticks of 90 kHz from one pass to the next.
    length: u64,
    restamp: Restamp,
    remap: Option<Remap>,
}

impl Loop {
    /// Reads it once; where it has a program, that gets the numbers of the one in `like`.
    fn new(recording: impl Recording + 'static, like: Option<&Tables>) -> Result<Self, PlayError> {
        let mut pass = Pass::new(recording, Probe::with_content(Instant::now()));
        let (mut measure, mut packets, mut bytes) = (Measure::default(), Vec::new(), 0);
        loop {
            let more = pass.fill(&mut packets)?;
            bytes += packets.len();
            if bytes > LOOP_BYTES_MAX {
                return Err(PlayError::TooLong);
            }
            measure.add(packets.as_chunks::<PACKET_BYTES>().0);
            packets.clear();
            if !more {
                break;
            }
        }
        let length = measure.length().ok_or(PlayError::Timeless)?;
        let own = pass.probe.content().map(Content::tables);
        let remap = own.zip(like).and_then(|(own, like)| Remap::new(own, like));
        pass.rewind()?;
        Ok(Loop { pass, length, restamp: Restamp::new(), remap })
    }

    fn fill(&mut self, packets: &mut Vec<u8>) -> Result<(), PlayError> {
        let known = packets.len();
        let more = self.pass.fill(packets)?;
        for packet in packets[known..].as_chunks_mut().0 {
            if let Some(remap) = &mut self.remap {
                remap.apply(packet);
            }
            self.restamp.apply(packet);
        }
        if !more {
            self.pass.rewind()?;
            self.restamp.next_pass(self.length);
        }
        Ok(())
    }
}
