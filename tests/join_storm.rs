//! Two thousand join at once, beside three hundred who watch: these get every byte, those are
//! served soon, and nobody takes much memory.

mod support;

use std::time::Duration;

use serde_json::json;
use support::crowd::{Crowd, Pace};
use support::node::{Node, stream};
use support::source::{Source, Speech};

const JOINERS: usize = 2000;
const LIVE: usize = 300;
const WATCHED: Duration = Duration::from_secs(6);

#[test]
fn a_storm_of_joins_disturbs_nobody() {
    restreamer_sys::limit::raise_open_files().unwrap();
    let (source, other) =
        (Source::start(Speech::Raw, 2_000_000), Source::start(Speech::Raw, 1_000_000));
    let node = Node::with(&json!({ "resources": [
        stream("/a.ts", &source.url(Speech::Raw)),
        stream("/b.ts", &other.url(Speech::Raw)),
    ] }));
    node.await_metric("streaming_source_connected", "", |sum| sum >= 2.0);
    let mut live = Crowd::new();
    live.join(node.address, "/a.ts", LIVE, Pace::Fast);
    node.await_count("restreamer_viewers", "state=\"live\"", LIVE as u64);
    let memory = node.resident_bytes();
    let watching = std::thread::spawn(move || {
        live.watch(WATCHED);
        live
    });

    let mut joiners = Crowd::new();
    joiners.join(node.address, "/b.ts", JOINERS, Pace::Fast);
    // Three seconds, and what a machine with other things to do may take.
    joiners.watch_until(
        |all| all.iter().all(|joiner| joiner.verifier.packets > 0),
        3 * Duration::from_secs(3),
    );
    joiners.watch(Duration::from_secs(1));
    for (number, joiner) in joiners.watchers.iter().enumerate() {
        joiner.verifier.assert_perfect(&format!("joiner {number}"));
        assert!(!joiner.ended, "joiner {number} was cut");
    }
    assert_eq!(node.count("restreamer_skips_total", ""), 0);
    let grown = node.resident_bytes().saturating_sub(memory);
    assert!(grown < 2048 * JOINERS, "{} bytes a viewer", grown / JOINERS);

    let live = watching.join().unwrap();
    for (number, viewer) in live.watchers.iter().enumerate() {
        viewer.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!viewer.ended, "viewer {number} was cut");
    }
}
