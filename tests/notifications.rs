//! Others are told of limits and heartbeats, each of them in order, and nobody waits for one who
//! hangs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::PATIENCE;
use support::http;
use support::node::{Node, stream};
use support::packets::Verifier;
use support::source::{Source, Speech};
use support::upstream::{accept, read_head};

const BITS_PER_SECOND: u64 = 2_000_000;

/// Nothing else may take so long while a target hangs, which is given up after ten seconds.
const DELAY: Duration = Duration::from_secs(3);

const NOTIFICATIONS: &str = "restreamer_notifications_total";

/// A server that is told.
struct Told {
    address: SocketAddr,
    heads: Receiver<String>,
}

impl Told {
    /// Says 200 to everything.
    fn start() -> Told {
        Told::saying(|_| 200)
    }

    /// Answers the request of this number (from 0) with a status.
    fn saying(status: impl Fn(usize) -> u16 + Send + 'static) -> Told {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heads) = channel();
        thread::spawn(move || {
            for number in 0.. {
                let Ok((mut peer, _)) = listener.accept() else { return };
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                if tell.send(read_head(&mut peer)).is_err() {
                    return;
                }
                let status = status(number);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close");
                // A node that is killed at the end of its test does not take it.
                let _gone = write!(peer, "{head}\r\n\r\n");
            }
        });
        Told { address, heads }
    }

    /// The head of the next request.
    fn head(&self) -> String {
        self.heads.recv_timeout(PATIENCE).expect("a notification")
    }

    /// The path of the next request.
    fn path(&self) -> String {
        let head = self.head();
        assert!(head.starts_with("GET "), "{head}");
        head.split(' ').nth(1).unwrap().to_owned()
    }
}

/// A notification by GET.
fn notification(event: &str, address: SocketAddr, path: &str) -> Value {
    json!({ "event": event, "type": "url", "url": format!("http://{address}{path}") })
}

/// A viewer who reads until it is to hang up, and answers what it has got and how long it has
/// waited for the next bytes at most.
struct Viewer {
    socket: TcpStream,
    thread: JoinHandle<(Verifier, Duration)>,
}

impl Viewer {
    fn start(node: &Node) -> Viewer {
        let socket = http::watch(node.address, "/a.ts");
        let mut reader = socket.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let (mut verifier, mut longest) = (Verifier::default(), Duration::ZERO);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let since = Instant::now();
                let bytes = reader.read(&mut buffer).unwrap();
                if bytes == 0 {
                    return (verifier, longest);
                }
                longest = longest.max(since.elapsed());
                verifier.feed(&buffer[..bytes]);
            }
        });
        Viewer { socket, thread }
    }

    fn end(self) -> (Verifier, Duration) {
        http::hang_up(&self.socket);
        self.thread.join().unwrap()
    }
}

/// What health says, which must not take long.
fn health(node: &Node) -> String {
    let since = Instant::now();
    let health: Value = serde_json::from_str(&http::get(node.side, "/health").text()).unwrap();
    assert!(since.elapsed() < DELAY, "health took {:?}", since.elapsed());
    health["status"].as_str().unwrap().to_owned()
}

#[test]
fn ten_crossings_are_told_in_order_while_another_target_hangs() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = hangs.local_addr().unwrap();
    let told = [Told::start(), Told::start()];
    let targets = [hanging, told[0].address, told[1].address];
    let limits = targets.into_iter().flat_map(|address| {
        [notification("limit_hit", address, "/hit"), notification("limit_miss", address, "/miss")]
    });
    let node = Node::with(&json!({
        "fullconnections": 2,
        "resources": [stream("/a.ts", &source.url(Speech::Raw))],
        "notifications": limits.collect::<Vec<_>>(),
    }));
    for event in ["limit_hit", "limit_miss"] {
        for result in ["delivered", "failed", "dropped"] {
            let labels = format!("event=\"{event}\",result=\"{result}\"");
            assert_eq!(node.count(NOTIFICATIONS, &labels), 0);
        }
    }
    node.await_connected();
    let stays = Viewer::start(&node);
    let mut silent = None;
    for _ in 0..10 {
        let comes = http::watch(node.address, "/a.ts");
        for target in &told {
            assert_eq!(target.path(), "/hit");
        }
        assert_eq!(health(&node), "full");
        silent.get_or_insert_with(|| {
            let mut peer = accept(&hangs);
            assert!(read_head(&mut peer).starts_with("GET /hit HTTP/1.1\r\n"));
            peer
        });
        http::hang_up(&comes);
        for target in &told {
            assert_eq!(target.path(), "/miss");
        }
        assert_eq!(health(&node), "ok");
    }
    for event in ["limit_hit", "limit_miss"] {
        node.await_count(NOTIFICATIONS, &format!("event=\"{event}\",result=\"delivered\""), 20);
    }
    assert_eq!(node.count(NOTIFICATIONS, "result=\"dropped\""), 0);
    for target in &told {
        assert_eq!(target.heads.try_iter().count(), 0, "exactly ten of each");
    }
    let (verifier, longest) = stays.end();
    verifier.assert_perfect("the viewer who stayed");
    assert!(longest < DELAY, "the stream stood still for {longest:?}");
    let since = Instant::now();
    assert!(node.stop().success());
    assert!(since.elapsed() < DELAY, "the end took {:?}", since.elapsed());
}

#[test]
fn the_end_of_a_full_node_is_told() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    // The first try after the end has begun is in vain: there is a pause before the next one.
    let told = Told::saying(|number| [200, 503, 200][number]);
    let node = Node::with(&json!({
        "fullconnections": 2,
        "resources": [stream("/a.ts", &source.url(Speech::Raw))],
        "notifications": [
            notification("limit_hit", told.address, "/hit"),
            notification("limit_miss", told.address, "/miss"),
        ],
    }));
    node.await_connected();
    let viewers = [Viewer::start(&node), Viewer::start(&node)];
    assert_eq!(told.path(), "/hit");
    // Both have begun to watch.
    node.await_metric("restreamer_viewers", "state=\"live\"", |live| live > 1.5);
    node.await_metric("streaming_packets_sent", "", |packets| packets > 100.0);
    let since = Instant::now();
    assert!(node.stop().success());
    assert!(since.elapsed() < DELAY, "the end took {:?}", since.elapsed());
    assert_eq!([told.path(), told.path()], ["/miss", "/miss"]);
    assert_eq!(told.heads.try_iter().count(), 0);
    for viewer in viewers {
        viewer.end().0.assert_perfect("a viewer at the end");
    }
}

#[test]
fn heartbeats_arrive_with_their_authorization_and_without_a_word_in_the_log() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = Told::start();
    let mut heartbeat = notification("heartbeat", told.address, "/alive?node=1");
    heartbeat["authentication"] = json!({ "type": "basic", "user": "operator" });
    let hanging = hangs.local_addr().unwrap();
    let node = Node::with(&json!({
        "heartbeatinterval": 1,
        "userlist": { "operator": { "password": "geheim" } },
        "resources": [stream("/a.ts", &source.url(Speech::Raw))],
        "notifications": [notification("heartbeat", hanging, "/"), heartbeat],
    }));
    node.await_connected();
    let mut first = None;
    for _ in 0..4 {
        let head = told.head();
        first.get_or_insert_with(Instant::now);
        assert!(head.starts_with("GET /alive?node=1 HTTP/1.1\r\n"), "{head}");
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let value = lines.find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        // operator:geheim
        assert_eq!(value.map(|(_, value)| value), Some("Basic b3BlcmF0b3I6Z2VoZWlt"), "{head}");
    }
    let three = first.unwrap().elapsed();
    assert!(three > Duration::from_secs(2), "four of them within {three:?}");
    let labels = "event=\"heartbeat\",result=\"delivered\"";
    node.await_metric(NOTIFICATIONS, labels, |delivered| delivered >= 4.0);
    for line in node.rest_of_log() {
        let line = line.to_string();
        assert!(!line.contains("geheim") && !line.contains("alive"), "{line}");
    }
}

#[test]
fn without_notifications_there_is_no_thread_for_them() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::with(&json!({
        "fullconnections": 1,
        "resources": [stream("/a.ts", &source.url(Speech::Raw))],
    }));
    node.await_connected();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    for task in tasks {
        // A thread may have ended by now.
        let name = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        assert!(!name.starts_with("notify"), "{name}");
    }
    assert_eq!(node.count(NOTIFICATIONS, ""), 0);
}
