//! What the node tells of itself, and how a stream is switched, on the main port.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use serde_json::{Value, json};
use support::crowd::{Crowd, Pace, Watcher};
use support::http::{self, Session};
use support::node::{Node, api, contract_metrics, stream};
use support::packets::{PACKET_BYTES, Verifier, packets};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
/// Fast enough to fill what the kernel buffers for a viewer in a moment.
const FLOOD_BITS_PER_SECOND: u64 = 40_000_000;
/// Packets that a viewer may lag here, so that on a busy machine nobody does who reads.
const ROOMY: u32 = 20_000;
const BYTES: u64 = PACKET_BYTES as u64;

/// The keys of `statistics`, all of them.
const STATISTICS: [&str; 17] = [
    "status",
    "connections",
    "max_connections",
    "full_connections",
    "total_packets_received",
    "total_packets_sent",
    "total_packets_dropped",
    "total_bytes_received",
    "total_bytes_sent",
    "total_bytes_dropped",
    "total_stream_time_ns",
    "packets_per_second_received",
    "packets_per_second_sent",
    "packets_per_second_dropped",
    "bytes_per_second_received",
    "bytes_per_second_sent",
    "bytes_per_second_dropped",
];

// ---- health ----------------------------------------------------------------------------------

#[test]
fn health_is_full_from_the_soft_or_the_hard_limit_on() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    for (soft, hard, words) in [
        (2, 3, &["ok", "ok", "full", "full"][..]),
        (0, 2, &["ok", "ok", "full"]),
        (1, 0, &["ok", "full", "full"]),
        (3, 2, &["ok", "ok", "full"]),
        (0, 0, &["ok", "ok", "ok"]),
    ] {
        let node = telling(&source, &json!({ "fullconnections": soft, "maxconnections": hard }));
        let mut viewers = Vec::new();
        for (viewer, word) in words.iter().enumerate() {
            if viewer > 0 {
                viewers.push(http::watch(node.address, "/a.ts"));
            }
            let mut health = told(&node, "/health");
            assert!(health["bandwidth"].is_u64(), "{health}");
            health["bandwidth"] = json!(0);
            let expected = json!({
                "status": word, "viewer": viewer, "limit": soft, "max": hard, "bandwidth": 0,
            });
            assert_eq!(health, expected);
        }
        drop(viewers);
        eventually("health to be ok again", || {
            let health = told(&node, "/health");
            (health["status"] == "ok" && health["viewer"] == 0).then_some(())
        });
    }
}

#[test]
fn bandwidth_is_what_all_viewers_get() {
    const VIEWERS: usize = 3;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = telling(&source, &json!({}));
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", VIEWERS, Pace::Fast);
    let expected = VIEWERS as u64 * BITS_PER_SECOND / 1024;
    let is_right = |_: &[Watcher]| {
        let bandwidth = told(&node, "/health")["bandwidth"].as_u64().unwrap();
        bandwidth.abs_diff(expected) < expected / 10
    };
    crowd.watch_until(is_right, PATIENCE);
    drop(crowd);
    eventually("nobody to get anything", || {
        (told(&node, "/health")["bandwidth"] == 0).then_some(())
    });
}

// ---- statistics ------------------------------------------------------------------------------

#[test]
fn statistics_count_to_the_packet() {
    const SENT: u64 = 777;
    const VIEWERS: u64 = 3;
    let began = Instant::now();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", origin.local_addr().unwrap());
    let node = Node::with(&json!({ "resources": [
        stream("/a.ts", &url), api("/statistics", "statistics", None),
    ]}));
    let mut upstream = origin.accept().unwrap().0;
    node.await_connected();
    let keys: BTreeSet<String> =
        told(&node, "/statistics").as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, STATISTICS.map(str::to_owned).into());
    let mut viewers: Vec<_> = (0..VIEWERS).map(|_| http::watch(node.address, "/a.ts")).collect();
    let all_here = Instant::now();
    let sent = packets(0..SENT);
    upstream.write_all(&sent).unwrap();
    for viewer in &mut viewers {
        assert_eq!(http::read_bytes(viewer, sent.len()), sent);
    }
    let statistics = eventually("all to be counted", || {
        let statistics = told(&node, "/statistics");
        (statistics["total_packets_sent"] == VIEWERS * SENT).then_some(statistics)
    });
    for (key, value) in [
        ("status", json!("ok")),
        ("connections", json!(VIEWERS)),
        ("max_connections", json!(0)),
        ("full_connections", json!(0)),
        ("total_packets_received", json!(SENT)),
        ("total_packets_dropped", json!(0)),
        ("total_bytes_received", json!(SENT * BYTES)),
        ("total_bytes_sent", json!(VIEWERS * SENT * BYTES)),
        ("total_bytes_dropped", json!(0)),
        ("packets_per_second_dropped", json!(0)),
        ("bytes_per_second_dropped", json!(0)),
    ] {
        assert_eq!(statistics[key], value, "{key}");
    }
    let least = all_here.elapsed();
    viewers.into_iter().for_each(http::reset);
    node.await_count("streaming_connections", "/a.ts", 0);
    let most = began.elapsed();
    let time = told(&node, "/statistics")["total_stream_time_ns"].as_u64().unwrap();
    let time = u128::from(time) / u128::from(VIEWERS);
    assert!(time >= least.as_nanos() && time <= most.as_nanos(), "{time} ns, {least:?}, {most:?}");
    let of_side = http::get(node.side, "/statistics");
    let of_side: Value = serde_json::from_str(&of_side.text()).unwrap();
    assert_eq!(of_side["total_packets_sent"], VIEWERS * SENT, "the side port tells the same");
}

#[test]
fn statistics_tell_rates_and_what_the_slow_are_skipped_over() {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let node = telling(&source, &json!({}));
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Stalled);
    crowd.join(node.address, "/a.ts", 1, Pace::Fast);
    let rates = STATISTICS.iter().filter(|key| key.contains("_per_second_"));
    let rates: Vec<_> = rates.collect();
    assert_eq!(rates.len(), 6);
    // One viewer takes all, and the other one nothing; of two streams one has viewers.
    let close = |rate: &Value, times: u64| {
        let expected = times * FLOOD_BITS_PER_SECOND / 8;
        rate.as_u64().unwrap().abs_diff(expected) < expected / 5
    };
    let is_right = |_: &[Watcher]| {
        let statistics = told(&node, "/statistics");
        let (received, of_packets) =
            (&statistics["bytes_per_second_received"], &statistics["packets_per_second_received"]);
        // Each of them is rounded down, for each of two streams.
        let same =
            received.as_u64().unwrap().abs_diff(of_packets.as_u64().unwrap() * BYTES) <= 2 * BYTES;
        assert!(same, "{statistics}");
        rates.iter().all(|key| statistics[key].as_u64().unwrap() > 0)
            && close(received, 2)
            && close(&statistics["bytes_per_second_sent"], 1)
            && close(&statistics["bytes_per_second_dropped"], 1)
    };
    crowd.watch_until(is_right, PATIENCE);
    let dropped = |statistics: &Value| {
        let of = |key: &str| statistics[key].as_u64().unwrap();
        (of("total_packets_dropped"), of("total_bytes_dropped"))
    };
    let (count, bytes) = dropped(&told(&node, "/statistics"));
    assert_eq!(count * BYTES, bytes, "whole packets");
    assert!(count > 0);
    drop(crowd);
    node.await_count("streaming_connections", "/a.ts", 0);
    let (count, _) = dropped(&told(&node, "/statistics"));
    assert_eq!(node.count("streaming_packets_dropped", "/a.ts"), count, "as the metrics say");
    eventually("the rates to be of the last second", || {
        let statistics = told(&node, "/statistics");
        assert!(statistics["bytes_per_second_received"].as_u64().unwrap() > 0, "it goes on");
        (statistics["bytes_per_second_sent"] == 0).then_some(())
    });
}

#[test]
fn statistics_tell_full_and_overload() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = telling(&source, &json!({ "fullconnections": 1, "maxconnections": 2 }));
    let mut viewers = Vec::new();
    for (viewer, word) in ["ok", "full", "overload"].iter().enumerate() {
        if viewer > 0 {
            viewers.push(http::watch(node.address, "/a.ts"));
        }
        let statistics = told(&node, "/statistics");
        for (key, value) in [
            ("status", json!(word)),
            ("connections", json!(viewer)),
            ("full_connections", json!(1)),
            ("max_connections", json!(2)),
        ] {
            assert_eq!(statistics[key], value, "{key}");
        }
    }
}

#[test]
fn nostats_counts_nothing_and_serves_all_the_same() {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let config = json!({ "nostats": true, "fullconnections": 1, "outputbuffer": ROOMY });
    let node = telling(&source, &config);
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Stalled);
    crowd.join(node.address, "/a.ts", 1, Pace::Fast);
    let skipped = |_: &[Watcher]| node.count("restreamer_skips_total", "/a.ts") > 0;
    crowd.watch_until(skipped, PATIENCE);
    crowd.watchers[1].verifier.assert_perfect("a viewer");
    let statistics = told(&node, "/statistics");
    for key in STATISTICS {
        let value = match key {
            "status" => json!("full"),
            "connections" => json!(2),
            "full_connections" => json!(1),
            _ => json!(0),
        };
        assert_eq!(statistics[key], value, "{key}");
    }
    for name in ["packets_sent", "bytes_sent", "packets_dropped", "bytes_dropped", "duration"] {
        assert_eq!(node.count(&format!("streaming_{name}"), "/a.ts"), 0, "{name}");
    }
    for name in ["streaming_packets_received", "streaming_bytes_received"] {
        assert_eq!(node.count(name, "/a.ts"), 0, "{name}");
    }
    assert_eq!(node.count("streaming_connections", "/a.ts"), 2, "what is so is no statistics");
    assert_eq!(node.count("streaming_source_connected", "/a.ts"), 1);
    let health = told(&node, "/health");
    assert_eq!((&health["status"], &health["viewer"]), (&json!("full"), &json!(2)));
}

// ---- check -----------------------------------------------------------------------------------

#[test]
fn check_of_what_is_not_there_is_not_found() {
    let node = Node::with(&json!({ "resources": [
        api("/check", "check", Some("/a.ts")), stream("/a.ts", &format!("tcp://{}", nobody())),
        api("/of-nothing", "check", Some("/b.ts")), api("/of-nobody", "check", None),
    ]}));
    for path in ["/check", "/of-nothing", "/of-nobody"] {
        let answer = http::fetch(node.address, path);
        assert_eq!((answer.status, answer.text().as_str()), (404, "404 not found"), "{path}");
    }
}

#[test]
fn check_follows_the_upstream_as_it_comes_and_goes() {
    let mut source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = telling(&source, &json!({}));
    for _ in 0..2 {
        let address = source.address;
        assert_check(&node, 200, "200 ok");
        // Switched off, its upstream is still there.
        assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
        assert_check(&node, 200, "200 ok");
        assert_eq!(http::fetch(node.address, "/control?online").status, 202);
        drop(source);
        assert_check(&node, 404, "404 not found");
        let listener = TcpListener::bind(address).unwrap();
        source = Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, 0);
    }
    assert_check(&node, 200, "200 ok");
}

fn assert_check(node: &Node, status: u16, words: &str) {
    let answer = eventually(words, || {
        Some(http::fetch(node.address, "/check")).filter(|answer| answer.status == status)
    });
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.text(), words);
    assert_eq!(Session::open(node.address).ask("HEAD", "/check").status, status);
}

// ---- control ---------------------------------------------------------------------------------

#[test]
fn control_does_what_its_query_says() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = telling(&source, &json!({}));
    let is_on = || http::request(node.address, "HEAD", "/a.ts").status == 200;
    let mut session = Session::open(node.address);
    for (method, query, status, on) in [
        ("GET", "?offline", 202, false),
        ("GET", "?offline", 202, false),
        ("GET", "", 400, false),
        ("GET", "?online", 202, true),
        ("GET", "?online", 202, true),
        ("GET", "", 400, true),
        ("GET", "?", 400, true),
        ("GET", "?off", 400, true),
        ("GET", "?stream=offline", 400, true),
        ("GET", "?OFFLINE", 400, true),
        ("GET", "?x=1&offline=", 202, false),
        ("GET", "?online=yes&x", 202, true),
        ("GET", "?online&offline", 202, false),
        ("GET", "?o%6eline", 202, true),
        ("GET", "?offline&online", 202, false),
        ("POST", "?online", 202, true),
        // These only ask.
        ("HEAD", "?offline", 202, true),
        ("HEAD", "", 400, true),
        ("OPTIONS", "?offline", 204, true),
    ] {
        let answer = session.ask(method, &format!("/control{query}"));
        assert_eq!(answer.status, status, "{method} {query}");
        if !matches!(method, "HEAD" | "OPTIONS") {
            assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
            let words = if status == 202 { "202 accepted" } else { "400 bad request" };
            assert_eq!(answer.text(), words, "{method} {query}");
        }
        assert_eq!(is_on(), on, "after {method} {query}");
        assert_eq!(node.count("restreamer_stream_on", "/a.ts"), u64::from(on), "{method} {query}");
    }
}

#[test]
fn control_of_no_stream_is_a_bad_request() {
    let node = Node::with(&json!({ "resources": [
        stream("/a.ts", &format!("tcp://{}", nobody())),
        api("/of-nothing", "control", Some("/b.ts")), api("/of-nobody", "control", None),
    ]}));
    for path in ["/of-nothing?offline", "/of-nobody?online"] {
        let answer = http::fetch(node.address, path);
        assert_eq!((answer.status, answer.text().as_str()), (400, "400 bad request"), "{path}");
    }
}

#[test]
fn offline_ends_viewers_on_a_packet_boundary_and_refuses_more() {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let node = telling(&source, &json!({ "outputbuffer": ROOMY }));
    let (mut crowd, mut others) = (Crowd::new(), Crowd::new());
    crowd.join(node.address, "/a.ts", 20, Pace::Fast);
    crowd.join(node.address, "/a.ts", 5, Pace::Stalled);
    others.join(node.address, "/b.ts", 2, Pace::Fast);
    let skipped = |_: &[Watcher]| node.count("streaming_packets_dropped", "/a.ts") > 0;
    crowd.watch_until(skipped, PATIENCE);
    // What the kernel has for the slow ends in the middle of a packet; they read it now.
    crowd.watchers[20..].iter_mut().for_each(Watcher::hurry);
    assert_eq!(http::fetch(node.address, "/control?offline").text(), "202 accepted");
    crowd.watch_until(|all| all.iter().all(|watcher| watcher.ended), PATIENCE);
    for watcher in &crowd.watchers {
        let who = format!("{:?}", watcher.pace());
        if watcher.pace() == Pace::Fast {
            watcher.verifier.assert_perfect(&who);
        }
        watcher.verifier.assert_whole(&who);
        assert_eq!(watcher.verifier.unfinished(), 0, "{who}: the last packet is whole");
    }
    node.await_count("restreamer_viewers_ended_total", "reason=\"switched_off\"", 25);
    let refused = http::get(node.address, "/a.ts");
    assert_eq!((refused.status, refused.header("Content-Type")), (404, Some("video/mpeg")));
    assert_eq!(node.count("restreamer_viewers_refused_total", "switched_off"), 1);
    // Who watches something else has noticed nothing.
    others.watch_until(|all| all.iter().all(|watcher| watcher.verifier.packets > 1000), PATIENCE);
    for watcher in &others.watchers {
        watcher.verifier.assert_perfect("a viewer of another stream");
        assert!(!watcher.ended);
    }
    assert_eq!(http::fetch(node.address, "/control?online").text(), "202 accepted");
    let mut again = http::watch(node.address, "/a.ts");
    let mut verifier = Verifier::default();
    verifier.feed(&http::read_bytes(&mut again, 500 * PACKET_BYTES));
    verifier.assert_perfect("a viewer who came back");
}

#[test]
fn switching_again_and_again_at_once_with_many_viewers_does_no_harm() {
    const SWITCHERS: usize = 4;
    const TIMES: usize = 25;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut node = telling(&source, &json!({ "outputbuffer": ROOMY }));
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 150, Pace::Fast);
    crowd.join(node.address, "/a.ts", 10, Pace::Stalled);
    let address = node.address;
    let switcher = move || {
        let mut session = Session::open(address);
        for query in ["?offline", "?online"].repeat(TIMES) {
            assert_eq!(session.ask("GET", &format!("/control{query}")).status, 202);
        }
    };
    let threads: Vec<_> = (0..SWITCHERS)
        .map(|_| std::thread::spawn(switcher))
        .chain([std::thread::spawn(move || come_and_go(address, TIMES))])
        .collect();
    let over = |watcher: &Watcher| watcher.ended || watcher.pace() == Pace::Stalled;
    crowd.watch_until(|all| all.iter().all(over), PATIENCE);
    for thread in threads {
        thread.join().unwrap();
    }
    for watcher in crowd.of(|pace| pace == Pace::Fast) {
        watcher.verifier.assert_perfect("a viewer from the beginning");
        assert_eq!(watcher.verifier.unfinished(), 0);
    }
    drop(crowd);
    assert_eq!(http::fetch(address, "/control?online").status, 202);
    node.await_count("streaming_connections", "/a.ts", 0);
    let health = told(&node, "/health");
    assert_eq!(health["viewer"], 0, "every place is free again");
    let mut viewer = http::watch(address, "/a.ts");
    http::read_bytes(&mut viewer, 100 * PACKET_BYTES);
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    for entry in node.log_to_the_end() {
        assert!(entry["event"] != "error" && entry["level"] != "error", "{entry}");
    }
}

/// Asks for the stream again and again; what it gets is packets, or a refusal.
fn come_and_go(address: SocketAddr, times: usize) {
    for _ in 0..times {
        let (answer, viewer) = http::open(address, b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!([200, 404].contains(&answer.status), "{}", answer.head);
        if answer.status == 200 {
            let mut verifier = Verifier::default();
            // It may be let go at once; then there is nothing to judge.
            let mut bytes = Vec::new();
            viewer.take(100 * BYTES).read_to_end(&mut bytes).expect("closed, not reset");
            verifier.feed(&bytes);
            verifier.assert_whole("a viewer in between");
            assert_eq!((verifier.lost, verifier.unfinished()), (0, 0));
        }
    }
}

// ---- prometheus ------------------------------------------------------------------------------

#[test]
fn prometheus_tells_all_names_with_their_labels_and_no_password() {
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let url = format!("http://alice:s3cret@{}/live.ts", source.address);
    let node = Node::with(&json!({ "resources": [
        api("/metrics", "prometheus", None), stream("/a.ts", &url),
    ]}));
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    http::read_bytes(&mut viewer, 100 * PACKET_BYTES);
    let answer = http::fetch(node.address, "/metrics");
    let kind = answer.header("Content-Type").unwrap();
    assert!(answer.status == 200 && kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text();
    assert!(!text.contains("s3cret"), "{text}");
    let of_stream = "{stream=\"/a.ts\"}".to_owned();
    let masked = format!("http://alice:***@{}/live.ts", source.address);
    let of_upstream = format!("{{stream=\"/a.ts\",url=\"{masked}\"}}");
    for (name, kind, labels) in contract_metrics(&of_stream, &of_upstream) {
        let (line, sample) = (format!("# TYPE {name} {kind}"), format!("{name}{labels} "));
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        let samples = text.lines().filter(|l| l.starts_with(&sample)).count();
        assert_eq!(samples, 1, "{sample} in\n{text}");
    }
    for line in [
        format!("streaming_connections{of_stream} 1"),
        format!("streaming_source_connected{of_upstream} 1"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

// ---- What they share -------------------------------------------------------------------------

/// A node with two streams from this source that tells of itself; `/a.ts` can be switched.
fn telling(source: &Source, config: &Value) -> Node {
    let url = source.url(Speech::Raw);
    let mut config = config.clone();
    config["resources"] = json!([
        api("/check", "check", Some("/a.ts")),
        api("/control", "control", Some("/a.ts")),
        stream("/b.ts", &url),
        stream("/a.ts", &url),
        api("/health", "health", None),
        api("/statistics", "statistics", None),
    ]);
    let node = Node::with(&config);
    node.await_connected();
    node.await_connected();
    node
}

/// What the node tells in JSON.
fn told(node: &Node, path: &str) -> Value {
    let answer = http::fetch(node.address, path);
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    serde_json::from_str(&answer.text()).unwrap()
}
