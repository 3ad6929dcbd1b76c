//! What a worker has to do, told so that it can be compared with others.
//!
//! Time alone tells nothing: a worker with three times the viewers makes its turns three times as
//! long, and is busy for the same part of its time, until no turn can be longer. What a chunk costs
//! each viewer is paid once a turn, what its bytes cost is not: knowing both, the time is converted
//! to what it would be with turns of one length. A pure calculation; driven by the board.

use std::time::Duration;

use crate::limits::{COMMON_PERIOD, TURN_MILLISECONDS_MAX, VIEWER_CHUNK_BYTES};

/// What a worker has done in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Time that it had something to do.
    pub busy: Duration,
    /// Its turns.
    pub turns: u64,
    /// Chunks that it has sent, each counted once for every viewer.
    pub chunks: u64,
    /// The bytes of all of them.
    pub bytes: u64,
}

impl Work {
    /// By how much more or less time the same viewers would take with turns of
    /// [`COMMON_PERIOD`].
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    pub fn in_common_turns(&self, interval: Duration) -> f64 {
        if self.turns == 0 {
            return 1.0;
        }
        let period = interval.div_f64(self.turns as f64);
        // One that had nothing to do for longer was idle, and did not make it a long turn.
        let period = period.min(Duration::from_millis(TURN_MILLISECONDS_MAX as u64));
        let more_chunks = period.div_duration_f64(COMMON_PERIOD);
        let each = f64::from(VIEWER_CHUNK_BYTES);
        let bytes = if self.chunks == 0 { 0.0 } else { self.bytes as f64 / self.chunks as f64 };
        (bytes + each * more_chunks) / (bytes + each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn shorter_turns_count_for_less_and_longer_ones_for_more() {
        const CHUNK: u64 = VIEWER_CHUNK_BYTES as u64;
        for (turns, chunks, bytes, factor) in [
            (50, 50, 50 * CHUNK, 1.0),
            // Chunks that cost as much as their bytes: half of the cost is paid by the turn.
            (100, 100, 100 * CHUNK, 0.75),
            (25, 25, 25 * CHUNK, 1.5),
            // Nothing but turns.
            (200, 0, 0, 0.25),
            // Large chunks: hardly anything is.
            (100, 100, 100 * 99 * CHUNK, 0.995),
            // Idle, which is no long turn.
            (10, 10, 0, 5.0),
            (1, 1, 0, 5.0),
            (0, 0, 0, 1.0),
        ] {
            let work = Work { busy: SECOND, turns, chunks, bytes };
            let found = work.in_common_turns(SECOND);
            assert!((found - factor).abs() < 1e-9, "{work:?}: {found}");
        }
    }
}
