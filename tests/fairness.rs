//! A large stream takes nothing from a small one on the same worker, nor from those who come.

mod support;

use std::time::Duration;

use serde_json::json;
use support::crowd::{Crowd, Pace};
use support::http;
use support::node::{Node, stream};
use support::packets::PACKET_BYTES;
use support::source::{Source, Speech};

#[test]
fn a_small_stream_lives_beside_a_large_one_whose_viewers_cannot_keep_up() {
    const SMALL_BITS: u64 = 4_000_000;
    let large = Source::start(Speech::Raw, 200_000_000);
    let small = Source::start(Speech::Raw, SMALL_BITS);
    let node = Node::with(&json!({ "workers": 1, "resources": [
        stream("/large.ts", &large.url(Speech::Raw)),
        stream("/small.ts", &small.url(Speech::Raw)),
    ]}));
    node.await_metric("streaming_source_connected", "", |connected| connected > 1.5);
    let mut crowd = Crowd::new();
    // They are behind for ever, and could each take more in every turn.
    crowd.join(node.address, "/large.ts", 5, Pace::Fast);
    crowd.join(node.address, "/large.ts", 20, Pace::Slow(2_000_000));
    crowd.join(node.address, "/large.ts", 20, Pace::Stalled);
    let first = crowd.watchers.len();
    crowd.join(node.address, "/small.ts", 5, Pace::Fast);
    for _ in 0..10 {
        crowd.watch(Duration::from_millis(200));
        // Whoever comes is served meanwhile, and asks for what else there is.
        http::read_bytes(&mut http::watch(node.address, "/small.ts"), PACKET_BYTES);
        assert_eq!(http::get(node.side, "/health").status, 200);
        assert_eq!(http::get(node.address, "/none.ts").status, 404);
    }
    for (number, watcher) in crowd.watchers[first..].iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number} of the small stream"));
        let bytes = watcher.verifier.packets * PACKET_BYTES as u64;
        assert!(bytes > SMALL_BITS / 8, "viewer {number} of the small stream had {bytes} bytes");
    }
    assert!(node.metric("streaming_packets_dropped", "/large.ts") > 0.0, "they were too slow");
    assert_eq!(node.count("streaming_packets_dropped", "/small.ts"), 0);
}
