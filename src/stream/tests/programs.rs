//! Programs packet by packet: PAT, PMT and pictures of H.264 of which only their type is real.

use std::collections::HashMap;

use crate::limits::PACKET_BYTES;

type Packet = [u8; PACKET_BYTES];

/// One program: its PMT and its video, with their counters.
pub(crate) struct Program {
    number: u8,
    pmt: u16,
    video: u16,
    version: u8,
    counters: HashMap<u16, u8>,
}

impl Program {
    pub(crate) fn new(number: u8, pmt: u16, video: u16) -> Program {
        Program { number, pmt, video, version: 0, counters: HashMap::new() }
    }

    /// The next PMT is another one: with the video on another PID.
    pub(crate) fn change(&mut self, video: u16) {
        (self.video, self.version) = (video, self.version + 1);
    }

    pub(crate) fn pmt(&mut self) -> Vec<Packet> {
        let [high, low] = self.video.to_be_bytes();
        let (high, version) = (0xE0 | high, 0xC1 | self.version << 1);
        let head = [2, 0xB0, 18, 0, self.number, version, 0, 0, high, low, 0xF0, 0];
        let section = [&head[..], &[0x1B, high, low, 0xF0, 0]].concat();
        vec![self.packet(self.pmt, true, &[&[0], &sealed(section)[..]].concat())]
    }

    /// A picture of so many packets, two at least.
    pub(crate) fn picture(&mut self, is_idr: bool, packets: usize) -> Vec<Packet> {
        let unit = if is_idr { 0x65 } else { 0x41 };
        let start = [0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0, 0, 0, 1, 9, 0xF0, 0, 0, 1, unit, 0x88, 0x84];
        let rest = (1..packets).map(|_| (false, &[0x55; 10][..]));
        let all: Vec<_> = std::iter::once((true, &start[..])).chain(rest).collect();
        all.into_iter().map(|(start, bytes)| self.packet(self.video, start, bytes)).collect()
    }

    fn packet(&mut self, pid: u16, start: bool, bytes: &[u8]) -> Packet {
        let counter = self.counters.entry(pid).or_default();
        *counter = (*counter + 1) % 16;
        packet(pid, start, *counter, bytes)
    }
}

/// The PAT of these programs, the so-manieth.
pub(crate) fn pat(programs: &[&Program], number: u8) -> Vec<Packet> {
    let length = u8::try_from(9 + 4 * programs.len()).unwrap();
    let mut section = vec![0, 0xB0, length, 0, 1, 0xC1 | number << 1, 0, 0];
    for program in programs {
        let [high, low] = program.pmt.to_be_bytes();
        section.extend([0, program.number, 0xE0 | high, low]);
    }
    vec![packet(0, true, number % 16, &[&[0], &sealed(section)[..]].concat())]
}

fn packet(pid: u16, start: bool, counter: u8, bytes: &[u8]) -> Packet {
    let [high, low] = pid.to_be_bytes();
    let mut packet = [0xFF; PACKET_BYTES];
    packet[..4].copy_from_slice(&[
        0x47,
        if start { 0x40 | high } else { high },
        low,
        0x10 | counter,
    ]);
    packet[4..4 + bytes.len()].copy_from_slice(bytes);
    packet
}

/// A section with its CRC.
fn sealed(mut section: Vec<u8>) -> Vec<u8> {
    let mut crc = u32::MAX;
    for bit in section.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        let out = crc >> 31 ^ u32::from(bit);
        crc = crc << 1 ^ (out * 0x04C1_1DB7);
    }
    section.extend(crc.to_be_bytes());
    section
}
