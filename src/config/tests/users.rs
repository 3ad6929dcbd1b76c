//! Who may have a resource.

use super::*;
use crate::limits::{CREDENTIAL_BYTES_MAX, REALM_BYTES_MAX, USERS_MAX};

/// A stream with these members more, and users behind it.
fn stream(members: &str) -> String {
    format!(
        r#"{{"resources": [{{"type": "stream", "serve": "/a", "remote": "tcp://h:1",
{members}}}],
"userlist": {{"alice": {{"password": "one"}}, "bob": {{"password": "two"}},
"a:b": {{"password": "three"}}}}}}"#
    )
}

fn authentication(members: &str) -> Authentication {
    config(&stream(members)).streams[0].authentication.clone()
}

fn basic(realm: &str, users: &[(&str, &str)], token_query: bool) -> Authentication {
    let user = |&(name, password): &(&str, &str)| (name.to_owned(), Secret::new(password));
    let users = users.iter().map(user).collect();
    Authentication::Basic { realm: realm.to_owned(), users, token_query }
}

fn bearer(tokens: &[&str], token_query: bool) -> Authentication {
    let tokens = tokens.iter().map(|&token| Secret::new(token)).collect();
    Authentication::Bearer { tokens, token_query }
}

#[test]
fn types_of_authentication() {
    let alice = ("alice", "one");
    let bob = ("bob", "two");
    let table = [
        (r#""": 0"#, Authentication::Open),
        (r#""authentication": null"#, Authentication::Open),
        (r#""authentication": {}"#, Authentication::Open),
        (r#""authentication": {"type": "", "realm": "tv", "user": ""}"#, Authentication::Open),
        (r#""authentication": {"type": null}, "token_query": false"#, Authentication::Open),
        (
            r#""authentication": {"type": "basic", "user": "alice"}"#,
            basic("restreamer", &[alice], false),
        ),
        (
            r#""authentication": {"type": "basic", "realm": "", "users": ["bob", "alice"]}"#,
            basic("restreamer", &[bob, alice], false),
        ),
        (
            r#""token_query": true, "authentication":
            {"": 1, "type": "basic", "realm": "tv é", "user": "bob", "users": ["alice", "bob"]}"#,
            basic("tv é", &[bob, alice], true),
        ),
        (
            r#""authentication": {"type": "bearer", "user": "bob", "users": ["a:b"]}"#,
            bearer(&["two", "three"], false),
        ),
        (
            r#""authentication": {"Type": "bearer", "Users": ["alice", "alice"]},
            "token_query": true"#,
            bearer(&["one"], true),
        ),
    ];
    for (members, expected) in table {
        assert_eq!(warnings(&stream(members)), "", "{members}");
        assert_eq!(authentication(members), expected, "{members}");
    }
}

#[test]
fn who_is_admitted_by_no_name_is_told_of() {
    let nobody = "line 2: resources[0].authentication: has neither `user` nor `users`: nobody is \
        admitted";
    let unknown = "no such user in `userlist`";
    let table = [
        (r#"{"type": "basic"}"#, nobody.to_owned(), basic("restreamer", &[], false)),
        (r#"{"type": "bearer", "users": []}"#, nobody.to_owned(), bearer(&[], false)),
        (
            r#"{"type": "basic", "user": "carol"}"#,
            format!("line 2: resources[0].authentication.user: {unknown}"),
            basic("restreamer", &[], false),
        ),
        (
            "{\"type\": \"bearer\", \"user\": \"alice\", \"users\": [\"bob\",\n\"Bob\"]}",
            format!("line 3: resources[0].authentication.users[1]: {unknown}"),
            bearer(&["one", "two"], false),
        ),
        (
            r#"{"type": "bearer", "users": [""]}"#,
            format!("line 2: resources[0].authentication.users[0]: {unknown}"),
            bearer(&[], false),
        ),
        (
            r#"{"type": "basic", "users": ["a:b", "bob"]}"#,
            "line 2: resources[0].authentication.users[0]: a user whose name has a colon cannot \
            log in by basic"
                .to_owned(),
            basic("restreamer", &[("bob", "two")], false),
        ),
        (
            r#"{"type": "Basic", "user": "alice"}"#,
            "line 2: resources[0].authentication.type: `Basic` is not one of basic, bearer: \
            nobody is admitted"
                .to_owned(),
            Authentication::Deny,
        ),
        (
            r#"{"user": "alice"}"#,
            "line 2: resources[0].authentication: has users but no `type`: everybody is admitted"
                .to_owned(),
            Authentication::Open,
        ),
    ];
    for (value, said, expected) in table {
        let members = format!("\"authentication\": {value}");
        assert_eq!(warnings(&stream(&members)), said);
        assert_eq!(authentication(&members), expected, "{members}");
    }
    assert_eq!(
        warnings(&stream("\"token_query\": true")),
        "line 2: resources[0].token_query: has no effect without `authentication` of type basic \
        or bearer"
    );
    let denied = r#""authentication": {"type": "digest"}, "token_query": true"#;
    assert_eq!(warnings(&stream(denied)).lines().count(), 1);
}

#[test]
fn a_realm_fits_into_a_header() {
    let text = |realm: &str| {
        stream(&format!(
            r#""authentication": {{"type": "basic", "user": "alice", "realm": "{realm}"}}"#
        ))
    };
    let longest = "r".repeat(REALM_BYTES_MAX);
    for realm in [&longest, r#"the \"one\""#, r"a\\b", "é"] {
        assert_eq!(warnings(&text(realm)), "", "{realm}");
    }
    let too_long = longest + "r";
    for realm in [r"a\r\nSet-Cookie: x", r"\t", r"\u0000", r"\u007f", &too_long] {
        assert_eq!(
            everything(&text(realm)),
            "line 2: resources[0].authentication.realm: a realm has at most 256 bytes and no \
            control characters",
            "{realm}"
        );
    }
}

#[test]
fn passwords_may_be_anything() {
    let users = |users: &str| with(&format!("\"userlist\": {{\n{users}}}"));
    let admits = "by basic whoever names the user is admitted, by bearer nobody";
    for (alice, said) in [
        (r#"{"password": ""}"#, "is empty"),
        (r#"{"password": null}"#, "is missing and counts as empty"),
        ("{}", "is missing and counts as empty"),
    ] {
        let said = format!("line 3: userlist.alice.password: {said}: {admits}");
        assert_eq!(warnings(&users(&format!("\"alice\": {alice}"))), said);
        for (kind, expected) in [
            ("basic", basic("restreamer", &[("alice", "")], false)),
            ("bearer", bearer(&[""], false)),
        ] {
            let text =
                stream(&format!(r#""authentication": {{"type": "{kind}", "user": "alice"}}"#));
            let text = text.replace(r#"{"password": "one"}"#, alice);
            assert_eq!(config(&text).streams[0].authentication, expected);
        }
    }
    let text = stream(r#""authentication": {"type": "bearer", "user": "alice"}"#);
    let text = text.replace("\"one\"", r#""\" \\ é \n:\u0000""#);
    let expected = bearer(&["\" \\ é \n:\0"], false);
    assert_eq!(config(&text).streams[0].authentication, expected);

    let many = |count: usize| {
        let user = |n| format!("\"{n}\": {{\"password\": \"x\"}}");
        users(&(0..count).map(user).collect::<Vec<_>>().join(","))
    };
    assert_eq!(warnings(&many(USERS_MAX)), "");
    let said = "line 2: userlist: has 4097 entries, at most 4096 are allowed";
    assert_eq!(everything(&many(USERS_MAX + 1)), said);
}

#[test]
fn names_and_passwords_fit_into_a_request_head() {
    let text = |name: &str, password: &str| {
        format!(
            "{{\"resources\": [{STREAM}], \"userlist\": {{\n\"{name}\":\n\
            {{\"password\": \"{password}\"}}}}}}"
        )
    };
    let longest = "x".repeat(CREDENTIAL_BYTES_MAX);
    let longer = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
    assert_eq!(warnings(&text(&longest, &longest)), "");
    let said = "line 3: userlist.alice.password: is longer than 8192 bytes";
    assert_eq!(everything(&text("alice", &longer)), said);
    let said = format!("line 2: userlist.\"{}…\": is longer than 8192 bytes", "x".repeat(64));
    assert_eq!(everything(&text(&longer, "")).lines().next(), Some(&*said));
}

#[test]
fn a_user_who_was_refused_is_not_unknown() {
    let text = |users: &str| {
        format!(
            r#"{{"userlist": {users}, "resources": [{{"type": "stream", "serve": "/a",
            "remote": "tcp://h:1", "authentication": {{"type": "basic", "user": "alice"}}}}]}}"#
        )
    };
    for users in ["[]", r#"{"alice": {}}"#, r#"{"alice": 1}"#, r#"{"alice": {"password": 1}}"#] {
        assert_eq!(everything(&text(users)).lines().count(), 1, "{users}");
    }
    // The last of two counts.
    let twice = text(r#"{"alice": {"password": "x"}, "alice": {"password": "y"}}"#);
    let expected = basic("restreamer", &[("alice", "y")], false);
    assert_eq!(config(&twice).streams[0].authentication, expected);
}
