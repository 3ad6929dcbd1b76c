//! The node as a service manager meets it: sockets that are passed, and what it is told. A real
//! systemd is in `tests/appliance`.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::node::{Node, PROGRAM, command, stream};
use support::{PATIENCE, http, nobody};

/// Runs the program with these sockets, as `sd_listen_fds(3)` has it. bash, as its descriptors may
/// have more than one digit.
const PASS: &str = r#"
    names=$1; shift
    number=3
    while [ "$1" != -- ]; do
        eval "exec $number<&$1 $1<&-"
        number=$((number + 1)); shift
    done
    shift
    LISTEN_PID=$$ LISTEN_FDS=$((number - 3)) LISTEN_FDNAMES=$names exec "$@"
"#;

/// A command that passes sockets, and those sockets: they may be closed once it has started.
fn passing(sockets: &[(&str, &TcpListener)], file: &str) -> (Command, Vec<OwnedFd>) {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let copies: Vec<OwnedFd> = sockets
        .iter()
        .map(|(_, socket)| {
            let copy = fcntl_dupfd_cloexec(socket.as_fd(), 100).unwrap();
            fcntl_setfd(&copy, FdFlags::empty()).unwrap();
            copy
        })
        .collect();
    let mut command = command("bash");
    command.args(["-c", PASS, "bash", &names.join(":")]);
    command.args(copies.iter().map(|copy| std::os::fd::AsRawFd::as_raw_fd(copy).to_string()));
    command.args(["--", PROGRAM, file]);
    (command, copies)
}

fn config(listen: &TcpListener, workers: usize) -> Value {
    let listen = listen.local_addr().unwrap().to_string();
    let streams = ["/a.ts", "/b.ts"].map(|path| stream(path, &format!("tcp://{}", nobody())));
    json!({ "listen": listen, "workers": workers, "resources": streams })
}

fn start(config: &Value, sockets: &[(&str, &TcpListener)]) -> Node {
    let (file, dir) = Node::write(config);
    let (command, _copies) = passing(sockets, file.to_str().unwrap());
    Node::await_addresses(Node::spawn_by(command, dir))
}

/// Two workers share a socket, or have one each and one more.
#[test]
fn who_connects_between_two_nodes_is_answered_by_the_second() {
    const WAITING: usize = 30;
    for count in [1, 3] {
        let address = "127.0.0.1:0".parse().unwrap();
        let count = std::num::NonZeroUsize::new(count).unwrap();
        let sockets = restreamer_sys::socket::listen_shared(address, 64, count).unwrap();
        let passed: Vec<_> = sockets.iter().map(|socket| ("viewers", socket)).collect();
        let config = config(&sockets[0], 2);
        let node = start(&config, &passed);
        assert_eq!(node.address, sockets[0].local_addr().unwrap());
        assert_eq!(http::get(node.address, "/none").status, 404);
        let address = node.address;
        assert!(node.stop().success());
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let mut socket = http::connect(address);
                socket.write_all(b"GET /none HTTP/1.0\r\n\r\n").unwrap();
                socket
            })
            .collect();
        let node = start(&config, &passed);
        for mut socket in waiting {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.0 404 "), "{answer}");
        }
        let log = node.rest_of_log();
        assert!(!log.iter().any(|line| line["event"] == "config"), "nothing to remark: {log:?}");
        assert!(node.stop().success());
    }
}

/// Whoever keeps the door: the kernel sees those who come from then on, and no others.
#[test]
fn who_is_denied_and_came_before_the_node_is_turned_away_when_it_starts() {
    let denied: SocketAddr = "127.0.0.9:0".parse().unwrap();
    for workers in [1, 2] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(&socket, workers);
        config["door"] = json!({ "deny": [denied.ip().to_string()] });
        let ask = |from: SocketAddr| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.bind(&from.into()).unwrap();
            client.connect(&socket.local_addr().unwrap().into()).unwrap();
            let mut client = TcpStream::from(client);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"GET /none HTTP/1.0\r\n\r\n").unwrap();
            client
        };
        let mut early = ask(denied);
        let mut other = ask("127.0.0.8:0".parse().unwrap());
        let node = start(&config, &[("viewers", &socket)]);
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 404 "), "{answer}");
        let refused = early.read(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionReset, "{refused}");
        assert_eq!(node.count("restreamer_door_dropped_total", "reason=\"denied\""), 1);
        let listing: Value = serde_json::from_str(&http::get(node.side, "/door").text()).unwrap();
        assert_eq!(listing["rules"][0]["hits"], 1, "{listing}");
        assert!(node.stop().success());
    }
}

#[test]
fn a_passed_side_port_is_served_and_what_the_configuration_says_else_is_remarked_upon() {
    let [viewers, side] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&elsewhere, 1);
    config["side"] = json!(side.local_addr().unwrap().to_string());
    let (file, dir) = Node::write(&config);
    let sockets = [("side", &side), ("restreamer.socket", &viewers)];
    let (command, _copies) = passing(&sockets, file.to_str().unwrap());
    let node = Node::spawn_by(command, dir);
    let remark = node.await_log(|entry| entry["event"] == "config");
    let told = remark["message"].as_str().unwrap();
    assert!(told.starts_with("listen: ") && told.contains("LISTEN_FDS"), "{told}");
    let node = Node::await_addresses(node);
    assert_eq!(node.side, side.local_addr().unwrap());
    assert_eq!(http::get(node.side, "/live").text(), r#"{"status":"ok"}"#);
    assert_eq!(http::get(node.address, "/none").status, 404);
    let stuck = node.samples("restreamer_worker_stuck", "");
    assert_eq!(stuck, ["0"]);
}

#[test]
fn a_socket_that_cannot_be_served_is_one_clear_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (name, says) in [("seid", "is named `seid`, expected `viewers` or `side`"), ("a:b", "")] {
        let (file, _dir) = Node::write(&config(&listener, 1));
        let (mut command, _copies) = passing(&[(name, &listener)], file.to_str().unwrap());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("restreamer: LISTEN_FDS: ") && told.contains(says), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn the_manager_is_told_when_the_node_is_ready_while_it_is_well_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&unused, 2);
    drop(unused);
    // A command that would speak in our name, if it could.
    let script = "echo \"given: [$NOTIFY_SOCKET$WATCHDOG_USEC]\" >&2; exec sleep 1000";
    let fork = dir.path().join("command");
    std::fs::write(&fork, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&fork, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    config["resources"][0]["remote"] = json!(format!("fork://{}", fork.display()));
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let node = Node::with_env(&config, &variables);
    let given = |entry: &Value| entry["message"].as_str().is_some_and(|m| m.contains("given: ["));
    let given = node.await_log(given);
    assert!(given["message"].as_str().unwrap().contains("given: []"), "{given}");
    let status = "STATUS=2 streams, ";
    let ready = told();
    assert!(ready.starts_with(status) && ready.ends_with("\nREADY=1\nWATCHDOG=1\n"), "{ready}");
    assert_eq!(http::get(node.address, "/none").status, 404);
    let since = Instant::now();
    for _ in 0..5 {
        let fed = told();
        assert!(fed.starts_with(status) && fed.ends_with("viewers\nWATCHDOG=1\n"), "{fed}");
    }
    let took = since.elapsed();
    assert!(took > Duration::from_millis(600), "five times 200 ms, less what was before: {took:?}");
    node.signal("TERM");
    let end = loop {
        let news = told();
        if !news.contains("WATCHDOG=1") {
            break news;
        }
    };
    assert_eq!(end, "STOPPING=1\nSTATUS=stopping\n");
}

/// An instance is the node in everything but its name: what is mended in the one unit and forgotten
/// in the other is found here.
#[test]
fn the_unit_of_instances_is_that_of_the_node_but_for_names() {
    let unit = |name: &str| {
        let path = format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        // The first line says what the unit is for.
        text.split_once('\n').unwrap().1.to_owned()
    };
    let instances = unit("restreamer@.service");
    assert!(instances.contains("ExecStart=/usr/bin/restreamer /etc/restreamer/%i.json\n"));
    let one = instances
        .replace("/etc/restreamer/%i.json", "/etc/restreamer/restreamer.json")
        .replace("restreamer@NAME.service", "restreamer.service")
        .replace("restreamer-%i", "restreamer")
        .replace(" (%i)", "");
    assert!(!one.contains('%'), "{one}");
    assert_eq!(one, unit("restreamer.service"));
}
