//! A stream on demand: its upstream is connected when somebody comes, once however many come, and
//! let go of when nobody is left. Nobody waits in vain for long.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http::{self, Answer, hang_up, read_bytes, reset, watch};
use support::node::{Node, api, run, stream};
use support::packets::{PACKET_BYTES, Verifier, packets};
use support::source::{Source, Speech};
use support::upstream::{accept, free_address, read_head};
use support::{PATIENCE, eventually, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
const GET: &[u8] = b"GET /a.ts HTTP/1.1\r\nHost: test\r\nUser-Agent: tv\r\n\r\n";
const REFUSED: &str = "restreamer_viewers_refused_total";
const ATTEMPTS: &str = "restreamer_upstream_attempts_total";
const WAITING: &str = "state=\"waiting\"";

/// An HTTP upstream that says what the test has it say.
struct Origin(TcpListener);

impl Origin {
    fn open() -> Origin {
        Origin(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/live.ts", self.0.local_addr().unwrap())
    }

    /// The program's next connection, with its request read.
    fn asked(&self) -> TcpStream {
        let mut peer = accept(&self.0);
        read_head(&mut peer);
        peer
    }

    /// The same, answered.
    fn served(&self) -> TcpStream {
        let mut peer = self.asked();
        welcome(&mut peer);
        peer
    }

    /// Asserts that nobody else has come so far.
    fn assert_left_alone(&self) {
        self.0.set_nonblocking(true).unwrap();
        let come = self.0.accept();
        assert!(come.as_ref().is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "{come:?}");
    }
}

fn welcome(peer: &mut TcpStream) {
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n").unwrap();
}

/// Waits until the program has hung up.
fn await_end(peer: &mut TcpStream) {
    let ended = peer.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
}

/// A resource: a stream on demand from these upstreams, with more of it.
fn on_demand(remotes: &[&str], more: &Value) -> Value {
    let mut of = json!({ "type": "stream", "serve": "/a.ts", "remotes": remotes,
        "on_demand": true });
    for (key, value) in more.as_object().unwrap() {
        of[key] = value.clone();
    }
    of
}

/// A node with that stream, its health and its switch.
fn node_of(remotes: &[&str], more: &Value, config: &Value) -> Node {
    let mut all = json!({ "resources": [
        on_demand(remotes, more),
        api("/health", "health", None),
        api("/check", "check", Some("/a.ts")),
        api("/control", "control", Some("/a.ts")),
    ]});
    for (key, value) in config.as_object().unwrap() {
        all[key] = value.clone();
    }
    Node::with(&all)
}

/// Somebody who has asked and was not answered yet.
fn asker(node: &Node) -> TcpStream {
    let mut socket = http::connect(node.address);
    socket.write_all(GET).unwrap();
    socket
}

/// So many of them, who have their places.
fn askers(node: &Node, count: usize) -> Vec<TcpStream> {
    let all = (0..count).map(|_| asker(node)).collect();
    node.await_count("restreamer_viewers", WAITING, count as u64);
    all
}

/// The answer with a stream, which goes on.
fn hear(socket: &mut TcpStream) -> Answer {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", head.escape_ascii());
        head.push(byte[0]);
    }
    Answer::parse(&head)
}

/// The whole answer of one who is refused.
fn hear_all(socket: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    Answer::parse(&all)
}

/// Asserts that one is served, from its upstream's first packet on.
fn assert_served(socket: &mut TcpStream, bytes: &[u8]) {
    let answer = hear(socket);
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(answer.header("Content-Type"), Some("video/mpeg"));
    assert!(read_bytes(socket, bytes.len()) == bytes, "not what was sent");
}

/// Asserts that the node counts nobody any more, anywhere.
fn assert_nobody(node: &Node) {
    node.await_count("streaming_connections", "/a.ts", 0);
    node.await_count("restreamer_viewers", "/a.ts", 0);
    let health = http::fetch(node.address, "/health").text();
    assert!(health.contains("\"viewer\":0"), "{health}");
}

#[test]
fn fifty_who_come_first_make_one_connection_and_get_all_of_it() {
    const VIEWERS: usize = 50;
    for workers in [1, 3] {
        let origin = Origin::open();
        let node = node_of(&[&origin.url()], &json!({}), &json!({ "workers": workers }));
        assert_eq!(node.status()["state"], "idle");
        origin.assert_left_alone();
        let mut viewers = askers(&node, VIEWERS);
        assert_eq!(node.count("streaming_connections", "/a.ts"), VIEWERS as u64);
        let sent = packets(0..200);
        let mut peer = origin.served();
        peer.write_all(&sent).unwrap();
        for viewer in &mut viewers {
            assert_served(viewer, &sent);
        }
        assert_eq!(node.count(ATTEMPTS, "/a.ts"), 1);
        assert_eq!(node.count("restreamer_demand_starts_total", "/a.ts"), 1);
        assert_eq!(node.count("restreamer_viewers_joined_total", "/a.ts"), VIEWERS as u64);
        assert_eq!(node.count("restreamer_requests_total", "\"200\""), VIEWERS as u64);
        node.await_count("restreamer_viewers", WAITING, 0);
        origin.assert_left_alone();
        let reason = &node.status()["recent_attempts"][0]["reason"];
        assert_eq!(reason, "demand");
    }
}

#[test]
fn nobody_is_connected_before_somebody_comes_to_watch() {
    let origin = Origin::open();
    let node = node_of(&[&origin.url()], &json!({}), &json!({}));
    // As a viewer would be served, HEAD and whoever watches over the node are told that all is
    // well; none of them wants the stream.
    let head = http::request(node.address, "HEAD", "/a.ts");
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("video/mpeg")));
    assert_eq!(http::fetch(node.address, "/check").status, 200);
    let side = node.side.to_string();
    let asked = ["health", "--all", "--side", &side];
    let (code, out, err) = run(&asked, node.dir.path());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("0 of 1 streams connected, 1 idle"), "{out}");
    let status = node.status();
    assert_eq!((&status["state"], &status["available"]), (&json!("idle"), &json!(true)));
    assert_eq!(status["attempts"], 0);
    assert_eq!(node.count("restreamer_upstream_state", "state=\"idle\""), 1);
    assert_eq!(node.count("streaming_source_connected", "/a.ts"), 0);
    origin.assert_left_alone();
    // The first who wants it has it connected at once.
    let mut viewer = asker(&node);
    origin.served().write_all(&packets(0..10)).unwrap();
    assert_served(&mut viewer, &packets(0..10));
}

#[test]
fn the_upstream_stays_while_somebody_is_there_and_lingers_after_the_last() {
    const LINGER: Duration = Duration::from_secs(1);
    let origin = Origin::open();
    let node = node_of(&[&origin.url()], &json!({ "linger": 1 }), &json!({}));
    let mut viewers = askers(&node, 2);
    let mut peer = origin.served();
    // For longer than it lingers one of the two is there.
    peer.write_all(&packets(0..10)).unwrap();
    for viewer in &mut viewers {
        assert_served(viewer, &packets(0..10));
    }
    reset(viewers.pop().unwrap());
    node.await_count("streaming_connections", "/a.ts", 1);
    let begun = Instant::now();
    for number in 10.. {
        peer.write_all(&packets(number..number + 1)).unwrap();
        assert!(read_bytes(&mut viewers[0], PACKET_BYTES) == packets(number..number + 1));
        if begun.elapsed() > 2 * LINGER {
            break;
        }
    }
    let left = Instant::now();
    viewers.into_iter().for_each(reset);
    await_end(&mut peer);
    let lingered = left.elapsed();
    assert!(lingered >= LINGER && lingered < LINGER + PATIENCE / 2, "{lingered:?}");
    let line = node.await_log(|entry| entry["event"] == "released");
    assert_eq!((&line["level"], &line["stream"]), (&json!("info"), &json!("/a.ts")), "{line}");
    let status = node.await_state("idle");
    assert_eq!(status["last_error"], Value::Null);
    assert_nobody(&node);
    assert_eq!(node.count("restreamer_upstream_losses_total", "/a.ts"), 0);
    assert_eq!(node.count("streaming_source_connected", "/a.ts"), 0);
    node.await_count("restreamer_ring_bytes", "/a.ts", 0);
    assert!(status["contents"][0]["programs"].as_array().unwrap().is_empty(), "{status}");
    // It has not failed: who comes next waits for nothing but the connection.
    let mut viewer = asker(&node);
    origin.served().write_all(&packets(500..510)).unwrap();
    assert_served(&mut viewer, &packets(500..510));
    assert_eq!(node.count("restreamer_demand_starts_total", "/a.ts"), 2);
}

#[test]
fn who_comes_while_it_lingers_finds_it_connected() {
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let node = node_of(&[&source.url(Speech::Http)], &json!({ "linger": 600 }), &json!({}));
    for _ in 0..3 {
        let mut socket = watch(node.address, "/a.ts");
        let mut verifier = Verifier::default();
        verifier.feed(&read_bytes(&mut socket, 50 * PACKET_BYTES));
        verifier.assert_perfect("a viewer");
        hang_up(&socket);
        node.await_count("streaming_connections", "/a.ts", 0);
        assert_eq!(node.status()["state"], "connected");
    }
    assert_eq!(source.connections(), 1);
}

#[test]
fn without_linger_a_command_ends_with_its_last_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let (file, script) = (dir.path().join("packets.ts"), dir.path().join("script"));
    std::fs::write(&file, packets(0..1000)).unwrap();
    let text =
        format!("echo $$ >> {0}/pids\ncat {0}/packets.ts\nexec sleep 1000\n", dir.path().display());
    std::fs::write(&script, text).unwrap();
    let url = format!("fork://sh?{}", script.display());
    let node = node_of(&[&url], &json!({ "linger": 0 }), &json!({}));
    let pids = || std::fs::read_to_string(dir.path().join("pids")).unwrap_or_default();
    assert_eq!(pids(), "");
    for runs in 1..=2 {
        let mut viewer = asker(&node);
        assert_served(&mut viewer, &packets(0..1000));
        let pid = pids().lines().last().unwrap().to_owned();
        reset(viewer);
        eventually("the end of the command", || {
            (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
        node.await_state("idle");
        assert_eq!(pids().lines().count(), runs);
    }
}

#[test]
fn nobody_waits_for_longer_than_is_allowed() {
    const START: Duration = Duration::from_millis(500);
    // So that there is one attempt, however long this takes.
    let not_found = json!({ "reconnect": 600 });
    let unavailable = json!({ "reconnect": 600, "refuse_with": 503, "retry_after": 7 });
    for (config, status, retry) in [(not_found, 404, None), (unavailable, 503, Some("7"))] {
        let origin = Origin::open();
        let node =
            node_of(&[&origin.url()], &json!({ "start_timeout": 0.5, "linger": 0 }), &config);
        let asked = Instant::now();
        let mut viewers = [asker(&node), asker(&node)];
        let peer = origin.asked();
        for viewer in &mut viewers {
            let answer = hear_all(viewer);
            assert_eq!((answer.status, answer.header("Retry-After")), (status, retry));
        }
        let waited = asked.elapsed();
        assert!(waited >= START && waited < START + PATIENCE / 2, "{waited:?}");
        assert_eq!(node.count(REFUSED, "reason=\"start_timeout\""), 2);
        let line = node.await_log(|entry| entry["module"] == "access");
        assert_eq!((&line["status"], &line["reason"]), (&json!(status), &json!("start_timeout")));
        assert_nobody(&node);
        // The attempt goes on; who comes meanwhile waits for the same one.
        let mut late = askers(&node, 1).pop().unwrap();
        origin.assert_left_alone();
        drop(peer);
        assert_eq!(hear_all(&mut late).status, status);
        node.await_state("idle");
        assert_nobody(&node);
    }
}

#[test]
fn an_upstream_that_comes_up_in_time_is_soon_enough() {
    let origin = Origin::open();
    let config = json!({ "reconnect": 0.3 });
    let node = node_of(&[&origin.url()], &json!({ "start_timeout": 20 }), &config);
    let mut viewers = askers(&node, 3);
    for _ in 0..2 {
        drop(origin.asked());
    }
    let mut peer = origin.served();
    peer.write_all(&packets(0..20)).unwrap();
    for viewer in &mut viewers {
        assert_served(viewer, &packets(0..20));
    }
    assert_eq!(node.count(ATTEMPTS, "result=\"ok\""), 1);
    assert_eq!(node.count(ATTEMPTS, "/a.ts"), 3);
}

#[test]
fn who_waits_has_every_upstream_tried_without_a_pause() {
    let origin = Origin::open();
    let dead: Vec<String> = (0..20).map(|_| format!("http://{}/", nobody())).collect();
    let url = origin.url();
    let remotes: Vec<&str> = dead.iter().chain([&url]).map(String::as_str).collect();
    let node = node_of(&remotes, &json!({}), &json!({ "reconnect": 600 }));
    let mut viewer = asker(&node);
    origin.served().write_all(&packets(0..20)).unwrap();
    assert_served(&mut viewer, &packets(0..20));
}

#[test]
fn where_nothing_can_come_in_time_nobody_waits() {
    let url = format!("tcp://{}", nobody());
    let node = node_of(&[&url], &json!({}), &json!({ "reconnect": 600 }));
    let asked = Instant::now();
    for _ in 0..3 {
        assert_eq!(hear_all(&mut asker(&node)).status, 404);
    }
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    assert_eq!(node.count(REFUSED, "reason=\"no_upstream\""), 3);
    assert_eq!(node.count(ATTEMPTS, "/a.ts"), 1, "the second comes after `reconnect`");
    assert_eq!(http::request(node.address, "HEAD", "/a.ts").status, 404);
    let status = node.await_state("idle");
    assert!(status["last_error"].as_str().unwrap().contains("refused"), "{status}");
    assert_nobody(&node);
}

#[test]
fn who_hangs_up_while_waiting_gives_the_place_back() {
    let origin = Origin::open();
    let more = json!({ "maxconnections": 2, "linger": 0.5 });
    let node = node_of(&[&origin.url()], &more, &json!({}));
    let mut waiting = askers(&node, 2);
    assert_eq!(hear_all(&mut asker(&node)).status, 404, "as many wait as may watch");
    assert_eq!(node.count(REFUSED, "reason=\"stream_full\""), 1);
    assert_eq!(http::request(node.address, "HEAD", "/a.ts").status, 404);
    node.await_log(|entry| entry["reason"] == "stream_full" && entry["status"] == 404);
    hang_up(&waiting.pop().unwrap());
    node.await_count("streaming_connections", "/a.ts", 1);
    let line = node.await_log(|entry| entry["module"] == "access" && entry["reason"] == "left");
    assert_eq!((&line["status"], &line["user_agent"]), (&json!(499), &json!("tv")), "{line}");
    waiting.push(asker(&node));
    node.await_count("streaming_connections", "/a.ts", 2);
    // All are gone before the upstream answers: it is kept for a moment, and nobody is missing.
    waiting.iter().for_each(hang_up);
    assert_nobody(&node);
    let mut peer = origin.served();
    node.await_state("connected");
    await_end(&mut peer);
    node.await_state("idle");
    origin.assert_left_alone();
    assert_eq!(node.count("restreamer_viewers_joined_total", "/a.ts"), 0);
    // An attempt that fails when nobody waits is the last one.
    let last = asker(&node);
    let peer = origin.asked();
    hang_up(&last);
    assert_nobody(&node);
    drop(peer);
    node.await_state("idle");
    assert_eq!(node.count(ATTEMPTS, "/a.ts"), 2);
}

#[test]
fn who_waits_counts_for_every_limit() {
    for (key, reason) in [("maxconnections", "node_full"), ("max_per_address", "address_full")] {
        let origin = Origin::open();
        let node = node_of(&[&origin.url()], &json!({}), &json!({ key: 3 }));
        let mut waiting = askers(&node, 3);
        assert_eq!(hear_all(&mut asker(&node)).status, 404);
        assert_eq!(node.count(REFUSED, &format!("reason=\"{reason}\"")), 1);
        let health = http::fetch(node.address, "/health").text();
        assert!(health.contains("\"viewer\":3"), "{health}");
        origin.served().write_all(&packets(0..9)).unwrap();
        for viewer in &mut waiting {
            assert_served(viewer, &packets(0..9));
        }
        assert_eq!(hear_all(&mut asker(&node)).status, 404, "they have the places that they had");
        waiting.into_iter().for_each(reset);
        assert_nobody(&node);
    }
}

#[test]
fn a_node_that_stops_answers_who_waits() {
    let origin = Origin::open();
    let node = node_of(&[&origin.url()], &json!({}), &json!({}));
    let mut waiting = askers(&node, 3);
    let _peer = origin.asked();
    node.signal("TERM");
    for viewer in &mut waiting {
        let answer = hear_all(viewer);
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    }
    let log = node.log_to_the_end();
    let stopped = log.iter().filter(|entry| entry["reason"] == "stopping");
    assert_eq!(stopped.count(), 3);
}

#[test]
fn who_waits_for_a_stream_that_is_switched_off_is_refused() {
    let origin = Origin::open();
    let node = node_of(&[&origin.url()], &json!({ "linger": 0 }), &json!({ "workers": 2 }));
    let mut waiting = askers(&node, 4);
    let mut peer = origin.asked();
    assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
    for viewer in &mut waiting {
        assert_eq!(hear_all(viewer).status, 404);
    }
    assert_eq!(node.count(REFUSED, "reason=\"switched_off\""), 4);
    assert_nobody(&node);
    welcome(&mut peer);
    await_end(&mut peer);
    node.await_state("idle");
    assert_eq!(http::fetch(node.address, "/control?online").status, 202);
    let mut viewer = asker(&node);
    origin.served().write_all(&packets(0..9)).unwrap();
    assert_served(&mut viewer, &packets(0..9));
}

#[test]
fn who_loses_the_upstream_has_it_tried_again_only_while_somebody_is_there() {
    let origin = Origin::open();
    let node = node_of(&[&origin.url()], &json!({ "on_loss": "cut" }), &json!({}));
    let mut viewer = asker(&node);
    let mut peer = origin.served();
    peer.write_all(&packets(0..9)).unwrap();
    assert_served(&mut viewer, &packets(0..9));
    drop(peer);
    let mut rest = Vec::new();
    viewer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0; 0]);
    let status = node.await_state("idle");
    assert!(status["last_error"].as_str().unwrap().contains("ended"), "{status}");
    assert_eq!(node.count("restreamer_upstream_losses_total", "/a.ts"), 1);
    assert_eq!(node.count(ATTEMPTS, "/a.ts"), 1);
}

/// A node on demand at this address, from one at another.
fn link(address: SocketAddr, remote: SocketAddr, more: &Value) -> Node {
    let url = format!("http://{remote}/a.ts");
    let config = json!({ "listen": address.to_string(), "reconnect": 0.2 });
    node_of(&[&url], more, &config)
}

#[test]
fn a_chain_of_nodes_on_demand_is_connected_and_let_go_of_from_below() {
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let more = json!({ "linger": 0.2 });
    let above = node_of(&[&source.url(Speech::Http)], &more, &json!({}));
    let below = link(free_address(), above.address, &more);
    assert_eq!(source.connections(), 0);
    let mut socket = watch(below.address, "/a.ts");
    let mut verifier = Verifier::default();
    verifier.feed(&read_bytes(&mut socket, 100 * PACKET_BYTES));
    verifier.assert_perfect("a viewer");
    assert_eq!(source.connections(), 1);
    hang_up(&socket);
    for node in [&below, &above] {
        node.await_state("idle");
        assert_nobody(node);
    }
    assert_eq!(source.connections(), 1);
}

#[test]
fn nodes_in_a_ring_do_not_keep_each_other_waiting() {
    let (one, other) = (free_address(), free_address());
    let more = json!({ "start_timeout": 0.5, "linger": 0 });
    // One that waits for long, while the other one asks it again and again.
    let patient = json!({ "start_timeout": 4, "linger": 0 });
    let nodes = [link(one, other, &more), link(other, one, &patient)];
    assert_eq!(hear_all(&mut asker(&nodes[0])).status, 404);
    for node in &nodes {
        node.await_state("idle");
        assert_nobody(node);
    }
    let attempts = nodes.each_ref().map(|node| node.count(ATTEMPTS, "/a.ts"));
    assert!(attempts.iter().all(|&attempts| attempts <= 3), "{attempts:?}");
    // It is its own upstream: that is told before anybody is connected.
    let own = free_address();
    let node = link(own, own, &more);
    assert_eq!(hear_all(&mut asker(&node)).status, 404);
    node.await_state("idle");
    let loops = node.count(REFUSED, "reason=\"loop\"");
    assert!(loops > 0);
    assert_eq!(node.count(ATTEMPTS, "result=\"loop\""), loops);
    assert_eq!(node.count(ATTEMPTS, "/a.ts"), loops);
}

#[test]
fn what_is_not_on_demand_is_connected_as_ever() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::with(&json!({ "resources": [
        stream("/b.ts", &source.url(Speech::Raw)),
        on_demand(&["tcp://127.0.0.1:1"], &json!({})),
    ]}));
    node.await_connected();
    assert_eq!(node.count("restreamer_upstream_state", "state=\"idle\""), 1);
    assert_eq!(http::request(node.address, "HEAD", "/b.ts").status, 200);
    let _viewer = watch(node.address, "/b.ts");
}
