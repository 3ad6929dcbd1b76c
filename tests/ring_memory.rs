//! What a ring lets go of returns to the system at once.

use restreamer::limits::{BLOCK_BYTES, PACKET_BYTES, SPARE_BLOCKS_MAX};
use restreamer::ring::Ring;

const HISTORY_BYTES: usize = 32 << 20;

/// Appends so many bytes, and a packet more at most.
fn feed(ring: &mut Ring, bytes: usize) {
    let end = ring.head().advanced(bytes);
    while ring.head() < end {
        let (room, held) = ring.room();
        let whole = room.len() - room.len() % PACKET_BYTES;
        room[held..whole].fill(0x47);
        ring.commit(whole, 0);
    }
}

/// Resident memory of this process, in bytes (proc(5), `statm`).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Page faults of this process that read nothing from a disk (proc(5), `minflt`).
fn faults() -> usize {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').nth(7).unwrap().parse().unwrap()
}

// One test, so that no other one's memory is counted.
#[test]
fn evicted_history_is_resident_no_more_and_a_steady_ring_asks_for_none() {
    let mut ring = Ring::new();
    let before = resident_bytes();
    feed(&mut ring, HISTORY_BYTES);
    let full = resident_bytes();
    assert!(full - before >= HISTORY_BYTES, "{before} bytes, then {full}");
    ring.evict(0);
    let evicted = full.saturating_sub(resident_bytes());
    let spares = SPARE_BLOCKS_MAX * BLOCK_BYTES;
    let least = (HISTORY_BYTES - spares) / 100 * 99;
    assert!(evicted >= least, "of {HISTORY_BYTES} bytes {evicted} are back");

    // 10,000 turns of a stream of 8 Mbit/s at 20 ms, each of which would fault in five pages.
    let before = faults();
    for _ in 0..10_000 {
        feed(&mut ring, 20_000);
        ring.evict(75_000);
    }
    let faults = faults() - before;
    assert!(faults < 500, "{faults} page faults");
}
