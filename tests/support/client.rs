//! Clients from an address of the test's choice, who say what they like first, and what the access
//! log tells of them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::http::{Answer, hang_up, read_bytes};
use super::node::{Node, stream};
use super::packets::{PACKET_BYTES, Verifier};
use super::source::{Source, Speech};

const BITS_PER_SECOND: u64 = 2_000_000;

/// A node with one stream, `/a.ts`, that sends, its health at `/health`, and this configuration.
pub fn live(config: &Value) -> (Source, Node) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut all = json!({ "resources": [
        stream("/a.ts", &source.url(Speech::Raw)),
        { "type": "api", "api": "health", "serve": "/health" },
    ]});
    for (key, value) in config.as_object().unwrap() {
        all[key] = value.clone();
    }
    let node = Node::with(&all);
    node.await_connected();
    (source, node)
}

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A connection from this address that no test waits on for ever.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// GET with more header lines, each with its end.
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

/// Reads the next answer: its head, and the body if it says how long that is.
pub fn hear(socket: &mut TcpStream) -> Answer {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        let n = socket.read(&mut byte).unwrap();
        assert_eq!(n, 1, "the head ends early: {}", head.escape_ascii());
        head.push(byte[0]);
    }
    let mut answer = Answer::parse(&head);
    let length = answer.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    answer.body = read_bytes(socket, length);
    answer
}

/// Says something that ends with a request for a stream of numbered packets; answers the
/// connection after the response head, which must be 200, and a few packets, without fault.
pub fn watch_on(mut socket: TcpStream, said: &[u8]) -> TcpStream {
    socket.write_all(said).unwrap();
    assert_watching(socket)
}

/// The same of what was said before.
pub fn assert_watching(mut socket: TcpStream) -> TcpStream {
    let answer = hear(&mut socket);
    assert_eq!(answer.status, 200, "{}", answer.head);
    let mut verifier = Verifier::default();
    verifier.feed(&read_bytes(&mut socket, 20 * PACKET_BYTES));
    verifier.assert_perfect("a viewer");
    assert_eq!(verifier.packets, 20);
    socket
}

/// The line of the access log about the next one who goes or is refused.
pub fn next_access(node: &Node) -> Value {
    node.await_log(|entry| entry["module"] == "access")
}

/// Hangs up; answers the line of the access log about that.
pub fn leave(node: &Node, socket: TcpStream) -> Value {
    hang_up(&socket);
    drop(socket);
    let line = next_access(node);
    assert_eq!((&line["event"], &line["reason"]), (&"viewer".into(), &"left".into()), "{line}");
    line
}
