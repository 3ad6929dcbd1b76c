//! What a running node is asked from the command line: whether it is well, and to drain.

mod support;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::datagram::payload;
use support::hosts::Hosts;
use support::node::{Node, run, stream};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, http, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;

/// Exit code and what is said, on either of the outputs.
fn ask(command: &str, node: &Node, arguments: &[&str]) -> (i32, String) {
    ask_at(node.side, command, arguments)
}

fn ask_at(side: SocketAddr, command: &str, arguments: &[&str]) -> (i32, String) {
    let side = side.to_string();
    let (code, out, err) = run(&[&[command, "--side", &side], arguments].concat(), Path::new("/"));
    (code, out + &err)
}

fn connected(node: &Node, path: &str) {
    eventually("a connected stream", || {
        (ask("health", node, &["--stream", path]).0 == 0).then_some(())
    });
}

fn health(node: &Node) -> Value {
    serde_json::from_str(&http::get(node.side, "/health").text()).unwrap()
}

/// The word for it in an answer.
fn status(health: &str) -> Value {
    serde_json::from_str::<Value>(health).unwrap()["status"].clone()
}

/// A stream whose upstream is not there.
fn lost() -> Value {
    stream("/a.ts", &format!("tcp://{}", nobody()))
}

fn post(node: &Node, path: &str) -> u16 {
    http::request(node.side, "POST", path).status
}

#[test]
fn a_socket_that_receives_nothing_is_no_stream() {
    let encoder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let node = Node::of(&format!("udp://{address}"));
    node.await_connected();
    let said = eventually("the silence to be told", || match ask("health", &node, &[]) {
        (1, said) => Some(said),
        _well => None,
    });
    let why = "/a.ts is connected, but nothing to watch comes (no_data)\n";
    assert_eq!(said, format!("restreamer: none of 1 streams is connected; {why}"));
    let mut number = 0;
    eventually("the encoder to be on", || {
        encoder.send_to(&payload(number), address).unwrap();
        number += 1;
        (ask("health", &node, &[]).0 == 0).then_some(())
    });
}

#[test]
fn a_node_is_well_while_a_stream_is_connected() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let lost = format!("tcp://{}", nobody());
    let node = Node::with(&json!({
        "resources": [stream("/a.ts", &source.url(Speech::Raw)), stream("/b.ts", &lost)],
    }));
    connected(&node, "/a.ts");
    assert_eq!(ask("health", &node, &[]), (0, "ok: 1 of 2 streams connected, 0 viewers\n".into()));
    let (code, said) = ask("health", &node, &["--all"]);
    assert!(code == 1 && said.starts_with("restreamer: /b.ts is "), "{said}");
    let (code, said) = ask("health", &node, &["--stream", "/c.ts"]);
    assert_eq!((code, said.as_str()), (1, "restreamer: there is no stream /c.ts\n"));
    source.stop();
    let said = eventually("the loss", || match ask("health", &node, &[]) {
        (1, said) => Some(said),
        _still_there => None,
    });
    assert!(said.starts_with("restreamer: none of 2 streams is connected; /a.ts is "), "{said}");
}

#[test]
fn the_side_port_is_found_in_the_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = dir.path().join("restreamer.json");
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    };
    let asked = |path: &Path| run(&["health", path.to_str().unwrap()], dir.path());
    let side = nobody();
    let path = file(
        &json!({ "listen": ":0", "side": side.to_string(), "resources": [lost()] }).to_string(),
    );
    let (code, out, err) = asked(&path);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with(&format!("restreamer: http://{side}/live does not answer: ")), "{err}");
    let (code, _, err) = asked(&file("{"));
    assert!(code == 1 && err.contains("has mistakes; see restreamer --check "), "{err}");
    let (code, _, err) = run(&["health", "/nonexistent.json"], dir.path());
    assert!(code == 1 && err.contains("/nonexistent.json"), "{err}");
    // What answers there may be something else.
    let other = Source::start(Speech::Http, BITS_PER_SECOND);
    let url = other.url(Speech::Http);
    let side = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let (code, _, err) = run(&["health", "--side", side], dir.path());
    assert!(code == 1 && err.starts_with("restreamer: http://"), "{err}");
}

#[test]
fn a_draining_node_says_so_and_keeps_its_viewers() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Raw));
    connected(&node, "/a.ts");
    let mut viewer = http::watch(node.address, "/a.ts");
    eventually("the viewer", || (health(&node)["viewer"] == 1).then_some(()));
    let drained = ask("drain", &node, &[]);
    assert_eq!(drained, (0, "draining: 1 viewers are here\n".into()));
    assert_eq!(health(&node)["status"], "draining");
    let ready = http::get(node.side, "/ready");
    assert_eq!((ready.status, status(&ready.text())), (503, "draining".into()));
    assert!(http::get(node.side, "/metrics").text().contains("\nrestreamer_draining 1\n"));
    let (code, said) = ask("health", &node, &["--ready"]);
    assert_eq!((code, said.as_str()), (1, "restreamer: the node is draining with 1 viewers\n"));
    assert_eq!(ask("health", &node, &[]).0, 0, "it is well all the same");
    node.await_log(|line| line["event"] == "drain" && line["draining"] == true);
    // Who is there stays, and who comes all the same is served.
    http::read_bytes(&mut viewer, 100_000);
    let mut late = http::watch(node.address, "/a.ts");
    http::read_bytes(&mut late, 100_000);
    assert_eq!(ask("drain", &node, &["--off"]), (0, "takes viewers: 2 viewers are here\n".into()));
    assert_eq!(http::get(node.side, "/ready").status, 200);
    assert_eq!(health(&node)["status"], "ok");
}

#[test]
fn to_drain_waits_for_the_last_viewer() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Raw));
    connected(&node, "/a.ts");
    let viewer = http::watch(node.address, "/a.ts");
    eventually("the viewer", || (health(&node)["viewer"] == 1).then_some(()));
    let asked = Instant::now();
    assert_eq!(ask("drain", &node, &["--wait", "1"]), (0, "draining: 1 viewers are here\n".into()));
    assert!(asked.elapsed() >= Duration::from_secs(1), "nobody left");
    let asked = Instant::now();
    let side = node.side;
    let waits = std::thread::spawn(move || ask_at(side, "drain", &["--wait", "600"]));
    drop(viewer);
    let said = waits.join().unwrap();
    assert_eq!(said, (0, "draining: 0 viewers are here\n".into()));
    assert!(asked.elapsed() < PATIENCE);
}

#[test]
fn only_post_drains() {
    let node = Node::of(&format!("tcp://{}", nobody()));
    let answer = http::get(node.side, "/drain");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(post(&node, "/health"), 405);
    assert_eq!(health(&node)["status"], "ok");
    assert_eq!(post(&node, "/drain"), 200);
    assert_eq!(health(&node)["status"], "draining");
    assert_eq!(post(&node, "/drain?off"), 200);
    assert_eq!(health(&node)["status"], "ok");
}

#[test]
fn another_host_can_look_but_not_drain() {
    let hosts = Hosts::new("drain");
    let node =
        Hosts::on(&hosts.node, || Node::with(&json!({ "side": ":0", "resources": [lost()] })));
    let side = (std::net::Ipv4Addr::new(10, 213, 0, 2), node.side.port()).into();
    Hosts::on(&hosts.sender, || {
        assert_eq!(http::request(side, "POST", "/drain").status, 403);
        assert_eq!(http::get(side, "/ready").status, 200);
    });
    // Its own address is the host itself.
    Hosts::on(&hosts.node, || {
        assert_eq!(http::request(side, "POST", "/drain").status, 200);
        assert_eq!(http::get(side, "/ready").status, 503);
    });
}
