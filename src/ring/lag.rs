//! How far behind a viewer may be.

use crate::limits::{LAG_BYTES_MAX, PACKET_BYTES};

/// The lag limit of a stream's viewers: what is configured, but never less than two turns' data.
///
/// With less than that a viewer who keeps up would be skipped for having missed a single turn.
#[derive(Debug)]
pub struct LagLimit {
    configured: usize,
    turn: usize,
    told: bool,
}

impl LagLimit {
    /// A limit of `packets` packets.
    pub fn new(packets: usize) -> LagLimit {
        LagLimit { configured: packets.saturating_mul(PACKET_BYTES), turn: 0, told: false }
    }

    /// Takes note of the bytes that one turn brought. Answers the limit in packets that is in force
    /// from now on, the first time that it is above the configured one.
    ///
    /// The estimate follows a larger turn at once and a smaller one slowly: a single long turn is
    /// forgotten after a few hundred.
    pub fn observe(&mut self, turn_bytes: usize) -> Option<usize> {
        self.turn = turn_bytes.max(self.turn - self.turn / 64);
        let raised = self.bytes() > self.configured && !self.told;
        self.told |= raised;
        raised.then(|| self.bytes().div_ceil(PACKET_BYTES))
    }

    /// The limit in bytes.
    pub fn bytes(&self) -> usize {
        self.configured.max((2 * self.turn).min(LAG_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_turns_are_the_least_and_are_told_once() {
        let mut limit = LagLimit::new(10);
        assert_eq!(limit.observe(5 * 188), None);
        assert_eq!(limit.bytes(), 10 * 188);
        assert_eq!(limit.observe(100 * 188), Some(200));
        assert_eq!(limit.observe(300 * 188), None);
        assert_eq!(limit.bytes(), 600 * 188);
    }

    #[test]
    fn a_single_long_turn_is_forgotten() {
        let mut limit = LagLimit::new(10);
        limit.observe(1_000_000);
        for _ in 0..1000 {
            limit.observe(188);
        }
        assert_eq!(limit.bytes(), 10 * 188);
    }

    #[test]
    fn a_turn_cannot_raise_it_beyond_the_bound() {
        let mut limit = LagLimit::new(10);
        limit.observe(usize::MAX / 4);
        assert_eq!(limit.bytes(), LAG_BYTES_MAX);
    }
}
