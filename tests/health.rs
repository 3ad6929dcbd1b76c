//! An upstream that is connected and sends nothing to watch is left for another one, each condition
//! after its own time; where it is not to be left, that is told all the same.

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::broadcast::{ENGLISH, GERMAN, Item, Numbers, PMT, VIDEO, clean};
use support::node::{Node, stream};
use support::upstream::accept;
use support::{eventually, http};

/// How long each condition may hold here, in seconds.
const TIME: u64 = 2;
/// What the looks and a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);
/// The broadcast has 220 packets a second, 120 without sound.
const FLOOR: u64 = 170 * 1504;

/// What is wrong with an upstream.
struct Ill {
    condition: &'static str,
    /// What is left of the broadcast.
    left: fn(Vec<Item>) -> Vec<Item>,
    /// Bytes of no packet instead.
    garbage: bool,
    /// What the log says of it.
    said: &'static str,
}

const ILL: [Ill; 6] = [
    Ill {
        condition: "no_data",
        left: |_| Vec::new(),
        garbage: false,
        said: "has sent nothing for ",
    },
    Ill {
        condition: "no_sync",
        left: |_| Vec::new(),
        garbage: true,
        said: "has sent no packets for ",
    },
    Ill {
        condition: "no_tables",
        left: |items| without(items, |item| [0, PMT].contains(&item.pid())),
        garbage: false,
        said: "has sent no PAT and PMT for ",
    },
    Ill {
        condition: "no_video",
        // The clock goes on in packets of the video's PID.
        left: |items| without(items, |item| item.pid() == VIDEO && !item.is_pcr()),
        garbage: false,
        said: "has sent no video for ",
    },
    Ill {
        condition: "scrambled",
        left: |mut items| {
            let payload = |item: &&mut Item| item.pid() > 0 && item.pid() < PMT && !item.is_pcr();
            items.iter_mut().filter(payload).for_each(Item::scramble);
            items
        },
        garbage: false,
        said: "has sent nothing that is not scrambled for ",
    },
    Ill {
        condition: "bitrate",
        // Nothing is missing but the sound.
        left: |items| without(items, |item| [ENGLISH, GERMAN].contains(&item.pid())),
        garbage: false,
        said: "has sent less than its lowest bitrate for ",
    },
];

fn without(items: Vec<Item>, what: impl Fn(&Item) -> bool) -> Vec<Item> {
    items.into_iter().filter(|item| !what(item)).collect()
}

impl Ill {
    /// The `health` that leaves for this condition alone.
    fn health(&self) -> Value {
        let mut health = json!({
            "no_data": false, "no_sync": 0, "no_tables": 0, "no_video": false, "scrambled": 0,
        });
        health[self.condition] = if self.condition == "bitrate" {
            json!({ "below": FLOOR, "for": TIME })
        } else {
            json!(TIME)
        };
        health
    }
}

/// An upstream that broadcasts in real time to one connection after the other. From the beginning
/// of each it is well, until it is told otherwise.
struct Broadcast {
    url: String,
    ill: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broadcast {
    fn start(what: &'static Ill) -> Broadcast {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let (ill, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&ill), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while !shared.1.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((peer, _)) => send(&peer, what, &shared.0, &shared.1),
                    Err(_none_yet) => std::thread::sleep(STEP),
                }
            }
        });
        Broadcast { url, ill, stop, thread: Some(thread) }
    }

    fn is_ill(&self, ill: bool) {
        self.ill.store(ill, Ordering::Relaxed);
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// So much of the broadcast is sent at once.
const STEP: Duration = Duration::from_millis(100);

fn send(mut peer: &TcpStream, what: &Ill, ill: &AtomicBool, stop: &AtomicBool) {
    peer.set_nonblocking(false).unwrap();
    peer.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let (start, mut numbers, mut sent) = (Instant::now(), Numbers::default(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let from = u64::try_from(sent.as_millis()).unwrap();
        let (mut items, mut bytes) = (clean(from, 100), Vec::new());
        if ill.load(Ordering::Relaxed) {
            items = (what.left)(items);
            bytes.extend_from_slice(&[0x55; 1000][..if what.garbage { 1000 } else { 0 }]);
        }
        bytes.extend_from_slice(numbers.give(&items).as_flattened());
        // Whoever has left does not listen.
        if peer.write_all(&bytes).is_err() || has_left(peer) {
            return;
        }
        sent += STEP;
        std::thread::sleep(sent.saturating_sub(start.elapsed()));
    }
}

fn has_left(peer: &TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    let left = matches!(peer.peek(&mut [0]), Ok(0));
    peer.set_nonblocking(false).unwrap();
    left
}

/// `/streams`, of one of the streams.
fn told(node: &Node, path: &str) -> Value {
    let all: Value = serde_json::from_str(&http::get(node.side, "/streams").text()).unwrap();
    all.as_array().unwrap().iter().find(|of| of["stream"] == path).unwrap().clone()
}

/// What `/streams` says of an upstream's health.
fn health(told: &Value, url: &str) -> Value {
    let contents = told["contents"].as_array().unwrap();
    contents.iter().find(|of| of["upstream"] == url).unwrap()["health"].clone()
}

/// The gauge of a condition, if it is there.
fn gauge(node: &Node, url: &str, condition: &str) -> Option<String> {
    // Labels are in the order of their names.
    let having = format!("condition=\"{condition}\",");
    let text = http::get(node.side, "/metrics").text();
    let mut lines = text.lines().filter(|line| line.starts_with("restreamer_upstream_condition{"));
    let line = lines.find(|line| line.contains(url) && line.contains(&having))?;
    Some(line.rsplit(' ').next().unwrap().to_owned())
}

/// Waits until something is wrong with an upstream, or is not any more.
fn await_gauge(node: &Node, url: &str, condition: &str, value: &str) {
    eventually(condition, || (gauge(node, url, condition).as_deref() == Some(value)).then_some(()));
}

#[test]
fn an_upstream_is_left_for_each_condition_after_its_time() {
    std::thread::scope(|scope| {
        for ill in &ILL {
            scope.spawn(|| left_for(ill));
        }
    });
}

fn left_for(ill: &'static Ill) {
    let condition = ill.condition;
    let upstreams = [Broadcast::start(ill), Broadcast::start(ill)];
    let urls = upstreams.each_ref().map(|upstream| upstream.url.clone());
    let node = Node::with(&json!({ "resources": [
        { "type": "stream", "serve": "/a.ts", "remotes": urls, "health": ill.health() },
    ] }));
    let first = node.await_log(|entry| entry["event"] == "connected");
    let of = |entry: &Value| urls.iter().position(|url| entry["url"] == *url).unwrap();
    let (first, second) = (of(&first), 1 - of(&first));
    // A while in which it is well.
    node.await_metric("restreamer_received_bytes_total", &urls[first], |bytes| bytes > 90_000.0);
    assert_eq!(gauge(&node, &urls[first], condition).as_deref(), Some("0"), "{condition}");
    assert_eq!(health(&told(&node, "/a.ts"), &urls[first])["state"], "well", "{condition}");

    upstreams[first].is_ill(true);
    let begun = Instant::now();
    let lost = node.await_log(|entry| entry["error"] == condition);
    let took = begun.elapsed();
    let time = Duration::from_secs(TIME);
    // What comes between two looks may be missing before they know.
    let early = if condition == "bitrate" { time / 2 } else { time.mul_f64(0.65) };
    assert!(took > early && took < time + SLACK, "{condition}: left after {took:?}");
    let message = lost["message"].as_str().unwrap();
    let said = format!("upstream {} {}", urls[first], ill.said);
    assert!(message.starts_with(&said), "{message}");
    assert_eq!((&lost["event"], &lost["url"]), (&json!("error"), &json!(urls[first])), "{lost}");

    let next = node.await_log(|entry| entry["event"] == "connected");
    assert_eq!((of(&next), &next["reason"]), (second, &json!(format!("lost: {condition}"))));
    node.await_count(
        "restreamer_upstream_losses_total",
        &format!("reason=\"{condition}\",stream=\"/a.ts\",url=\"{}\"", urls[first]),
        1,
    );
    assert_eq!(gauge(&node, &urls[first], condition), None, "it goes with the connection");
    let told = told(&node, "/a.ts");
    assert_eq!((&told["upstream"], &told["conditions"]), (&json!(urls[second]), &json!([])));
    assert_eq!(told["last_error"], message);
    let unused = json!({ "state": "unused", "conditions": [] });
    assert_eq!(health(&told, &urls[first]), unused, "{condition}");
    assert_eq!(health(&told, &urls[second])["state"], "well", "{condition}");
    // The other one is well, and stays.
    await_while(&node, 2 * TIME);
    assert_eq!(node.count("restreamer_upstream_losses_total", "/a.ts"), 1, "{condition}");
}

/// Waits until the stream's upstream has been connected for so many seconds.
fn await_while(node: &Node, seconds: u64) {
    eventually("time to pass", || {
        (node.status()["since_seconds"].as_u64() >= Some(seconds)).then_some(())
    });
}

#[test]
fn what_an_upstream_is_not_left_for_is_told_all_the_same() {
    let upstreams = ILL.each_ref().map(|ill| (ill, Broadcast::start(ill)));
    let path = |ill: &Ill| format!("/{}.ts", ill.condition);
    let resources = upstreams.each_ref().map(|(ill, upstream)| {
        let mut stream = stream(&path(ill), &upstream.url);
        if ill.condition == "bitrate" {
            stream["health"] = json!({ "bitrate": { "below": FLOOR } });
        }
        stream
    });
    let node = Node::with(&json!({ "resources": resources }));
    for (_, upstream) in &upstreams {
        node.await_metric("restreamer_received_bytes_total", &upstream.url, |n| n > 40_000.0);
        upstream.is_ill(true);
    }
    for (ill, upstream) in &upstreams {
        let (condition, url) = (ill.condition, &upstream.url);
        await_gauge(&node, url, condition, "1");
        let told = told(&node, &path(ill));
        assert_eq!(told["conditions"], json!([condition]), "{told}");
        let health = health(&told, url);
        assert_eq!(
            (&health["state"], &health["conditions"][0]["condition"]),
            (&json!("ill"), &json!(condition))
        );
        // It is told when it has lasted for ten seconds.
        let since = health["conditions"][0]["since_seconds"].as_u64();
        assert!(since >= Some(9), "{health}");
    }
    for (ill, upstream) in &upstreams {
        let (condition, url) = (ill.condition, &upstream.url);
        let samples = node.samples("restreamer_upstream_condition", url);
        assert_eq!(samples.iter().filter(|value| *value == "1").count(), 1, "{condition} alone");
        upstream.is_ill(false);
    }
    for (ill, upstream) in &upstreams {
        await_gauge(&node, &upstream.url, ill.condition, "0");
        assert_eq!(health(&told(&node, &path(ill)), &upstream.url)["state"], "well");
        assert_eq!(told(&node, &path(ill))["attempts"], 1, "{}", ill.condition);
    }
    assert_eq!(node.count("restreamer_upstream_losses_total", ""), 0);
    let log = node.rest_of_log();
    for (ill, upstream) in &upstreams {
        let of = |event: &str| {
            let is_it = |entry: &&Value| {
                entry["event"] == event
                    && entry["condition"] == ill.condition
                    && entry["url"] == upstream.url
            };
            log.iter().filter(is_it).map(|entry| entry["message"].to_string()).collect::<Vec<_>>()
        };
        let (begun, over) = (of("ill"), of("well"));
        assert!(begun.len() == 1 && begun[0].contains(ill.said), "{begun:?}");
        assert_eq!(over.len(), 1, "{}: {over:?}", ill.condition);
    }
}

#[test]
fn by_default_one_of_two_is_left_that_sends_nothing() {
    let listeners = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let urls = listeners.each_ref().map(|of| format!("tcp://{}", of.local_addr().unwrap()));
    let node = Node::with(&json!({ "resources": [
        { "type": "stream", "serve": "/a.ts", "remotes": urls },
    ] }));
    let began = Instant::now();
    let lost = node.await_log(|entry| entry["error"] == "no_data");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(10) + SLACK, "{took:?}");
    let next = node.await_log(|entry| entry["event"] == "connected");
    assert!(lost["url"] != next["url"], "{lost} {next}");
}

#[test]
fn nobody_flaps_between_upstreams_that_are_all_ill() {
    const RECONNECT: Duration = Duration::from_secs(2);
    for upstreams in 1..3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let node = Node::with(&json!({ "reconnect": RECONNECT.as_secs(), "resources": [
            { "type": "stream", "serve": "/a.ts", "remotes": vec![url; upstreams],
                "health": { "no_data": 1 } },
        ] }));
        let mut before: Option<Instant> = None;
        for _ in 0..3 {
            let _silent = accept(&listener);
            let now = Instant::now();
            if let Some(before) = before.replace(now) {
                let waited = now - before;
                assert!(waited + Duration::from_millis(100) > RECONNECT, "after {waited:?}");
            }
            node.await_log(|entry| entry["error"] == "no_data");
        }
    }
}

#[test]
fn one_that_has_ended_is_told_until_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let node = Node::with(&json!({ "reconnect": 2, "resources": [stream("/a.ts", &url)] }));
    drop(accept(&listener));
    await_gauge(&node, &url, "ended", "1");
    let told_of = health(&told(&node, "/a.ts"), &url);
    assert_eq!(
        (&told_of["state"], &told_of["conditions"][0]["condition"]),
        (&json!("ended"), &json!("ended"))
    );
    assert_eq!(gauge(&node, &url, "no_data"), None);
    let _back = accept(&listener);
    await_gauge(&node, &url, "ended", "0");
    assert_eq!(health(&told(&node, "/a.ts"), &url)["state"], "well");
}
