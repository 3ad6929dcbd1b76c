//! Whom to notify.

use super::*;
use crate::limits::NOTIFICATIONS_MAX;

const USERS: &str = r#""userlist": {"alice": {"password": "one"}, "bob": {"password": "two"},
"a:b": {"password": "three"}, "nl": {"password": "\r\nX: y"}, "é": {"password": "é"},
"sp": {"password": "a b"}}"#;

/// A file with one notification, these its members, on line 5.
fn notification(members: &str) -> String {
    with(&format!("{USERS},\n\"notifications\": [{{{members}}}]"))
}

fn authorization(authentication: &str) -> Option<String> {
    let text = notification(&format!(
        r#""event": "heartbeat", "type": "url", "url": "http://h/",
        "authentication": {authentication}"#
    ));
    assert_eq!(warnings(&text), "", "{authentication}");
    let secret = config(&text).notifications[0].authorization.clone();
    secret.map(|secret| secret.expose().to_owned())
}

#[test]
fn the_first_user_is_who_we_are() {
    let table = [
        ("null", None),
        ("{}", None),
        (r#"{"type": "", "realm": "x", "user": "", "users": []}"#, None),
        (r#"{"type": "basic", "user": "alice"}"#, Some("Basic YWxpY2U6b25l")),
        (r#"{"type": "basic", "user": "alice", "users": ["bob"]}"#, Some("Basic YWxpY2U6b25l")),
        (r#"{"type": "basic", "users": ["bob", "alice"]}"#, Some("Basic Ym9iOnR3bw==")),
        (r#"{"type": "basic", "users": ["é"]}"#, Some("Basic w6k6w6k=")),
        (r#"{"type": "basic", "users": ["nl"]}"#, Some("Basic bmw6DQpYOiB5")),
        (r#"{"type": "bearer", "user": "bob", "users": ["nobody"]}"#, Some("Bearer two")),
        (r#"{"type": "bearer", "user": "a:b"}"#, Some("Bearer three")),
        (r#"{"type": "bearer", "user": "sp"}"#, Some("Bearer a b")),
    ];
    for (authentication, expected) in table {
        assert_eq!(authorization(authentication).as_deref(), expected, "{authentication}");
    }
}

#[test]
fn what_could_never_be_sent_is_left_out() {
    let table = [
        (r#"{"type": "basic"}"#, ".user: is missing"),
        (r#"{"type": "bearer", "users": []}"#, ".user: is missing"),
        (r#"{"type": "basic", "user": "carol"}"#, ".user: no such user in `userlist`"),
        (r#"{"type": "bearer", "users": ["", "bob"]}"#, ".users[0]: no such user in `userlist`"),
        (
            r#"{"type": "basic", "user": "a:b"}"#,
            ".user: a user whose name has a colon cannot log in by basic",
        ),
        (
            r#"{"type": "bearer", "user": "nl"}"#,
            ".user: the user's password has characters that a header cannot have",
        ),
        (
            r#"{"type": "bearer", "users": ["é"]}"#,
            ".users[0]: the user's password has characters that a header cannot have",
        ),
        (r#"{"type": "digest", "user": "bob"}"#, ".type: `digest` is not one of basic, bearer"),
        (r#"{"type": "Basic"}"#, ".type: `Basic` is not one of basic, bearer"),
    ];
    for (authentication, said) in table {
        let text = notification(&format!(
            r#""event": "heartbeat", "type": "url", "url": "http://h/",
"authentication": {authentication}"#
        ));
        let why = "the notification is sent without authorization";
        let said = format!("line 6: notifications[0].authentication{said}: {why}");
        assert_eq!(warnings(&text), said);
        assert!(parse(&text).warnings[0].is_refused_by_check(), "{authentication}");
        assert_eq!(config(&text).notifications[0].authorization, None, "{authentication}");
    }
    let table = [
        (r#"{"type": "basic", "users": [1]}"#, ".users[0]: expected a string, found a number"),
        (r#"{"type": 1}"#, ".type: expected a string, found a number"),
        ("[]", ": expected an object, found an array"),
    ];
    for (authentication, said) in table {
        let text = notification(&format!(
            r#""event": "heartbeat", "type": "url", "url": "http://h/",
"authentication": {authentication}"#
        ));
        assert_eq!(errors(&text), format!("line 6: notifications[0].authentication{said}"));
    }
    let text = notification(
        r#""event": "heartbeat", "type": "url", "url": "http://h/",
        "authentication": {"user": "bob"}"#,
    );
    let said = "line 6: notifications[0].authentication: has no effect without a `type`";
    assert_eq!(warnings(&text), said);
}

#[test]
fn typical_mistakes_in_a_notification() {
    let table = [
        (r#""type": "url", "url": "http://h""#, "event: is missing"),
        (r#""event": "heartbeat", "url": "http://h""#, "type: is missing"),
        (r#""event": "heartbeat", "type": "url""#, "url: is missing"),
        (
            r#""event": "hit", "type": "url", "url": "http://h""#,
            "event: `hit` is not one of limit_hit, limit_miss, heartbeat",
        ),
        (
            r#""event": "heartbeat", "type": "mail", "url": "http://h""#,
            "type: `mail` is not one of url",
        ),
        (r#""event": "heartbeat", "type": "url", "url": """#, "url: is empty"),
        (
            r#""event": "heartbeat", "type": "url", "url": "file:///x""#,
            "url: is neither an http:// nor an https:// URL",
        ),
        (
            r#""event": "heartbeat", "type": "url", "url": "http://h:0""#,
            "url: its port is not a number within 1 and 65535",
        ),
        (
            r#""event": "limit_hit", "type": "url", "url": "http://h""#,
            "event: never happens, since `fullconnections` is 0",
        ),
        (
            r#""event": "limit_miss", "type": "url", "url": "http://h""#,
            "event: never happens, since `fullconnections` is 0",
        ),
    ];
    for (members, said) in table {
        assert_eq!(everything(&notification(members)), format!("line 5: notifications[0].{said}"));
    }
    let told = r#""notifications": [{"event": "E", "type": "url", "url": "http://h"}]"#;
    let hit = told.replace('E', "limit_hit");
    let beat = told.replace('E', "heartbeat");
    let said = "line 2: notifications[0].event: never happens, since `heartbeatinterval` is 0";
    assert_eq!(everything(&with(&format!("{beat}, \"heartbeatinterval\": 0"))), said);
    for (members, problems) in [
        (format!("{beat}, \"heartbeatinterval\": 1"), 0),
        (format!("{beat}, \"heartbeatinterval\": \"x\""), 1),
        (format!("{hit}, \"fullconnections\": 1"), 0),
        (format!("{hit}, \"fullconnections\": \"x\""), 1),
    ] {
        assert_eq!(everything(&with(&members)).lines().count(), problems, "{members}");
    }
}

#[test]
fn notifications_are_bounded() {
    let many = |count: usize| {
        let one = r#"{"event": "heartbeat", "type": "url", "url": "http://h/"}"#;
        with(&format!("\"notifications\": [{}]", vec![one; count].join(",")))
    };
    assert_eq!(config(&many(NOTIFICATIONS_MAX)).notifications.len(), NOTIFICATIONS_MAX);
    let said = "line 2: notifications: has 65 entries, at most 64 are allowed";
    assert_eq!(everything(&many(NOTIFICATIONS_MAX + 1)), said);
}
