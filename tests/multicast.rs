//! Multicast between two hosts: groups of both families, and of one source alone.
//!
//! The hosts are network namespaces of this test's own, tied by a virtual cable; it takes root.

mod support;

use serde_json::{Value, json};
use support::PATIENCE;
use support::crowd::{Crowd, Pace};
use support::datagram::{PACKETS, paced, payload};
use support::hosts::Hosts;
use support::node::{Node, stream};

const DATAGRAMS: u64 = 1000;

/// A node on its host, two viewers beside it, and what is sent by `send`; they must get the
/// packets of all datagrams.
fn received(hosts: &Hosts, remote: &str, more: &Value, send: impl Fn(u64) + Sync + Send) {
    let mut resource = stream("/a.ts", remote);
    for (key, value) in more.as_object().unwrap() {
        resource[key] = value.clone();
    }
    Hosts::on(&hosts.node, || {
        let node = Node::with(&json!({ "resources": [resource] }));
        node.await_connected();
        let mut crowd = Crowd::new();
        crowd.join(node.address, "/a.ts", 2, Pace::Fast);
        std::thread::scope(|scope| {
            scope.spawn(|| paced(0..DATAGRAMS, &send));
            let all = DATAGRAMS * PACKETS;
            crowd.watch_until(|w| w.iter().all(|w| w.verifier.next == all), PATIENCE);
        });
        for watcher in &crowd.watchers {
            watcher.verifier.assert_perfect(remote);
            assert_eq!(watcher.verifier.packets, DATAGRAMS * PACKETS, "{remote}");
        }
        // Received once, however many watch.
        node.await_count("restreamer_datagrams_total", "/a.ts", DATAGRAMS);
    });
}

#[test]
fn groups_of_both_families_arrive() {
    let hosts = Hosts::new("any");
    for (remote, from, group) in [
        ("udp://239.255.1.1:5000", "10.213.0.1", "239.255.1.1:5000"),
        ("udp://@239.255.1.2:5000", "10.213.0.1", "239.255.1.2:5000"),
        ("udp://[ff15::1]:5000", "fd13::1", "[ff15::1]:5000"),
    ] {
        let socket = hosts.socket(from);
        received(&hosts, remote, &json!({ "clientinterface": "cable" }), |number| {
            socket.send_to(&payload(number), group).unwrap();
        });
    }
}

#[test]
fn a_group_of_one_source_leaves_the_others_out() {
    let hosts = Hosts::new("ssm");
    for (remote, ours, theirs, group) in [
        ("udp://10.213.0.1@232.1.1.1:5000", "10.213.0.1", "10.213.0.3", "232.1.1.1:5000"),
        ("udp://[fd13::1]@[ff35::1]:5000", "fd13::1", "fd13::3", "[ff35::1]:5000"),
    ] {
        let (ours, theirs) = (hosts.socket(ours), hosts.socket(theirs));
        received(&hosts, remote, &json!({ "clientinterface": "cable" }), |number| {
            theirs.send_to(&payload(number + 1_000_000), group).unwrap();
            ours.send_to(&payload(number), group).unwrap();
        });
    }
}

#[test]
fn what_comes_on_another_interface_is_left_out() {
    let hosts = Hosts::new("other");
    // The same group on a second interface, joined by a second stream of the same node.
    Hosts::on(&hosts.node, || {
        support::hosts::ip("link add other type veth peer name elsewhere");
        support::hosts::ip("addr add 10.214.0.2/24 dev other");
        support::hosts::ip("link set other up");
    });
    let socket = hosts.socket("10.213.0.1");
    let on = |path: &str, interface: &str| {
        let mut resource = stream(path, "udp://239.255.1.1:5000");
        resource["clientinterface"] = interface.into();
        resource
    };
    Hosts::on(&hosts.node, || {
        let node =
            Node::with(&json!({ "resources": [on("/a.ts", "cable"), on("/b.ts", "other")] }));
        node.await_connected();
        node.await_connected();
        paced(0..100, |number| {
            socket.send_to(&payload(number), "239.255.1.1:5000").unwrap();
        });
        node.await_count("restreamer_datagrams_total", "/a.ts", 100);
        assert_eq!(node.count("restreamer_datagrams_total", "/b.ts"), 0);
    });
}

#[test]
fn an_interface_that_comes_back_is_joined_again() {
    let hosts = Hosts::new("back");
    let mut resource = stream("/a.ts", "udp://239.255.1.1:5000");
    resource["clientinterface"] = "gone".into();
    resource["rejoin"] = json!(0.1);
    Hosts::on(&hosts.node, || {
        let make = || {
            support::hosts::ip("link add gone type veth peer name elsewhere");
            support::hosts::ip("link set gone up");
        };
        make();
        let node = Node::with(&json!({ "resources": [resource] }));
        node.await_connected();
        support::hosts::ip("link del gone");
        let now = node.metric("restreamer_rejoins_total", "/a.ts");
        node.await_metric("restreamer_rejoins_total", "/a.ts", |rejoins| rejoins > now + 1.0);
        make();
        support::eventually("membership on the new interface", || {
            let groups = std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
            groups.contains("0101FFEF").then_some(())
        });
    });
}

#[test]
fn a_silent_group_is_joined_again() {
    let hosts = Hosts::new("rejoin");
    let mut resource = stream("/a.ts", "udp://239.255.1.1:5000");
    resource["clientinterface"] = "cable".into();
    resource["rejoin"] = json!(0.2);
    Hosts::on(&hosts.node, || {
        let node = Node::with(&json!({ "resources": [resource] }));
        node.await_connected();
        node.await_metric("restreamer_rejoins_total", "/a.ts", |rejoins| rejoins >= 3.0);
        // It is a member still.
        let groups = std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap();
        assert!(groups.contains("0101FFEF"), "{groups}");
    });
}

#[test]
fn an_interface_that_is_not_there_is_a_failed_attempt() {
    let mut resource = stream("/a.ts", "udp://239.255.1.1:5000");
    resource["clientinterface"] = "nowhere0".into();
    let node = Node::with(&json!({ "resources": [resource] }));
    let line = node.await_log(|entry| entry["error"] == "join");
    assert!(line["message"].as_str().unwrap().contains("nowhere0"), "{line}");
}
