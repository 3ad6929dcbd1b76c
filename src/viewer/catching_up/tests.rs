use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::limits::PACKET_BYTES;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nonblocking(true).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Appends packets to a ring, each filled with its number.
fn feed(ring: &mut Ring, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let (room, held) = ring.room();
        room[held..held + PACKET_BYTES].fill(number);
        ring.commit(PACKET_BYTES, 0);
    }
}

fn read(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    socket.read_exact(&mut buffer).unwrap();
    buffer
}

/// A viewer whose socket is full, in the middle of a packet if need be: (viewer, its peer, ring,
/// bytes that the peer has to read, counts).
fn blocked() -> (CatchingUp, TcpStream, TcpStream, Ring, usize, StreamCounts) {
    let (near, far) = pair();
    let mut ring = Ring::new();
    let mut counts = StreamCounts::default();
    let mut viewer = CatchingUp::joining(answer(b"head"), ring.head());
    let mut number = 0;
    while !viewer.is_blocked() {
        feed(&mut ring, number..number + 100);
        number = (number + 100) % 200;
        viewer
            .advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts)
            .unwrap();
    }
    let sent = b"head".len() + usize::try_from(counts.catching_up_bytes).unwrap();
    (viewer, near, far, ring, sent, counts)
}

/// Goes on at the head, with nothing inserted.
fn head(ring: &Ring) -> Landing {
    Landing { position: ring.head(), inserted: None }
}

/// Goes on so many packets after the start, after packets that are filled with that number.
fn landing(packets: usize, fills: &[u8]) -> Landing {
    let inserted: Vec<u8> = fills.iter().flat_map(|fill| [*fill; PACKET_BYTES]).collect();
    Landing {
        position: Position::START.advanced(packets * PACKET_BYTES),
        inserted: Some(inserted.into()),
    }
}

fn answer(head: &[u8]) -> Outgoing {
    Outgoing { head: head.to_vec(), body: None }
}

#[test]
fn the_head_goes_first_and_is_no_byte_of_the_stream() {
    let (near, mut far) = pair();
    let mut ring = Ring::new();
    feed(&mut ring, 1..3);
    let mut counts = StreamCounts::default();
    let mut viewer = CatchingUp::joining(answer(b"head"), Position::START);
    assert_eq!(
        viewer
            .advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts)
            .unwrap(),
        Came::There
    );
    assert_eq!(viewer.position(), ring.head());
    let expected = [b"head".to_vec(), vec![1; PACKET_BYTES], vec![2; PACKET_BYTES]].concat();
    assert_eq!(read(&mut far, expected.len()), expected);
    assert_eq!((counts.catching_up_bytes, counts.packets_sent), (2 * PACKET_BYTES as u64, 2));
}

#[test]
fn a_skip_keeps_the_packet_it_stands_in_and_counts_the_others() {
    let (near, mut far) = pair();
    let mut ring = Ring::new();
    feed(&mut ring, 0..10);
    let mut counts = StreamCounts::default();
    // 50 bytes of packet 2 have been sent.
    let mut viewer = CatchingUp::at(Position::START.advanced(2 * PACKET_BYTES + 50));
    viewer.skip(&ring, head(&ring), &mut counts);
    assert_eq!(viewer.position(), ring.head());
    assert_eq!((counts.skips, counts.packets_dropped), (1, 7));
    assert_eq!(counts.bytes_dropped, 7 * PACKET_BYTES as u64);
    feed(&mut ring, 10..11);
    assert_eq!(
        viewer
            .advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts)
            .unwrap(),
        Came::There
    );
    let rest = PACKET_BYTES - 50;
    assert_eq!(
        read(&mut far, rest + PACKET_BYTES),
        [vec![2; rest], vec![10; PACKET_BYTES]].concat()
    );
    assert_eq!(counts.packets_sent, 2, "the packet that was finished, and the new one");
}

#[test]
fn skipped_again_and_again_it_still_finishes_its_packet() {
    let (mut viewer, near, mut far, mut ring, sent, mut counts) = blocked();
    let into = viewer.position().into_packet();
    for round in 0..5 {
        feed(&mut ring, round..round + 1);
        viewer.skip(&ring, head(&ring), &mut counts);
        ring.evict(0);
        feed(&mut ring, 0..250);
        ring.evict(0);
        viewer.skip(&ring, head(&ring), &mut counts);
    }
    let mut taken = vec![0; sent];
    far.read_exact(&mut taken).unwrap();
    let last = taken[sent - 1];
    assert!(viewer.unblock(), "it was blocked");
    feed(&mut ring, 99..100);
    assert_eq!(
        viewer
            .advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts)
            .unwrap(),
        Came::There
    );
    let rest = if into == 0 { 0 } else { PACKET_BYTES - into };
    let got = read(&mut far, rest + PACKET_BYTES);
    assert!(got[..rest].iter().all(|&byte| byte == last), "the rest of the packet it stood in");
    assert!(got[rest..].iter().all(|&byte| byte == 99), "then the newest");
}

#[test]
fn a_full_socket_is_not_tried_again_before_it_has_room() {
    let (mut viewer, near, far, ring, _, mut counts) = blocked();
    let before = viewer.position();
    drop(far);
    // The peer has hung up, and nothing is written: so nothing is noticed.
    assert_eq!(
        viewer
            .advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts)
            .unwrap(),
        Came::Part
    );
    assert_eq!(viewer.position(), before);
}

#[test]
fn a_peer_that_hung_up_has_left() {
    let (near, far) = pair();
    drop(far);
    let mut ring = Ring::new();
    let mut viewer = CatchingUp::at(ring.head());
    let mut counts = StreamCounts::default();
    let left = (0..1000).any(|_| {
        feed(&mut ring, 0..1);
        viewer.advance(&near, &ring, ring.head(), &mut Allowance::of_a_turn(), &mut counts).unwrap()
            == Came::Left
    });
    assert!(left);
}

#[test]
fn what_is_inserted_comes_after_the_packet_it_stands_in_and_does_not_count() {
    let (near, mut far) = pair();
    let mut ring = Ring::new();
    feed(&mut ring, 0..20);
    let mut counts = StreamCounts::default();
    let mut viewer = CatchingUp::at(Position::START.advanced(2 * PACKET_BYTES + 50));
    assert!(viewer.skip(&ring, landing(8, &[77, 78]), &mut counts));
    // Nothing has gone out since: it goes on elsewhere, and that is still the same skip.
    assert!(!viewer.skip(&ring, landing(15, &[87, 88]), &mut counts));
    assert_eq!((counts.skips, counts.packets_dropped), (1, 12));
    ring.evict(5 * PACKET_BYTES);
    assert_eq!(everything(&mut viewer, &near, &ring, &mut counts), Came::There);
    let rest = vec![2; PACKET_BYTES - 50];
    let mut expected = rest.clone();
    for fill in [87, 88, 15, 16, 17, 18, 19] {
        expected.extend([fill; PACKET_BYTES]);
    }
    assert_eq!(read(&mut far, expected.len()), expected);
    assert_eq!(counts.packets_sent, 6, "the one that was finished, and five");
    assert_eq!(counts.catching_up_bytes, (rest.len() + 5 * PACKET_BYTES) as u64);
    // From here on it is another one.
    feed(&mut ring, 20..30);
    assert!(viewer.skip(&ring, landing(25, &[97]), &mut counts));
    assert_eq!((counts.skips, counts.packets_dropped), (2, 17));
}

fn everything(
    viewer: &mut CatchingUp,
    near: &TcpStream,
    ring: &Ring,
    counts: &mut StreamCounts,
) -> Came {
    viewer.advance(near, ring, ring.head(), &mut Allowance::of_a_turn(), counts).unwrap()
}

/// As if so many bytes of what comes next had been sent.
fn sent(viewer: &mut CatchingUp, bytes: usize, counts: &mut StreamCounts) {
    viewer.take(bytes, counts);
}

#[test]
fn an_inserted_packet_that_has_begun_is_finished() {
    for (into, left) in [(0, 0), (1, 187), (188, 0), (200, 176), (375, 1)] {
        let (near, mut far) = pair();
        let mut ring = Ring::new();
        feed(&mut ring, 0..30);
        let mut counts = StreamCounts::default();
        let mut viewer = CatchingUp::at(Position::START);
        viewer.skip(&ring, landing(10, &[77, 78]), &mut counts);
        sent(&mut viewer, into, &mut counts);
        assert_eq!(viewer.skip(&ring, landing(29, &[88]), &mut counts), into > 0);
        assert_eq!(everything(&mut viewer, &near, &ring, &mut counts), Came::There);
        let begun = if into < PACKET_BYTES { 77 } else { 78 };
        let expected = [vec![begun; left], vec![88; PACKET_BYTES], vec![29; PACKET_BYTES]].concat();
        assert_eq!(read(&mut far, expected.len()), expected, "{into}");
        assert_eq!((counts.packets_sent, counts.packets_dropped), (1, 29));
    }
}

#[test]
fn who_has_had_only_tables_misses_nothing_but_is_told_that_others_follow() {
    let mut ring = Ring::new();
    feed(&mut ring, 0..30);
    let mut counts = StreamCounts::default();
    let tables = landing(0, &[66, 67]).inserted;
    let joiner =
        || CatchingUp::joining(answer(b"head"), Position::START).with_tables(tables.clone());
    for (into, has_had, expected) in [
        (0, false, [b"head".to_vec(), vec![88; PACKET_BYTES], vec![29; PACKET_BYTES]]),
        (4, false, [vec![], vec![88; PACKET_BYTES], vec![29; PACKET_BYTES]]),
        (5, true, [vec![66; 187], vec![88; PACKET_BYTES], vec![29; PACKET_BYTES]]),
        (192, true, [vec![], vec![88; PACKET_BYTES], vec![29; PACKET_BYTES]]),
    ] {
        let (near, mut far) = pair();
        let mut viewer = joiner();
        sent(&mut viewer, into, &mut counts);
        assert_eq!(viewer.has_had_packets(), has_had, "{into}");
        assert!(!viewer.skip(&ring, landing(29, &[88]), &mut counts));
        assert_eq!(everything(&mut viewer, &near, &ring, &mut counts), Came::There);
        let expected = expected.concat();
        assert_eq!(read(&mut far, expected.len()), expected, "{into}");
    }
    assert_eq!((counts.skips, counts.packets_dropped, counts.bytes_dropped), (0, 0, 0));
}

#[test]
fn who_was_skipped_is_not_skipped_for_where_it_goes_on_once_it_moves() {
    let mut ring = Ring::new();
    feed(&mut ring, 0..100);
    let mut counts = StreamCounts::default();
    let mut viewer = CatchingUp::at(Position::START);
    viewer.skip(&ring, landing(60, &[88]), &mut counts);
    let limit = 10 * PACKET_BYTES;
    assert_eq!(viewer.may_lag(limit), limit, "there is nothing to lose");
    sent(&mut viewer, 1, &mut counts);
    assert_eq!(viewer.may_lag(limit), 80 * PACKET_BYTES);
}

proptest::proptest! {
    /// Whatever is sent and skipped in whichever order: what comes is whole packets, those of the
    /// stream in order, each once, and every packet is sent or counted.
    #[test]
    fn every_packet_is_sent_or_counted(
        steps in proptest::collection::vec((0usize..900, 0usize..40), 1..60),
    ) {
        let mut ring = Ring::new();
        let mut counts = StreamCounts::default();
        let mut viewer = CatchingUp::at(Position::START);
        let (mut got, mut skips, mut last) = (Vec::new(), 0u8, 0);
        for (bytes, ahead) in steps {
            feed(&mut ring, 0..7);
            // Takes some of what it is offered.
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = viewer.offer(&ring, ring.head(), &mut slices);
            let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = bytes.min(all.len());
            got.extend_from_slice(&all[..taken]);
            if taken > 0 {
                viewer.take(taken, &mut counts);
            }
            let to = viewer.next_stop().advanced(ahead * PACKET_BYTES);
            if ahead > 0 && to <= ring.head() {
                // Inserted ones are told from the stream's by what they are filled with.
                skips = (skips + 1) % 100;
                let inserted = vec![100 + skips; 2 * PACKET_BYTES];
                let landing = Landing { position: to, inserted: Some(inserted.into()) };
                last += u64::from(viewer.skip(&ring, landing, &mut counts));
            }
        }
        let whole: Vec<&[u8]> = got.chunks(PACKET_BYTES).collect();
        for packet in &whole {
            assert!(packet.iter().all(|byte| *byte == packet[0]), "a packet is torn");
        }
        let is_of_stream = |packet: &&&[u8]| packet.len() == PACKET_BYTES && packet[0] < 100;
        let of_stream = whole.iter().filter(is_of_stream).count();
        assert_eq!(of_stream as u64, counts.packets_sent);
        assert_eq!(last, counts.skips);
        let done = viewer.position().packets_since(Position::START);
        let First { begun, sent, of_stream, .. } = &viewer.first;
        let rest = u64::from(*of_stream && *sent < begun.len());
        assert_eq!(counts.packets_sent + counts.packets_dropped + rest, done);
        assert_eq!(counts.packets_dropped * PACKET_BYTES as u64, counts.bytes_dropped);
    }
}
