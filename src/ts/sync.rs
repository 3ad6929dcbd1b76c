//! Packet sync (ISO/IEC 13818-1, 2.4.3.3; TR 101 290, 1.1 and 1.2): is this 0x47 the start of a
//! packet?
//!
//! Owns the decision alone. It never moves a byte, and its verdict depends on what the stream
//! holds, never on how the input was cut into pieces. [`super::probe`] drives it.
//!
//! A 0x47 is only one chance in 256, so a packet needs a proof. There are three:
//! 1. **Its counter**: the PID is known, and the counter is exactly the one to come. This is what
//!    nearly all packets of a stream in sync show, so they pass without look-ahead.
//! 2. **Its place**: it is one of three packets in a row, or in a row that leads to one of which 1.
//!    is true (in a hunt, only if its own PID is known). This is how a connection begins, and how
//!    new PIDs and those that lost packets pass.
//! 3. **Its kin**: it is the fifth of five candidates of one PID whose counters follow each other
//!    and that do not overlap. This is the only way into a stream with garbage between *every* two
//!    packets (a CRC would prove a section, but never one packet of video), and costs four packets
//!    of each PID.
//!
//! What remains: while no PID is known, a 0x47 in garbage that stands exactly 188 bytes before the
//! first row looks like its first packet, and is delivered as such.

use super::continuity::Counters;
use super::packet::{HEADER_BYTES, Header, Pid, SYNC_BYTE};
use crate::limits::{
    PACKET_BYTES, SYNC_HELD_BYTES_MAX, SYNC_KIN_PACKETS, SYNC_ROW_PACKETS, SYNC_SUSPECTS_MAX,
};

// The last candidate of a row waits for the byte after its header.
const _: () = assert!((SYNC_ROW_PACKETS - 1) * PACKET_BYTES + HEADER_BYTES <= SYNC_HELD_BYTES_MAX);

/// What the bytes at a candidate are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// A packet, all of it there; so many bytes from its start on are packets for certain, itself
    /// and those of its row.
    Packet(usize),
    /// No packet begins at the first byte.
    Garbage,
    /// More bytes are needed to tell: never more than [`SYNC_HELD_BYTES_MAX`] + 1 in all.
    Undecided,
}

/// Candidates that were rejected of late, by PID: proof 3.
#[derive(Clone)]
pub(super) struct Suspects {
    recent: [Option<Suspect>; SYNC_SUSPECTS_MAX],
    oldest: usize,
}

/// A PID that appeared where a packet might have been.
#[derive(Clone, Copy)]
struct Suspect {
    pid: Pid,
    counter: u8,
    /// Where its last candidate began, in bytes of the connection.
    place: u64,
    /// How many candidates followed each other.
    kin: usize,
}

impl Suspects {
    pub(super) fn new() -> Self {
        Self { recent: [None; SYNC_SUSPECTS_MAX], oldest: 0 }
    }

    /// Whether a candidate with this header at `place` would be one too many to be chance.
    fn prove(&self, header: Header, place: u64) -> bool {
        countable(header)
            && self.recent.iter().flatten().any(|suspect| {
                suspect.pid == header.pid()
                    && suspect.followed_by(header, place)
                    && suspect.kin + 1 >= SYNC_KIN_PACKETS
            })
    }

    /// Remembers a candidate that was rejected; the oldest one is forgotten for a new PID.
    pub(super) fn remember(&mut self, header: Header, place: u64) {
        if !countable(header) {
            return;
        }
        let (pid, counter) = (header.pid(), header.continuity());
        if let Some(suspect) = self.recent.iter_mut().flatten().find(|known| known.pid == pid) {
            let kin = if suspect.followed_by(header, place) { suspect.kin + 1 } else { 1 };
            *suspect = Suspect { pid, counter, place, kin };
        } else {
            self.recent[self.oldest] = Some(Suspect { pid, counter, place, kin: 1 });
            self.oldest = (self.oldest + 1) % SYNC_SUSPECTS_MAX;
        }
    }
}

impl Suspect {
    fn followed_by(self, header: Header, place: u64) -> bool {
        let apart = place.saturating_sub(self.place);
        header.continuity() == (self.counter + 1) & 0x0F && apart >= PACKET_BYTES as u64
    }
}

/// Whether the counter says something: packets without payload keep theirs, and so does repeated
/// garbage.
fn countable(header: Header) -> bool {
    header.has_payload() && header.pid() != Pid::NULL
}

/// Judges the boundary after a packet: everything but a 0x47 is a loss of sync, and one that is not
/// expected must lead to more (proofs 1 and 2). Its own header may be damaged.
pub(super) fn in_sync(bytes: &[u8], counters: &Counters) -> Verdict {
    match front(bytes) {
        Front::Header(header, _) if counters.expects_header(header) => whole(bytes),
        Front::Header(..) => row(bytes, counters, Header::valid, true),
        Front::Cut => Verdict::Undecided,
        Front::Other => Verdict::Garbage,
    }
}

/// Judges a candidate in a hunt for sync, by all three proofs. Its header must be plausible.
/// `place` is where it begins, in bytes of the connection.
pub(super) fn hunting(
    bytes: &[u8],
    place: u64,
    counters: &Counters,
    suspects: &Suspects,
) -> Verdict {
    match front(bytes) {
        Front::Header(header, fifth) if believable(header, fifth) => {
            if counters.expects_header(header) || suspects.prove(header, place) {
                return whole(bytes);
            }
            // 188 bytes before every packet there is a place that looks like the start of a row.
            let known = counters.know(header.pid());
            row(bytes, counters, believable, known)
        }
        Front::Cut => Verdict::Undecided,
        Front::Header(..) | Front::Other => Verdict::Garbage,
    }
}

/// The header at the front of `bytes`, if a hunt may believe it.
pub(super) fn plausible(bytes: &[u8]) -> Option<Header> {
    match front(bytes) {
        Front::Header(header, fifth) if believable(header, fifth) => Some(header),
        _ => None,
    }
}

/// Whether a hunt may believe a header, given the byte after it.
fn believable(header: Header, fifth: u8) -> bool {
    !header.transport_error() && header.valid(fifth)
}

/// What the first bytes of a candidate are.
enum Front {
    /// A header, and the byte after it.
    Header(Header, u8),
    /// They might become a header.
    Cut,
    /// No header.
    Other,
}

fn front(bytes: &[u8]) -> Front {
    match *bytes {
        [a, b, c, d, fifth, ..] => match Header::new([a, b, c, d]) {
            Some(header) => Front::Header(header, fifth),
            None => Front::Other,
        },
        [] | [SYNC_BYTE, ..] => Front::Cut,
        _ => Front::Other,
    }
}

/// The packet at the front of `bytes` is proven; is all of it there?
pub(super) fn whole(bytes: &[u8]) -> Verdict {
    if bytes.len() < PACKET_BYTES { Verdict::Undecided } else { Verdict::Packet(PACKET_BYTES) }
}

/// Proof 2: a row of packets that begins at the front of `bytes`. All that follow must be a
/// `member`; `leads` tells whether leading to a packet which is expected is proof enough.
fn row(bytes: &[u8], counters: &Counters, member: fn(Header, u8) -> bool, leads: bool) -> Verdict {
    for place in 1..SYNC_ROW_PACKETS {
        match front(bytes.get(place * PACKET_BYTES..).unwrap_or(&[])) {
            Front::Header(header, fifth) if member(header, fifth) => {
                if counters.expects_header(header) {
                    let proven = (place + 1) * PACKET_BYTES;
                    return if leads { Verdict::Packet(proven) } else { Verdict::Garbage };
                }
            }
            Front::Cut => return Verdict::Undecided,
            Front::Header(..) | Front::Other => return Verdict::Garbage,
        }
    }
    Verdict::Packet(SYNC_ROW_PACKETS * PACKET_BYTES)
}
