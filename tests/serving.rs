//! What a client gets for what it asks: the contract's statuses, headers and bodies.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::SystemTime;

use serde_json::{Value, json};
use support::http::{self, Answer};
use support::node::{Node, contract_metrics, cut, stream};
use support::packets::{PACKET_BYTES, Verifier, packets};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;

/// The headers of an answer that a stream gives, whether it is there or not.
const STREAM_HEADERS: [(&str, &str); 6] = [
    ("Content-Type", "video/mpeg"),
    ("Accept-Range", "none"),
    ("Accept-Ranges", "none"),
    ("Cache-Control", "no-cache,no-store,no-transform"),
    ("Access-Control-Allow-Origin", "*"),
    ("Connection", "close"),
];

#[test]
fn a_stream_is_answered_with_the_headers_of_the_contract_and_packets_until_it_ends() {
    let (source, node) = live();
    let mut viewers = Vec::new();
    for (request, version) in [
        ("GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n", "HTTP/1.1"),
        ("GET /a.ts HTTP/1.0\r\n\r\n", "HTTP/1.0"),
    ] {
        let (answer, socket) = http::open(node.address, request.as_bytes());
        assert_eq!(answer.head.lines().next(), Some(format!("{version} 200 OK").as_str()));
        assert_stream_headers(&answer);
        for absent in ["Content-Length", "Transfer-Encoding", "Content-Range"] {
            assert_eq!(answer.header(absent), None, "a stream ends with its connection");
        }
        viewers.push((version, socket));
    }
    let mut verified: Vec<_> = viewers
        .iter_mut()
        .map(|(_, socket)| {
            let mut verifier = Verifier::default();
            verifier.feed(&http::read_bytes(socket, 300 * PACKET_BYTES));
            verifier
        })
        .collect();
    drop(source);
    for ((version, mut socket), verifier) in viewers.into_iter().zip(&mut verified) {
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("closed, not reset");
        verifier.feed(&rest);
        verifier.assert_perfect(version);
        assert_eq!(verifier.unfinished(), 0, "{version}: the last packet is whole");
    }
}

#[test]
fn head_of_a_live_stream_is_the_head_of_get_and_nothing_more() {
    let (_source, node) = live();
    let (get, _viewer) = http::open(node.address, b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = http::request(node.address, "HEAD", "/a.ts");
    assert_eq!(head.status, 200);
    assert_eq!(timeless(&head), timeless(&get));
    assert_eq!(head.body, b"", "and the connection has ended");
    let old = http::ask(node.address, b"HEAD /a.ts HTTP/1.0\r\n\r\n");
    assert!(old.head.starts_with("HTTP/1.0 200 OK\r\n") && old.body.is_empty(), "{}", old.head);
    node.await_count("restreamer_viewers_joined_total", "/a.ts", 1);
}

#[test]
fn options_says_what_is_allowed_from_any_origin() {
    let (_source, node) = live();
    for target in ["/a.ts", "*"] {
        let answer = http::request(node.address, "OPTIONS", target);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{target}");
        assert_eq!(answer.header("Allow"), Some("GET, HEAD, OPTIONS"), "{target}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{target}");
        let methods = answer.header("Access-Control-Allow-Methods").unwrap();
        assert!(methods.contains("GET") && methods.contains("HEAD"), "{methods}");
        assert_eq!(answer.header("Connection"), Some("close"));
        assert_eq!(answer.header("Content-Length"), None, "204 has none (RFC 9110, 8.6)");
    }
}

#[test]
fn any_other_method_is_not_allowed() {
    let (_source, node) = live();
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "X-ANY", "get"] {
        let answer = http::request(node.address, method, "/a.ts");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("Allow"), Some("GET, HEAD, OPTIONS"), "{method}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{method}");
    }
    let post = b"POST /a.ts HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(http::ask(node.address, post).status, 405, "its body does not matter");
}

#[test]
fn an_unknown_path_is_not_found() {
    let (_source, node) = live();
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        let answer = http::request(node.address, method, "/other.ts");
        assert_eq!(answer.status, 404, "{method}");
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("Connection"), Some("close"));
        let length: usize = answer.header("Content-Length").unwrap().parse().unwrap();
        let body = if method == "HEAD" { 0 } else { length };
        assert!(length > 0 && answer.body.len() == body, "{method}: {answer:?}");
    }
}

#[test]
fn an_offline_stream_is_not_found_with_the_headers_of_a_stream() {
    let node = Node::of(&format!("tcp://{}", nobody()));
    node.await_log(|entry| entry["event"] == "error");
    for method in ["GET", "HEAD"] {
        let answer = http::request(node.address, method, "/a.ts");
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{method}");
        assert_stream_headers(&answer);
    }
    assert_eq!(http::request(node.address, "OPTIONS", "/a.ts").status, 204);
    assert_eq!(http::request(node.address, "POST", "/a.ts").status, 405);
    assert_eq!(node.count("restreamer_viewers_joined_total", ""), 0, "nobody was let in");
}

#[test]
fn a_stream_whose_upstream_has_ended_is_not_found_until_it_is_back() {
    let (source, node) = live();
    let address = source.address;
    drop(source);
    let status = |expected| {
        let status = || Some(http::request(node.address, "HEAD", "/a.ts").status);
        eventually("the stream's status", || status().filter(|&status| status == expected));
    };
    status(404);
    let listener = TcpListener::bind(address).unwrap();
    let _source = Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, 0);
    status(200);
    assert_watchable(node.address);
}

#[test]
fn a_range_is_answered_with_the_stream() {
    let (_source, node) = live();
    for range in ["bytes=0-", "bytes=100-200", "bytes=-500", "lines=1-2"] {
        let request = format!("GET /a.ts HTTP/1.1\r\nHost: test\r\nRange: {range}\r\n\r\n");
        let (answer, mut viewer) = http::open(node.address, request.as_bytes());
        assert_eq!((answer.status, answer.header("Content-Range")), (200, None), "{range}");
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut viewer, 100 * PACKET_BYTES));
        verifier.assert_perfect(range);
    }
}

#[test]
fn a_target_leads_to_its_stream_however_it_is_written() {
    const APART: u64 = 1 << 32;
    let paths = ["/a.ts", "/über uns/b.ts", "/below/", "/below/deeper/", "/plus+and%25"];
    let sources: Vec<_> = (0..paths.len() as u64)
        .map(|number| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, number * APART)
        })
        .collect();
    let streams = paths.iter().zip(&sources);
    let streams: Vec<_> = streams.map(|(path, s)| stream(path, &s.url(Speech::Raw))).collect();
    let node = Node::with(&json!({ "resources": streams }));
    for _ in paths {
        node.await_connected();
    }
    for (target, expected) in [
        ("/a.ts", Some(0)),
        ("/a.ts?", Some(0)),
        ("/a.ts?session=1&x=/b.ts?y", Some(0)),
        ("/%61%2e%74%73", Some(0)),
        ("http://some.host/a.ts", Some(0)),
        ("HTTP://some.host:8000/a.ts?x", Some(0)),
        ("https://user@[::1]:1/a.ts", Some(0)),
        ("/%C3%BCber%20uns/b.ts", Some(1)),
        ("/%c3%bcber%20uns%2Fb.ts", Some(1)),
        ("/below/", Some(2)),
        ("/below/x", Some(2)),
        ("/below/x/y.ts?z", Some(2)),
        ("/below/deeper", Some(2)),
        ("/below/deeper/", Some(3)),
        ("/below/deeper/x", Some(3)),
        ("/plus+and%2525", Some(4)),
        ("/below", None),
        ("/", None),
        ("//a.ts", None),
        ("/a.ts/", None),
        ("/a.ts/x", None),
        ("/A.TS", None),
        ("/a", None),
        ("/a.ts%3Fx", None),
        ("/a.ts%20", None),
        ("/plus%20and%2525", None),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let (answer, mut viewer) = http::open(node.address, request.as_bytes());
        let found = (answer.status == 200).then(|| {
            let mut verifier = Verifier::default();
            verifier.feed(&http::read_bytes(&mut viewer, PACKET_BYTES));
            verifier.first.expect("a packet of a source") / APART
        });
        assert_eq!(found, expected, "{target}: {}", answer.head);
    }
}

#[test]
fn an_ipv6_address_is_listened_on() {
    let (_source, node) = live_on("[::1]:0");
    assert!(node.address.is_ipv6(), "{}", node.address);
    assert_watchable(node.address);
}

#[test]
fn no_host_is_every_interface_of_both_families() {
    let (_source, node) = live_on(":0");
    assert_eq!(node.address.ip(), Ipv6Addr::UNSPECIFIED);
    for host in ["127.0.0.1", "::1"] {
        assert_watchable(SocketAddr::new(host.parse().unwrap(), node.address.port()));
    }
}

#[test]
fn a_host_is_listened_on_at_all_its_addresses() {
    let config = json!({
        "listen": "localhost:0", "side": "127.0.0.1:0",
        "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("restreamer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let node = Node::spawn(&[file.to_str().unwrap()], dir);
    let mut served = BTreeSet::new();
    node.await_log(|entry| {
        served.extend(entry["address"].as_str().map(|a| a.parse::<SocketAddr>().unwrap().ip()));
        entry["side"].is_string()
    });
    let expected = ("localhost", 0).to_socket_addrs().unwrap();
    assert_eq!(served, expected.map(|address| address.ip()).collect());
}

/// The kernel shows the timer of a connection, and when it fires (proc(5), `/proc/net/tcp`).
#[test]
fn the_kernel_will_ask_whether_a_silent_viewer_is_still_there() {
    const KEEPALIVE: &str = "02";
    const TICKS_PER_SECOND: u64 = 100;
    let source = Source::start(Speech::Raw, 0);
    let node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    let viewer = http::watch(node.address, "/a.ts");
    let (here, there) = (node.address.port(), viewer.local_addr().unwrap().port());
    let timer = eventually("a keepalive timer", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let row = table.lines().find(|row| {
            let mut words = row.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&format!(":{here:04X}")))
                && words.next().is_some_and(|peer| peer.ends_with(&format!(":{there:04X}")))
        })?;
        let (kind, ticks) = row.split_whitespace().nth(5)?.split_once(':')?;
        (kind == KEEPALIVE).then(|| u64::from_str_radix(ticks, 16).unwrap())
    });
    let idle = restreamer::limits::KEEPALIVE_IDLE.as_secs();
    assert!(timer <= idle * TICKS_PER_SECOND, "{timer} ticks");
}

#[test]
fn viewers_of_a_stream_have_its_congestion_control() {
    let source = Source::start(Speech::Raw, 1_000_000);
    let url = source.url(Speech::Raw);
    let of = |path: &str, congestion: &str| {
        let mut stream = stream(path, &url);
        stream["congestion"] = congestion.into();
        stream
    };
    let node = Node::with(&json!({ "resources": [
        of("/reno.ts", "reno"), of("/unknown.ts", "no-such-one"), of("/systems.ts", ""),
    ]}));
    node.await_log(|line| line["error"] == "congestion" && line["stream"] == "/unknown.ts");
    node.await_metric("streaming_source_connected", "", |connected| connected > 2.5);
    let systems = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    for (path, name) in [("/reno.ts", "reno"), ("/unknown.ts", &systems), ("/systems.ts", &systems)]
    {
        let viewer = http::watch(node.address, path);
        let filter = format!("sport = :{}", node.address.port());
        let peer = format!("dport = :{}", viewer.local_addr().unwrap().port());
        let out = std::process::Command::new("ss").args(["-tinH", &filter, &peer]).output();
        let text = String::from_utf8(out.unwrap().stdout).unwrap();
        assert!(text.split_whitespace().any(|word| word == name.trim()), "{path}: {text}");
    }
}

#[test]
fn beyond_maxconnections_a_viewer_is_refused_and_a_freed_place_is_used_again() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::with(&json!({
        "maxconnections": 3, "fullconnections": 2,
        // Both streams count together.
        "resources": [
            stream("/a.ts", &source.url(Speech::Raw)),
            stream("/b.ts", &source.url(Speech::Raw)),
        ],
    }));
    node.await_connected();
    node.await_connected();
    let health =
        || -> Value { serde_json::from_str(&http::get(node.side, "/health").text()).unwrap() };
    let _first = http::watch(node.address, "/a.ts");
    assert_eq!(health()["status"], "ok");
    let second = http::watch(node.address, "/b.ts");
    assert_eq!(health()["status"], "full", "from the soft limit on");
    let _third = http::watch(node.address, "/a.ts");
    assert_eq!((&health()["viewer"], &health()["status"]), (&json!(3), &json!("full")));
    for path in ["/a.ts", "/b.ts"] {
        let refused = http::get(node.address, path);
        assert_eq!((refused.status, refused.body.len()), (404, 0));
        assert_stream_headers(&refused);
    }
    drop(second);
    node.await_count("streaming_connections", "", 2);
    let mut again = http::watch(node.address, "/a.ts");
    http::read_bytes(&mut again, PACKET_BYTES);
    assert_eq!(http::get(node.address, "/b.ts").status, 404, "full again");
}

/// HEAD answers what GET would (RFC 9110, 9.3.2).
#[test]
fn head_of_a_stream_without_a_free_place_is_what_get_would_be() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let resources = [stream("/a.ts", &source.url(Speech::Raw))];
    let node = Node::with(&json!({ "maxconnections": 1, "resources": resources }));
    node.await_connected();
    let _viewer = http::watch(node.address, "/a.ts");
    let [get, head] = ["GET", "HEAD"].map(|method| http::request(node.address, method, "/a.ts"));
    assert_eq!(get.status, 404);
    assert_eq!(timeless(&head), timeless(&get));
}

#[test]
fn a_viewer_who_will_send_nothing_more_gets_the_stream() {
    let (_source, node) = live();
    let mut viewer = http::watch(node.address, "/a.ts");
    viewer.shutdown(Shutdown::Write).unwrap();
    // Before the head is answered, too: such a client is often a script.
    let mut early = http::connect(node.address);
    early.write_all(b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    early.shutdown(Shutdown::Write).unwrap();
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        early.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert_eq!(Answer::parse(&head).status, 200);
    for (who, socket) in [("late", &mut viewer), ("early", &mut early)] {
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(socket, 500 * PACKET_BYTES));
        verifier.assert_perfect(who);
    }
    assert_eq!(node.count("streaming_connections", "/a.ts"), 2);
    drop((viewer, early));
    node.await_count("streaming_connections", "/a.ts", 0);
}

#[test]
fn the_viewers_of_a_stream_are_counted_as_they_come_and_go() {
    let (source, node) = live();
    let mut viewers: Vec<_> = (0..5).map(|_| http::watch(node.address, "/a.ts")).collect();
    node.await_count("streaming_connections", "/a.ts", 5);
    node.await_count("restreamer_viewers", "/a.ts", 5);
    assert_eq!(node.status()["viewers"]["all"], 5);
    // One stays: the end of the stream is its end.
    let mut last = viewers.pop().unwrap();
    for viewer in &viewers {
        http::hang_up(viewer);
    }
    node.await_count("streaming_connections", "/a.ts", 1);
    let ended = |reason: &str| {
        node.count("restreamer_viewers_ended_total", &format!("reason=\"{reason}\""))
    };
    assert_eq!(ended("left") + ended("vanished"), 4);
    drop(source);
    std::io::copy(&mut last, &mut std::io::sink()).expect("closed, not reset");
    node.await_count("streaming_connections", "/a.ts", 0);
    assert_eq!(ended("finished"), 1);
    assert_eq!(node.count("restreamer_viewers_joined_total", "/a.ts"), 5);
    assert_eq!(node.count("restreamer_requests_total", "status=\"200\""), 5);
}

#[test]
fn metrics_count_exactly_what_was_received_and_sent() {
    const SENT: u64 = 500;
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", origin.local_addr().unwrap());
    let node = Node::cutting(&url);
    let mut upstream = origin.accept().unwrap().0;
    node.await_connected();
    let mut viewers = [(); 2].map(|()| http::watch(node.address, "/a.ts"));
    node.await_count("streaming_connections", "/a.ts", 2);
    assert_eq!(node.count("streaming_source_connected", &url), 1);
    upstream.write_all(&packets(0..SENT)).unwrap();
    // No other attempt may succeed: what follows is the end.
    drop(origin);
    drop(upstream);
    for viewer in &mut viewers {
        let (mut bytes, mut verifier) = (Vec::new(), Verifier::default());
        viewer.read_to_end(&mut bytes).expect("closed, not reset");
        verifier.feed(&bytes);
        verifier.assert_perfect("a viewer");
        assert_eq!((verifier.first, verifier.packets, verifier.unfinished()), (Some(0), SENT, 0));
    }
    node.await_count("streaming_connections", "/a.ts", 0);
    let bytes = SENT * PACKET_BYTES as u64;
    let (of_stream, of_upstream) =
        ("{stream=\"/a.ts\"}", format!("{{stream=\"/a.ts\",url=\"{url}\"}}"));
    for (name, labels, value) in [
        ("streaming_packets_received", of_upstream.as_str(), SENT),
        ("streaming_bytes_received", &of_upstream, bytes),
        ("streaming_source_connected", &of_upstream, 0),
        ("restreamer_sync_losses_total", &of_upstream, 0),
        ("restreamer_continuity_errors_total", &of_upstream, 0),
        ("streaming_packets_sent", of_stream, 2 * SENT),
        ("streaming_bytes_sent", of_stream, 2 * bytes),
        ("streaming_packets_dropped", of_stream, 0),
        ("streaming_bytes_dropped", of_stream, 0),
        ("streaming_connections", of_stream, 0),
    ] {
        assert_eq!(node.count(name, labels), value, "{name}{labels}");
    }
    let by_path = node.count("restreamer_sent_bytes_total", "/a.ts");
    assert_eq!(by_path, 2 * bytes, "each byte left by one path");
    assert!(node.count("streaming_duration", of_stream) > 0);
}

#[test]
fn the_names_types_and_labels_of_all_metrics_are_kept() {
    let (source, node) = live();
    let mut viewer = http::watch(node.address, "/a.ts");
    http::read_bytes(&mut viewer, PACKET_BYTES);
    let answer = http::get(node.side, "/metrics");
    assert_eq!(answer.status, 200);
    let kind = answer.header("Content-Type").unwrap().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text();
    let (of_stream, of_upstream) = (
        "{stream=\"/a.ts\"}".to_owned(),
        format!("{{stream=\"/a.ts\",url=\"{}\"}}", source.url(Speech::Raw)),
    );
    let ours = [
        ("restreamer_skips_total", "counter", of_stream.as_str()),
        ("restreamer_feed_skips_total", "counter", of_stream.as_str()),
        ("restreamer_lag_bytes", "gauge", &of_stream),
        ("restreamer_ring_bytes", "gauge", &of_stream),
        ("restreamer_sync_losses_total", "counter", &of_upstream),
        ("restreamer_viewers", "gauge", "{state=\"live\",stream=\"/a.ts\"}"),
        ("restreamer_viewers", "gauge", "{state=\"catching_up\",stream=\"/a.ts\"}"),
        ("restreamer_sent_bytes_total", "counter", "{path=\"live\",stream=\"/a.ts\"}"),
        ("restreamer_sent_bytes_total", "counter", "{path=\"catching_up\",stream=\"/a.ts\"}"),
        ("restreamer_turns_total", "counter", "{worker=\"0\"}"),
        ("restreamer_worker_busy_seconds_total", "counter", "{worker=\"0\"}"),
        ("restreamer_worker_sent_bytes_total", "counter", "{worker=\"0\"}"),
        ("restreamer_worker_streams", "gauge", "{worker=\"0\"}"),
        ("restreamer_worker_viewers", "gauge", "{worker=\"0\"}"),
        ("restreamer_handed_over_total", "counter", "{worker=\"0\"}"),
        ("restreamer_streams_moved_total", "counter", "{worker=\"0\"}"),
        ("restreamer_stream_turns_total", "counter", "{worker=\"0\"}"),
        ("restreamer_log_dropped_total", "counter", ""),
    ];
    let all = contract_metrics(&of_stream, &of_upstream).into_iter().chain(ours);
    for (name, kind, labels) in all {
        let (line, sample) = (format!("# TYPE {name} {kind}"), format!("{name}{labels} "));
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        assert!(text.lines().any(|l| l.starts_with(&sample)), "{sample} in\n{text}");
    }
    assert!(text.contains("\nrestreamer_turn_seconds_bucket{worker=\"0\",le=\"+Inf\"} "), "{text}");
    // The connection that asked is itself one of the descriptors, or is not any more.
    let open = node.metric("process_open_fds", "");
    assert!(open >= 5.0 && node.metric("process_resident_memory_bytes", "") > 1e5, "{open}");
}

#[test]
fn health_is_the_contracts_json() {
    let (_source, node) = live();
    let health = || -> Value {
        let answer = http::get(node.side, "/health");
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
        serde_json::from_str(&answer.text()).unwrap()
    };
    let nobody = json!({ "status": "ok", "viewer": 0, "limit": 0, "max": 0, "bandwidth": 0 });
    assert_eq!(health(), nobody);
    let mut viewer = http::watch(node.address, "/a.ts");
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while viewer.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    // Rates are of the last second, and one moment's are the same on both pages.
    let sent = || node.status()["sent_bits_per_second"].as_u64().unwrap();
    let (bits, bandwidth) = eventually("the bandwidth of one viewer", || {
        let (before, bandwidth, after) = (sent(), health()["bandwidth"].as_u64().unwrap(), sent());
        let settled = before.abs_diff(BITS_PER_SECOND) < BITS_PER_SECOND / 5;
        (settled && before == after).then_some((before, bandwidth))
    });
    assert_eq!(bandwidth, bits / 1024, "units of 1024 bit");
    let mut seen = health();
    seen["bandwidth"] = json!(0);
    assert_eq!(seen, json!({ "status": "ok", "viewer": 1, "limit": 0, "max": 0, "bandwidth": 0 }));
    drop(node);
    reader.join().unwrap();
}

#[test]
fn the_status_of_streams_is_shown() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let (live, dead) = (source.url(Speech::Raw), format!("tcp://{}", nobody()));
    let resources = [stream("/a.ts", &live), stream("/b.ts", &dead)];
    let node = Node::with(&json!({ "resources": resources }));
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    http::read_bytes(&mut viewer, PACKET_BYTES);
    let shown = eventually("rates and a failed attempt", || {
        let answer = http::get(node.side, "/streams");
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
        let shown: Value = serde_json::from_str(&answer.text()).unwrap();
        let both = shown[0]["sent_bits_per_second"].as_u64().unwrap() > 0
            && shown[1]["last_error"].is_string();
        both.then_some(shown)
    });
    let [a, b] = shown.as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!((&a["stream"], &b["stream"]), (&json!("/a.ts"), &json!("/b.ts")));
    assert_eq!((&a["state"], &a["upstream"]), (&json!("connected"), &json!(live)));
    assert_eq!((&a["viewers"]["all"], &b["viewers"]["all"]), (&json!(1), &json!(0)));
    assert!(a["received_bits_per_second"].as_u64().unwrap() > 0, "{a}");
    assert_ne!(b["state"], "connected");
    assert!(b["attempts"].as_u64().unwrap() >= 1, "{b}");
    assert!(b["last_error"].as_str().unwrap().contains(&dead), "{b}");
}

#[test]
fn the_side_port_knows_its_paths_and_methods() {
    let (_source, node) = live();
    for path in ["/metrics", "/health", "/streams"] {
        let get = http::get(node.side, path);
        let head = http::request(node.side, "HEAD", path);
        assert_eq!((get.status, head.status, head.body.len()), (200, 200, 0), "{path}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
        assert_eq!(get.header("Content-Length"), Some(get.body.len().to_string().as_str()));
        for method in ["POST", "PUT", "DELETE", "X-ANY"] {
            let answer = http::request(node.side, method, path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("Allow"), Some("GET, HEAD, OPTIONS"), "{method} {path}");
        }
        assert_eq!(http::request(node.side, "OPTIONS", path).status, 204, "{path}");
    }
    for path in ["/a.ts", "/metrics/", "/Metrics", "/x"] {
        assert_eq!(http::get(node.side, path).status, 404, "{path}");
    }
    assert_eq!(http::get(node.address, "/metrics").status, 404, "viewers see none of it");
}

#[test]
fn an_empty_side_switches_the_side_port_off() {
    let served = |side: &str| {
        let config = json!({
            "listen": "127.0.0.1:0", "side": side,
            "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("restreamer.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let node = Node::spawn(&[file.to_str().unwrap()], dir);
        // An attempt begins when everything listens.
        node.await_log(|entry| entry["module"] == "upstream");
        listening_sockets(node.pid())
    };
    assert_eq!((served("127.0.0.1:0"), served("")), (2, 1));
}

/// A guest who has his answer and does not hang up is let go, and the metric says so, even on a
/// node where nothing else happens.
#[test]
fn guests_are_counted_down_on_an_idle_node() {
    // Told to try once: nothing ever makes the worker turn again.
    let resources = [stream("/a.ts", &format!("tcp://{}", nobody()))];
    let node = Node::with(&json!({ "reconnect": 0, "resources": resources }));
    node.await_log(|entry| entry["event"] == "error");
    let (answer, _stays) = http::open(node.address, b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.status, 404);
    node.await_count("restreamer_guests", "", 1);
    node.await_count("restreamer_guests", "", 0);
}

/// A source and a node that is connected to it.
fn live() -> (Source, Node) {
    live_on("127.0.0.1:0")
}

fn live_on(listen: &str) -> (Source, Node) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let resources = [cut(stream("/a.ts", &source.url(Speech::Raw)))];
    let node = Node::with(&json!({ "listen": listen, "resources": resources }));
    node.await_connected();
    (source, node)
}

fn assert_watchable(address: SocketAddr) {
    let mut verifier = Verifier::default();
    verifier.feed(&http::read_bytes(&mut http::watch(address, "/a.ts"), 50 * PACKET_BYTES));
    verifier.assert_perfect(&address.to_string());
}

fn assert_stream_headers(answer: &Answer) {
    for (name, value) in STREAM_HEADERS {
        let mut lines = answer.head.lines().filter_map(|line| line.split_once(": "));
        let same = lines.by_ref().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let values: Vec<_> = same.map(|(_, value)| value).collect();
        assert_eq!(values, [value], "{name} in {}", answer.head);
    }
    let modified = httpdate::parse_http_date(answer.header("Last-Modified").unwrap()).unwrap();
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    assert!(age < PATIENCE, "last modified: now, not {age:?} ago");
}

/// The head without what depends on the time.
fn timeless(answer: &Answer) -> Vec<&str> {
    let of_time = |line: &&str| !line.starts_with("Date: ") && !line.starts_with("Last-Modified: ");
    answer.head.lines().filter(of_time).collect()
}

/// How many TCP sockets a process listens on (proc(5): `/proc/net/tcp`, state 0A).
fn listening_sockets(pid: u32) -> usize {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let links: BTreeSet<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter(|row| {
        let words: Vec<_> = row.split_whitespace().collect();
        words[3] == "0A" && links.contains(&format!("socket:[{}]", words[9]))
    })
    .count()
}
