use std::io::IoSlice;

use proptest::prelude::*;

use super::*;

/// Feeds `bytes` as an upstream would, without any sync: what is no whole packet is held.
fn feed(ring: &mut Ring, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (room, held) = ring.room();
        let n = bytes.len().min(room.len() - held);
        room[held..held + n].copy_from_slice(&bytes[..n]);
        let total = held + n;
        ring.commit(total - total % PACKET_BYTES, total % PACKET_BYTES);
        bytes = &bytes[n..];
    }
}

fn read(ring: &Ring, from: Position, to: Position) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let used = ring.slices(from, to, &mut slices);
    slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

#[test]
fn an_empty_ring_takes_no_memory() {
    let ring = Ring::new();
    assert_eq!((ring.bytes(), ring.head(), ring.tail()), (0, Position::START, Position::START));
    assert!(read(&ring, ring.tail(), ring.head()).is_empty());
}

#[test]
fn a_packet_is_in_the_ring_once_it_is_whole() {
    let mut ring = Ring::new();
    let bytes = pattern(400);
    for byte in &bytes {
        feed(&mut ring, std::slice::from_ref(byte));
    }
    assert_eq!(ring.head(), Position::START.advanced(376));
    assert_eq!(ring.room().1, 24);
    assert_eq!(read(&ring, ring.tail(), ring.head()), bytes[..376]);
    ring.commit(0, 0);
    assert_eq!(ring.room().1, 0, "what an upstream did not finish is forgotten");
}

#[test]
fn the_tail_follows() {
    let mut ring = Ring::new();
    let bytes = pattern(1 << 20);
    for part in bytes.chunks(10_000) {
        feed(&mut ring, part);
        ring.evict(100_000);
    }
    assert!(ring.bytes() <= 4 * BLOCK_BYTES, "{} bytes", ring.bytes());
    assert!(ring.head().since(ring.tail()) >= 100_000);
    let (from, to) = (ring.tail().since(Position::START), ring.head().since(Position::START));
    assert_eq!(read(&ring, ring.tail(), ring.head()), bytes[from..to]);
    ring.evict(1);
    assert!(ring.bytes() == BLOCK_BYTES && ring.head() > ring.tail());
    ring.evict(0);
    assert_eq!((ring.bytes(), ring.tail()), (0, ring.head()));
}

#[test]
fn what_is_no_packet_yet_survives_without_a_block() {
    let mut ring = Ring::new();
    let bytes = pattern(4 * PACKET_BYTES);
    for part in bytes.chunks(300) {
        feed(&mut ring, part);
        ring.evict(0);
        ring.evict(0);
        assert_eq!(ring.bytes(), 0);
    }
    let before = ring.head();
    feed(&mut ring, &bytes[..100]);
    ring.evict(0);
    feed(&mut ring, &bytes[100..PACKET_BYTES]);
    assert_eq!(read(&ring, before, ring.head()), bytes[..PACKET_BYTES]);
    assert_eq!(before, Position::START.advanced(bytes.len()));
}

#[test]
fn slices_stop_where_there_are_no_more() {
    let mut ring = Ring::new();
    feed(&mut ring, &pattern(4 * BLOCK_BYTES));
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(ring.slices(ring.tail(), ring.head(), &mut slices), 2);
    assert!(slices.iter().all(|slice| slice.len() > BLOCK_BYTES - ROOM_BYTES_MIN - PACKET_BYTES));
}

#[test]
fn the_rest_of_a_packet() {
    let mut ring = Ring::new();
    let bytes = pattern(3 * PACKET_BYTES);
    feed(&mut ring, &bytes);
    assert!(ring.rest_of_packet(Position::START.advanced(188)).is_empty());
    assert_eq!(ring.rest_of_packet(Position::START.advanced(200)), bytes[200..376]);
}

#[test]
fn who_wants_nothing_may_stand_behind_the_tail() {
    let mut ring = Ring::new();
    feed(&mut ring, &pattern(4 * BLOCK_BYTES));
    ring.evict(0);
    assert!(Position::START < ring.tail());
    assert!(read(&ring, Position::START, Position::START).is_empty());
}

#[test]
#[should_panic(expected = "outside the ring")]
fn reading_behind_the_tail_is_refused() {
    let mut ring = Ring::new();
    feed(&mut ring, &pattern(4 * BLOCK_BYTES));
    ring.evict(0);
    read(&ring, Position::START, ring.head());
}

proptest! {
    #[test]
    fn any_range_reads_as_it_was_fed(
        parts in prop::collection::vec(1_usize..70_000, 1..20),
        keep in 0_usize..200_000,
        cut in 0_usize..=100,
    ) {
        let bytes = pattern(parts.iter().sum());
        let mut ring = Ring::new();
        let mut fed = 0;
        for part in parts {
            feed(&mut ring, &bytes[fed..fed + part]);
            fed += part;
            ring.evict(keep);
            let (tail, head) = (ring.tail(), ring.head());
            let length = head.since(tail);
            prop_assert!(length >= keep.min(fed - fed % PACKET_BYTES));
            prop_assert_eq!(tail.into_packet(), 0);
            let middle = tail.advanced(length * cut / 100);
            let at = middle.since(Position::START);
            prop_assert_eq!(read(&ring, middle, head), &bytes[at..head.since(Position::START)]);
            prop_assert_eq!(read(&ring, tail, middle), &bytes[tail.since(Position::START)..at]);
        }
    }
}
