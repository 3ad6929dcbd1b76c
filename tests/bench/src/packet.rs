//! Numbered, stamped packets, and who checks them.

use std::time::Instant;

use crate::delays::Delays;
use crate::picture::Sight;

pub(crate) const PACKET_BYTES: usize = 188;
pub(crate) const SYNC: u8 = 0x47;
/// The PID of the numbered packets.
pub(crate) const VIDEO: u16 = 0x100;
/// The first bytes of one packet in sixteen, and hardly ever others.
const START: [u8; 4] = [SYNC, VIDEO.to_be_bytes()[0], VIDEO.to_be_bytes()[1], 0x10];
/// Of so many packets of a viewer, one's delay is looked at.
const SAMPLE: u32 = 50;

/// The clock that source and viewers share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since it was started.
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Appends the packet with this number, made at `stamp`.
pub(crate) fn append(packets: &mut Vec<u8>, number: u32, stamp: u64) {
    append_unit(packets, number, stamp, false, false);
}

/// The same; a unit may start in it, and decoding at that.
pub(crate) fn append_unit(
    packets: &mut Vec<u8>,
    number: u32,
    stamp: u64,
    starts: bool,
    is_key: bool,
) {
    let end = packets.len() + PACKET_BYTES;
    let counter = number.to_le_bytes()[0] % 16;
    let [high, low] = VIDEO.to_be_bytes();
    packets.extend([SYNC, if starts { 0x40 | high } else { high }, low]);
    if is_key {
        // An adaptation field with random_access_indicator alone.
        packets.extend([0x30 | counter, 1, 0x40]);
    } else {
        packets.push(0x10 | counter);
    }
    packets.extend(number.to_be_bytes());
    packets.extend(stamp.to_be_bytes());
    packets.resize(end, 0xff);
}

/// What a viewer has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    pub(crate) torn: u64,
    pub(crate) repeated: u64,
}

/// Checks the packets of one viewer, in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    part: Vec<u8>,
    /// Bytes of the packet at hand that went by unseen; `part` is empty then.
    unseen: usize,
    /// The first byte may be any of a packet, and is not its first one.
    is_cut: bool,
    next: Option<u32>,
    sight: Sight,
    pub(crate) seen: Seen,
}

impl Checker {
    /// Of one who is let in amid a packet.
    pub(crate) fn amid_a_packet() -> Checker {
        Checker { is_cut: true, ..Checker::default() }
    }

    /// Takes what came until `now`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], now: u64, mut delays: Option<&mut Delays>) {
        if self.is_cut {
            let Some(begin) = bytes.windows(START.len()).position(|four| four == START) else {
                return;
            };
            self.is_cut = false;
            bytes = &bytes[begin..];
        }
        if self.unseen > 0 {
            let n = bytes.len().min(PACKET_BYTES - self.unseen);
            self.skip(n);
            bytes = &bytes[n..];
        }
        if !self.part.is_empty() {
            let n = bytes.len().min(PACKET_BYTES - self.part.len());
            self.part.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.part.len() < PACKET_BYTES {
                return;
            }
            let whole = std::mem::take(&mut self.part);
            self.check(&whole, now, delays.as_deref_mut());
        }
        let mut packets = bytes.chunks_exact(PACKET_BYTES);
        for packet in &mut packets {
            self.check(packet, now, delays.as_deref_mut());
        }
        self.part.extend_from_slice(packets.remainder());
    }

    /// So many bytes have come and were not looked at. If any is missing among them, the packets
    /// that are looked at next are not those that must follow.
    pub(crate) fn skip(&mut self, bytes: usize) {
        let at = self.unseen + self.part.len() + bytes;
        let packets = at / PACKET_BYTES;
        self.part.clear();
        self.unseen = at % PACKET_BYTES;
        self.seen.packets += packets as u64;
        // Numbers are 32 bits wide, and begin anew.
        #[expect(clippy::cast_possible_truncation, reason = "as the numbers themselves")]
        let passed = packets as u32;
        self.next = self.next.map(|next| next.wrapping_add(passed));
    }

    /// Whether a packet was seen, from which numbers can be counted.
    pub(crate) fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// Whether tables were seen, and after them a whole picture from a random access point on.
    pub(crate) fn has_picture(&self) -> bool {
        self.sight == Sight::Picture
    }

    fn check(&mut self, packet: &[u8], now: u64, delays: Option<&mut Delays>) {
        let Some(([SYNC, high, low, flags, length], _)) = packet.split_first_chunk() else {
            self.seen.torn += 1;
            return;
        };
        self.sight = self.sight.after(packet);
        if u16::from_be_bytes([high & 0x1F, *low]) != VIDEO {
            // Tables have no number.
            return;
        }
        let field = if flags & 0x20 == 0 { 0 } else { 1 + usize::from(*length) };
        let payload = packet.get(4 + field..).unwrap_or_default();
        let Some((number, rest)) = payload.split_first_chunk() else {
            self.seen.torn += 1;
            return;
        };
        let number = u32::from_be_bytes(*number);
        let ahead = number.wrapping_sub(self.next.unwrap_or(number));
        if ahead > u32::MAX / 2 {
            self.seen.repeated += 1;
            return;
        }
        self.seen.lost += u64::from(ahead);
        if ahead > 0 && self.sight == Sight::Begun {
            self.sight = Sight::Tables;
        }
        self.seen.packets += 1;
        self.next = Some(number.wrapping_add(1));
        if let Some(delays) = delays
            && number.is_multiple_of(SAMPLE)
            && let Some(stamp) = rest.first_chunk()
        {
            delays.add(now.saturating_sub(u64::from_be_bytes(*stamp)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_fault_is_seen() {
        let mut bytes = Vec::new();
        for number in [7, 8, 11, 11, 12] {
            append(&mut bytes, number, 1_000_000);
        }
        bytes.extend([0; PACKET_BYTES]);
        for pieces in [1, 100, 188, 5000] {
            let mut checker = Checker::default();
            bytes.chunks(pieces).for_each(|piece| checker.feed(piece, 0, None));
            let seen = Seen { packets: 4, lost: 2, torn: 1, repeated: 1 };
            assert_eq!(checker.seen, seen, "in pieces of {pieces}");
        }
    }

    #[test]
    fn what_is_missing_among_unseen_bytes_is_seen_afterwards() {
        let mut bytes = Vec::new();
        (0..20).for_each(|number| append(&mut bytes, number, 0));
        let gap = [&bytes[..5 * PACKET_BYTES], &bytes[7 * PACKET_BYTES..]].concat();
        for (bytes, lost) in [(bytes, 0), (gap, 2)] {
            for skipped in [1, 87, 88, 100, 188, 600, 1880] {
                let mut checker = Checker::default();
                checker.feed(&bytes[..200], 0, None);
                assert!(checker.has_begun());
                checker.skip(100);
                checker.skip(skipped);
                // In pieces, so that the end of the unseen packet comes in pieces as well.
                bytes[300 + skipped..].chunks(50).for_each(|piece| checker.feed(piece, 0, None));
                let packets = bytes.len() as u64 / PACKET_BYTES as u64;
                let seen = Seen { packets, lost, torn: 0, repeated: 0 };
                assert_eq!(checker.seen, seen, "{skipped} skipped, {lost} lost");
            }
        }
    }

    #[test]
    fn one_who_comes_amid_a_packet_begins_with_a_whole_one() {
        let mut bytes = Vec::new();
        (14..40).for_each(|number| append(&mut bytes, number, 0));
        let mut checker = Checker::amid_a_packet();
        bytes[100..].chunks(1000).for_each(|piece| checker.feed(piece, 0, None));
        assert_eq!(checker.seen, Seen { packets: 24, ..Seen::default() }, "from number 16 on");
    }

    #[test]
    fn every_fiftieth_delay_counts() {
        let (mut bytes, mut delays) = (Vec::new(), Delays::default());
        (0..100).for_each(|number| append(&mut bytes, number, 1_000_000));
        Checker::default().feed(&bytes, 8_000_000, Some(&mut delays));
        assert_eq!((delays.count(), delays.percentile(50)), (2, Duration::from_micros(7100)));
    }
}
