//! What the file names: streams, static and API resources, and whom to notify.
//!
//! Owns the checked types of one entry each. Never opens or asks what an entry names. Made by
//! `check`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{Health, Remote, Secret};
use crate::limits::{HISTORY_BYTES_DEFAULT, HOLD_SECONDS_DEFAULT, PACING_PERCENT_DEFAULT};

/// One stream: where viewers ask for it and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// The path viewers ask for, such as `/demo.ts`; begins with `/`, no two streams share it.
    pub path: String,
    /// At least one upstream, `remote` first, then `remotes`, in the file's order.
    pub remotes: Vec<Remote>,
    /// How those of its upstreams that send datagrams are received.
    pub reception: Reception,
    /// A file that every viewer gets before the stream.
    pub preamble: Option<PathBuf>,
    /// Where a new viewer begins.
    pub join: Join,
    /// How much of what has come is kept for that, at the most.
    pub keep: Keep,
    /// What becomes of a viewer who lags too far.
    pub slow: Slow,
    /// How fast a new viewer is sent what has come before, in percent of the stream's bitrate;
    /// `None` is as fast as it takes it.
    pub pacing_percent: Option<u32>,
    /// Which of its upstreams is tried when.
    pub order: Order,
    /// What becomes of viewers when an upstream is lost.
    pub on_loss: OnLoss,
    /// How long something may be wrong with an upstream.
    pub health: Health,
    /// What viewers see while no upstream is connected.
    pub slate: Option<Slate>,
    /// Viewers of this stream at which more are refused; `None` is no limit.
    pub max_connections: Option<usize>,
    /// Whether its viewers are spread over all workers instead of being served by one.
    pub hot: bool,
    /// Whether its upstream is connected only while somebody wants the stream, which is then not
    /// `hot`.
    pub on_demand: Option<OnDemand>,
    /// The TCP congestion control of its viewers' connections; `None` is the system's. Neither
    /// empty nor longer than `CONGESTION_BYTES_MAX`.
    pub congestion: Option<String>,
    /// Who may watch.
    pub authentication: Authentication,
}

impl StreamConfig {
    /// A stream open to all, with nothing but its upstreams.
    pub fn new(path: impl Into<String>, remotes: Vec<Remote>) -> StreamConfig {
        StreamConfig {
            path: path.into(),
            health: Health::of_upstreams(remotes.len()),
            remotes,
            reception: Reception::default(),
            preamble: None,
            join: Join::RandomAccess,
            keep: Keep::default(),
            slow: Slow::RandomAccess,
            pacing_percent: Some(PACING_PERCENT_DEFAULT),
            order: Order::Turns,
            on_loss: OnLoss::default(),
            slate: None,
            max_connections: None,
            hot: false,
            on_demand: None,
            congestion: None,
            authentication: Authentication::Open,
        }
    }
}

/// How long a stream on demand waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDemand {
    /// How long its upstream is kept after the last viewer has gone.
    pub linger: Duration,
    /// How long a viewer waits for its upstream; more than zero.
    pub start_timeout: Duration,
}

/// Where a new viewer of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// At the last random access point that has come in whole.
    RandomAccess,
    /// At the newest packet.
    Live,
    /// Where one began who came so long ago; more than zero.
    Seconds(Duration),
}

/// Which of a stream's upstreams is tried when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One after the other, in an order of chance.
    Turns,
    /// The first of the list that can be had.
    Preference {
        /// One that is preferred to the one in use is returned to once it has been well for so
        /// long.
        return_after: Duration,
    },
}

/// What becomes of a stream's viewers when its upstream is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// They wait so long for the next one.
    Hold(Duration),
    /// They get what there is, and are let go.
    Cut,
}

impl OnLoss {
    /// How long they wait; `None`: they do not.
    pub fn patience(self) -> Option<Duration> {
        match self {
            OnLoss::Hold(patience) => Some(patience),
            OnLoss::Cut => None,
        }
    }
}

impl Default for OnLoss {
    fn default() -> Self {
        OnLoss::Hold(Duration::from_secs_f64(HOLD_SECONDS_DEFAULT))
    }
}

/// How much of a stream is kept for those who join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many bytes, [`HISTORY_BYTES_MAX`](crate::limits::HISTORY_BYTES_MAX) at most.
    Bytes(usize),
    /// What came in so much time; more than zero.
    Seconds(Duration),
}

impl Default for Keep {
    fn default() -> Self {
        Keep::Bytes(HISTORY_BYTES_DEFAULT)
    }
}

/// What becomes of a viewer of a stream who lags too far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// It goes on at the newest random access point, after tables and signals that it does.
    RandomAccess,
    /// It goes on at the newest packet.
    Packets,
    /// It is let go.
    Disconnect,
}

/// What is played over and over to the viewers of a stream that has no upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slate {
    /// The one that is part of the program.
    BuiltIn,
    /// A regular file at an absolute path.
    File(PathBuf),
}

/// Who may have a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody.
    Open,
    /// Who names a user and their password (RFC 7617).
    Basic {
        /// What the password is for: shown to the client.
        realm: String,
        /// Users with their passwords.
        users: Vec<(String, Secret)>,
        /// Whether `?token=` does as well as the header.
        token_query: bool,
    },
    /// Who shows one of these (RFC 6750).
    Bearer {
        /// Passwords of the users.
        tokens: Vec<Secret>,
        /// Whether `?token=` does as well as the header.
        token_query: bool,
    },
    /// Nobody.
    Deny,
}

/// A resource that is fetched whole and kept for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticConfig {
    /// The path it is asked for.
    pub path: String,
    /// Where it comes from.
    pub remote: StaticRemote,
    /// How long it is served without being fetched again.
    pub cache: Duration,
    /// Who may have it.
    pub authentication: Authentication,
}

/// Where a static resource comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaticRemote {
    /// A file at an absolute path.
    File(PathBuf),
    /// An `http` or `https` address.
    Web(WebAddress),
}

/// An `http` or `https` address of something that is fetched whole. `Debug` masks its password.
#[derive(Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// The address; user and password, if any, are inside, percent-encoded.
    pub url: Url,
    /// The address as written, the password replaced by `***`.
    pub label: String,
}

impl fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebAddress").field(&self.label).finish()
    }
}

/// A resource that answers for the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// The path it is asked for.
    pub path: String,
    /// What it does.
    pub api: Api,
    /// Who may ask.
    pub authentication: Authentication,
}

/// What an API resource does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Tells whether the node is full.
    Health,
    /// Tells what has passed through.
    Statistics,
    /// Tells it in Prometheus' format.
    Prometheus,
    /// Tells whether a stream, by its number in [`super::Config::streams`], is connected; one that
    /// does not exist never is.
    Check(Option<usize>),
    /// Switches a stream, by its number in [`super::Config::streams`], off and on; one that does
    /// not exist cannot be.
    Control(Option<usize>),
}

/// Somebody to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationConfig {
    /// Of what.
    pub event: NotificationEvent,
    /// By a GET of this address.
    pub target: WebAddress,
    /// The value of its `Authorization` header.
    pub authorization: Option<Secret>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationEvent {
    /// The viewers have reached `fullconnections`.
    LimitHit,
    /// They are fewer again.
    LimitMiss,
    /// A while has passed.
    Heartbeat,
}

impl NotificationEvent {
    /// The word of the configuration, which is the metric's label as well.
    pub fn word(self) -> &'static str {
        match self {
            NotificationEvent::LimitHit => "limit_hit",
            NotificationEvent::LimitMiss => "limit_miss",
            NotificationEvent::Heartbeat => "heartbeat",
        }
    }
}

/// How datagrams are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reception {
    /// The longest datagram, in bytes: `DATAGRAM_BYTES_MIN` to `DATAGRAM_BYTES_MAX`.
    pub datagram_bytes: usize,
    /// The name of the interface on which a multicast group is joined; `None` lets the kernel
    /// choose one. Neither empty nor longer than `INTERFACE_BYTES_MAX`.
    pub interface: Option<String>,
    /// The silence after which a multicast group is joined anew; `None` is never.
    pub rejoin: Option<Duration>,
}

impl Default for Reception {
    fn default() -> Self {
        Self { datagram_bytes: 1500, interface: None, rejoin: None }
    }
}
