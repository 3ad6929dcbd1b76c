//! An upstream goes, the next one comes, and viewers stay: real H.264, and ffmpeg as the judge.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::PATIENCE;
use support::film::{BITS_PER_SECOND, Fate, Upstream, Viewer, film, frames};
use support::http::watch;
use support::media::{Packet, assert_continuous, packets_of};
use support::node::{Node, stream};
use support::packets::{PACKET_BYTES, is_signal};
use support::source::{Source, Speech};

const KILLS: usize = 20;

/// One who begins with a small receive buffer, and so lags soon when it is paused.
fn narrow(address: SocketAddr, path: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    support::http::open_on(socket, request.as_bytes()).1
}

fn pid_of(packet: &[u8]) -> u16 {
    packets_of(packet)[0].pid()
}

/// A part of a recording that is of one connection.
struct Section {
    /// PIDs that were said not to go on, before anything else of it.
    signalled: Vec<u16>,
    /// PIDs of the tables that were put in.
    tables: Vec<u16>,
    /// The connection's bytes.
    bytes: Vec<u8>,
    /// PIDs that were said not to go on later.
    late: Vec<u16>,
}

/// Takes a recording apart, which begins with tables.
fn sections(recording: &[u8]) -> Vec<Section> {
    let mut packets = recording.chunks(PACKET_BYTES).peekable();
    let mut sections = Vec::new();
    while packets.peek().is_some() {
        let mut signalled = Vec::new();
        while let Some(packet) = packets.next_if(|packet| is_signal(packet)) {
            signalled.push(pid_of(packet));
        }
        let is_picture = |packet: &[u8]| packets_of(packet)[0].is_random_access_point();
        let mut tables = Vec::new();
        while let Some(packet) = packets.next_if(|packet| !is_picture(packet)) {
            tables.push(pid_of(packet));
        }
        let mut section = Section { signalled, tables, bytes: Vec::new(), late: Vec::new() };
        while let Some(packet) =
            packets.next_if(|packet| !(is_signal(packet) && pid_of(packet) == 0))
        {
            if is_signal(packet) {
                section.late.push(pid_of(packet));
            } else {
                section.bytes.extend_from_slice(packet);
            }
        }
        sections.push(section);
    }
    sections
}

/// Asserts what must hold of each part, and answers where in which film it is.
fn assert_section(section: &Section, films: &[&[u8]]) -> (usize, usize) {
    let places = films.iter().enumerate().flat_map(|(number, film)| {
        let places = (0..film.len()).step_by(PACKET_BYTES);
        places.filter(|&at| film[at..].starts_with(&section.bytes)).map(move |at| (number, at))
    });
    let place: Vec<_> = places.take(1).collect();
    // So none is torn, repeated or missing.
    let place = *place.first().expect("a contiguous part of a film");
    let first = packets_of(&section.bytes)[0];
    assert!(first.starts_unit() && first.is_random_access_point(), "{place:?}");
    // PAT and PMT of one program, and before that under another version if need be.
    let [0, pmt] = section.tables[..2] else { panic!("{:x?}", section.tables) };
    assert!(section.tables == [0, pmt] || section.tables == [0, pmt, 0, pmt]);
    let mut said = [&section.signalled[..], &section.late].concat();
    said.sort_unstable();
    let once = said.len();
    said.dedup();
    assert_eq!(said.len(), once, "each PID is told of once");
    place
}

fn node(urls: &[String], more: &Value) -> Node {
    let mut stream = stream("/a.ts", &urls[0]);
    stream["remotes"] = urls[1..].into();
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    let config = json!({
        "workers": 2, "reconnect": 0.1, "outputbuffer": 40_000, "resources": [stream],
    });
    let node = Node::with(&config);
    node.await_connected();
    node
}

fn switches(node: &Node, kind: &str) -> u64 {
    node.count("restreamer_switches_total", &format!("kind=\"{kind}\""))
}

/// Lets upstreams be killed as often as they are to be, with viewers who are live and one who
/// catches up; answers what each has recorded, and how many switches there were.
fn kill_them_all(node: Node, fate: &Fate, kills: usize) -> (Vec<Vec<u8>>, u64) {
    let received = || node.count("streaming_bytes_received", "");
    let more = |seconds| {
        let enough = received() + BITS_PER_SECOND / 8 * seconds;
        support::eventually("more", || (received() >= enough).then_some(()));
    };
    // Two key frames.
    more(1);
    let mut viewers: Vec<_> = (0..3).map(|_| Viewer::start(watch(node.address, "/a.ts"))).collect();
    viewers.push(Viewer::start(narrow(node.address, "/a.ts")));
    let slow = &viewers[3];
    let all_live = || {
        support::eventually("everybody is live", || {
            let live = node.count("restreamer_viewers", "live");
            (live >= 4 && live == node.count("streaming_connections", "")).then_some(())
        });
    };
    all_live();
    fate.kills.store(kills, Ordering::Relaxed);
    while fate.left() > 0 {
        slow.pause(true);
        node.await_metric("restreamer_viewers", "catching_up", |sum| sum >= 1.0);
        let before = switches(&node, "random_access");
        support::eventually("a switch that it is told of later", || {
            let over = switches(&node, "random_access") > before || fate.left() == 0;
            over.then_some(())
        });
        slow.pause(false);
        node.await_metric("restreamer_viewers", "catching_up", |sum| sum < 1.0);
    }
    // A good part of the last one.
    more(3);
    assert_eq!(node.count("restreamer_stream_held", ""), 0);
    all_live();
    assert_eq!(node.count("restreamer_viewers_ended_total", ""), 0, "nobody was cut");
    assert_eq!(node.count("restreamer_skips_total", ""), 0);
    assert_eq!(switches(&node, "packet"), 0);
    let switches = switches(&node, "random_access");
    assert!(node.stop().success());
    (viewers.into_iter().map(Viewer::recording).collect(), switches)
}

/// Asserts what must hold of a recording with so many switches; answers which parts of which films
/// it is.
fn assert_goes_on(recording: &[u8], switches: u64, films: &[&[u8]]) -> Vec<(usize, usize)> {
    assert_continuous(recording);
    let sections = sections(recording);
    assert_eq!(sections.len() as u64, switches + 1);
    let places: Vec<_> = sections.iter().map(|section| assert_section(section, films)).collect();
    assert!(sections[0].signalled.is_empty() && sections[0].late.is_empty());
    let seen = |packets: &[u8]| packets_of(packets).iter().map(|p| Packet::pid(*p)).collect();
    let mut before: std::collections::BTreeSet<u16> = seen(&sections[0].bytes);
    before.extend(&sections[0].tables);
    for section in &sections[1..] {
        let here: std::collections::BTreeSet<u16> = seen(&section.bytes);
        // Each PID that there was before and has come again, and those of the tables.
        let mut due: Vec<u16> = here.intersection(&before).copied().collect();
        due.extend(section.tables.iter().filter(|pid| before.contains(pid) && !here.contains(pid)));
        due.retain(|pid| *pid != 0x1FFF);
        due.sort_unstable();
        due.dedup();
        let mut said = [&section.signalled[..], &section.late].concat();
        // One of which nothing comes any more may be told of, for its next packet would have been.
        said.retain(|pid| due.contains(pid));
        said.sort_unstable();
        assert_eq!(said, due);
        before.extend(here);
        before.extend(&section.tables);
    }
    places
}

/// Asserts that ffmpeg decodes a recording to its end, which is the last part of it alone.
fn assert_decodes(recording: &[u8], demuxer: &[&str]) {
    let last = sections(recording).pop().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording.ts");
    std::fs::write(&path, recording).unwrap();
    let all = frames(&path, demuxer);
    let alone = dir.path().join("last.ts");
    let tail = recording.len() - last.bytes.len() - last.late.len() * PACKET_BYTES;
    std::fs::write(&alone, &recording[tail - 2 * PACKET_BYTES..]).unwrap();
    let of_last = frames(&alone, &[]);
    assert!(of_last.len() > 25, "{} frames", of_last.len());
    let same = all.iter().rev().zip(of_last.iter().rev()).take_while(|(a, b)| a == b).count();
    // What ffmpeg makes of the picture that was cut before it may show in its first group.
    assert!(same + 12 >= of_last.len(), "{same} of {} frames are the same", of_last.len());
}

#[test]
fn an_upstream_killed_twenty_times_cuts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let films = [
        film(&dir.path().join("one.ts"), "testsrc2", &[]),
        film(&dir.path().join("two.ts"), "testsrc", &[]),
    ];
    let fate = Arc::new(Fate::default());
    let upstreams = [0, 1].map(|n| Upstream::start(films[n].clone(), &fate, n as u64));
    let node = node(&upstreams.each_ref().map(Upstream::url), &json!({}));
    // A node of the next tier is a viewer that looks at everything.
    let below = Node::of(&node.url("/a.ts"));
    below.await_connected();
    let (recordings, switches) = kill_them_all(node, &fate, KILLS);
    for count in ["continuity_errors", "sync_losses", "discarded_bytes", "transport_errors"] {
        assert_eq!(below.count(&format!("restreamer_{count}_total"), ""), 0, "{count}");
    }
    for indicator in ["pcr_discontinuity", "crc", "malformed"] {
        assert_eq!(below.count("restreamer_integrity_errors_total", indicator), 0, "{indicator}");
    }
    assert!(switches >= KILLS as u64 / 2, "{switches} of {KILLS}");
    for recording in &recordings {
        assert_goes_on(recording, switches, &[&films[0], &films[1]]);
        assert_decodes(recording, &[]);
    }
}

/// Each worker's viewers go on; and with other PIDs, of which the tables tell.
#[test]
fn a_hot_stream_goes_on_in_every_worker() {
    let dir = tempfile::tempdir().unwrap();
    let other = ["-mpegts_start_pid", "0x300", "-mpegts_pmt_start_pid", "0x1100"];
    let films = [
        film(&dir.path().join("one.ts"), "testsrc2", &[]),
        film(&dir.path().join("two.ts"), "testsrc", &other),
    ];
    let fate = Arc::new(Fate::default());
    let upstreams = [0, 1].map(|n| Upstream::start(films[n].clone(), &fate, n as u64 + 7));
    let node = node(&upstreams.each_ref().map(Upstream::url), &json!({ "hot": true }));
    let (recordings, switches) = kill_them_all(node, &fate, 6);
    assert!(switches >= 2, "{switches}");
    for recording in &recordings {
        assert_goes_on(recording, switches, &[&films[0], &films[1]]);
        assert_decodes(recording, &["-merge_pmt_versions", "1"]);
    }
}

#[test]
fn a_file_that_is_played_again_goes_on_for_the_same_viewers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.ts");
    let film = film(&path, "testsrc2", &["-t", "3"]);
    let node = node(&[format!("file://{}", path.display())], &json!({}));
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    node.await_metric("restreamer_switches_total", "random_access", |sum| sum >= 2.0);
    assert_eq!(node.count("restreamer_viewers_ended_total", ""), 0);
    assert!(node.stop().success());
    let recording = viewer.recording();
    assert_continuous(&recording);
    let signals = recording.chunks(PACKET_BYTES).filter(|packet| is_signal(packet));
    assert_eq!(signals.filter(|packet| pid_of(packet) == 0).count(), 2);
    assert!(recording.len() > film.len());
}

#[test]
fn a_preferred_upstream_is_returned_to_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let films = [
        film(&dir.path().join("one.ts"), "testsrc2", &[]),
        film(&dir.path().join("two.ts"), "testsrc", &[]),
    ];
    let fate = Arc::new(Fate::default());
    let first = support::upstream::free_address();
    let second = Upstream::start(films[1].clone(), &fate, 1);
    let urls = [format!("tcp://{first}"), second.url()];
    let node = node(&urls, &json!({ "order": "priority", "return_after": 1 }));
    let used = |of: usize| node.status()["upstream"] == urls[of].as_str();
    assert!(used(1), "the first that can be had");
    // However often the first one is tried in vain meanwhile, that is one line.
    node.await_metric("restreamer_upstream_attempts_total", "connect", |sum| sum >= 5.0);
    let told = |line: &Value| line["event"] == "attempt" && line["error"] == "connect";
    assert_eq!(node.rest_of_log().iter().filter(|line| told(line)).count(), 1);
    node.await_metric("streaming_bytes_received", "", |sum| sum > 400_000.0);
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    // The first one is there, for a while.
    let again = || Upstream::start_at(first, films[0].clone(), &Arc::new(Fate::default()), 2);
    let one = again();
    node.await_log(|line| line["event"] == "watched");
    let before = Instant::now();
    node.await_count("restreamer_switches_total", "random_access", 1);
    assert!(before.elapsed() >= Duration::from_millis(900), "it has to prove itself");
    assert!(used(0));
    assert_eq!(node.count("restreamer_upstream_losses_total", ""), 0, "nobody had to wait");
    // When it is lost, the second one is there, and when it is back it is returned to.
    let received = || node.count("streaming_bytes_received", &urls[0]);
    let enough = received() + 200_000;
    support::eventually("some of it", || (received() >= enough).then_some(()));
    drop(one);
    node.await_count("restreamer_switches_total", "random_access", 2);
    assert!(used(1));
    let one = again();
    node.await_count("restreamer_switches_total", "random_access", 3);
    assert!(used(0));
    let enough = received() + 400_000;
    support::eventually("some of it", || (received() >= enough).then_some(()));
    assert_eq!(node.count("restreamer_upstream_losses_total", ""), 1);
    assert_eq!(node.count("restreamer_viewers_ended_total", ""), 0);
    assert!(node.stop().success());
    let recording = viewer.recording();
    let places = assert_goes_on(&recording, 3, &[&films[0], &films[1]]);
    let films: Vec<_> = places.iter().map(|(film, _)| *film).collect();
    assert_eq!(films, [1, 0, 1, 0]);
    assert_decodes(&recording, &[]);
    drop((one, second));
}

/// It is connected, and sends: but no tables, so that nobody could watch it.
#[test]
fn a_preferred_upstream_of_no_use_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let film = film(&dir.path().join("one.ts"), "testsrc2", &[]);
    let fate = Arc::new(Fate::default());
    let first = support::upstream::free_address();
    let second = Upstream::start(film.clone(), &fate, 1);
    let urls = [format!("tcp://{first}"), second.url()];
    let node = node(&urls, &json!({ "order": "priority", "return_after": 0.3 }));
    node.await_metric("streaming_bytes_received", "", |sum| sum > 400_000.0);
    let viewer = Viewer::start(watch(node.address, "/a.ts"));
    let useless = Source::start_at(TcpListener::bind(first).unwrap(), Speech::Raw, 2_000_000, 0);
    node.await_metric("streaming_bytes_received", &urls[0], |sum| sum > 500_000.0);
    assert_eq!(node.count("restreamer_switches_total", ""), 0);
    assert_eq!(node.status()["upstream"], urls[1].as_str());
    // It is all there is, when the other one is gone.
    drop(second);
    node.await_count("restreamer_switches_total", "packet", 1);
    assert_eq!(node.status()["upstream"], urls[0].as_str());
    assert!(node.stop().success());
    assert_goes_on_until_useless(&viewer.recording(), &film);
    drop(useless);
}

/// Asserts that it is a part of the film up to the first word that it does not go on.
fn assert_goes_on_until_useless(recording: &[u8], film: &[u8]) {
    let mut packets = recording.chunks(PACKET_BYTES).skip(2);
    let part: Vec<u8> =
        packets.by_ref().take_while(|packet| !is_signal(packet)).flatten().copied().collect();
    let mut places = (0..film.len()).step_by(PACKET_BYTES);
    assert!(places.any(|at| film[at..].starts_with(&part)), "a contiguous part");
}
