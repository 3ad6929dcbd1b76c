//! Who gets in: authentication, limits, and what the log says of those who came and were refused.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::crowd::{Crowd, Pace, Watcher};
use support::http::{self, Answer, Session};
use support::node::{Node, api, cut, stream};
use support::packets::{PACKET_BYTES, Verifier};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
/// Fast enough to fill what the kernel buffers for a viewer in a moment.
const FLOOD_BITS_PER_SECOND: u64 = 40_000_000;
const KINDS: [&str; 3] = ["/stream", "/static", "/api"];
const CHALLENGE: &str = "Basic realm=\"restreamer\" charset=\"UTF-8\"";

// ---- Authentication --------------------------------------------------------------------------

/// What is shown, and the status by which each kind of resource answers it.
#[test]
fn every_kind_of_resource_asks_who_it_is() {
    let (_source, node) = guarded();
    let [alice, bob, carol, wrong, unknown, empty] = [
        "alice:s3cret-a",
        "bob:s3cret-b:ü",
        "carol:s3cret-c",
        "alice:s3cret-x",
        "mallory:s3cret-a",
        "alice:",
    ]
    .map(|pair| format!("Basic {}", BASE64_STANDARD.encode(pair)));
    let (lower, upper) = (alice.replace("Basic", "basic"), alice.replace("Basic", "BASIC  "));
    for (of, shown, status) in [
        ("open", "", 200),
        ("open", "Basic nonsense", 200),
        ("basic", "", 401),
        ("basic", &alice, 200),
        ("basic", &bob, 200),
        ("basic", &lower, 200),
        ("basic", &upper, 200),
        ("basic", &carol, 401),
        ("basic", &wrong, 401),
        ("basic", &unknown, 401),
        ("basic", &empty, 401),
        ("basic", "Basic", 401),
        ("basic", "Basic !!!", 401),
        ("basic", "Basic YWxpY2U6czNjcmV0LWE=YQ", 401),
        ("basic", "Basic alice:s3cret-a", 401),
        ("basic", "Bearer s3cret-a", 401),
        ("basic", "Digest username=alice", 401),
        ("bearer", "", 403),
        ("bearer", "Bearer s3cret-a", 200),
        ("bearer", "bearer s3cret-a", 200),
        ("bearer", "BEARER   s3cret-a", 200),
        ("bearer", "Bearer s3cret-b:ü", 403),
        ("bearer", "Bearer s3cret-A", 403),
        ("bearer", "Bearer s3cret", 403),
        ("bearer", "Bearer s3cret-a0", 403),
        ("bearer", "Bearer ", 403),
        ("bearer", "Bearer", 403),
        ("bearer", "s3cret-a", 403),
        ("bearer", &alice, 403),
        ("digest", "", 403),
        ("digest", &alice, 403),
        ("digest", "Bearer s3cret-a", 403),
        ("basic-of-nobody", "", 401),
        ("basic-of-nobody", &alice, 401),
        ("bearer-of-nobody", "", 403),
        ("bearer-of-nobody", "Bearer s3cret-a", 403),
        ("bearer-of-nobody", "Bearer ", 403),
    ] {
        for (kind, method) in KINDS.into_iter().flat_map(|kind| [(kind, "GET"), (kind, "HEAD")]) {
            let line = if shown.is_empty() {
                String::new()
            } else {
                format!("Authorization: {shown}\r\n")
            };
            let answer = asked(node.address, method, &format!("{kind}/{of}"), &line);
            assert_eq!(answer.status, status, "{method} {kind}/{of} {shown:?}");
            let challenge = (status == 401).then_some(CHALLENGE);
            assert_eq!(answer.header("WWW-Authenticate"), challenge, "{kind}/{of}");
        }
    }
}

#[test]
fn who_may_have_it_and_from_where_are_two_questions() {
    let (_source, node) = guarded();
    for kind in KINDS {
        for of in ["open", "basic", "bearer", "digest"] {
            let path = format!("{kind}/{of}");
            // A browser asks so before it is told a password (Fetch standard, CORS-preflight).
            let answer = asked(node.address, "OPTIONS", &path, "Origin: http://x\r\n");
            assert_eq!(answer.status, 204, "{path}");
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{path}");
            let headers = answer.header("Access-Control-Allow-Headers").unwrap();
            assert!(headers.contains("Authorization"), "{headers}");
            assert_eq!(answer.header("WWW-Authenticate"), None, "{path}");
            assert_eq!(asked(node.address, "DELETE", &path, "").status, 405, "{path}");
        }
        let answer = asked(node.address, "GET", &format!("{kind}/basic"), "");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{kind}");
    }
    let twice = "Authorization: Bearer s3cret-a\r\nAuthorization: Bearer s3cret-a\r\n";
    assert_eq!(asked(node.address, "GET", "/api/bearer", twice).status, 403);
}

#[test]
fn a_realm_is_what_the_file_says() {
    let (_source, node) = guarded();
    for kind in KINDS {
        let answer = asked(node.address, "GET", &format!("{kind}/realm"), "");
        let challenge = "Basic realm=\"TV für alle\" charset=\"UTF-8\"";
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some(challenge)));
    }
}

#[test]
fn a_token_in_the_query_counts_where_the_resource_says_so() {
    let (_source, node) = guarded();
    let coded = BASE64_STANDARD.encode("alice:s3cret-a").replace('=', "%3D");
    let coded = coded.as_str();
    for (of, token, status) in [
        ("bearer-query", "s3cret-a", 200),
        ("bearer-query", "s3cret%2Da", 200),
        ("bearer-query", "s3cret-a&token=x", 200),
        ("bearer-query", "x&token=s3cret-a", 403),
        ("bearer-query", "s3cret-b", 403),
        ("bearer-query", "", 403),
        ("bearer", "s3cret-a", 403),
        ("basic-query", "alice:s3cret-a", 200),
        ("basic-query", "alice%3As3cret-a", 200),
        ("basic-query", coded, 200),
        ("basic-query", "s3cret-a", 401),
        ("basic", "alice:s3cret-a", 401),
        ("digest-query", "s3cret-a", 403),
        ("open", "s3cret-x", 200),
    ] {
        for kind in KINDS {
            let path = format!("{kind}/{of}?x=y&token={token}");
            for method in ["GET", "HEAD"] {
                assert_eq!(asked(node.address, method, &path, "").status, status, "{path}");
            }
        }
    }
    // One of the two suffices.
    let header = "Authorization: Bearer s3cret-a\r\n";
    assert_eq!(asked(node.address, "GET", "/api/bearer-query?token=x", header).status, 200);
}

#[test]
fn control_is_done_for_those_who_may_alone() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut control = api("/control", "control", Some("/a.ts"));
    control["authentication"] = json!({ "type": "bearer", "user": "alice" });
    let node = Node::with(&json!({
        "userlist": { "alice": { "password": "s3cret-a" } },
        "resources": [stream("/a.ts", &source.url(Speech::Raw)), control],
    }));
    node.await_connected();
    for (shown, status, on) in [("", 403, 1), ("x", 403, 1), ("s3cret-a", 202, 0)] {
        let line = format!("Authorization: Bearer {shown}\r\n");
        assert_eq!(asked(node.address, "GET", "/control?offline", &line).status, status);
        assert_eq!(node.count("restreamer_stream_on", "/a.ts"), on, "{shown}");
    }
}

#[test]
fn no_secret_is_ever_told() {
    // What is right, what was tried, and how it looks when it is shown.
    let shown = [
        "Basic YWxpY2U6czNjcmV0LWE=", // alice:s3cret-a
        "Basic YWxpY2U6dHJpZWQtYQ==", // alice:tried-a
        "Bearer s3cret-a",
        "Bearer tried-b",
        "Basic tried-c",
        "Odd tried-d",
    ];
    let (_source, mut node) = guarded();
    for kind in KINDS {
        for of in ["basic", "bearer", "digest", "bearer-query", "basic-of-nobody", "nowhere"] {
            let path = format!("{kind}/{of}");
            for value in shown {
                let line = format!("Authorization: {value}\r\n");
                asked(node.address, "GET", &path, &line);
            }
            for token in ["s3cret-a", "tried-e", "alice:s3cret-a"] {
                asked(node.address, "GET", &format!("{path}?token={token}&x"), "");
            }
        }
    }
    // A line that is no request holds it as well.
    let mut session = Session::open(node.address);
    session.say(b"GET /api/bearer HTTP/1.1\r\nAuthorization: Bearer s3cret-a\r\n\r\n");
    assert_eq!(session.hear("GET").status, 400);
    node.await_count("streaming_connections", "", 0);
    let mut seen: Vec<_> = ["/metrics", "/streams", "/statistics"]
        .map(|path| http::get(node.side, path).text())
        .into();
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    let log = node.log_to_the_end();
    for status in [200, 401, 403] {
        assert!(log.iter().any(|entry| entry["status"] == status), "{status} is in the log");
    }
    seen.extend(log.iter().map(Value::to_string));
    for text in seen {
        for secret in ["s3cret", "tried", "YWxpY2U6", "token", "Authorization", "Bearer", "Odd"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// A node with each kind of resource under each kind of authentication, as `/<kind>/<what>`.
fn guarded() -> (Source, Node) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let file = support::node::repository("README.md");
    let mut resources = Vec::new();
    for (of, authentication, query) in [
        ("open", json!({ "type": "" }), false),
        // The lists are merged, and each user counts once.
        ("basic", json!({ "type": "basic", "user": "alice", "users": ["bob", "alice"] }), false),
        ("realm", json!({ "type": "basic", "user": "alice", "realm": "TV für alle" }), false),
        ("basic-query", json!({ "type": "basic", "user": "alice" }), true),
        ("basic-of-nobody", json!({ "type": "basic", "users": [] }), true),
        ("bearer", json!({ "type": "bearer", "users": ["alice", "nobody"] }), false),
        ("bearer-query", json!({ "type": "bearer", "user": "alice" }), true),
        ("bearer-of-nobody", json!({ "type": "bearer" }), true),
        ("digest", json!({ "type": "digest", "user": "alice" }), false),
        ("digest-query", json!({ "type": "digest", "user": "alice" }), true),
    ] {
        for kind in KINDS {
            let path = format!("{kind}/{of}");
            let mut resource = match kind {
                "/stream" => stream(&path, &source.url(Speech::Raw)),
                "/api" => api(&path, "health", None),
                _static => json!({
                    "type": "static", "serve": path, "cache": 60,
                    "remote": format!("file://{}", file.display()),
                }),
            };
            resource["authentication"] = authentication.clone();
            resource["token_query"] = query.into();
            resources.push(resource);
        }
    }
    let streams = resources.len() / KINDS.len();
    let node = Node::with(&json!({ "resources": resources, "userlist": {
        "alice": { "password": "s3cret-a" },
        "bob": { "password": "s3cret-b:ü" },
        "carol": { "password": "s3cret-c" },
    }}));
    for _ in 0..streams {
        node.await_connected();
    }
    (source, node)
}

/// The head of the answer to a request with these header lines, each with its end.
fn asked(address: SocketAddr, method: &str, path: &str, lines: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    http::open(address, request.as_bytes()).0
}

// ---- Limits ----------------------------------------------------------------------------------

#[test]
fn a_stream_has_a_limit_of_its_own() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut limited = stream("/a.ts", &source.url(Speech::Raw));
    limited["maxconnections"] = 2.into();
    let resources = [limited, stream("/b.ts", &source.url(Speech::Raw))];
    let node = connected(&json!({ "maxconnections": 4, "resources": resources }), 2);
    let _first = http::watch(node.address, "/a.ts");
    let second = http::watch(node.address, "/a.ts");
    assert_refused(&node, "/a.ts", "stream_full", 1);
    let _others = ["/b.ts", "/b.ts"].map(|path| http::watch(node.address, path));
    assert_refused(&node, "/b.ts", "node_full", 1);
    http::reset(second);
    node.await_count("streaming_connections", "/a.ts", 1);
    let _again = http::watch(node.address, "/a.ts");
    assert_refused(&node, "/a.ts", "stream_full", 2);
}

#[test]
fn an_address_has_its_share() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let url = source.url(Speech::Raw);
    let resources = [stream("/a.ts", &url), stream("/b.ts", &url)];
    let config = json!({ "listen": ":0", "max_per_address": 2, "resources": resources });
    let mut node = connected(&config, 2);
    node.address.set_ip(Ipv4Addr::LOCALHOST.into());
    let first = http::watch(node.address, "/a.ts");
    // All streams together.
    let _second = http::watch(node.address, "/b.ts");
    assert_refused(&node, "/a.ts", "address_full", 1);
    // It is by the address, and not by the port or the connection.
    let of_another = |last| {
        let status = watch_from(Ipv4Addr::new(127, 0, 0, last), node.address);
        (status.0.status, status.1)
    };
    let others = [of_another(2), of_another(2), of_another(2), of_another(3)];
    assert_eq!(others.each_ref().map(|(status, _)| *status), [200, 200, 404, 200]);
    http::reset(first);
    node.await_count("streaming_connections", "/a.ts", 3);
    let _again = http::watch(node.address, "/a.ts");
    assert_refused(&node, "/b.ts", "address_full", 1);
    assert_refused(&node, "/a.ts", "address_full", 3);
}

#[test]
fn who_is_refused_may_be_told_to_come_again() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    for (extra, after) in [(json!({ "retry_after": 7 }), "7"), (json!({}), "5")] {
        let mut config = json!({ "refuse_with": 503, "maxconnections": 1, "resources": [
            stream("/a.ts", &source.url(Speech::Raw)),
            stream("/nobody.ts", &format!("tcp://{}", nobody())),
            api("/control", "control", Some("/a.ts")),
        ]});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        let node = connected(&config, 1);
        let viewer = http::watch(node.address, "/a.ts");
        let is_told = |path: &str| {
            for method in ["GET", "HEAD"] {
                let answer = http::request(node.address, method, path);
                assert_eq!((answer.status, answer.body.len()), (503, 0), "{method} {path}");
                assert_eq!(answer.header("Retry-After"), Some(after), "{method} {path}");
                assert_eq!(answer.header("Content-Type"), Some("video/mpeg"), "{path}");
            }
        };
        is_told("/a.ts");
        is_told("/nobody.ts");
        // Not so who is lost or may not.
        assert_eq!(http::get(node.address, "/none").status, 404);
        http::reset(viewer);
        node.await_count("streaming_connections", "/a.ts", 0);
        assert_eq!(http::request(node.address, "HEAD", "/a.ts").status, 200);
        assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
        is_told("/a.ts");
    }
}

#[test]
fn what_is_no_stream_is_served_at_the_limit_and_counts_for_none() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let config = json!({ "maxconnections": 1, "max_per_address": 1, "resources": [
        stream("/a.ts", &source.url(Speech::Raw)), api("/health", "health", None),
    ]});
    let node = connected(&config, 1);
    let mut sessions: Vec<_> = (0..5).map(|_| Session::open(node.address)).collect();
    let health = |session: &mut Session| -> Value {
        serde_json::from_str(&session.ask("GET", "/health").text()).unwrap()
    };
    for session in &mut sessions {
        assert_eq!(health(session)["viewer"], 0);
    }
    let _viewer = http::watch(node.address, "/a.ts");
    assert_eq!(http::get(node.address, "/a.ts").status, 404);
    for session in &mut sessions {
        let health = health(session);
        assert_eq!((&health["viewer"], &health["status"]), (&json!(1), &json!("full")));
    }
}

#[test]
fn the_place_of_one_who_hung_up_on_a_silent_stream_is_free_again() {
    let source = Source::start(Speech::Raw, 0);
    let resources = [stream("/a.ts", &source.url(Speech::Raw))];
    let node = connected(&json!({ "maxconnections": 1, "resources": resources }), 1);
    let viewer = http::watch(node.address, "/a.ts");
    assert_refused(&node, "/a.ts", "node_full", 1);
    // It may still listen: for a while nobody knows.
    drop(viewer);
    node.await_count("restreamer_viewers_ended_total", "reason=\"left\"", 1);
    http::watch(node.address, "/a.ts");
}

#[test]
fn a_viewer_may_lag_as_far_as_the_file_says_and_is_not_disconnected() {
    const PACKETS: usize = 4000;
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let resources = [stream("/a.ts", &source.url(Speech::Raw))];
    let node = connected(&json!({ "outputbuffer": PACKETS, "resources": resources }), 1);
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Stalled);
    let skips = || node.count("restreamer_skips_total", "/a.ts");
    crowd.watch_until(|_| skips() > 0, PATIENCE);
    let limit = (PACKETS * PACKET_BYTES) as u64;
    assert_eq!(node.count("restreamer_lag_limit_bytes", "/a.ts"), limit);
    let (skips, dropped) = (skips(), node.count("streaming_packets_dropped", "/a.ts"));
    assert!(dropped >= skips * PACKETS as u64, "{dropped} packets in {skips} skips");
    crowd.watchers[0].hurry();
    let gap = |all: &[Watcher]| all[0].verifier.gaps > 0;
    crowd.watch_until(gap, PATIENCE);
    let seen = crowd.watchers[0].verifier.packets;
    crowd.watch_until(|all| all[0].verifier.packets > seen + 10_000, PATIENCE);
    crowd.watchers[0].verifier.assert_whole("one who paused");
    assert!(!crowd.watchers[0].ended);
}

/// A node with this configuration, whose upstreams are connected.
fn connected(config: &Value, upstreams: usize) -> Node {
    let node = Node::with(config);
    for _ in 0..upstreams {
        node.await_connected();
    }
    node
}

/// Asserts that one more is refused, by 404 and for this reason, the so many-th time.
fn assert_refused(node: &Node, path: &str, reason: &str, times: u64) {
    let answer = http::get(node.address, path);
    assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    assert_eq!(answer.header("Content-Type"), Some("video/mpeg"), "{path}");
    assert_eq!(answer.header("Retry-After"), None, "{path}");
    let labels = format!("reason=\"{reason}\",stream=\"{path}\"");
    node.await_count("restreamer_viewers_refused_total", &labels, times);
}

/// Asks for `/a.ts` from one of this host's addresses.
fn watch_from(from: Ipv4Addr, address: SocketAddr) -> (Answer, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&address.into(), PATIENCE).unwrap();
    http::open_on(socket.into(), b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n")
}

// ---- The access log --------------------------------------------------------------------------

#[test]
fn the_log_has_a_line_of_everybody_who_watched() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let url = source.url(Speech::Raw);
    let config = json!({ "listen": ":0", "resources": [
        cut(stream("/a.ts", &url)), stream("/below/", &url),
        api("/control", "control", Some("/below/")),
        api("/health", "health", None),
    ]});
    let mut node = connected(&config, 2);
    node.address.set_ip(Ipv4Addr::LOCALHOST.into());
    let began = Instant::now();
    let watch = |path: &str, agent: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{agent}\r\n");
        let (answer, mut viewer) = http::open(node.address, request.as_bytes());
        assert_eq!(answer.status, 200);
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut viewer, 100 * PACKET_BYTES));
        verifier.assert_perfect(path);
        (viewer, verifier)
    };
    let viewers = [
        (
            "/below/x y.ts",
            "/below/x%20y.ts?token=z",
            "User-Agent: VLC/3.0 \"x\"\r\n",
            "switched_off",
        ),
        ("/a.ts", "/a.ts", "", "finished"),
    ];
    let mut expected = Vec::new();
    let mut watching = viewers.map(|(path, target, agent, reason)| {
        let watching = watch(target, agent);
        expected.push((path, agent, reason));
        watching
    });
    // Who asks about the node is no viewer.
    assert_eq!(http::fetch(node.address, "/health").status, 200);
    let mut source = Some(source);
    for ((path, agent, reason), (viewer, verifier)) in expected.into_iter().zip(&mut watching) {
        match reason {
            "switched_off" => assert_eq!(http::fetch(node.address, "/control?offline").status, 202),
            _finished => drop(source.take()),
        }
        let mut rest = Vec::new();
        std::io::Read::read_to_end(viewer, &mut rest).expect("closed, not reset");
        verifier.feed(&rest);
        verifier.assert_perfect(path);
        let peer = viewer.local_addr().unwrap();
        let line = node.await_log(|entry| entry["module"] == "access");
        let agent = agent.trim_end().strip_prefix("User-Agent: ");
        for (key, value) in [
            ("level", json!("info")),
            ("event", json!("viewer")),
            ("client", json!("127.0.0.1")),
            ("path", json!(path)),
            ("user_agent", json!(agent)),
            ("status", json!(200)),
            ("bytes", json!(verifier.packets * PACKET_BYTES as u64)),
            ("packets_skipped", json!(0)),
            ("reason", json!(reason)),
        ] {
            assert_eq!(line[key], value, "{key} in {line}");
        }
        // On a socket of both families it may be written as an IPv6 address.
        let said: SocketAddr = line["peer"].as_str().unwrap().parse().unwrap();
        assert_eq!((said.ip().to_canonical(), said.port()), (peer.ip(), peer.port()), "{line}");
        let seconds = line["seconds"].as_f64().unwrap();
        assert!(seconds > 0.0 && seconds <= began.elapsed().as_secs_f64(), "{line}");
        assert!(line["message"].is_string() && line["time"].is_string(), "{line}");
    }
}

#[test]
fn nobody_is_missing_in_the_log_when_the_node_stops() {
    const FAST: usize = 400;
    const STALLED: usize = 5;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let flood = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let resources =
        [stream("/a.ts", &source.url(Speech::Raw)), stream("/b.ts", &flood.url(Speech::Raw))];
    let mut node = connected(&json!({ "outputbuffer": 20_000, "resources": resources }), 2);
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", FAST, Pace::Fast);
    crowd.join(node.address, "/b.ts", STALLED, Pace::Stalled);
    // Their sockets are full: they are waited for in vain.
    let full = |_: &[Watcher]| node.count("restreamer_viewers", "catching_up") == STALLED as u64;
    crowd.watch_until(full, PATIENCE);
    node.signal("TERM");
    let over = |watcher: &Watcher| watcher.ended || watcher.pace() == Pace::Stalled;
    crowd.watch_until(|all| all.iter().all(over), PATIENCE);
    assert_eq!(node.await_end().code(), Some(0));
    let log = node.log_to_the_end();
    let lines = |path: &str, reason: &str| -> Vec<u64> {
        let is_it = |entry: &&Value| entry["path"] == path && entry["reason"] == reason;
        log.iter().filter(is_it).map(|entry| entry["bytes"].as_u64().unwrap()).collect()
    };
    let fast = crowd.of(|pace| pace == Pace::Fast);
    let mut got: Vec<_> =
        fast.map(|watcher| watcher.verifier.packets * PACKET_BYTES as u64).collect();
    let mut said = lines("/a.ts", "stopped");
    got.sort_unstable();
    said.sort_unstable();
    assert_eq!(said, got);
    assert_eq!(lines("/b.ts", "too_slow_to_end").len(), STALLED);
}

#[test]
fn the_line_of_a_slow_viewer_says_what_it_missed() {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Stalled);
    node.await_metric("streaming_packets_dropped", "/a.ts", |dropped| dropped > 0.0);
    drop(crowd);
    let line = node.await_log(|entry| entry["module"] == "access");
    node.await_count("streaming_connections", "/a.ts", 0);
    assert_eq!((&line["reason"], &line["status"]), (&json!("left"), &json!(200)), "{line}");
    let skipped = node.count("streaming_packets_dropped", "/a.ts");
    assert_eq!(line["packets_skipped"], skipped, "{line}");
    assert_eq!(line["bytes"], node.count("streaming_bytes_sent", "/a.ts"), "{line}");
    assert!(skipped > 0);
}

#[test]
fn the_log_has_a_line_of_everybody_who_was_refused_a_stream() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let url = source.url(Speech::Raw);
    let mut resources =
        ["/full", "/basic", "/bearer", "/off"].map(|path| stream(path, &url)).to_vec();
    resources[0]["maxconnections"] = 1.into();
    resources[1]["authentication"] = json!({ "type": "basic" });
    resources[2]["authentication"] = json!({ "type": "bearer" });
    resources.push(stream("/nobody", &format!("tcp://{}", nobody())));
    resources.push(api("/control", "control", Some("/off")));
    let node = connected(&json!({ "max_per_address": 2, "resources": resources }), 4);
    assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
    let _viewer = http::watch(node.address, "/full");
    let refused = |path: &str, status: u16, reason: &str| {
        let request = format!("GET {path}?a=b HTTP/1.1\r\nHost: x\r\nUser-Agent: tv\r\n\r\n");
        let (answer, socket) = http::open(node.address, request.as_bytes());
        assert_eq!(answer.status, status, "{path}");
        let line = node.await_log(|entry| entry["module"] == "access");
        for (key, value) in [
            ("level", json!("info")),
            ("event", json!("refused")),
            ("peer", json!(socket.local_addr().unwrap().to_string())),
            ("client", json!("127.0.0.1")),
            ("path", json!(path)),
            ("user_agent", json!("tv")),
            ("status", json!(status)),
            ("bytes", json!(0)),
            ("packets_skipped", json!(0)),
            ("reason", json!(reason)),
        ] {
            assert_eq!(line[key], value, "{key} in {line}");
        }
        assert!(line["seconds"].is_f64(), "{line}");
    };
    for (path, status, reason) in [
        ("/full", 404, "stream_full"),
        ("/basic", 401, "unauthorized"),
        ("/bearer", 403, "forbidden"),
        ("/off", 404, "switched_off"),
        ("/nobody", 404, "no_upstream"),
    ] {
        refused(path, status, reason);
    }
    let statuses = [404, 401, 403].map(|status| {
        eventually("the answers to be counted", || {
            let count = node.count("restreamer_requests_total", &format!("status=\"{status}\""));
            (count > 0).then_some(count)
        })
    });
    assert_eq!(statuses, [3, 1, 1]);
}
