//! Every byte, in order, once: to 300 viewers who keep up, beside those who do not.

mod support;

use std::time::Duration;

use support::crowd::{Crowd, Pace, Watcher};
use support::node::Node;
use support::source::{Source, Speech};

const BITS_PER_SECOND: u64 = 8_000_000;
const WATCHED: Duration = Duration::from_secs(20);

#[test]
fn three_hundred_keep_up_beside_slow_and_stalled_ones() {
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Http));
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 300, Pace::Fast);
    crowd.watch(WATCHED);
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!watcher.ended, "viewer {number} was cut");
    }
    let (live, sent) = bytes_sent(&node);
    assert!(live >= 0.99 * sent, "only {live} of {sent} bytes left by splice");
    let expected = 300.0 * WATCHED.as_secs_f64() * 1e6;
    assert!(sent > 0.9 * expected, "{sent} bytes are too few for the stream's rate");

    let (memory, in_kernel) = (node.resident_bytes(), kernel_bytes());
    crowd.join(node.address, "/a.ts", 20, Pace::Slow(BITS_PER_SECOND / 8 / 2));
    crowd.join(node.address, "/a.ts", 5, Pace::Stalled);
    crowd.watch(WATCHED);
    for (number, watcher) in crowd.of(|pace| pace == Pace::Fast).enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
        assert!(!watcher.ended, "viewer {number} was cut");
    }
    for (number, watcher) in crowd.of(|pace| matches!(pace, Pace::Slow(_))).enumerate() {
        let who = format!("slow viewer {number}");
        watcher.verifier.assert_whole(&who);
        assert!(watcher.verifier.packets > 0 && !watcher.ended, "{who} was cut");
    }
    assert!(crowd.of(|pace| pace == Pace::Stalled).all(Watcher::is_welcome));
    assert!(node.metric("streaming_packets_dropped", "/a.ts") > 0.0, "skipping is counted");
    assert!(node.metric("streaming_bytes_dropped", "/a.ts") > 0.0);
    assert!(node.metric("restreamer_skips_total", "/a.ts") > 0.0);
    let grown = node.resident_bytes().saturating_sub(memory);
    assert!(grown < 4 << 20, "memory grew by {grown} bytes");
    // 25 sockets of 256 KiB unsent, with what the kernel adds to each buffer; unbounded, each
    // would take 4 MB.
    let grown = kernel_bytes().saturating_sub(in_kernel);
    assert!(grown < 40 << 20, "sockets hold {grown} bytes more");
}

/// What all TCP sockets of the machine hold, in bytes.
fn kernel_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    line.rsplit(' ').next().unwrap().parse::<usize>().unwrap() * 4096
}

/// Bytes sent to viewers: (by splice, in all).
fn bytes_sent(node: &Node) -> (f64, f64) {
    let live = node.metric("restreamer_sent_bytes_total", "path=\"live\"");
    (live, live + node.metric("restreamer_sent_bytes_total", "path=\"catching_up\""))
}
