//! A flood of attempts to connect from denied sources takes nothing from those who watch, nor from
//! those who come meanwhile; what it costs is measured by `tests/bench/run --scenario flood`.
//!
//! The flood is on a host of this test's own; it takes root, and Linux 5.19 or later.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use support::PATIENCE;
use support::crowd::{Crowd, Pace};
use support::hosts::Hosts;
use support::node::{Node, stream};
use support::source::{Source, Speech};
use support::syn::Syns;

const BITS_PER_SECOND: u64 = 2_000_000;
const VIEWERS: usize = 200;
const LATE_VIEWERS: usize = 20;
/// Of each family.
const PER_SECOND: u32 = 10_000;
const LENGTH: Duration = Duration::from_secs(5);
/// Networks that are set aside for tests and documentation (RFC 2544, RFC 3849).
const DENIED: [&str; 2] = ["198.18.0.0/15", "2001:db8::/32"];

/// Another address of the denied networks each time, and another port.
fn denied_source(is_v4: bool) -> impl FnMut() -> SocketAddr {
    let mut number: u32 = 0;
    move || {
        number = number.wrapping_add(0x9E37_79B1);
        let port = u16::try_from(1024 + (number >> 8) % 60_000).unwrap();
        let ip: IpAddr = if is_v4 {
            Ipv4Addr::from_bits(0xC612_0000 | (number & 0x1_FFFF)).into()
        } else {
            Ipv6Addr::from_bits(0x2001_0DB8 << 96 | u128::from(number)).into()
        };
        SocketAddr::new(ip, port)
    }
}

/// What the sender's end of the cable could not hand over.
fn lost_on_the_way() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("cable:")).unwrap();
    // Eight columns of what was received; sent bytes, packets, errors, drops (proc(5)).
    line.split_whitespace().nth(11).unwrap().parse().unwrap()
}

#[test]
fn who_watches_and_who_comes_have_all_beside_a_flood_of_denied_sources() {
    let hosts = Hosts::new("flood");
    for network in DENIED {
        hosts.add_network(network);
    }
    Hosts::on(&hosts.node, || {
        let source = Source::start(Speech::Raw, BITS_PER_SECOND);
        let node = Node::with(&json!({
            "listen": ":0",
            "workers": 1,
            "door": { "deny": DENIED },
            "resources": [stream("/a.ts", &source.url(Speech::Raw))],
        }));
        node.await_connected();
        let port = node.address.port();
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let mut crowd = Crowd::new();
        crowd.join(here, "/a.ts", VIEWERS, Pace::Fast);

        let is_over = AtomicBool::new(false);
        let flood = |to: &str| {
            let syns = Syns::to(SocketAddr::new(to.parse().unwrap(), port)).unwrap();
            syns.flood(PER_SECOND, LENGTH, denied_source(!to.contains(':'))).unwrap()
        };
        let (sent, lost) = std::thread::scope(|scope| {
            let sender = &hosts.sender;
            let floods = scope.spawn(|| {
                let counts = Hosts::on(sender, || {
                    let before = lost_on_the_way();
                    let sent: u64 = std::thread::scope(|scope| {
                        let v6 = scope.spawn(|| flood("fd13::2"));
                        flood("10.213.0.2") + v6.join().unwrap()
                    });
                    (sent, lost_on_the_way() - before)
                });
                is_over.store(true, Ordering::Relaxed);
                counts
            });
            let denied = || node.count("restreamer_door_dropped_total", "reason=\"denied\"");
            crowd.watch_until(|_| denied() > u64::from(PER_SECOND), PATIENCE);
            crowd.join(here, "/a.ts", LATE_VIEWERS, Pace::Fast);
            assert!(!is_over.load(Ordering::Relaxed), "they came while it lasted");
            crowd.watch_until(|_| is_over.load(Ordering::Relaxed), PATIENCE);
            floods.join().unwrap()
        });
        // All have seen what was sent after the last of it.
        let next = source.next_number();
        crowd.watch_until(|all| all.iter().all(|one| one.verifier.next > next), PATIENCE);

        for (number, watcher) in crowd.watchers.iter().enumerate() {
            assert!(!watcher.ended, "viewer {number} was cut");
            watcher.verifier.assert_perfect(&format!("viewer {number}"));
        }
        assert_eq!(node.count("streaming_packets_dropped", ""), 0);
        let due = 2 * u64::from(PER_SECOND) * LENGTH.as_secs();
        assert!(sent > due * 9 / 10, "{sent} of {due} were sent");
        node.await_count("restreamer_door_dropped_total", "reason=\"denied\"", sent - lost);
        let viewers = (VIEWERS + LATE_VIEWERS) as u64;
        assert_eq!(node.count("restreamer_door_admitted_total", ""), viewers);
        let resets = Hosts::counted(&hosts.node, "Tcp", "OutRsts");
        assert_eq!(resets, 0, "an answer to who is denied");
    });
}
