//! A viewer who stalls and reads on: real H.264, and ffmpeg as the judge.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use support::PATIENCE;
use support::http::open_on;
use support::media::{
    Packet, Recording, SAMPLE_BITS_PER_SECOND, assert_continuous, packets_of, sample_bytes,
};
use support::node::{Node, stream};
use support::packets::PACKET_BYTES;
use support::upstream::{Kind, Peer, Upstream};

const VIDEO: u16 = 0x100;
const PMT: u16 = 0x1000;
/// What the upstream sends at a time: less than what one may lag.
const SLICE: usize = 300 * PACKET_BYTES;
const SECOND: usize = 2_000_000 / 8 / PACKET_BYTES * PACKET_BYTES;

const _: () = assert!(SAMPLE_BITS_PER_SECOND == 2_000_000);

/// A node with one stream, its upstream in our hands, and a viewer.
struct Show {
    node: Node,
    peer: Peer,
    film: Vec<u8>,
    /// So much of the film was sent.
    sent: usize,
    viewer: TcpStream,
    /// What the viewer has read.
    got: Vec<u8>,
}

impl Show {
    /// The viewer is there when the film begins, and has a small buffer, as set-top boxes do: it
    /// watches for two seconds.
    fn begin(policy: &str) -> Show {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Upstream::open(Kind::Tcp, dir.path());
        let mut resource = stream("/a.ts", &upstream.url);
        resource["slow"] = json!(policy);
        let node = Node::with(&json!({ "resources": [resource] }));
        let peer = upstream.accept();
        node.await_connected();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect_timeout(&node.address.into(), PATIENCE).unwrap();
        let request = b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n";
        let (answer, viewer) = open_on(socket.into(), request);
        assert_eq!(answer.status, 200);
        node.await_count("restreamer_viewers", "live", 1);
        let mut show = Show { node, peer, film: sample_bytes(), sent: 0, viewer, got: Vec::new() };
        while show.sent < 2 * SECOND {
            show.send();
            let mut part = vec![0; show.sent - show.got.len()];
            show.viewer.read_exact(&mut part).unwrap();
            show.got.extend(part);
        }
        assert!(show.got == show.film[..show.sent], "as long as it reads it gets all");
        show
    }

    /// Sends some more of the film, and waits until the node has it.
    fn send(&mut self) {
        let to = self.film.len().min(self.sent + SLICE);
        self.peer.write_all(&self.film[self.sent..to]).unwrap();
        self.sent = to;
        let packets = f64::from(u32::try_from(to / PACKET_BYTES).unwrap());
        self.node.await_metric("streaming_packets_received", "/a.ts", |came| came >= packets);
    }

    /// Sends the film on for so many seconds of it.
    fn go_on(&mut self, seconds: usize) {
        let to = self.sent + seconds * SECOND;
        while self.sent < to {
            self.send();
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.node.count(name, "/a.ts")
    }

    /// The viewer reads on while the film is sent to its end.
    fn read_on(&mut self) {
        let last = self.film[self.film.len() - 50 * PACKET_BYTES..].to_vec();
        let mut viewer = self.viewer.try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            while !got.ends_with(&last) {
                let n = viewer.read(&mut buffer).unwrap();
                assert!(n > 0, "the viewer is cut after {} bytes", got.len());
                got.extend_from_slice(&buffer[..n]);
            }
            got
        });
        // It has caught up before anything more comes.
        self.node.await_count("restreamer_viewers", "live", 1);
        while self.sent < self.film.len() {
            self.send();
        }
        self.got.extend(reading.join().unwrap());
    }

    /// The viewer hangs up; what the log says of it.
    fn hang_up(self) -> serde_json::Value {
        drop(self.viewer);
        self.node.await_log(|entry| entry["module"] == "access")
    }
}

fn is_key(packet: &Packet<'_>) -> bool {
    packet.pid() == VIDEO && packet.starts_unit() && packet.is_random_access_point()
}

/// Where the recording stops being the film from its beginning on, in packets.
fn gap(got: &[u8], film: &[u8]) -> usize {
    let pairs = got.chunks(PACKET_BYTES).zip(film.chunks(PACKET_BYTES));
    pairs.take_while(|(one, other)| one == other).count()
}

#[test]
fn a_viewer_stalled_for_ten_seconds_reads_on_with_a_picture_and_one_signal() {
    let mut show = Show::begin("random_access");
    show.go_on(12);
    assert_eq!(show.count("restreamer_skips_total"), 1, "it has had nothing since the first");
    let stalled = show.sent;
    show.read_on();
    assert_continuous(&show.got);
    let packets = packets_of(&show.got);
    let gap = gap(&show.got, &show.film);
    let signals: Vec<usize> =
        (0..packets.len()).filter(|&n| packets[n].is_discontinuous()).collect();
    // One on each PID, in a row, where the film does not go on, and nowhere else.
    let end = gap + signals.len();
    assert_eq!(signals, (gap..end).collect::<Vec<_>>());
    let mut pids: Vec<u16> = packets[gap..end].iter().map(|packet| packet.pid()).collect();
    assert!(packets[gap..end].iter().all(|packet| !packet.has_payload()));
    assert_eq!(pids.iter().filter(|pid| **pid == VIDEO).count(), 1, "which has the clock");
    pids.sort_unstable();
    let mut known: Vec<u16> = packets[..gap].iter().map(|packet| packet.pid()).collect();
    known.sort_unstable();
    known.dedup();
    known.retain(|pid| *pid != 0x1FFF);
    assert_eq!(pids, known);
    // Then PAT, PMT and a picture, and all that follows it.
    assert_eq!((packets[end].pid(), packets[end + 1].pid()), (0, PMT));
    assert!(packets[end].starts_unit() && packets[end + 1].starts_unit());
    assert!(is_key(&packets[end + 2]), "a random access point");
    let rest = &show.got[(end + 2) * PACKET_BYTES..];
    assert!(show.film.ends_with(rest), "byte by byte");
    // It was sent the newest that there was when it read on.
    let place = show.film.len() - rest.len();
    assert!(place <= stalled && stalled < place + 5 * SECOND / 4, "{place} of {stalled}");
    Recording::of(&show.got[end * PACKET_BYTES..]).assert_plays();
    // Every packet of the film was sent or is counted.
    let all = (show.film.len() / PACKET_BYTES) as u64;
    let (sent, dropped) =
        (show.count("streaming_packets_sent"), show.count("streaming_packets_dropped"));
    let inserted = signals.len() as u64 + 2;
    assert_eq!((sent + dropped, sent + inserted), (all, packets.len() as u64));
    assert_eq!(dropped, (place / PACKET_BYTES - gap) as u64);
    assert_eq!(show.count("streaming_bytes_dropped"), dropped * PACKET_BYTES as u64);
    assert_eq!(show.count("restreamer_skips_total"), 1);
    let line = show.hang_up();
    assert_eq!(line["packets_skipped"], dropped, "{line}");
    assert_eq!(line["bytes"], sent * PACKET_BYTES as u64, "{line}");
}

#[test]
fn by_packets_it_reads_on_at_the_newest_and_nothing_is_inserted() {
    let mut show = Show::begin("packets");
    show.go_on(12);
    show.read_on();
    let packets = packets_of(&show.got);
    assert!(!packets.iter().any(|packet| packet.is_discontinuous()));
    let gap = gap(&show.got, &show.film);
    let rest = &show.got[gap * PACKET_BYTES..];
    assert!(show.film.ends_with(rest), "byte by byte");
    let (sent, dropped) =
        (show.count("streaming_packets_sent"), show.count("streaming_packets_dropped"));
    assert!(dropped > 0);
    assert_eq!(sent, packets.len() as u64);
    assert_eq!(sent + dropped, (show.film.len() / PACKET_BYTES) as u64);
    assert_eq!(show.count("restreamer_skips_total"), 1);
}

#[test]
fn who_is_too_slow_for_that_is_let_go_behind_a_whole_packet() {
    let mut show = Show::begin("disconnect");
    while show.node.count("restreamer_viewers", "ending") == 0 {
        assert!(show.sent < show.film.len(), "it stays");
        show.send();
    }
    show.viewer.read_to_end(&mut show.got).unwrap();
    assert!(show.film.starts_with(&show.got), "nothing is missing before its end");
    assert_eq!(show.got.len() % PACKET_BYTES, 0, "the last packet is whole");
    show.node.await_count("restreamer_viewers_ended_total", "too_slow\"", 1);
    let (sent, dropped) =
        (show.count("streaming_packets_sent"), show.count("streaming_packets_dropped"));
    assert_eq!(sent, (show.got.len() / PACKET_BYTES) as u64);
    assert!(dropped > 0 && sent + dropped <= (show.sent / PACKET_BYTES) as u64);
    let line = show.hang_up();
    assert_eq!((&line["reason"], &line["packets_skipped"]), (&json!("too_slow"), &json!(dropped)));
}
