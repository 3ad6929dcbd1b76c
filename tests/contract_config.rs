//! The configuration file: one with every key starts and serves all it names, and whatever is wrong
//! in it is said with the path of its key.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use restreamer::limits::PROBLEMS_MAX;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use support::eventually;
use support::http::{self, Session};
use support::node::{Node, run, stream};
use support::packets::packets;
use support::source::{Source, Speech};
use support::upstream::{Kind, Upstream, accept, free_address, read_head};
use tempfile::TempDir;

/// Every key of the format, each with its value on a line of its own; `@…@` is filled in.
const WHOLE: &str = include_str!("data/every-key.json");

/// Keys of the contract; ours are in the file as well.
const KEYS: [&str; 33] = [
    "listen",
    "timeout",
    "reconnect",
    "readtimeout",
    "inputbuffer",
    "outputbuffer",
    "maxconnections",
    "fullconnections",
    "nostats",
    "heartbeatinterval",
    "log",
    "profile",
    "userlist",
    "password",
    "resources",
    "type",
    "serve",
    "authentication",
    "realm",
    "user",
    "users",
    "remote",
    "remotes",
    "mru",
    "clientinterface",
    "preamble",
    "cache",
    "api",
    "notifications",
    "event",
    "url",
    "token_query",
    "",
];

#[test]
fn a_file_with_every_key_starts_and_serves_everything() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("packets.ts"), packets(0..1000)).unwrap();
    std::fs::write(at("preamble.ts"), packets(5000..5010)).unwrap();
    std::fs::write(at("page.html"), "<p>a page</p>").unwrap();
    let script = format!("cat {}\nexec sleep 1000\n", at("packets.ts").display());
    std::fs::write(at("script"), script).unwrap();
    let (http, tcp) =
        (Source::start(Speech::Http, 2_000_000), Source::start(Speech::Raw, 2_000_000));
    let unix = Upstream::open(Kind::Unix, dir.path());
    let fifo = Upstream::open(Kind::Fifo, dir.path());
    let seqpacket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    seqpacket.bind(&SockAddr::unix(at("seqpacket")).unwrap()).unwrap();
    seqpacket.listen(4).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = filled(&[
        ("@DIR@", dir.path().display().to_string()),
        ("@HTTP@", http.address.to_string()),
        ("@TCP@", tcp.address.to_string()),
        ("@UDP@", udp.to_string()),
        ("@TOLD@", told.local_addr().unwrap().to_string()),
        ("@WEB@", web.local_addr().unwrap().to_string()),
    ]);
    let file = at("restreamer.json").to_str().unwrap().to_owned();
    std::fs::write(&file, &text).unwrap();
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, out, err.as_str()), (0, format!("{file}: ok\n"), ""));

    let log = at("log");
    let mut node = Node::spawn(&[&file], dir);
    let (_unix, _fifo) = (unix.accept(), fifo.accept());
    let _seqpacket = seqpacket.accept().unwrap();
    (node.address, node.side) = eventually("where it serves", || addresses(&log));
    let alice = "Authorization: Basic YWxpY2U6czNjcmV0\r\n"; // alice:s3cret
    for (path, lines) in [
        ("/http.ts", alice),
        ("/tcp.ts", ""),
        ("/udp.ts", ""),
        ("/unix.ts", ""),
        ("/unixgram.ts", ""),
        ("/unixpacket.ts", ""),
        ("/file.ts", ""),
        ("/fifo.ts", ""),
        ("/fork.ts", ""),
        ("/forked.ts", ""),
    ] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        eventually(path, || {
            (http::ask(node.address, request.as_bytes()).status == 200).then_some(())
        });
    }
    let serving_web = std::thread::spawn(move || {
        let mut peer = accept(&web);
        read_head(&mut peer);
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nweb").unwrap();
    });
    let mut session = Session::open(node.address);
    let bob = "Authorization: Bearer s3cret too\r\n";
    for (path, lines, begins) in [
        ("/page", "", "<p>a page</p>"),
        ("/web/x", bob, "web"),
        ("/health", "", "{\"status\":\"ok\""),
        ("/statistics", "", "{\"status\":\"ok\""),
        ("/check", "", "200 ok"),
        ("/metrics", bob, "# HELP "),
    ] {
        let answer = session.ask_with("GET", path, lines);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().starts_with(begins), "{path}");
    }
    serving_web.join().unwrap();
    assert_eq!(session.ask("GET", "/metrics").status, 403);
    assert_eq!(session.ask_with("GET", "/control?online", bob).text(), "202 accepted");
    let (answer, mut viewer) =
        http::open(node.address, b"GET /http.ts?token=alice:s3cret HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(http::read_bytes(&mut viewer, 1880), packets(5000..5010), "the preamble");
    let head = read_head(&mut accept(&told));
    assert!(head.starts_with("GET /alive HTTP/1.1\r\n"), "{head}");
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("\"event\":\"config\""), "nothing to warn of: {log}");
}

#[test]
fn the_file_has_every_key() {
    for key in KEYS {
        assert!(WHOLE.contains(&format!("\"{key}\": ")), "{key:?} is missing");
    }
    assert!(WHOLE.matches("\"\": ").count() > 10, "comments are everywhere");
    let places = places(&checked());
    assert!(places.len() > 60, "only {} keys have a value on their line", places.len());
}

// ---- One mistake -----------------------------------------------------------------------------

#[test]
fn each_value_of_the_wrong_type_is_one_error_that_names_its_key() {
    let text = checked();
    for place in places(&text) {
        let wrong = mistyped(&text, &[&place]);
        let why = only_complaint(&wrong, &place);
        assert!(why.starts_with("expected "), "{}: {why}", place.path);
    }
}

/// What is done to the line of a key.
#[derive(Clone, Copy)]
enum Change {
    /// Another value.
    To(&'static str),
    /// Another key.
    Named(&'static str),
    /// The line is left out.
    Gone,
}
use Change::{Gone, Named, To};

/// The key whose line is changed, how, and the key that is blamed.
const MISTAKES: [(&str, Change, &str); 52] = [
    ("listen", To("\"127.0.0.1\""), "listen"),
    ("listen", To("\":no-such-service\""), "listen"),
    ("listen", To("\"::1:80\""), "listen"),
    ("side", To("\"127.0.0.1:99999\""), "side"),
    ("timeout", To("-5"), "timeout"),
    ("inputbuffer", To("-1"), "inputbuffer"),
    ("outputbuffer", To("0.5"), "outputbuffer"),
    ("refuse_with", To("500"), "refuse_with"),
    ("trusted_proxies", To("[\"x\"]"), "trusted_proxies[0]"),
    ("door.deny", To("[\"203.0.113.0/24\", \"10.0.0/8\"]"), "door.deny[1]"),
    ("door.allow", To("[\"203.0.113.0/24\"]"), "door.allow[0]"),
    ("door.rate.per_second", To("0"), "door.rate.per_second"),
    ("door.rate.burst", To("0.5"), "door.rate.burst"),
    ("door.source.v4", To("0"), "door.source.v4"),
    ("door.source.v6", Named("ipv6"), "door.source.ipv6"),
    ("door.required", Named("require"), "door.require"),
    ("door.state", Named("stat"), "door.stat"),
    ("turn.min", To("0"), "turn.min"),
    ("turn.max", Named("mox"), "turn.mox"),
    ("workers", To("0"), "workers"),
    ("workers", To("257"), "workers"),
    ("pin_workers", Named("pinworkers"), "pinworkers"),
    ("resources[0].remote", To("\"ftp://alice:s3cret@h/\""), "resources[0].remote"),
    ("resources[0].remotes", To("[\"tcp://h\"]"), "resources[0].remotes[0]"),
    ("resources[0].mru", To("13"), "resources[0].mru"),
    ("resources[0].clientinterface", To("\"l/o\""), "resources[0].clientinterface"),
    ("resources[0].preamble", Named("preable"), "resources[0].preable"),
    ("resources[0].hot", Named("hut"), "resources[0].hut"),
    ("resources[0].congestion", To("\"c/bic\""), "resources[0].congestion"),
    ("resources[0].health.no_data", To("0.5"), "resources[0].health.no_data"),
    ("resources[0].health.bitrate.below", To("0"), "resources[0].health.bitrate.below"),
    ("resources[0].authentication.realm", To("\"\\u0007\""), "resources[0].authentication.realm"),
    ("resources[0].authentication.user", Named("usr"), "resources[0].authentication.usr"),
    ("resources[1].remote", To("\"tcp://127.0.0.1\""), "resources[1].remote"),
    ("resources[1].serve", To("\"/http.ts\""), "resources[1].serve"),
    ("resources[2].type", Gone, "resources[2].type"),
    ("resources[3].type", To("\"strem\""), "resources[3].type"),
    ("resources[9].remote", To("\"udp://h\""), "resources[9].remote"),
    ("resources[10].type", To("\"statics\""), "resources[10].type"),
    ("resources[11].remote", To("\"tcp://h:1\""), "resources[11].remote"),
    ("resources[11].remote", To("\"\""), "resources[11].remote"),
    ("resources[12].api", To("\"wealth\""), "resources[12].api"),
    ("resources[14].remote", To("\"/ud.ts\""), "resources[14].remote"),
    ("resources[15].remote", To("\"/health\""), "resources[15].remote"),
    ("resources[15].remote", Gone, "resources[15].remote"),
    ("resources[16].api", Gone, "resources[16].api"),
    ("notifications[0].event", To("\"limithit\""), "notifications[0].event"),
    ("notifications[1].type", To("\"mail\""), "notifications[1].type"),
    ("notifications[1].url", To("\"127.0.0.1:9\""), "notifications[1].url"),
    ("notifications[1].authentication.type", To("\"odd\""), "notifications[1].authentication.type"),
    ("notifications[2].event", Gone, "notifications[2].event"),
    ("userlist.alice.password", Named("pasword"), "userlist.alice.pasword"),
];

/// The same, of those after which nobody knows any more which streams there are.
const OF_STREAMS: [(&str, Change, &str); 2] = [
    ("resources[0].serve", To("\"http.ts\""), "resources[0].serve"),
    ("resources[2].serve", Gone, "resources[2].serve"),
];

#[test]
fn each_single_mistake_is_one_complaint_that_names_its_key() {
    let text = checked();
    let all = MISTAKES.iter().chain(&OF_STREAMS);
    for (key, change, blamed) in all.filter(|(key, ..)| *key != "userlist.alice.password") {
        let (wrong, place) = changed(&text, key, *change, blamed);
        let why = only_complaint(&wrong, &place);
        assert!(why.len() > 5, "{blamed}: {why}");
    }
}

#[test]
fn each_object_or_array_of_the_wrong_type_is_one_error_that_names_its_key() {
    let a = stream("/a.ts", "tcp://127.0.0.1:9");
    let with = |key: &str, value: Value| {
        let mut resource = a.clone();
        resource[key] = value;
        json!({ "resources": [resource] })
    };
    for (path, config) in [
        ("resources", json!({ "resources": { "a": a } })),
        ("resources[1]", json!({ "resources": [a, "/b.ts"] })),
        ("resources[0].authentication", with("authentication", json!("basic"))),
        ("resources[0].remotes", with("remotes", json!({}))),
        ("resources[0].remotes[1]", with("remotes", json!(["tcp://h:1", 7]))),
        ("resources[0].authentication.users[0]", with("authentication", json!({ "users": [7] }))),
        ("notifications", json!({ "resources": [a], "notifications": {} })),
        ("notifications[0]", json!({ "resources": [a], "notifications": ["url"] })),
        ("turn", json!({ "resources": [a], "turn": [5, 60] })),
        ("userlist", json!({ "resources": [a], "userlist": ["alice"] })),
        ("userlist.alice", json!({ "resources": [a], "userlist": { "alice": "s3cret" } })),
    ] {
        let place = Place { line: 1, path: path.to_owned(), value: 0..0 };
        let why = only_complaint(&config.to_string(), &place);
        assert!(why.starts_with("expected "), "{path}: {why}");
    }
}

#[test]
fn a_file_without_a_stream_is_refused() {
    for resources in [
        json!([]),
        json!([{ "type": "static", "serve": "/a", "remote": "file:///etc/hostname" }]),
        json!([{ "type": "api", "serve": "/a", "api": "health" }]),
    ] {
        let (dir, file) = written(&json!({ "resources": resources }).to_string());
        for arguments in [&["--check", &*file][..], &[&file]] {
            let (code, out, err) = run(arguments, dir.path());
            assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
            assert!(err.contains("no stream"), "{err}");
        }
    }
}

// ---- All of them -----------------------------------------------------------------------------

#[test]
fn all_values_of_the_wrong_type_are_said_at_once() {
    let text = checked();
    // Each half of them is as many as are said of a file.
    for half in 0..2 {
        let places = places(&text);
        let places: Vec<_> = places.iter().skip(half).step_by(2).collect();
        assert!(places.len() <= PROBLEMS_MAX);
        let (dir, file) = written(&mistyped(&text, &places));
        let (code, out, check) = run(&["--check", &file], dir.path());
        assert_eq!((code, out.as_str()), (1, ""));
        let expected = places.iter().map(|place| (place.line, place.path.clone()));
        assert_eq!(complaints(&check, &file), expected.collect::<Vec<_>>(), "{check}");
        // At start it is refused for the same reasons.
        let (code, out, start) = run(&[&file], dir.path());
        assert_eq!((code, out.as_str()), (1, ""));
        assert_eq!(start.replace("restreamer: ", ""), check);
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let mut text = checked();
    let mut keys = Vec::new();
    let mut expected = Vec::new();
    for (key, change, blamed) in MISTAKES {
        // A key can be wrong in one way at a time.
        if !keys.contains(&key) {
            let (wrong, place) = changed(&text, key, change, blamed);
            text = wrong;
            keys.push(key);
            expected.push((place.line, place.path));
        }
    }
    // What is missing where a key has another name.
    let alice = line_of(&text, text.find("\"alice\": {").unwrap());
    expected.push((alice, "userlist.alice.password".to_owned()));
    let (dir, file) = written(&text);
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, out.as_str()), (1, ""));
    let mut said = complaints(&err, &file);
    said.sort();
    expected.sort();
    assert_eq!(said, expected, "{err}");
    assert!(!err.contains("s3cret"), "{err}");
}

#[test]
fn what_is_only_warned_of_is_served() {
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "profile": true, "colour": "blue",
        "resources": [
            stream("/a.ts", &format!("tcp://{}", free_address())),
            { "type": "api", "serve": "/check", "api": "check", "remote": "/b.ts", "serves": 1 },
        ],
        "userlist": { "": 1, "alice": { "password": "" } },
    });
    let (dir, file) = written(&config.to_string());
    let (code, _, err) = run(&["--check", &file], dir.path());
    assert_eq!(code, 1, "{err}");
    let mut said: Vec<_> = complaints(&err, &file).into_iter().map(|(_, path)| path).collect();
    said.sort();
    let paths = [
        "colour",
        "profile",
        "resources[1].remote",
        "resources[1].serves",
        "userlist.alice.password",
    ];
    assert_eq!(said, paths, "{err}");
    let node = Node::start(&[&file], dir);
    assert_eq!(http::fetch(node.address, "/check").status, 404);
    let mut warned: Vec<_> = err.lines().map(str::to_owned).collect();
    let log = node.rest_of_log();
    warned.retain(|warning| {
        let is_it = |entry: &Value| entry["event"] != "start" && entry["message"] == *warning;
        !log.iter().any(is_it)
    });
    assert_eq!(warned, Vec::<String>::new(), "not in the log");
}

// ---- What they share -------------------------------------------------------------------------

/// A key and its value.
struct Place {
    line: usize,
    path: String,
    /// Where the value is in the file.
    value: std::ops::Range<usize>,
}

/// The file with something for each `@…@`.
fn filled(values: &[(&str, String)]) -> String {
    let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    values.iter().fold(WHOLE.to_owned(), fill)
}

/// The file as good as it is for `--check`, which looks at nothing else.
fn checked() -> String {
    let nobody = "127.0.0.1:9".to_owned();
    let mut values =
        ["@HTTP@", "@TCP@", "@UDP@", "@TOLD@", "@WEB@"].map(|n| (n, nobody.clone())).to_vec();
    values.push(("@DIR@", "/nowhere".to_owned()));
    filled(&values)
}

/// All keys whose value is on their line, with their paths. (Every line has one key, or begins or
/// ends an object or array.)
fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    // For each object or array that is open: its path, and the next index in it.
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim().trim_end_matches(',');
        let Some(last) = code.chars().last() else {
            at += line.len() + 1;
            continue;
        };
        let (key, value) =
            code.split_once(": ").map_or(("", code), |(key, value)| (key.trim_matches('"'), value));
        let is_comment = code.starts_with("\"\": ");
        let path = match open.last_mut() {
            None => String::new(),
            Some((above, index)) if key.is_empty() && !is_comment => {
                *index += 1;
                format!("{above}[{}]", *index - 1)
            }
            Some((above, _)) if above.is_empty() => key.to_owned(),
            Some((above, _)) => format!("{above}.{key}"),
        };
        match last {
            _ if is_comment => {}
            '}' | ']' if code.len() == 1 => {
                open.pop();
            }
            '{' | '[' => open.push((path, 0)),
            _ => {
                let begin = at + line.find(value).unwrap();
                places.push(Place { line: number + 1, path, value: begin..begin + value.len() });
            }
        }
        at += line.len() + 1;
    }
    places
}

/// The file with values of another type.
fn mistyped(text: &str, places: &[&Place]) -> String {
    let mut text = text.to_owned();
    for place in places.iter().rev() {
        let wrong = if text[place.value.clone()].starts_with('"') { "7" } else { "\"s3cret\"" };
        text.replace_range(place.value.clone(), wrong);
    }
    text
}

/// The file with a change, and the place that is to blame for it.
fn changed(text: &str, key: &str, change: Change, blamed: &str) -> (String, Place) {
    let place = places(text).into_iter().find(|place| place.path == key).expect(key);
    let Place { line, value, .. } = place;
    let begin = text[..value.start].rfind('\n').unwrap() + 1;
    let end = begin + text[begin..].find('\n').unwrap();
    let mut wrong = text.to_owned();
    let line = match change {
        To(value_instead) => {
            wrong.replace_range(value, value_instead);
            line
        }
        Named(name) => {
            let old = key.rsplit('.').next().unwrap();
            let new = text[begin..end].replacen(old, name, 1);
            wrong.replace_range(begin..end, &new);
            line
        }
        Gone => {
            wrong.replace_range(begin..end, "");
            // What is missing is missing from its object.
            let indent = text[begin..end].len() - text[begin..end].trim_start().len();
            let brace =
                |line: &str| line.ends_with('{') && line.len() - line.trim_start().len() < indent;
            let lines: Vec<_> = text[..begin].lines().collect();
            lines.iter().rposition(|line| brace(line)).unwrap() + 1
        }
    };
    (wrong, Place { line, path: blamed.to_owned(), value: 0..0 })
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Asserts that `--check` says one thing about a file, and where; answers what.
fn only_complaint(text: &str, place: &Place) -> String {
    let (dir, file) = written(text);
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{}: {err}", place.path);
    let said = complaints(&err, &file);
    assert_eq!(said, [(place.line, place.path.clone())], "{err}");
    assert!(!err.contains("s3cret"), "{err}");
    err.trim_end().rsplit(&format!("{}: ", place.path)).next().unwrap().to_owned()
}

/// Line and path of each complaint.
fn complaints(said: &str, file: &str) -> Vec<(usize, String)> {
    let place = |line: &str| {
        let place = line.strip_prefix(&format!("{file}:")).unwrap();
        let mut parts = place.splitn(3, ": ");
        (parts.next().unwrap().trim_end_matches(':').parse().unwrap(), {
            parts.next().unwrap().to_owned()
        })
    };
    said.lines().map(place).collect()
}

/// A file with this text, in a folder of its own.
fn written(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.json").to_str().unwrap().to_owned();
    std::fs::write(&file, text).unwrap();
    (dir, file)
}

/// Where a node that logs to a file serves.
fn addresses(log: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(log).ok()?;
    let whole = &text[..text.rfind('\n')?];
    let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = [None, None];
    for entry in entries {
        for (place, key) in found.iter_mut().zip(["address", "side"]) {
            *place = place.or(entry[key].as_str().map(|address| address.parse().unwrap()));
        }
    }
    found[0].zip(found[1])
}
