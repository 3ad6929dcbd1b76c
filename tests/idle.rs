//! Idle streams cost nothing.

mod support;

use std::net::TcpListener;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use support::crowd::{Crowd, Pace};
use support::http;
use support::node::{Node, stream};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually};

const IDLE: usize = 1000;
const PACKETS: u64 = 10_000;

/// What the workers have done: (turns of streams, turns). Of one moment: so many streams have long
/// texts.
fn work(node: &Node) -> (u64, u64) {
    let text = http::get(node.side, "/metrics").text();
    let count = |name: &str| {
        let samples = text.lines().filter_map(|line| line.strip_prefix(name));
        samples.map(|sample| sample.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    (count("restreamer_stream_turns_total{"), count("restreamer_turns_total{"))
}

#[test]
fn a_thousand_idle_streams_cost_no_work() {
    restreamer_sys::limit::raise_open_files().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let idle = format!("tcp://{}", silent.local_addr().unwrap());
    let accept = move || (0..IDLE).map(|_| silent.accept().unwrap().0).collect::<Vec<_>>();
    let accepting = std::thread::spawn(accept);
    // Nobody accepts here yet; for who connects it is a silent upstream as well.
    let quiet = TcpListener::bind("127.0.0.1:0").unwrap();
    let flowing = format!("tcp://{}", quiet.local_addr().unwrap());
    let resources: Vec<_> = (0..IDLE)
        .map(|n| stream(&format!("/idle/{n}.ts"), &idle))
        .chain([stream("/a.ts", &flowing)])
        .collect();
    let node = Node::with(&json!({ "resources": resources, "readtimeout": 3600 }));
    let _silent = accepting.join().unwrap();
    // Each looks once what it has got.
    eventually("a turn of each stream", || (work(&node).0 > IDLE as u64).then_some(()));
    let window = Duration::from_secs(2);
    let idle = eventually("an end of the work", || {
        let before = work(&node);
        // That nothing happens is no event.
        sleep(Duration::from_millis(200));
        Some(before).filter(|&before| before == work(&node))
    });
    sleep(window);
    assert_eq!(work(&node), idle, "nothing flows, nothing is to be done");

    let mut viewer = Crowd::new();
    viewer.join(node.address, "/a.ts", 1, Pace::Fast);
    let _source = Source::start_at(quiet, Speech::Raw, 8_000_000, 0);
    let before = work(&node);
    viewer.watch_until(|all| all[0].verifier.packets >= PACKETS, PATIENCE);
    let after = work(&node);
    viewer.watchers[0].verifier.assert_perfect("the viewer");
    let (of_streams, turns) = (after.0 - before.0, after.1 - before.1);
    assert!(turns > 100, "{turns} turns");
    // One may have ended between the counts of the first look, one be under way at the last.
    assert!(of_streams <= turns + 2, "{of_streams} turns of streams in {turns} turns");
}
