//! Keys of the file itself.

use super::*;
use crate::limits::{RETRY_AFTER_SECONDS_MAX, TRUSTED_PROXIES_MAX};

#[test]
fn a_refusal_is_404_unless_told_otherwise() {
    let after = |seconds| RefuseWith::Unavailable { retry_after: Duration::from_secs(seconds) };
    let table = [
        ("\"\": 0", RefuseWith::NotFound),
        ("\"refuse_with\": null, \"retry_after\": null", RefuseWith::NotFound),
        ("\"refuse_with\": 404", RefuseWith::NotFound),
        ("\"refuse_with\": 503", after(5)),
        ("\"refuse_with\": 503, \"retry_after\": 0", after(0)),
        ("\"refuse_with\": 503, \"retry_after\": 86400", after(86400)),
    ];
    for (members, refuse_with) in table {
        assert_eq!(warnings(&with(members)), "", "{members}");
        assert_eq!(config(&with(members)).refuse_with, refuse_with, "{members}");
    }
    for members in ["\"retry_after\": 7", "\"refuse_with\": 404, \"retry_after\": 7"] {
        let said = "line 2: retry_after: has no effect unless `refuse_with` is 503";
        assert_eq!(warnings(&with(members)), said);
        assert_eq!(config(&with(members)).refuse_with, RefuseWith::NotFound);
    }
    for status in ["500", "0", "-503", "503.0", "5030"] {
        let text = with(&format!("\"refuse_with\": {status}, \"retry_after\": 1"));
        let said = format!("line 2: refuse_with: `{status}` is not one of 404, 503");
        assert_eq!(everything(&text), said);
    }
    for seconds in ["-1", "86401"] {
        let text = with(&format!("\"refuse_with\": 503, \"retry_after\": {seconds}"));
        let bounds = format!("is not within 0 and {RETRY_AFTER_SECONDS_MAX}");
        assert_eq!(everything(&text), format!("line 2: retry_after: {seconds} {bounds}"));
    }
}

/// A default of ours is not in the way of what the original does.
#[test]
fn a_default_side_is_told_from_a_given_one() {
    let side = |members: &str| {
        let config = config(&with(members));
        (config.side.map(|side| side.to_string()), config.side_given)
    };
    let at = |address: &str| Some(address.to_owned());
    for (members, expected) in [
        ("\"\": 0", (at("127.0.0.1:9470"), false)),
        ("\"side\": null", (at("127.0.0.1:9470"), false)),
        ("\"side\": \"127.0.0.1:9470\"", (at("127.0.0.1:9470"), true)),
        ("\"side\": \"\"", (None, true)),
        ("\"listen\": \":9470\"", (None, false)),
        ("\"listen\": \"127.0.0.1:9470\", \"side\": null", (None, false)),
        ("\"listen\": \"192.0.2.1:9470\"", (at("127.0.0.1:9470"), false)),
        ("\"listen\": \":9470\", \"side\": \":9471\"", (at(":9471"), true)),
        ("\"listen\": \":9470\", \"side\": \"\"", (None, true)),
    ] {
        assert_eq!(side(members), expected, "{members}");
    }
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    let networks = |list: &str| {
        let text = with(&format!("\"trusted_proxies\": {list}"));
        assert_eq!(warnings(&text), "", "{list}");
        let networks = config(&text).trusted_proxies;
        networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(networks("[]"), "");
    assert_eq!(networks("[\"10.0.0.0/8\", \"192.0.2.7\"]"), "10.0.0.0/8 192.0.2.7/32");
    assert_eq!(networks("[\"::1\", \"2001:db8::/32\"]"), "::1/128 2001:db8::/32");
    assert_eq!(networks("[\"10.1.2.3/8\", \"0.0.0.0/0\"]"), "10.0.0.0/8 0.0.0.0/0");
    // They are compared with canonical addresses.
    for (mapped, four) in [
        ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
        ("::ffff:127.1.2.3/104", "127.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.7/128", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::127.0.0.0/104", "::7f00:0/104"),
    ] {
        assert_eq!(networks(&format!("[\"{mapped}\"]")), four);
    }
    let wrong = ["", " ", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.1:80", "[::1]", "proxy"];
    for entry in wrong {
        let text = with(&format!("\"trusted_proxies\": [\"::1\",\n\"{entry}\"]"));
        let said = "is neither an IP address nor a network, as in 10.0.0.0/8";
        assert_eq!(everything(&text), format!("line 3: trusted_proxies[1]: {said}"));
    }
    let many = |count: usize| {
        with(&format!("\"trusted_proxies\": [{}]", vec!["\"::1\""; count].join(",")))
    };
    assert_eq!(config(&many(TRUSTED_PROXIES_MAX)).trusted_proxies.len(), TRUSTED_PROXIES_MAX);
    let said = "line 2: trusted_proxies: has 1025 entries, at most 1024 are allowed";
    assert_eq!(everything(&many(TRUSTED_PROXIES_MAX + 1)), said);
}

#[test]
fn what_is_optional_can_be_left_out_or_empty() {
    let text = with(
        r#""ca_file": "", "max_per_address": 0, "trusted_proxies": [], "proxy_protocol": false,
        "nostats": false, "heartbeatinterval": 60, "confine": true"#,
    );
    assert_eq!(warnings(&text), "");
    assert_eq!(config(&text), config(&with("\"\": 0")));
    let config = config(&with(
        r#""ca_file": "ca.pem", "max_per_address": 3, "proxy_protocol": true, "nostats": true,
        "heartbeatinterval": 0"#,
    ));
    assert_eq!(config.ca_file, Some(PathBuf::from("ca.pem")));
    assert_eq!((config.max_per_address, config.proxy_protocol), (Some(3), true));
    assert_eq!((config.statistics, config.heartbeat_interval), (false, None));
}

#[test]
fn turns_are_adaptive_fixed_or_within_bounds() {
    let adaptive = |min, max| TurnPeriod::Adaptive {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    };
    let table = [
        ("\"adaptive\"", adaptive(5, 60)),
        ("null", adaptive(5, 60)),
        ("{}", adaptive(5, 60)),
        ("{\"min\": 1}", adaptive(1, 60)),
        ("{\"min\": null, \"max\": 100}", adaptive(5, 100)),
        ("{\"\": 1, \"MIN\": 20, \"Max\": 20}", adaptive(20, 20)),
        ("7", TurnPeriod::Fixed(Duration::from_millis(7))),
    ];
    for (value, turn) in table {
        let members = format!("\"turn\": {value}");
        assert_eq!(warnings(&with(&members)), "", "{members}");
        assert_eq!(config(&with(&members)).turn, turn, "{members}");
    }
    let shapes = "expected a number, an object or `adaptive`, found";
    let bad = [
        ("\"fast\"", "", format!("{shapes} a string")),
        ("[]", "", format!("{shapes} an array")),
        ("true", "", format!("{shapes} a boolean")),
        ("5.5", "", "expected a whole number, found 5.5".to_owned()),
        ("{\"min\": 0}", ".min", "0 is not within 1 and 100".to_owned()),
        ("{\"max\": 101}", ".max", "101 is not within 1 and 100".to_owned()),
        ("{\"max\": \"x\"}", ".max", "expected a number, found a string".to_owned()),
        ("{\"min\": 20, \"max\": 10}", ".min", "`min` (20 ms) is above `max` (10 ms)".to_owned()),
        ("{\"min\": 70}", ".min", "`min` (70 ms) is above `max` (60 ms)".to_owned()),
        ("{\"max\": 4}", ".max", "`min` (5 ms) is above `max` (4 ms)".to_owned()),
    ];
    for (value, key, said) in bad {
        let said = format!("line 2: turn{key}: {said}");
        assert_eq!(errors(&with(&format!("\"turn\": {value}"))), said);
    }
    let said = "line 2: turn.mim: unknown key, did you mean `min`?";
    assert_eq!(warnings(&with("\"turn\": {\"mim\": 5}")), said);
}
