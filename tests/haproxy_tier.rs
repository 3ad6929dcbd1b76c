//! `HAProxy` as it is shipped (`image/haproxy/haproxy.cfg`) in front of three nodes, each on a host
//! of its own: it spreads viewers, one node is drained without cutting anybody, one is killed, one
//! is full.
//!
//! The hosts are network namespaces of this test's own; it takes root.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::crowd::{Crowd, Pace};
use support::hosts::Network;
use support::http::request;
use support::node::{Node, repository};
use support::source::{Source, Speech};
use support::tool::Tool;
use support::{PATIENCE, eventually};

const BITS_PER_SECOND: u64 = 400_000;
/// `HAProxy`'s configuration as it is shipped.
const SHIPPED: &str = "image/haproxy/haproxy.cfg";
/// Who is on which host.
const AUDIENCE: usize = 0;
const BALANCER: usize = 1;
const NODES: [(&str, usize); 3] = [("one", 2), ("two", 3), ("three", 4)];
/// Where each listens.
const PORT: u16 = 8000;
/// Longer than any test: what a node has become is found by asking it alone.
const NEVER: &str = "1h";

/// Nodes, `HAProxy` before them, and a source beside the viewers. Runs on the host of the viewers.
struct Tier<'a> {
    nodes: Vec<Node>,
    balancer: SocketAddr,
    dir: tempfile::TempDir,
    _tool: Tool,
    _source: Source,
    network: &'a Network,
}

/// Has a tier of nodes with these configurations tested, on a network of its own.
fn on_tier(name: &str, check: &str, configs: [Value; 3], test: impl FnOnce(Tier) + Send) {
    on_tier_by(&repository(SHIPPED), name, check, configs, test);
}

/// The same with this file for `HAProxy`.
fn on_tier_by(
    file: &Path,
    name: &str,
    check: &str,
    configs: [Value; 3],
    test: impl FnOnce(Tier) + Send,
) {
    let network = Network::new(name, 5);
    network.on(AUDIENCE, || test(Tier::start(&network, file, check, configs)));
}

impl Tier<'_> {
    fn start<'a>(network: &'a Network, file: &Path, check: &str, configs: [Value; 3]) -> Tier<'a> {
        let listener = TcpListener::bind((Network::address(AUDIENCE), 0)).unwrap();
        let source = Source::start_at(listener, Speech::Raw, BITS_PER_SECOND, 0);
        let url = source.url(Speech::Raw);
        let node = |(host, config): (usize, Value)| {
            let address = Network::address(host);
            let mut all = json!({
                "listen": format!("{address}:{PORT}"),
                "side": format!("{address}:9470"),
                "proxy_protocol": true,
                "trusted_proxies": [Network::address(BALANCER).to_string()],
                "refuse_with": 503,
                "resources": [
                    { "type": "stream", "serve": "/a.ts", "remote": url },
                    { "type": "api", "api": "health", "serve": "/health" },
                    { "type": "api", "api": "check", "serve": "/check", "remote": "/a.ts" },
                ],
            });
            all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
            let node = network.on(host, || Node::with(&all));
            // Some have lost their upstream a moment later.
            node.await_connected();
            node
        };
        let hosts = NODES.map(|(_, host)| host);
        let nodes: Vec<_> = hosts.into_iter().zip(configs).map(node).collect();
        let balancer = SocketAddr::new(Network::address(BALANCER), 80);
        let dir = tempfile::tempdir().unwrap();
        let tool = network.on(BALANCER, || {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(file);
            command.env("MAXCONN", "1000").env("CHECK_INTERVAL", check);
            command.env("VIEWERS", balancer.to_string());
            command.env("ADMIN_SOCKET", dir.path().join("admin.sock"));
            for (name, host) in NODES {
                let node = SocketAddr::new(Network::address(host), PORT);
                command.env(format!("NODE_{}", name.to_uppercase()), node.to_string());
            }
            Tool::start_logging(
                command.stdout(std::process::Stdio::null()),
                &dir.path().join("log"),
            )
        });
        let tier = Tier { nodes, balancer, dir, _tool: tool, _source: source, network };
        eventually("HAProxy takes commands", || tier.order("show version"));
        tier
    }

    /// Has `HAProxy` told something by its socket; answers what it says.
    fn order(&self, order: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.dir.path().join("admin.sock")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        Some(answer)
    }

    /// What `HAProxy` calls the state of a node.
    fn state(&self, backend: &str, node: usize) -> String {
        let table = self.order("show stat").unwrap();
        let mut rows = table.lines().map(|line| line.split(','));
        let columns: Vec<_> = rows.next().unwrap().collect();
        let row = rows.map(|row| columns.iter().copied().zip(row).collect());
        let mut row = row.filter(|row: &BTreeMap<_, _>| row["# pxname"] == backend);
        row.find(|row| row["svname"] == NODES[node].0).unwrap()["status"].to_owned()
    }

    fn await_state(&self, backend: &str, node: usize, state: &str) {
        eventually(&format!("{backend}/{node} {state}"), || {
            (self.state(backend, node) == state).then_some(())
        });
    }

    /// Viewers of each node.
    fn viewers(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.count("streaming_connections", "")).collect()
    }

    /// Waits until all viewers of the nodes together are so many; answers those of each. A node's
    /// viewers are counted once they are in its stream, after its answer's head was sent.
    fn await_viewers(&self, all: u64) -> Vec<u64> {
        eventually(&format!("{all} viewers"), || {
            Some(self.viewers()).filter(|viewers| viewers.iter().sum::<u64>() == all)
        })
    }

    fn refused(&self, node: usize) -> u64 {
        self.nodes[node].count("restreamer_viewers_refused_total", "")
    }
}

/// Asserts that all who have not ended go on: each gets packets that none had before, all of them.
fn assert_go_on(crowd: &mut Crowd) {
    let before = crowd.watchers.iter().map(|watcher| watcher.verifier.next).max().unwrap();
    crowd.watch_until(
        |all| all.iter().all(|watcher| watcher.ended || watcher.verifier.next > before + 20),
        PATIENCE,
    );
    for (number, watcher) in crowd.watchers.iter().enumerate() {
        watcher.verifier.assert_perfect(&format!("viewer {number}"));
    }
}

fn ended(crowd: &Crowd) -> u64 {
    crowd.watchers.iter().filter(|watcher| watcher.ended).count() as u64
}

#[test]
fn the_file_needs_no_variables() {
    let mut command = Command::new("haproxy");
    command.arg("-c").arg("-f").arg(repository(SHIPPED));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!((output.status.code(), said.trim()), (Some(0), "Configuration file is valid"));
}

#[test]
fn three_hundred_viewers_and_nodes_that_come_and_go() {
    on_tier("crowd", "100ms", [json!({}), json!({}), json!({})], |mut tier| {
        let mut crowd = Crowd::new();
        crowd.join(tier.balancer, "/a.ts", 300, Pace::Fast);
        let viewers = tier.await_viewers(300);
        assert!(viewers.iter().all(|viewers| (80..=120).contains(viewers)), "{viewers:?}");
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);

        // Drained: it gets nobody new, and keeps whom it has.
        let both = |state| {
            let order =
                format!("set server nodes/one state {state}; set server full/one state {state}");
            assert_eq!(tier.order(&order).unwrap().trim(), "");
        };
        both("drain");
        tier.await_state("nodes", 0, "DRAIN");
        crowd.join(tier.balancer, "/a.ts", 30, Pace::Fast);
        let drained = tier.await_viewers(330);
        assert_eq!(drained[0], viewers[0]);
        assert!(drained[1] > viewers[1] && drained[2] > viewers[2], "{drained:?}");
        assert_go_on(&mut crowd);
        assert_eq!((ended(&crowd), tier.viewers()), (0, drained));
        both("ready");
        tier.await_state("nodes", 0, "UP");

        // Killed: its viewers, and nobody else, are cut, and find a place elsewhere at once, though
        // HAProxy has not seen yet what has become of it.
        let killed = tier.nodes.remove(1);
        let cut = killed.count("streaming_connections", "");
        killed.signal("KILL");
        crowd.watch_until(
            |all| all.iter().filter(|watcher| watcher.ended).count() as u64 == cut,
            PATIENCE,
        );
        crowd.join(tier.balancer, "/a.ts", usize::try_from(cut).unwrap(), Pace::Fast);
        let left = tier.await_viewers(330);
        assert!(left.iter().all(|viewers| (130..=200).contains(viewers)), "{left:?}");
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), cut);
        tier.await_state("nodes", 1, "DOWN");
        for node in &tier.nodes {
            assert_eq!(node.count("streaming_packets_dropped", ""), 0);
            assert_eq!(node.count("restreamer_proxy_errors_total", ""), 0);
        }
    });
}

#[test]
fn a_full_node_gets_nobody_new_and_keeps_its_own() {
    let full = json!({ "fullconnections": 5, "maxconnections": 10 });
    on_tier("full", "100ms", [full, json!({}), json!({})], |tier| {
        let mut crowd = Crowd::new();
        crowd.join(tier.balancer, "/a.ts", 24, Pace::Fast);
        tier.await_state("nodes", 0, "DOWN");
        let viewers = tier.await_viewers(24);
        assert!((5..=10).contains(&viewers[0]), "{viewers:?}");
        let refused = tier.refused(0);
        crowd.join(tier.balancer, "/a.ts", 36, Pace::Fast);
        assert_eq!(tier.await_viewers(60)[0], viewers[0]);
        assert_eq!(tier.refused(0), refused, "nobody has asked it");
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);
        assert_eq!(tier.state("full", 0), "UP", "should all be full, it has a place");
    });
}

#[test]
fn a_node_that_drains_gets_nobody_new_and_keeps_its_own() {
    on_tier("drains", "100ms", [json!({}), json!({}), json!({})], |tier| {
        let mut crowd = Crowd::new();
        crowd.join(tier.balancer, "/a.ts", 24, Pace::Fast);
        let viewers = tier.await_viewers(24);
        assert!(viewers[0] > 0, "{viewers:?}");
        let order = |path: &str| {
            let (path, side) = (path.to_owned(), tier.nodes[0].side);
            let answer = tier.network.on(NODES[0].1, move || request(side, "POST", &path));
            assert_eq!(answer.status, 200, "{}", answer.head);
        };
        order("/drain");
        // Not even from the reserve.
        for backend in ["nodes", "full"] {
            tier.await_state(backend, 0, "DOWN");
        }
        crowd.join(tier.balancer, "/a.ts", 36, Pace::Fast);
        assert_eq!(tier.await_viewers(60)[0], viewers[0]);
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);
        order("/drain?off");
        tier.await_state("nodes", 0, "UP");
    });
}

#[test]
fn who_is_refused_by_one_node_is_let_in_by_another() {
    let one = json!({ "maxconnections": 1 });
    on_tier("refused", NEVER, [one, json!({}), json!({})], |tier| {
        let mut crowd = Crowd::new();
        crowd.join(tier.balancer, "/a.ts", 20, Pace::Fast);
        let viewers = tier.await_viewers(20);
        assert!(viewers[0] == 1 && viewers[1] > 7 && viewers[2] > 7, "{viewers:?}");
        assert!(tier.refused(0) > 0, "it was asked");
        assert_eq!(tier.state("nodes", 0), "UP", "no check has found it full");
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);
    });
}

#[test]
fn when_all_are_full_what_they_have_in_reserve_is_used() {
    let small = || json!({ "fullconnections": 1, "maxconnections": 2 });
    on_tier("reserve", "100ms", [small(), small(), small()], |tier| {
        let mut crowd = Crowd::new();
        // One after the other: HAProxy's threads do not see at once whom the other has just sent.
        let mut come = || crowd.join(tier.balancer, "/a.ts", 1, Pace::Fast);
        (0..3).for_each(|_| come());
        for node in 0..3 {
            tier.await_state("nodes", node, "DOWN");
        }
        (0..3).for_each(|_| come());
        assert_eq!(tier.await_viewers(6), [2, 2, 2]);
        let answer = request(tier.balancer, "GET", "/a.ts");
        assert_eq!(answer.status, 503, "{}", answer.head);
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);

        // One goes, another one comes.
        crowd.watchers.pop();
        tier.await_viewers(5);
        crowd.join(tier.balancer, "/a.ts", 1, Pace::Fast);
        tier.await_viewers(6);
    });
}

#[test]
fn nodes_without_the_stream_are_passed_over_if_it_is_asked_for() {
    let shipped = fs::read_to_string(repository(SHIPPED)).unwrap();
    let asking = shipped.replace("    #http-check ", "    http-check ");
    assert_ne!(asking, shipped);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haproxy.cfg");
    fs::write(&file, asking).unwrap();
    let without = json!({ "reconnect": 3600, "resources": [
        { "type": "stream", "serve": "/a.ts", "remote": "fork:///bin/true" },
        { "type": "api", "api": "health", "serve": "/health" },
        { "type": "api", "api": "check", "serve": "/check", "remote": "/a.ts" },
    ]});
    let configs = [without.clone(), without, json!({})];
    on_tier_by(&file, "without", "100ms", configs, |tier| {
        tier.await_state("nodes", 0, "DOWN");
        tier.await_state("nodes", 1, "DOWN");
        let mut crowd = Crowd::new();
        crowd.join(tier.balancer, "/a.ts", 10, Pace::Fast);
        assert_eq!(tier.await_viewers(10), [0, 0, 10]);
        assert_eq!((tier.refused(0), tier.refused(1)), (0, 0), "nobody has asked them");
        assert_eq!(tier.state("nodes", 2), "UP");
        assert_go_on(&mut crowd);
        assert_eq!(ended(&crowd), 0);
    });
}
