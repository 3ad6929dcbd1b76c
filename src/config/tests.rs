mod door;
mod mistakes;
mod notifications;
mod resources;
mod top_level;
mod users;
mod whole;

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::limits::{
    BUFFER_PACKETS_MAX, CONNECTIONS_MAX, PROBLEMS_MAX, REMOTES_PER_STREAM_MAX, RESOURCES_MAX,
    SERVE_BYTES_MAX,
};

/// A resource that is all right, for files whose problem is elsewhere.
const STREAM: &str = r#"{"type": "stream", "serve": "/a", "remote": "tcp://h:1"}"#;

/// Every key of the format on every kind of entry, comments everywhere.
const WHOLE: &str = r#"{
    "": "comment",
    "listen": ":8000",
    "side": "[::1]:9000",
    "timeout": 10,
    "reconnect": 2.5,
    "readtimeout": 5,
    "inputbuffer": 2000,
    "outputbuffer": 800,
    "maxconnections": 300,
    "fullconnections": 250,
    "nostats": true,
    "heartbeatinterval": 30,
    "log": "/var/log/restreamer.json",
    "": ["another", {"": "comment"}],
    "profile": false,
    "turn": 20,
    "workers": 3,
    "pin_workers": true,
    "ca_file": "/etc/ssl/ours.pem",
    "confine": false,
    "max_per_address": 4,
    "refuse_with": 503,
    "retry_after": 7,
    "trusted_proxies": ["10.0.0.0/8", "2001:db8::1"],
    "proxy_protocol": true,
    "door": {
        "deny": ["203.0.113.0/24", "2001:db8::/32"],
        "allow": ["203.0.113.16/28", "192.0.2.7"],
        "": "who comes too often",
        "rate": {
            "per_second": 0.5,
            "burst": 20
        },
        "source": {
            "v4": 24,
            "v6": 56
        },
        "required": true,
        "steer": false,
        "state": "/var/lib/ours/door.json",
        "authentication": {
            "type": "bearer",
            "user": "bob"
        }
    },
    "resources": [
        {
            "": "first",
            "type": "stream",
            "serve": "/one.ts",
            "remote": "http://alice:s3cret@origin:8080/live",
            "remotes": ["tcp://10.0.0.1:1234", "unix:///run/x.sock", "udp://@239.0.0.1:5000"],
            "mru": 1316,
            "clientinterface": "eth0",
            "rejoin": 2.5,
            "preamble": "/srv/preamble.ts",
            "maxconnections": 100,
            "hot": true,
            "congestion": "bbr",
            "join": {"seconds": 1.5},
            "history": 4000000,
            "slow": "disconnect",
            "pacing": 2.5,
            "on_loss": {"hold": 4.5},
            "health": {
                "no_data": 4.5,
                "": "and so on",
                "no_tables": 20,
                "no_video": false,
                "scrambled": 30,
                "bitrate": {
                    "below": 900000,
                    "for": 60
                }
            },
            "order": "priority",
            "return_after": 10,
            "slate": "/srv/slate.ts",
            "cache": 0,
            "api": "",
            "token_query": true,
            "": "who may watch",
            "authentication":
                {"": 1, "type": "basic", "realm": "tv", "": 2, "user": "alice", "users": ["bob"]}
        },
        {
            "type": "api", "": "before the stream it is about", "serve": "/two", "api": "check",
            "remote": "/two.ts"
        },
        {"type": "api", "serve": "/two/switch", "api": "control", "remote": "/two.ts", "": "",
            "authentication": {"type": "bearer", "user": "bob"}, "token_query": false},
        {"type": "stream", "serve": "/two.ts", "remotes": ["file:///srv/a%20b.ts", "fork://x?a+b"],
            "on_demand": true,
            "linger": 0,
            "start_timeout": 2.5
        },
        {
            "": "web",
            "type": "static",
            "serve": "/logo/",
            "remote": "https://alice:s3cret@www/logo.png",
            "cache": 60,
            "authentication": {"": [], "type": "", "realm": "", "user": "", "users": []}
        },
        {"type": "static", "serve": "/motd", "": {"": ""}, "remote": "file:///etc/motd"},
        {"type": "api", "serve": "/health", "api": "health"},
        {"type": "api", "serve": "/statistics", "api": "statistics"},
        {"type": "api", "serve": "/metrics", "api": "prometheus"}
    ],
    "notifications": [
        {
            "": 1,
            "event": "limit_hit",
            "type": "url",
            "url": "http://tell/full?token=x",
            "authentication":
                {"type": "basic", "realm": "", "user": "alice", "users": ["bob"], "": "alice"}
        },
        {"event": "limit_miss", "type": "url", "": 2, "url": "https://u:s3cret@tell:8443/free",
            "authentication": {"type": "bearer", "users": ["bob", "alice"]}},
        {"": 3, "event": "heartbeat", "type": "url", "url": "http://tell/alive"}
    ],
    "userlist": {
        "": "who",
        "alice": {"": 1, "password": "s3cret"},
        "bob": {"password": "s3cret too", "": ""}
    }
}"#;

fn config(text: &str) -> Config {
    let parsed = parse(text);
    parsed.config.unwrap_or_else(|| panic!("{text}: {}", lines(&parsed.errors)))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A file with one good stream and these members at the top.
fn with(members: &str) -> String {
    format!("{{\"resources\": [{STREAM}],\n{members}}}")
}

/// A file with one resource of these members.
fn resource(members: &str) -> String {
    format!("{{\"resources\": [\n{{{members}}}]}}")
}

fn errors(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!(parsed.config.is_none(), !parsed.errors.is_empty());
    lines(&parsed.errors)
}

fn warnings(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!(lines(&parsed.errors), "", "{text}");
    lines(&parsed.warnings)
}

/// Errors and warnings.
fn everything(text: &str) -> String {
    let parsed = parse(text);
    lines(&[parsed.errors, parsed.warnings].concat())
}

fn remote(url: &str) -> Remote {
    Remote::parse(url).expect(url)
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = config(&with("\"\": 1"));
    assert_eq!(config.listen.to_string(), "localhost:80");
    assert_eq!(config.side.as_ref().map(ToString::to_string).as_deref(), Some("127.0.0.1:9470"));
    assert_eq!(config.timeout, None);
    assert_eq!(config.reconnect, Some(Duration::from_secs(10)));
    assert_eq!(config.read_timeout, None);
    assert_eq!((config.input_buffer_packets, config.output_buffer_packets), (1000, 400));
    assert_eq!((config.max_connections, config.full_connections), (None, None));
    assert_eq!(config.log, None);
    let (min, max) = (Duration::from_millis(5), Duration::from_millis(60));
    assert_eq!(config.turn, TurnPeriod::Adaptive { min, max });
    assert_eq!((config.workers, config.pin_workers), (None, false));
    assert_eq!((config.streams[0].hot, &config.streams[0].congestion), (false, &None));
    assert_eq!(Config { streams: config.streams.clone(), ..Config::default() }, config);
}

#[test]
fn null_and_nothing_are_the_default() {
    let keys = [
        "listen",
        "side",
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
        "turn",
        "workers",
        "pin_workers",
        "ca_file",
        "confine",
        "max_per_address",
        "refuse_with",
        "retry_after",
        "trusted_proxies",
        "proxy_protocol",
        "door",
        "userlist",
        "notifications",
    ];
    for key in keys {
        assert_eq!(config(&with(&format!("\"{key}\": null"))), config(&with("\"\": 0")), "{key}");
    }
    let config = config(&with(
        r#""side": "", "timeout": 0, "reconnect": 0, "readtimeout": 0.0, "maxconnections": 0,
        "fullconnections": 0, "log": "", "userlist": {}, "notifications": [], "profile": false"#,
    ));
    assert_eq!((config.side, config.timeout, config.reconnect), (None, None, None));
    assert_eq!((config.read_timeout, config.log), (None, None));
    assert_eq!((config.max_connections, config.full_connections), (None, None));
}

#[test]
fn keys_of_another_case_count() {
    let text = r#"{"Listen": ":1", "RESOURCES": [{"Type": "stream", "SERVE": "/a",
        "Remote": "tcp://h:1"}]}"#;
    assert_eq!(config(text).listen.port, 1);
    assert_eq!(warnings(text), "");
}

#[test]
fn top_level_values_of_the_wrong_type() {
    let every = [
        ("\"x\"", "a string"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "an object"),
    ];
    let keys = [
        ("listen", "a string"),
        ("side", "a string"),
        ("log", "a string"),
        ("timeout", "a number"),
        ("reconnect", "a number"),
        ("readtimeout", "a number"),
        ("heartbeatinterval", "a number"),
        ("inputbuffer", "a number"),
        ("outputbuffer", "a number"),
        ("maxconnections", "a number"),
        ("fullconnections", "a number"),
        ("workers", "a number"),
        ("pin_workers", "a boolean"),
        ("nostats", "a boolean"),
        ("profile", "a boolean"),
        ("ca_file", "a string"),
        ("confine", "a boolean"),
        ("max_per_address", "a number"),
        ("refuse_with", "a number"),
        ("retry_after", "a number"),
        ("trusted_proxies", "an array"),
        ("proxy_protocol", "a boolean"),
        ("door", "an object"),
        ("userlist", "an object"),
        ("notifications", "an array"),
    ];
    for (key, expected) in keys {
        for (value, found) in every.iter().filter(|(_, found)| *found != expected) {
            let said = format!("line 2: {key}: expected {expected}, found {found}");
            assert_eq!(errors(&with(&format!("\"{key}\": {value}"))), said);
        }
    }
    for (value, found) in every.iter().filter(|(_, found)| *found != "an array") {
        let said = format!("line 1: resources: expected an array, found {found}");
        assert_eq!(errors(&format!("{{\"resources\": {value}}}")), said);
    }
    for (value, found) in every.iter().filter(|(_, found)| *found != "an object") {
        assert_eq!(errors(value), format!("line 1: expected an object, found {found}"));
        let said = format!("line 1: resources[0]: expected an object, found {found}");
        assert_eq!(errors(&format!("{{\"resources\": [{value}]}}")), said);
    }
}

#[test]
fn resource_values_of_the_wrong_type() {
    let every = [
        ("\"x\"", "a string"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "an object"),
    ];
    let keys = [
        ("type", "a string"),
        ("serve", "a string"),
        ("remote", "a string"),
        ("remotes", "an array"),
        ("mru", "a number"),
        ("clientinterface", "a string"),
        ("rejoin", "a number"),
        ("preamble", "a string"),
        ("maxconnections", "a number"),
        ("hot", "a boolean"),
        ("congestion", "a string"),
        ("token_query", "a boolean"),
        ("cache", "a number"),
        ("api", "a string"),
        ("authentication", "an object"),
    ];
    let good = [("type", "\"stream\""), ("serve", "\"/a\""), ("remote", "\"tcp://h:1\"")];
    for (key, expected) in keys {
        for (value, found) in every.iter().filter(|(_, found)| *found != expected) {
            let rest = good.iter().filter(|(other, _)| *other != key);
            let rest = rest.map(|(key, value)| format!("\"{key}\": {value}, "));
            let rest = rest.collect::<Vec<_>>().concat();
            let said = format!("line 2: resources[0].{key}: expected {expected}, found {found}");
            assert_eq!(errors(&resource(&format!("{rest}\"{key}\": {value}"))), said);
        }
    }
}

#[test]
fn numbers_within_their_bounds() {
    let good = [
        "\"timeout\": 0.001",
        "\"timeout\": 86400",
        "\"inputbuffer\": 0",
        "\"inputbuffer\": 1",
        "\"inputbuffer\": 1000000",
        "\"outputbuffer\": 0",
        "\"outputbuffer\": 1",
        "\"outputbuffer\": 1000000",
        "\"maxconnections\": 1000000000",
        "\"fullconnections\": 1000000000",
        "\"turn\": 1",
        "\"turn\": 100",
        "\"workers\": 1",
        "\"workers\": 256",
        "\"heartbeatinterval\": 0",
    ];
    for members in good {
        assert_eq!(warnings(&with(members)), "", "{members}");
    }
    let seconds = "seconds is neither 0 nor at least 0.001";
    let least = config(&with("\"inputbuffer\": 0, \"outputbuffer\": 0"));
    assert_eq!((least.input_buffer_packets, least.output_buffer_packets), (1, 1));
    let buffer = format!("is not within 0 and {BUFFER_PACKETS_MAX}");
    let connections = format!("is not within 0 and {CONNECTIONS_MAX}");
    let bad = [
        ("timeout", "-1", seconds),
        ("reconnect", "0.0009", seconds),
        ("readtimeout", "-1e99", seconds),
        ("heartbeatinterval", "-0.1", seconds),
        ("inputbuffer", "-1", &buffer),
        ("inputbuffer", "1000001", &buffer),
        ("outputbuffer", "-400", &buffer),
        ("maxconnections", "-1", &connections),
        ("fullconnections", "1000000001", &connections),
        ("turn", "0", "is not within 1 and 100"),
        ("turn", "101", "is not within 1 and 100"),
        ("workers", "0", "is not within 1 and 256"),
        ("workers", "257", "is not within 1 and 256"),
    ];
    for (key, value, said) in bad {
        let said = format!("line 2: {key}: {value} {said}");
        assert_eq!(errors(&with(&format!("\"{key}\": {value}"))), said);
    }
    for (key, value, max) in [("mru", "65536", 65535), ("cache", "31622401", 31_622_400)] {
        let said = format!("line 2: resources[0].{key}: {value} is not within 0 and {max}");
        let members =
            format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", "{key}": {value}"#);
        assert_eq!(errors(&resource(&members)), said);
    }
    let said = "line 2: inputbuffer: expected a whole number, found 1.5";
    assert_eq!(errors(&with("\"inputbuffer\": 1.5")), said);
}

/// The original takes any number; that long is practically never.
#[test]
fn more_seconds_than_a_day_are_a_day() {
    let day = Some(Duration::from_hours(24));
    let said = "is more than 86400 seconds and counts as that many";
    for seconds in ["86400.001", "86401", "1000000000", "1e99", "1e999"] {
        for key in ["timeout", "reconnect", "readtimeout", "heartbeatinterval"] {
            let text = with(&format!("\"{key}\": {seconds}"));
            assert_eq!(warnings(&text), format!("line 2: {key}: {said}"), "{seconds}");
            let config = config(&text);
            let read = match key {
                "timeout" => config.timeout,
                "reconnect" => config.reconnect,
                "readtimeout" => config.read_timeout,
                _ => config.heartbeat_interval,
            };
            assert_eq!(read, day, "{key} {seconds}");
        }
        let text = resource(&format!(
            r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", "rejoin": {seconds}"#
        ));
        assert_eq!(warnings(&text), format!("line 2: resources[0].rejoin: {said}"));
        assert_eq!(config(&text).streams[0].reception.rejoin, day);
    }
}

#[test]
fn reception_is_read_from_a_stream() {
    let default = Reception { datagram_bytes: 1500, interface: None, rejoin: None };
    assert_eq!(Reception::default(), default);
    let bytes = |datagram_bytes| Reception { datagram_bytes, ..Reception::default() };
    let on = |name: &str| Reception { interface: Some(name.to_owned()), ..Reception::default() };
    let after = |milliseconds| Reception {
        rejoin: Some(Duration::from_millis(milliseconds)),
        ..Reception::default()
    };
    let table = [
        ("\"\": 0", default.clone()),
        ("\"mru\": null, \"clientinterface\": null, \"rejoin\": null", default.clone()),
        ("\"mru\": 0, \"clientinterface\": \"\", \"rejoin\": 0", default.clone()),
        ("\"rejoin\": 0.0", default),
        ("\"mru\": 188", bytes(188)),
        ("\"mru\": 1328", bytes(1328)),
        ("\"MRU\": 65535", bytes(65535)),
        ("\"clientinterface\": \"e\"", on("e")),
        ("\"clientinterface\": \"vlan.10:1-a_b@c\"", on("vlan.10:1-a_b@c")),
        ("\"clientinterface\": \"abcdefghijklmno\"", on("abcdefghijklmno")),
        ("\"clientinterface\": \"éééééééo\"", on("éééééééo")),
        ("\"rejoin\": 0.001", after(1)),
        ("\"Rejoin\": 2.5", after(2500)),
        ("\"rejoin\": 86400", after(86_400_000)),
    ];
    // Whether or not a remote sends datagrams: the original does not look.
    for remote in ["udp://@239.0.0.1:5000", "unixgram:///x", "tcp://h:1", "file:///x"] {
        for (members, expected) in &table {
            let text = resource(&format!(
                r#""type": "stream", "serve": "/a", "remote": "{remote}", {members}"#
            ));
            assert_eq!(warnings(&text), "", "{text}");
            assert_eq!(config(&text).streams[0].reception, *expected, "{text}");
        }
    }
}

#[test]
fn reception_has_bounds() {
    let small = |bytes: &str| format!("{bytes} is neither 0 nor at least 188");
    let interface = "is not an interface's name, which has at most 15 bytes, no / and no white \
        space";
    let seconds = "seconds is neither 0 nor at least 0.001";
    let table = [
        ("mru", "1", small("1")),
        ("mru", "187", small("187")),
        ("mru", "-1", "-1 is not within 0 and 65535".to_owned()),
        ("mru", "65536", "65536 is not within 0 and 65535".to_owned()),
        ("mru", "1316.5", "expected a whole number, found 1316.5".to_owned()),
        ("clientinterface", "\"abcdefghijklmnop\"", interface.to_owned()),
        ("clientinterface", "\"éééééééé\"", interface.to_owned()),
        ("clientinterface", "\"a/b\"", interface.to_owned()),
        ("clientinterface", "\" eth0\"", interface.to_owned()),
        ("clientinterface", "\"eth\\t0\"", interface.to_owned()),
        ("clientinterface", "\"eth0\\n\"", interface.to_owned()),
        ("clientinterface", "\"eth0\\u0000\"", interface.to_owned()),
        ("clientinterface", "\" \"", interface.to_owned()),
        ("rejoin", "-1", format!("-1 {seconds}")),
        ("rejoin", "0.0009", format!("0.0009 {seconds}")),
        ("rejoin", "-86401", format!("-86401 {seconds}")),
    ];
    for (key, value, said) in table {
        let said = format!("line 2: resources[0].{key}: {said}");
        for remote in ["udp://@239.0.0.1:5000", "tcp://h:1"] {
            let members = r#""type": "stream", "serve": "/a", "remote""#;
            let text = resource(&format!(r#"{members}: "{remote}", "{key}": {value}"#));
            assert_eq!(errors(&text), said);
        }
    }
    // Of resources that receive nothing, as well.
    let text = resource(r#""type": "static", "serve": "/a", "remote": "file:///x", "mru": 100"#);
    assert!(errors(&text).contains("resources[0].mru: 100 is neither 0 nor"), "{}", errors(&text));
}

#[test]
fn datagram_remotes_are_those_of_their_stream() {
    let text = resource(
        r#""type": "stream", "serve": "/a", "remote": "udp://192.0.2.1@232.0.0.1:5000/",
        "remotes": ["rtp://@[ff15::1]:5004", "unixgram:///g", "unixpacket:///p"],
        "clientinterface": "lo""#,
    );
    let stream = &config(&text).streams[0];
    let labels: Vec<&str> = stream.remotes.iter().map(Remote::label).collect();
    assert_eq!(
        labels,
        [
            "udp://192.0.2.1@232.0.0.1:5000/",
            "rtp://@[ff15::1]:5004",
            "unixgram:///g",
            "unixpacket:///p"
        ]
    );
    let address = |host: &str, port| HostPort { host: host.to_owned(), port };
    let kinds: Vec<RemoteKind> = stream.remotes.iter().map(|r| r.kind().clone()).collect();
    let source = Some("192.0.2.1".to_owned());
    let expected = [
        RemoteKind::Udp(Datagrams { address: address("232.0.0.1", 5000), source }),
        RemoteKind::Rtp(Datagrams { address: address("ff15::1", 5004), source: None }),
        RemoteKind::UnixDatagram(PathBuf::from("/g")),
        RemoteKind::UnixPacket(PathBuf::from("/p")),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn typical_mistakes_at_the_top() {
    let table = [
        (
            "{\n\"listen\": \":80\"\n\"log\": \"\"}",
            "line 3: not valid JSON: expected `,` or `}` (column 1)",
        ),
        ("{}", "no stream, at least one resource of type `stream` is needed"),
        (
            "{\n\"resources\": []}",
            "line 2: resources: no stream, at least one resource of type `stream` is needed",
        ),
        (&with("\"listen\": \"localhost\""), "line 2: listen: needs a port, as in localhost:8000"),
        (&with("\"listen\": \":web\""), "line 2: listen: unknown service name `web`"),
        (
            &with("\"side\": \"::1:80\""),
            "line 2: side: an IPv6 address needs brackets, as in [::1]:8000",
        ),
        (
            &with("\"listen\": \":9470\", \"side\": \"127.0.0.1:9470\""),
            "line 2: side: `listen` and `side` (127.0.0.1:9470) are the same address",
        ),
        (
            &with("\"side\":\n\"localhost:http\""),
            "line 3: side: `listen` and `side` (localhost:80) are the same address",
        ),
        (
            &with("\"userlist\": {\"bob\": \"x\"}"),
            "line 2: userlist.bob: expected an object, found a string",
        ),
        (
            &with("\"userlist\": {\"bob\": {\"password\": 1}}"),
            "line 2: userlist.bob.password: expected a string, found a number",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn typical_mistakes_in_a_resource() {
    let table = [
        (
            &resource(r#""serve": "/a", "remote": "tcp://h:1""#),
            "line 2: resources[0].type: is missing",
        ),
        (
            &resource(r#""type": "strem", "serve": "/a""#),
            "line 2: resources[0].type: `strem` is not one of stream, static, api",
        ),
        (
            &resource(r#""type": "stream", "remote": "tcp://h:1""#),
            "line 2: resources[0].serve: is missing",
        ),
        (
            &resource(r#""type": "stream", "serve": "a", "remote": "tcp://h:1""#),
            "line 2: resources[0].serve: must begin with / and have no control characters",
        ),
        (
            &resource(r#""type": "stream", "serve": "", "remote": "tcp://h:1""#),
            "line 2: resources[0].serve: must begin with / and have no control characters",
        ),
        (
            &resource(r#""type": "stream", "serve": "/\n", "remote": "tcp://h:1""#),
            "line 2: resources[0].serve: must begin with / and have no control characters",
        ),
        (
            &format!("{{\"resources\": [{STREAM},\n{STREAM}]}}"),
            "line 2: resources[1].serve: the same path as resources[0].serve on line 1",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn typical_mistakes_in_remotes() {
    let table = [
        (
            &resource(r#""type": "stream", "serve": "/a""#),
            "line 2: resources[0]: a stream needs at least one `remote`",
        ),
        (
            &resource(r#""type": "stream", "serve": "/a", "remote": "", "remotes": []"#),
            "line 2: resources[0]: a stream needs at least one `remote`",
        ),
        (
            &resource("\"type\": \"stream\", \"serve\": \"/a\",\n\"remote\": \"tcp://h\""),
            "line 3: resources[0].remote: tcp needs a port",
        ),
        (
            &resource(
                "\"type\": \"stream\", \"serve\": \"/a\",\n\
                \"remotes\": [\"tcp://h:1\",\n\"sftp://h\"]",
            ),
            "line 4: resources[0].remotes[1]: unknown scheme `sftp`, \
            expected http, https, tcp, udp, rtp, unix, unixgram, unixpacket, file or fork",
        ),
        (
            &resource(r#""type": "stream", "serve": "/a", "remote": "udp://239.0.0.1""#),
            "line 2: resources[0].remote: udp needs a port",
        ),
        (
            &resource(r#""type": "stream", "serve": "/a", "remote": "rtp://10.0.0.1@10.0.0.2:1""#),
            "line 2: resources[0].remote: what is behind a source's @ must be the IP address of a \
            multicast group, as in rtp://192.0.2.1@232.0.0.1:5000",
        ),
        (
            &resource(r#""type": "stream", "serve": "/a", "remotes": [""]"#),
            "line 2: resources[0].remotes[0]: is empty",
        ),
        (
            &resource(r#""type": "stream", "serve": "/a", "remotes": [1]"#),
            "line 2: resources[0].remotes[0]: expected a string, found a number",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    let table = [
        ("\"readtimout\": 1", "line 2: readtimout: unknown key, did you mean `readtimeout`?"),
        (
            "\"max_connections\": 1",
            "line 2: max_connections: unknown key, did you mean `maxconnections`?",
        ),
        ("\"colour\": 1", "line 2: colour: unknown key"),
        ("\"a.b\\n\": 1", "line 2: \"a.b\\n\": unknown key"),
        (
            "\"log\": \"a\",\n\"log\": \"b\"",
            "line 3: log: given twice: the one on line 2 is ignored",
        ),
        (
            "\"listen\": \":9470\"",
            "line 2: listen: takes the default of `side` (127.0.0.1:9470): metrics, health and \
            status are served nowhere",
        ),
        ("\"profile\": true", "line 2: profile: this version has no profiler, use perf"),
        (
            "\"maxconnections\": 10, \"fullconnections\": 11",
            "line 2: fullconnections: 11 is above `maxconnections` (10) and is never reached",
        ),
        ("\"maxconnections\": 10, \"fullconnections\": 10", ""),
        ("\"maxconnections\": 0, \"fullconnections\": 10", ""),
        (
            "\"userlist\": {\"a\": {\"password\": \"x\"},\n\
            \"a\": {\"password\": \"y\", \"pass\": 1}}",
            "line 3: userlist.a: given twice: the one on line 2 is ignored\n\
             line 3: userlist.a.pass: unknown key",
        ),
        (
            "\"userlist\": {\"al ice\": {}}",
            "line 2: userlist.\"al ice\".password: is missing and counts as empty: by basic \
            whoever names the user is admitted, by bearer nobody",
        ),
    ];
    for (members, expected) in table {
        assert_eq!(warnings(&with(members)), expected, "{members}");
    }
    let text = resource(
        "\"type\": \"stream\", \"serve\": \"/a\", \"remote\": \"tcp://h:1\",\n\"remots\": []",
    );
    assert_eq!(warnings(&text), "line 3: resources[0].remots: unknown key, did you mean `remote`?");
}

#[test]
fn the_check_refuses_more_than_the_start() {
    let told = |text: &str| -> Vec<bool> {
        let parsed = parse(text);
        assert!(parsed.config.is_some(), "{text}");
        parsed.warnings.iter().map(Problem::is_refused_by_check).collect()
    };
    assert_eq!(told(&with("\"colour\": 1, \"log\": \"\", \"log\": \"\"")), [true, false]);
    assert_eq!(told(&with("\"profile\": true, \"retry_after\": 1")), [false, false]);
    let about = |remote: &str| {
        let api =
            format!(r#"{{"type": "api", "serve": "/b", "api": "check", "remote": "{remote}"}}"#);
        told(&format!("{{\"resources\": [{api}, {STREAM}]}}"))
    };
    assert_eq!(about("/a"), [false; 0]);
    assert_eq!(about("/b"), [true]);
    assert_eq!(about(""), [true]);
}

#[test]
fn the_last_duplicate_counts() {
    assert_eq!(config(&with("\"turn\": \"x\",\n\"Turn\": 5,\n\"TURN\": 7")).turn, {
        TurnPeriod::Fixed(Duration::from_millis(7))
    });
}

#[test]
fn every_error_of_a_file_is_found() {
    let text = r#"{
        "listen": 1,
        "timeout": -1,
        "turn": 0,
        "resources": [
            {"type": "stream", "serve": "x", "remote": "tcp://h", "remotes": ["file:x", 7]},
            {"type": "stream", "serve": "/y", "remotes": ["tcp://h:0", "unix:x"]},
            null
        ],
        "log": []
    }"#;
    assert_eq!(
        errors(text),
        "line 2: listen: expected a string, found a number
line 3: timeout: -1 seconds is neither 0 nor at least 0.001
line 4: turn: 0 is not within 1 and 100
line 6: resources[0].remotes[1]: expected a string, found a number
line 6: resources[0].serve: must begin with / and have no control characters
line 6: resources[0].remote: tcp needs a port
line 6: resources[0].remotes[0]: file is written file:///path
line 7: resources[1].remotes[0]: its port is not a number within 1 and 65535
line 7: resources[1].remotes[1]: unix is written unix:///path
line 8: resources[2]: expected an object, found null
line 10: log: expected a string, found an array"
    );
}

#[test]
fn problems_beyond_the_bound_are_counted() {
    let unknown = (0..PROBLEMS_MAX + 7).map(|n| format!("\"{n}\": 0,\n"));
    let unknown = unknown.collect::<Vec<_>>().concat();
    let parsed = parse(&with(&format!("{unknown}\"\": 0")));
    assert_eq!(parsed.warnings.len(), PROBLEMS_MAX + 1);
    let last = parsed.warnings.last().expect("some");
    assert_eq!(last.display("f.json").to_string(), "f.json: … and 7 more");
    assert!(last.is_refused_by_check());
    let wrong = "1,".repeat(PROBLEMS_MAX + 3);
    let parsed = parse(&format!("{{\"resources\": [{wrong}1]}}"));
    let last = parsed.errors.last().expect("some");
    assert_eq!((last.to_string().as_str(), last.is_refused_by_check()), ("… and 4 more", false));
}

#[test]
fn lists_are_bounded() {
    let streams = |count: usize| {
        let stream = |n| format!(r#"{{"type": "stream", "serve": "/{n}", "remote": "tcp://h:1"}}"#);
        let all: Vec<String> = (0..count).map(stream).collect();
        format!("{{\"resources\": [{}]}}", all.join(","))
    };
    assert_eq!(config(&streams(RESOURCES_MAX)).streams.len(), RESOURCES_MAX);
    let said = "line 1: resources: has 4097 entries, at most 4096 are allowed";
    assert_eq!(errors(&streams(RESOURCES_MAX + 1)), said);

    let remotes = |count: usize| {
        let all = vec!["\"tcp://h:1\""; count].join(",");
        resource(&format!(r#""type": "stream", "serve": "/a", "remotes": [{all}]"#))
    };
    assert_eq!(
        config(&remotes(REMOTES_PER_STREAM_MAX)).streams[0].remotes.len(),
        REMOTES_PER_STREAM_MAX
    );
    let said = "line 2: resources[0].remotes: has 65 entries, at most 64 are allowed";
    assert_eq!(errors(&remotes(REMOTES_PER_STREAM_MAX + 1)), said);

    let serve = |bytes: usize| {
        let path = format!("/{}", "x".repeat(bytes - 1));
        resource(&format!(r#""type": "stream", "serve": "{path}", "remote": "tcp://h:1""#))
    };
    assert_eq!(warnings(&serve(SERVE_BYTES_MAX)), "");
    assert_eq!(
        errors(&serve(SERVE_BYTES_MAX + 1)),
        "line 2: resources[0].serve: is longer than 1024 bytes"
    );
}

#[test]
fn problems_name_the_file() {
    let parsed = parse(&resource(r#""type": "stream", "serve": "/a", "remote": "tcp://h""#));
    assert_eq!(
        parsed.errors[0].display("/etc/restreamer.json").to_string(),
        "/etc/restreamer.json:2: resources[0].remote: tcp needs a port"
    );
    let whole = &parse("{}").errors[0];
    assert_eq!(
        whole.display("a.json").to_string(),
        "a.json: no stream, at least one resource of type `stream` is needed"
    );
    let syntax = &parse("{").errors[0];
    assert_eq!(
        syntax.display("a.json").to_string(),
        "a.json:1: not valid JSON: EOF while parsing an object (column 1)"
    );
}

#[test]
fn service_names_may_be_looked_up() {
    let text = with("\"listen\": \":rtsp\"");
    let parsed = parse_with(&text, &|name| (name == "rtsp").then_some(554));
    assert_eq!(parsed.config.expect("good").listen.port, 554);
    assert_eq!(errors(&text), "line 2: listen: unknown service name `rtsp`");
}

#[test]
fn files_are_loaded_within_their_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("restreamer.json");
    let file = path.display().to_string();
    let load_error = || load(&path).expect_err("refused").to_string();
    assert_eq!(load_error(), format!("{file}: cannot be read: No such file or directory"));

    fs::write(&path, WHOLE).expect("written");
    assert_eq!(load(&path).expect("loaded").config, Some(config(WHOLE)));

    fs::write(&path, b"{\n\n\"log\": \"\xff\"}").expect("written");
    assert_eq!(load_error(), format!("{file}:3: is not UTF-8 text"));

    let mut padded = with("\"\": 0").into_bytes();
    padded.resize(CONFIG_FILE_BYTES_MAX, b' ');
    fs::write(&path, &padded).expect("written");
    assert!(load(&path).expect("loaded").config.is_some());
    padded.push(b' ');
    fs::write(&path, &padded).expect("written");
    assert_eq!(load_error(), format!("{file}: is larger than 1048576 bytes"));

    let directory = load(dir.path()).expect_err("refused").to_string();
    assert_eq!(directory, format!("{}: cannot be read: Is a directory", dir.path().display()));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let parsed = parse(&text);
        prop_assert_eq!(parsed.config.is_some(), parsed.errors.is_empty());
    }

    /// A good file with a piece of it replaced: by punctuation of JSON, or by another piece.
    #[test]
    fn mutated_files_never_panic(
        at in 0..WHOLE.len(),
        gone in 0..40_usize,
        from in 0..WHOLE.len(),
        taken in 0..60_usize,
        noise in "[\\[\\]{}:,\"0-9a-z\\\\/%\n-]{0,6}",
    ) {
        let piece = |from: usize, length: usize| &WHOLE[from..WHOLE.len().min(from + length)];
        let after = WHOLE.len().min(at + gone);
        let text =
            format!("{}{noise}{}{}", &WHOLE[..at], piece(from, taken), &WHOLE[after..]);
        let parsed = parse(&text);
        prop_assert_eq!(parsed.config.is_some(), parsed.errors.is_empty());
        let count = text.split('\n').count();
        for problem in parsed.errors.iter().chain(&parsed.warnings) {
            prop_assert!(problem.line.is_none_or(|line| (1..=count).contains(&line)));
            prop_assert!(!problem.to_string().contains('\n'));
        }
    }

    /// Values of any type where the format has its keys.
    #[test]
    fn mistyped_files_never_panic(
        values in prop::collection::vec(
            prop::sample::select(vec![
                "null", "true", "0", "-1", "1e999", "1.5", "\"\"", "\"/x\"", "\"stream\"",
                "\"http://u:p@h\"", "[]", "[\"\"]", "[{}]", "{}", "{\"type\": \"api\"}",
            ]),
            12,
        ),
    ) {
        let keys = ["listen", "side", "timeout", "inputbuffer", "userlist", "notifications"];
        let inner = ["type", "serve", "remote", "remotes", "authentication", "api"];
        let members = |keys: [&str; 6], values: &[&str]| -> String {
            let member = |(key, value)| format!(",\n\"{key}\": {value}");
            keys.iter().zip(values).map(member).collect::<Vec<_>>().concat()
        };
        let text = format!(
            "{{\"resources\": [{{\"\": 0{}}}]{}}}",
            members(inner, &values[..6]),
            members(keys, &values[6..])
        );
        let parsed = parse(&text);
        prop_assert_eq!(parsed.config.is_some(), parsed.errors.is_empty());
    }
}
