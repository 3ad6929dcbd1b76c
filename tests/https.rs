//! What comes by TLS is from whom it should be, arrives whole, and leaves nothing behind. Proxies
//! of the environment are used where they should be.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;

use support::crowd::{Crowd, Pace};
use support::media::record_to_end;
use support::node::{Node, cut, run, stream};
use support::packets::{PACKET_BYTES, packets};
use support::tls::{Authority, Peer, Server, close, greet};
use support::upstream::{accept, read_head, write_at};
use support::{PATIENCE, eventually, http};

const ATTEMPTS: &str = "restreamer_upstream_attempts_total";
const LOSSES: &str = "restreamer_upstream_losses_total";
const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// An authority, and its certificate for `ca_file`.
struct Trusted {
    authority: Authority,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Trusted {
    fn new() -> Trusted {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        Trusted { file: authority.file(dir.path()), authority, _dir: dir }
    }

    /// A server on 127.0.0.1, and a node that it is the upstream of.
    fn served(&self, config: &Value) -> (Server, Node) {
        let server = Server::open(self.authority.vouch_for("127.0.0.1"));
        let node = Node::with(&self.config(&server.url(), config));
        (server, node)
    }

    fn config(&self, url: &str, more: &Value) -> Value {
        let mut config = json!({ "ca_file": self.file, "resources": [cut(stream("/a.ts", url))] });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }
}

/// Takes the node's next connection and answers its request with this head.
fn answer(server: &Server, head: &str) -> Peer {
    let mut peer = server.accept();
    read_head(&mut peer);
    peer.write_all(head.as_bytes()).unwrap();
    peer.flush().unwrap();
    peer
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap()
}

#[test]
fn names_and_addresses_prove_themselves_and_the_stream_arrives_byte_for_byte() {
    const PACKETS: u64 = 20_000;
    let trusted = Trusted::new();
    for (name, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("localhost", "localhost")] {
        let server = Server::open_at(name, trusted.authority.vouch_for(name));
        let url = format!("https://{host}:{}/live.ts?a=b", server.address().port());
        let node = Node::with(&trusted.config(&url, &json!({})));
        let mut peer = server.accept();
        let head = read_head(&mut peer);
        assert!(head.starts_with("GET /live.ts?a=b HTTP/1.1\r\n"), "{head}");
        // The body's beginning comes with the head.
        let bytes = packets(0..PACKETS);
        peer.write_all(&[OK.as_bytes(), &bytes[..20]].concat()).unwrap();
        node.await_connected();
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 3, Pace::Fast);
        let sending = std::thread::spawn(move || {
            write_at(&mut peer, &bytes[20..], 40_000_000);
            peer
        });
        crowd.watch_until(|all| all.iter().all(|w| w.verifier.next == PACKETS), PATIENCE);
        for watcher in &crowd.watchers {
            watcher.verifier.assert_perfect(host);
            assert_eq!((watcher.verifier.packets, watcher.verifier.unfinished()), (PACKETS, 0));
        }
        assert_eq!(node.count("restreamer_discarded_bytes_total", "/a.ts"), 0);
        drop(sending.join().unwrap());
    }
}

#[test]
fn four_hundred_megabits_arrive() {
    const RATE: u64 = 400_000_000;
    const PACKETS: u64 = 2 * RATE / 8 / PACKET_BYTES as u64;
    let (server, node) = Trusted::new().served(&json!({}));
    let mut peer = answer(&server, OK);
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 1, Pace::Fast);
    let sending = std::thread::spawn(move || {
        write_at(&mut peer, &packets(0..PACKETS), RATE);
        peer
    });
    crowd.watch_until(|all| all[0].verifier.next == PACKETS, PATIENCE);
    crowd.watchers[0].verifier.assert_perfect("viewer");
    drop(sending.join().unwrap());
}

#[test]
fn who_cannot_prove_who_it_is_is_no_upstream() {
    let trusted = Trusted::new();
    let (stranger, impostor) = (Authority::named("stranger"), Authority::new());
    for (config, why) in [
        (trusted.authority.vouch_for("h.test"), "its certificate is not for 127.0.0.1"),
        (stranger.vouch_for("127.0.0.1"), "its certificate is by nobody who is trusted"),
        // Of the same name as the one that is trusted.
        (impostor.vouch_for("127.0.0.1"), "its certificate is by nobody who is trusted"),
        (trusted.authority.vouched_for("127.0.0.1"), "its certificate has expired"),
    ] {
        let server = Server::open(config);
        let url = server.url();
        let node = Node::with(&trusted.config(&url, &json!({ "reconnect": 0 })));
        server.accept_in_vain();
        let line = node.await_log(|entry| entry["event"] == "error");
        assert_eq!(line["error"], "tls", "{line}");
        let said = format!("upstream {url} cannot be reached by TLS: {why}");
        assert!(message(&line).starts_with(&said), "{line}");
        node.await_state("off");
        assert_eq!(node.count(ATTEMPTS, "result=\"tls\""), 1);
        assert_eq!(http::get(node.address, "/a.ts").status, 404);
    }
}

#[test]
fn without_a_ca_file_the_authority_of_a_test_is_a_stranger() {
    let server = Server::open(Authority::new().vouch_for("127.0.0.1"));
    let node = Node::of(&server.url());
    server.accept_in_vain();
    let line = node.await_log(|entry| entry["error"] == "tls");
    assert!(message(&line).contains("nobody who is trusted"), "{line}");
}

#[test]
fn who_speaks_something_else_or_nothing_is_no_upstream() {
    let trusted = Trusted::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    for (said, error, why) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "tls", "it does not speak TLS"),
        ("", "tls", "the handshake was broken off"),
    ] {
        let node = Node::with(&trusted.config(&url, &json!({})));
        accept(&listener).write_all(said.as_bytes()).unwrap();
        let line = node.await_log(|entry| entry["event"] == "error");
        assert!(line["error"] == error && message(&line).contains(why), "{line}");
    }
    // It takes the connection, and trickles what could become an answer.
    let node = Node::with(&trusted.config(&url, &json!({ "timeout": 1 })));
    let mut peer = accept(&listener);
    let trickle = std::thread::spawn(move || {
        write_at(&mut peer, &[&[22, 3, 3, 16, 0][..], &[0; 1000]].concat(), 20 * 8);
    });
    let line = node.await_log(|entry| entry["event"] == "error");
    assert_eq!(line["error"], "timeout", "{line}");
    drop(node);
    trickle.join().unwrap();
}

#[test]
fn a_body_in_chunks_arrives_by_tls() {
    let (server, node) = Trusted::new().served(&json!({}));
    let mut peer = answer(&server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    let body = packets(0..500);
    for piece in body.chunks(1000) {
        let chunk = [format!("{:x};x=y\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        peer.write_all(&chunk).unwrap();
    }
    peer.write_all(b"0\r\n\r\n").unwrap();
    peer.flush().unwrap();
    assert!(record_to_end(&mut viewer).bytes == body, "byte for byte");
    node.await_count(LOSSES, "reason=\"ended\"", 1);
    // The program has what it wanted: it hangs up, though the server would go on.
    assert_gone(&mut peer);
}

/// How the server ends, or breaks, what it sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// As TLS has it.
    Closed,
    /// The connection ends, TLS does not.
    HungUp,
    /// The connection is reset.
    Reset,
    /// Something that is no record.
    Garbage,
    /// A record that somebody has changed on the way.
    Forged,
}

fn end(mut peer: Peer, ending: Ending) {
    match ending {
        Ending::Closed => close(peer),
        Ending::HungUp => drop(peer),
        Ending::Reset => {
            SockRef::from(&peer.sock).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
        }
        Ending::Garbage => peer.sock.write_all(b"this is no record of TLS").unwrap(),
        Ending::Forged => {
            let record = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
            peer.sock.write_all(&record).unwrap();
        }
    }
}

#[test]
fn a_body_ends_as_tls_and_its_framing_say() {
    let trusted = Trusted::new();
    let raw = "";
    let framed = "Content-Length: 99999\r\n";
    for (framing, ending, reason, why) in [
        (raw, Ending::Closed, "ended", "ended"),
        (raw, Ending::HungUp, "ended", "ended"),
        (raw, Ending::Reset, "broken", "broke: Connection reset"),
        (raw, Ending::Garbage, "broken", "broke: "),
        (raw, Ending::Forged, "broken", "broke: cannot decrypt"),
        (framed, Ending::Closed, "truncated", "ended in the middle of its body"),
        (framed, Ending::HungUp, "broken", "broke: it hung up without saying so by TLS"),
        (framed, Ending::Garbage, "broken", "broke: "),
    ] {
        let what = format!("{framing:?} {ending:?}");
        let (server, node) = trusted.served(&json!({ "reconnect": 0.2 }));
        let mut peer = answer(&server, &format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
        node.await_connected();
        let mut viewer = http::watch(node.address, "/a.ts");
        peer.write_all(&packets(0..100)).unwrap();
        peer.flush().unwrap();
        // A reset takes what is under way with it.
        node.await_count("streaming_packets_received", "/a.ts", 100);
        end(peer, ending);
        let line = node.await_log(|entry| entry["event"] == "error");
        assert_eq!(line["error"], reason, "{what}: {line}");
        assert!(message(&line).contains(&format!("/live.ts {why}")), "{what}: {line}");
        assert!(record_to_end(&mut viewer).bytes == packets(0..100), "{what}");
        node.await_count(LOSSES, &format!("reason=\"{reason}\""), 1);
        // It is back by itself.
        let mut peer = answer(&server, OK);
        node.await_connected();
        let mut viewer = http::watch(node.address, "/a.ts");
        peer.write_all(&packets(200..300)).unwrap();
        assert!(http::read_bytes(&mut viewer, 100 * PACKET_BYTES) == packets(200..300), "{what}");
    }
}

#[test]
fn what_came_before_a_forged_record_is_delivered() {
    let (server, node) = Trusted::new().served(&json!({}));
    let mut peer = answer(&server, OK);
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    // Both arrive at once.
    let mut wire = Vec::new();
    peer.conn.writer().write_all(&packets(0..50)).unwrap();
    while peer.conn.wants_write() {
        peer.conn.write_tls(&mut wire).unwrap();
    }
    wire.extend([&[23, 3, 3, 0, 64][..], &[7; 64]].concat());
    peer.sock.write_all(&wire).unwrap();
    assert!(record_to_end(&mut viewer).bytes == packets(0..50));
    node.await_count(LOSSES, "reason=\"broken\"", 1);
    // The server is told, and let go of.
    assert!(peer.read(&mut [0]).is_err());
}

#[test]
fn a_silent_server_is_let_go_of() {
    let config = json!({ "readtimeout": 0.5, "reconnect": 0 });
    let (server, node) = Trusted::new().served(&config);
    let mut peer = answer(&server, OK);
    node.await_connected();
    let before = node.threads();
    peer.write_all(&packets(0..100)).unwrap();
    let line = node.await_log(|entry| entry["event"] == "error");
    assert_eq!(line["error"], "silent", "{line}");
    assert_gone(&mut peer);
    node.await_state("off");
    eventually("its thread to end", || (node.threads() < before).then_some(()));
}

#[test]
fn the_program_ends_while_a_server_is_silent() {
    let (server, node) = Trusted::new().served(&json!({}));
    let mut peer = answer(&server, OK);
    node.await_connected();
    assert!(node.stop().success());
    assert_gone(&mut peer);
}

/// The program has hung up.
fn assert_gone(peer: &mut Peer) {
    let mut byte = [0];
    match peer.sock.read(&mut byte) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("it is still there: {other:?}"),
    }
}

#[test]
fn nothing_is_left_behind_by_reconnects() {
    let (server, node) = Trusted::new().served(&json!({ "reconnect": 0.1 }));
    let mut held = None;
    for round in 0..10 {
        let mut peer = answer(&server, OK);
        node.await_connected();
        peer.write_all(&packets(0..100)).unwrap();
        peer.flush().unwrap();
        let received = 100 * (round + 1);
        node.await_count("streaming_packets_received", "/a.ts", received);
        let (threads, descriptors) =
            *held.get_or_insert_with(|| (node.threads(), node.descriptors()));
        eventually("threads of former connections to end", || {
            (node.threads() <= threads && node.descriptors() <= descriptors).then_some(())
        });
        let endings = [Ending::Closed, Ending::HungUp, Ending::Reset, Ending::Garbage];
        end(peer, endings[usize::try_from(round).unwrap() % endings.len()]);
    }
    node.await_count(LOSSES, "/a.ts", 10);
}

#[test]
fn redirects_lead_from_http_to_https_and_back() {
    let trusted = Trusted::new();
    let secure = Server::open(trusted.authority.vouch_for("127.0.0.1"));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = plain.local_addr().unwrap();
    let basic = "authorization: basic bwu6cgfzcw==";
    for (from, to) in [("http", "https"), ("https", "http")] {
        let address = if from == "http" { at } else { secure.address() };
        let url = format!("{from}://me:pass@{address}/first");
        let node = Node::with(&trusted.config(&url, &json!({})));
        let there = if to == "http" { at } else { secure.address() };
        let redirect = format!("HTTP/1.1 302 There\r\nLocation: {to}://{there}/second\r\n\r\n");
        let first = if from == "http" {
            let mut peer = accept(&plain);
            let head = read_head(&mut peer);
            peer.write_all(redirect.as_bytes()).unwrap();
            head
        } else {
            let mut peer = secure.accept();
            let head = read_head(&mut peer);
            peer.write_all(redirect.as_bytes()).unwrap();
            close(peer);
            head
        };
        assert!(first.to_lowercase().contains(basic), "{first}");
        let body = [OK.as_bytes(), &packets(0..30)].concat();
        let (second, _open): (String, Box<dyn Write>) = if to == "http" {
            let mut peer = accept(&plain);
            let head = read_head(&mut peer);
            peer.write_all(&body).unwrap();
            (head, Box::new(peer))
        } else {
            let mut peer = secure.accept();
            let head = read_head(&mut peer);
            peer.write_all(&body).unwrap();
            (head, Box::new(peer))
        };
        assert!(second.starts_with("GET /second HTTP/1.1\r\n"), "{second}");
        assert!(!second.to_lowercase().contains("authorization"), "another origin: {second}");
        node.await_count("streaming_packets_received", "/a.ts", 30);
    }
}

/// A proxy whose every answer a test gives itself, with its variable's value.
fn proxy() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://us3r:s3cr%40t@{}", listener.local_addr().unwrap());
    (listener, url)
}

const PROXY_BASIC: &str = "\r\nProxy-Authorization: Basic dXMzcjpzM2NyQHQ=\r\n";

/// Nothing that the node has said, or says when asked, has the proxy's password in it.
fn assert_discreet(node: &Node) {
    let mut told: Vec<_> = node.rest_of_log().iter().map(ToString::to_string).collect();
    told.push(node.status().to_string());
    told.push(http::get(node.side, "/metrics").text());
    for text in told {
        for secret in ["s3cr", "dXMzcjp"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn a_proxy_leads_to_http() {
    let (listener, variable) = proxy();
    let config = json!({ "resources": [stream("/a.ts", "http://me:pass@proxied.test/a.ts?b")] });
    // Its host could not be resolved here.
    let node = Node::with_env(&config, &[("HTTP_PROXY", &variable)]);
    let mut peer = accept(&listener);
    let head = read_head(&mut peer);
    assert!(head.starts_with("GET http://proxied.test/a.ts?b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nHost: proxied.test\r\n") && head.contains(PROXY_BASIC), "{head}");
    assert!(head.contains("\r\nAuthorization: Basic bWU6cGFzcw==\r\n"), "{head}");
    peer.write_all(&[OK.as_bytes(), &packets(0..30)].concat()).unwrap();
    node.await_count("streaming_packets_received", "/a.ts", 30);
    assert_discreet(&node);
}

#[test]
fn the_proxies_in_use_are_logged_and_what_is_none_is_warned_of() {
    let (listener, variable) = proxy();
    let at = listener.local_addr().unwrap();
    let variables = [
        ("http_proxy", variable.as_str()),
        ("HTTPS_PROXY", "socks5://us3r:s3cr@127.0.0.1:1080"),
        ("NO_PROXY", "a,b c"),
    ];
    let node = Node::with_env(&json!({ "resources": [stream("/a.ts", "file:///x")] }), &variables);
    let said: Vec<_> = node.rest_of_log().into_iter().filter(|e| e["event"] == "config").collect();
    let said: Vec<_> = said.iter().map(message).collect();
    assert_eq!(
        said,
        [
            "HTTPS_PROXY is not used: socks5:// proxies are not supported, only http://",
            "NO_PROXY: entry 2 is neither a name, nor an IP address, nor a network",
            &format!("http addresses are reached by the proxy http://us3r:***@{at}"),
        ]
    );
}

#[test]
fn a_proxy_makes_a_tunnel_to_https() {
    let trusted = Trusted::new();
    let (listener, variable) = proxy();
    let config = trusted.config("https://proxied.test/a.ts", &json!({}));
    let node = Node::with_env(&config, &[("HTTPS_PROXY", &variable)]);
    let mut peer = accept(&listener);
    let head = read_head(&mut peer);
    assert!(head.starts_with("CONNECT proxied.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\nHost: proxied.test:443\r\n") && head.contains(PROXY_BASIC),
        "{head}"
    );
    peer.write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n").unwrap();
    let mut peer = greet(peer, &trusted.authority.vouch_for("proxied.test")).unwrap();
    assert_eq!(peer.conn.server_name(), Some("proxied.test"));
    let head = read_head(&mut peer);
    assert!(head.starts_with("GET /a.ts HTTP/1.1\r\nHost: proxied.test\r\n"), "{head}");
    assert!(!head.contains("Proxy-Authorization"), "the server is told: {head}");
    peer.write_all(&[OK.as_bytes(), &packets(0..30)].concat()).unwrap();
    node.await_count("streaming_packets_received", "/a.ts", 30);
    assert_discreet(&node);
}

#[test]
fn a_proxy_that_refuses_is_to_blame() {
    let (listener, variable) = proxy();
    let at = listener.local_addr().unwrap();
    let variables = [("HTTP_PROXY", variable.as_str()), ("HTTPS_PROXY", variable.as_str())];
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000));
    for (scheme, said, why) in [
        ("http", "HTTP/1.1 407 No\r\n\r\n", "answered 407"),
        ("https", "HTTP/1.1 407 No\r\n\r\n", "answered 407"),
        ("https", "HTTP/1.1 502 Bad Gateway\r\nX: y\r\n\r\n<html>", "answered 502"),
        ("https", "SSH-2.0-OpenSSH_9.2\r\n", "does not answer in HTTP"),
        ("https", "HTTP/1.1 200 OK\r\n\r\nwelcome", "sent something of its own"),
        ("https", &endless, "answered with a head longer than"),
    ] {
        let url = format!("{scheme}://proxied.test/");
        let config = json!({ "reconnect": 0, "resources": [stream("/a.ts", &url)] });
        let node = Node::with_env(&config, &variables);
        let mut peer = accept(&listener);
        read_head(&mut peer);
        // It may have heard enough before the end.
        let _enough = peer.write_all(said.as_bytes());
        let line = node.await_log(|entry| entry["event"] == "error");
        assert_eq!(line["error"], "proxy", "{line}");
        let blamed = format!(
            "upstream {url} cannot be reached by way of http://us3r:***@{at}: the proxy {why}"
        );
        assert!(message(&line).starts_with(&blamed), "{line}");
        node.await_state("off");
        assert_eq!(node.count(ATTEMPTS, "result=\"proxy\""), 1);
        assert_discreet(&node);
    }
}

#[test]
fn a_proxy_that_is_not_there_is_to_blame() {
    let at = support::nobody();
    let config = json!({ "resources": [stream("/a.ts", "https://proxied.test/")] });
    let node = Node::with_env(&config, &[("https_proxy", &at.to_string())]);
    let line = node.await_log(|entry| entry["error"] == "proxy");
    let why = format!("by way of http://{at}: the proxy cannot be reached: Connection refused");
    assert!(message(&line).contains(&why), "{line}");
}

#[test]
fn a_proxy_that_hangs_ends_with_the_timeout() {
    let (listener, variable) = proxy();
    let config = json!({ "timeout": 0.5, "resources": [stream("/a.ts", "https://proxied.test/")] });
    let node = Node::with_env(&config, &[("HTTPS_PROXY", &variable)]);
    let peer = accept(&listener);
    let line = node.await_log(|entry| entry["event"] == "error");
    assert_eq!(line["error"], "timeout", "{line}");
    assert!(message(&line).contains("the proxy gave no answer"), "{line}");
    drop(peer);
}

#[test]
fn no_proxy_leads_to_the_machine_itself_nor_to_what_is_excepted() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, variable) = proxy();
    let port = server.local_addr().unwrap().port();
    // 0.0.0.0 leads to this machine, too, and is no loopback address.
    let reached = |listener: &TcpListener, host: &str, except: &str| {
        let url = format!("http://{host}:{port}/");
        let config = json!({ "resources": [stream("/a.ts", &url)] });
        let variables = [("HTTP_PROXY", variable.as_str()), ("NO_PROXY", except)];
        let node = Node::with_env(&config, &variables);
        let mut peer = accept(listener);
        let head = read_head(&mut peer);
        peer.write_all(OK.as_bytes()).unwrap();
        node.await_connected();
        head
    };
    for (host, except) in [
        ("127.0.0.1", ""),
        ("localhost", ""),
        ("0.0.0.0", "0.0.0.0"),
        ("0.0.0.0", "a.test, 0.0.0.0/8"),
        ("0.0.0.0", &format!("0.0.0.0:{port}")),
        ("0.0.0.0", "*"),
    ] {
        let head = reached(&server, host, except);
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{host} {except}: {head}");
    }
    for except in ["", "0.0.0.0:1", "10.0.0.0/8", "0.0.0"] {
        let head = reached(&proxy, "0.0.0.0", except);
        assert!(head.starts_with("GET http://0.0.0.0:"), "{except}: {head}");
    }
    assert!(is_untouched(&server) && is_untouched(&proxy), "somebody was asked in vain");
}

fn is_untouched(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_ca_file_that_is_none_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let (file, junk) = (dir.path().join("restreamer.json"), dir.path().join("junk.pem"));
    std::fs::write(&junk, "junk").unwrap();
    for (path, why) in [
        (dir.path().join("none.pem"), "cannot be read: No such file"),
        (junk, "holds no certificate"),
    ] {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = json!({ "listen": any, "side": any, "ca_file": path,
            "resources": [stream("/a.ts", "tcp://127.0.0.1:1")] });
        std::fs::write(&file, config.to_string()).unwrap();
        let (code, _, said) = run(&[file.to_str().unwrap()], dir.path());
        let expected = format!("restreamer: ca_file: {} {why}", path.display());
        assert!(code == 1 && said.starts_with(&expected), "{said}");
    }
}
