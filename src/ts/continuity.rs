//! Continuity counters (ISO/IEC 13818-1, 2.4.3.3): has a packet of a PID gone missing?
//!
//! Owns the last counter of every PID of one connection. It never looks at a payload: a repeated
//! packet is known by its counter alone, and the loss of exactly sixteen packets of a PID is not
//! seen. The probe drives it.

use super::packet::{Header, Packet, Pid};

/// What a packet's counter says about the packets before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// The next packet of its PID, the first of it, or one that does not count.
    Fits,
    /// The packet before it once more, as 2.4.3.3 allows once.
    Repeated,
    /// Packets were lost, exchanged, or repeated more than once (TR 101 290, 1.4).
    Broken,
}

/// No packet of the PID was seen.
const UNKNOWN: u8 = 0xFF;

/// The last packet was a repetition; the low four bits are its counter.
const REPEATED: u8 = 0x10;

/// The last counter of every PID.
#[derive(Clone)]
pub struct Counters {
    /// [`UNKNOWN`], or the last counter with or without [`REPEATED`].
    last: Box<[u8; Pid::COUNT]>,
    /// PIDs that there were packets of.
    known: usize,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// The table of a connection on which nothing was received yet: 8 KiB.
    pub fn new() -> Self {
        Self { last: Box::new([UNKNOWN; Pid::COUNT]), known: 0 }
    }

    /// Checks the next packet and remembers its counter.
    ///
    /// `discontinuity_indicator` starts the counter anew. A packet without a payload must repeat
    /// the counter. A packet with a transport error is believed only when it fits, and is never a
    /// break itself.
    pub fn check(&mut self, packet: &Packet<'_>) -> Continuity {
        let header = packet.header();
        if self.advance(header) {
            return Continuity::Fits;
        }
        let counter = header.continuity();
        let last = &mut self.last[header.pid().index()];
        if header.transport_error() {
            return Continuity::Fits;
        }
        let before = std::mem::replace(last, counter);
        self.known += usize::from(before == UNKNOWN);
        if header.pid() == Pid::NULL {
            return Continuity::Fits;
        }
        if before == UNKNOWN || packet.adaptation().is_some_and(|field| field.discontinuity()) {
            return Continuity::Fits;
        }
        if !header.has_payload() || before & 0x0F != counter {
            return Continuity::Broken;
        }
        *last |= REPEATED;
        if before & REPEATED == 0 { Continuity::Repeated } else { Continuity::Broken }
    }

    /// Whether `packet` is exactly the one to come: its PID is known and its counter the next (the
    /// same, when it has no payload). Null packets have no counter: one looks as expected when it
    /// is a plain one (no unit start, no scrambling, payload only) and there were some before.
    pub fn expects(&self, packet: &Packet<'_>) -> bool {
        self.expects_header(packet.header())
    }

    /// The counter that the next packet of the PID with a payload is to have; any is as good if
    /// there was none.
    pub fn next_of(&self, pid: Pid) -> u8 {
        match self.last[pid.index()] {
            UNKNOWN => 0,
            last => last.wrapping_add(1) & 0x0F,
        }
    }

    /// The PIDs that there were packets of, lowest first, without the null packets'.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        let seen = self.last.iter().zip(0..).filter(|(last, _)| **last != UNKNOWN);
        seen.map(|(_, pid)| Pid::new(pid)).filter(|pid| *pid != Pid::NULL)
    }

    /// How many PIDs there were packets of.
    pub fn known(&self) -> usize {
        self.known
    }

    /// Whether there were packets of this PID.
    pub(super) fn know(&self, pid: Pid) -> bool {
        self.last[pid.index()] != UNKNOWN
    }

    /// As [`Counters::expects`], by the header alone.
    pub(super) fn expects_header(&self, header: Header) -> bool {
        let last = self.last[header.pid().index()];
        if header.pid() == Pid::NULL {
            return last != UNKNOWN && plain(header);
        }
        last != UNKNOWN && header.continuity() == next(last, header)
    }

    /// Remembers the packet if it [is expected](Counters::expects), and says whether it was.
    pub(super) fn advance(&mut self, header: Header) -> bool {
        let expected = self.expects_header(header);
        if expected && header.has_payload() {
            self.last[header.pid().index()] = header.continuity();
        }
        expected
    }

    /// Remembers a [row](Header::row) of packets after one that was expected.
    pub(super) fn advance_by(&mut self, header: Header, row: usize) {
        if row > 0 {
            let [ahead, ..] = row.to_le_bytes();
            self.last[header.pid().index()] = header.continuity().wrapping_add(ahead) & 0x0F;
        }
    }
}

/// The counter that follows `last` in a packet with this header.
fn next(last: u8, header: Header) -> u8 {
    last.wrapping_add(u8::from(header.has_payload())) & 0x0F
}

/// A null packet as muxers make them.
fn plain(header: Header) -> bool {
    !header.unit_start()
        && !header.scrambled()
        && !header.transport_error()
        && header.has_payload()
        && !header.has_adaptation()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_BYTES;

    /// A packet of `pid` with the given control bits (1 payload, 2 adaptation, 3 both) and counter.
    fn bytes(pid: u16, control: u8, counter: u8) -> [u8; PACKET_BYTES] {
        let mut bytes = [0; PACKET_BYTES];
        let [high, low] = pid.to_be_bytes();
        bytes[..5].copy_from_slice(&[0x47, high, low, control << 4 | counter, 0]);
        if control & 2 != 0 {
            bytes[4] = if control == 2 { 183 } else { 1 };
        }
        bytes
    }

    fn check(counters: &mut Counters, bytes: &[u8; PACKET_BYTES]) -> Continuity {
        counters.check(&Packet::new(bytes).unwrap())
    }

    #[test]
    fn counters_run_from_any_start_and_wrap() {
        let mut counters = Counters::new();
        for counter in [14, 15, 0, 1] {
            assert_eq!(check(&mut counters, &bytes(256, 1, counter)), Continuity::Fits);
        }
        assert_eq!(check(&mut counters, &bytes(256, 1, 3)), Continuity::Broken);
        assert_eq!(check(&mut counters, &bytes(256, 1, 4)), Continuity::Fits);
        assert_eq!(check(&mut counters, &bytes(257, 1, 9)), Continuity::Fits, "another PID");
    }

    #[test]
    fn a_packet_may_repeat_once() {
        let mut counters = Counters::new();
        let again = [Continuity::Repeated, Continuity::Broken, Continuity::Broken];
        assert_eq!(check(&mut counters, &bytes(256, 1, 5)), Continuity::Fits);
        for continuity in again {
            assert_eq!(check(&mut counters, &bytes(256, 1, 5)), continuity);
        }
        assert_eq!(check(&mut counters, &bytes(256, 1, 6)), Continuity::Fits);
        assert_eq!(check(&mut counters, &bytes(256, 1, 6)), Continuity::Repeated);
        assert_eq!(check(&mut counters, &bytes(256, 1, 7)), Continuity::Fits, "after a repetition");
    }

    #[test]
    fn packets_without_payload_do_not_count() {
        let mut counters = Counters::new();
        for (control, counter) in [(1, 5), (2, 5), (2, 5), (3, 6), (2, 6)] {
            assert_eq!(check(&mut counters, &bytes(256, control, counter)), Continuity::Fits);
        }
        assert_eq!(check(&mut counters, &bytes(256, 2, 7)), Continuity::Broken, "7 was lost");
        assert_eq!(check(&mut counters, &bytes(256, 1, 8)), Continuity::Fits);
    }

    #[test]
    fn a_discontinuity_indicator_starts_anew() {
        let mut counters = Counters::new();
        check(&mut counters, &bytes(256, 1, 5));
        let mut anew = bytes(256, 3, 12);
        anew[5] = 0x80;
        assert_eq!(check(&mut counters, &anew), Continuity::Fits);
        assert_eq!(check(&mut counters, &bytes(256, 1, 13)), Continuity::Fits);
    }

    #[test]
    fn null_packets_and_damaged_ones_never_break() {
        let mut counters = Counters::new();
        for counter in [3, 3, 3, 9] {
            assert_eq!(check(&mut counters, &bytes(0x1FFF, 1, counter)), Continuity::Fits);
        }
        check(&mut counters, &bytes(256, 1, 5));
        let mut damaged = bytes(256, 1, 11);
        damaged[1] |= 0x80;
        assert_eq!(check(&mut counters, &damaged), Continuity::Fits);
        assert_eq!(check(&mut counters, &bytes(256, 1, 6)), Continuity::Fits, "not believed");
        damaged[3] = 0x17;
        assert_eq!(check(&mut counters, &damaged), Continuity::Fits);
        assert_eq!(check(&mut counters, &bytes(256, 1, 8)), Continuity::Fits, "believed");
    }

    #[test]
    fn only_the_exact_next_packet_is_expected() {
        let mut counters = Counters::new();
        let expects = |counters: &Counters, bytes: [u8; PACKET_BYTES]| {
            counters.expects(&Packet::new(&bytes).unwrap())
        };
        assert!(!expects(&counters, bytes(256, 1, 0)), "unknown PID");
        assert!(!expects(&counters, bytes(0x1FFF, 1, 0)), "no null packet yet");
        check(&mut counters, &bytes(256, 1, 15));
        check(&mut counters, &bytes(0x1FFF, 1, 0));
        assert!(expects(&counters, bytes(256, 1, 0)));
        assert!(expects(&counters, bytes(256, 3, 0)));
        assert!(expects(&counters, bytes(256, 2, 15)));
        assert!(expects(&counters, bytes(0x1FFF, 1, 7)));
        assert!(!expects(&counters, bytes(0x1FFF, 3, 7)));
        assert!(!expects(&counters, bytes(256, 1, 15)), "a repetition");
        assert!(!expects(&counters, bytes(256, 2, 0)));
        assert!(!expects(&counters, bytes(256, 1, 1)));
    }
}
