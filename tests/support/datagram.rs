//! Sending numbered packets in datagrams.

use std::time::{Duration, Instant};

use super::packets::packets;

/// Packets of one datagram, as encoders send them.
pub const PACKETS: u64 = 7;

/// The payload of the datagram with this number.
pub fn payload(number: u64) -> Vec<u8> {
    packets(number * PACKETS..(number + 1) * PACKETS)
}

/// The same behind an RTP header.
pub fn rtp(number: u64) -> Vec<u8> {
    let sequence = u16::try_from(number % (1 << 16)).unwrap().to_be_bytes();
    let header = [0x80, 33, sequence[0], sequence[1], 0, 0, 0, 0, 0, 0, 0, 9];
    [&header[..], &payload(number)].concat()
}

/// Calls `send` with each number, some 4 a millisecond (40 Mbit/s).
pub fn paced(numbers: impl IntoIterator<Item = u64>, mut send: impl FnMut(u64)) {
    let start = Instant::now();
    for (sent, number) in numbers.into_iter().enumerate() {
        let due = Duration::from_micros(250 * u64::try_from(sent).unwrap());
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        send(number);
    }
}
