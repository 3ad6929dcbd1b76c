//! A mirror of the whole file: every key of the format, with its type and bounds.
//!
//! Owns the keys' names and the bounds of their values. Never judges what belongs together:
//! that is `check`. Driven by `parse_with`. No `Debug` here: URLs hold passwords.

mod demand;
mod door;
mod health;
mod joining;
mod losing;
mod notifications;
mod resources;
mod slate;
mod turn;
mod users;

use std::time::Duration;

use super::RefuseWith;
use super::problem::{At, Problems};
use super::section::{Field, Items, Section};
use super::tree::Node;
use crate::limits::{BUFFER_PACKETS_MAX, CONNECTIONS_MAX, RETRY_AFTER_SECONDS_MAX, WORKERS_MAX};

pub(super) use door::{Door, Rate};
pub(super) use notifications::Notification;
pub(super) use resources::{ApiKind, Resource, ResourceKind};
pub(super) use turn::Turn;
pub(super) use users::{Login, User, Users};

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
    "resources",
    "notifications",
];

/// The statuses a viewer may be refused with; `retry_after` is what it is by default.
const REFUSALS: &[(&str, RefuseWith)] = &[
    ("404", RefuseWith::NotFound),
    ("503", RefuseWith::Unavailable { retry_after: Duration::from_secs(5) }),
];

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
    pub(super) heartbeat_interval: Field<Option<Duration>>,
    pub(super) log: Field<String>,
    pub(super) profile: Field<bool>,
    pub(super) turn: Turn,
    pub(super) workers: Field<usize>,
    pub(super) pin_workers: Field<bool>,
    pub(super) certificates: Field<String>,
    pub(super) confine: Field<bool>,
    pub(super) max_per_address: Field<usize>,
    pub(super) refuse_with: Field<RefuseWith>,
    /// Whole seconds.
    pub(super) retry_after: Field<usize>,
    pub(super) trusted_proxies: Field<Items<(At, String)>>,
    pub(super) proxy_protocol: Field<bool>,
    pub(super) door: Option<Door>,
    pub(super) users: Users,
    pub(super) resources: Field<Items<Resource>>,
    pub(super) notifications: Field<Items<Notification>>,
}

/// Reads the file's fields; `None` when it is not even an object.
pub(super) fn read(root: &Node, problems: &mut Problems) -> Option<File> {
    let file = Section::open(root, At::whole_file(), FILE_KEYS, problems)?;
    let buffer = 0..=BUFFER_PACKETS_MAX;
    let connections = 0..=CONNECTIONS_MAX;
    Some(File {
        listen: file.text("listen", problems),
        side: file.text("side", problems),
        timeout: file.seconds("timeout", problems),
        reconnect: file.seconds("reconnect", problems),
        read_timeout: file.seconds("readtimeout", problems),
        input_buffer: file.whole("inputbuffer", buffer.clone(), problems),
        output_buffer: file.whole("outputbuffer", buffer, problems),
        max_connections: file.whole("maxconnections", connections.clone(), problems),
        full_connections: file.whole("fullconnections", connections.clone(), problems),
        no_statistics: file.flag("nostats", problems),
        heartbeat_interval: file.seconds("heartbeatinterval", problems),
        log: file.text("log", problems),
        profile: file.flag("profile", problems),
        turn: turn::turn(&file, problems),
        workers: file.whole("workers", 1..=WORKERS_MAX, problems),
        pin_workers: file.flag("pin_workers", problems),
        certificates: file.text("ca_file", problems),
        confine: file.flag("confine", problems),
        max_per_address: file.whole("max_per_address", connections, problems),
        refuse_with: file.choice("refuse_with", REFUSALS, problems),
        retry_after: file.whole("retry_after", 0..=RETRY_AFTER_SECONDS_MAX, problems),
        trusted_proxies: file.texts("trusted_proxies", problems),
        proxy_protocol: file.flag("proxy_protocol", problems),
        door: door::door(&file, problems),
        users: users::users(&file, problems),
        resources: resources::resources(&file, problems),
        notifications: notifications::notifications(&file, problems),
    })
}
