//! Static and API resources.

use super::*;

/// A file with one good stream on line 1 and this resource on line 2.
fn beside(members: &str) -> String {
    format!("{{\"resources\": [{STREAM},\n{{{members}}}]}}")
}

#[test]
fn static_resources_come_from_files_and_the_web() {
    let from = |url: &str| {
        let text = beside(&format!(r#""type": "static", "serve": "/s", "remote": "{url}""#));
        assert_eq!(warnings(&text), "", "{url}");
        config(&text).statics[0].remote.clone()
    };
    let file = |path: &str| StaticRemote::File(PathBuf::from(path));
    assert_eq!(from("file:///srv/a%20b.html"), file("/srv/a b.html"));
    assert_eq!(from("FILE:/x"), file("/x"));
    let StaticRemote::Web(address) = from("https://u:s3cret@h/x#there") else { panic!("no web") };
    assert_eq!(address.url.as_str(), "https://u:s3cret@h/x");
    assert_eq!(address.label, "https://u:***@h/x");
    let StaticRemote::Web(address) = from("http://h:8080/a?b") else { panic!("no web") };
    assert_eq!(address.label, "http://h:8080/a?b");
}

#[test]
fn typical_mistakes_in_a_static_resource() {
    let scheme = "is neither a file:, an http:// nor an https:// URL";
    let table = [
        ("", "is missing"),
        ("tcp://h:1", scheme),
        ("tcp://h", scheme),
        ("/etc/motd", scheme),
        ("files:///x", scheme),
        ("file:x", "file is written file:///path"),
        ("file:///a?b", "has a ? or # in a name, write %3F or %23"),
        ("file:///a%zz", "has a % without two hexadecimal digits behind it, write %25"),
        ("file:///a ", "has white space around it or a control character in it"),
        ("http:/h/", "http is written http://host/path"),
        ("http://h:0/", "its port is not a number within 1 and 65535"),
        ("https://h:x/", "is not a valid URL: invalid port number"),
    ];
    for (url, said) in table {
        let text = beside(&format!(r#""type": "static", "serve": "/s", "remote": "{url}""#));
        assert_eq!(everything(&text), format!("line 2: resources[1].remote: {said}"), "{url}");
    }
    let text = beside(r#""type": "static", "serve": "/s", "cache": 1"#);
    assert_eq!(everything(&text), "line 2: resources[1].remote: is missing");
    for (cache, said) in
        [("-1", "-1 is not within 0 and 31622400"), ("0.5", "expected a whole number, found 0.5")]
    {
        let text = beside(&format!(
            r#""type": "static", "serve": "/s", "remote": "file:///x", "cache": {cache}"#
        ));
        assert_eq!(everything(&text), format!("line 2: resources[1].cache: {said}"));
    }
}

#[test]
fn a_check_knows_its_stream_wherever_that_is() {
    let text = r#"{"resources": [
        {"type": "api", "serve": "/c", "api": "control", "remote": "/z.ts"},
        {"type": "stream", "serve": "/a.ts", "remote": "tcp://h:1"},
        {"type": "static", "serve": "/s", "remote": "file:///x"},
        {"type": "stream", "serve": "/z.ts", "remote": "tcp://h:1"},
        {"type": "api", "serve": "/d", "api": "check", "remote": "/a.ts"}
    ]}"#;
    assert_eq!(warnings(text), "");
    let config = config(text);
    let apis: Vec<Api> = config.apis.iter().map(|api| api.api).collect();
    assert_eq!(apis, [Api::Control(Some(1)), Api::Check(Some(0))]);
    assert_eq!(config.streams[1].path, "/z.ts");
}

#[test]
fn a_check_of_no_stream_is_accepted_and_told_of() {
    let unnamed = "names no stream, expected the path of one, as its `serve` has it";
    let table = [
        (r#""remote": "/x.ts""#, "no stream is served at `/x.ts`"),
        (r#""remote": "/a/""#, "no stream is served at `/a/`"),
        (r#""remote": "/b""#, "no stream is served at `/b`"),
        (r#""remote": "a""#, unnamed),
        (r#""remote": "http://u:s3cret@h/a""#, unnamed),
        (r#""remote": """#, unnamed),
        (r#""": 0"#, unnamed),
    ];
    for (members, said) in table {
        for (word, api) in [("check", Api::Check(None)), ("control", Api::Control(None))] {
            let text =
                beside(&format!(r#""type": "api", "serve": "/b", "api": "{word}", {members}"#));
            assert_eq!(everything(&text), format!("line 2: resources[1].remote: {said}"));
            assert_eq!(config(&text).apis[0].api, api);
        }
    }
}

#[test]
fn a_stream_that_was_refused_is_not_missed_as_well() {
    let check = r#"{"type": "api", "serve": "/c", "api": "check", "remote": "/b.ts"}"#;
    let twice = r#"{"type": "api", "serve": "/c", "api": "check", "remote": "/c"}"#;
    let streams = [
        r#"{"type": "stream", "serve": "/b.ts"}"#,
        r#"{"type": "stream", "serve": "/b.ts", "remote": "tcp://h"}"#,
        r#"{"type": "stream", "serve": "/c", "remote": "tcp://h:1"}"#,
        r#"{"type": "stream", "serve": "b.ts", "remote": "tcp://h:1"}"#,
        r#"{"type": "stream", "remote": "tcp://h:1"}"#,
        r#"{"type": "strem", "serve": "/b.ts"}"#,
        r#"{"serve": "/b.ts", "remote": "tcp://h:1"}"#,
        r#"{"type": "stream", "serve": 1, "remote": "tcp://h:1"}"#,
        "1",
    ];
    for stream in streams {
        let check = if stream.contains("/c") { twice } else { check };
        let text = format!("{{\"resources\": [{STREAM}, {check}, {stream}]}}");
        let parsed = parse(&text);
        assert_eq!((parsed.errors.len(), lines(&parsed.warnings)), (1, String::new()), "{stream}");
    }
}

#[test]
fn paths_are_nobody_elses_whatever_the_type() {
    let resources = [
        STREAM,
        r#"{"type": "static", "serve": "/a", "remote": "file:///x"}"#,
        r#"{"type": "api", "serve": "/a", "api": "health"}"#,
    ];
    for first in resources {
        for second in resources {
            let text = format!(
                "{{\"resources\": [{},\n{first},\n{second}]}}",
                STREAM.replace("/a", "/other")
            );
            let said = "line 3: resources[2].serve: the same path as resources[1].serve on line 2";
            assert_eq!(everything(&text), said);
        }
    }
}

#[test]
fn keys_of_another_type_have_no_effect() {
    let all = [
        ("remotes", r#"["tcp://h:1"]"#),
        ("mru", "1316"),
        ("clientinterface", "\"eth0\""),
        ("rejoin", "1"),
        ("preamble", "\"/x.ts\""),
        ("maxconnections", "1"),
        ("hot", "true"),
        ("congestion", "\"reno\""),
        ("join", "\"live\""),
        ("history", "1000"),
        ("slow", "\"packets\""),
        ("pacing", "4"),
        ("on_loss", "\"cut\""),
        ("order", "\"priority\""),
        ("slate", "\"built-in\""),
        ("health", r#"{"no_data": 3}"#),
        ("on_demand", "true"),
        ("linger", "1"),
        ("cache", "1"),
        ("api", "\"health\""),
    ];
    let stream = ("stream", r#""type": "stream", "remote": "tcp://h:1""#, "on a stream");
    let of_static =
        ("static", r#""type": "static", "remote": "file:///x""#, "on a static resource");
    let api = ("api", r#""type": "api", "api": "prometheus""#, "on an api resource");
    for (kind, members, why) in [stream, of_static, api] {
        for (key, value) in all {
            if [("api", "api"), ("stream", "linger")].contains(&(kind, key)) {
                continue;
            }
            let ours = match key {
                "cache" => kind == "static",
                "api" => kind == "api",
                _ => kind == "stream",
            };
            let said = format!("line 2: resources[1].{key}: has no effect {why}");
            let said = if ours { String::new() } else { said };
            let text = beside(&format!(r#"{members}, "serve": "/b", "{key}": {value}"#));
            assert_eq!(everything(&text), said);
            let empty = match value.as_bytes()[0] {
                b'[' => "[]",
                b'"' => "\"\"",
                b't' => "false",
                b'{' => "{}",
                _ => "0",
            };
            let text = beside(&format!(r#"{members}, "serve": "/b", "{key}": {empty}"#));
            assert_eq!(everything(&text), "");
        }
    }
}

#[test]
fn what_a_stream_is_limited_to() {
    let text = resource(
        r#""type": "stream", "serve": "/a", "remote": "tcp://h:1",
        "maxconnections": 12, "preamble": "p.ts", "hot": true, "congestion": "bbr""#,
    );
    let stream = &config(&text).streams[0];
    assert_eq!(stream.max_connections, Some(12));
    assert_eq!(stream.preamble, Some(PathBuf::from("p.ts")));
    assert_eq!((stream.hot, stream.congestion.as_deref()), (true, Some("bbr")));
    let text = text.replace("12", "0").replace("p.ts", "").replace("true", "false");
    let text = text.replace("bbr", "");
    let stream = &config(&text).streams[0];
    assert_eq!((stream.max_connections, &stream.preamble), (None, &None));
    assert_eq!((stream.hot, &stream.congestion), (false, &None));
}

#[test]
fn where_viewers_begin() {
    let of = |members: &str| {
        let all = format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1"{members}"#);
        let stream = config(&resource(&all)).streams[0].clone();
        (stream.join, stream.keep, stream.pacing_percent)
    };
    let default = (Join::RandomAccess, Keep::Bytes(8 << 20), Some(400));
    assert_eq!(of(""), default);
    assert_eq!(of(r#", "join": "random_access", "history": 8388608, "pacing": 4"#), default);
    let all = of(r#", "join": "live", "history": {"seconds": 20}, "pacing": false"#);
    assert_eq!(all, (Join::Live, Keep::Seconds(Duration::from_secs(20)), None));
    let all = of(r#", "join": {"seconds": 0.1}, "history": 0, "pacing": 0"#);
    assert_eq!(all, (Join::Seconds(Duration::from_millis(100)), Keep::Bytes(0), None));
    assert_eq!(of(r#", "pacing": 1.257"#).2, Some(126));
    for (member, said) in [
        (r#""join": 1"#, "join: expected `random_access`, `live` or an object, found a number"),
        (r#""history": "1""#, "history: expected a number or an object, found a string"),
        (r#""pacing": "4""#, "pacing: expected a number or false, found a string"),
        (r#""pacing": -1"#, "pacing: -1 is not within 0 and 1000"),
        (r#""history": 1.5"#, "history: expected a whole number, found 1.5"),
    ] {
        let all = format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", {member}"#);
        assert_eq!(everything(&resource(&all)), format!("line 2: resources[0].{said}"));
    }
}

#[test]
fn what_becomes_of_viewers_when_an_upstream_is_lost() {
    let of = |members: &str| {
        let all = format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1"{members}"#);
        config(&resource(&all)).streams[0].on_loss.patience()
    };
    let seconds = Duration::from_secs;
    for (members, patience) in [
        ("", Some(seconds(30))),
        (r#", "on_loss": """#, Some(seconds(30))),
        (r#", "on_loss": "hold""#, Some(seconds(30))),
        (r#", "on_loss": {"hold": 3600}"#, Some(seconds(3600))),
        (r#", "on_loss": "cut""#, None),
    ] {
        assert_eq!(of(members), patience, "{members}");
    }
}

#[test]
fn what_becomes_of_the_slow() {
    let of = |member: &str| {
        let all = format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1"{member}"#);
        config(&resource(&all)).streams[0].slow
    };
    for (member, slow) in [
        ("", Slow::RandomAccess),
        (r#", "slow": """#, Slow::RandomAccess),
        (r#", "slow": "random_access""#, Slow::RandomAccess),
        (r#", "slow": "packets""#, Slow::Packets),
        (r#", "slow": "disconnect""#, Slow::Disconnect),
    ] {
        assert_eq!(of(member), slow, "{member}");
    }
    let all = r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", "slow": false"#;
    let said = "slow: expected `random_access`, `packets` or `disconnect`, found a boolean";
    assert_eq!(everything(&resource(all)), format!("line 2: resources[0].{said}"));
}

#[test]
fn what_may_be_wrong_with_an_upstream_and_for_how_long() {
    let of = |remotes: &str, health: &str| {
        let all = format!(
            r#""type": "stream", "serve": "/a", "remotes": [{remotes}], "health": {health}"#
        );
        config(&resource(&all)).streams[0].health
    };
    let seconds =
        |times: [u64; 6]| times.map(|seconds| (seconds > 0).then(|| Duration::from_secs(seconds)));
    let (one, two) = (r#""tcp://h:1""#, r#""tcp://h:1", "tcp://h:2""#);
    for nothing in ["{}", "null", r#"{"bitrate": false}"#] {
        let health = of(one, nothing);
        assert_eq!(health, Health::default(), "a single upstream is left for nothing");
        let health = of(two, nothing);
        let times = seconds([10, 10, 10, 10, 0, 0]);
        assert_eq!(health, Health { times, floor: None, tables_asked: false });
    }
    let health = of(one, r#"{}, "slate": "built-in""#);
    assert_eq!(health.times, seconds([10, 0, 0, 0, 0, 0]), "there is something to see instead");
    for never in ["0", "false"] {
        let health = of(one, &format!(r#"{{"no_data": {never}}}, "slate": "built-in""#));
        assert_eq!(health, Health::default());
        let health = of(two, &format!(r#"{{"no_data": {never}, "no_tables": {never}}}"#));
        assert_eq!(health.times, seconds([0, 10, 0, 10, 0, 0]));
    }
    let health = of(one, r#"{"no_sync": 1, "no_video": 86400, "no_tables": 2}"#);
    assert_eq!(health.times, seconds([0, 1, 2, 86_400, 0, 0]));
    assert!(health.tables_asked);
    // Shown, but not left for.
    for shown in [r#"{"below": 5}"#, r#"{"below": 5, "for": 0}"#, r#"{"below": 5, "for": false}"#] {
        let health = of(two, &format!(r#"{{"bitrate": {shown}}}"#));
        assert_eq!((health.floor, health.time(Condition::Bitrate)), (Some(5), None));
    }
    for (member, said) in [
        (r#""health": 10"#, "health: expected an object, found a number"),
        (r#""health": {"bitrate": 5}"#, {
            "health.bitrate: expected an object or false, found a number"
        }),
        (r#""health": {"bitrate": true}"#, {
            "health.bitrate: expected an object or false, found a boolean"
        }),
    ] {
        let all = format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", {member}"#);
        assert_eq!(everything(&resource(&all)), format!("line 2: resources[0].{said}"));
    }
}

#[test]
fn what_viewers_see_without_an_upstream() {
    let with = |slate: &str| {
        resource(&format!(
            r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", "slate": {slate}"#
        ))
    };
    let of = |slate: &str| config(&with(slate)).streams[0].slate.clone();
    assert_eq!(of("\"built-in\""), Some(Slate::BuiltIn));
    assert_eq!(of("\"/a b.ts\""), Some(Slate::File(PathBuf::from("/a b.ts"))));
    assert_eq!((of("\"\""), of("false")), (None, None));
    let default = resource(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1""#);
    assert_eq!(config(&default).streams[0].slate, None);
    for (slate, found) in [("\"slate.ts\"", "a string"), ("true", "a boolean"), ("1", "a number")] {
        let said = "line 2: resources[0].slate: expected `built-in`, an absolute path or false";
        assert_eq!(everything(&with(slate)), format!("{said}, found {found}"));
    }
}

#[test]
fn a_congestion_control_has_a_name_of_the_kernels_kind() {
    let with = |name: &str| {
        resource(&format!(
            r#""type": "stream", "serve": "/a", "remote": "tcp://h:1", "congestion": "{name}""#
        ))
    };
    for name in ["c", "cubic", "BBR2", "a_b-c", "fifteen-letters"] {
        assert_eq!(warnings(&with(name)), "", "{name}");
        assert_eq!(config(&with(name)).streams[0].congestion.as_deref(), Some(name));
    }
    for name in ["sixteen--letters", " bbr", "b/r", "bbr.", "bbr\\u0000", "bbr\\n", "bbr\u{e9}"] {
        let said = "is not a congestion control's name, which has at most 15 letters, digits, _ \
            and -";
        let said = format!("line 2: resources[0].congestion: {said}");
        assert_eq!(everything(&with(name)), said, "{name}");
    }
}

#[test]
fn a_file_without_a_stream_is_refused() {
    let text = r#"{"resources": [{"type": "api", "serve": "/a", "api": "health"},
        {"type": "static", "serve": "/b", "remote": "file:///x"}]}"#;
    let said = "line 1: resources: no stream, at least one resource of type `stream` is needed";
    assert_eq!(everything(text), said);
}

#[test]
fn when_an_upstream_is_connected() {
    let all = |members: &str| {
        resource(&format!(r#""type": "stream", "serve": "/a", "remote": "tcp://h:1"{members}"#))
    };
    let of = |members: &str| {
        let of = config(&all(members)).streams[0].on_demand;
        of.map(|of| (of.linger.as_secs_f64(), of.start_timeout.as_secs_f64()))
    };
    assert_eq!(of(""), None);
    assert_eq!(of(r#", "on_demand": false"#), None);
    assert_eq!(of(r#", "on_demand": true"#), Some((10.0, 10.0)));
    assert_eq!(of(r#", "on_demand": true, "hot": false, "linger": 0"#), Some((0.0, 10.0)));
    let both = of(r#", "on_demand": true, "linger": 86400, "start_timeout": 0.1"#);
    assert_eq!(both, Some((86_400.0, 0.1)));
    for said in ["", r#""on_demand": false, "#] {
        for key in ["linger", "start_timeout"] {
            let text = all(&format!(r#", {said}"{key}": 5"#));
            let why = format!("line 2: resources[0].{key}: has no effect without `on_demand`");
            assert_eq!(everything(&text), why);
        }
    }
    let text = beside(
        r#""type": "api", "api": "health", "serve": "/b", "on_demand": false, "start_timeout": 1"#,
    );
    let why = "line 2: resources[1].start_timeout: has no effect on an api resource";
    assert_eq!(everything(&text), why);
}
