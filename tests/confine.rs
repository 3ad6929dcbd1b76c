//! What a node has given up once it serves, and what its commands never get.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::http;
use support::node::{Node, PROGRAM, stream};
use support::source::{Source, Speech};

const NO_CAPABILITIES: &str = "0000000000000000";

/// What `/proc/…/status` says of each thread, by the thread's name.
fn of_threads(pid: u32, key: &str) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // One that ends meanwhile has nothing to say.
    let statuses =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
    };
    statuses.map(|text| (value(&text, "Name"), value(&text, key))).collect()
}

fn assert_confined(pid: u32) {
    for (key, expected) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapInh", NO_CAPABILITIES),
        ("CapPrm", NO_CAPABILITIES),
        ("CapEff", NO_CAPABILITIES),
        ("CapBnd", NO_CAPABILITIES),
        ("CapAmb", NO_CAPABILITIES),
    ] {
        let threads = of_threads(pid, key);
        assert!(!threads.is_empty());
        for (name, found) in threads {
            assert_eq!(found, expected, "{key} of {name}");
        }
    }
}

fn told(node: &Node) -> String {
    let entry = node.await_log(|entry| entry["event"] == "confined");
    entry["message"].as_str().unwrap().to_owned()
}

fn started(config: &Value) -> (Node, String) {
    let node = Node::with(config);
    let said = told(&node);
    (node, said)
}

#[test]
fn every_thread_is_confined_whenever_it_was_started() {
    let source = Source::start(Speech::Http, 8_000_000);
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", web.local_addr().unwrap());
    let second = stream("/b.ts", "unix:///nonexistent");
    let (node, said) = started(&json!({
        "workers": 2,
        "resources": [stream("/a.ts", &source.url(Speech::Http)), second],
        "notifications": [{ "event": "heartbeat", "type": "url", "url": url }],
        "heartbeatinterval": 1,
    }));
    assert!(said.starts_with("confined: no new privileges, no capabilities, "), "{said}");
    assert!(said.contains(" system calls, Landlock ABI "), "{said}");
    node.await_connected();
    assert_eq!(http::get(node.side, "/metrics").status, 200);
    let names: Vec<_> = of_threads(node.pid(), "Name").into_iter().map(|(name, _)| name).collect();
    for expected in ["restreamer", "log", "access", "worker-0", "worker-1", "side", "notify"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:?}");
    }
    assert_confined(node.pid());
}

/// Whether a program that we start could load what works in the kernel (capabilities(7)).
fn has_bpf() -> bool {
    const CAP_BPF: u64 = 39;
    let (_, effective) = of_threads(std::process::id(), "CapEff").remove(0);
    u64::from_str_radix(&effective, 16).unwrap() & (1 << CAP_BPF) != 0
}

/// By whichever filter: with commands it is the wide one.
#[test]
fn the_door_is_changed_and_kept_after_all_is_given_up() {
    for remote in ["tcp://127.0.0.1:9", "fork:///bin/sleep?1000"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("door.json");
        let door = json!({ "rate": { "per_second": 1000 }, "state": state });
        let (node, said) =
            started(&json!({ "resources": [stream("/a.ts", remote)], "door": door }));
        assert!(said.starts_with("confined: no new privileges, no capabilities, "), "{said}");
        assert_confined(node.pid());
        for (change, network) in
            [("deny", "127.3.0.0/16"), ("allow", "127.3.3.0/24"), ("remove", "127.3.0.0/16")]
        {
            let path = format!("/door/{change}?network={network}");
            let answer = http::request(node.side, "POST", &path);
            let status = answer.status;
            let told = answer.text();
            assert_eq!(status, 200, "{remote}: {told}");
            let listing: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(listing["place"], if has_bpf() { "kernel" } else { "accept" });
            assert_eq!(listing["saved"], true, "{remote}: {listing}");
            assert_eq!(fs::read_to_string(&state).unwrap().contains(network), change != "remove");
        }
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(files.collect::<Vec<_>>(), ["door.json"], "and nothing beside it");
        assert_eq!(http::get(node.address, "/none").status, 404);
        assert_eq!(node.count("restreamer_door_admitted_total", ""), 1);
        assert!(node.stop().success());
    }
}

#[test]
fn what_the_configuration_does_not_confine_is_warned_of() {
    let (node, said) =
        started(&json!({ "confine": false, "resources": [stream("/a.ts", "tcp://127.0.0.1:9")] }));
    assert!(said.starts_with("not confined, "), "{said}");
    for (name, found) in of_threads(node.pid(), "NoNewPrivs") {
        assert_eq!(found, of_threads(std::process::id(), "NoNewPrivs")[0].1, "{name}");
    }
}

/// Root needs no capability for what its own files are for; the log is one of them.
#[test]
fn a_log_is_made_again_and_a_file_beside_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("logo"), "one").unwrap();
    let logo = json!({ "type": "static", "serve": "/logo",
        "remote": format!("file://{}", at("logo").display()) });
    let node = Node::with(&json!({ "resources": [stream("/a.ts", "tcp://127.0.0.1:9"), logo] }));
    assert_eq!(http::fetch(node.address, "/logo").text(), "one");
    // As those do it who never want half a file to be seen.
    fs::write(at("new"), "two").unwrap();
    fs::rename(at("new"), at("logo")).unwrap();
    assert_eq!(http::fetch(node.address, "/logo").text(), "two");
    // What leads out of its directory is not followed.
    fs::remove_file(at("logo")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", at("logo")).unwrap();
    assert_eq!(http::fetch(node.address, "/logo").status, 403);
}

#[test]
fn a_release_that_a_link_is_led_to_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let release = |name: &str| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("page"), name).unwrap();
        std::os::unix::fs::symlink(name, at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
    };
    release("first");
    let page = json!({ "type": "static", "serve": "/page",
        "remote": format!("file://{}", at("current/page").display()) });
    let node = Node::with(&json!({ "resources": [stream("/a.ts", "tcp://127.0.0.1:9"), page] }));
    assert_eq!(http::fetch(node.address, "/page").text(), "first");
    release("second");
    assert_eq!(http::fetch(node.address, "/page").text(), "second");
}

/// Their socket is made with each attempt, long after the capabilities have gone.
#[test]
fn datagrams_are_received_at_a_port_that_is_not_everybodys() {
    let free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    let port = (512..1024).find(free).expect("a free port");
    let (node, said) =
        started(&json!({ "resources": [stream("/a.ts", &format!("udp://127.0.0.1:{port}"))] }));
    assert!(said.contains("no capabilities but CAP_NET_BIND_SERVICE, "), "{said}");
    let came = node.await_log(|entry| entry["event"] == "connected" || entry["event"] == "error");
    assert_eq!(came["event"], "connected", "{came}");
}

/// What a shell script says on standard error, by line, up to `end`.
fn said_by_command(script: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script");
    fs::write(&file, script).unwrap();
    let node = Node::of(&format!("fork://sh?{}", file.display()));
    let mut said = Vec::new();
    node.await_log(|entry| {
        if entry["event"] == "stderr" {
            said.push(entry["message"].as_str().unwrap().to_owned());
        }
        entry["message"] == "end"
    });
    said
}

#[test]
fn a_command_has_no_privileges_no_descriptors_and_no_place_to_write() {
    let said = said_by_command(
        "sleep 1000 & # holds the output open
         exec >&2
         grep -E '^(Cap...|NoNewPrivs|Seccomp|SigBlk):' /proc/self/status
         n=0
         while [ $n -lt 200 ]; do [ -e /proc/$$/fd/$n ] && echo fd $n; n=$((n + 1)); done
         for file in /etc/new-file /new-file /var/log/new-file; do
             (: >$file) 2>/dev/null && echo wrote $file
         done
         kept=$(mktemp) && echo kept >$kept && rm $kept && echo scratch
         unshare --user true 2>/dev/null && echo unshared
         echo end; wait",
    );
    let has = |line: &str| said.iter().any(|said| said == line);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk"] {
        assert!(has(&format!("{set}:\t{NO_CAPABILITIES}")), "{set}: {said:?}");
    }
    assert!(has("NoNewPrivs:\t1") && has("Seccomp:\t2"), "{said:?}");
    let mut numbers: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("fd ")).collect();
    // The shell's own, where it reads the script.
    numbers.retain(|number| *number != "10");
    assert_eq!(numbers, ["0", "1", "2"]);
    assert!(!said.iter().any(|line| line.starts_with("wrote") || line == "unshared"), "{said:?}");
    assert!(has("scratch"), "{said:?}");
}

/// Who starts us may have left something open, which is no business of commands.
#[test]
fn a_command_does_not_inherit_what_the_node_has_inherited() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "[ -e /proc/$$/fd/7 ] && echo inherited >&2; echo end >&2").unwrap();
    let resources = [stream("/a.ts", &format!("fork://sh?{}", script.display()))];
    let node = Node::after("exec 7</etc/passwd", &json!({ "resources": resources }));
    assert!(fs::exists(format!("/proc/{}/fd/7", node.pid())).unwrap(), "the node has it");
    let first = node.await_log(|entry| entry["event"] == "stderr");
    assert_eq!(first["message"], "end");
}

/// As in a container: no new privileges, no capabilities, a filter and rules about files already.
/// A node that another one starts has all that.
#[test]
fn a_node_starts_where_it_is_confined_already() {
    let source = Source::start(Speech::Http, 8_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (config, script) = (dir.path().join("restreamer.json"), dir.path().join("script"));
    let any = "127.0.0.1:0";
    let resources = [stream("/a.ts", &source.url(Speech::Http))];
    let text = json!({ "listen": any, "side": any, "resources": resources }).to_string();
    fs::write(&config, text).unwrap();
    fs::write(&script, format!("sleep 1000 & exec {PROGRAM} {} >&2", config.display())).unwrap();
    let outer = Node::of(&format!("fork://sh?{}", script.display()));
    let mut confined = None;
    let mut address = None;
    outer.await_log(|entry| {
        if entry["event"] != "stderr" {
            return false;
        }
        let inner: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
        if inner["event"] == "confined" {
            confined = Some(inner["message"].as_str().unwrap().to_owned());
        }
        if let Some(text) = inner["address"].as_str() {
            address = Some(text.parse::<SocketAddr>().unwrap());
        }
        inner["event"] == "connected"
    });
    let confined = confined.unwrap();
    assert!(confined.contains(" system calls, Landlock ABI "), "{confined}");
    let mut viewer = http::watch(address.unwrap(), "/a.ts");
    assert_eq!(http::read_bytes(&mut viewer, 188_000).len(), 188_000);
}

/// An empty root but for the program, what it links with and `/dev/null`.
fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let linked = Command::new("ldd").arg(PROGRAM).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.map(PathBuf::from).chain([PathBuf::from(PROGRAM)]) {
        let copy = if file == Path::new(PROGRAM) { Path::new("/restreamer") } else { &file };
        let place = dir.path().join(copy.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&file, place).unwrap();
    }
    fs::create_dir(dir.path().join("dev")).unwrap();
    let null = dir.path().join("dev/null");
    let made = Command::new("mknod").arg(null).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success());
    dir
}

#[test]
fn a_node_starts_in_an_empty_root() {
    let source = Source::start(Speech::Http, 8_000_000);
    let resources = [stream("/a.ts", &source.url(Speech::Http))];
    let node = Node::in_root(root(), &json!({ "resources": resources }));
    let said = told(&node);
    assert!(said.contains(" system calls, Landlock ABI "), "{said}");
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    assert_eq!(http::read_bytes(&mut viewer, 188_000).len(), 188_000);
}
