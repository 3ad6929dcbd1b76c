//! While there is no upstream viewers see a slate, and go on with the next one: real H.264, and
//! ffmpeg as the judge.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};
use support::film::{Fate, Upstream, Viewer, film, frames};
use support::http::{open, request, watch};
use support::media::{Packet, assert_continuous, packets_of};
use support::node::{Node, stream};
use support::packets::{PACKET_BYTES, is_signal};
use support::upstream::free_address;

/// Ticks of 90 kHz of ten seconds.
const TEN_SECONDS: u64 = 900_000;

fn node(url: &str, more: &Value) -> Node {
    let mut stream = stream("/a.ts", url);
    stream["slate"] = "built-in".into();
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    Node::with(&json!({ "workers": 2, "reconnect": 0.1, "resources": [stream] }))
}

fn await_slate(node: &Node, shown: u64) {
    node.await_count("restreamer_stream_slate", "", shown);
}

/// The parts of a recording from one change of what it shows to the next.
fn sections(recording: &[u8]) -> Vec<&[u8]> {
    let is_switch = |at: usize| {
        let pid = |at: usize| packets_of(&recording[at..at + PACKET_BYTES])[0].pid();
        is_signal(&recording[at..at + PACKET_BYTES]) && pid(at) == 0
    };
    let mut starts: Vec<usize> = (0..recording.len()).step_by(PACKET_BYTES).collect();
    starts.retain(|&at| at == 0 || is_switch(at));
    starts.push(recording.len());
    starts.windows(2).map(|ends| &recording[ends[0]..ends[1]]).collect()
}

/// The decoding time stamps of each PID (PTS where there is no other), in ticks of 90 kHz.
fn stamps(section: &[u8]) -> BTreeMap<u16, Vec<u64>> {
    let mut stamps = BTreeMap::<u16, Vec<u64>>::new();
    for (bytes, packet) in section.chunks(PACKET_BYTES).zip(packets_of(section)) {
        let start = if bytes[3] & 0x20 == 0 { 4 } else { 5 + usize::from(bytes[4]) };
        let Some([0, 0, 1, _, _, _, _, flags, _, pes @ ..]) = bytes.get(start..) else { continue };
        if !packet.starts_unit() || flags & 0x80 == 0 {
            continue;
        }
        let stamp = if flags & 0x40 == 0 { &pes[..5] } else { &pes[5..10] };
        let bits = stamp.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        let ticks = (bits >> 3 & 7 << 30) | (bits >> 2 & 0x7FFF << 15) | (bits >> 1 & 0x7FFF);
        stamps.entry(packet.pid()).or_default().push(ticks);
    }
    stamps
}

/// How much of a section there is, in ticks of 90 kHz; all in it is monotonic.
fn span(section: &[u8]) -> u64 {
    assert!(clock(section).is_sorted_by(|a, b| b - a < 9000), "a clock without a gap");
    monotonic(section)
}

/// The same, with whatever gaps there are.
fn monotonic(section: &[u8]) -> u64 {
    let stamps = stamps(section);
    assert_eq!(stamps.len(), 2, "pictures and sound");
    for (pid, stamps) in &stamps {
        assert!(stamps.is_sorted_by(|a, b| a < b), "PID {pid:#x}");
    }
    assert!(clock(section).is_sorted_by(|a, b| a < b), "a clock that goes on");
    stamps.values().map(|of| of[of.len() - 1] - of[0]).min().unwrap()
}

fn clock(section: &[u8]) -> Vec<u64> {
    packets_of(section).into_iter().filter_map(Packet::pcr).collect()
}

fn assert_decodes(recording: &[u8], dir: &Path) -> Vec<String> {
    let path = dir.join("recording.ts");
    std::fs::write(&path, recording).unwrap();
    frames(&path, &[])
}

/// Reads until so much of the slate has been seen.
fn see(viewer: &mut TcpStream, ticks: u64) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let n = viewer.read(&mut buffer).unwrap();
        assert!(n > 0, "it is cut");
        all.extend_from_slice(&buffer[..n]);
        let whole = &all[..all.len() / PACKET_BYTES * PACKET_BYTES];
        let seen = stamps(sections(whole).last().unwrap());
        let enough = |of: &Vec<u64>| of[of.len() - 1] - of[0] >= ticks;
        if seen.len() == 2 && seen.values().all(enough) {
            return whole.to_vec();
        }
    }
}

/// Ten seconds without an upstream, which is more than `on_loss` would let anybody wait.
#[test]
fn viewers_see_the_slate_until_there_is_something_to_go_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("film.ts"), "testsrc2", &[]);
    let address = free_address();
    let start = || Upstream::start_at(address, film.clone(), &Arc::new(Fate::default()), 3);
    let upstream = start();
    let node = node(&upstream.url(), &json!({ "on_loss": { "hold": 3 } }));
    let received = || node.count("streaming_bytes_received", "");
    let more = || {
        let enough = received() + 900_000;
        support::eventually("more", || (received() >= enough).then_some(()));
    };
    more();
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    more();
    drop(upstream);
    await_slate(&node, 1);
    assert_eq!(node.count("restreamer_upstream_losses_total", ""), 1);
    let status = node.status();
    assert_eq!((&status["held"], &status["slate"]), (&true.into(), &true.into()), "{status}");
    // One who comes now sees it at once, as long as there is no other.
    let mut late = watch(node.address, "/a.ts");
    let seen = see(&mut late, TEN_SECONDS);
    assert!(span(&seen) >= TEN_SECONDS);
    assert!(assert_decodes(&seen, dir.path()).len() > 240, "each frame of ten seconds");
    let late = Viewer::start(late);
    let upstream = start();
    await_slate(&node, 0);
    more();
    let status = node.status();
    assert_eq!((&status["held"], &status["slate"]), (&false.into(), &false.into()), "{status}");
    assert_eq!(node.count("restreamer_viewers_ended_total", ""), 0, "nobody was cut");
    assert_eq!(node.count("restreamer_slates_total", ""), 1);
    assert_eq!(node.count("restreamer_holds_expired_total", ""), 0);
    assert!(node.stop().success());
    let recording = viewer.recording();
    assert_continuous(&recording);
    let parts = sections(&recording);
    let [before, slate, after] = parts[..] else { panic!("{} parts", parts.len()) };
    assert!(span(slate) >= TEN_SECONDS, "{}", span(slate));
    span(after);
    // It takes the place of the film's program, so that a player goes on with its streams.
    let pids = |part: &[u8]| stamps(part).into_keys().collect::<Vec<_>>();
    assert_eq!((pids(before), pids(slate)), (pids(after), pids(after)));
    let all = assert_decodes(&recording, dir.path());
    let of_slate = assert_decodes(slate, dir.path());
    let of_last = assert_decodes(after, dir.path());
    assert!(of_slate.len() > 250 && of_last.len() > 25, "{} {}", of_slate.len(), of_last.len());
    let of_first = assert_decodes(before, dir.path());
    // What was cut is not whole, and the first group after it may lack what it refers to.
    let least = of_first.len() + of_slate.len() + of_last.len() - 30;
    assert!(all.len() >= least, "{} frames of {least}", all.len());
    assert!(all.ends_with(&of_last[12..]), "to the end of what came after");
    let rest = late.recording();
    assert_continuous(&[&seen[..], &rest].concat());
    drop(upstream);
}

#[test]
fn without_any_upstream_there_is_the_slate_for_viewers_and_nothing_for_nodes() {
    let address = free_address();
    let node = node(&format!("tcp://{address}"), &json!({}));
    node.await_metric("restreamer_upstream_attempts_total", "connect", |sum| sum >= 1.0);
    assert_eq!(node.count("restreamer_stream_slate", ""), 0, "for nobody");
    assert_eq!(request(node.address, "HEAD", "/a.ts").status, 200);
    let before = Instant::now();
    let mut viewer = watch(node.address, "/a.ts");
    let seen = see(&mut viewer, 90_000);
    assert!(before.elapsed().as_secs() < 10, "it begins at once");
    assert!(span(&seen) >= 90_000);
    assert_eq!(node.count("restreamer_stream_slate", ""), 1);
    // A node has upstreams, and a slate, of its own.
    let of_node = b"GET /a.ts HTTP/1.1\r\nHost: test\r\nVia: 1.1 restreamer-other\r\n\r\n";
    assert_eq!(open(node.address, of_node).0.status, 404);
    drop(viewer);
    // The end of a viewer who is sent something shows at once.
    await_slate(&node, 0);
    let again = watch(node.address, "/a.ts");
    await_slate(&node, 1);
    drop(again);
}

/// The one that is not there, then one of one's own; neither is read before it is played.
#[test]
fn a_slate_of_ones_own_is_a_file_and_the_built_in_one_where_it_cannot_be_played() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slate.ts");
    let url = format!("tcp://{}", free_address());
    let node = node(&url, &json!({ "slate": path.to_str().unwrap() }));
    let mut viewer = watch(node.address, "/a.ts");
    let told = node.await_log(|line| line["error"] == "slate");
    let said = told["message"].as_str().unwrap();
    assert!(said.contains("slate.ts cannot be played, the built-in one is"), "{said}");
    let seen = see(&mut viewer, 90_000);
    assert!(assert_decodes(&seen, dir.path()).len() >= 20);
    drop(viewer);
    await_slate(&node, 0);
    let own = film(&path, "testsrc", &["-t", "2"]);
    let mut viewer = watch(node.address, "/a.ts");
    // More than a pass.
    let seen = see(&mut viewer, 270_000);
    // Where the file ends it is sent faster than it plays: its last pictures wait in the player.
    assert!(monotonic(&seen) >= 270_000, "as one stream");
    assert_continuous(&seen);
    let of_own = |packet: &[u8]| own.chunks(PACKET_BYTES).any(|of| of[8..] == packet[8..]);
    let pictures = seen.chunks(PACKET_BYTES).filter(|packet| packet[1] & 0x5F == 1);
    assert!(pictures.skip(20).take(50).all(of_own));
}

#[test]
fn a_hot_stream_shows_it_in_every_worker() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("film.ts"), "testsrc2", &[]);
    let address = free_address();
    let start = || Upstream::start_at(address, film.clone(), &Arc::new(Fate::default()), 3);
    let url = format!("tcp://{address}");
    let node = node(&url, &json!({ "hot": true }));
    await_slate(&node, 1);
    let viewers: Vec<_> = (0..8).map(|_| Viewer::start(watch(node.address, "/a.ts"))).collect();
    let upstream = start();
    await_slate(&node, 0);
    node.await_metric("streaming_bytes_received", "", |sum| sum > 900_000.0);
    drop(upstream);
    await_slate(&node, 1);
    let upstream = start();
    await_slate(&node, 0);
    node.await_metric("streaming_bytes_received", "", |sum| sum > 1_800_000.0);
    let workers = node.samples("restreamer_worker_viewers", "");
    assert!(workers.iter().filter(|line| !line.ends_with(" 0")).count() > 1, "{workers:?}");
    assert!(node.stop().success());
    for viewer in viewers {
        let recording = viewer.recording();
        assert_continuous(&recording);
        assert_eq!(sections(&recording).len(), 4);
    }
    drop(upstream);
}

#[test]
fn who_has_waited_for_a_stream_on_demand_sees_it() {
    let url = format!("tcp://{}", free_address());
    let node = node(&url, &json!({ "on_demand": true, "start_timeout": 0.5, "linger": 0 }));
    let mut viewer = watch(node.address, "/a.ts");
    let seen = see(&mut viewer, 90_000);
    assert!(span(&seen) >= 90_000);
    drop(viewer);
    await_slate(&node, 0);
    node.await_state("idle");
}

#[test]
fn where_viewers_are_cut_they_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("film.ts"), "testsrc2", &[]);
    let fate = Arc::new(Fate::default());
    let upstream = Upstream::start(film, &fate, 5);
    let node = node(&upstream.url(), &json!({ "on_loss": "cut" }));
    node.await_metric("streaming_bytes_received", "", |sum| sum > 400_000.0);
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    node.await_metric("restreamer_viewers", "live", |sum| sum >= 1.0);
    fate.kills.store(1, Ordering::Relaxed);
    assert_eq!(sections(&viewer.recording()).len(), 1);
    assert_eq!(node.count("restreamer_slates_total", ""), 0);
}

/// Who comes to a stream on demand that has nothing to wait for sees the slate, and has the
/// upstream tried all the same as soon as that is due.
#[test]
fn who_sees_the_slate_of_a_stream_on_demand_goes_on_with_its_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("film.ts"), "testsrc2", &[]);
    let address = free_address();
    let mut of = stream("/a.ts", &format!("tcp://{address}"));
    of["slate"] = "built-in".into();
    of["on_demand"] = true.into();
    of["start_timeout"] = 0.1.into();
    let node = Node::with(&json!({ "reconnect": 3, "resources": [of] }));
    // The first has the upstream tried, in vain, and goes; the second has nothing to wait for.
    let first = watch(node.address, "/a.ts");
    drop(first);
    node.await_state("idle");
    let mut second = watch(node.address, "/a.ts");
    await_slate(&node, 1);
    see(&mut second, 9000);
    let _upstream = Upstream::start_at(address, film, &Arc::new(Fate::default()), 3);
    node.await_state("connected");
    await_slate(&node, 0);
}

/// The slate is for viewers alone, also while a node that asks may yet wait for the upstream.
#[test]
fn a_node_does_not_get_the_slate_of_a_stream_on_demand() {
    // It takes connections, and never says anything.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut of = stream("/a.ts", &format!("http://{}/live.ts", mute.local_addr().unwrap()));
    of["slate"] = "built-in".into();
    of["on_demand"] = true.into();
    of["start_timeout"] = 0.3.into();
    let node = Node::with(&json!({ "resources": [of] }));
    let mut viewer = watch(node.address, "/a.ts");
    await_slate(&node, 1);
    see(&mut viewer, 9000);
    let mut socket = support::http::connect(node.address);
    let head = b"GET /a.ts HTTP/1.1\r\nHost: x\r\nVia: 1.1 restreamer-0000000000000000\r\n\r\n";
    socket.write_all(head).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
}

/// The one in use sends nothing, a preferred one comes meanwhile: viewers see the slate, then that.
#[test]
fn a_preferred_upstream_takes_the_place_of_one_that_is_silent_beside_the_slate() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("film.ts"), "testsrc2", &[]);
    let (address, other) = (free_address(), free_address());
    let more = json!({
        "remotes": [format!("tcp://{other}")], "order": "priority", "return_after": 0.5,
        "health": { "no_data": false },
    });
    let node = node(&format!("tcp://{address}"), &more);
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    await_slate(&node, 1);
    let _silent = TcpListener::bind(other).unwrap();
    node.await_connected();
    let upstream = Upstream::start_at(address, film, &Arc::new(Fate::default()), 3);
    await_slate(&node, 0);
    node.await_metric("streaming_bytes_received", "", |sum| sum > 900_000.0);
    assert!(node.stop().success());
    let recording = viewer.recording();
    assert_continuous(&recording);
    let parts = sections(&recording);
    let [slate, after] = parts[..] else { panic!("{} parts", parts.len()) };
    assert!(span(slate) > 0 && span(after) > 0);
    drop(upstream);
}

/// A single upstream that stays connected and sends nothing is none.
#[test]
fn where_nothing_comes_of_an_upstream_there_is_the_slate() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", silent.local_addr().unwrap());
    let node = node(&url, &json!({}));
    node.await_connected();
    let mut viewer = watch(node.address, "/a.ts");
    assert!(span(&see(&mut viewer, 90_000)) >= 90_000);
    assert_eq!(node.count("restreamer_upstream_losses_total", "no_data"), 1);
    // It comes again, as silent as before: nobody is cut.
    node.await_connected();
    assert!(see(&mut viewer, 90_000).len() > PACKET_BYTES);
}

#[test]
fn a_hot_stream_shows_it_to_no_node_in_any_worker() {
    let url = format!("tcp://{}", free_address());
    let node = node(&url, &json!({ "hot": true }));
    await_slate(&node, 1);
    let of_node = b"GET /a.ts HTTP/1.1\r\nHost: test\r\nVia: 1.1 restreamer-other\r\n\r\n";
    let viewers: Vec<_> = (0..4).map(|_| watch(node.address, "/a.ts")).collect();
    for _ in 0..20 {
        assert_eq!(open(node.address, of_node).0.status, 404);
    }
    drop(viewers);
}
