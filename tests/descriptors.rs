//! Few descriptors: whoever holds connections without asking for anything locks out no viewer.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use support::http;
use support::node::{Node, stream};
use support::source::{Source, Speech};

/// After it, who has not asked makes room in any case.
const TIME_TO_ASK: Duration = Duration::from_secs(10);
const BITS_PER_SECOND: u64 = 1_000_000;

/// Opens connections that ask for nothing.
fn flood(node: &Node, connections: usize) -> Vec<TcpStream> {
    (0..connections).map(|_| http::connect(node.address)).collect()
}

/// What becomes of viewers who come one after the other, and stay.
fn join(node: &Node, viewers: usize) -> Vec<TcpStream> {
    (0..viewers).map(|_| http::watch(node.address, "/a.ts")).collect()
}

#[test]
fn a_flood_that_asks_for_nothing_locks_nobody_out() {
    const DESCRIPTORS: usize = 400;
    restreamer_sys::limit::raise_open_files().unwrap();
    for workers in [1, 2, 16] {
        let source = Source::start(Speech::Raw, BITS_PER_SECOND);
        let url = source.url(Speech::Raw);
        let config = json!({ "workers": workers, "resources": [
            stream("/a.ts", &url),
            stream("/b.ts", &url),
        ]});
        let node = Node::with_descriptors(&config, DESCRIPTORS);
        node.await_metric("streaming_source_connected", "", |connected| connected > 1.5);
        let own = node.descriptors();
        // More than there are descriptors, while nearly all of them are viewers' in the end.
        let _flood = flood(&node, DESCRIPTORS + 100);
        let few = join(&node, 20);
        let many = join(&node, DESCRIPTORS - own - 40);
        let _flood = flood(&node, 100);
        let began = Instant::now();
        let last = join(&node, 5);
        let took = began.elapsed();
        assert!(took < TIME_TO_ASK / 2, "{workers} workers: {took:?}");
        let viewers = few.len() + many.len() + last.len();
        node.await_count("streaming_connections", "/a.ts", viewers as u64);
        assert!(node.count("restreamer_guests_turned_out_total", "") > 0, "{workers} workers");
        assert!(node.stop().success());
    }
}
