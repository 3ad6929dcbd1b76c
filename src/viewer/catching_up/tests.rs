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
    viewer.skip(&ring, &mut counts);
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
        viewer.skip(&ring, &mut counts);
        ring.evict(0);
        feed(&mut ring, 0..250);
        ring.evict(0);
        viewer.skip(&ring, &mut counts);
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
