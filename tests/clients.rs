//! Whose request it is, when it comes through others: whom the access log names, and whose viewers
//! the limit of an address counts.

mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};

use serde_json::{Value, json};
use support::client::{
    assert_watching, connect_from, get, hear, ip, leave, live, next_access, watch_on,
};
use support::http;
use support::node::Node;
use support::source::Source;

const PROXY_ERRORS: &str = "restreamer_proxy_errors_total";

/// Watches a little from this address, and answers the line of the access log about it.
fn visit(node: &Node, source: &str, said: &[u8]) -> Value {
    let socket = connect_from(ip(source), node.address);
    leave(node, watch_on(socket, said))
}

// ---- Forwarded and X-Forwarded-For ----------------------------------------------------------

#[test]
fn proxies_are_believed_and_strangers_are_not() {
    let config = json!({ "trusted_proxies": ["127.0.0.2", "127.0.1.0/24", "192.0.2.128/25"] });
    let (_source, node) = live(&config);
    for (source, lines, client) in [
        ("127.0.0.2", "", "127.0.0.2"),
        ("127.0.0.2", "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.1.200", "x-forwarded-for:2001:db8::7\r\n", "2001:db8::7"),
        ("127.0.0.2", "Forwarded: for=192.0.2.7;proto=https\r\n", "192.0.2.7"),
        ("127.0.0.2", "Forwarded: for=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7"),
        // What a client claims stands to the left of what its proxy says.
        ("127.0.0.2", "X-Forwarded-For: 8.8.8.8, 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.2", "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.2", "X-Forwarded-For: 127.0.0.2, 8.8.8.8, 192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.2", "Forwarded: for=8.8.8.8, for=192.0.2.7\r\n", "192.0.2.7"),
        ("127.0.0.2", "Forwarded: for=8.8.8.8\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        // Through another proxy that is trusted.
        ("127.0.0.2", "X-Forwarded-For: 8.8.8.8, 192.0.2.7, 192.0.2.200\r\n", "192.0.2.7"),
        // Nobody who can be followed.
        ("127.0.0.2", "X-Forwarded-For: unknown\r\n", "127.0.0.2"),
        ("127.0.0.2", "Forwarded: for=_hidden\r\n", "127.0.0.2"),
        // From elsewhere it is worth nothing.
        ("127.0.0.3", "X-Forwarded-For: 192.0.2.7\r\n", "127.0.0.3"),
        ("127.0.0.3", "X-Forwarded-For: 192.0.2.7, 127.0.0.2\r\n", "127.0.0.3"),
        ("127.0.0.3", "Forwarded: for=192.0.2.7\r\n", "127.0.0.3"),
        ("127.0.2.1", "X-Forwarded-For: 192.0.2.7\r\n", "127.0.2.1"),
    ] {
        let line = visit(&node, source, get("/a.ts", lines).as_bytes());
        assert_eq!(line["client"], client, "{source} {lines:?}: {line}");
        let peer: SocketAddr = line["peer"].as_str().unwrap().parse().unwrap();
        assert_eq!(peer.ip(), ip(source), "{line}");
    }
}

#[test]
fn nobody_is_believed_by_default() {
    let (_source, node) = live(&json!({}));
    for lines in ["X-Forwarded-For: 192.0.2.7\r\n", "Forwarded: for=192.0.2.7\r\n"] {
        let line = visit(&node, "127.0.0.1", get("/a.ts", lines).as_bytes());
        assert_eq!(line["client"], "127.0.0.1", "{line}");
    }
}

/// On a socket of both families an IPv4 address comes in IPv6's clothes.
#[test]
fn proxies_of_both_families_are_known_on_one_socket() {
    let proxies = ["127.0.0.2", "::ffff:127.0.0.4", "::1"];
    let (_source, mut node) = live(&json!({ "listen": ":0", "trusted_proxies": proxies }));
    let port = node.address.port();
    for (source, client) in [
        ("127.0.0.2", "192.0.2.7"),
        ("127.0.0.3", "127.0.0.3"),
        ("127.0.0.4", "192.0.2.7"),
        ("::1", "192.0.2.7"),
    ] {
        let host = if ip(source).is_ipv4() { "127.0.0.1" } else { "::1" };
        node.address = SocketAddr::new(ip(host), port);
        let line = visit(&node, source, get("/a.ts", "X-Forwarded-For: 192.0.2.7\r\n").as_bytes());
        assert_eq!(line["client"], client, "{source}: {line}");
    }
}

#[test]
fn an_address_has_its_viewers_wherever_they_come_through() {
    let config = json!({ "trusted_proxies": ["127.0.0.2", "127.0.0.3"], "max_per_address": 1 });
    let (_source, node) = live(&config);
    let come = |source: &str, client: &str| {
        let mut socket = connect_from(ip(source), node.address);
        let request = get("/a.ts", &format!("X-Forwarded-For: 8.8.8.8, {client}\r\n"));
        socket.write_all(request.as_bytes()).unwrap();
        (hear(&mut socket).status == 200).then_some(socket)
    };
    let refused = |source: &str, client: &str| {
        assert!(come(source, client).is_none(), "{client} through {source}");
        let line = next_access(&node);
        assert_eq!((&line["event"], &line["reason"]), (&"refused".into(), &"address_full".into()));
        line["client"].as_str().unwrap().to_owned()
    };
    let first = come("127.0.0.2", "192.0.2.7").expect("nobody is there");
    let _second = come("127.0.0.2", "192.0.2.8").expect("another one behind the same proxy");
    assert_eq!(refused("127.0.0.2", "192.0.2.7"), "192.0.2.7");
    assert_eq!(refused("127.0.0.3", "192.0.2.7"), "192.0.2.7", "through another proxy");
    let _stranger = come("127.0.0.9", "192.0.2.9").expect("an address of its own");
    assert_eq!(refused("127.0.0.9", "192.0.2.10"), "127.0.0.9", "it cannot choose another one");
    assert_eq!(leave(&node, first)["client"], "192.0.2.7");
    let _again = come("127.0.0.3", "192.0.2.7").expect("there is a place again");
    assert_eq!(refused("127.0.0.2", "192.0.2.8"), "192.0.2.8");
}

// ---- PROXY protocol -------------------------------------------------------------------------
//
// The bytes are those of doc/proxy-protocol.txt of HAProxy: 2.1 is version 1, 2.2 version 2.

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

/// Version 2, for a client of either family; the destination does not matter.
fn binary_for(client: SocketAddr, more: &[u8]) -> Vec<u8> {
    let ports = [client.port().to_be_bytes(), 80_u16.to_be_bytes()].concat();
    match client.ip() {
        IpAddr::V4(ip) => {
            let addresses = [ip.octets(), Ipv4Addr::LOCALHOST.octets()].concat();
            binary(PROXY, TCP4, &[&addresses[..], &ports, more].concat())
        }
        IpAddr::V6(ip) => {
            let addresses = [ip.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
            binary(PROXY, TCP6, &[&addresses[..], &ports, more].concat())
        }
    }
}

/// Version 1 of the same.
fn text_for(client: SocketAddr) -> Vec<u8> {
    let (family, destination) =
        if client.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
    let (ip, port) = (client.ip(), client.port());
    format!("PROXY {family} {ip} {destination} {port} 80\r\n").into_bytes()
}

fn behind_a_balancer(config: &Value) -> (Source, Node) {
    let mut all = json!({ "proxy_protocol": true });
    for (key, value) in config.as_object().unwrap() {
        all[key] = value.clone();
    }
    live(&all)
}

#[test]
fn a_header_names_the_viewer() {
    let (_source, node) = behind_a_balancer(&json!({}));
    let four: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    let six: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();
    let mapped = "[::ffff:192.0.2.7]:4711".parse().unwrap();
    let own_name = [&[0x02, 0, 9][..], b"a.example", &[0x04, 0, 3, 0, 0, 0]].concat();
    let unix = [&[0; 216][..], &own_name].concat();
    for (header, named) in [
        (text_for(four), Some(four)),
        (text_for(six), Some(six)),
        (text_for(mapped), Some(four)),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 65535\r\n".to_vec(), Some(four)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 4711 80\r\n".to_vec(), None),
        (binary_for(four, &[]), Some(four)),
        (binary_for(six, &[]), Some(six)),
        (binary_for(mapped, &[]), Some(four)),
        (binary_for(four, &own_name), Some(four)),
        (binary_for(six, &own_name), Some(six)),
        (binary(LOCAL, 0, &[]), None),
        (binary(LOCAL, TCP4, &[192, 0, 2, 7, 192, 0, 2, 1, 0, 1, 0, 80]), None),
        (binary(PROXY, 0, &own_name), None),
        (binary(PROXY, 0x31, &unix), None),
    ] {
        let socket = connect_from(ip("127.0.0.5"), node.address);
        let named = named.unwrap_or(socket.local_addr().unwrap());
        let said = [&header[..], get("/a.ts", "").as_bytes()].concat();
        let line = leave(&node, watch_on(socket, &said));
        assert_eq!(line["peer"], named.to_string(), "{}", header.escape_ascii());
        assert_eq!(line["client"], named.ip().to_string(), "{}", header.escape_ascii());
    }
    assert_eq!(node.count(PROXY_ERRORS, ""), 0);
}

/// A connection on which an answer means that everything was read that came before the question,
/// on whatever connection.
struct Barrier(TcpStream);

impl Barrier {
    fn new(node: &Node) -> Barrier {
        let mut socket = connect_from(ip("127.0.0.1"), node.address);
        socket.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        Barrier(socket)
    }

    fn wait(&mut self) {
        self.0.write_all(b"OPTIONS /health HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(hear(&mut self.0).status, 204);
    }
}

#[test]
fn a_header_may_come_in_any_pieces() {
    let (_source, node) = behind_a_balancer(&json!({}));
    let mut barrier = Barrier::new(&node);
    for (client, header) in [
        ("192.0.2.7", text_for as fn(SocketAddr) -> Vec<u8>),
        ("2001:db8::7", |client| binary_for(client, &[0x04, 0, 2, 0, 0])),
    ] {
        let said = |port| {
            let header = header(SocketAddr::new(ip(client), port));
            [&header[..], get("/a.ts", "").as_bytes()].concat()
        };
        let header_bytes = header(SocketAddr::new(ip(client), 10_000)).len();
        // Cut behind each byte of the header, and behind the first of the request; the port tells
        // which one it is.
        let cuts = 1..=u16::try_from(header_bytes + 1).unwrap();
        let begun = cuts.clone().map(|cut| {
            let said = said(10_000 + cut);
            let mut socket = connect_from(ip("127.0.0.5"), node.address);
            let (now, then) = said.split_at(cut.into());
            socket.write_all(now).unwrap();
            (socket, then.to_vec())
        });
        let mut begun: Vec<_> = begun.collect();
        barrier.wait();
        for (socket, then) in &mut begun {
            socket.write_all(then).unwrap();
        }
        for (socket, _) in begun {
            http::hang_up(&assert_watching(socket));
        }
        let named = |port| SocketAddr::new(ip(client), port).to_string();
        let expected: BTreeSet<_> = cuts.clone().map(|cut| named(10_000 + cut)).collect();
        let lines = cuts.map(|_| next_access(&node)["peer"].as_str().unwrap().to_owned());
        assert_eq!(lines.collect::<BTreeSet<_>>(), expected);

        let mut socket = connect_from(ip("127.0.0.5"), node.address);
        for byte in said(10_000) {
            socket.write_all(&[byte]).unwrap();
            barrier.wait();
        }
        assert_eq!(leave(&node, assert_watching(socket))["peer"], named(10_000));
    }
    assert_eq!(node.count(PROXY_ERRORS, ""), 0);
}

#[test]
fn what_is_no_header_is_closed_without_a_word() {
    let (_source, node) = behind_a_balancer(&json!({}));
    let request = get("/a.ts", "").into_bytes();
    let four = [192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
    let too_long = binary(PROXY, TCP4, &[&four[..], &[0; 2048]].concat());
    let line = |line: &str| [line.as_bytes(), &request].concat();
    let all = [
        request.clone(),
        get("/health", "X-Forwarded-For: 192.0.2.7\r\n").into_bytes(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        b"\0".to_vec(),
        b"proxy UNKNOWN\r\n".to_vec(),
        line("PROXY TCP5 192.0.2.7 192.0.2.1 4711 80\r\n"),
        line("PROXY TCP4 192.0.2.256 192.0.2.1 4711 80\r\n"),
        line("PROXY TCP4 2001:db8::7 2001:db8::1 4711 80\r\n"),
        line("PROXY TCP6 192.0.2.7 192.0.2.1 4711 80\r\n"),
        line("PROXY TCP4 192.0.2.7 192.0.2.1 65536 80\r\n"),
        line("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\n"),
        line("PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n"),
        line("PROXY UNKNOWNS\r\n"),
        line(&format!("PROXY UNKNOWN {:93}\r\n", "")),
        format!("PROXY UNKNOWN {:93}", "").into_bytes(),
        binary(0x11, TCP4, &four),
        binary(0x22, TCP4, &four),
        binary(PROXY, 0x41, &four),
        binary(PROXY, TCP4, &four[..11]),
        binary(PROXY, TCP6, &four),
        too_long[..16].to_vec(),
        [&SIGNATURE[..11], b"\r"].concat(),
    ];
    for (number, bytes) in (1..).zip(&all) {
        let socket = connect_from(ip("127.0.0.5"), node.address);
        assert_eq!(answer(socket, bytes), b"", "{}", bytes.escape_ascii());
        node.await_count(PROXY_ERRORS, "", number);
    }
    // One who goes before the header is whole has done nothing wrong: a balancer may ask like that
    // whether we are there.
    for bytes in [&b""[..], b"PROXY TCP4 192.0.2.7 19", &SIGNATURE, b"PROXY UNKNOWN\r\n"] {
        let mut socket = connect_from(ip("127.0.0.5"), node.address);
        socket.write_all(bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(socket, b""), b"", "{}", bytes.escape_ascii());
    }
    assert_eq!(node.count(PROXY_ERRORS, ""), all.len() as u64);
    assert_eq!(node.count("restreamer_requests_total", ""), 0);
    node.await_count("restreamer_guests", "", 0);
    let line = node.rest_of_log().into_iter().find(|entry| entry["module"] == "access");
    assert_eq!(line, None);
}

/// Says something; answers all that comes before the connection ends, in order or not.
fn answer(mut socket: TcpStream, bytes: &[u8]) -> Vec<u8> {
    // It may be cut before all is said.
    let _cut = socket.write_all(bytes);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

#[test]
fn only_proxies_that_are_trusted_may_send_a_header() {
    let proxies = ["127.0.0.2", "127.0.1.0/24", "::ffff:127.0.0.4"];
    for listen in ["127.0.0.1:0", ":0"] {
        let config = json!({ "listen": listen, "trusted_proxies": proxies });
        let (_source, mut node) = behind_a_balancer(&config);
        node.address = SocketAddr::new(ip("127.0.0.1"), node.address.port());
        let client = "192.0.2.7:4711".parse().unwrap();
        let said = [&binary_for(client, &[])[..], get("/a.ts", "").as_bytes()].concat();
        for source in ["127.0.0.2", "127.0.1.77", "127.0.0.4"] {
            let line = visit(&node, source, &said);
            assert_eq!(line["peer"], "192.0.2.7:4711", "{source}: {line}");
        }
        for (number, source) in (1..).zip(["127.0.0.1", "127.0.0.3", "127.0.2.1"]) {
            let socket = connect_from(ip(source), node.address);
            assert_eq!(answer(socket, &said), b"", "{source}");
            node.await_count(PROXY_ERRORS, "", number);
        }
    }
}

#[test]
fn forwarded_lines_behind_a_header_are_judged_by_whom_it_names() {
    let config = json!({ "trusted_proxies": ["127.0.0.1", "198.51.100.0/24"] });
    let (_source, node) = behind_a_balancer(&config);
    for (named, client) in [
        // An edge of ours, which says whom it speaks for; the balancer has passed it on.
        ("198.51.100.1:4711", "192.0.2.7"),
        ("203.0.113.1:4711", "203.0.113.1"),
    ] {
        for header in [text_for(named.parse().unwrap()), binary_for(named.parse().unwrap(), &[])] {
            let request = get("/a.ts", "X-Forwarded-For: 8.8.8.8, 192.0.2.7\r\n");
            let line = visit(&node, "127.0.0.1", &[&header[..], request.as_bytes()].concat());
            assert_eq!((&line["peer"], &line["client"]), (&named.into(), &client.into()), "{line}");
        }
    }
}

#[test]
fn the_header_holds_for_every_request_on_its_connection() {
    let (_source, node) = behind_a_balancer(&json!({}));
    let client = "192.0.2.7:4711".parse().unwrap();
    for (header, as_request) in [(text_for(client), 505), (binary_for(client, &[]), 400)] {
        let mut socket = connect_from(ip("127.0.0.5"), node.address);
        socket.write_all(&header).unwrap();
        for _ in 0..3 {
            socket.write_all(get("/health", "").as_bytes()).unwrap();
            assert_eq!(hear(&mut socket).status, 200);
        }
        let line = leave(&node, watch_on(socket, get("/a.ts", "").as_bytes()));
        assert_eq!(line["peer"], "192.0.2.7:4711", "{line}");

        // All at once.
        let mut socket = connect_from(ip("127.0.0.5"), node.address);
        let requests = ["/health", "/health", "/a.ts"].map(|path| get(path, "")).concat();
        socket.write_all(&[&header[..], requests.as_bytes()].concat()).unwrap();
        for _ in 0..2 {
            assert_eq!(hear(&mut socket).status, 200);
        }
        let line = leave(&node, assert_watching(socket));
        assert_eq!(line["client"], "192.0.2.7", "{line}");

        // Another header is none, but a request that nobody understands.
        let mut socket = connect_from(ip("127.0.0.5"), node.address);
        let requests = [&header[..], get("/health", "").as_bytes(), &header].concat();
        socket.write_all(&requests).unwrap();
        assert_eq!(hear(&mut socket).status, 200);
        assert_eq!(hear(&mut socket).status, as_request);
    }
    assert_eq!(node.count(PROXY_ERRORS, ""), 0);
}

#[test]
fn the_limit_of_an_address_is_that_of_the_one_who_is_named() {
    let (_source, node) = behind_a_balancer(&json!({ "max_per_address": 1 }));
    let come = |header: &[u8]| {
        let mut socket = connect_from(ip("127.0.0.1"), node.address);
        socket.write_all(&[header, get("/a.ts", "").as_bytes()].concat()).unwrap();
        (hear(&mut socket).status == 200).then_some(socket)
    };
    let [one, same, other] =
        ["192.0.2.7:1", "192.0.2.7:2", "192.0.2.8:1"].map(|a| a.parse().unwrap());
    let first = come(&text_for(one)).expect("nobody is there");
    assert!(come(&binary_for(same, &[])).is_none(), "the same address, another port");
    assert_eq!(next_access(&node)["peer"], "192.0.2.7:2");
    let _other = come(&binary_for(other, &[])).expect("another address");
    let _balancer = come(b"PROXY UNKNOWN\r\n").expect("the balancer's own");
    assert!(come(&binary(LOCAL, 0, &[])).is_none(), "the balancer's own, again");
    assert_eq!(next_access(&node)["client"], "127.0.0.1");
    leave(&node, first);
    assert!(come(&text_for(same)).is_some(), "there is a place again");
}
