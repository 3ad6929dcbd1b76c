//! The door of a running node is changed from the command line and over HTTP, whether the kernel
//! keeps it or the workers do. It takes root, for network namespaces.

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::hosts::Hosts;
use support::knock::Fate;
use support::node::{Node, run, stream};
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, http, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
/// The host with the node.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
/// One who is denied, and one who is not; the second is what the other host connects from.
const DENIED: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
/// Less than a second, after which Linux sends a SYN again: one knock is one attempt.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Who keeps the door.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Kernel,
    /// A worker, since the node has no capability.
    Accept,
}

const PLACES: [Place; 2] = [Place::Kernel, Place::Accept];

impl Place {
    /// As the listing has it.
    fn word(self) -> &'static str {
        match self {
            Place::Kernel => "kernel",
            Place::Accept => "accept",
        }
    }

    /// How somebody is turned away.
    fn refusal(self) -> Fate {
        match self {
            Place::Kernel => Fate::Silence,
            Place::Accept => Fate::Reset,
        }
    }
}

/// A node on its host, with this door, that listens everywhere.
fn start(hosts: &Hosts, place: Place, door: &Value, resource: &Value) -> Node {
    let config = json!({
        "listen": ":0",
        "side": ":0",
        "door": door,
        "userlist": { "ops": { "password": "s3 cret" } },
        "resources": [resource],
    });
    Hosts::on(&hosts.node, || match place {
        Place::Kernel => Node::with(&config),
        Place::Accept => {
            let without = "exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
            Node::after(without, &config)
        }
    })
}

/// A stream whose upstream is not there: whoever asks for it gets an answer all the same.
fn lost() -> Value {
    stream("/a.ts", &format!("tcp://{}", nobody()))
}

/// Connects from this address of the other host and asks for what is not there.
fn knock(hosts: &Hosts, node: &Node, from: Ipv4Addr) -> Fate {
    let to = main_port(node);
    let connected = Hosts::on(&hosts.sender, || connect(from, to));
    let mut socket = match connected {
        Ok(socket) => socket,
        Err(error) if error.kind() == ErrorKind::TimedOut => return Fate::Silence,
        // A worker may be quicker than whoever waits for the handshake.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Fate::Reset,
        Err(error) => panic!("{from}: {error}"),
    };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let asked = socket.write_all(b"GET /nothing HTTP/1.0\r\n\r\n");
    match asked.and_then(|()| socket.read_to_end(&mut answer)) {
        Ok(_) if answer.starts_with(b"HTTP/1.") => Fate::In,
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
        {
            Fate::Reset
        }
        other => panic!("{from}: {other:?} {answer:?}"),
    }
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), KNOCK_TIMEOUT)?;
    Ok(socket.into())
}

/// Where viewers are served for the other host.
fn main_port(node: &Node) -> SocketAddr {
    (NODE, node.address.port()).into()
}

/// Where the side port is for it.
fn side_port(node: &Node) -> SocketAddr {
    (NODE, node.side.port()).into()
}

/// `restreamer door` on the node's own host: exit code and what is said, on either of the outputs.
fn door(hosts: &Hosts, node: &Node, arguments: &[&str]) -> (i32, String) {
    door_at(&hosts.node, &format!("127.0.0.1:{}", node.side.port()), arguments)
}

fn door_at(host: &str, side: &str, arguments: &[&str]) -> (i32, String) {
    let line = [&["door"], arguments, &["--side", side]].concat();
    let (code, out, err) = Hosts::on(host, || run(&line, Path::new("/")));
    (code, out + &err)
}

fn listing(hosts: &Hosts, node: &Node) -> Value {
    let (code, said) = door(hosts, node, &["list", "--json"]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// What is listed of a network.
fn rule(hosts: &Hosts, node: &Node, network: &str) -> Option<Value> {
    let listing = listing(hosts, node);
    let mut rules = listing["rules"].as_array().unwrap().iter();
    rules.find(|rule| rule["network"] == network).cloned()
}

fn metric(hosts: &Hosts, node: &Node, line: &str) -> u64 {
    let side = side_port(node);
    let text = Hosts::on(&hosts.node, || http::get(side, "/metrics").text());
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[test]
fn who_is_denied_gets_in_no_more_and_who_is_in_stays() {
    for place in PLACES {
        let hosts = Hosts::new("denied");
        let source = Hosts::on(&hosts.node, || Source::start(Speech::Raw, BITS_PER_SECOND));
        let of = stream("/a.ts", &source.url(Speech::Raw));
        let node = start(&hosts, place, &json!({}), &of);
        node.await_connected();
        let to = main_port(&node);
        let mut viewer = Hosts::on(&hosts.sender, || connect(DENIED, to)).unwrap();
        viewer.set_read_timeout(Some(PATIENCE)).unwrap();
        viewer.write_all(b"GET /a.ts HTTP/1.0\r\n\r\n").unwrap();
        http::read_bytes(&mut viewer, 100_000);

        let (code, said) = door(&hosts, &node, &["deny", "10.213.0.3"]);
        assert!(code == 0 && said.contains("10.213.0.3/32: deny by command\n"), "{code} {said}");
        assert!(said.contains("gone after a restart"), "it has no state file: {said}");
        for _ in 0..3 {
            assert_eq!(knock(&hosts, &node, DENIED), place.refusal());
        }
        // Far beyond all buffers: what comes now was sent after that.
        http::read_bytes(&mut viewer, 1_000_000);
        assert_eq!(knock(&hosts, &node, OTHER), Fate::In);

        let denied = "restreamer_door_dropped_total{reason=\"denied\"}";
        assert_eq!(metric(&hosts, &node, denied), 3, "{place:?}");
        let in_kernel = u64::from(place == Place::Kernel);
        assert_eq!(metric(&hosts, &node, "restreamer_door_in_kernel"), in_kernel);
        let (code, said) = door(&hosts, &node, &["list"]);
        let lines: Vec<_> = said.lines().collect();
        assert!(code == 0 && lines[0].starts_with(place.word()), "{said}");
        assert!(lines[0].ends_with(": 2 admitted, 3 dropped (3 denied, 0 by rate)"), "{said}");
        let cells: Vec<_> = lines.last().unwrap().split_whitespace().collect();
        assert_eq!(cells[..3], ["10.213.0.3/32", "deny", "command"], "{said}");
        assert_eq!(cells[4..], ["-", "3"], "{said}");

        // The longest prefix decides, and a rule that is gone does nothing more.
        assert_eq!(door(&hosts, &node, &["deny", "10.213.0.0/24"]).0, 0);
        assert_eq!(knock(&hosts, &node, OTHER), place.refusal());
        let (code, said) = door(&hosts, &node, &["allow", "10.213.0.3/32"]);
        assert!(code == 0 && said.contains("10.213.0.3/32: allow by command\n"), "{said}");
        assert_eq!(knock(&hosts, &node, DENIED), Fate::In);
        for network in ["10.213.0.0/24", "10.213.0.3"] {
            let (code, said) = door(&hosts, &node, &["remove", network]);
            assert!(
                code == 0 && said.starts_with(network) && said.contains(": no rule\n"),
                "{said}"
            );
        }
        assert_eq!(listing(&hosts, &node)["rules"], json!([]));
        assert_eq!(knock(&hosts, &node, OTHER), Fate::In);
        http::read_bytes(&mut viewer, 100_000);
    }
}

#[test]
fn a_ban_for_a_while_ends_by_itself() {
    for place in PLACES {
        let hosts = Hosts::new("while");
        let node = start(&hosts, place, &json!({}), &lost());
        let denied = Instant::now();
        let (code, said) = door(&hosts, &node, &["deny", "10.213.0.3", "--for", "3s"]);
        assert!(code == 0 && said.contains(": deny by command, expires in 3s\n"), "{said}");
        assert_eq!(knock(&hosts, &node, DENIED), place.refusal());
        eventually("the end of the ban", || {
            rule(&hosts, &node, "10.213.0.3/32").is_none().then_some(())
        });
        let passed = denied.elapsed();
        assert!(passed >= Duration::from_secs(3), "{passed:?}");
        // Not with the next round of the door's thread, which is after ten.
        assert!(passed < Duration::from_secs(8), "{passed:?}");
        assert_eq!(knock(&hosts, &node, DENIED), Fate::In);
    }
}

#[test]
fn what_was_changed_is_there_after_a_restart_with_its_age_and_hits() {
    let folder = tempfile::tempdir().unwrap();
    for place in PLACES {
        let hosts = Hosts::new("restart");
        let state = folder.path().join(place.word());
        let of_door = json!({ "state": state, "deny": ["10.213.9.0/24"] });
        let node = start(&hosts, place, &of_door, &lost());
        let (code, said) = door(&hosts, &node, &["deny", "10.213.0.3"]);
        assert_eq!((code, said.as_str()), (0, "10.213.0.3/32: deny by command\n"));
        let (code, _) = door(&hosts, &node, &["deny", "10.213.8.0/24", "--for", "1h"]);
        assert_eq!(code, 0);
        let (code, _) = door(&hosts, &node, &["allow", "10.213.9.0/24"]);
        assert_eq!(code, 0);
        for _ in 0..2 {
            assert_eq!(knock(&hosts, &node, DENIED), place.refusal());
        }
        let old = eventually("some age", || {
            let rule = rule(&hosts, &node, "10.213.0.3/32").unwrap();
            (rule["age_seconds"].as_u64().unwrap() >= 2).then_some(rule)
        });
        assert_eq!(old["hits"], 2);
        assert!(node.stop().success());

        let node = start(&hosts, place, &of_door, &lost());
        let ours = rule(&hosts, &node, "10.213.0.3/32").unwrap();
        assert_eq!((&ours["hits"], &ours["by"]), (&json!(2), &json!("command")));
        assert!(ours["age_seconds"].as_u64() >= old["age_seconds"].as_u64(), "{ours} {old}");
        assert_eq!(knock(&hosts, &node, DENIED), place.refusal());
        let ours = rule(&hosts, &node, "10.213.0.3/32").unwrap();
        assert_eq!(ours["hits"], 3, "it goes on from there");
        let left = rule(&hosts, &node, "10.213.8.0/24").unwrap();
        let left = left["expires_in_seconds"].as_u64().unwrap();
        assert!((3500..3600).contains(&left), "{left} of an hour, two seconds of which are over");
        let overruled = rule(&hosts, &node, "10.213.9.0/24").unwrap();
        assert_eq!(overruled["verdict"], "allow");
        let (code, said) = door(&hosts, &node, &["remove", "10.213.9.0/24"]);
        let again = "10.213.9.0/24: deny by configuration\n";
        assert_eq!((code, said.as_str()), (0, again));

        // A node that is killed has said of no change that it is saved which is not.
        drop(node);
        let node = start(&hosts, place, &of_door, &lost());
        assert_eq!(rule(&hosts, &node, "10.213.9.0/24").unwrap()["by"], "configuration");
        assert_eq!(knock(&hosts, &node, DENIED), place.refusal());
    }
}

#[test]
fn a_node_says_what_it_does_not_change() {
    let hosts = Hosts::new("refuses");
    let node = start(&hosts, Place::Accept, &json!({ "deny": ["10.213.9.0/24"] }), &lost());
    let url = format!("http://127.0.0.1:{}/door/remove?network=", node.side.port());
    let (code, said) = door(&hosts, &node, &["remove", "10.213.9.1/24"]);
    assert!(code == 1 && said.contains("10.213.9.0/24 answered 409: "), "{code} {said}");
    assert!(said.starts_with(&format!("restreamer: {url}")) && said.contains("`allow` it"));
    let (code, said) = door(&hosts, &node, &["remove", "10.213.9.1"]);
    assert!(code == 1 && said.contains(" answered 404: "), "{code} {said}");
    let (code, said) = door(&hosts, &node, &["deny", "10.213.9.1/33"]);
    assert!(code == 2 && said.contains("neither a network"), "{code} {said}");
    let listed = listing(&hosts, &node);
    assert_eq!(listed["rules"].as_array().unwrap().len(), 1);
    assert_eq!(listed["missing"], "CAP_BPF is missing");
    let node = Hosts::on(&hosts.node, || Node::with(&json!({ "resources": [lost()] })));
    let (code, said) = door(&hosts, &node, &["list"]);
    assert!(code == 1 && said.ends_with("/door answered 404: no door is configured\n"), "{said}");
}

#[test]
fn another_host_looks_and_changes_only_what_it_has_the_password_for() {
    let hosts = Hosts::new("remote");
    let node = start(&hosts, Place::Kernel, &json!({}), &lost());
    let side = side_port(&node);
    let deny = "/door/deny?network=10.213.0.3";
    Hosts::on(&hosts.sender, || {
        assert_eq!(http::get(side, "/door").status, 200);
        assert_eq!(http::request(side, "POST", deny).status, 403);
    });
    let (code, said) = door_at(&hosts.sender, &side.to_string(), &["deny", "10.213.0.3"]);
    assert!(code == 1 && said.contains(" answered 403: only this host"), "{code} {said}");
    assert_eq!(listing(&hosts, &node)["rules"], json!([]));
    // The host's own address is the host itself.
    Hosts::on(&hosts.node, || assert_eq!(http::request(side, "POST", deny).status, 200));
    assert_eq!(knock(&hosts, &node, DENIED), Fate::Silence);
    drop(node);

    let authentication = json!({ "type": "basic", "realm": "door", "user": "ops" });
    let of_door = json!({ "authentication": authentication });
    let node = start(&hosts, Place::Kernel, &of_door, &lost());
    let side = side_port(&node);
    let asked = Hosts::on(&hosts.sender, || http::request(side, "POST", deny));
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").unwrap().starts_with("Basic realm=\"door\""));
    let with = |who: &str, more: &[&str]| {
        let url = format!("http://{who}@{side}");
        door_at(&hosts.sender, &url, &[&["deny", "10.213.0.3", "--for", "90"], more].concat())
    };
    let (code, said) = with("ops:s3%20crex", &[]);
    assert!(code == 1 && said.contains(" answered 401: "), "{code} {said}");
    assert!(!said.contains("s3") && !said.contains("ops"), "{said}");
    assert_eq!(listing(&hosts, &node)["rules"], json!([]));
    let (code, said) = with("ops:s3%20cret", &[]);
    assert!(code == 0 && said.contains("10.213.0.3/32: deny by command, "), "{code} {said}");
    assert_eq!(knock(&hosts, &node, DENIED), Fate::Silence);
    let told = node.await_log(|line| line["event"] == "door" && line["user"] == "ops");
    let IpAddr::V4(peer) = told["peer"].as_str().unwrap().parse().unwrap() else {
        panic!("{told}");
    };
    assert_eq!((peer, &told["seconds"]), (OTHER, &json!(90)), "{told}");
    let file = node.dir.path().join("password");
    fs::write(&file, "s3 cret\n").unwrap();
    let (code, said) = with("ops", &["--password-file", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    // Whoever is here needs none.
    assert_eq!(door(&hosts, &node, &["remove", "10.213.0.3"]).0, 0);
    assert_eq!(knock(&hosts, &node, DENIED), Fate::In);
}
