//! No stream comes from itself: whatever is between, a node does not take what has come by way of
//! it, and goes on to the next upstream. What only looks like a ring works.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use support::http::{read_bytes, request, watch};
use support::node::{Node, stream};
use support::packets::{PACKET_BYTES, Verifier};
use support::source::{Source, Speech};
use support::tool::Tool;
use support::upstream::free_address;
use support::{PATIENCE, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;

/// A node at this address with a stream that has these upstreams.
fn node_at(address: SocketAddr, path: &str, remotes: &[&str]) -> Node {
    let stream = json!({ "type": "stream", "serve": path, "remotes": remotes });
    Node::with(&json!({
        "listen": address.to_string(), "reconnect": 0.2, "resources": [stream],
    }))
}

fn origin_at(address: SocketAddr) -> Source {
    Source::start_at(TcpListener::bind(address).unwrap(), Speech::Http, BITS_PER_SECOND, 0)
}

fn is_loop(line: &Value) -> bool {
    line["event"] == "error" && line["error"] == "loop"
}

/// Asserts that somebody who watches gets packets without fault.
fn assert_served(address: SocketAddr, path: &str) {
    let mut verifier = Verifier::default();
    verifier.feed(&read_bytes(&mut watch(address, path), 100 * PACKET_BYTES));
    verifier.assert_perfect(path);
}

/// The names of the streams that the answer says it has come by, the last one last.
fn way(address: SocketAddr, path: &str) -> Vec<String> {
    let answer = request(address, "HEAD", path);
    assert_eq!(answer.status, 200, "{}", answer.head);
    let via = answer.header("Via").expect("a way").to_owned();
    let names = via.split(", ").map(|member| member.strip_prefix("1.1 ").unwrap().to_owned());
    names.collect()
}

/// `HAProxy`, which passes on to an address.
fn balancer(to: SocketAddr, dir: &tempfile::TempDir) -> (SocketAddr, Tool) {
    let config = format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n \
         timeout server 30s\nlisten all\n bind fd@0\n server one {to}\n"
    );
    let file = dir.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(file).stdin(OwnedFd::from(listener));
    (address, Tool::start_logging(&mut command, &dir.path().join("log")))
}

/// A way to an address on which the end of what comes from there is long under way: a firewall that
/// has lost the connection, a host that is cut off.
struct Tunnel {
    address: SocketAddr,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Tunnel {
    fn to(target: SocketAddr) -> Tunnel {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new((Mutex::new(true), Condvar::new()));
        let of_all = Arc::clone(&held);
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let held = Arc::clone(&of_all);
                std::thread::spawn(move || Tunnel::carry(&near, target, &held));
            }
        });
        Tunnel { address, held }
    }

    fn carry(near: &TcpStream, target: SocketAddr, (held, changed): &(Mutex<bool>, Condvar)) {
        // Nobody there: the other end learns it by the end of its connection.
        let Ok(far) = TcpStream::connect(target) else { return };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                copy(near, &far);
                // They may be gone already.
                let _gone = far.shutdown(Shutdown::Both);
            });
            copy(&far, near);
            let wait = changed.wait_timeout_while(held.lock().unwrap(), PATIENCE, |held| *held);
            drop(wait.unwrap());
            let _gone = near.shutdown(Shutdown::Both);
        });
    }

    /// Lets ends through from now on.
    fn release(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }
}

/// Carries bytes until there are no more, or nobody takes them.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// A stream that is its own upstream is refused by itself, and comes from elsewhere when it can.
fn own_upstream(by: impl Fn(SocketAddr) -> SocketAddr) {
    let (address, origin) = (free_address(), free_address());
    let own = format!("http://{}/a.ts", by(address));
    let node = node_at(address, "/a.ts", &[&own, &format!("http://{origin}/")]);
    let line = node.await_log(is_loop);
    let why = format!("upstream {own} comes by way of this stream itself: Via: 1.1 restreamer-");
    assert!(line["message"].as_str().unwrap().starts_with(&why), "{line}");
    node.await_metric("restreamer_upstream_attempts_total", "result=\"loop\"", |n| n >= 1.0);
    node.await_metric("restreamer_viewers_refused_total", "reason=\"loop\"", |n| n >= 1.0);
    let _origin = origin_at(origin);
    node.await_connected();
    assert_served(address, "/a.ts");
    assert_eq!(way(address, "/a.ts").len(), 1);
}

#[test]
fn a_stream_is_not_its_own_upstream() {
    own_upstream(|address| address);
}

#[test]
fn nor_by_way_of_a_balancer() {
    let dir = tempfile::tempdir().unwrap();
    let tool = std::cell::OnceCell::new();
    own_upstream(|address| {
        let (by, running) = balancer(address, &dir);
        assert!(tool.set(running).is_ok());
        by
    });
}

/// Nodes in a row, of which the first may have its stream from the last when its origin is gone.
fn ring(nodes: usize, by: impl Fn(SocketAddr) -> SocketAddr) {
    let (origin, first) = (free_address(), free_address());
    let source = origin_at(origin);
    let (first_origin, no_other) = (format!("http://{origin}/"), format!("http://{}/", nobody()));
    // The second node does not learn that the first one has lost its upstream.
    let tunnel = Tunnel::to(by(first));
    let mut row: Vec<Node> = Vec::new();
    let mut addresses: Vec<_> = (1..nodes).map(|_| free_address()).collect();
    addresses.insert(0, first);
    let last = format!("http://{}/a.ts", addresses[nodes - 1]);
    for (number, &address) in addresses.iter().enumerate() {
        let before = match number {
            0 => last.clone(),
            1 => format!("http://{}/a.ts", tunnel.address),
            _ => format!("http://{}/a.ts", addresses[number - 1]),
        };
        let other = if number == 0 { &first_origin } else { &no_other };
        let node = node_at(address, "/a.ts", &[&before, other]);
        node.await_connected();
        row.push(node);
    }
    let names = way(addresses[nodes - 1], "/a.ts");
    assert_eq!(names.len(), nodes, "{names:?}");
    assert_served(addresses[nodes - 1], "/a.ts");

    let mut viewer = watch(addresses[nodes - 1], "/a.ts");
    drop(source);
    let line = row[0].await_log(|line| {
        assert_ne!(line["event"], "connected", "there is nothing to connect to: {line}");
        is_loop(line)
    });
    let way_round = names.join(", 1.1 ");
    let why = format!("upstream {last} comes by way of this stream itself: Via: 1.1 {way_round}");
    assert_eq!(line["message"], why);
    assert_eq!(row[0].count("streaming_source_connected", ""), 0);
    viewer.set_nonblocking(true).unwrap();
    let mut rest = Vec::new();
    let error = viewer.read_to_end(&mut rest).expect_err("nobody has cut the last one's viewers");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);

    // The origin is back. Nobody else has lost anything: the way is what they were told.
    let _source = origin_at(origin);
    row[0].await_connected();
    viewer.set_nonblocking(false).unwrap();
    read_bytes(&mut viewer, 100 * PACKET_BYTES);
    tunnel.release();
    for node in &row[1..] {
        assert_eq!(node.count("restreamer_upstream_losses_total", ""), 0);
    }
    assert_served(addresses[nodes - 1], "/a.ts");
    assert_eq!(way(addresses[nodes - 1], "/a.ts"), names);
}

#[test]
fn two_nodes_are_no_ring() {
    ring(2, |address| address);
}

#[test]
fn three_nodes_are_no_ring() {
    ring(3, |address| address);
}

#[test]
fn two_nodes_and_a_balancer_are_no_ring() {
    let dir = tempfile::tempdir().unwrap();
    let tool = std::cell::OnceCell::new();
    ring(2, |address| {
        let (by, running) = balancer(address, &dir);
        assert!(tool.set(running).is_ok());
        by
    });
}

#[test]
fn a_stream_may_come_from_another_one_of_the_same_node() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let address = free_address();
    let node = Node::with(&json!({ "listen": address.to_string(), "resources": [
        stream("/new.ts", &source.url(Speech::Raw)),
        stream("/old.ts", &format!("http://{address}/new.ts")),
    ]}));
    node.await_count("streaming_source_connected", "", 2);
    assert_served(address, "/old.ts");
    let (old, new) = (way(address, "/old.ts"), way(address, "/new.ts"));
    assert_eq!((old.len(), new.len()), (2, 1));
    assert_eq!(old[0], new[0]);
    assert_ne!(old[0], old[1], "each stream has a name of its own");
    assert_eq!(node.count("restreamer_viewers_refused_total", "loop"), 0);
}

#[test]
fn every_worker_of_a_hot_stream_tells_its_way() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let above = Node::of(&source.url(Speech::Raw));
    above.await_connected();
    let mut hot = stream("/a.ts", &above.url("/a.ts"));
    hot["hot"] = true.into();
    let node = Node::with(&json!({ "workers": 3, "resources": [hot] }));
    node.await_connected();
    let mut viewers = Vec::new();
    let mut ways = BTreeSet::new();
    let workers = ["0", "1", "2"].map(|number| format!("worker=\"{number}\""));
    // The kernel spreads connections over the workers.
    while !workers.iter().all(|of| node.metric("restreamer_worker_viewers", of) >= 1.0) {
        assert!(viewers.len() < 200, "each worker has viewers");
        let request = b"GET /a.ts HTTP/1.1\r\nHost: test\r\n\r\n";
        let (answer, mut socket) = support::http::open(node.address, request);
        read_bytes(&mut socket, PACKET_BYTES);
        ways.insert(answer.header("Via").expect("a way").to_owned());
        viewers.push(socket);
    }
    assert_eq!(ways.len(), 1, "{ways:?}");
    assert_eq!(
        ways.pop_first().unwrap(),
        format!("1.1 {}", way(node.address, "/a.ts").join(", 1.1 "))
    );
    assert_eq!(way(node.address, "/a.ts").len(), 2);
}

/// A node is let go when its upstream's way changes, and comes back to be told.
#[test]
fn a_node_is_told_when_the_way_changes() {
    let (first, second) = (free_address(), free_address());
    let origin = origin_at(first);
    // The relay has nothing yet: the node above begins with the origin, which tells no way.
    let relay = node_at(free_address(), "/a.ts", &[&format!("http://{second}/")]);
    let urls = [format!("http://{first}/"), relay.url("/a.ts")];
    let above = node_at(free_address(), "/a.ts", &[&urls[0], &urls[1]]);
    above.await_connected();
    let _relayed = origin_at(second);
    relay.await_connected();
    let below = node_at(free_address(), "/a.ts", &[&above.url("/a.ts")]);
    below.await_connected();
    assert_eq!(way(below.address, "/a.ts").len(), 2);
    let mut viewer = watch(below.address, "/a.ts");
    drop(origin);
    above.await_log(|line| line["event"] == "connected" && line["url"] == urls[1]);
    above.await_count("restreamer_viewers_ended_total", "rerouted", 1);
    below.await_connected();
    assert_eq!(way(below.address, "/a.ts").len(), 3, "the relay as well");
    assert_eq!(above.status()["upstream"], urls[1].as_str());
    // Who watches there has lost nobody.
    let mut verifier = Verifier::default();
    while verifier.signalled == 0 {
        verifier.feed(&read_bytes(&mut viewer, PACKET_BYTES));
    }
    assert_eq!(below.count("restreamer_viewers_ended_total", ""), 0);
}
