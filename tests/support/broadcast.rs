//! A broadcast made packet by packet, by a clock of its own, into which faults can be put. It knows
//! nothing of the program's own reading of packets.
//!
//! One program: H.264 with the clock and a random access point a second, AAC in German, AC-3 in
//! English. Every 20 ms a PCR; every 40 ms a PES packet of two packets for each of the three; every
//! 100 ms PAT and PMT.

use std::collections::HashMap;

use super::packets::PACKET_BYTES;

pub const PMT: u16 = 0x1000;
pub const VIDEO: u16 = 0x101;
pub const GERMAN: u16 = 0x102;
pub const ENGLISH: u16 = 0x103;
pub const CAT: u16 = 1;
pub const SDT: u16 = 0x11;

/// One packet, before it has its counter.
#[derive(Clone)]
pub struct Item {
    /// When it is sent, in milliseconds.
    pub at: u64,
    pub bytes: [u8; PACKET_BYTES],
}

impl Item {
    pub fn pid(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1] & 0x1F, self.bytes[2]])
    }

    /// Whether it is nothing but a PCR.
    pub fn is_pcr(&self) -> bool {
        self.bytes[3] & 0x30 == 0x20
    }

    /// Whether a PES packet or a section starts in it.
    pub fn starts(&self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    /// Marks the payload as scrambled.
    pub fn scramble(&mut self) {
        self.bytes[3] |= 0x80;
    }

    /// Sets the PCR, in milliseconds.
    pub fn set_pcr(&mut self, at: u64) {
        let bits = (at * 90) << 15 | 0x7E00;
        self.bytes[6..12].copy_from_slice(&bits.to_be_bytes()[2..]);
    }

    /// Takes the PTS out of the PES header.
    pub fn take_pts(&mut self) {
        self.bytes[11] = 0;
    }
}

/// So many milliseconds without any fault, from this one on.
pub fn clean(from: u64, length: u64) -> Vec<Item> {
    let mut items = Vec::new();
    for at in (from..from + length).step_by(20) {
        let mut add = |bytes| items.push(Item { at, bytes });
        add(pcr());
        if at % 100 == 0 {
            add(section(0, &pat()));
            add(section(PMT, &pmt(0)));
        }
        if at % 40 == 0 {
            for pid in [VIDEO, GERMAN, ENGLISH] {
                add(pes(pid, at));
                add(rest(pid));
            }
        }
    }
    for item in items.iter_mut().filter(|item| item.is_pcr()) {
        item.set_pcr(item.at);
    }
    items
}

/// The packets with their counters, each PID's in order.
pub fn numbered(items: &[Item]) -> Vec<[u8; PACKET_BYTES]> {
    Numbers::default().give(items)
}

/// The counters of what goes on.
#[derive(Default)]
pub struct Numbers(HashMap<u16, u8>);

impl Numbers {
    /// The next packets, with their counters.
    pub fn give(&mut self, items: &[Item]) -> Vec<[u8; PACKET_BYTES]> {
        let number = |item: &Item| {
            let mut bytes = item.bytes;
            let counter = self.0.entry(item.pid()).or_default();
            // One without payload repeats the counter before it.
            let payload = bytes[3] & 0x10 != 0;
            bytes[3] |= if payload { *counter } else { counter.wrapping_sub(1) } & 0x0F;
            *counter += u8::from(payload);
            *counter &= 0x0F;
            bytes
        };
        items.iter().map(number).collect()
    }
}

/// A packet with one section.
pub fn section(pid: u16, section: &[u8]) -> [u8; PACKET_BYTES] {
    let [high, low] = pid.to_be_bytes();
    let mut bytes = [0xFF; PACKET_BYTES];
    bytes[..5].copy_from_slice(&[0x47, 0x40 | high, low, 0x10, 0]);
    bytes[5..5 + section.len()].copy_from_slice(section);
    bytes
}

/// The PAT of one program.
pub fn pat() -> Vec<u8> {
    sealed(&[0, 0xB0, 0, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0])
}

/// Its PMT.
pub fn pmt(version: u8) -> Vec<u8> {
    let mut section = vec![2, 0xB0, 0, 0, 1, 0xC1 | version << 1, 0, 0, 0xE1, 1, 0xF0, 0];
    section.extend([0x1B, 0xE1, 1, 0xF0, 0]);
    section.extend([0x0F, 0xE1, 2, 0xF0, 6, 0x0A, 4, b'd', b'e', b'u', 0]);
    section.extend([0x06, 0xE1, 3, 0xF0, 9, 0x0A, 4, b'e', b'n', b'g', 0, 0x6A, 1, 0]);
    sealed(&section)
}

/// A table of which nobody looks at more than its kind.
pub fn table(id: u8) -> Vec<u8> {
    sealed(&[id, 0xB0, 0, 0, 1, 0xC1, 0, 0, 1, 2, 3, 4])
}

/// A section of what is there and its CRC, with its length.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut section = bytes.to_vec();
    section[2] = u8::try_from(bytes.len() + 1).unwrap();
    let mut crc = u32::MAX;
    for bit in section.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        let out = crc >> 31 ^ u32::from(bit);
        crc = crc << 1 ^ (out * 0x04C1_1DB7);
    }
    section.extend(crc.to_be_bytes());
    section
}

fn pcr() -> [u8; PACKET_BYTES] {
    let mut bytes = [0xFF; PACKET_BYTES];
    let [high, low] = VIDEO.to_be_bytes();
    bytes[..6].copy_from_slice(&[0x47, high, low, 0x20, 183, 0x10]);
    bytes
}

/// The start of a PES packet with a PTS; a picture of the video's stands for itself at each second.
fn pes(pid: u16, at: u64) -> [u8; PACKET_BYTES] {
    let mut bytes = [0x55; PACKET_BYTES];
    let [high, low] = pid.to_be_bytes();
    bytes[..4].copy_from_slice(&[0x47, 0x40 | high, low, 0x10]);
    let stream = if pid == VIDEO { 0xE0 } else { 0xC0 };
    bytes[4..13].copy_from_slice(&[0, 0, 1, stream, 0, 0, 0x80, 0x80, 5]);
    let pts = (at + 200) * 90;
    let bits = [29, 22, 14, 7].map(|shift| (pts >> shift).to_le_bytes()[0]);
    let last = (pts << 1).to_le_bytes()[0] | 1;
    let stamp = [0x21 | bits[0] & 0x0E, bits[1], bits[2] | 1, bits[3], last];
    bytes[13..18].copy_from_slice(&stamp);
    if pid == VIDEO {
        let kind = if at.is_multiple_of(1000) { 0x65 } else { 0x41 };
        bytes[18..30].copy_from_slice(&[0, 0, 0, 1, 9, 0xF0, 0, 0, 1, kind, 0x88, 0x55]);
    }
    bytes
}

fn rest(pid: u16) -> [u8; PACKET_BYTES] {
    let mut bytes = [0x55; PACKET_BYTES];
    let [high, low] = pid.to_be_bytes();
    bytes[..4].copy_from_slice(&[0x47, high, low, 0x10]);
    bytes
}
