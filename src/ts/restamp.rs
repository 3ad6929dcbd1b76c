//! Makes a looped file one continuous stream: shifts its clocks and renumbers its packets, in
//! place.
//!
//! Owns the offset of the pass that is under way and the counters of the one before. It never
//! changes the length or order of packets. What it leaves alone: OPCR, as nobody may change it
//! (ISO/IEC 13818-1, 2.4.3.5); a PES header that goes on in the next packet, which muxers do not
//! make; scrambled PES packets; splice fields. The player drives it for the demo sample.

use super::packet::{HEADER_BYTES, Packet, Pid};
use super::pcr::{Pcr, TICKS_PER_BASE, Ticks};
use super::pes::{PesHeader, STAMP_BYTES, Timestamp};
use crate::limits::PACKET_BYTES;

/// The last counter of a PID as it was sent, and what is added to the file's counters in this pass.
#[derive(Clone, Copy)]
struct Counter {
    sent: u8,
    shift: Option<u8>,
}

/// Restamps the packets of a file that is sent over and over.
#[derive(Clone)]
pub struct Restamp {
    offset: u64,
    /// One for each PID.
    counters: Vec<Option<Counter>>,
}

impl Default for Restamp {
    fn default() -> Self {
        Self::new()
    }
}

impl Restamp {
    /// Leaves the first pass as it is in the file.
    pub fn new() -> Self {
        Self { offset: 0, counters: vec![None; Pid::COUNT] }
    }

    /// The next pass over the file begins, `length` ticks of 90 kHz after the one before. Each
    /// PID's counter goes on where that left it.
    pub fn next_pass(&mut self, length: u64) {
        self.offset = Timestamp::new(self.offset.wrapping_add(length)).ticks();
        for counter in self.counters.iter_mut().flatten() {
            counter.shift = None;
        }
    }

    /// Restamps one packet. Bytes that are no packet stay as they are.
    pub fn apply(&mut self, bytes: &mut [u8; PACKET_BYTES]) {
        self.renumber(bytes);
        self.shift_pcr(bytes);
        self.shift_stamps(bytes);
    }

    fn renumber(&mut self, bytes: &mut [u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        if packet.pid() == Pid::NULL {
            return;
        }
        let counter = packet.continuity();
        let slot = &mut self.counters[packet.pid().index()];
        let shift = match *slot {
            None => 0,
            Some(Counter { shift: Some(shift), .. }) => shift,
            Some(Counter { sent, shift: None }) => {
                let next = sent + u8::from(packet.has_payload());
                next.wrapping_sub(counter) & 0x0F
            }
        };
        let sent = (counter + shift) & 0x0F;
        *slot = Some(Counter { sent, shift: Some(shift) });
        bytes[3] = bytes[3] & 0xF0 | sent;
    }

    fn shift_pcr(&self, bytes: &mut [u8; PACKET_BYTES]) {
        let pcr = Packet::new(bytes).and_then(|packet| packet.adaptation()?.pcr());
        let place = HEADER_BYTES + 2;
        if let Some(pcr) = pcr
            && let Some(bytes) = bytes.get_mut(place..).and_then(|bytes| bytes.first_chunk_mut())
        {
            let reserved = bytes[4] & 0x7E;
            *bytes = self.shifted(pcr).to_bytes();
            bytes[4] = bytes[4] & !0x7E | reserved;
        }
    }

    fn shifted(&self, pcr: Pcr) -> Pcr {
        pcr.after(Ticks::new(self.offset * TICKS_PER_BASE))
    }

    fn shift_stamps(&self, bytes: &mut [u8; PACKET_BYTES]) {
        let Some(packet) = Packet::new(bytes) else { return };
        let Some(header) = PesHeader::of(&packet) else { return };
        let payload = packet.payload_start();
        for place in header.places() {
            let stamp = bytes.get_mut(payload + place..);
            let Some(stamp) = stamp.and_then(<[u8]>::first_chunk_mut::<STAMP_BYTES>) else {
                return;
            };
            Timestamp::new(Timestamp::from_bytes(*stamp).ticks() + self.offset).write(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(control: u8, counter: u8) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xFF; PACKET_BYTES];
        bytes[..5].copy_from_slice(&[0x47, 1, 0, control << 4 | counter, 0]);
        bytes
    }

    #[test]
    fn counters_go_on_from_pass_to_pass() {
        let mut restamp = Restamp::new();
        let mut counters = Vec::new();
        for _ in 0..3 {
            // begins without payload, one packet repeats, one is missing
            for (control, counter) in [(2, 4), (1, 5), (1, 5), (1, 6), (1, 8)] {
                let mut bytes = packet(control, counter);
                restamp.apply(&mut bytes);
                counters.push(bytes[3] & 0x0F);
            }
            restamp.next_pass(90_000);
        }
        assert_eq!(counters, [4, 5, 5, 6, 8, 8, 9, 9, 10, 12, 12, 13, 13, 14, 0]);
    }

    #[test]
    fn clocks_shift_together_and_wrap() {
        let mut restamp = Restamp::new();
        restamp.next_pass(90_000);
        let mut bytes = packet(3, 0);
        bytes[1] |= 0x40;
        bytes[4..6].copy_from_slice(&[13, 0x18]); // PCR and OPCR
        bytes[6..12].copy_from_slice(&Pcr::new(((1 << 33) - 90_000) * 300 + 7).to_bytes());
        bytes[12..18].copy_from_slice(&Pcr::new(1234).to_bytes());
        bytes[18..27].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10]);
        bytes[27..37].copy_from_slice(&[0x31, 0, 1, 0, 1, 0x11, 0, 1, 0, 1]);
        Timestamp::new((1 << 33) - 1).write(bytes[27..].first_chunk_mut().unwrap());
        Timestamp::new(3).write(bytes[32..].first_chunk_mut().unwrap());
        let before = bytes;
        restamp.apply(&mut bytes);
        let packet = Packet::new(&bytes).unwrap();
        assert_eq!(packet.adaptation().unwrap().pcr(), Some(Pcr::new(7)));
        let header = PesHeader::of(&packet).unwrap();
        assert_eq!(header.pts(), Some(Timestamp::new(89_999)));
        assert_eq!(header.dts(), Some(Timestamp::new(90_003)));
        assert_eq!(bytes[12..27], before[12..27], "OPCR and PES header");
        assert_eq!(bytes[37..], before[37..]);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_payloads_stay(
            start in prop::array::uniform32(any::<u8>()),
            fill: u8,
            length: u64,
        ) {
            let mut bytes = [fill; PACKET_BYTES];
            bytes[..32].copy_from_slice(&start);
            bytes[0] = 0x47;
            let before = bytes;
            let mut restamp = Restamp::new();
            restamp.apply(&mut bytes);
            prop_assert_eq!(bytes[..4].to_vec(), before[..4].to_vec(), "the first pass");
            restamp.next_pass(length);
            restamp.apply(&mut bytes);
            prop_assert_eq!(bytes[..3].to_vec(), before[..3].to_vec());
            let start = Packet::new(&before).unwrap().payload_start().min(PACKET_BYTES);
            let stamped = (start + 19).min(PACKET_BYTES);
            prop_assert_eq!(bytes[stamped..].to_vec(), before[stamped..].to_vec());
        }
    }

    #[test]
    fn what_is_no_packet_stays() {
        let mut restamp = Restamp::new();
        restamp.next_pass(1);
        let mut bytes = [0x46; PACKET_BYTES];
        restamp.apply(&mut bytes);
        assert_eq!(bytes, [0x46; PACKET_BYTES]);
    }
}
