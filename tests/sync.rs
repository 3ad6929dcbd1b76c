//! Whatever is between the packets: viewers get packets, and what was wrong is counted.

mod support;

use std::io::Write;
use std::net::TcpListener;

use serde_json::json;

use support::PATIENCE;
use support::crowd::{Crowd, Pace, Watcher};
use support::http;
use support::media::record_to_end;
use support::node::{Node, cut, repository, stream};
use support::packets::{PACKET_BYTES, Verifier, packet, packets};
use support::upstream::{accept, read_head, write_at};

const PACKETS: u64 = 3000;
/// What a hunt costs where no two packets are in a row: a packet is told from garbage by four of
/// its PID before it, and there are three PIDs.
const HUNTED_MAX: u64 = 12;

/// What a node made of an upstream's bytes.
struct Outcome {
    verifier: Verifier,
    sync_losses: u64,
    discarded: u64,
    continuity_errors: u64,
}

#[test]
fn garbage_before_every_packet_is_taken_out() {
    for (seed, kind) in [(1, Garbage::Plain), (2, Garbage::Random), (3, Garbage::SyncBytes)] {
        let woven = Woven::new(seed, kind, |_| true);
        let outcome = deliver(&woven.bytes);
        let missing = outcome.assert_originals(&woven, HUNTED_MAX);
        // Before the first packet there is no sync that could be lost.
        assert_eq!(outcome.sync_losses, woven.places - missing, "{kind:?}");
    }
}

#[test]
fn garbage_before_every_seventh_packet_is_taken_out() {
    for (seed, kind) in [(4, Garbage::Plain), (5, Garbage::Random), (6, Garbage::SyncBytes)] {
        let woven = Woven::new(seed, kind, |number| number % 7 == 0);
        let outcome = deliver(&woven.bytes);
        // It begins with packets in a row, so that not one is missing.
        outcome.assert_originals(&woven, 0);
        assert_eq!(outcome.sync_losses, woven.places, "{kind:?}");
    }
}

#[test]
fn garbage_here_and_there_is_taken_out() {
    for seed in 10..13 {
        let mut dice = fastrand::Rng::with_seed(seed);
        // It begins with all PIDs in a row, twice.
        let woven = Woven::new(seed, Garbage::Random, |number| number > 6 && dice.u8(..5) == 0);
        let outcome = deliver(&woven.bytes);
        outcome.assert_originals(&woven, 0);
        assert_eq!(outcome.sync_losses, woven.places, "seed {seed}");
    }
}

#[test]
fn garbage_from_the_beginning_costs_a_few_packets() {
    for seed in 20..23 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let woven = Woven::new(seed, Garbage::Random, |_| dice.bool());
        let outcome = deliver(&woven.bytes);
        outcome.assert_originals(&woven, HUNTED_MAX);
        // How many of them were before the first packet depends on what is a row.
        let losses = outcome.sync_losses;
        assert!((woven.places - HUNTED_MAX..=woven.places).contains(&losses), "{losses}");
    }
}

#[test]
fn packets_that_prove_another_are_packets_themselves() {
    let mut bytes = packets(0..3);
    bytes.extend([0; 50]);
    bytes.extend(packets(3..100));
    let outcome = deliver(&bytes);
    outcome.verifier.assert_perfect("viewer");
    assert_eq!((outcome.verifier.first, outcome.verifier.next), (Some(0), 100));
    assert_eq!((outcome.sync_losses, outcome.discarded), (1, 50));
}

#[test]
fn a_connection_may_begin_in_the_middle_of_a_packet() {
    for into in [1, 3, 4, 100, 187] {
        let bytes = &packets(0..PACKETS / 10)[into..];
        let outcome = deliver(bytes);
        outcome.verifier.assert_perfect(&format!("{into} bytes into it"));
        assert_eq!(outcome.verifier.first, Some(1), "the next packet is the first");
        assert_eq!(outcome.verifier.next, PACKETS / 10);
        assert_eq!(outcome.discarded, (PACKET_BYTES - into) as u64);
        assert_eq!((outcome.sync_losses, outcome.continuity_errors), (0, 0));
    }
}

#[test]
fn a_truncated_packet_costs_itself_and_the_one_after_it() {
    const CUTS: [usize; 8] = [1, 3, 4, 5, 20, 100, 186, 187];
    let mut bytes = packets(0..50);
    for (number, cut) in (0..).zip(CUTS) {
        let first = 50 * (number + 1);
        bytes.extend_from_slice(&packet(first)[..cut]);
        bytes.extend(packets(first + 1..first + 50));
    }
    let outcome = deliver(&bytes);
    let (verifier, cuts) = (&outcome.verifier, CUTS.len() as u64);
    assert_eq!((verifier.first, verifier.next), (Some(0), 50 * (cuts + 1)));
    assert_eq!((verifier.repeated, verifier.unfinished()), (0, 0), "{verifier:?}");
    // Its header was right and there is no look-ahead: what came where its rest should have been
    // goes out as such, 188 bytes of the upstream's, and the packet after it has lost its front.
    assert!(verifier.torn <= cuts, "{verifier:?}");
    assert!(verifier.lost <= 2 * cuts, "{verifier:?}");
    assert_eq!(outcome.sync_losses, cuts, "each is a loss of sync");
    assert_eq!(outcome.bytes_received() + outcome.discarded, bytes.len() as u64);
}

#[test]
fn a_text_is_no_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/live.ts", listener.local_addr().unwrap());
    let node = Node::cutting(&url);
    let license = std::fs::read_to_string(repository("LICENSE")).unwrap();
    let text = format!("<html><body><pre>{}</pre></body></html>", license.repeat(10));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";

    let mut peer = accept(&listener);
    read_head(&mut peer);
    write!(peer, "{head}Content-Length: {}\r\n\r\n", text.len()).unwrap();
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    peer.write_all(text.as_bytes()).unwrap();
    assert_eq!(record_to_end(&mut viewer).bytes.len(), 0, "nothing of it is delivered");
    let of = |name: &str| node.count(name, "/a.ts");
    assert_eq!(of("restreamer_discarded_bytes_total"), text.len() as u64);
    assert_eq!(of("streaming_packets_received"), 0);
    assert_eq!(of("restreamer_sync_losses_total"), 0, "there was no sync to lose");

    // The node lives: the next time it is the stream.
    let mut peer = accept(&listener);
    read_head(&mut peer);
    write!(peer, "{head}\r\n").unwrap();
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    peer.write_all(&packets(0..100)).unwrap();
    drop(peer);
    assert!(record_to_end(&mut viewer).bytes == packets(0..100));
}

#[test]
fn each_counter_that_does_not_follow_is_counted_once() {
    // (how many packets are left out, how many of the three PIDs show it). A PID's counter has
    // four bits: that sixteen of it are missing cannot be seen.
    const GAPS: [(u64, u64); 6] = [(1, 1), (2, 2), (3, 3), (5, 3), (40, 3), (48, 0)];
    let (mut bytes, mut next) = (packets(0..100), 100);
    for (gap, _) in GAPS {
        next += gap;
        bytes.extend(packets(next..next + 100));
        next += 100;
    }
    let outcome = deliver(&bytes);
    let verifier = &outcome.verifier;
    verifier.assert_whole("viewer");
    assert_eq!((verifier.first, verifier.next), (Some(0), next));
    assert_eq!(verifier.packets, bytes.len() as u64 / PACKET_BYTES as u64, "all there are");
    assert_eq!(verifier.lost, GAPS.iter().map(|(gap, _)| gap).sum::<u64>());
    assert_eq!(outcome.continuity_errors, GAPS.iter().map(|(_, shown)| shown).sum::<u64>());
    assert_eq!((outcome.sync_losses, outcome.discarded), (0, 0));
}

#[test]
fn a_packet_may_come_twice() {
    let mut bytes = packets(0..100);
    bytes.extend(packet(99));
    bytes.extend(packets(100..200));
    let outcome = deliver(&bytes);
    assert_eq!((outcome.verifier.packets, outcome.verifier.repeated), (201, 1), "it is passed on");
    assert_eq!((outcome.verifier.torn, outcome.verifier.lost), (0, 0));
    assert_eq!((outcome.sync_losses, outcome.discarded, outcome.continuity_errors), (0, 0, 0));
}

impl Outcome {
    /// Asserts that what is delivered is original, in order and once, up to the last packet, and
    /// that all else is counted, byte for byte. Answers how many packets are missing: they are
    /// `missing_max` at most, and among the first.
    fn assert_originals(&self, woven: &Woven, missing_max: u64) -> u64 {
        let verifier = &self.verifier;
        verifier.assert_whole(&format!("{:?}", woven.kind));
        assert_eq!((verifier.next, verifier.unfinished()), (PACKETS, 0), "up to the last");
        let missing = verifier.first.unwrap() + verifier.lost;
        assert!(missing <= missing_max, "{:?}: {verifier:?}", woven.kind);
        assert_eq!(self.discarded, woven.garbage + missing * PACKET_BYTES as u64);
        // Garbage hides no counter: only packets that are missing would break one.
        assert_eq!(self.continuity_errors, 0);
        missing
    }

    fn bytes_received(&self) -> u64 {
        (self.verifier.packets + self.verifier.torn) * PACKET_BYTES as u64
    }
}

/// What stands between packets. Of a hundred seeds a few make garbage that has the whole header of
/// the packet to come, or the length of a packet and a header: nobody can tell. These do not.
#[derive(Clone, Copy, Debug)]
enum Garbage {
    /// Any bytes but 0x47.
    Plain,
    /// Any bytes.
    Random,
    /// Any bytes, and a 0x47 for every 32.
    SyncBytes,
}

/// Packets with garbage between them.
struct Woven {
    kind: Garbage,
    bytes: Vec<u8>,
    /// Times that there is some.
    places: u64,
    /// Bytes of it.
    garbage: u64,
}

impl Woven {
    /// Puts 1 to 300 bytes before every packet but the first that `is_at` chooses.
    fn new(seed: u64, kind: Garbage, mut is_at: impl FnMut(u64) -> bool) -> Woven {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut woven = Woven { kind, bytes: Vec::new(), places: 0, garbage: 0 };
        for number in 0..PACKETS {
            if number > 0 && is_at(number) {
                let length = dice.usize(1..=300);
                woven.places += 1;
                woven.garbage += length as u64;
                woven.bytes.extend((0..length).map(|_| kind.byte(&mut dice)));
            }
            woven.bytes.extend(packet(number));
        }
        woven
    }
}

impl Garbage {
    fn byte(self, dice: &mut fastrand::Rng) -> u8 {
        match self {
            Garbage::Plain => [0x00, 0x46, 0x48, 0xFF, dice.u8(0x80..)][dice.usize(..5)],
            Garbage::SyncBytes if dice.u8(..32) == 0 => 0x47,
            Garbage::Random | Garbage::SyncBytes => dice.u8(..),
        }
    }
}

/// Sends bytes through a node to two viewers, who must agree; ends with the connection.
fn deliver(bytes: &[u8]) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    // Skipping is not the matter here.
    let config = json!({ "outputbuffer": 100_000, "resources": [cut(stream("/a.ts", &url))] });
    let node = Node::with(&config);
    let mut peer = accept(&listener);
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 2, Pace::Fast);
    crowd.watch_until(|all| all.iter().all(Watcher::is_welcome), PATIENCE);
    let bytes = bytes.to_vec();
    let sending = std::thread::spawn(move || write_at(&mut peer, &bytes, 8_000_000));
    crowd.watch_until(|all| all.iter().all(|watcher| watcher.ended), PATIENCE);
    sending.join().unwrap();
    let mut verifiers = crowd.watchers.into_iter().map(|watcher| watcher.verifier);
    let verifier = verifiers.next().unwrap();
    assert_eq!(format!("{verifier:?}"), format!("{:?}", verifiers.next().unwrap()));
    let of = |name: &str| node.count(name, "/a.ts");
    assert_eq!(of("streaming_packets_received"), verifier.packets + verifier.torn);
    assert_eq!(of("streaming_packets_dropped"), 0);
    Outcome {
        sync_losses: of("restreamer_sync_losses_total"),
        discarded: of("restreamer_discarded_bytes_total"),
        continuity_errors: of("restreamer_continuity_errors_total"),
        verifier,
    }
}
