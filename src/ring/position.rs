//! Where a byte stands in a stream.

use crate::limits::PACKET_BYTES;

/// Bytes since the stream began. The stream's bytes are whole packets, so a multiple of 188 is a
/// packet boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// Where every stream begins.
    pub const START: Position = Position(0);

    /// The position `bytes` further on.
    #[must_use]
    pub fn advanced(self, bytes: usize) -> Position {
        Position(self.0 + bytes as u64)
    }

    /// The position `bytes` before, if the stream had begun there.
    pub fn before(self, bytes: usize) -> Option<Position> {
        self.0.checked_sub(bytes as u64).map(Position)
    }

    /// Bytes from `earlier` to here.
    ///
    /// # Panics
    /// When `earlier` is later: a reader is never ahead of the head.
    pub fn since(self, earlier: Position) -> usize {
        let bytes = self.0.checked_sub(earlier.0).expect("a position behind the other");
        usize::try_from(bytes).expect("a distance within memory")
    }

    /// Bytes of the packet that begins before here and is not finished: 0 on a packet boundary.
    pub fn into_packet(self) -> usize {
        usize::try_from(self.0 % PACKET_BYTES as u64).expect("below 188")
    }

    /// The first packet boundary at or after here.
    #[must_use]
    pub fn next_boundary(self) -> Position {
        match self.into_packet() {
            0 => self,
            part => self.advanced(PACKET_BYTES - part),
        }
    }

    /// Packets that were finished on the way from `earlier` to here.
    pub fn packets_since(self, earlier: Position) -> u64 {
        self.0 / PACKET_BYTES as u64 - earlier.0 / PACKET_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_multiples_of_188() {
        let start = Position::START;
        for (bytes, into, next) in [(0, 0, 0), (1, 1, 188), (187, 187, 188), (188, 0, 188)] {
            let here = start.advanced(bytes);
            assert_eq!(here.into_packet(), into);
            assert_eq!(here.next_boundary(), start.advanced(next));
        }
    }

    #[test]
    fn a_packet_counts_where_it_ends() {
        let start = Position::START;
        assert_eq!(start.advanced(187).packets_since(start), 0);
        assert_eq!(start.advanced(188).packets_since(start.advanced(187)), 1);
        assert_eq!(start.advanced(1000).packets_since(start), 5);
    }

    #[test]
    #[should_panic(expected = "behind")]
    fn a_reader_is_never_ahead() {
        let _never = Position::START.since(Position::START.advanced(1));
    }
}
