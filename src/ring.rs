//! The recent bytes of a stream, for viewers who are catching up.
//!
//! Owns the memory of one stream: blocks of 64 KiB, the last of which is open. Input is read
//! straight into the open block, aligned there, and never moved again: a turn's *chunk* is the
//! range from the head before to the head after, and a block holds many chunks. So a stream costs
//! no allocation a turn, and a viewer far behind is served in long slices. A block goes when nobody
//! needs it: where every viewer is live there is none from one turn to the next. Never hands memory
//! to the kernel by reference: what is written from here is copied, and blocks may be used again.
//!
//! Driven by the stream: `room` and `commit` fill it, `slices` reads it, `evict` lets go.

pub mod lag;
mod memory;
pub mod position;

use std::collections::VecDeque;
use std::io::IoSlice;

pub use lag::LagLimit;
use memory::Memory;
pub use position::Position;

use crate::limits::{BLOCK_BYTES, PACKET_BYTES, ROOM_BYTES_MIN};

/// Recent bytes of one stream; see the module.
#[derive(Debug, Default)]
pub struct Ring {
    blocks: VecDeque<Block>,
    head: Position,
    /// Bytes after the head, in the open block, that do not make a whole packet yet.
    held: usize,
    /// Those bytes, while there is no open block.
    kept: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    start: Position,
    bytes: Memory,
    /// Bytes in use, whole packets.
    whole: usize,
}

impl Ring {
    /// An empty ring; it takes no memory before the first [`Ring::room`].
    pub fn new() -> Ring {
        Ring::default()
    }

    /// Written next.
    pub fn head(&self) -> Position {
        self.head
    }

    /// The oldest byte kept.
    pub fn tail(&self) -> Position {
        self.blocks.front().map_or(self.head, |block| block.start)
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// The open block from the held bytes on: (those bytes and the room after them, how many are
    /// held). There is room for at least [`ROOM_BYTES_MIN`] bytes.
    pub fn room(&mut self) -> (&mut [u8], usize) {
        let held = self.held;
        let full = match self.blocks.back() {
            Some(open) => open.bytes.len() - open.whole - held < ROOM_BYTES_MIN,
            None => true,
        };
        if full {
            self.begin_block();
        }
        let open = self.blocks.back_mut().expect("a block was begun above");
        (&mut open.bytes[open.whole..], held)
    }

    /// Takes the first `whole` bytes of [`Ring::room`] into the stream, and holds the `held` bytes
    /// after them.
    ///
    /// # Panics
    /// When `whole` is no number of packets, or both together are more than the room.
    pub fn commit(&mut self, whole: usize, held: usize) {
        assert_eq!(whole % PACKET_BYTES, 0, "a ring takes whole packets");
        let open = self.blocks.back_mut().expect("room was asked for before");
        assert!(open.whole + whole + held <= open.bytes.len(), "more than the room");
        open.whole += whole;
        self.held = held;
        self.head = self.head.advanced(whole);
    }

    /// Copies packets into the stream, before the bytes that are held.
    ///
    /// # Panics
    /// When they are not whole packets.
    pub fn insert(&mut self, mut packets: &[u8]) {
        assert_eq!(packets.len() % PACKET_BYTES, 0, "a ring takes whole packets");
        let (room, held) = self.room();
        let waiting = room[..held].to_vec();
        self.held = 0;
        while !packets.is_empty() {
            let (room, _none) = self.room();
            let bytes = packets.len().min(room.len() / PACKET_BYTES * PACKET_BYTES);
            room[..bytes].copy_from_slice(&packets[..bytes]);
            self.commit(bytes, 0);
            packets = &packets[bytes..];
        }
        self.hold(&waiting);
    }

    /// Holds these bytes, and what was held no more.
    ///
    /// # Panics
    /// When they are more than [`ROOM_BYTES_MIN`].
    pub fn hold(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= ROOM_BYTES_MIN, "more is held than the room for it");
        self.held = 0;
        let (room, _none) = self.room();
        room[..bytes.len()].copy_from_slice(bytes);
        self.held = bytes.len();
    }

    /// Writes the bytes from `from` up to `to` into `slices`, front first, as far as the slices go;
    /// answers how many slices were used.
    ///
    /// # Panics
    /// When there is something between them and `from` is behind the tail, or `to` ahead of the
    /// head. Who wants nothing may stand where the ring has moved on from long ago.
    pub fn slices<'a>(&'a self, from: Position, to: Position, slices: &mut [IoSlice<'a>]) -> usize {
        if from >= to {
            return 0;
        }
        assert!(from >= self.tail() && to <= self.head, "a read outside the ring");
        let first = self.blocks.partition_point(|block| block.start <= from).saturating_sub(1);
        let mut used = 0;
        for block in self.blocks.range(first..) {
            if used == slices.len() || block.start >= to {
                break;
            }
            let begin = from.max(block.start).since(block.start);
            let end = to.since(block.start).min(block.whole);
            if begin < end {
                slices[used] = IoSlice::new(&block.bytes[begin..end]);
                used += 1;
            }
        }
        used
    }

    /// The packets from `from`, a packet boundary, up to the head.
    ///
    /// # Panics
    /// When `from` is behind the tail.
    pub fn packets(&self, from: Position) -> impl Iterator<Item = &[u8; PACKET_BYTES]> {
        assert!(from >= self.tail(), "a read outside the ring");
        let first = self.blocks.partition_point(|block| block.start <= from).saturating_sub(1);
        self.blocks.range(first.min(self.blocks.len())..).flat_map(move |block| {
            let begin = from.max(block.start).since(block.start).min(block.whole);
            block.bytes[begin..block.whole].as_chunks::<PACKET_BYTES>().0
        })
    }

    /// Copies the rest of the packet that `position` stands in; nothing on a packet boundary.
    ///
    /// # Panics
    /// When `position` is not within the ring.
    pub fn rest_of_packet(&self, position: Position) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 1];
        // A packet never straddles two blocks, so that one slice has all of it.
        match self.slices(position, position.next_boundary(), &mut slices) {
            0 => Vec::new(),
            _one => slices[0].to_vec(),
        }
    }

    /// Lets go of the oldest blocks, as long as `keep` bytes before the head remain.
    pub fn evict(&mut self, keep: usize) {
        while let Some(first) = self.blocks.front() {
            let end = self.blocks.get(1).map_or(self.head, |second| second.start);
            if self.head.since(end) < keep {
                break;
            }
            if self.blocks.len() == 1 {
                self.kept.clear();
                self.kept.extend_from_slice(&first.bytes[first.whole..first.whole + self.held]);
            }
            self.blocks.pop_front();
        }
    }

    fn begin_block(&mut self) {
        let mut bytes = Memory::take();
        let held = match self.blocks.back() {
            Some(last) => &last.bytes[last.whole..last.whole + self.held],
            None => &self.kept[..self.held],
        };
        bytes[..held.len()].copy_from_slice(held);
        self.blocks.push_back(Block { start: self.head, bytes, whole: 0 });
    }
}

#[cfg(test)]
mod tests;
