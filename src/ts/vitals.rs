//! Counts that tell whether a stream is alive.
//!
//! Owns them. They count what [`super::content`] looks into anyway, so that other packets cost
//! nothing more: sections of tables, and the packets in which a picture or a frame of sound begins,
//! scrambled or not. Packets alone would not do: an encoder without a picture may go on with its
//! clock, in packets of the video's PID that hold nothing else.

use super::packet::{Packet, Pid};
use super::pmt::Kind;

/// Since the beginning of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Vitals {
    /// Sections of the PAT.
    pub pats: u64,
    /// Sections of PMTs.
    pub pmts: u64,
    /// Units of video that began.
    pub video: u64,
    /// Units of video and audio that began in the clear.
    pub clear: u64,
    /// The same of scrambled ones.
    pub scrambled: u64,
}

impl Vitals {
    /// A section of the PAT, or of a PMT, has come whole.
    pub(super) fn section(&mut self, pid: Pid) {
        *(if pid == Pid::PAT { &mut self.pats } else { &mut self.pmts }) += 1;
    }

    /// A packet of an elementary stream is looked into.
    pub(super) fn unit(&mut self, packet: &Packet<'_>, kind: Kind) {
        if !packet.unit_start() || !matches!(kind, Kind::Video | Kind::Audio) {
            return;
        }
        self.video += u64::from(kind == Kind::Video);
        *(if packet.scrambled() { &mut self.scrambled } else { &mut self.clear }) += 1;
    }
}
