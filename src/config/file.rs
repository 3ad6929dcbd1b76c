//! A mirror of the whole file: every key of the format, with its type and bounds.
//!
//! Owns the keys' names and the bounds of their values. Never judges what belongs together, nor
//! what this version can do: that is `check`. Driven by `parse_with`. No `Debug` here: URLs hold
//! passwords.

use std::collections::HashMap;
use std::time::Duration;

use super::Reception;
use super::excerpt::excerpt;
use super::problem::{At, ProblemKind, Problems};
use super::section::{Field, Items, Section, wrong_type};
use super::tree::{Node, Value};
use crate::limits::{
    BUFFER_PACKETS_MAX, CACHE_SECONDS_MAX, CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN,
    INTERFACE_BYTES_MAX, TURN_FIXED_MILLISECONDS_MAX,
};

const FILE_KEYS: &[&str] = &[
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
    "userlist",
    "resources",
    "notifications",
];

const RESOURCE_KEYS: &[&str] = &[
    "type",
    "serve",
    "authentication",
    "remote",
    "remotes",
    "mru",
    "clientinterface",
    "rejoin",
    "preamble",
    "cache",
    "api",
];

const AUTHENTICATION_KEYS: &[&str] = &["type", "realm", "user", "users"];
const USER_KEYS: &[&str] = &["password"];
const NOTIFICATION_KEYS: &[&str] = &["event", "type", "url", "authentication"];

const RESOURCE_TYPES: &str = "stream, static, api";
const APIS: &str = "health, statistics, check, control, prometheus";
const EVENTS: &str = "limit_hit, limit_miss, heartbeat";
const NOTIFICATION_TYPES: &str = "url";

/// The file. Keys without any effect are checked and then gone.
pub(super) struct File {
    pub(super) listen: Field<String>,
    pub(super) side: Field<String>,
    pub(super) timeout: Field<Option<Duration>>,
    pub(super) reconnect: Field<Option<Duration>>,
    pub(super) read_timeout: Field<Option<Duration>>,
    pub(super) input_buffer: Field<usize>,
    pub(super) output_buffer: Field<usize>,
    pub(super) max_connections: Field<usize>,
    pub(super) full_connections: Field<usize>,
    pub(super) no_statistics: Field<bool>,
    pub(super) log: Field<String>,
    pub(super) profile: Field<bool>,
    pub(super) turn: Field<usize>,
    pub(super) resources: Field<Items<Resource>>,
    /// How many there are.
    pub(super) notifications: Field<usize>,
}

/// One element of `resources`.
pub(super) struct Resource {
    pub(super) at: At,
    pub(super) kind: Field<ResourceKind>,
    pub(super) serve: Field<String>,
    pub(super) remote: Field<String>,
    pub(super) remotes: Field<Items<(At, String)>>,
    pub(super) reception: Reception,
    pub(super) preamble: Field<String>,
    /// Its `type`.
    pub(super) authentication: Field<String>,
}

/// The `type` of a resource.
#[derive(Clone, Copy)]
pub(super) enum ResourceKind {
    Stream,
    Static,
    Api,
}

/// Reads the file's fields; `None` when it is not even an object.
pub(super) fn read(root: &Node, problems: &mut Problems) -> Option<File> {
    let file = Section::open(root, At::whole_file(), FILE_KEYS, problems)?;
    let buffer = 1..=BUFFER_PACKETS_MAX;
    let connections = 0..=CONNECTIONS_MAX;
    // No effect: heartbeats are notifications, users are for authentication.
    file.seconds("heartbeatinterval", problems);
    users(&file, problems);
    Some(File {
        listen: file.text("listen", problems),
        side: file.text("side", problems),
        timeout: file.seconds("timeout", problems),
        reconnect: file.seconds("reconnect", problems),
        read_timeout: file.seconds("readtimeout", problems),
        input_buffer: file.whole("inputbuffer", buffer.clone(), problems),
        output_buffer: file.whole("outputbuffer", buffer, problems),
        max_connections: file.whole("maxconnections", connections.clone(), problems),
        full_connections: file.whole("fullconnections", connections, problems),
        no_statistics: file.flag("nostats", problems),
        log: file.text("log", problems),
        profile: file.flag("profile", problems),
        turn: file.whole("turn", 1..=TURN_FIXED_MILLISECONDS_MAX, problems),
        resources: resources(&file, problems),
        notifications: notifications(&file, problems),
    })
}

fn users(file: &Section<'_>, problems: &mut Problems) {
    let Some((at, node)) = file.node("userlist") else {
        return;
    };
    let Value::Object(users) = &node.value else {
        problems.error(at, wrong_type("an object", node));
        return;
    };
    let mut lines = HashMap::new();
    for entry in users {
        if let Some(first) = lines.insert(&entry.key, entry.line) {
            let here = at.key(&entry.key).line(entry.line);
            problems.warn(here, ProblemKind::DuplicateKey { first });
        }
        let user = Section::open(&entry.node, at.key(&entry.key), USER_KEYS, problems);
        if let Some(user) = user {
            required(&user, "password", problems);
        }
    }
}

fn resources(file: &Section<'_>, problems: &mut Problems) -> Field<Items<Resource>> {
    let (at, nodes) = match file.list("resources", problems) {
        Field::Given(at, nodes) => (at, nodes),
        Field::Absent => return Field::Absent,
        Field::Refused => return Field::Refused,
    };
    let mut resources = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let section = Section::open(node, at.index(index), RESOURCE_KEYS, problems);
        resources.extend(section.map(|section| resource(section, problems)));
    }
    let complete = resources.len() == nodes.len();
    Field::Given(at, Items { good: resources, complete })
}

fn resource(section: Section<'_>, problems: &mut Problems) -> Resource {
    let reception = reception(&section, problems);
    // No effect: it is about static resources.
    section.whole("cache", 0..=CACHE_SECONDS_MAX, problems);
    let api = section.text("api", problems);
    let serve = required(&section, "serve", problems);
    let remote = section.text("remote", problems);
    let remotes = section.texts("remotes", problems);
    let preamble = section.text("preamble", problems);
    let authentication = authentication(&section, problems);
    let kind = resource_kind(&section, problems);
    if let Field::Given(_, ResourceKind::Api) = kind {
        match api {
            Field::Absent => problems.error(section.at.key("api"), ProblemKind::Missing),
            Field::Given(at, word) => one_of(at, &word, APIS, problems),
            Field::Refused => {}
        }
    }
    let at = section.at;
    Resource { at, kind, serve, remote, remotes, reception, preamble, authentication }
}

/// How datagrams are received; no matter whether there is anything that sends some.
fn reception(section: &Section<'_>, problems: &mut Problems) -> Reception {
    let default = Reception::default();
    let mru = section.whole("mru", 0..=DATAGRAM_BYTES_MAX, problems).given();
    let mru = mru.filter(|&(_, bytes)| bytes > 0);
    if let Some((at, bytes @ ..DATAGRAM_BYTES_MIN)) = &mru {
        let kind = ProblemKind::TooSmall { found: *bytes, min: DATAGRAM_BYTES_MIN };
        problems.error(at.clone(), kind);
    }
    let interface = section.text("clientinterface", problems).given();
    let interface = interface.filter(|(_, name)| !name.is_empty());
    if let Some((at, name)) = &interface
        && !is_interface(name)
    {
        problems.error(at.clone(), ProblemKind::Interface);
    }
    Reception {
        datagram_bytes: mru.map_or(default.datagram_bytes, |(_, bytes)| bytes),
        interface: interface.map(|(_, name)| name),
        rejoin: section.seconds("rejoin", problems).or(default.rejoin),
    }
}

/// Whether an interface can be asked for by this name (an alias of one has a colon).
fn is_interface(name: &str) -> bool {
    let wrong = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    name.len() <= INTERFACE_BYTES_MAX && !name.contains(wrong)
}

fn resource_kind(section: &Section<'_>, problems: &mut Problems) -> Field<ResourceKind> {
    let Some((at, word)) = required(section, "type", problems).given() else {
        return Field::Refused;
    };
    match word.as_str() {
        "stream" => Field::Given(at, ResourceKind::Stream),
        "static" => Field::Given(at, ResourceKind::Static),
        "api" => Field::Given(at, ResourceKind::Api),
        _ => {
            problems.error(at, unknown_word(&word, RESOURCE_TYPES));
            Field::Refused
        }
    }
}

/// The `type` of a section's `authentication`; what else it has is checked.
fn authentication(section: &Section<'_>, problems: &mut Problems) -> Field<String> {
    let Some((at, node)) = section.node("authentication") else {
        return Field::Absent;
    };
    let Some(inner) = Section::open(node, at, AUTHENTICATION_KEYS, problems) else {
        return Field::Refused;
    };
    inner.text("realm", problems);
    inner.text("user", problems);
    inner.texts("users", problems);
    inner.text("type", problems)
}

fn notifications(file: &Section<'_>, problems: &mut Problems) -> Field<usize> {
    let (at, nodes) = match file.list("notifications", problems) {
        Field::Given(at, nodes) => (at, nodes),
        Field::Absent => return Field::Absent,
        Field::Refused => return Field::Refused,
    };
    for (index, node) in nodes.iter().enumerate() {
        let section = Section::open(node, at.index(index), NOTIFICATION_KEYS, problems);
        let Some(section) = section else {
            continue;
        };
        for (key, words) in [("event", EVENTS), ("type", NOTIFICATION_TYPES)] {
            if let Some((at, word)) = required(&section, key, problems).given() {
                one_of(at, &word, words, problems);
            }
        }
        required(&section, "url", problems);
        authentication(&section, problems);
    }
    Field::Given(at, nodes.len())
}

/// A string that must be there.
fn required(section: &Section<'_>, key: &'static str, problems: &mut Problems) -> Field<String> {
    match section.text(key, problems) {
        Field::Absent => {
            problems.error(section.at.key(key), ProblemKind::Missing);
            Field::Refused
        }
        field => field,
    }
}

fn one_of(at: At, word: &str, words: &'static str, problems: &mut Problems) {
    if !words.split(", ").any(|known| known == word) {
        problems.error(at, unknown_word(word, words));
    }
}

fn unknown_word(word: &str, expected: &'static str) -> ProblemKind {
    ProblemKind::UnknownWord { found: excerpt(word), expected }
}
