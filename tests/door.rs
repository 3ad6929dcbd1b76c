//! The door: who is denied hears nothing, who is allowed is served, a source has its rate and no
//! more, and every attempt is counted; by the kernel, and without it at accept.
//!
//! Node and clients are on hosts of this test's own; it takes root, and Linux 5.19 or later.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use serde_json::{Value, json};
use support::client::{get, ip, watch_on};
use support::hosts::Hosts;
use support::knock::{Fate, Knock, Knocks};
use support::node::{Node, PROGRAM, command, stream};
use support::source::{Source, Speech};
use support::{eventually, http};

const BITS_PER_SECOND: u64 = 2_000_000;
/// Where the node is, for those on the other host.
const NODE: [&str; 2] = ["10.213.0.2", "fd13::2"];

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Kernel,
    /// The node has not the capability that it takes.
    Accept,
}

/// A node with a stream, `/a.ts`, and this door, and a host of clients.
struct Site<'a> {
    hosts: &'a Hosts,
    node: Node,
    by: By,
    _source: Source,
}

/// Has a test run on the node's host.
fn at(name: &str, by: By, door: &Value, test: impl FnOnce(&Site) + Send) {
    let hosts = Hosts::new(name);
    Hosts::on(&hosts.node, || {
        let source = Source::start(Speech::Raw, BITS_PER_SECOND);
        let config = json!({
            "listen": ":0",
            "door": door,
            "resources": [stream("/a.ts", &source.url(Speech::Raw))],
        });
        let (file, dir) = Node::write(&config);
        let mut command = program(by);
        command.arg(file);
        let node = Node::await_addresses(Node::spawn_by(command, dir));
        let site = Site { hosts: &hosts, node, by, _source: source };
        test(&site);
    });
}

/// The program, with what it takes or without.
fn program(by: By) -> Command {
    match by {
        By::Kernel => command(PROGRAM),
        By::Accept => {
            // CAP_SYS_ADMIN stands for it, as it did before there was CAP_BPF (capabilities(7)).
            let mut command = command("setpriv");
            command.args(["--bounding-set=-bpf,-sys_admin", PROGRAM]);
            command
        }
    }
}

/// What the node has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    admitted: u64,
    denied: u64,
    over_rate: u64,
}

impl Counted {
    fn all(self) -> u64 {
        self.admitted + self.denied + self.over_rate
    }
}

impl Site<'_> {
    fn target(&self, source: IpAddr) -> SocketAddr {
        let [v4, v6] = NODE;
        SocketAddr::new(ip(if source.is_ipv4() { v4 } else { v6 }), self.node.address.port())
    }

    fn knock(&self, source: &str) -> Knock {
        let source = ip(source);
        let target = self.target(source);
        Hosts::on(&self.hosts.sender, || Knock::from(source, target))
    }

    /// As the clients' kernel sees it: attempts, and those that it has repeated by itself. The door
    /// judges each.
    fn attempts(&self) -> u64 {
        let of = |kind, name| Hosts::counted(&self.hosts.sender, kind, name);
        of("Tcp", "ActiveOpens") + of("TcpExt", "TCPSynRetrans")
    }

    fn listing(&self) -> Value {
        serde_json::from_str(&http::get(self.node.side, "/door").text()).unwrap()
    }

    /// By the metrics, which must say the same as the listing.
    fn counted(&self) -> Counted {
        let dropped = |reason| {
            self.node.count("restreamer_door_dropped_total", &format!("reason=\"{reason}\""))
        };
        Counted {
            admitted: self.node.count("restreamer_door_admitted_total", ""),
            denied: dropped("denied"),
            over_rate: dropped("rate"),
        }
    }

    /// Waits until every attempt so far has been judged; answers how.
    fn judged(&self) -> Counted {
        let what = format!("{} attempts are judged", self.attempts());
        let counted = eventually(&what, || {
            Some(self.counted()).filter(|counted| counted.all() == self.attempts())
        });
        let listing = self.listing();
        let Counted { admitted, denied, over_rate } = counted;
        assert_eq!(listing["admitted"], admitted);
        assert_eq!(listing["dropped"], json!({ "denied": denied, "rate": over_rate }));
        counted
    }

    fn await_fate(knock: &Knock) -> Fate {
        eventually("an answer", || Some(knock.fate()).filter(|fate| *fate != Fate::Silence))
    }

    /// One who is turned away hears nothing once he has been judged; or, after the fact, a reset.
    fn assert_turned_away(&self, source: &str) -> Knock {
        let knock = self.knock(source);
        let fate = match self.by {
            By::Kernel => {
                self.judged();
                knock.fate()
            }
            By::Accept => eventually_out(&knock),
        };
        let expected = if self.by == By::Kernel { Fate::Silence } else { Fate::Reset };
        assert_eq!(fate, expected, "{source}");
        knock
    }

    /// One who is let in gets the stream.
    fn assert_served(&self, source: &str) {
        let knock = self.knock(source);
        assert_eq!(Self::await_fate(&knock), Fate::In, "{source}");
        watch_on(knock.into_socket(), get("/a.ts", "").as_bytes());
    }

    fn hits(&self) -> Vec<(String, u64)> {
        let listing = self.listing();
        let rules = listing["rules"].as_array().unwrap().iter();
        let of =
            |rule: &Value| (rule["network"].as_str().unwrap().to_owned(), rule["hits"].as_u64());
        rules.map(of).map(|(network, hits)| (network, hits.unwrap())).collect()
    }
}

/// Waits until there is no connection any more, if there was one.
fn eventually_out(knock: &Knock) -> Fate {
    let is_out = |fate: &Fate| matches!(fate, Fate::Reset | Fate::Refused);
    eventually("a reset", || Some(knock.fate()).filter(is_out))
}

fn the_longest_prefix_decides(name: &str, by: By) {
    let door = json!({
        "deny": ["198.51.100.0/24", "2001:db8:1::/48"],
        "allow": ["198.51.100.16/28", "2001:db8:1:5::/64"],
    });
    at(name, by, &door, |site| {
        let sources = [
            ("198.51.100.7", "198.51.100.17", "203.0.113.7"),
            ("2001:db8:1::7", "2001:db8:1:5::7", "2001:db8:2::7"),
        ];
        for (denied, allowed, other) in sources {
            for source in [denied, allowed, other] {
                site.hosts.add_source(ip(source));
            }
        }
        site.node.await_connected();
        let mut denied_ones = Vec::new();
        for (denied, allowed, other) in sources {
            site.assert_served(allowed);
            denied_ones.push(site.assert_turned_away(denied));
            site.assert_served(other);
        }
        if by == By::Kernel {
            // Their kernel asks again after a second, to no avail.
            let again = || Hosts::counted(&site.hosts.sender, "TcpExt", "TCPSynRetrans") >= 2;
            eventually("another attempt", || again().then_some(()));
            site.judged();
            assert!(denied_ones.iter().all(|knock| knock.fate() == Fate::Silence));
        }
        drop(denied_ones);
        let counted = site.judged();
        assert_eq!((counted.admitted, counted.over_rate), (4, 0));
        let hits = site.hits();
        let of = |network: &str| hits.iter().find(|(name, _)| name == network).unwrap().1;
        assert_eq!((of("198.51.100.16/28"), of("2001:db8:1:5::/64")), (1, 1));
        let denied = [of("198.51.100.0/24"), of("2001:db8:1::/48")];
        assert_eq!(denied.iter().sum::<u64>(), counted.denied);
        let attempts = if by == By::Kernel { 2..=9 } else { 1..=1 };
        assert!(denied.iter().all(|hits| attempts.contains(hits)), "{denied:?}");
        let resets = Hosts::counted(&site.hosts.node, "Tcp", "OutRsts");
        assert_eq!(resets > 0, by == By::Accept, "{resets} resets were sent");
        assert_eq!(site.listing()["place"], if by == By::Kernel { "kernel" } else { "accept" });
        let in_kernel = site.node.count("restreamer_door_in_kernel", "");
        assert_eq!(in_kernel, u64::from(by == By::Kernel));
    });
}

/// Ten times its rate is asked for by one, and less than its rate by another meanwhile.
fn a_source_has_its_burst_and_its_rate(name: &str, by: By) {
    const PER_SECOND: u32 = 50;
    const BURST: u32 = 20;
    let door = json!({ "rate": { "per_second": PER_SECOND, "burst": BURST } });
    at(name, by, &door, |site| {
        for (greedy, modest) in
            [("198.51.100.1", "198.51.100.2"), ("2001:db8:1::1", "2001:db8:2::1")]
        {
            let before = site.judged();
            site.hosts.add_source(ip(greedy));
            site.hosts.add_source(ip(modest));
            let target = site.target(ip(greedy));
            let paced = |source, count, per_second| {
                let interval = Duration::from_secs(1) / per_second;
                Hosts::on(&site.hosts.sender, || Knocks::paced(ip(source), target, count, interval))
            };
            let (mut greedy, mut modest) = std::thread::scope(|scope| {
                let greedy = scope.spawn(|| paced(greedy, 1500, 10 * PER_SECOND));
                let modest = scope.spawn(|| paced(modest, 100, 40));
                (greedy.join().unwrap(), modest.join().unwrap())
            });
            greedy.end();
            modest.end();
            assert_eq!((modest.inside.len(), modest.silent, modest.reset), (100, 0, 0));
            let came = greedy.inside.len() as u64;
            let milliseconds = u64::try_from(greedy.took.as_millis()).unwrap();
            let due = u64::from(BURST) + u64::from(PER_SECOND) * milliseconds / 1000;
            assert!((100 * came).abs_diff(100 * due) <= 5 * due, "{came} came in, {due} are due");
            let (silent, reset) = (greedy.silent > 0, greedy.reset > 0);
            assert_eq!((silent, reset), (by == By::Kernel, by == By::Accept));

            let counted = site.judged();
            let admitted = counted.admitted - before.admitted;
            assert_eq!(admitted, came + 100);
            assert_eq!(counted.denied, 0);
        }
        let sources = site.node.count("restreamer_door_sources", "");
        assert_eq!(sources, 4);
    });
}

fn addresses_of_a_source_share_its_rate(name: &str, by: By, widths: Option<(u8, u8)>) {
    // So slow that the burst is all there is.
    let mut door = json!({ "rate": { "per_second": 0.001, "burst": 4 } });
    if let Some((v4, v6)) = widths {
        door["source"] = json!({ "v4": v4, "v6": v6 });
    }
    // The first two are one source, the third is another one.
    let groups = if widths.is_some() {
        [
            ["198.51.100.1", "198.51.100.200", "198.51.101.1"],
            ["2001:db8:1:5::1", "2001:db8:1:6::1", "2001:db8:2:5::1"],
        ]
    } else {
        [
            ["198.51.100.1", "198.51.100.1", "198.51.100.2"],
            ["2001:db8:1:5::1", "2001:db8:1:5:ffff::1", "2001:db8:1:6::1"],
        ]
    };
    at(name, by, &door, |site| {
        for source in groups.iter().flatten().copied().collect::<BTreeSet<_>>() {
            site.hosts.add_source(ip(source));
        }
        site.node.await_connected();
        for [one, same, other] in groups {
            let before = site.judged();
            for source in [one, same, one, same] {
                site.assert_served(source);
            }
            let _out = [site.assert_turned_away(one), site.assert_turned_away(same)];
            (0..4).for_each(|_| site.assert_served(other));
            let _out_as_well = site.assert_turned_away(other);
            assert_eq!(site.judged().admitted - before.admitted, 8);
        }
        assert_eq!(site.node.count("restreamer_door_sources", ""), 4);
    });
}

#[test]
fn the_kernel_drops_whom_the_longest_prefix_denies() {
    the_longest_prefix_decides("prefix", By::Kernel);
}

#[test]
fn the_kernel_lets_a_source_in_at_its_rate() {
    a_source_has_its_burst_and_its_rate("rate", By::Kernel);
}

#[test]
fn the_kernel_knows_a_source_by_its_network() {
    addresses_of_a_source_share_its_rate("source", By::Kernel, None);
    addresses_of_a_source_share_its_rate("width", By::Kernel, Some((24, 48)));
}

#[test]
fn without_the_capability_the_longest_prefix_decides_at_accept() {
    the_longest_prefix_decides("prefix2", By::Accept);
}

#[test]
fn without_the_capability_a_source_has_its_rate_at_accept() {
    a_source_has_its_burst_and_its_rate("rate2", By::Accept);
}

#[test]
fn without_the_capability_a_source_is_its_network_all_the_same() {
    addresses_of_a_source_share_its_rate("source2", By::Accept, None);
    addresses_of_a_source_share_its_rate("width2", By::Accept, Some((24, 48)));
}

#[test]
fn what_is_missing_is_said_once() {
    at("missing", By::Accept, &json!({ "deny": ["198.51.100.0/24"] }), |site| {
        for last in 1..=3 {
            site.hosts.add_source(ip(&format!("198.51.100.{last}")));
            drop(site.assert_turned_away(&format!("198.51.100.{last}")));
        }
        site.node.signal("TERM");
        let log = site.node.log_to_the_end();
        let about = |line: &&Value| line["message"].as_str().unwrap().contains("CAP_BPF");
        let told: Vec<_> = log.iter().filter(about).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        let (level, message) = (&told[0]["level"], told[0]["message"].as_str().unwrap());
        assert_eq!(level, "warning", "{}", told[0]);
        assert!(message.contains("CAP_BPF is missing"), "{message}");
        assert!(message.contains("AmbientCapabilities=CAP_BPF"), "how to grant it: {message}");
    });
}

#[test]
fn a_door_that_is_required_to_be_in_the_kernel_is_or_there_is_no_node() {
    let config = json!({
        "door": { "required": true },
        "resources": [stream("/a.ts", "tcp://127.0.0.1:9")],
    });
    let (file, _dir) = Node::write(&config);
    let mut command = program(By::Accept);
    let output = command.arg(&file).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let why = "`door` is required to be in the kernel: CAP_BPF is missing";
    assert!(said.contains(why), "{said}");
    let node = Node::with(&config);
    assert_eq!(node.count("restreamer_door_in_kernel", ""), 1);
}

/// What of the kernel's a process has open, by what its `fdinfo` calls it.
fn opened(pid: u32, kind: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
        found.extend(lines.map(|id| id.trim().parse::<u32>().unwrap()));
    }
    found
}

/// Programs and maps that the kernel holds, whoever has loaded them.
fn held() -> (BTreeSet<u32>, BTreeSet<u32>) {
    // One that goes meanwhile is passed over.
    let programs = loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect();
    let maps = loaded_maps().filter_map(Result::ok).map(|map| map.id()).collect();
    (programs, maps)
}

#[test]
fn a_node_that_is_killed_leaves_nothing_in_the_kernel() {
    let door = json!({ "deny": ["198.51.100.0/24"], "rate": { "per_second": 100 } });
    at("killed", By::Kernel, &door, |site| {
        site.hosts.add_source(ip("198.51.100.7"));
        site.node.await_connected();
        site.assert_served("10.213.0.1");
        let _waits = site.assert_turned_away("198.51.100.7");
        // Who watches is born of a listening socket that has the filter.
        let _watches = http::watch(site.node.address, "/a.ts");
        let programs = opened(site.node.pid(), "prog_id");
        let maps = opened(site.node.pid(), "map_id");
        assert!(!programs.is_empty() && maps.len() >= 3, "{programs:?} {maps:?}");
        let (all_programs, all_maps) = held();
        assert!(programs.is_subset(&all_programs) && maps.is_subset(&all_maps));
        site.node.signal("KILL");
        // The kernel frees them when nobody can be looking at them any more.
        eventually("nothing is left", || {
            let (all_programs, all_maps) = held();
            let gone = programs.is_disjoint(&all_programs) && maps.is_disjoint(&all_maps);
            gone.then_some(())
        });
    });
}
