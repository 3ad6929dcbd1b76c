//! Three tiers: what a viewer of an edge gets is byte for byte what the origin was sent, and a tier
//! of two nodes may lose one of them.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use support::crowd::{Crowd, Pace};
use support::http::{read_bytes, watch};
use support::node::Node;
use support::packets::{PACKET_BYTES, Verifier, packets};
use support::source::{Source, Speech};
use support::upstream::{Kind, Upstream, write_at};
use support::{PATIENCE, eventually};

const BITS_PER_SECOND: u64 = 8_000_000;

fn node(remotes: &[String]) -> Node {
    let stream = json!({ "type": "stream", "serve": "/a.ts", "remotes": remotes });
    let node = Node::with(&json!({ "reconnect": 0.2, "resources": [stream] }));
    node.await_connected();
    node
}

/// An origin, a relay that has its stream from there, and an edge that has it from the relay.
fn tiers(upstream: &str) -> [Node; 3] {
    let origin = node(&[upstream.to_owned()]);
    let relay = node(&[origin.url("/a.ts")]);
    let edge = node(&[relay.url("/a.ts")]);
    [origin, relay, edge]
}

fn assert_nothing_was_dropped(node: &Node) {
    for name in ["streaming_packets_dropped", "restreamer_discarded_bytes_total"] {
        assert_eq!(node.count(name, ""), 0, "{name}");
    }
}

#[test]
fn every_tier_gives_what_the_origin_was_sent() {
    let sent = packets(0..8000);
    for kind in [Kind::Tcp, Kind::Http, Kind::Chunked] {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Upstream::open(kind, dir.path());
        let origin = Node::cutting(&upstream.url);
        let mut peer = upstream.accept();
        origin.await_connected();
        let relay = Node::cutting(&origin.url("/a.ts"));
        relay.await_connected();
        let edge = Node::cutting(&relay.url("/a.ts"));
        edge.await_connected();
        let nodes = [&origin, &relay, &edge];
        let read = |mut viewer: TcpStream| {
            std::thread::spawn(move || {
                let mut got = Vec::new();
                viewer.read_to_end(&mut got).map(|_| got)
            })
        };
        // The first packet is not sent before they are all there, nor the end kept from them.
        let viewers = nodes.map(|node| watch(node.address, "/a.ts")).map(read);
        write_at(&mut peer, &sent, BITS_PER_SECOND);
        drop(peer);
        for (tier, viewer) in viewers.into_iter().enumerate() {
            let got = viewer.join().unwrap().unwrap();
            assert!(got == sent, "tier {tier}, {kind:?}: {} of {} bytes", got.len(), sent.len());
        }
        nodes.into_iter().for_each(assert_nothing_was_dropped);
    }
}

#[test]
fn a_hundred_viewers_on_every_tier_miss_nothing() {
    const VIEWERS: usize = 100;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let nodes = tiers(&source.url(Speech::Raw));
    let mut crowd = Crowd::new();
    for node in &nodes {
        crowd.join(node.address, "/a.ts", VIEWERS, Pace::Fast);
    }
    crowd.watch(Duration::from_secs(2));
    // All have what was sent until now, whichever tier they are on.
    let until = source.next_number();
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.next >= until), PATIENCE);
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!watcher.ended, "viewer {number}");
    }
    nodes.iter().for_each(assert_nothing_was_dropped);
    // A node of the next tier is a viewer like any other.
    let viewers = nodes.each_ref().map(|node| node.count("streaming_connections", ""));
    let all = VIEWERS as u64;
    assert_eq!(viewers, [all + 1, all + 1, all]);
}

#[test]
fn an_edge_goes_on_when_one_of_two_relays_is_killed() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let origin = node(&[source.url(Speech::Raw)]);
    let relays = [(); 2].map(|()| node(&[origin.url("/a.ts")]));
    let edge = node(&relays.each_ref().map(|relay| relay.url("/a.ts")));
    let used = eventually("one of them has a viewer", || {
        relays.iter().position(|relay| relay.count("streaming_connections", "") == 1)
    });
    assert_eq!(relays[1 - used].count("streaming_connections", ""), 0);

    let mut viewer = watch(edge.address, "/a.ts");
    let mut verifier = Verifier::default();
    verifier.feed(&read_bytes(&mut viewer, 50 * PACKET_BYTES));
    relays[used].signal("KILL");
    let connected =
        |line: &Value| line["event"] == "connected" && line["url"] == relays[1 - used].url("/a.ts");
    edge.await_log(connected);
    // The same connection goes on; what came between the two has no way to it.
    while verifier.signalled == 0 {
        verifier.feed(&read_bytes(&mut viewer, PACKET_BYTES));
    }
    verifier.feed(&read_bytes(&mut viewer, 100 * PACKET_BYTES));
    verifier.assert_whole("who has stayed");
    // A word for each of its three PIDs.
    assert_eq!((verifier.gaps, verifier.signalled), (1, 3), "{verifier:?}");
    assert_eq!(edge.count("restreamer_viewers_ended_total", ""), 0);
}
