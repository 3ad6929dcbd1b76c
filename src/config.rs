//! Turns the text of a `restreamer.json` into checked types, once.
//!
//! Owns the file's format: its keys, defaults, bounds and what belongs together. Never opens what
//! the file names (sockets, upstreams, the log), never resolves a name beyond a port's, and never
//! lets a password into an error, a label or a `Debug`. Driven by `boot` at start and by `--check`:
//! both call [`load`], print every [`Problem`] and go on only with a [`Config`].
//!
//! The way of the text: `tree` (JSON whose nodes know their line) → `section` (one object's keys,
//! with types) → `file` (a mirror of the whole file) → `check` (what belongs together) →
//! [`Config`].

mod address;
mod check;
mod door;
mod excerpt;
mod file;
mod health;
mod mask;
mod network;
mod problem;
mod remote;
mod resource;
mod secret;
mod section;
mod tree;
mod web;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use address::{AddressError, HostPort, Listen, system_service};
pub use door::{Door, DoorRate};
pub use health::{Condition, Health};
pub use mask::mask_passwords;
pub use network::{canonical, parse_network};
pub use problem::{Problem, ProblemKind};
pub use remote::{Datagrams, Remote, RemoteError, RemoteKind};
pub use resource::{
    Api, ApiConfig, Authentication, Join, Keep, NotificationConfig, NotificationEvent, OnDemand,
    OnLoss, Order, Reception, Slate, Slow, StaticConfig, StaticRemote, StreamConfig, WebAddress,
};
pub use secret::Secret;
pub use web::UrlError;

use crate::limits::{CONFIG_FILE_BYTES_MAX, PERIOD_MAX, PERIOD_MIN};
use problem::Problems;

/// What reading a file gave: a configuration when there is no error, and all that is wrong with it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The checked configuration: `Some` exactly when `errors` is empty.
    pub config: Option<Config>,
    /// Why the file is refused, by line.
    pub errors: Vec<Problem>,
    /// What is accepted but probably not meant, by line.
    pub warnings: Vec<Problem>,
}

/// A checked configuration. `Config::default()` is an empty file's, which has no stream yet.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, as in the file")]
pub struct Config {
    /// Where viewers are served.
    pub listen: Listen,
    /// Where metrics, health and status are served; `None` serves them nowhere.
    pub side: Option<Listen>,
    /// Whether `side` is what somebody asked for, and not the default, which is worth no more than
    /// a warning when it is taken.
    pub side_given: bool,
    /// How long connecting upstream may take, its response head included; `None` is for ever.
    pub timeout: Option<Duration>,
    /// From the start of one attempt to the next; `None` tries once only.
    pub reconnect: Option<Duration>,
    /// How long an upstream may send nothing; `None` is for ever.
    pub read_timeout: Option<Duration>,
    /// Input buffer of a stream, in packets of 188 bytes; at least 1.
    pub input_buffer_packets: usize,
    /// How far one viewer may lag, in packets of 188 bytes; at least 1.
    pub output_buffer_packets: usize,
    /// Viewers of all streams together at which new ones are refused; `None` is no limit.
    pub max_connections: Option<usize>,
    /// Viewers of all streams together from which health says "full"; `None` is never.
    pub full_connections: Option<usize>,
    /// The log file; `None` is standard output.
    pub log: Option<PathBuf>,
    /// How long a worker's turns are apart.
    pub turn: TurnPeriod,
    /// Threads that serve viewers, 1 to `WORKERS_MAX`; `None` leaves it to `boot`: one a core, but
    /// no more than there are streams.
    pub workers: Option<usize>,
    /// Whether each of them stays on a core of its own.
    pub pin_workers: bool,
    /// Viewers of one address, all streams together, at which more are refused; `None` is no limit.
    pub max_per_address: Option<usize>,
    /// What a viewer gets who is refused.
    pub refuse_with: RefuseWith,
    /// Networks of proxies whose word about a client's address counts, canonical: none of IPv4
    /// addresses is written as one of IPv6 addresses.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Who may connect at all, and how often; `None`: everybody, always.
    pub door: Option<Door>,
    /// Certificates that are trusted beside the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Whether what is not needed after the start is given up.
    pub confine: bool,
    /// Whether the `streaming_…` counters and `statistics` count (`nostats` is not set).
    pub statistics: bool,
    /// From one heartbeat notification to the next; `None` is never.
    pub heartbeat_interval: Option<Duration>,
    /// The streams in the file's order; at least one when it came from a file.
    pub streams: Vec<StreamConfig>,
    /// The static resources, in the file's order.
    pub statics: Vec<StaticConfig>,
    /// The API resources, in the file's order.
    pub apis: Vec<ApiConfig>,
    /// Whom to notify of what, in the file's order.
    pub notifications: Vec<NotificationConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen { host: Some("localhost".to_owned()), port: 80 },
            side: Some(Listen { host: Some("127.0.0.1".to_owned()), port: 9470 }),
            side_given: false,
            timeout: None,
            reconnect: Some(Duration::from_secs(10)),
            read_timeout: None,
            input_buffer_packets: 1000,
            output_buffer_packets: 400,
            max_connections: None,
            full_connections: None,
            log: None,
            turn: TurnPeriod::default(),
            workers: None,
            pin_workers: false,
            max_per_address: None,
            refuse_with: RefuseWith::NotFound,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            door: None,
            ca_file: None,
            confine: true,
            statistics: true,
            heartbeat_interval: Some(Duration::from_mins(1)),
            streams: Vec::new(),
            statics: Vec::new(),
            apis: Vec::new(),
            notifications: Vec::new(),
        }
    }
}

/// How long a worker's turns are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnPeriod {
    /// Short when idle, longer under load: the worker decides.
    Adaptive {
        /// The shortest.
        min: Duration,
        /// The longest, at least `min`.
        max: Duration,
    },
    /// Always this long.
    Fixed(Duration),
}

impl Default for TurnPeriod {
    fn default() -> Self {
        Self::Adaptive { min: PERIOD_MIN, max: PERIOD_MAX }
    }
}

/// What a viewer gets who is refused because there is no upstream or no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseWith {
    /// 404, which legacy players understand.
    NotFound,
    /// 503 and `Retry-After`.
    Unavailable {
        /// Whole seconds.
        retry_after: Duration,
    },
}

/// Why a file could not even be parsed. Each names the file as it was given.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be opened or read, or does not exist.
    #[error("{}: cannot be read: {}", .file.display(), reason(.source))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is longer than `CONFIG_FILE_BYTES_MAX`.
    #[error("{}: is larger than {CONFIG_FILE_BYTES_MAX} bytes", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It is not UTF-8 text.
    #[error("{}:{line}: is not UTF-8 text", .file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// The first line (from 1) that is not.
        line: usize,
    },
}

/// An operating system error without its number, as in `No such file or directory`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Parses a file's text. Pure; ports may be named as in the built-in table only (`http`, `https`,
/// `http-alt`).
pub fn parse(text: &str) -> Parsed {
    parse_with(text, &|_| None)
}

/// Parses a file's text. Pure but for `services`, which gives the TCP port of a service name that
/// is not in the built-in table.
pub fn parse_with(text: &str, services: &dyn Fn(&str) -> Option<u16>) -> Parsed {
    let mut problems = Problems::default();
    let config = tree::read(text)
        .map_err(|problem| problems.add_error(problem))
        .ok()
        .and_then(|root| file::read(&root, &mut problems))
        .map(|file| check::check(file, services, &mut problems));
    let (errors, warnings) = problems.finish();
    Parsed { config: config.filter(|_| errors.is_empty()), errors, warnings }
}

/// Reads and parses `path`; service names are looked up in `/etc/services` as well.
pub fn load(path: &Path) -> Result<Parsed, LoadError> {
    let file = || path.to_owned();
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits, without
    // trusting the length of what may be a pipe.
    File::open(path)
        .and_then(|open| open.take(CONFIG_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| LoadError::Unreadable { file: file(), source })?;
    if bytes.len() > CONFIG_FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { file: file() });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        LoadError::NotUtf8 { file: file(), line }
    })?;
    Ok(parse_with(&text, &system_service))
}
