//! Malformed and hostile requests: each is answered or closed as designed, nothing leaks, and the
//! stream goes on for those who watch it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use restreamer::limits::{
    HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, SIDE_CONNECTIONS_MAX, TALK_BYTES_MAX,
    TARGET_BYTES_MAX,
};
use support::crowd::{Crowd, Pace};
use support::eventually;
use support::http::{self, Answer};
use support::node::Node;
use support::packets::{PACKET_BYTES, Verifier};
use support::source::{Source, Speech};

const BITS_PER_SECOND: u64 = 4_000_000;
const GOOD: &[u8] = b"GET /a.ts HTTP/1.1\r\nHost: test\r\nUser-Agent: test\r\n\r\n";
const UNKNOWN: &[u8] = b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n";

/// A request and the status that answers it; 200 is a stream.
struct Case {
    what: String,
    request: Vec<u8>,
    status: u16,
}

#[test]
fn every_malformed_or_hostile_request_is_answered_as_designed() {
    let cases: Vec<Case> = [malformed(), oversized(), of_other_protocols(), smuggling(), odd()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() >= 100, "only {} requests", cases.len());
    for (number, case) in cases.iter().enumerate() {
        let same = |other: &&Case| other.request == case.request;
        assert_eq!(cases[..number].iter().filter(same).count(), 0, "{} is twice there", case.what);
    }
    under_watch(|node| {
        let wrong: Vec<_> = cases.iter().filter_map(|case| judge(node.address, case)).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    });
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered() {
    under_watch(|node| {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
        for (request, status) in [
            (GOOD, 200),
            (UNKNOWN, 404),
            (b"GET / HTTP/1.1\r\nX y: z\r\n\r\n", 400),
            (b"POST /a.ts HTTP/1.0\n\n", 405),
            (b"GET /a.ts HTTP/7.1\r\n\r\n", 505),
            (long.as_bytes(), 414),
        ] {
            let mut socket = http::connect(node.address);
            socket.set_nodelay(true).unwrap();
            for byte in request {
                // It may have been answered before its end.
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
            }
            let head = read_head(&mut socket);
            assert_eq!(Answer::parse(&head).status, status, "{}", shown(request));
        }
    });
}

#[test]
fn a_connection_closed_at_any_byte_of_its_request_leaves_nothing() {
    under_watch(|node| {
        for end in 0..=GOOD.len() {
            for way in [Way::Close, Way::Reset, Way::HalfClose] {
                let mut socket = http::connect(node.address);
                socket.write_all(&GOOD[..end]).unwrap();
                match way {
                    Way::Close => drop(socket),
                    Way::Reset => http::reset(socket),
                    Way::HalfClose if end < GOOD.len() => {
                        socket.shutdown(Shutdown::Write).unwrap();
                        let mut answer = Vec::new();
                        socket.read_to_end(&mut answer).expect("closed, not reset");
                        assert_eq!(answer, b"", "a part of a head is no request: {end} bytes");
                    }
                    Way::HalfClose => {}
                }
            }
        }
    });
}

#[test]
fn a_reset_right_after_the_request_leaves_nothing() {
    under_watch(|node| {
        for request in [GOOD, UNKNOWN, b"\0", b"HEAD /a.ts HTTP/1.0\r\n\r\n", b"GET /a.ts"] {
            for _ in 0..20 {
                let mut socket = http::connect(node.address);
                socket.write_all(request).unwrap();
                http::reset(socket);
            }
        }
        // In the middle of the stream.
        for _ in 0..20 {
            let mut viewer = http::watch(node.address, "/a.ts");
            http::read_bytes(&mut viewer, PACKET_BYTES / 2);
            http::reset(viewer);
        }
    });
}

#[test]
fn a_head_that_is_not_finished_in_time_is_answered_408() {
    const PAUSE: Duration = Duration::from_millis(200);
    under_watch(|node| {
        // Some say all they have to say at once, others a byte now and then, for ever.
        let slow: Vec<(&[u8], &[u8])> = vec![
            (b"", b""),
            (b"\r\n", b"\r\n"),
            (b"G", b""),
            (b"GET /a.ts HTTP/1.1\r\n", b""),
            (b"GET /a.ts HTTP/1.1\r\nHost: x\r\n", b""),
            (b"GET /a.ts HTTP/1.1\r\nHost: x\r\n\r", b""),
            (b"GET /", b"a"),
            (b"GET /a.ts HTTP/1.1\r\n", b"X: y\r\n"),
        ];
        let threads: Vec<_> = slow
            .into_iter()
            .map(|(first, more)| {
                let address = node.address;
                std::thread::spawn(move || {
                    let before = Instant::now();
                    let mut socket = http::connect(address);
                    socket.write_all(first).unwrap();
                    socket.set_read_timeout(Some(PAUSE)).unwrap();
                    let mut answer = Vec::new();
                    let deadline = before + support::PATIENCE;
                    loop {
                        let mut buffer = [0; 1024];
                        match socket.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(n) => answer.extend_from_slice(&buffer[..n]),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                                // Said or not: the answer is what counts.
                                let _said = socket.write_all(more);
                            }
                            Err(error) => panic!("{error} after {:?}: {answer:?}", shown(first)),
                        }
                        assert!(Instant::now() < deadline, "{} waits for ever", shown(first));
                    }
                    (first, Answer::parse(&answer), before.elapsed())
                })
            })
            .collect();
        for thread in threads {
            let (first, answer, took) = thread.join().unwrap();
            assert_eq!(answer.status, 408, "{}", shown(first));
            assert!(took >= HEAD_TIMEOUT, "{}: 408 after {took:?}", shown(first));
        }
        assert_eq!(node.count("restreamer_requests_total", "status=\"408\""), 8);
    });
}

#[test]
fn an_answer_arrives_though_much_is_sent_after_the_request() {
    const MUCH: usize = 1024 * 1024;
    under_watch(|node| {
        let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; HEAD_BYTES_MAX]].concat();
        for (request, status) in [
            (UNKNOWN, 404),
            (b"POST /a.ts HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n", 405),
            (b"HEAD /a.ts HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            (b"\x16\x03\x01", 400),
            (&endless, 431),
        ] {
            let mut socket = http::connect(node.address);
            socket.write_all(request).unwrap();
            let mut sink = socket.try_clone().unwrap();
            // Who does not listen while it talks is cut at some point: that is no error of ours.
            let talker = std::thread::spawn(move || drop(sink.write_all(&vec![b'x'; MUCH])));
            talker.join().unwrap();
            let mut answer = Vec::new();
            // The answer is there, whatever comes behind it.
            let _cut = socket.read_to_end(&mut answer);
            assert_eq!(Answer::parse(&answer).status, status, "{}", shown(request));
        }
    });
}

/// Linux lets a client read an answer even behind a reset; others do not. What shows it here is
/// that a client may go on saying what it had to say.
#[test]
fn a_refused_client_may_finish_what_it_says() {
    under_watch(|node| {
        for request in [UNKNOWN, b"POST /a.ts HTTP/1.0\r\n\r\n", b"\0", b"GET / HTTP/7.0\r\n\r\n"] {
            let (_, mut socket) = http::open(node.address, request);
            let mut body = Vec::new();
            socket.read_to_end(&mut body).unwrap();
            // A reset would be the answer to the first of these, and the second fail.
            for _ in 0..4 {
                socket.write_all(&[b'x'; TALK_BYTES_MAX / 8]).unwrap();
            }
        }
    });
}

#[test]
fn only_the_first_of_pipelined_requests_is_answered() {
    under_watch(|node| {
        for first in [UNKNOWN, b"HEAD /a.ts HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
        {
            for count in [1, 2, 100] {
                let answer = http::exchange(node.address, &[first, &GOOD.repeat(count)].concat());
                let text = String::from_utf8(answer).unwrap();
                assert_eq!(text.matches("HTTP/1.").count(), 1, "{text}");
                assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
            }
        }
        // Behind a request for a stream: the stream is all that comes.
        let mut viewer = http::connect(node.address);
        viewer.write_all(&[GOOD, UNKNOWN, GOOD].concat()).unwrap();
        assert_eq!(Answer::parse(&read_head(&mut viewer)).status, 200);
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut viewer, 300 * PACKET_BYTES));
        verifier.assert_perfect("a viewer who pipelines");
    });
}

#[test]
fn a_viewer_who_talks_is_heard_out_up_to_a_bound_and_then_cut() {
    under_watch(|node| {
        let mut viewer = http::watch(node.address, "/a.ts");
        viewer.write_all(&vec![b'x'; TALK_BYTES_MAX]).unwrap();
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut viewer, 300 * PACKET_BYTES));
        verifier.assert_perfect("a viewer who talks");
        let cut = |node: &Node| node.count("restreamer_viewers_ended_total", "\"talked\"");
        assert_eq!(cut(node), 0, "that much may be said");
        // For ever, until it is cut: a write then fails.
        let deadline = Instant::now() + support::PATIENCE;
        while viewer.write_all(b"more").is_ok() {
            assert!(Instant::now() < deadline, "it may talk for ever");
        }
        eventually("the viewer to be counted", || (cut(node) == 1).then_some(()));
    });
}

#[test]
fn a_refused_client_who_stays_is_let_go() {
    under_watch(|node| {
        let stay = |request: &[u8]| http::open(node.address, request).1;
        let guests: Vec<_> = [UNKNOWN, b"\0", b"HEAD /a.ts HTTP/1.0\r\n\r\n"].map(stay).into();
        node.await_metric("restreamer_guests", "", |guests| guests >= 3.0);
        node.await_count("restreamer_guests", "", 0);
        drop(guests);
    });
}

#[test]
fn a_thousand_connects_and_disconnects_leave_no_descriptors() {
    const ROUNDS: usize = 20;
    const AT_ONCE: usize = 50;
    under_watch(|node| {
        for round in 0..ROUNDS {
            let mut viewers: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let mut socket = http::connect(node.address);
                    socket.write_all(GOOD).unwrap();
                    socket
                })
                .collect();
            for (number, viewer) in viewers.iter_mut().enumerate() {
                assert_eq!(Answer::parse(&read_head(viewer)).status, 200);
                // On a packet boundary, inside a packet, before the first.
                http::read_bytes(viewer, number % 3 * PACKET_BYTES / 2);
            }
            for viewer in viewers {
                if round % 2 == 0 { http::reset(viewer) } else { drop(viewer) }
            }
        }
        let all = (ROUNDS * AT_ONCE) as u64;
        // The one who watches came as well, and is still there.
        node.await_count("restreamer_viewers_joined_total", "", all + 1);
        node.await_count("restreamer_viewers_ended_total", "", all);
    });
}

#[test]
fn the_side_port_bears_the_same() {
    under_watch(|node| {
        let cases = [malformed(), oversized(), of_other_protocols()].into_iter().flatten();
        let refused: Vec<_> =
            cases.filter(|case| ![200, 404, 405].contains(&case.status)).collect();
        let wrong: Vec<_> = refused.iter().filter_map(|case| judge(node.side, case)).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), refused.len(), wrong.join("\n"));
        // More than it takes at a time, who say nothing: they are let go, and it answers again.
        let silent: Vec<_> =
            (0..2 * SIDE_CONNECTIONS_MAX).map(|_| http::connect(node.side)).collect();
        eventually("an answer", || {
            let answer = exchange_if_served(node.side, b"GET /health HTTP/1.0\r\n\r\n");
            answer.starts_with(b"HTTP/1.0 200 OK\r\n").then_some(())
        });
        for mut socket in silent {
            let mut answer = Vec::new();
            // In order or not: what counts is that it is over.
            let over = socket.read_to_end(&mut answer).map_err(|error| error.kind());
            assert!(matches!(over, Ok(0) | Err(ErrorKind::ConnectionReset)), "{over:?}");
        }
    });
}

/// How a client goes.
#[derive(Clone, Copy)]
enum Way {
    Close,
    Reset,
    HalfClose,
}

/// Does something to a node while a viewer watches its stream. Afterwards the viewer must have
/// missed nothing, and the node be as it was before.
fn under_watch(hostility: impl FnOnce(&Node)) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Fast);
    crowd.watch_until(|crowd| crowd[0].verifier.packets > 0, support::PATIENCE);
    let before = eventually("an idle node", || {
        // The connection that asked on the side port goes a little later than its answer.
        let before = node.descriptors();
        (node.count("restreamer_guests", "") == 0 && before == node.descriptors()).then_some(before)
    });
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let watching = std::thread::spawn(move || {
        let over = |_: &[_]| is_over.load(Ordering::Relaxed);
        crowd.watch_until(over, 10 * support::PATIENCE);
        let seen = crowd.watchers[0].verifier.packets;
        let goes_on = |crowd: &[support::crowd::Watcher]| {
            crowd[0].ended || crowd[0].verifier.packets > seen + 100
        };
        crowd.watch_until(goes_on, support::PATIENCE);
        crowd
    });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hostility(&node)));
    over.store(true, Ordering::Relaxed);
    let crowd = watching.join().unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    let watcher = &crowd.watchers[0];
    watcher.verifier.assert_perfect("the one who watches");
    assert!(!watcher.ended, "the one who watches was cut");
    node.await_count("restreamer_guests", "", 0);
    node.await_count("streaming_connections", "/a.ts", 1);
    eventually("descriptors as before", || (node.descriptors() <= before).then_some(()));
    assert!(node.is_running());
    let complaints: Vec<_> = node
        .rest_of_log()
        .into_iter()
        .filter(|entry| entry["event"] == "error" || entry["level"] != "info")
        .map(|entry| entry.to_string())
        .collect();
    assert!(complaints.is_empty(), "a peer's faults are not ours: {}", complaints.join("\n"));
}

/// Sends a request and says what is wrong with the answer, if anything is.
fn judge(address: SocketAddr, case: &Case) -> Option<String> {
    let Case { what, request, status } = case;
    let mut socket = http::connect(address);
    // It may be answered and cut before its end.
    let _sent = socket.write_all(request);
    let mut answer = read_head(&mut socket);
    if !answer.ends_with(b"\r\n\r\n") {
        return Some(format!("{what}: closed with {:?}, expected {status}", shown(&answer)));
    }
    let head = Answer::parse(&answer);
    if head.status != *status {
        return Some(format!("{what}: answered {}, expected {status}", head.status));
    }
    if head.status == 200 {
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut socket, PACKET_BYTES));
        return (verifier.packets != 1).then(|| format!("{what}: answered with no packet"));
    }
    if let Err(error) = socket.read_to_end(&mut answer) {
        return Some(format!("{what}: not closed in order: {error}"));
    }
    let answer = Answer::parse(&answer);
    let length = answer.header("Content-Length").and_then(|length| length.parse().ok());
    let in_order = length == Some(answer.body.len())
        && answer.header("Connection") == Some("close")
        && !answer.head.contains("Injected");
    (!in_order).then(|| format!("{what}: answered {answer:?}"))
}

/// What is no HTTP head, though it looks like one.
fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for byte in [0x00, 0x01, 0x07, 0x08, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f] {
        for (place, head) in [
            ("the method", "G#T /none HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("the target", "GET /n#ne HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("the version", "GET /none HTTP/1.#\r\nHost: x\r\n\r\n"),
            ("a header's name", "GET /none HTTP/1.1\r\nHost: x\r\nX#Y: z\r\n\r\n"),
            ("a header's value", "GET /none HTTP/1.1\r\nHost: x\r\nX: y#z\r\n\r\n"),
        ] {
            let request = head.bytes().map(|b| if b == b'#' { byte } else { b }).collect();
            let status = if place == "the version" { 505 } else { 400 };
            cases.push(Case { what: format!("byte {byte:#04x} in {place}"), request, status });
        }
    }
    for (what, head) in [
        ("a header without colon", "GET /none HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n"),
        ("a header without name", "GET /none HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n"),
        ("a space in a name", "GET /none HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n"),
        ("a space before the colon", "GET /none HTTP/1.1\r\nHost : x\r\n\r\n"),
        ("a folded header", "GET /none HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n"),
        ("a tab-folded header", "GET /none HTTP/1.1\r\nHost: x\r\nX: y\r\n\tz\r\n\r\n"),
        ("a space before the first header", "GET /none HTTP/1.1\r\n Host: x\r\n\r\n"),
        ("a bare CR in a value", "GET /none HTTP/1.1\r\nHost: x\r\nX: y\rz\r\n\r\n"),
        ("a bare CR in the first line", "GET /none\r HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("lines that end in CR", "GET /none HTTP/1.1\rHost: x\r\r"),
        ("no host", "GET /none HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET /none HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
        ("two hosts in HTTP/1.0", "GET /none HTTP/1.0\r\nHost: x\r\nhOST: y\r\n\r\n"),
        ("no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("only a method", "GET\r\n\r\n"),
        ("nothing but spaces", "   \r\n\r\n"),
        ("a space at the beginning", " GET /none HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("two spaces", "GET  /none HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a tab", "GET\t/none HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a relative target", "GET a.ts HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a target in authority form", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"),
        ("an escaped NUL", "GET /a%00.ts HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("an escaped 0xff", "GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("half an escaped character", "GET /%c3 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a broken escaped character", "GET /%c3%28 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("an overlong slash", "GET /%c0%af HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a long overlong slash", "GET /%e0%80%af HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("an escaped surrogate", "GET /%ed%a0%80 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("beyond Unicode", "GET /%f4%90%80%80 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a byte order mark", "\u{feff}GET /none HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("braces in the method", "{GET} /none HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        cases.push(Case { what: what.to_owned(), request: head.into(), status: 400 });
    }
    let raw = b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    cases.push(Case { what: "a target that is not UTF-8".to_owned(), request: raw, status: 400 });
    cases
}

/// What is too long, and what is just not.
fn oversized() -> Vec<Case> {
    let target = |bytes: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(bytes - 1)).into_bytes()
    };
    let head = |bytes: usize| {
        let (before, after) = ("GET /none HTTP/1.1\r\nHost: x\r\nX: ", "\r\n\r\n");
        let value = "a".repeat(bytes - before.len() - after.len());
        format!("{before}{value}{after}").into_bytes()
    };
    let headers = |count: usize| {
        let lines = "a: b\r\n".repeat(count - 1);
        format!("GET /none HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
    };
    let (long, huge) = ("a".repeat(HEAD_BYTES_MAX), "a".repeat(1024 * 1024));
    let of = |what: &str, request: Vec<u8>, status| Case { what: what.to_owned(), request, status };
    vec![
        of("the longest target", target(TARGET_BYTES_MAX), 404),
        of("a target that is too long", target(TARGET_BYTES_MAX + 1), 414),
        of("a target longer than a head", target(2 * HEAD_BYTES_MAX), 414),
        of("a huge target", target(1024 * 1024), 414),
        of("a target without end", format!("GET /{long}").into(), 414),
        of("a query that is too long", format!("GET /a.ts?{long} HTTP/1.0\r\n\r\n").into(), 414),
        of("a method without end", long.clone().into(), 414),
        of("spaces without end", format!("GET /{}", " ".repeat(HEAD_BYTES_MAX)).into(), 505),
        of("the longest head", head(HEAD_BYTES_MAX), 404),
        of("a head that is too long", head(HEAD_BYTES_MAX + 1), 431),
        of("a header that is too long", head(4 * HEAD_BYTES_MAX), 431),
        of("a huge header", head(1024 * 1024), 431),
        of("a header without end", format!("GET / HTTP/1.1\r\nX: {long}").into(), 431),
        of("a name without end", format!("GET / HTTP/1.1\r\n{huge}").into(), 431),
        of("as many headers as allowed", headers(HEADERS_MAX), 404),
        of("a header too many", headers(HEADERS_MAX + 1), 431),
        of("thousands of tiny headers", headers(5000), 431),
        of("thousands of empty lines", "\r\n".repeat(5000).into(), 431),
        of("thousands of bare LFs", "\n".repeat(10_000).into(), 431),
    ]
}

/// What other protocols say first, and other versions of this one.
fn of_other_protocols() -> Vec<Case> {
    let mut tls = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".to_vec();
    tls.extend((0..194).map(|number: u8| number.wrapping_mul(37)));
    let of = |what: &str, request: &[u8], status| Case {
        what: what.to_owned(),
        request: request.to_vec(),
        status,
    };
    let mut cases = vec![
        of("a TLS ClientHello", &tls, 400),
        of("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 505),
        of("HTTP/0.9", b"GET /a.ts\r\n", 400),
        of("HTTP/0.9 with LF", b"GET /a.ts\n", 400),
        of("SSH", b"SSH-2.0-OpenSSH_9.9\r\n", 400),
        of("SOCKS 4", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", 400),
        of("SOCKS 5", b"\x05\x01\x00", 400),
        of("the PROXY protocol 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", 400),
        of("SMTP", b"EHLO x\r\n", 400),
        of("RTSP", b"DESCRIBE rtsp://x/a.ts RTSP/1.0\r\nCSeq: 1\r\n\r\n", 505),
        of("SIP", b"OPTIONS sip:x SIP/2.0\r\n\r\n", 505),
        of("RTMP", b"\x03\0\0\0\0\0\0\0\0xxxxxxxxxxxxxxxx", 400),
        of("redis", b"*1\r\n$4\r\nPING\r\n", 400),
        of("a shell", b"() { :; }; /bin/true\r\n\r\n", 400),
        of("a transport stream", &support::packets::packets(0..20), 400),
        of("an HTTP answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
    ];
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/1.2", "HTTP/11.1", "HTP/1.1"] {
        let request = format!("GET /a.ts {version}\r\nHost: x\r\n\r\n");
        cases.push(of(version, request.as_bytes(), 505));
    }
    cases
}

/// What a front end might take for more or fewer requests than we do. We read one and close.
fn smuggling() -> Vec<Case> {
    let smuggled = "GET /a.ts HTTP/1.1\r\nHost: x\r\nX-Injected: y\r\n\r\n";
    let bodies = [
        ("a length and chunks", "Content-Length: 6\r\nTransfer-Encoding: chunked"),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 6"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6"),
        ("a list of lengths", "Content-Length: 5, 6"),
        ("a negative length", "Content-Length: -1"),
        ("a length with a sign", "Content-Length: +6"),
        ("a hexadecimal length", "Content-Length: 0x6"),
        ("an overflowing length", "Content-Length: 18446744073709551622"),
        ("an unknown coding", "Transfer-Encoding: xchunked"),
        ("a coding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("a coding behind a tab", "Transfer-Encoding:\tchunked"),
        ("a promise to wait", "Expect: 100-continue\r\nContent-Length: 6"),
        ("a wish to stay", "Connection: keep-alive\r\nKeep-Alive: timeout=1000"),
        ("an upgrade to HTTP/2", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
        ("a websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
    ];
    let mut cases = Vec::new();
    for (what, headers) in bodies {
        for (method, path, status) in [("GET", "/none", 404), ("POST", "/a.ts", 405)] {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
            let request = format!("{head}0\r\n\r\n{smuggled}").into_bytes();
            cases.push(Case { what: format!("{what} of {method}"), request, status });
        }
    }
    cases
}

/// What is strange and yet allowed, or none of our business.
fn odd() -> Vec<Case> {
    [
        ("bare LFs", "GET /a.ts HTTP/1.1\nHost: x\n\n", 200),
        ("mixed line ends", "GET /a.ts HTTP/1.1\r\nHost: x\nX: y\r\n\n", 200),
        ("empty lines first", "\r\n\r\n\nGET /a.ts HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("an empty host", "GET /a.ts HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("a host of its own", "GET /a.ts HTTP/1.1\r\nHost: {}<>\"'`|\\\r\n\r\n", 200),
        ("a body of GET", "GET /a.ts HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200),
        ("a value that is not ASCII", "GET /a.ts HTTP/1.1\r\nHost: x\r\nX: \u{e9}\r\n\r\n", 200),
        ("no percent escape", "GET /%zz%4 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("an escaped escape", "GET /a.ts%2500 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("a way up", "GET /../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("an escaped way up", "GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("escaped line ends", "GET /%0d%0aInjected:%20x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("a template", "GET /${jndi:ldap://x/a} HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("a star", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("another's address", "GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("an unknown method", "BREW /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("a method of one's own", "!#$%&'*+-.^_`|~ /a.ts HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ]
    .map(|(what, head, status)| Case { what: what.to_owned(), request: head.into(), status })
    .into()
}

/// The head of an answer, or what there was of it.
fn read_head(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => break,
        }
    }
    head
}

/// What comes back of a request on a port that may be too busy to take it.
fn exchange_if_served(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut socket = http::connect(address);
    let mut answer = Vec::new();
    let _too_busy = socket.write_all(request).and_then(|()| socket.read_to_end(&mut answer));
    answer
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_debug().to_string()
}
