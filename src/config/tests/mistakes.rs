//! One mistake in a file where everything else is right, and passwords are everywhere.

use super::*;

/// What is replaced in `WHOLE`, by what, and the one problem of it without its line.
const MISTAKES: &[(&str, &str, &str)] = &[
    // The whole node.
    (r#"":8000""#, r#""8000""#, "listen: needs a port, as in localhost:8000"),
    (r#"":8000""#, r#"":nothing""#, "listen: unknown service name `nothing`"),
    (r#""[::1]:9000""#, r#""[::1]""#, "side: needs a port, as in localhost:8000"),
    (r#""[::1]:9000""#, r#"":8000""#, "side: `listen` and `side` (:8000) are the same address"),
    (r#""timeout": 10"#, r#""timeout": "10""#, "timeout: expected a number, found a string"),
    (r#""readtimeout""#, r#""readtimout""#, "readtimout: unknown key, did you mean `readtimeout`?"),
    ("300", "249", "fullconnections: 250 is above `maxconnections` (249) and is never reached"),
    (r#""nostats": true"#, r#""nostats": 1"#, "nostats: expected a boolean, found a number"),
    (
        r#""profile": false"#,
        r#""profile": true"#,
        "profile: this version has no profiler, use perf",
    ),
    (r#""workers": 3"#, r#""workers": 2.5"#, "workers: expected a whole number, found 2.5"),
    (r#""pin_workers": true"#, r#""pin_worker": true"#, {
        "pin_worker: unknown key, did you mean `pin_workers`?"
    }),
    (r#""/etc/ssl/ours.pem""#, "[]", "ca_file: expected a string, found an array"),
    (r#""confine": false"#, r#""confine": "no""#, {
        "confine: expected a boolean, found a string"
    }),
    (
        r#""max_per_address": 4"#,
        r#""max_per_address": -4"#,
        "max_per_address: -4 is not within 0 and 1000000000",
    ),
    ("503", "500", "refuse_with: `500` is not one of 404, 503"),
    ("503", "\"503\"", "refuse_with: expected a number, found a string"),
    ("503", "404", "retry_after: has no effect unless `refuse_with` is 503"),
    (r#""retry_after": 7"#, r#""retry_after": 0.5"#, {
        "retry_after: expected a whole number, found 0.5"
    }),
    (r#""10.0.0.0/8""#, r#""10.0.0.0/88""#, {
        "trusted_proxies[0]: is neither an IP address nor a network, as in 10.0.0.0/8"
    }),
    (r#""10.0.0.0/8""#, "8", "trusted_proxies[0]: expected a string, found a number"),
    (r#"["10.0.0.0/8", "2001:db8::1"]"#, r#""::1""#, {
        "trusted_proxies: expected an array, found a string"
    }),
    (r#""proxy_protocol": true"#, r#""proxy_protocol": "v2""#, {
        "proxy_protocol: expected a boolean, found a string"
    }),
    // The door.
    (r#""203.0.113.0/24""#, r#""203.0.113.0/33""#, {
        "door.deny[0]: is neither an IP address nor a network, as in 10.0.0.0/8"
    }),
    (r#""2001:db8::/32""#, r#""2001:db8::1/32""#, {
        "door.deny[1]: has bits behind its prefix and counts as 2001:db8::/32"
    }),
    (r#""203.0.113.16/28""#, r#""203.0.113.0/24""#, {
        "door.allow[0]: the same network as door.deny[0] on line 28, it cannot be both denied and \
        allowed"
    }),
    (r#""192.0.2.7""#, r#""203.0.113.16/28""#, {
        "door.allow[1]: the same network as door.allow[0] on line 29"
    }),
    (r#""per_second": 0.5"#, r#""per_second": 0"#, {
        "door.rate.per_second: 0 is not within 0.0001 and 1000000"
    }),
    (r#""per_second": 0.5,"#, "", "door.rate.per_second: is missing"),
    (r#""burst": 20"#, r#""burst": 0"#, "door.rate.burst: 0 is not within 1 and 100000"),
    (r#""v4": 24"#, r#""v4": 33"#, "door.source.v4: 33 is not within 1 and 32"),
    (r#""v6": 56"#, r#""v6": 129"#, "door.source.v6: 129 is not within 1 and 128"),
    (r#""steer": false"#, r#""ster": false"#, { "door.ster: unknown key, did you mean `steer`?" }),
    (
        r#""type": "bearer",
            "user": "bob""#,
        r#""user": "bob""#,
        { "door.authentication: has no effect without a `type`" },
    ),
    // A stream.
    (r#""type": "stream","#, r#""type": "strem","#, {
        "resources[0].type: `strem` is not one of stream, static, api"
    }),
    (r#""type": "stream","#, "", "resources[0].type: is missing"),
    (r#""serve": "/one.ts","#, "", "resources[0].serve: is missing"),
    (r#""/one.ts""#, r#""one.ts""#, {
        "resources[0].serve: must begin with / and have no control characters"
    }),
    (r#""tcp://10.0.0.1:1234""#, r#""tcp://u:s3cret@h:1""#, {
        "resources[0].remotes[0]: tcp takes neither user nor password"
    }),
    (r#""tcp://10.0.0.1:1234""#, r#""tcp://10.0.0.1""#, {
        "resources[0].remotes[0]: tcp needs a port"
    }),
    ("origin:8080", "origin:x", "resources[0].remote: is not a valid URL: invalid port number"),
    ("1316", "131", "resources[0].mru: 131 is neither 0 nor at least 188"),
    (r#""maxconnections": 100"#, r#""maxconnections": true"#, {
        "resources[0].maxconnections: expected a number, found a boolean"
    }),
    (r#""/srv/preamble.ts""#, "1", "resources[0].preamble: expected a string, found a number"),
    (r#""hot": true"#, r#""hot": 1"#, "resources[0].hot: expected a boolean, found a number"),
    (r#""congestion": "bbr""#, r#""congestion": "b b r""#, {
        "resources[0].congestion: is not a congestion control's name, which has at most 15 \
        letters, digits, _ and -"
    }),
    (r#"{"seconds": 1.5}"#, r#""newest""#, {
        "resources[0].join: expected `random_access`, `live` or an object, found a string"
    }),
    (r#"{"seconds": 1.5}"#, "{}", "resources[0].join.seconds: is missing"),
    (r#"{"seconds": 1.5}"#, r#"{"seconds": 61}"#, {
        "resources[0].join.seconds: 61 is not within 0.1 and 60"
    }),
    (r#""history": 4000000"#, r#""history": 300000000"#, {
        "resources[0].history: 300000000 is not within 0 and 268435456"
    }),
    (r#""history": 4000000"#, r#""history": {"seconds": "1"}"#, {
        "resources[0].history.seconds: expected a number, found a string"
    }),
    (r#""slow": "disconnect""#, r#""slow": "drop""#, {
        "resources[0].slow: expected `random_access`, `packets` or `disconnect`, found a string"
    }),
    (r#""pacing": 2.5"#, r#""pacing": 1.1"#, {
        "resources[0].pacing: 1.1 is not within 1.2 and 1000"
    }),
    (r#""pacing": 2.5"#, r#""pacing": true"#, {
        "resources[0].pacing: expected a number or false, found a boolean"
    }),
    (r#"{"hold": 4.5}"#, r#""kill""#, {
        "resources[0].on_loss: expected `hold`, `cut` or an object, found a string"
    }),
    (r#"{"hold": 4.5}"#, r#"{"hold": 0}"#, {
        "resources[0].on_loss.hold: 0 is not within 0.1 and 3600"
    }),
    (r#"{"hold": 4.5}"#, "{}", "resources[0].on_loss.hold: is missing"),
    (r#""no_data": 4.5"#, r#""nodata": 4.5"#, {
        "resources[0].health.nodata: unknown key, did you mean `no_data`?"
    }),
    (r#""no_data": 4.5"#, r#""no_data": 0.5"#, {
        "resources[0].health.no_data: 0.5 is not within 1 and 86400"
    }),
    (r#""no_video": false"#, r#""no_video": true"#, {
        "resources[0].health.no_video: expected a number or false, found a boolean"
    }),
    (r#""below": 900000"#, r#""below": 0"#, {
        "resources[0].health.bitrate.below: 0 is not within 1 and 10000000000"
    }),
    (r#""below": 900000,"#, "", "resources[0].health.bitrate.below: is missing"),
    (r#""for": 60"#, r#""for": -60"#, {
        "resources[0].health.bitrate.for: -60 is not within 0 and 86400"
    }),
    (r#""hot": true"#, r#""hot": true, "on_demand": true"#, {
        "resources[0].on_demand: has no effect on a `hot` stream, which somebody always wants"
    }),
    (r#""on_demand": true"#, r#""on_demand": "true""#, {
        "resources[3].on_demand: expected a boolean, found a string"
    }),
    (r#""linger": 0"#, r#""linger": -1"#, "resources[3].linger: -1 is not within 0 and 86400"),
    (r#""linger": 0"#, r#""linger": true"#, {
        "resources[3].linger: expected a number, found a boolean"
    }),
    (r#""start_timeout": 2.5"#, r#""start_timeout": 0"#, {
        "resources[3].start_timeout: 0 is not within 0.1 and 300"
    }),
    (r#""start_timeout": 2.5"#, r#""start_timeout": 301"#, {
        "resources[3].start_timeout: 301 is not within 0.1 and 300"
    }),
    (r#""order": "priority""#, r#""order": "first""#, {
        "resources[0].order: `first` is not one of round-robin, priority"
    }),
    (r#""order": "priority""#, r#""order": "round-robin""#, {
        "resources[0].return_after: has no effect without `order` `priority`"
    }),
    (r#""return_after": 10"#, r#""return_after": -1"#, {
        "resources[0].return_after: -1 is not within 0 and 86400"
    }),
    (r#""slate": "/srv/slate.ts""#, r#""slate": "built in""#, {
        "resources[0].slate: expected `built-in`, an absolute path or false, found a string"
    }),
    (r#""cache": 0"#, r#""cache": 1"#, "resources[0].cache: has no effect on a stream"),
    (r#""token_query": true"#, r#""token_query": 1"#, {
        "resources[0].token_query: expected a boolean, found a number"
    }),
    (r#""realm": "tv""#, r#""realm": "t\tv""#, {
        "resources[0].authentication.realm: a realm has at most 256 bytes and no control characters"
    }),
    (r#""type": "basic", "realm": "tv""#, r#""type": "bsic", "realm": "tv""#, {
        "resources[0].authentication.type: `bsic` is not one of basic, bearer: nobody is admitted"
    }),
    (r#""user": "alice", "users": ["bob"]}"#, r#""user": "alice:s3cret", "users": ["bob"]}"#, {
        "resources[0].authentication.user: no such user in `userlist`"
    }),
    (r#""user": "alice", "users": ["bob"]}"#, r#""users": ["bob", {"alice": "s3cret"}]}"#, {
        "resources[0].authentication.users[1]: expected a string, found an object"
    }),
    (r#""realm": "tv", "": 2, "user""#, r#""": 2, "usr""#, {
        "resources[0].authentication.usr: unknown key, did you mean `user`?"
    }),
    // API resources.
    (r#""api": "check","#, r#""api": "czech","#, {
        "resources[1].api: `czech` is not one of health, statistics, check, control, prometheus"
    }),
    (r#""api": "check","#, "", "resources[1].api: is missing"),
    (r#""serve": "/two", "api": "check""#, r#""serve": "/one.ts", "api": "check""#, {
        "resources[1].serve: the same path as resources[0].serve on line 51"
    }),
    (r#""api": "control", "remote": "/two.ts""#, r#""api": "control", "remote": "/motd""#, {
        "resources[2].remote: no stream is served at `/motd`"
    }),
    (r#""api": "control", "remote": "/two.ts""#, r#""api": "control""#, {
        "resources[2].remote: names no stream, expected the path of one, as its `serve` has it"
    }),
    (r#""api": "control", "remote": "/two.ts""#, r#""api": "control", "remote": 2"#, {
        "resources[2].remote: expected a string, found a number"
    }),
    // Static resources.
    ("https://alice:s3cret@www", "ftp://alice:s3cret@www", {
        "resources[4].remote: is neither a file:, an http:// nor an https:// URL"
    }),
    ("https://alice:s3cret@www", "https://alice:s3cret@www:0", {
        "resources[4].remote: its port is not a number within 1 and 65535"
    }),
    (r#""cache": 60"#, r#""cache": "60""#, {
        "resources[4].cache: expected a number, found a string"
    }),
    (r#""cache": 60"#, r#""cache": 60, "remotes": ["https://u:s3cret@h/"]"#, {
        "resources[4].remotes: has no effect on a static resource"
    }),
    (r#""file:///etc/motd""#, "\"\"", "resources[5].remote: is missing"),
    // Notifications.
    ("limit_hit", "limit_it", {
        "notifications[0].event: `limit_it` is not one of limit_hit, limit_miss, heartbeat"
    }),
    (r#""type": "url", "": 2"#, r#""type": "mail""#, {
        "notifications[1].type: `mail` is not one of url"
    }),
    ("https://u:s3cret@tell:8443", "u:s3cret@tell:8443", {
        "notifications[1].url: is neither an http:// nor an https:// URL"
    }),
    (r#""users": ["bob", "alice"]"#, r#""users": ["carol", "alice"]"#, {
        "notifications[1].authentication.users[0]: no such user in `userlist`: the notification is \
        sent without authorization"
    }),
    (r#""heartbeatinterval": 30"#, r#""heartbeatinterval": 0"#, {
        "notifications[2].event: never happens, since `heartbeatinterval` is 0"
    }),
    // Users.
    (r#"{"": 1, "password": "s3cret"}"#, "{}", {
        "userlist.alice.password: is missing and counts as empty: by basic whoever names the user \
        is admitted, by bearer nobody"
    }),
    (r#"{"": 1, "password": "s3cret"}"#, "\"s3cret\"", {
        "userlist.alice: expected an object, found a string"
    }),
    (r#""password": "s3cret too""#, r#""password": ["s3cret too"]"#, {
        "userlist.bob.password: expected a string, found an array"
    }),
    (r#""password": "s3cret too""#, r#""password": """#, {
        "userlist.bob.password: is empty: by basic whoever names the user is admitted, by bearer \
        nobody"
    }),
    (r#""password": "s3cret too""#, r#""pasword": "s3cret", "password": "s3cret""#, {
        "userlist.bob.pasword: unknown key, did you mean `password`?"
    }),
];

#[test]
fn each_mistake_is_one_problem_that_names_its_key() {
    for (from, to, said) in MISTAKES {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        let parsed = parse(&text);
        let problems = [parsed.errors.clone(), parsed.warnings.clone()].concat();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 1, "{to}: {problems:?}");
        let (_, without_line) = problems[0].split_once(": ").expect("a line");
        assert_eq!(without_line, *said, "{to}");
        let shown = format!("{parsed:?} {problems:?}");
        assert!(!shown.contains("s3cret"), "{to}: {shown}");
    }
}

/// Each key of the format takes values of one type only.
#[test]
fn each_value_of_another_type_is_one_problem() {
    let mut taken = 0;
    for (number, line) in WHOLE.lines().enumerate() {
        // Lines of one key and one value.
        let Some((key, value)) = line.trim().trim_end_matches(',').split_once(": ") else {
            continue;
        };
        let one = !value.contains(['{', '[']) && !value.contains("\", ");
        if key == "\"\"" || !one {
            continue;
        }
        let wrong = if value.starts_with('"') { "7" } else { "\"s3cret\"" };
        let lines = WHOLE.lines().enumerate();
        let changed = |(at, text): (usize, &str)| {
            if at == number { text.replacen(value, wrong, 1) } else { text.to_owned() }
        };
        let text: Vec<String> = lines.map(changed).collect();
        let said = everything(&text.join("\n"));
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        let place = format!("line {}: ", number + 1);
        let named = format!("{}: expected ", key.trim_matches('"'));
        assert!(said.starts_with(&place) && said.contains(&named), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        taken += 1;
    }
    assert!(taken > 30, "only {taken} lines were tried");
}

#[test]
fn no_password_is_shown() {
    let shown = format!("{:?}", parse(WHOLE));
    for label in ["http://alice:***@origin:8080/live", "https://u:***@tell:8443/free"] {
        assert!(shown.contains(label), "{label} in {shown}");
    }
    assert!(!shown.contains("s3cret") && !shown.contains("YWxpY2U6"), "{shown}");
    // Neither where the password stands in the wrong place, nor where its URL is malformed.
    let wrong = r#"{"userlist": {"alice": "s3cret", "bob": {"password": ["s3cret"]}}, "resources": [
        {"type": "stream", "serve": "/a", "remotes": ["http://u:s3cret@h:x/", "tcp://u:s3cret@h:1",
            "udp://u:s3cret@h:1", "http:u:s3cret@h", "gopher://u:s3cret@h", "u:s3cret@h/x"]},
        {"type": "stream", "serve": "/b", "remote": {"x": "http://u:s3cret@h/"}}]}"#;
    let parsed = parse(wrong);
    assert_eq!(parsed.errors.len(), 9, "{}", lines(&parsed.errors));
    let shown = format!("{parsed:?} {}", lines(&parsed.errors));
    assert!(!shown.contains("s3cret"), "{shown}");
}

proptest! {
    /// Whatever a password is made of.
    #[test]
    fn no_password_of_any_kind_is_shown(tail in any::<String>(), user in "[a-z:]{1,4}") {
        let password = format!("Zq9{tail}");
        let json = serde_json::to_string(&password).expect("a string is JSON");
        let set = percent_encoding::NON_ALPHANUMERIC;
        let url = percent_encoding::utf8_percent_encode(&password, set);
        let text = format!(
            r#"{{"userlist": {{"{user}": {{"password": {json}}}}}, "resources": [
            {{"type": "stream", "serve": "/a", "remote": "http://u:{url}@h/",
                "authentication": {{"type": "basic", "user": "{user}"}}}},
            {{"type": "static", "serve": "/b", "remote": "https://u:{url}@h/",
                "authentication": {{"type": "bearer", "user": "{user}"}}}}],
            "notifications": [{{"event": "heartbeat", "type": "url", "url": "http://u:{url}@h/",
                "authentication": {{"type": "bearer", "user": "{user}"}}}}]}}"#
        );
        let parsed = parse(&text);
        let problems = [parsed.errors.clone(), parsed.warnings.clone()].concat();
        let shown = format!("{parsed:?} {}", lines(&problems));
        prop_assert!(!shown.contains("Zq9"), "{}", shown);
    }
}
