//! `HAProxy` in front of a node: viewers get their stream and are known by their own address, and
//! its checks see how the node is.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value, json};
use support::client::{connect_from, get, hear, ip, leave, live, watch_on};
use support::http::read_bytes;
use support::packets::PACKET_BYTES;
use support::tool::Tool;
use support::{PATIENCE, eventually};

/// An `HAProxy` of the test's own.
struct Balancer {
    address: SocketAddr,
    _tool: Tool,
    dir: tempfile::TempDir,
}

impl Balancer {
    /// One that passes on to `backend nodes`. The lines describe that, and more backends.
    fn start(mode: &str, backends: &str) -> Balancer {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "global\n nbthread 1\n stats socket {}/state mode 600 level user\n\
             defaults\n mode {mode}\n timeout connect 5s\n timeout check 5s\n \
             timeout client 30s\n timeout server 30s\n \
             default-server check inter 100ms rise 1 fall 1\n\
             frontend viewers\n bind fd@0\n default_backend nodes\n{backends}\n",
            dir.path().display(),
        );
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new("haproxy");
        // It takes connections from a socket that is there already: its descriptor 0.
        command.args(["-db", "-f"]).arg(file).stdin(OwnedFd::from(listener));
        let tool = Tool::start_logging(&mut command, &dir.path().join("log"));
        Balancer { address, _tool: tool, dir }
    }

    /// What it says of a server, by column.
    fn server(&self, backend: &str, server: &str) -> Option<BTreeMap<String, String>> {
        let mut socket = UnixStream::connect(self.dir.path().join("state")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        socket.read_to_string(&mut table).unwrap();
        let mut rows = table.lines().map(|line| line.split(',').map(str::to_owned));
        let columns = rows.next()?.map(|name| name.trim_start_matches("# ").to_owned());
        let columns: Vec<_> = columns.collect();
        let mut rows = rows.map(|row| columns.iter().cloned().zip(row).collect());
        rows.find(|row: &BTreeMap<_, _>| row["pxname"] == backend && row["svname"] == server)
    }

    /// Waits until its checks find a server to be like this.
    fn await_server(&self, backend: &str, server: &str, status: &str, check: &str) {
        eventually(&format!("{backend}/{server} is {status} by {check}"), || {
            let row = self.server(backend, server)?;
            (row["status"] == status && row["check_status"] == check).then_some(())
        });
    }
}

/// Lines that make a backend's checks ask for health and expect this status.
fn check(status: &str) -> String {
    format!("option httpchk GET /health\n http-check expect string '\"status\":\"{status}\"'")
}

/// Two viewers through `HAProxy`, on connections on which they have asked for something else
/// before. `line` sees the address of each, and what the access log says.
fn two_viewers(
    mode: &str,
    option: &str,
    of_server: &str,
    config: &Value,
    line: impl Fn(SocketAddr, &Value),
) {
    let (_source, node) = live(config);
    let address = node.address;
    let balancer = Balancer::start(
        mode,
        &format!("backend nodes\n {option}\n {}\n server one {address} {of_server}", check("ok")),
    );
    balancer.await_server("nodes", "one", "UP", "L7OK");
    let viewers = ["127.0.0.5", "127.0.0.6"].map(|source| {
        let mut socket = connect_from(ip(source), balancer.address);
        socket.write_all(get("/health", "").as_bytes()).unwrap();
        assert_eq!(hear(&mut socket).status, 200);
        let request = get("/a.ts", "X-Forwarded-For: 8.8.8.8\r\n");
        watch_on(socket, request.as_bytes())
    });
    for viewer in viewers {
        let address = viewer.local_addr().unwrap();
        line(address, &leave(&node, viewer));
    }
    let server = balancer.server("nodes", "one").unwrap();
    assert_eq!((server["status"].as_str(), server["chkfail"].as_str()), ("UP", "0"), "{server:?}");
    assert_eq!(node.count("restreamer_proxy_errors_total", ""), 0);
}

fn assert_is_viewer(viewer: SocketAddr, line: &Value) {
    assert_eq!(line["peer"], viewer.to_string(), "{line}");
    assert_eq!(line["client"], viewer.ip().to_string(), "{line}");
}

#[test]
fn send_proxy() {
    let config = json!({ "proxy_protocol": true });
    two_viewers("tcp", "", "send-proxy", &config, assert_is_viewer);
}

#[test]
fn send_proxy_v2() {
    let config = json!({ "proxy_protocol": true, "trusted_proxies": ["127.0.0.1"] });
    two_viewers("http", "", "send-proxy-v2", &config, assert_is_viewer);
}

#[test]
fn option_forwardfor() {
    let config = json!({ "trusted_proxies": ["127.0.0.1"] });
    two_viewers("http", "option forwardfor", "", &config, |viewer, line| {
        let peer: SocketAddr = line["peer"].as_str().unwrap().parse().unwrap();
        assert_eq!(peer.ip(), ip("127.0.0.1"), "{line}");
        assert_eq!(line["client"], viewer.ip().to_string(), "{line}");
    });
}

#[test]
fn a_full_node_gets_no_more_viewers_until_one_leaves() {
    let config = json!({ "proxy_protocol": true, "fullconnections": 1 });
    let (one, two) = (live(&config), live(&config));
    let ((_, one), (_, two)) = (&one, &two);
    let balancer = Balancer::start(
        "http",
        &format!(
            "backend nodes\n balance first\n {}\n \
             server one {} send-proxy\n server two {} send-proxy-v2\n\
             backend full\n {}\n server one {} send-proxy",
            check("ok"),
            one.address,
            two.address,
            check("full"),
            one.address,
        ),
    );
    let await_viewers = |here, there| {
        one.await_count("streaming_connections", "/a.ts", here);
        two.await_count("streaming_connections", "/a.ts", there);
    };
    let come = |source| {
        let socket = connect_from(ip(source), balancer.address);
        watch_on(socket, get("/a.ts", "").as_bytes())
    };
    balancer.await_server("nodes", "one", "UP", "L7OK");
    balancer.await_server("full", "one", "DOWN", "L7RSP");
    let mut first = come("127.0.0.5");
    balancer.await_server("full", "one", "UP", "L7OK");
    balancer.await_server("nodes", "one", "DOWN", "L7RSP");
    await_viewers(1, 0);

    // The other node has a place; one who is here stays.
    let _second = come("127.0.0.6");
    await_viewers(1, 1);
    read_bytes(&mut first, 100 * PACKET_BYTES);
    assert_eq!(leave(one, first)["client"], "127.0.0.5");
    balancer.await_server("nodes", "one", "UP", "L7OK");
    let third = come("127.0.0.7");
    assert_eq!(leave(one, third)["client"], "127.0.0.7");
}
