//! The door's section.

use super::*;
use crate::limits::{DOOR_BURST_MAX, DOOR_RULES_MAX};

fn door(members: &str) -> Door {
    let text = with(&format!("\"door\": {{{members}}}"));
    config(&text).door.expect("a door")
}

fn said(members: &str) -> String {
    everything(&with(&format!("\"door\": {{{members}}}")))
}

#[test]
fn there_is_none_unless_there_is_a_section() {
    assert_eq!(config(&with("\"\": 0")).door, None);
    assert_eq!(config(&with("\"door\": null")).door, None);
    for nothing in [
        "",
        r#""deny": [], "allow": [], "rate": null, "source": {}, "required": false, "steer": true,
        "state": "", "authentication": {}"#,
    ] {
        assert_eq!((door(nothing), said(nothing)), (Door::default(), String::new()));
    }
    let default = Door::default();
    assert_eq!((default.source_v4, default.source_v6), (32, 64));
    assert_eq!((default.required, default.steer, default.rate), (false, true, None));
}

#[test]
fn lists_are_of_canonical_networks() {
    let text = |networks: Vec<IpNet>| {
        networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let of = |list: &str| text(door(&format!("\"deny\": {list}")).deny);
    assert_eq!(of(r#"["10.0.0.0/8", "192.0.2.7"]"#), "10.0.0.0/8 192.0.2.7/32");
    assert_eq!(of(r#"["2001:db8::/32", "::1", "::/0"]"#), "2001:db8::/32 ::1/128 ::/0");
    assert_eq!(of(r#"["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"]"#), "10.0.0.0/8 192.0.2.7/32");
    let both = door(r#""deny": ["10.0.0.0/8"], "allow": ["10.0.0.0/9", "10.0.0.0/7"]"#);
    assert_eq!((text(both.deny), text(both.allow)), {
        ("10.0.0.0/8".to_owned(), "10.0.0.0/9 10.0.0.0/7".to_owned())
    });
    assert_eq!(
        said("\n\"deny\": [\"10.0.0.1/8\"]"),
        "line 3: door.deny[0]: has bits behind its prefix and counts as 10.0.0.0/8"
    );
    assert_eq!(of(r#"["10.0.0.1/8"]"#), "10.0.0.0/8");
}

#[test]
fn a_network_is_in_one_list_and_once() {
    let twice = "\n\"deny\": [\"10.0.0.0/8\",\n\"::ffff:10.0.0.0/104\"]";
    assert_eq!(said(twice), "line 4: door.deny[1]: the same network as door.deny[0] on line 3");
    assert_eq!(door(twice).deny.len(), 1);
    let both = "\n\"allow\": [\"10.0.0.0/8\"],\n\"deny\": [\"10.0.0.0/8\"]";
    let why = "it cannot be both denied and allowed";
    assert_eq!(
        said(both),
        format!("line 3: door.allow[0]: the same network as door.deny[0] on line 4, {why}")
    );
    assert!(parse(&with(&format!("\"door\": {{{both}}}"))).config.is_none());
}

#[test]
fn as_many_rules_as_there_is_room_for() {
    let list = |networks: std::ops::Range<usize>| {
        let networks =
            networks.map(|n| format!("\"10.{}.{}.{}\"", n >> 16, (n >> 8) & 255, n & 255));
        networks.collect::<Vec<_>>().join(",")
    };
    let half = DOOR_RULES_MAX / 2;
    let lists = |more: usize| {
        let (deny, allow) = (list(0..half), list(half..DOOR_RULES_MAX + more));
        format!("\"deny\": [{deny}], \"allow\": [{allow}]")
    };
    assert_eq!(said(&lists(0)), "");
    assert_eq!(said(&lists(1)), "line 2: door.allow: has 65537 entries, at most 65536 are allowed");
}

#[test]
fn a_rate_has_a_burst_of_a_second() {
    let rate = |members: &str| door(&format!("\"rate\": {{{members}}}")).rate.expect("a rate");
    for (per_second, burst) in
        [("0.5", 1), ("1", 1), ("1.5", 2), ("5", 5), ("1e2", 100), ("1000000", 100_000)]
    {
        let rate = rate(&format!("\"per_second\": {per_second}"));
        assert_eq!((rate.per_second, rate.burst), (per_second.parse().unwrap(), burst));
    }
    assert_eq!(rate("\"per_second\": 5, \"burst\": 20").burst, 20);
    let most = format!("\"per_second\": 5, \"burst\": {DOOR_BURST_MAX}");
    assert_eq!(rate(&most).burst as usize, DOOR_BURST_MAX);
    for wrong in ["0", "-1", "0.00009", "1000001", "1e400", "-0.0"] {
        assert_eq!(
            said(&format!("\"rate\": {{\"per_second\": {wrong}}}")),
            format!("line 2: door.rate.per_second: {wrong} is not within 0.0001 and 1000000")
        );
    }
    assert_eq!(said("\"rate\": {\"burst\": 3}"), "line 2: door.rate.per_second: is missing");
    assert_eq!(said("\"rate\": 5"), "line 2: door.rate: expected an object, found a number");
    assert_eq!(
        said("\"rate\": {\"per_second\": \"5\"}"),
        "line 2: door.rate.per_second: expected a number, found a string"
    );
    let interval = |per_second| DoorRate { per_second, burst: 1 }.interval();
    assert_eq!(interval(0.5), Duration::from_secs(2));
    assert_eq!(interval(3.0), Duration::from_nanos(333_333_333));
    assert_eq!(interval(1_000_000.0), Duration::from_micros(1));
}

#[test]
fn who_may_change_it_besides_this_host() {
    let of = |authentication: &str, members: &str| {
        let text = with(&format!(
            "\"door\": {{\"authentication\": {authentication}}},
            \"userlist\": {{\"ops\": {{\"password\": \"s3cret\"}}}}{members}"
        ));
        let said = everything(&text);
        (config(&text).door.expect("a door").authentication, said)
    };
    let (basic, said) = of(r#"{"type": "basic", "user": "ops"}"#, "");
    let Authentication::Basic { users, .. } = basic else { panic!("{basic:?}") };
    assert_eq!((users, said), (vec![("ops".to_owned(), Secret::new("s3cret"))], String::new()));
    // Nobody is let in by half of it.
    let why = "line 2: door.authentication: has no effect without a `type`";
    assert_eq!(of(r#"{"user": "ops"}"#, ""), (Authentication::Open, why.to_owned()));
    assert_eq!(of(r#"{"type": "digest"}"#, "").0, Authentication::Deny);
}
