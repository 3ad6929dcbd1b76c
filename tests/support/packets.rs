//! Packets that tell by themselves whether they arrived whole, in order, once.

pub const PACKET_BYTES: usize = 188;
const PIDS: u64 = 3;

/// The packet with this number. Every byte of it follows from the number; the counters of its PID
/// follow each other.
pub fn packet(number: u64) -> [u8; PACKET_BYTES] {
    let mut bytes = [0; PACKET_BYTES];
    let pid = u16::try_from(0x100 + number % PIDS).unwrap();
    bytes[0] = 0x47;
    bytes[1..3].copy_from_slice(&pid.to_be_bytes());
    bytes[3] = 0x10 | u8::try_from(number / PIDS % 16).unwrap();
    bytes[4..12].copy_from_slice(&number.to_be_bytes());
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in bytes[12..].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

/// The packets with these numbers, one after the other.
pub fn packets(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.flat_map(packet).collect()
}

/// Whether a packet is nothing but the word that its PID does not go on from what came before.
pub fn is_signal(packet: &[u8]) -> bool {
    let is_all = packet[3] & 0x30 == 0x20 && packet[4..6] == [183, 0x80];
    is_all && packet[6..].iter().all(|&byte| byte == 0xFF)
}

/// Verifies a stream of such packets, in whatever pieces it arrives.
#[derive(Debug, Default)]
pub struct Verifier {
    part: Vec<u8>,
    /// The number of the first packet.
    pub first: Option<u64>,
    /// The number that the next packet should have.
    pub next: u64,
    /// Whole packets that are byte for byte what was sent.
    pub packets: u64,
    /// Packets that are not.
    pub torn: u64,
    /// Times that packets were missing.
    pub gaps: u64,
    /// Packets that were missing.
    pub lost: u64,
    /// Packets that came again, or too late.
    pub repeated: u64,
    /// Packets that say that a PID does not go on from what came before.
    pub signalled: u64,
}

impl Verifier {
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if !self.part.is_empty() {
            let n = bytes.len().min(PACKET_BYTES - self.part.len());
            self.part.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.part.len() < PACKET_BYTES {
                return;
            }
            let whole = std::mem::take(&mut self.part);
            self.judge(&whole);
        }
        let mut chunks = bytes.chunks_exact(PACKET_BYTES);
        for whole in &mut chunks {
            self.judge(whole);
        }
        self.part.extend_from_slice(chunks.remainder());
    }

    /// Bytes of a packet that was not finished.
    pub fn unfinished(&self) -> usize {
        self.part.len()
    }

    /// Asserts what holds for a viewer that keeps up: every packet, once, in order, as it was sent.
    pub fn assert_perfect(&self, who: &str) {
        assert_eq!(
            (self.torn, self.lost, self.repeated, self.signalled),
            (0, 0, 0, 0),
            "{who}: {self:?}"
        );
        assert!(self.packets > 0, "{who} got nothing");
    }

    /// Asserts what holds for any viewer: whole packets, in order; some may be missing.
    pub fn assert_whole(&self, who: &str) {
        assert_eq!((self.torn, self.repeated), (0, 0), "{who}: {self:?}");
    }

    fn judge(&mut self, bytes: &[u8]) {
        if is_signal(bytes) {
            self.signalled += 1;
            return;
        }
        let number = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
        if packet(number) != bytes {
            self.torn += 1;
            return;
        }
        self.packets += 1;
        if self.first.is_none() {
            self.first = Some(number);
        } else if number < self.next {
            self.repeated += 1;
            return;
        } else if number > self.next {
            self.gaps += 1;
            self.lost += number - self.next;
        }
        self.next = number + 1;
    }
}

#[test]
fn the_verifier_sees_every_fault() {
    let mut good = Verifier::default();
    for piece in packets(5..105).chunks(50) {
        good.feed(piece);
    }
    good.assert_perfect("good");
    assert_eq!((good.first, good.packets, good.unfinished()), (Some(5), 100, 0));

    let mut bad = Verifier::default();
    let mut bytes = packets(0..10);
    bytes.extend(packets(12..13)); // two are missing
    bytes.extend(packets(12..13)); // repeated
    let mut torn = packet(13);
    torn[100] ^= 1;
    bytes.extend(torn);
    bad.feed(&bytes);
    assert_eq!((bad.lost, bad.gaps, bad.repeated, bad.torn), (2, 1, 1, 1));
}
