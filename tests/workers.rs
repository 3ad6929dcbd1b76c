//! Several workers: whoever accepts, each viewer gets its stream; streams move without a gap.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;
use support::crowd::{Crowd, Pace};
use support::node::{Node, api, cut, stream};
use support::packets::{PACKET_BYTES, packets};
use support::source::{Source, Speech};
use support::{eventually, http};

const BITS_PER_SECOND: u64 = 8_000_000;

/// The packet number in the first whole packet that a viewer gets.
fn first_number(node: &Node, path: &str) -> u64 {
    let mut socket = http::watch(node.address, path);
    let bytes = http::read_bytes(&mut socket, PACKET_BYTES);
    u64::from_be_bytes(bytes[4..12].try_into().unwrap())
}

/// The workers are each on a core of their own, as far as there are enough; what decrypts or dials,
/// and everybody else, is not.
fn assert_pinned(node: &Node) {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let (mut pinned, mut players) = (0, 0);
    for task in tasks {
        // A thread may end while we look.
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let mask = field("Cpus_allowed").replace(',', "");
        let allowed = u128::from_str_radix(&mask, 16).unwrap().count_ones() as usize;
        if field("Name").starts_with("worker-") {
            assert_eq!(allowed, 1, "{status}");
            pinned += 1;
        } else {
            assert!(allowed >= cores, "{status}");
            players += usize::from(field("Name") == "dial");
        }
    }
    assert_eq!((pinned, players), (3, 1));
}

#[test]
fn a_viewer_gets_its_stream_whoever_accepts() {
    const VIEWERS: usize = 40;
    const FAR: u64 = 1 << 40;
    let near = Source::start(Speech::Raw, BITS_PER_SECOND);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, FAR);
    // A thread plays it, for a minute.
    let film = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(film.path(), packets(0..320_000)).unwrap();
    let (near_url, far_url) = (near.url(Speech::Raw), far.url(Speech::Raw));
    let node = Node::with(&json!({ "workers": 3, "pin_workers": true, "resources": [
        stream("/near.ts", &near_url),
        stream("/far.ts", &far_url),
        stream("/film.ts", &format!("file://{}", film.path().display())),
        api("/check", "check", Some("/far.ts")),
        api("/control", "control", Some("/far.ts")),
    ]}));
    node.await_metric("streaming_source_connected", "", |connected| connected > 2.5);
    assert_pinned(&node);
    let mut crowd = Crowd::new();
    for path in ["/near.ts", "/far.ts"] {
        crowd.join(node.address, path, VIEWERS, Pace::Fast);
    }
    crowd.watch(Duration::from_secs(1));
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!watcher.ended && watcher.verifier.packets > 0, "viewer {number}");
    }
    for _ in 0..VIEWERS {
        assert!(first_number(&node, "/near.ts") < FAR);
        assert!(first_number(&node, "/far.ts") >= FAR);
        assert_eq!(http::request(node.address, "HEAD", "/far.ts").status, 200);
        assert_eq!(http::fetch(node.address, "/check").status, 200);
        assert_eq!(http::get(node.address, "/none.ts").status, 404);
    }
    // The kernel spreads connections by their hash: 280 and more, each worker has some.
    for worker in ["0", "1", "2"] {
        let of = format!("worker=\"{worker}\"");
        assert!(node.count("restreamer_accepted_total", &of) > 0, "worker {worker}");
        assert!(node.count("restreamer_handed_over_total", &of) > 0, "worker {worker}");
    }
    for (worker, streams, viewers) in [("0", 1, VIEWERS), ("1", 1, VIEWERS), ("2", 1, 0)] {
        let of = format!("worker=\"{worker}\"");
        node.await_count("restreamer_worker_viewers", &of, viewers as u64);
        node.await_count("restreamer_worker_streams", &of, streams);
    }
    node.await_metric("restreamer_worker_busy_seconds_total", "worker=\"1\"", |busy| busy > 0.0);
    // Everybody but the film's worker has sent something; viewers here have read a part of it.
    let read: u64 = crowd.watchers.iter().map(|watcher| watcher.verifier.packets).sum();
    let sent = node.count("restreamer_worker_sent_bytes_total", "");
    assert!(sent >= read * PACKET_BYTES as u64, "{sent} bytes for {read} packets");
    assert_eq!(node.count("restreamer_worker_sent_bytes_total", "worker=\"2\""), 0);

    // Whoever is told to switch a stream off, nobody gets it from then on.
    for _ in 0..VIEWERS {
        assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
        assert_eq!(http::get(node.address, "/far.ts").status, 404);
        assert_eq!(http::fetch(node.address, "/control?online").status, 202);
        let back = || (http::request(node.address, "HEAD", "/far.ts").status == 200).then_some(());
        eventually("the stream to be on again", back);
    }
    assert!(node.stop().success());
}

#[test]
fn a_stream_moves_to_an_idle_worker_and_its_viewers_miss_nothing() {
    const VIEWERS: usize = 150;
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let url = source.url(Speech::Http);
    // Streams are dealt out in turn: the two that are watched meet at worker 0.
    let node = Node::with(&json!({ "workers": 2, "resources": [
        stream("/a.ts", &url),
        stream("/b.ts", &url),
        stream("/c.ts", &url),
    ]}));
    node.await_metric("streaming_source_connected", "", |connected| connected > 2.5);
    let mut crowd = Crowd::new();
    for path in ["/a.ts", "/c.ts"] {
        crowd.join(node.address, path, VIEWERS, Pace::Fast);
    }
    crowd.join(node.address, "/a.ts", 1, Pace::Stalled);
    let moved = || node.count("restreamer_streams_moved_total", "worker=\"0\"") > 0;
    crowd.watch_until(|_| moved(), Duration::from_mins(1));
    crowd.join(node.address, "/a.ts", 10, Pace::Fast);
    crowd.join(node.address, "/c.ts", 10, Pace::Fast);
    crowd.watch(Duration::from_secs(2));
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        assert!(!watcher.ended, "viewer {number} was cut");
        if watcher.pace() == Pace::Fast {
            watcher.verifier.assert_perfect(&format!("viewer {number}"));
            assert!(watcher.verifier.packets > 0, "viewer {number}");
        }
    }
    for worker in ["0", "1"] {
        let of = format!("worker=\"{worker}\"");
        node.await_metric("restreamer_worker_viewers", &of, |viewers| viewers >= 160.0);
    }
    // Its upstream has moved with it: one that ends is noticed, and reached again.
    let before = source.connections();
    let ended = node.metric("restreamer_viewers_ended_total", "finished");
    assert_eq!((before, ended), (3, 0.0));
    source.stop();
    node.await_metric("streaming_source_connected", "", |connected| connected < 0.5);
    assert!(node.stop().success());
}

#[test]
fn a_hot_stream_is_served_by_every_worker_from_one_upstream() {
    const VIEWERS: usize = 90;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let again = listener.try_clone().unwrap();
    let source = Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, 0);
    let url = source.url(Speech::Raw);
    let mut hot = cut(stream("/hot.ts", &url));
    hot["hot"] = json!(true);
    hot["maxconnections"] = json!(VIEWERS + 5);
    let node = Node::with(&json!({ "workers": 3, "reconnect": 1, "resources": [
        hot,
        api("/control", "control", Some("/hot.ts")),
    ]}));
    let join = |crowd: &mut Crowd| {
        node.await_metric("streaming_source_connected", "", |connected| connected > 0.5);
        crowd.join(node.address, "/hot.ts", VIEWERS, Pace::Fast);
        for worker in ["0", "1", "2"] {
            let of = format!("worker=\"{worker}\"");
            node.await_metric("restreamer_worker_viewers", &of, |viewers| viewers > 0.0);
        }
        node.await_count("streaming_connections", "/hot.ts", VIEWERS as u64);
        assert_eq!(node.count("restreamer_worker_viewers", ""), VIEWERS as u64);
    };
    let all_ended = |crowd: &mut Crowd, why: &str| {
        crowd.watch_until(|all| all.iter().all(|viewer| viewer.ended), support::PATIENCE);
        node.await_count("restreamer_viewers_ended_total", why, VIEWERS as u64);
        node.await_count("streaming_connections", "/hot.ts", 0);
        for (number, watcher) in crowd.watchers.iter().enumerate() {
            watcher.verifier.assert_perfect(&format!("viewer {number}, {why}"));
            assert_eq!(watcher.verifier.unfinished(), 0, "viewer {number}, {why}");
        }
    };
    let mut crowd = Crowd::new();
    join(&mut crowd);
    crowd.watch(Duration::from_secs(2));
    assert_eq!(source.connections(), 1);
    let (live, all) = (
        node.metric("restreamer_sent_bytes_total", "path=\"live\""),
        node.metric("restreamer_sent_bytes_total", ""),
    );
    assert!(live > 0.9 * all, "only {live} of {all} bytes left by splice");
    // The stream's limit is one for all workers.
    let more: Vec<_> = (0..5).map(|_| http::watch(node.address, "/hot.ts")).collect();
    assert!((0..20).all(|_| http::get(node.address, "/hot.ts").status == 404));
    drop(more);
    node.await_count("streaming_connections", "/hot.ts", VIEWERS as u64);

    assert_eq!(http::fetch(node.address, "/control?offline").status, 202);
    assert!((0..20).all(|_| http::get(node.address, "/hot.ts").status == 404));
    all_ended(&mut crowd, "switched_off");
    assert_eq!(http::fetch(node.address, "/control?online").status, 202);

    // An upstream that ends: everybody has all of it, and a new one feeds every worker again.
    let mut crowd = Crowd::new();
    join(&mut crowd);
    let last = source.stop();
    all_ended(&mut crowd, "finished");
    assert!(crowd.watchers.iter().all(|watcher| watcher.verifier.next == last));
    let source = Source::start_at(again, Speech::Raw, BITS_PER_SECOND, last);
    let mut crowd = Crowd::new();
    join(&mut crowd);
    crowd.watch(Duration::from_secs(1));
    assert_eq!(source.connections(), 1);
    drop(crowd);
    assert!(node.stop().success());
}

#[test]
fn a_large_hot_stream_reaches_every_worker_whole_at_the_longest_turn() {
    let source = Source::start(Speech::Raw, 60_000_000);
    let mut hot = stream("/hot.ts", &source.url(Speech::Raw));
    hot["hot"] = json!(true);
    let node = Node::with(&json!({ "workers": 3, "turn": 100, "resources": [hot] }));
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/hot.ts", 9, Pace::Fast);
    crowd.watch(Duration::from_secs(3));
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(watcher.verifier.packets > 60_000, "viewer {number} is late");
    }
    assert_eq!(node.count("streaming_packets_dropped", ""), 0);
    assert_eq!(node.count("restreamer_feed_skips_total", ""), 0);
}

#[test]
fn workers_that_are_far_from_busy_share_the_viewers_all_the_same() {
    const VIEWERS: usize = 60;
    const STREAMS: usize = 12;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND / 2);
    let url = source.url(Speech::Raw);
    let resources: Vec<_> = (0..STREAMS).map(|n| stream(&format!("/{n}.ts"), &url)).collect();
    let node = Node::with(&json!({ "workers": 2, "resources": resources }));
    node.await_count("streaming_source_connected", "", STREAMS as u64);
    let mut crowd = Crowd::new();
    // Streams are dealt out in turn: worker 0 has six that are watched, worker 1 has one.
    for number in [0, 2, 4, 6, 8, 10, 1] {
        crowd.join(node.address, &format!("/{number}.ts"), VIEWERS, Pace::Fast);
    }
    let viewers = |worker| {
        let of = format!("worker=\"{worker}\"");
        node.count("restreamer_worker_viewers", &of)
    };
    assert_eq!((viewers(0), viewers(1)), (6 * 60, 60));
    crowd.watch_until(|_| viewers(1).min(viewers(0)) >= 2 * 60, Duration::from_mins(1));
    crowd.watch(Duration::from_secs(1));
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        assert!(!watcher.ended, "viewer {number} was cut");
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
    }
    assert!(node.stop().success());
}

#[test]
fn told_to_stop_all_workers_let_go_of_everybody_in_time() {
    const STALLED: usize = 6;
    const FAST: usize = 30;
    /// What viewers may take to get the rest, and what the process has to do beside.
    const STOP_WITHIN: Duration = Duration::from_millis(2500);
    // Fast enough to fill what the kernel buffers for a viewer in a moment.
    let source = Source::start(Speech::Raw, 5 * BITS_PER_SECOND);
    let url = source.url(Speech::Raw);
    let mut hot = stream("/hot.ts", &url);
    hot["hot"] = json!(true);
    let resources = [hot, stream("/a.ts", &url), stream("/b.ts", &url)];
    // Nobody who reads is skipped because this machine is busy.
    let config = json!({ "workers": 3, "outputbuffer": 10_000, "resources": resources });
    let mut node = Node::with(&config);
    node.await_metric("streaming_source_connected", "", |connected| connected > 2.5);
    let mut crowd = Crowd::new();
    for path in ["/hot.ts", "/a.ts", "/b.ts"] {
        crowd.join(node.address, path, STALLED, Pace::Stalled);
    }
    let stuck = |_: &[_]| node.count("restreamer_viewers", "catching_up") == 3 * STALLED as u64;
    let skipped = |path| node.count("streaming_packets_dropped", path) > 0;
    let all_skipped = || ["/hot.ts", "/a.ts", "/b.ts"].iter().all(|path| skipped(path));
    crowd.watch_until(|all| stuck(all) && all_skipped(), support::PATIENCE);
    for path in ["/hot.ts", "/a.ts", "/b.ts"] {
        crowd.join(node.address, path, FAST, Pace::Fast);
    }
    // They ask for nothing, and read nothing.
    let _silent: Vec<_> = (0..10).map(|_| http::connect(node.address)).collect();
    let watched = |all: &[support::crowd::Watcher]| {
        let fast = |watcher: &&support::crowd::Watcher| watcher.pace() == Pace::Fast;
        all.iter().filter(fast).all(|watcher| watcher.verifier.packets > 1000)
    };
    crowd.watch_until(watched, support::PATIENCE);
    let before = Instant::now();
    node.signal("TERM");
    let watching = std::thread::spawn(move || {
        let over =
            |watcher: &support::crowd::Watcher| watcher.ended || watcher.pace() == Pace::Stalled;
        crowd.watch_until(|all| all.iter().all(over), support::PATIENCE);
        crowd
    });
    assert_eq!(node.await_end().code(), Some(0));
    assert!(before.elapsed() < STOP_WITHIN, "{:?}", before.elapsed());
    for watcher in watching.join().unwrap().of(|pace| pace == Pace::Fast) {
        watcher.verifier.assert_perfect("one who reads");
        assert_eq!(watcher.verifier.unfinished(), 0, "the last packet is whole");
    }
    let log = node.log_to_the_end();
    let told = |reason: &str| {
        log.iter().filter(|line| line["module"] == "access" && line["reason"] == reason).count()
    };
    assert_eq!(told("stopped") + told("too_slow_to_end"), 3 * (STALLED + FAST), "{log:?}");
    assert!(told("stopped") >= 3 * FAST);
    assert_eq!(log.last().unwrap()["message"], "stopped");
}
