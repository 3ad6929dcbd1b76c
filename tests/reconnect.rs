//! An upstream that is lost comes back by itself; nobody else notices.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::crowd::{Crowd, Pace, Watcher};
use support::node::{Node, cut, stream};
use support::packets::packets;
use support::source::{Source, Speech};
use support::upstream::{accept, read_head};
use support::{PATIENCE, eventually, http, nobody};

const BITS_PER_SECOND: u64 = 8_000_000;
/// `reconnect`, and what chance adds to it at most.
const RECONNECT: Duration = Duration::from_millis(1200);
/// What a busy machine may add to a promised time.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn an_upstream_that_was_killed_comes_back_on_its_own() {
    for speech in [Speech::Raw, Speech::Http] {
        let source = Source::start(speech, BITS_PER_SECOND);
        let (address, url) = (source.address, source.url(speech));
        let node = Node::cutting(&url);
        node.await_count("streaming_source_connected", "/a.ts", 1);
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 20, Pace::Fast);
        crowd.watch(Duration::from_secs(2));

        let end = source.stop();
        crowd.watch_until(|all| all.iter().all(|watcher| watcher.ended), PATIENCE);
        assert_complete(&crowd.watchers, end);
        node.await_count("streaming_source_connected", "/a.ts", 0);
        node.await_count("streaming_connections", "/a.ts", 0);
        assert_eq!(http::get(node.address, "/a.ts").status, 404, "nobody can join meanwhile");
        assert_eq!(http::request(node.address, "HEAD", "/a.ts").status, 404);
        assert_eq!(node.count("streaming_packets_dropped", "/a.ts"), 0);
        node.await_metric("restreamer_upstream_attempts_total", "result=\"connect\"", |n| n > 0.0);
        let status = node.status();
        assert!(status["last_error"].as_str().unwrap().contains("refused"), "{status}");

        let source = Source::start_at(listen(address), speech, BITS_PER_SECOND, 1_000_000);
        let restarted = Instant::now();
        node.await_connected();
        eventually("the stream to be back", || {
            (http::request(node.address, "HEAD", "/a.ts").status == 200).then_some(())
        });
        let took = restarted.elapsed();
        assert!(took < RECONNECT + SLACK, "it took {took:?}");
        node.await_count("streaming_source_connected", "/a.ts", 1);
        assert_eq!(node.await_state("connected")["upstream"], url);
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 20, Pace::Fast);
        crowd.watch(Duration::from_secs(1));
        let end = source.stop();
        crowd.watch_until(|all| all.iter().all(|watcher| watcher.ended), PATIENCE);
        assert_complete(&crowd.watchers, end);
        assert!(crowd.watchers.iter().all(|watcher| watcher.verifier.first >= Some(1_000_000)));
    }
}

/// What holds for viewers who kept up, once their stream has ended before the packet `end`.
fn assert_complete(watchers: &[Watcher], end: u64) {
    for (number, watcher) in watchers.iter().enumerate() {
        let who = format!("viewer {number}");
        watcher.verifier.assert_perfect(&who);
        assert_eq!(watcher.verifier.next, end, "{who} got everything to the end");
        assert_eq!(watcher.verifier.unfinished(), 0, "{who}: the last packet is whole");
    }
}

#[test]
fn a_viewer_who_lags_at_the_loss_gets_the_rest() {
    const FAST: u64 = 60_000_000;
    let source = Source::start(Speech::Raw, FAST);
    // The ring may keep more than what the kernel takes for a viewer.
    let config = json!({ "outputbuffer": 200_000,
        "resources": [cut(stream("/a.ts", &source.url(Speech::Raw)))] });
    let node = Node::with(&config);
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 2, Pace::Stalled);
    crowd.join(node.address, "/a.ts", 1, Pace::Fast);
    let lags = || node.metric("restreamer_lag_bytes", "/a.ts") > 2e6;
    crowd.watch_until(|_| lags(), PATIENCE);
    let address = source.address;
    let end = source.stop();
    node.await_log(|entry| entry["message"].as_str().unwrap().ends_with(" ended"));
    // What comes after the loss is for others, even if it comes before the rest is taken.
    let _back = Source::start_at(listen(address), Speech::Raw, BITS_PER_SECOND, 1_000_000);
    node.await_connected();
    crowd.watchers[0].hurry();
    crowd.watch_until(|all| all[0].ended && all[2].ended, PATIENCE);
    assert_complete(&crowd.watchers[..1], end);
    assert_complete(&crowd.watchers[2..], end);
    // One who takes nothing at all is not waited for, for ever.
    node.await_count("restreamer_viewers_ended_total", "too_slow_to_end", 1);
    node.await_count("streaming_connections", "/a.ts", 0);
    assert_eq!(node.count("streaming_packets_dropped", "/a.ts"), 0);
}

#[test]
fn the_deadline_counts_from_the_beginning_of_the_attempt_before() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let node = Node::with(&json!({ "reconnect": 3, "resources": [stream("/a.ts", &url)] }));
    // Lost soon: the next attempt waits for the rest of the three seconds, and a little by chance.
    let first = accept(&listener);
    let begun = Instant::now();
    node.await_connected();
    drop(first);
    let second = accept(&listener);
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(2900), "tried again after {waited:?}");
    assert!(waited < Duration::from_millis(3600) + SLACK, "tried again after {waited:?}");
    // Lost after longer than that: tried again at once.
    node.await_connected();
    eventually("the upstream to be up for a while", || {
        (node.status()["since_seconds"].as_u64() >= Some(4)).then_some(())
    });
    let lost = Instant::now();
    drop(second);
    let _third = accept(&listener);
    let waited = lost.elapsed();
    assert!(waited < Duration::from_secs(2), "tried again after {waited:?}");
}

#[test]
fn without_reconnect_there_is_one_attempt() {
    let once =
        |url: &str| Node::with(&json!({ "reconnect": 0, "resources": [stream("/a.ts", url)] }));
    let refusing = once(&format!("tcp://{}", closed()));
    let status = refusing.await_state("off");
    assert!(status["last_error"].as_str().unwrap().contains("cannot be reached"), "{status}");

    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let (address, node) = (source.address, once(&source.url(Speech::Raw)));
    node.await_connected();
    drop(source);
    let status = node.await_state("off");
    assert!(status["last_error"].as_str().unwrap().contains("ended"), "{status}");
    // Somebody is there again, and for longer than any other test needs to be found.
    let again = Source::start_at(listen(address), Speech::Raw, BITS_PER_SECOND, 0);
    eventually("time to pass", || {
        (node.status()["since_seconds"].as_u64() >= Some(3)).then_some(())
    });
    for node in [&node, &refusing] {
        assert_eq!((node.status()["attempts"].as_u64(), again.connections()), (Some(1), 0));
        assert_eq!(http::get(node.address, "/a.ts").status, 404);
        assert_only_state(node, "off");
    }
}

#[test]
fn several_upstreams_are_tried_in_turn() {
    const ROUNDS: usize = 4;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let urls: Vec<String> =
        (0..3).map(|number| refusing_server(number, "404 Not Found", &asked)).collect();
    let node = Node::with(&json!({ "reconnect": 0.1, "resources": [
        { "type": "stream", "serve": "/a.ts", "remote": urls[0], "remotes": urls[1..] }
    ] }));
    let order = eventually("all to be asked", || {
        Some(asked.lock().unwrap().clone()).filter(|asked| asked.len() >= 3 * ROUNDS)
    });
    let mut first = order[..3].to_vec();
    for round in order.chunks_exact(3) {
        assert_eq!(round, first, "the order stays");
    }
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2], "each has its turn");
    assert_eq!(node.status()["upstreams"].as_array().unwrap().len(), 3);
    for url in urls {
        let attempts = node.count("restreamer_upstream_attempts_total", &url);
        assert!(attempts >= 3, "{url}: {attempts}");
    }
}

/// An attempt: (its number, the upstream's address, the reason, the result).
type Told = (u64, String, String, String);

#[test]
fn every_attempt_is_told_with_its_reason_and_its_result() {
    const CONNECTIONS: usize = 3;
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let works = format!("http://user:secret@{}/", good.local_addr().unwrap());
    let dead = format!("tcp://{}", nobody());
    let failing = refusing_server(0, "500 Internal Server Error", &Arc::default());
    let node = Node::with(&json!({ "reconnect": 0.3, "resources": [
        { "type": "stream", "serve": "/a.ts", "remotes": [works, dead, failing] }
    ] }));
    let works = works.replace("secret", "***");
    let mut peer = None;
    for _ in 0..CONNECTIONS {
        // The one before is lost, the last one stays.
        drop(peer.take());
        let mut accepted = accept(&good);
        read_head(&mut accepted);
        accepted.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        peer = Some(accepted);
    }
    let (mut log, mut connected) = (Vec::new(), 0);
    node.await_log(|entry| {
        log.push(entry.clone());
        connected += usize::from(entry["event"] == "connected");
        connected == CONNECTIONS
    });
    let status = node.await_state("connected");

    let results: Vec<_> = log.iter().filter(|entry| entry["took_seconds"].is_f64()).collect();
    let order: Vec<&str> = results[..3].iter().map(|e| e["url"].as_str().unwrap()).collect();
    let last = (CONNECTIONS - 1) * 3 + order.iter().position(|url| *url == works).unwrap() + 1;
    let expected = expected_attempts(&order, last, |url| match url {
        _ if url == works => "ok",
        _ if url == dead => "connect",
        _ if url == failing => "status",
        _ => panic!("{url} in {order:?}"),
    });
    let result = |entry: &Value| match entry["event"].as_str() {
        Some("connected") => "ok".to_owned(),
        _ => text(&entry["error"]),
    };
    let logged: Vec<Told> = results.iter().map(|entry| told(entry, "url", result(entry))).collect();
    assert_eq!(logged, expected);
    let begun = log.iter().filter(|entry| entry["event"] == "attempt");
    let begun: Vec<Told> = begun.map(|entry| told(entry, "url", String::new())).collect();
    assert_eq!(begun, told_at_their_beginning(&expected));
    let losses: Vec<_> = log.iter().filter(|entry| entry["error"] == "ended").collect();
    assert_eq!(losses.len(), CONNECTIONS - 1);
    for loss in losses {
        let attempt = usize::try_from(loss["attempt"].as_u64().unwrap()).unwrap();
        assert_eq!((&expected[attempt - 1].1, loss["up_seconds"].is_f64()), (&works, true));
    }

    assert_shown(&status, &expected);
    for (url, result) in [(&works, "ok"), (&dead, "connect"), (&failing, "status")] {
        let having = format!("url=\"{url}\"}}");
        let seconds = node.metric("restreamer_upstream_attempt_seconds_total", &having);
        assert!(seconds > 0.0 && seconds < 20.0, "{url}: {seconds}");
        let expected = expected.iter().filter(|told| told.1 == *url).count() as u64;
        let attempts = |having: &str| node.count("restreamer_upstream_attempts_total", having);
        assert_eq!(attempts(url), expected, "{url}");
        assert_eq!(attempts(&format!("result=\"{result}\"")), expected, "{result}");
    }
    assert_only_state(&node, "connected");
    let metrics = http::get(node.side, "/metrics").text();
    for said in [Value::from(log).to_string(), status.to_string(), metrics] {
        assert!(!said.contains("secret"), "{said}");
    }
}

/// The attempts up to number `last`, round-robin, each one's reason being the result before.
fn expected_attempts(order: &[&str], last: usize, of: impl Fn(&str) -> &'static str) -> Vec<Told> {
    let mut reason = "start".to_owned();
    let attempt = |number: usize| {
        let url = order[(number - 1) % order.len()];
        let result = of(url);
        let next = match result {
            "ok" => "lost: ended".to_owned(),
            failed => format!("failed: {failed}"),
        };
        let reason = std::mem::replace(&mut reason, next);
        (number as u64, url.to_owned(), reason, result.to_owned())
    };
    (1..=last).map(attempt).collect()
}

/// Those whose beginning is logged: not again that the one before failed in the same way.
fn told_at_their_beginning(attempts: &[Told]) -> Vec<Told> {
    let is_news = |at: usize| {
        let (_, url, reason, _) = &attempts[at];
        let before = attempts[..at].iter().rfind(|before| before.1 == *url);
        !reason.starts_with("failed: ") || before.is_none_or(|before| before.2 != *reason)
    };
    let news = (0..attempts.len()).filter(|at| is_news(*at)).map(|at| attempts[at].clone());
    news.map(|(number, url, reason, _)| (number, url, reason, String::new())).collect()
}

/// `/streams` shows the newest of these.
fn assert_shown(status: &Value, expected: &[Told]) {
    let shown = status["recent_attempts"].as_array().unwrap();
    let all: Vec<Told> =
        shown.iter().map(|one| told(one, "upstream", text(&one["result"]))).collect();
    let newest: Vec<Told> = expected.iter().rev().take(8).cloned().collect();
    assert_eq!((all, status["attempts"].as_u64()), (newest, Some(expected.len() as u64)));
    for attempt in shown {
        assert!(attempt["took_seconds"].as_f64().unwrap() < 20.0, "{attempt}");
        assert!(attempt["seconds_ago"].as_u64().unwrap() < 60, "{attempt}");
        let error = attempt["error"].as_str().unwrap_or_default();
        match attempt["result"].as_str().unwrap() {
            "connect" => assert!(error.contains("refused"), "{attempt}"),
            "status" => assert!(error.ends_with("answered 500, expected 200"), "{attempt}"),
            _ok => assert!(attempt["error"].is_null(), "{attempt}"),
        }
    }
}

fn told(entry: &Value, url: &str, result: String) -> Told {
    (entry["attempt"].as_u64().unwrap(), text(&entry[url]), text(&entry["reason"]), result)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// The metric of the stream's state says this, and nothing else.
fn assert_only_state(node: &Node, state: &str) {
    for any in ["waiting", "dialing", "connected", "off"] {
        // Labels are sorted by their names.
        let having = format!("{{state=\"{any}\",stream=\"/a.ts\"}}");
        let shown = node.count("restreamer_upstream_state", &having);
        assert_eq!(shown, u64::from(any == state), "{any}");
    }
}

#[test]
fn an_attempt_under_way_is_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let node = Node::of(&url);
    let _peer = accept(&silent);
    let status = node.await_state("dialing");
    let [attempt] = status["recent_attempts"].as_array().unwrap().as_slice() else {
        panic!("{status}");
    };
    let expected = (1, url, "start".to_owned(), "dialing".to_owned());
    assert_eq!(told(attempt, "upstream", text(&attempt["result"])), expected);
    assert!(attempt["error"].is_null() && attempt["took_seconds"].is_null(), "{attempt}");
    assert_only_state(&node, "dialing");
    assert_eq!(node.count("restreamer_upstream_attempts_total", "/a.ts"), 0);
}

#[test]
fn the_next_upstream_takes_over() {
    let (one, other) =
        (Source::start(Speech::Raw, BITS_PER_SECOND), Source::start(Speech::Http, BITS_PER_SECOND));
    let urls = [one.url(Speech::Raw), other.url(Speech::Http)];
    let node = Node::with(&json!({ "resources": [
        { "type": "stream", "serve": "/a.ts", "remotes": urls }
    ] }));
    let connected = |entry: &Value| entry["event"] == "connected";
    let first = node.await_log(connected)["url"].clone();
    let second = urls.iter().find(|&url| first != *url).unwrap();
    drop(if first == urls[0] { one } else { other });
    assert_eq!(node.await_log(connected)["url"], *second);
    assert_eq!(node.await_state("connected")["upstream"], *second);
    let up = |url: &str| node.count("streaming_source_connected", url);
    assert_eq!((up(first.as_str().unwrap()), up(second)), (0, 1));
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 3, Pace::Fast);
    crowd.watch(Duration::from_secs(1));
    crowd.watchers.iter().for_each(|watcher| watcher.verifier.assert_perfect("viewer"));
}

#[test]
fn thirty_losses_in_a_row_leak_nothing() {
    const WARM: u64 = 5;
    const LOSSES: u64 = 30;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let node = Node::with(&json!({ "reconnect": 0.1, "resources": [cut(stream("/a.ts", &url))] }));
    let lose = |number: u64| {
        let mut peer = accept(&listener);
        read_head(&mut peer);
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        node.await_connected();
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 3, Pace::Fast);
        crowd.watch_until(|all| all.iter().all(Watcher::is_welcome), PATIENCE);
        let first = number * 1000;
        peer.write_all(&packets(first..first + 500)).unwrap();
        drop(peer);
        crowd.watch_until(|all| all.iter().all(|watcher| watcher.ended), PATIENCE);
        for watcher in &crowd.watchers {
            watcher.verifier.assert_perfect("viewer");
            assert_eq!(watcher.verifier.packets, 500, "all of this connection");
        }
    };
    let settled = || {
        // Between two attempts and without viewers: what is open now stays open.
        node.await_count("streaming_connections", "/a.ts", 0);
        (node.descriptors(), node.threads())
    };
    (0..WARM).for_each(lose);
    // An attempt waits for its answer in the listener's queue, so that the state is the same.
    let under_way = |node: &Node| node.await_state("dialing");
    under_way(&node);
    let (before, memory) = (settled(), node.resident_bytes());
    (WARM..WARM + LOSSES).for_each(lose);
    under_way(&node);
    eventually("descriptors and threads as before", || (settled() <= before).then_some(()));
    let grown = node.resident_bytes().saturating_sub(memory);
    assert!(grown < 1 << 20, "memory grew by {grown} bytes");
    let losses = WARM + LOSSES;
    assert_eq!(node.count("restreamer_upstream_losses_total", "/a.ts"), losses);
    assert_eq!(node.count("streaming_packets_received", "/a.ts"), 500 * losses);
    assert_eq!(node.count("streaming_packets_sent", "/a.ts"), 3 * 500 * losses);
}

#[test]
fn upstreams_that_fail_do_not_disturb_their_neighbour() {
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("tcp://{}", closed());
    let node = Node::with(&json!({ "timeout": 1, "reconnect": 0.2, "resources": [
        stream("/refused.ts", &refused),
        stream("/nowhere.ts", "http://no-such-host.invalid/"),
        stream("/silent.ts", &format!("http://{}/", silent.local_addr().unwrap())),
        stream("/absent.ts", "file:///nonexistent/file.ts"),
        stream("/command.ts", "fork:///bin/false"),
        stream("/good.ts", &source.url(Speech::Http)),
    ] }));
    let good = |entry: &Value| entry["event"] == "connected" && entry["stream"] == "/good.ts";
    node.await_log(good);
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/good.ts", 20, Pace::Fast);
    crowd.watch(Duration::from_secs(5));
    let failed = [
        ("/refused.ts", "result=\"connect\""),
        ("/nowhere.ts", "result=\"resolve\""),
        ("/silent.ts", "result=\"timeout\""),
        ("/absent.ts", "result=\"open\""),
    ];
    for (path, result) in failed {
        let attempts = http::get(node.side, "/metrics").text();
        let counted = |line: &&str| {
            line.starts_with("restreamer_upstream_attempts_total")
                && line.contains(path)
                && line.contains(result)
        };
        let line = attempts.lines().find(counted);
        let count = line.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        assert!(count > Some(1), "{path} {result}: {line:?}");
    }
    let ended = node.count("restreamer_upstream_losses_total", "/command.ts");
    assert!(ended > 1, "a command that ends is run again: {ended}");
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!watcher.ended, "viewer {number} was cut");
    }
    assert_eq!(node.count("streaming_packets_dropped", "/good.ts"), 0);
    assert_eq!(node.count("restreamer_upstream_losses_total", "/good.ts"), 0);
}

/// An HTTP server that writes down its number and answers with an error, until the test process
/// ends.
fn refusing_server(number: usize, status: &'static str, asked: &Arc<Mutex<Vec<usize>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::clone(asked);
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            read_head(&mut peer);
            asked.lock().unwrap().push(number);
            write!(peer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    url
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    support::upstream::free_address()
}

/// Listens where an upstream has just been.
fn listen(address: SocketAddr) -> TcpListener {
    eventually("the address to be free", || TcpListener::bind(address).ok())
}
