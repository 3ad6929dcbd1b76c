use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use std::time::Duration;

use super::*;
use crate::operator::Asked;

const KERNEL: &str = r#"{
    "place": "kernel", "missing": null, "rate": {"per_second": 0.5, "burst": 20},
    "source": {"v4": 32, "v6": 64}, "admitted": 1234, "dropped": {"denied": 50, "rate": 6},
    "sources": 12, "sources_max": 65536, "rules_max": 65536, "more": "than we know",
    "state": "/var/lib/restreamer/door.json", "saved": true,
    "rules": [
        {"network": "198.51.100.7/32", "verdict": "deny", "by": "command",
         "age_seconds": 12, "expires_in_seconds": 588, "hits": 3},
        {"network": "203.0.113.16/28", "verdict": "allow", "by": "configuration",
         "age_seconds": 90061, "expires_in_seconds": null, "hits": 1234567},
        {"network": "2001:db8::/32", "verdict": "deny", "by": "configuration",
         "age_seconds": 3600, "expires_in_seconds": null, "hits": 0}
    ]
}"#;

const ACCEPT: &str = r#"{
    "place": "accept", "missing": "CAP_BPF is missing", "rate": null,
    "source": {"v4": 32, "v6": 64}, "admitted": 0, "dropped": {"denied": 0, "rate": 0},
    "sources": 0, "sources_max": 65536, "rules_max": 65536, "state": null, "saved": true,
    "rules": []
}"#;

/// Something that answers one request so, and then says what it was asked.
fn node(status: &str, body: &str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    let served = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(socket.read(&mut byte).unwrap(), 1, "the head ends early");
            head.extend(byte);
        }
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, served)
}

fn at(whom: &str) -> SidePort {
    SidePort::at(whom.parse().unwrap()).unwrap()
}

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn door(text: &str) -> Door {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_change_is_said_in_the_query() {
    let lasting = Some(Duration::from_mins(10));
    for (change, line) in [
        (
            Change::Deny { network: network("203.0.113.0/24"), lasting },
            "POST /door/deny?network=203.0.113.0/24&for=600 HTTP/1.1",
        ),
        (
            Change::Allow { network: network("2001:db8::/32"), lasting: None },
            "POST /door/allow?network=2001:db8::/32 HTTP/1.1",
        ),
        (
            Change::Remove { network: network("198.51.100.7/32") },
            "POST /door/remove?network=198.51.100.7/32 HTTP/1.1",
        ),
    ] {
        let (address, asked) = node("200 OK", KERNEL);
        let answer = at(&address.to_string()).change_door(&change).unwrap();
        let head = asked.join().unwrap();
        assert_eq!(head.lines().next().unwrap(), line);
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
        assert_eq!(answer.raw(), KERNEL);
    }
}

#[test]
fn who_asks_is_told_to_the_node_alone() {
    for (who, shown) in [("alice:secret", "Basic YWxpY2U6c2VjcmV0"), (":sesame", "Bearer sesame")] {
        let (address, asked) = node("401 Unauthorized", r#"{"error": "not \u001b[2Jyou"}"#);
        let error = at(&format!("http://{who}@{address}")).door().unwrap_err().to_string();
        let head = asked.join().unwrap();
        assert!(head.starts_with("GET /door HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("authorization: "), "{head}");
        assert!(head.contains(shown), "{head}");
        assert_eq!(error, format!("http://{address}/door answered 401: not  [2Jyou"));
    }
    let nameless: Asked = "http://alice@127.0.0.1:1".parse().unwrap();
    let error = SidePort::at(nameless).unwrap().door().unwrap_err();
    assert!(matches!(error, OperatorError::Credentials(_)), "{error}");
}

#[test]
fn what_is_no_answer_of_a_door_is_told_of() {
    for (status, body, words) in [
        ("404 Not Found", "404 Not Found\n", "/door answered 404"),
        ("404 Not Found", r#"{"error": "no door"}"#, "/door answered 404: no door"),
        ("302 Found", "", "/door answered 302"),
    ] {
        let (address, asked) = node(status, body);
        let error = at(&address.to_string()).door().unwrap_err().to_string();
        assert_eq!(error, format!("http://{address}{words}"));
        asked.join().unwrap();
    }
    let (address, asked) = node("200 OK", "<html>");
    let error = at(&address.to_string()).door().unwrap().door().unwrap_err().to_string();
    assert!(error.starts_with(&format!("http://{address}/door is no node's side port: ")));
    asked.join().unwrap();
}

#[test]
fn rules_stand_in_columns() {
    assert_eq!(
        door(KERNEL).to_string(),
        "kernel: 1234 admitted, 56 dropped (50 denied, 6 by rate)\n\
         rate: 0.5 a second from a source (/32, /64), 20 at once; 12 of 65536 sources\n\
         state: /var/lib/restreamer/door.json\n\
         NETWORK          VERDICT  BY              AGE  EXPIRES     HITS\n\
         198.51.100.7/32  deny     command         12s    9m48s        3\n\
         203.0.113.16/28  allow    configuration  1d1h        -  1234567\n\
         2001:db8::/32    deny     configuration    1h        -        0\n"
    );
    assert_eq!(
        door(ACCEPT).to_string(),
        "accept (CAP_BPF is missing): 0 admitted, 0 dropped (0 denied, 0 by rate)\n\
         state: nowhere\n\
         NETWORK  VERDICT  BY  AGE  EXPIRES  HITS\n"
    );
    let unsaved = KERNEL.replace(r#""saved": true"#, r#""saved": false"#);
    let said = door(&unsaved).to_string();
    assert!(said.contains("\nstate: /var/lib/restreamer/door.json, which cannot be written\n"));
}

#[test]
fn what_holds_after_a_change() {
    let kernel = door(KERNEL);
    for (of, said) in [
        ("198.51.100.7/32", "198.51.100.7/32: deny by command, expires in 9m48s"),
        ("203.0.113.16/28", "203.0.113.16/28: allow by configuration"),
        ("203.0.113.0/24", "203.0.113.0/24: no rule"),
    ] {
        assert_eq!(kernel.of(network(of)), said);
    }
}

#[test]
fn what_a_restart_takes_back_is_said() {
    assert_eq!(door(KERNEL).reservation(), None);
    let unsaved = KERNEL.replace(r#""saved": true"#, r#""saved": false"#);
    let said = door(&unsaved).reservation().unwrap();
    assert!(said.starts_with("/var/lib/restreamer/door.json cannot be written: "), "{said}");
    assert_eq!(door(ACCEPT).reservation(), None, "nothing was changed");
    let unsaved = ACCEPT.replace(r#""saved": true"#, r#""saved": false"#);
    let said = door(&unsaved).reservation().unwrap();
    assert!(said.starts_with("the node keeps no state: "), "{said}");
}

#[test]
fn spans_are_short() {
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3599, "59m59s"),
        (3600, "1h"),
        (3661, "1h1m"),
        (86_399, "23h59m"),
        (86_400, "1d"),
        (90_000, "1d1h"),
        (366 * 86_400, "366d"),
    ] {
        assert_eq!(Span(seconds).to_string(), text);
    }
}
