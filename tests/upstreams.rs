//! A real H.264 and AAC stream arrives whole through every kind of upstream.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use support::crowd::{Crowd, Pace, Watcher};
use support::media::{
    Packet, Recording, SAMPLE_BITS_PER_SECOND, SAMPLE_SECONDS, packets_of, record, record_to_end,
    sample, sample_bytes,
};
use support::node::{Node, stream};
use support::packets::{PACKET_BYTES, packets};
use support::tool::Tool;
use support::upstream::{Kind, Peer, Upstream, accept, free_address, read_head, write_at};
use support::{PATIENCE, eventually, http};

const RECORDED: Duration = Duration::from_secs(5);

#[test]
fn a_file_arrives_by_http() {
    arrives_exactly(Kind::Http);
}

#[test]
fn a_file_arrives_by_http_in_chunks() {
    arrives_exactly(Kind::Chunked);
}

#[test]
fn a_file_arrives_by_tcp() {
    arrives_exactly(Kind::Tcp);
}

#[test]
fn a_file_arrives_by_unix_socket() {
    arrives_exactly(Kind::Unix);
}

#[test]
fn a_file_arrives_by_fifo() {
    arrives_exactly(Kind::Fifo);
}

/// A file sent in real time: what a viewer gets plays, and is a contiguous part of the file.
fn arrives_exactly(kind: Kind) {
    let file = sample_bytes();
    let (_dir, node, mut peer) = served(kind, &json!({}));
    let mut viewer = http::watch(node.address, "/a.ts");
    let sent = file.clone();
    let sending = std::thread::spawn(move || write_at(&mut peer, &sent, SAMPLE_BITS_PER_SECOND));
    let recording = record(&mut viewer, RECORDED);
    recording.assert_plays();
    assert_eq!(recording.place_in(&file), 0, "it watched from the first byte on");
    drop(node);
    finish(sending);
}

#[test]
fn ffmpeg_serves_http_in_chunks() {
    let url = format!("http://{}/live.ts", free_address());
    plays_from_ffmpeg(&["-listen", "1", &url], &url);
}

#[test]
fn ffmpeg_serves_tcp() {
    let url = format!("tcp://{}", free_address());
    plays_from_ffmpeg(&[&format!("{url}?listen=1")], &url);
}

#[test]
fn ffmpeg_serves_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.socket");
    let ours = format!("unix:{}", path.display());
    plays_from_ffmpeg(&["-listen", "1", &ours], &format!("unix://{}", path.display()));
}

#[test]
fn ffmpeg_writes_a_fifo() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    plays_from_ffmpeg(&[path.to_str().unwrap()], &format!("file://{}", path.display()));
}

/// ffmpeg is the upstream, live, with its own habits of connecting, framing and flushing.
fn plays_from_ffmpeg(output: &[&str], url: &str) {
    let mut arguments = vec!["-re", "-i", sample().to_str().unwrap(), "-c", "copy", "-f", "mpegts"];
    arguments.extend(output);
    let _ffmpeg = Tool::ffmpeg(&arguments);
    let node = Node::of(url);
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    record(&mut viewer, RECORDED).assert_plays();
}

#[test]
fn a_command_is_an_upstream() {
    let arguments = ["-v", "error", "-re", "-i", sample().to_str().unwrap(), "-c", "copy"];
    let arguments = [&arguments[..], &["-f", "mpegts", "-"]].concat();
    let node = Node::of(&command("ffmpeg", &arguments));
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    record(&mut viewer, RECORDED).assert_plays();
    assert!(node.stop().success());
}

#[test]
fn what_a_command_complains_of_is_in_the_log_by_line() {
    let node = shell("echo one >&2; printf 'two\\nthr' >&2; printf 'ee\\n' >&2; exec sleep 1000");
    let lines: Vec<Value> = (0..3).map(|_| node.await_log(is_stderr)).collect();
    let said: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["one", "two", "three"]);
    assert!(lines.iter().all(|line| line["stream"] == "/a.ts" && line["module"] == "upstream"));
}

#[test]
fn a_command_that_ends_is_reaped_and_run_again() {
    let node = shell("echo $$ >&2; exit 3");
    let first = pid_said(&node);
    let exit = node.await_log(|entry| entry["error"] == "exit");
    assert!(exit["message"].as_str().unwrap().contains("exit status: 3"), "{exit}");
    let second = pid_said(&node);
    assert_ne!(first, second, "it was run again");
    // A zombie would still be there.
    eventually("the command to be reaped", || (!is_running(first)).then_some(()));
}

#[test]
fn a_command_goes_when_its_upstream_is_dropped() {
    // It is silent, so that it is dropped, and does not end when asked to.
    let script = "trap '' TERM; echo $$ >&2; while :; do sleep 1000; done";
    let config = json!({ "readtimeout": 0.5, "reconnect": 0,
        "resources": [stream("/a.ts", &command("/bin/sh", &["-c", script]))] });
    let node = Node::with(&config);
    let pid = pid_said(&node);
    let family = descendants(pid);
    assert!(family.contains(&pid));
    node.await_log(|entry| entry["error"] == "silent");
    eventually("the command to go", || (!family.iter().any(|&p| is_running(p))).then_some(()));
    node.await_state("off");
}

#[test]
fn a_command_never_outlives_the_program() {
    for signal in ["TERM", "KILL"] {
        let mut node = shell("echo $$ >&2; trap '' TERM HUP; while :; do read line; done");
        let pid = pid_said(&node);
        node.signal(signal);
        node.await_end();
        eventually("the command to go", || (!is_running(pid)).then_some(()));
    }
}

#[test]
fn a_command_that_is_not_there_is_a_failed_attempt() {
    let node = Node::of("fork:///nonexistent/command?a");
    let line = node.await_log(|entry| entry["error"] == "start");
    assert!(line["message"].as_str().unwrap().contains("cannot be started"), "{line}");
    assert!(node.metric("restreamer_upstream_attempts_total", "result=\"start\"") >= 1.0);
}

#[test]
fn a_regular_file_plays_in_real_time_and_begins_again() {
    const PLAYED_SECONDS: usize = 7;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.ts");
    let part = sample_bytes();
    let length = part.len() * PLAYED_SECONDS / SAMPLE_SECONDS as usize;
    let part = &part[..length / PACKET_BYTES * PACKET_BYTES];
    std::fs::write(&path, part).unwrap();
    let node = Node::cutting(&format!("file://{}", path.display()));

    node.await_connected();
    let first = record_to_end(&mut http::watch(node.address, "/a.ts"));
    first.assert_plays();
    let place = first.place_in(part);
    assert_eq!(place + first.bytes.len(), part.len(), "it ends with the file");
    let ratio = first.took.as_secs_f64() / first.span.as_secs_f64();
    assert!(first.span > Duration::from_secs(4), "{:?}", first.span);
    assert!((0.9..1.2).contains(&ratio), "{:?} in {:?}", first.span, first.took);

    // The attempt began longer ago than `reconnect`, so that it begins again at once.
    node.await_log(|entry| entry["event"] == "ended");
    node.await_connected();
    let second = record(&mut http::watch(node.address, "/a.ts"), Duration::from_secs(1));
    let place = second.place_in(part);
    assert!(place < part.len() / 4, "it begins at {place} of {}", part.len());
}

#[test]
fn a_file_that_is_no_stream_is_said_to_be_none() {
    for content in ["", "<html>sorry</html>\n", &"G".repeat(100_000)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        let node = Node::of(&format!("file://{}", file.path().display()));
        let line = node.await_log(|entry| entry["error"] == "play");
        assert!(line["message"].as_str().unwrap().contains("no transport stream"), "{line}");
        assert_eq!(node.count("streaming_packets_received", "/a.ts"), 0);
    }
}

#[test]
fn an_answer_that_is_not_200_is_a_failed_attempt() {
    for status in [204, 206, 404, 500, 503] {
        let upstream = Server::open();
        let node = Node::of(&upstream.url());
        let page = "<html>sorry</html>";
        let length = page.len();
        upstream.answer(&format!("HTTP/1.1 {status} No\r\nContent-Length: {length}\r\n\r\n{page}"));
        let why = format!("answered {status}, expected 200");
        let line = node.await_log(|entry| entry["event"] == "error");
        assert_eq!(line["error"], "status", "{line}");
        assert!(line["message"].as_str().unwrap().contains(&why), "{line}");
        let told = || node.status()["last_error"].as_str().map(str::to_owned);
        let told = eventually("the status to tell why", told);
        assert!(told.contains(&why), "{told}");
        assert_eq!(node.count("restreamer_upstream_attempts_total", "result=\"status\""), 1);
        assert_eq!(node.count("streaming_source_connected", "/a.ts"), 0);
        let answer = http::get(node.address, "/a.ts");
        assert_eq!((answer.status, answer.body.is_empty()), (404, true), "no page is a stream");
    }
}

#[test]
fn redirects_are_followed_to_the_stream() {
    for status in [301, 302, 303, 307, 308] {
        let (first, second) = (Server::open(), Server::open());
        let node = Node::of(&first.url());
        let to = second.url();
        first.answer(&format!("HTTP/1.1 {status} There\r\nLocation: {to}\r\n\r\n"));
        // From there by a path alone, which is where the stream is.
        second.answer("HTTP/1.1 302 Here\r\nLocation: /other.ts?a=b\r\n\r\n");
        let mut peer = second.accept();
        let head = read_head(&mut peer);
        assert!(head.starts_with("GET /other.ts?a=b HTTP/1.1\r\n"), "{head}");
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        node.await_connected();
        peer.write_all(&packets(0..30)).unwrap();
        node.await_count("streaming_packets_received", "/a.ts", 30);
    }
}

#[test]
fn redirects_without_end_are_a_failed_attempt() {
    let upstream = Server::open();
    let node = Node::of(&upstream.url());
    for _ in 0..=10 {
        upstream.answer("HTTP/1.1 302 Again\r\nLocation: /live.ts\r\n\r\n");
    }
    node.await_log(|entry| entry["error"] == "redirect");
    assert_eq!(node.count("restreamer_upstream_attempts_total", "result=\"redirect\""), 1);
}

#[test]
fn user_and_password_are_sent_to_their_host_and_nowhere_else() {
    let (upstream, other) = (Server::open(), Server::open());
    let at = upstream.address();
    let node = Node::of(&format!("http://us%65r:s%3Acr%40t@{at}/live.ts"));
    let to = other.url();
    let head = upstream.answer("HTTP/1.1 302 Here\r\nLocation: /inner.ts\r\n\r\n");
    // user:s:cr@t
    assert!(head.contains("\r\nAuthorization: Basic dXNlcjpzOmNyQHQ=\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nHost: {at}\r\n")), "{head}");
    let head = upstream.answer(&format!("HTTP/1.1 302 There\r\nLocation: {to}\r\n\r\n"));
    assert!(head.contains("dXNlcjpzOmNyQHQ="), "the same host asks again: {head}");
    let head = other.answer("HTTP/1.1 403 No\r\n\r\n");
    assert!(!head.to_lowercase().contains("authorization"), "a stranger is told: {head}");

    let failed = node.await_log(|entry| entry["error"] == "status");
    let mut told = vec![failed.to_string(), node.status().to_string()];
    told.push(http::get(node.side, "/metrics").text());
    told.extend(node.rest_of_log().iter().map(ToString::to_string));
    for text in told {
        for secret in ["s%3Acr", "s:cr@t", "dXNlcjp"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn a_connect_that_hangs_ends_with_the_timeout() {
    // A listener whose queue is full: the kernel lets further connects hang.
    let any = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&any).unwrap();
    full.listen(0).unwrap();
    let at = full.local_addr().unwrap();
    let crowd: Vec<Socket> = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // It is under way, or hangs already: both fill the queue.
            let _under_way = socket.connect(&at);
            socket
        })
        .collect();
    gives_up_in_time(&format!("tcp://{}", at.as_socket().unwrap()));
    drop(crowd);
}

#[test]
fn a_head_that_does_not_come_ends_with_the_timeout() {
    let upstream = Server::open();
    gives_up_in_time(&upstream.url());
}

#[test]
fn a_head_that_trickles_ends_with_the_timeout() {
    let upstream = Server::open();
    let url = upstream.url();
    let trickle = std::thread::spawn(move || {
        let mut peer = upstream.accept();
        read_head(&mut peer);
        // Each byte is in time; all of them are not.
        write_at(&mut peer, &b"HTTP/1.1 200 OK\r\nX: ".repeat(100), 10 * 8);
    });
    gives_up_in_time(&url);
    finish(trickle);
}

fn gives_up_in_time(url: &str) {
    let started = Instant::now();
    let node =
        Node::with(&json!({ "timeout": 1, "reconnect": 0, "resources": [stream("/a.ts", url)] }));
    let line = node.await_log(|entry| entry["event"] == "error");
    let took = started.elapsed();
    assert_eq!(line["error"], "timeout", "{line}");
    assert!((1.0..3.0).contains(&took.as_secs_f64()), "the timeout is 1 s; it took {took:?}");
    assert_eq!(node.count("restreamer_upstream_attempts_total", "result=\"timeout\""), 1);
    node.await_state("off");
}

#[test]
fn an_upstream_that_falls_silent_is_closed() {
    for kind in [Kind::Http, Kind::Chunked, Kind::Tcp, Kind::Unix, Kind::Fifo] {
        let (_dir, node, mut peer) = served(kind, &json!({ "readtimeout": 1, "reconnect": 0 }));
        let mut viewer = http::watch(node.address, "/a.ts");
        peer.write_all(&packets(0..300)).unwrap();
        let line = node.await_log(|entry| entry["event"] == "error");
        assert_eq!(line["error"], "silent", "{line}");
        assert!(record_to_end(&mut viewer).bytes == packets(0..300), "{kind:?}: byte for byte");
        assert_eq!(node.count("restreamer_upstream_losses_total", "reason=\"silent\""), 1);
        assert_eq!(node.count("streaming_source_connected", "/a.ts"), 0);
        node.await_state("off");
    }
}

/// A packet whose counter does not follow waits for the ones after it. When none come, it is one.
#[test]
fn a_packet_that_waits_for_others_is_delivered_at_the_end() {
    let odd = [packets(0..300), packets(304..305)].concat();
    for (loss, readtimeout) in [("ended", 0), ("silent", 1)] {
        let config = json!({ "readtimeout": readtimeout, "reconnect": 0 });
        let (_dir, node, mut peer) = served(Kind::Tcp, &config);
        let mut viewer = http::watch(node.address, "/a.ts");
        peer.write_all(&odd).unwrap();
        let silent = (loss == "silent").then_some(peer);
        let got = record_to_end(&mut viewer).bytes;
        node.await_count("restreamer_upstream_losses_total", &format!("reason=\"{loss}\""), 1);
        assert_eq!(node.count("streaming_packets_received", "/a.ts"), 301, "{loss}");
        assert_eq!(got.len() / PACKET_BYTES, 301, "{loss}: what is received is delivered");
        assert!(got == odd, "{loss}: byte for byte");
        drop(silent);
    }
}

#[test]
fn a_body_ends_as_it_is_framed() {
    let body = packets(0..10);
    let whole = String::from("Content-Length: 1880\r\n");
    let chunked = String::from("Transfer-Encoding: chunked\r\n");
    let chunk = [b"758\r\n", &body[..], b"\r\n"].concat();
    let with = |tail: &[u8]| [&chunk[..], tail].concat();
    for (header, sent, hangs_up, loss) in [
        (String::new(), body.clone(), true, "ended"),
        (whole.clone(), body.clone(), false, "ended"),
        (whole.clone(), [&body[..], b"more than that"].concat(), false, "ended"),
        (whole.replace("1880", "9999"), body.clone(), true, "truncated"),
        (chunked.clone(), with(b"0\r\n\r\n"), false, "ended"),
        (chunked.clone(), with(b"0\r\nTrailer: x\r\n\r\n"), false, "ended"),
        (chunked, with(b"10\r\n"), true, "truncated"),
    ] {
        let what = format!("{header} {loss}");
        let server = Server::open();
        let node = Node::cutting(&server.url());
        let mut peer = server.accept();
        read_head(&mut peer);
        // The body's beginning comes with the head.
        let answer = format!("HTTP/1.1 200 OK\r\n{header}\r\n");
        peer.write_all(&[answer.as_bytes(), &sent[..20]].concat()).unwrap();
        node.await_connected();
        let mut viewer = http::watch(node.address, "/a.ts");
        peer.write_all(&sent[20..]).unwrap();
        let open = (!hangs_up).then_some(peer);
        assert!(record_to_end(&mut viewer).bytes == body, "{what}");
        node.await_count("restreamer_upstream_losses_total", &format!("reason=\"{loss}\""), 1);
        drop(open);
    }
}

#[test]
fn what_came_before_a_broken_chunk_is_delivered() {
    let server = Server::open();
    let node = Node::cutting(&server.url());
    let mut peer = server.accept();
    read_head(&mut peer);
    peer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    peer.write_all(&[b"758\r\n", &packets(0..10)[..], b"\r\nno size\r\n"].concat()).unwrap();
    let got = record_to_end(&mut viewer).bytes;
    node.await_count("restreamer_upstream_losses_total", "reason=\"framing\"", 1);
    assert_eq!(got.len(), 10 * PACKET_BYTES);
    assert!(got == packets(0..10));
}

#[test]
fn a_body_of_no_length_ends_at_once() {
    let server = Server::open();
    let node = Node::of(&server.url());
    let mut peer = server.accept();
    read_head(&mut peer);
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    // The server waits for another request, as many do.
    node.await_count("restreamer_upstream_losses_total", "reason=\"ended\"", 1);
    drop(peer);
}

#[test]
fn writers_of_a_fifo_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::open(Kind::Fifo, dir.path());
    let node = Node::of(&upstream.url);
    // Without a writer it is connected, and waits.
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 2, Pace::Fast);
    for writer in 0..3 {
        let mut peer = upstream.accept();
        peer.write_all(&packets(100 * writer..100 * (writer + 1))).unwrap();
        drop(peer);
        let got = |all: &[Watcher]| all.iter().all(|w| w.verifier.next == 100 * (writer + 1));
        crowd.watch_until(got, PATIENCE);
    }
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("viewer");
        assert!(!watcher.ended && watcher.verifier.packets == 300);
    }
    assert_eq!(node.count("streaming_source_connected", "/a.ts"), 1);
    assert_eq!(node.count("restreamer_upstream_losses_total", "/a.ts"), 0);
}

#[test]
fn one_byte_at_a_time_makes_whole_packets() {
    const PACKETS: u64 = 60;
    // Neither is the time for connect and head over, nor is it silent.
    let patience = json!({ "timeout": 0.5, "readtimeout": 0.5 });
    for kind in [Kind::Http, Kind::Tcp, Kind::Chunked, Kind::Unix, Kind::Fifo] {
        let (_dir, node, mut peer) = served(kind, &patience);
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 2, Pace::Fast);
        let sending = std::thread::spawn(move || {
            let start = Instant::now();
            for (number, byte) in packets(0..PACKETS).into_iter().enumerate() {
                peer.write_all(&[byte]).unwrap();
                // 5 kB/s: each byte is an event of its own.
                let due = Duration::from_micros(200 * u64::try_from(number).unwrap());
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
            peer
        });
        crowd.watch_until(|all| all.iter().all(|w| w.verifier.next == PACKETS), PATIENCE);
        for watcher in &crowd.watchers {
            watcher.verifier.assert_perfect(&format!("{kind:?}"));
            assert_eq!((watcher.verifier.packets, watcher.verifier.unfinished()), (PACKETS, 0));
        }
        assert_eq!(node.count("restreamer_discarded_bytes_total", "/a.ts"), 0);
        drop(sending.join().unwrap());
    }
}

#[test]
fn four_hundred_megabits_arrive_by_tcp() {
    a_torrent_arrives(Kind::Tcp);
}

#[test]
fn four_hundred_megabits_arrive_by_unix_socket() {
    a_torrent_arrives(Kind::Unix);
}

#[test]
fn four_hundred_megabits_arrive_by_fifo() {
    a_torrent_arrives(Kind::Fifo);
}

/// 400 Mbit/s for three seconds, to three viewers who keep up.
fn a_torrent_arrives(kind: Kind) {
    const RATE: u64 = 400_000_000;
    const PACKETS: u64 = 3 * RATE / 8 / PACKET_BYTES as u64;
    let (_dir, node, mut peer) = served(kind, &json!({}));
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 3, Pace::Fast);
    let sending = std::thread::spawn(move || {
        write_at(&mut peer, &packets(0..PACKETS), RATE);
        peer
    });
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.next == PACKETS), PATIENCE);
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect(&format!("{kind:?}"));
        assert_eq!((watcher.verifier.packets, watcher.verifier.unfinished()), (PACKETS, 0));
    }
    assert_eq!(node.count("streaming_packets_dropped", "/a.ts"), 0);
    assert_eq!(node.count("restreamer_sync_losses_total", "/a.ts"), 0);
    drop(sending.join().unwrap());
}

#[test]
fn the_judges_of_a_recording_see_every_fault() {
    let file = sample_bytes();
    let file = &file[..file.len() / 4 / PACKET_BYTES * PACKET_BYTES];
    Recording::of(file).assert_plays();
    let first_of = |pid| {
        let is_it = |packet: &Packet| packet.pid() == pid && !packet.starts_unit();
        let all = packets_of(file);
        // In the middle, where it plays.
        (all.len() / 2..all.len()).find(|&n| is_it(&all[n])).unwrap() * PACKET_BYTES
    };
    for pid in [0x100, 0x101] {
        let at = first_of(pid);
        let missing = [&file[..at], &file[at + PACKET_BYTES..]].concat();
        let mut damaged = file.to_vec();
        damaged[at + 20..at + PACKET_BYTES].fill(0);
        for bad in [missing, damaged] {
            let judged = std::panic::catch_unwind(|| Recording::of(&bad).assert_plays());
            assert!(judged.is_err(), "a fault in PID {pid:#x} was not seen");
        }
    }
}

/// A node connected to an upstream that has not sent anything yet.
fn served(kind: Kind, config: &Value) -> (tempfile::TempDir, Node, Peer) {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::open(kind, dir.path());
    let mut all = json!({ "resources": [stream("/a.ts", &upstream.url)] });
    for (key, value) in config.as_object().unwrap() {
        all[key] = value.clone();
    }
    let node = Node::with(&all);
    // A FIFO cannot be written to before the program has opened it; others must be taken first.
    let peer = (kind != Kind::Fifo).then(|| upstream.accept());
    node.await_connected();
    (dir, node, peer.unwrap_or_else(|| upstream.accept()))
}

/// An HTTP server whose every answer a test gives itself.
struct Server(TcpListener);

impl Server {
    fn open() -> Server {
        Server(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}/live.ts", self.address())
    }

    fn accept(&self) -> TcpStream {
        accept(&self.0)
    }

    /// Takes one request, gives this answer, and closes. Answers the request's head.
    fn answer(&self, response: &str) -> String {
        let mut peer = self.accept();
        let head = read_head(&mut peer);
        peer.write_all(response.as_bytes()).unwrap();
        head
    }
}

/// The URL of a command, whatever its arguments are made of.
fn command(program: &str, arguments: &[&str]) -> String {
    let escape = |text: &&str| percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
    let arguments: Vec<String> = arguments.iter().map(escape).collect();
    format!("fork://{program}?{}", arguments.join("+"))
}

fn shell(script: &str) -> Node {
    Node::of(&command("/bin/sh", &["-c", script]))
}

fn is_stderr(entry: &Value) -> bool {
    entry["event"] == "stderr"
}

/// The number of its process, that a command has said on its standard error.
fn pid_said(node: &Node) -> u32 {
    node.await_log(is_stderr)["message"].as_str().unwrap().parse().unwrap()
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A process and all that it has started.
fn descendants(pid: u32) -> Vec<u32> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().map(|child| child.parse().unwrap());
    std::iter::once(pid).chain(children.flat_map(descendants)).collect()
}

fn finish(thread: JoinHandle<()>) {
    thread.join().unwrap();
}
