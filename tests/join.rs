//! A new viewer begins with a picture: real H.264, and ffmpeg as the judge.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::PATIENCE;
use support::crowd::{Crowd, Pace};
use support::http::watch;
use support::media::{Packet, assert_continuous, packets_of};
use support::node::{Node, stream};
use support::packets::PACKET_BYTES;
use support::source::{Source, Speech};

const VIDEO: u16 = 0x100;
const JOINS: usize = 20;

/// Two seconds between key frames, 3 Mbit/s, and tables twice a second only.
fn film(path: &Path, more: &[&str]) {
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "error", "-y", "-f", "lavfi"]);
    command.args(["-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=440"]);
    command.args(["-t", "24", "-g", "50", "-c:a", "aac", "-c:v", "libx264"]);
    command.args(["-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p", "-b:v", "2500k"]);
    command.args(["-maxrate", "2500k", "-bufsize", "1M", "-sc_threshold", "0"]);
    command.args(more).args(["-f", "mpegts", "-muxrate", "3M", "-pat_period", "0.5"]).arg(path);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
}

/// An upstream that sends a file once in real time, by its constant rate.
struct Upstream {
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    fn start(bytes: Vec<u8>, bits_per_second: u64) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            let mut peer = loop {
                match listener.accept() {
                    Ok((peer, _)) => break peer,
                    Err(_) if told.load(Ordering::Relaxed) => return,
                    Err(_) => std::thread::sleep(Duration::from_millis(4)),
                }
            };
            peer.set_nonblocking(false).unwrap();
            peer.set_write_timeout(Some(PATIENCE)).unwrap();
            let (start, mut sent) = (Instant::now(), 0);
            while !told.load(Ordering::Relaxed) && sent < bytes.len() {
                let due = start.elapsed().as_micros() * u128::from(bits_per_second) / 8_000_000;
                let due = usize::try_from(due).unwrap().min(bytes.len());
                if peer.write_all(&bytes[sent..due]).is_err() {
                    return; // The node is gone.
                }
                sent = due;
                std::thread::sleep(Duration::from_millis(4));
            }
            // Whoever reads it waits for more.
            while !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        Upstream { address, stop, thread: Some(thread) }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It says what is wrong itself.
        let _told = self.thread.take().unwrap().join();
    }
}

fn node(upstream: &Upstream, more: &Value) -> Node {
    let mut stream = stream("/a.ts", &format!("tcp://{}", upstream.address));
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    let node = Node::with(&json!({ "resources": [stream] }));
    node.await_connected();
    node
}

/// Reads so many bytes, or to the end.
fn read(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    socket.take(bytes as u64).read_to_end(&mut all).unwrap();
    all
}

fn is_key(packet: &Packet<'_>) -> bool {
    packet.pid() == VIDEO && packet.starts_unit() && packet.is_random_access_point()
}

/// Asserts that it is PAT, PMT and then `film` from a random access point on, byte by byte, with
/// counters that fit; answers where in the film that is, in bytes.
fn assert_begins_with_a_picture(got: &[u8], film: &[u8]) -> usize {
    let packets = packets_of(got);
    let pids: Vec<u16> = packets[..3].iter().map(|packet| packet.pid()).collect();
    assert_eq!(pids, [0, 0x1000, VIDEO]);
    assert!(packets[..2].iter().all(|packet| packet.starts_unit()));
    assert!(is_key(&packets[2]), "a random access point");
    assert_continuous(got);
    let stream = &got[2 * PACKET_BYTES..];
    let mut places = (0..film.len()).step_by(PACKET_BYTES);
    places.find(|&at| film[at..].starts_with(stream)).expect("a contiguous part of the film")
}

/// Asserts that the first frame of the video decodes, and that ffmpeg has nothing to say about it.
fn assert_first_frame_decodes(got: &[u8], dir: &Path) {
    let path = dir.join("joined.ts");
    std::fs::write(&path, got).unwrap();
    let mut command = Command::new("timeout");
    command.args(["30", "ffmpeg", "-v", "error", "-xerror", "-nostdin", "-i"]).arg(&path);
    command.args(["-map", "0:v", "-frames:v", "1", "-f", "framemd5", "-"]);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let frames = String::from_utf8(output.stdout).unwrap();
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 1, "{frames}");
}

/// Where the film's key frames are, in bytes.
fn keys(film: &[u8]) -> Vec<usize> {
    let packets = packets_of(film);
    let at = packets.iter().enumerate().filter(|(_, packet)| is_key(packet));
    at.map(|(number, _)| number * PACKET_BYTES).collect()
}

#[test]
fn every_join_begins_with_tables_and_a_picture_that_decodes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.ts");
    film(&path, &[]);
    let film = std::fs::read(path).unwrap();
    let keys = keys(&film);
    let upstream = Upstream::start(film.clone(), 3_000_000);
    let node = node(&upstream, &json!({}));
    // One who watches from the start sees that the second key frame has come.
    let mut first = watch(node.address, "/a.ts");
    let seen = read(&mut first, keys[1] + 200 * PACKET_BYTES);
    assert_is_part(&seen, &film);
    let by_picture = || node.count("restreamer_joins_total", "kind=\"random_access\"");
    let before = by_picture();
    let mut dice = fastrand::Rng::with_seed(7);
    let mut starts = Vec::new();
    for number in 0..JOINS {
        // At any place of a group of pictures.
        let on = dice.usize(1..=4) * 100 * PACKET_BYTES + number;
        read(&mut first, on / PACKET_BYTES * PACKET_BYTES);
        let mut viewer = watch(node.address, "/a.ts");
        let got = read(&mut viewer, 600 * PACKET_BYTES);
        let place = assert_begins_with_a_picture(&got, &film);
        assert!(keys.contains(&place));
        assert_first_frame_decodes(&got, dir.path());
        starts.push(place);
    }
    assert!(starts.is_sorted() && starts[0] < starts[JOINS - 1], "{starts:?}");
    assert_eq!(by_picture() - before, JOINS as u64);
}

/// Asserts that it is the film from somewhere near its beginning on, after tables or not: so one
/// begins who is there before the first picture.
fn assert_is_part(got: &[u8], film: &[u8]) {
    let from = |stream: &[u8]| (0..50).any(|at| film[at * PACKET_BYTES..].starts_with(stream));
    assert!(from(got) || from(&got[2 * PACKET_BYTES..]), "something is missing");
}

/// Each worker's part of a stream finds the pictures by itself.
#[test]
fn a_hot_stream_is_joined_at_a_picture_in_every_worker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.ts");
    film(&path, &[]);
    let film = std::fs::read(path).unwrap();
    let keys = keys(&film);
    let upstream = Upstream::start(film.clone(), 3_000_000);
    let resource = json!({ "type": "stream", "serve": "/a.ts", "hot": true,
        "remote": format!("tcp://{}", upstream.address) });
    let node = Node::with(&json!({ "workers": 2, "resources": [resource] }));
    node.await_connected();
    let mut first = watch(node.address, "/a.ts");
    read(&mut first, keys[2]);
    for _ in 0..JOINS {
        let got = read(&mut watch(node.address, "/a.ts"), 300 * PACKET_BYTES);
        assert!(keys.contains(&assert_begins_with_a_picture(&got, &film)));
    }
}

#[test]
fn joined_live_or_some_seconds_ago() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.ts");
    film(&path, &[]);
    let film = std::fs::read(path).unwrap();
    let keys = keys(&film);
    let upstream = Upstream::start(film.clone(), 3_000_000);
    let live = node(&upstream, &json!({ "join": "live" }));
    let mut first = watch(live.address, "/a.ts");
    read(&mut first, keys[1] + 1000 * PACKET_BYTES);
    let got = read(&mut watch(live.address, "/a.ts"), 500 * PACKET_BYTES);
    let mut places = (0..film.len()).step_by(PACKET_BYTES);
    let place = places.find(|&at| film[at..].starts_with(&got)).expect("nothing is inserted");
    assert!(place >= keys[1] + 900 * PACKET_BYTES, "{place}: at the newest packet");
    assert_eq!(live.count("restreamer_ring_bytes", ""), 0);
    drop(live);

    let upstream = Upstream::start(film.clone(), 3_000_000);
    let late = node(&upstream, &json!({ "join": { "seconds": 3 }, "preamble": "" }));
    let mut first = watch(late.address, "/a.ts");
    read(&mut first, keys[4]);
    let got = read(&mut watch(late.address, "/a.ts"), 500 * PACKET_BYTES);
    let place = assert_begins_with_a_picture(&got, &film);
    assert!(keys[1..3].contains(&place), "{place} of {keys:?}");
    assert_eq!(late.count("restreamer_joins_total", "kind=\"seconds\""), 2);
}

/// Those who join have a second of the stream to fetch; who is live is not to notice.
#[test]
fn many_who_join_at_a_picture_disturb_nobody() {
    const VIEWERS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.ts");
    film(&path, &[]);
    let film = std::fs::read(path).unwrap();
    let keys = keys(&film);
    let upstream = Upstream::start(film.clone(), 3_000_000);
    let source = Source::start(Speech::Raw, 2_000_000);
    let node = Node::with(&json!({ "workers": 1, "resources": [
        stream("/film.ts", &format!("tcp://{}", upstream.address)),
        stream("/live.ts", &source.url(Speech::Raw)),
    ] }));
    node.await_metric("streaming_source_connected", "", |sum| sum >= 2.0);
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/live.ts", VIEWERS, Pace::Fast);
    let watching = std::thread::spawn(move || {
        crowd.watch(Duration::from_secs(5));
        crowd
    });
    let mut first = watch(node.address, "/film.ts");
    let mut seen = read(&mut first, keys[1] + 1000 * PACKET_BYTES);
    let by_picture =
        || node.count("restreamer_joins_total", "kind=\"random_access\",stream=\"/film.ts\"");
    let before = by_picture();
    let watching_film = std::thread::spawn(move || read(&mut first, 1000 * PACKET_BYTES));
    // All within a second, each of whom takes what it gets at once.
    let address = node.address;
    let start = move || read(&mut watch(address, "/film.ts"), 1200 * PACKET_BYTES);
    let joining: Vec<_> = (0..VIEWERS).map(|_| std::thread::spawn(start)).collect();
    for viewer in joining {
        let got = viewer.join().unwrap();
        assert!(keys.contains(&assert_begins_with_a_picture(&got, &film)));
    }
    seen.extend(watching_film.join().unwrap());
    assert_is_part(&seen, &film);
    for (number, viewer) in watching.join().unwrap().watchers.iter().enumerate() {
        viewer.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!viewer.ended, "viewer {number} was cut");
    }
    assert_eq!(node.count("restreamer_skips_total", ""), 0);
    assert_eq!(by_picture() - before, VIEWERS as u64);
}
