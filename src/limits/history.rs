//! What rings keep for those who join.

use std::time::Duration;

use super::{BLOCK_BYTES, LAG_BYTES_MAX, SPARE_BLOCKS_MAX, WORKERS_MAX};

/// `history`, unless configured: 2 s at 32 Mbit/s, 8 s at 8.
pub const HISTORY_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// `history` in bytes: 20 s of an uncompressed event at 100 Mbit/s.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// `history` and `join` in seconds.
pub const HISTORY_SECONDS_MAX: f64 = 60.0;
/// The least of both.
pub const HISTORY_SECONDS_MIN: f64 = 0.1;
/// What all rings of the node together keep for those who join. 500 streams of 8 Mbit/s with a
/// random access point every two seconds take half of it.
pub const HISTORY_BYTES_OF_NODE_MAX: usize = 1024 * 1024 * 1024;
/// And so much of the memory that the process may have, if that is less: with viewers who stall
/// right after they have joined, rings may be twice as long.
pub const HISTORY_OF_MEMORY_DIVISOR: usize = 4;
/// The kernel allows a process so many mappings (`vm.max_map_count`), unless told otherwise; in the
/// worst case each block is one.
pub const MAPPINGS_MAX: usize = 65_530;
/// How often it is noted where the head is, where `join` or `history` count in seconds.
pub const MARK_INTERVAL: Duration = Duration::from_millis(100);

/// Packets that go before the stream at a place, that are kept to be shared: where one joins, and
/// where others go on who were skipped.
pub const INSERTED_MAX: usize = 4;

/// `pacing`, unless configured: two seconds that have come before take half a second.
pub const PACING_PERCENT_DEFAULT: u32 = 400;
/// Nobody is paced at less, in bytes a second (64 Mbit/s): the first picture, which may be 400 KB,
/// comes within 50 ms.
pub const PACED_BYTES_PER_SECOND_MIN: u64 = 8_000_000;
/// The least `pacing`: with less a viewer hardly ever catches up.
pub const PACING_MIN: f64 = 1.2;
/// The most.
pub const PACING_MAX: f64 = 1000.0;

const _: () = assert!(HISTORY_BYTES_DEFAULT <= HISTORY_BYTES_MAX);
const _: () = assert!(HISTORY_BYTES_DEFAULT >= LAG_BYTES_MAX);
const _: () = assert!(HISTORY_BYTES_MAX <= HISTORY_BYTES_OF_NODE_MAX);
// A third is left for those who lag, for stacks and for libraries.
const _: () = assert!(
    HISTORY_BYTES_OF_NODE_MAX / BLOCK_BYTES + WORKERS_MAX * SPARE_BLOCKS_MAX
        <= MAPPINGS_MAX / 3 * 2
);
