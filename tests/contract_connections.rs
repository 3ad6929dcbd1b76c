//! One connection carries many requests, for as long as both sides want it to.

mod support;

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use restreamer::limits::{HEAD_TIMEOUT, REQUESTS_PER_CONNECTION_MAX};
use serde_json::{Value, json};
use support::http::{self, Session};
use support::node::{Node, api, cut, stream};
use support::packets::{PACKET_BYTES, Verifier};
use support::source::{Source, Speech};

const BITS_PER_SECOND: u64 = 2_000_000;
const PAGE: &str = "<p>one of many</p>";
/// Behind `Content-Length: 45`: a request that must not be taken for one.
const SMUGGLED: &str = "GET /check HTTP/1.1\r\nHost: smuggled\r\nX: y\r\n\r\n";

#[test]
fn a_connection_carries_any_number_of_different_requests() {
    let (_source, node) = serving();
    let mut session = Session::open(node.address);
    for round in 0..50 {
        for path in ["/health", "/statistics", "/check", "/metrics", "/page"] {
            let answer = session.ask("GET", path);
            assert_eq!(answer.status, 200, "{path}, round {round}");
            assert_eq!(answer.header("Connection"), Some("keep-alive"), "{path}");
            assert!(is_answer_of(path, &answer.body), "{path}: {:?}", answer.text());
        }
    }
    node.await_count("restreamer_accepted_total", "", 2);
    node.await_count("restreamer_guests", "", 1);
    drop(session);
    node.await_count("restreamer_guests", "", 0);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_source, node) = serving();
    let paths = ["/health", "/check", "/page", "/statistics", "/health", "/metrics", "/check"];
    let all: String = paths.iter().map(|path| request(path)).collect();
    let mut session = Session::open(node.address);
    for _ in 0..20 {
        session.say(all.as_bytes());
    }
    for path in paths.repeat(20) {
        let answer = session.hear("GET");
        assert!(answer.status == 200 && is_answer_of(path, &answer.body), "{path}: {answer:?}");
    }
    // What it has asked before it ends its side is answered as well.
    session.say(all.as_bytes());
    let (mut rest, mut socket) = (Vec::new(), session.into_socket());
    socket.shutdown(Shutdown::Write).unwrap();
    socket.read_to_end(&mut rest).expect("closed, not reset");
    let rest = String::from_utf8(rest).unwrap();
    assert_eq!(rest.matches("HTTP/1.1 200 OK\r\n").count(), paths.len(), "{rest}");
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let (_source, node) = serving();
    let (first, second) = (request("/check"), request("/page"));
    let both = format!("{first}{second}");
    let mut session = Session::open(node.address);
    for cut in 0..=both.len() {
        session.say(&both.as_bytes()[..cut]);
        // The first is answered though the second is not finished.
        if cut >= first.len() {
            assert_eq!(session.hear("GET").text(), "200 ok", "cut at {cut}");
        }
        session.say(&both.as_bytes()[cut..]);
        if cut < first.len() {
            assert_eq!(session.hear("GET").text(), "200 ok", "cut at {cut}");
        }
        assert_eq!(session.hear("GET").text(), PAGE, "cut at {cut}");
    }
}

#[test]
fn answers_without_body_are_followed_by_the_next() {
    let (_source, node) = serving();
    let mut session = Session::open(node.address);
    for path in ["/health", "/statistics", "/check", "/metrics", "/page", "/control"] {
        let get = session.ask("GET", path);
        let head = session.ask("HEAD", path);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
        assert!(head.header("Content-Length").is_some(), "{path}: {}", head.head);
        assert_eq!(head.header("Connection"), Some("keep-alive"), "{path}");
        let options = session.ask("OPTIONS", path);
        assert_eq!((options.status, options.header("Content-Length")), (204, None), "{path}");
    }
    let tag = session.ask("GET", "/page").header("ETag").unwrap().to_owned();
    let condition = format!("If-None-Match: {tag}\r\n");
    assert_eq!(session.ask_with("GET", "/page", &condition).status, 304);
    assert_eq!(session.ask("GET", "/check").text(), "200 ok");
    node.await_count("restreamer_accepted_total", "", 2);
}

/// What a request says, and whether its connection goes on.
#[test]
fn a_connection_goes_on_only_when_it_is_certain_where_the_request_ends() {
    let (_source, node) = serving();
    let smuggled = format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    for (request, goes_on) in [
        ("GET /check HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET /check HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET /check HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true),
        ("GET /check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
        ("GET /check HTTP/1.1\r\nHost: x\r\nconnection: CLOSE\r\n\r\n", false),
        ("GET /check HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n", false),
        ("GET /check HTTP/1.0\r\n\r\n", false),
        ("GET /check HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", false),
        ("GET /check HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", false),
        (&format!("GET /check HTTP/1.1\r\nHost: x\r\n{smuggled}"), false),
        (
            "GET /check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n\
             0\r\n\r\n",
            false,
        ),
        ("GET /check HTTP/1.1\nHost: x\n\n", false),
    ] {
        let mut session = Session::open(node.address);
        session.say(request.as_bytes());
        let answer = session.hear("GET");
        let says = if goes_on { "keep-alive" } else { "close" };
        assert_eq!(answer.header("Connection"), Some(says), "{request:?}");
        assert_eq!(answer.status, 200, "{request:?}");
        if goes_on {
            assert_eq!(session.ask("GET", "/page").text(), PAGE, "{request:?}");
        } else {
            session.assert_over();
        }
    }
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let (_source, node) = serving();
    for (request, status) in [
        ("no request\r\n\r\n", 400),
        ("GET /check HTTP/1.1\r\n\r\n", 400),
        ("GET /check HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ] {
        let mut session = Session::open(node.address);
        assert_eq!(session.ask("GET", "/check").status, 200);
        session.say(request.as_bytes());
        let answer = session.hear("GET");
        assert_eq!((answer.status, answer.header("Connection")), (status, Some("close")));
        session.assert_over();
    }
}

#[test]
fn a_method_that_is_not_allowed_does_not_end_the_connection() {
    let (_source, node) = serving();
    let mut session = Session::open(node.address);
    for path in ["/health", "/page", "/metrics"] {
        assert_eq!(session.ask("DELETE", path).status, 405, "{path}");
        assert_eq!(session.ask("GET", path).status, 200, "{path}");
    }
}

#[test]
fn a_thousand_requests_and_no_more() {
    let (_source, node) = serving();
    // One more, sent before it is known that it is one too many.
    let requests = request("/check").repeat(REQUESTS_PER_CONNECTION_MAX as usize + 1);
    let mut session = Session::open(node.address);
    session.say(requests.as_bytes());
    for number in 1..=REQUESTS_PER_CONNECTION_MAX {
        let answer = session.hear("GET");
        let last = number == REQUESTS_PER_CONNECTION_MAX;
        let says = if last { "close" } else { "keep-alive" };
        assert_eq!(answer.header("Connection"), Some(says), "request {number}");
        assert_eq!(answer.text(), "200 ok", "request {number}");
    }
    session.assert_over();
}

/// What is sent in two pieces waits in the kernel for the acknowledgement of the first, which takes
/// the client 40 ms when it has nothing to say (tcp(7), `TCP_NODELAY`).
#[test]
fn an_answer_does_not_wait_to_be_acknowledged() {
    const DELAYED: Duration = Duration::from_millis(40);
    let (_source, node) = serving();
    let mut session = Session::open(node.address);
    let took = (0..100).map(|_| {
        let since = Instant::now();
        assert_eq!(session.ask("GET", "/page").text(), PAGE);
        since.elapsed()
    });
    // A new connection is acknowledged at once for a while.
    let best = took.skip(50).min().unwrap();
    assert!(best < DELAYED, "{best:?} for an answer that is there");
}

#[test]
fn a_connection_becomes_a_viewer_and_is_one_to_its_end() {
    let (source, node) = serving();
    let mut session = Session::open(node.address);
    for path in ["/health", "/page", "/check"] {
        assert_eq!(session.ask("GET", path).status, 200);
    }
    session.say(request("/a.ts").as_bytes());
    let mut viewer = session.into_socket();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(http::read_bytes(&mut viewer, 1));
    }
    let head = http::Answer::parse(&head);
    assert_eq!((head.status, head.header("Connection")), (200, Some("close")));
    let mut verifier = Verifier::default();
    verifier.feed(&http::read_bytes(&mut viewer, 300 * PACKET_BYTES));
    drop(source);
    let mut rest = Vec::new();
    viewer.read_to_end(&mut rest).expect("closed, not reset");
    verifier.feed(&rest);
    verifier.assert_perfect("a viewer who asked for something else first");
    assert_eq!(verifier.unfinished(), 0);
}

#[test]
fn an_idle_connection_is_closed_and_an_unfinished_request_refused() {
    let (_source, node) = serving();
    let sessions = ["", "GET", "GET /check HTTP/1.1\r\nHost: x\r\n"].map(|begun| {
        let mut session = Session::open(node.address);
        assert_eq!(session.ask("GET", "/page").status, 200);
        session.say(begun.as_bytes());
        (begun, session)
    });
    let since = Instant::now();
    for (begun, mut session) in sessions {
        if !begun.is_empty() {
            let answer = session.hear("GET");
            assert_eq!((answer.status, answer.header("Connection")), (408, Some("close")));
        }
        session.assert_over();
        // The clock of this test begins a little later than that of the node.
        let waited = since.elapsed() * 10 / 9;
        assert!(waited > HEAD_TIMEOUT, "{begun:?}: closed after {:?}", since.elapsed());
    }
    node.await_count("restreamer_guests", "", 0);
}

/// A connected stream and one resource of each kind beside it.
fn serving() -> (Source, Node) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    std::fs::write(&page, PAGE).unwrap();
    let file = format!("file://{}", page.display());
    let node = Node::with(&json!({ "resources": [
        cut(stream("/a.ts", &source.url(Speech::Raw))),
        api("/health", "health", None),
        api("/statistics", "statistics", None),
        api("/check", "check", Some("/a.ts")),
        api("/control", "control", Some("/a.ts")),
        api("/metrics", "prometheus", None),
        // Fetched once: its file goes with this function's end.
        { "type": "static", "serve": "/page", "remote": file, "cache": 3600 },
    ]}));
    node.await_connected();
    assert_eq!(http::fetch(node.address, "/page").text(), PAGE);
    let asked = node.count("restreamer_accepted_total", "");
    assert_eq!(asked, 1, "of which the tests do not know");
    (source, node)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Whether a body can only be that of this path.
fn is_answer_of(path: &str, body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap();
    let json = || serde_json::from_str::<Value>(text).unwrap();
    match path {
        "/health" => json()["viewer"].is_u64(),
        "/statistics" => json()["connections"].is_u64(),
        "/check" => text == "200 ok",
        "/metrics" => text.contains("\nstreaming_connections{stream=\"/a.ts\"} "),
        "/page" => text == PAGE,
        _ => false,
    }
}
