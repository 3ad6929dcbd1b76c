//! One element of `resources`, whatever its type.
//!
//! Owns its keys and their bounds. Never judges what belongs together. Driven by `file`. No `Debug`
//! here: URLs hold passwords.

use super::super::problem::{At, ProblemKind, Problems};
use super::super::section::{Field, Items, Section};
use super::super::{Join, Keep, OnDemand, OnLoss, Order, Reception, Slate, Slow};
use super::health::{self, Asked};
use super::users::{self, Login};
use super::{demand, joining, losing, slate};
use crate::limits::{
    CACHE_SECONDS_MAX, CONGESTION_BYTES_MAX, CONNECTIONS_MAX, DATAGRAM_BYTES_MAX,
    DATAGRAM_BYTES_MIN, INTERFACE_BYTES_MAX,
};

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
    "maxconnections",
    "hot",
    "congestion",
    "join",
    "history",
    "slow",
    "pacing",
    "on_loss",
    "health",
    "on_demand",
    "linger",
    "start_timeout",
    "order",
    "return_after",
    "slate",
    "cache",
    "api",
    "token_query",
];

const TYPES: &[(&str, ResourceKind)] = &[
    ("stream", ResourceKind::Stream),
    ("static", ResourceKind::Static),
    ("api", ResourceKind::Api),
];

const APIS: &[(&str, ApiKind)] = &[
    ("health", ApiKind::Health),
    ("statistics", ApiKind::Statistics),
    ("check", ApiKind::Check),
    ("control", ApiKind::Control),
    ("prometheus", ApiKind::Prometheus),
];

/// Keys that only streams have.
const OF_STREAMS: &[&str] = &[
    "remotes",
    "mru",
    "clientinterface",
    "rejoin",
    "preamble",
    "maxconnections",
    "hot",
    "congestion",
    "join",
    "history",
    "slow",
    "pacing",
    "on_loss",
    "health",
    "on_demand",
    "linger",
    "start_timeout",
    "order",
    "return_after",
    "slate",
];

/// One element of `resources`.
pub(in crate::config) struct Resource {
    pub(in crate::config) at: At,
    pub(in crate::config) kind: Field<ResourceKind>,
    pub(in crate::config) serve: Field<String>,
    pub(in crate::config) remote: Field<String>,
    pub(in crate::config) remotes: Field<Items<(At, String)>>,
    pub(in crate::config) reception: Reception,
    pub(in crate::config) preamble: Field<String>,
    pub(in crate::config) max_connections: Field<usize>,
    pub(in crate::config) hot: Field<bool>,
    pub(in crate::config) join: Field<Join>,
    pub(in crate::config) keep: Field<Keep>,
    pub(in crate::config) slow: Field<Slow>,
    /// In percent; `None` is off.
    pub(in crate::config) pacing: Field<Option<u32>>,
    pub(in crate::config) on_loss: Field<OnLoss>,
    pub(in crate::config) health: Asked,
    pub(in crate::config) on_demand: Field<OnDemand>,
    pub(in crate::config) order: Order,
    pub(in crate::config) slate: Field<Option<Slate>>,
    /// Good as a name; empty is none.
    pub(in crate::config) congestion: Field<String>,
    /// Whole seconds.
    pub(in crate::config) cache: Field<usize>,
    /// Given or refused if this is an API resource.
    pub(in crate::config) api: Field<ApiKind>,
    pub(in crate::config) login: Field<Login>,
    pub(in crate::config) token_query: Field<bool>,
}

/// The `type` of a resource.
#[derive(Clone, Copy)]
pub(in crate::config) enum ResourceKind {
    Stream,
    Static,
    Api,
}

/// What an API resource does.
#[derive(Clone, Copy)]
pub(in crate::config) enum ApiKind {
    Health,
    Statistics,
    Check,
    Control,
    Prometheus,
}

pub(super) fn resources(file: &Section<'_>, problems: &mut Problems) -> Field<Items<Resource>> {
    file.sections("resources", RESOURCE_KEYS, problems, resource)
}

fn resource(section: &Section<'_>, problems: &mut Problems) -> Resource {
    let kind = section.required("type", section.word("type", TYPES, problems), problems);
    let api = if let Field::Given(_, ResourceKind::Api) = kind {
        section.required("api", section.word("api", APIS, problems), problems)
    } else {
        section.text("api", problems);
        Field::Absent
    };
    let resource = Resource {
        at: section.at.clone(),
        kind,
        serve: section.required("serve", section.text("serve", problems), problems),
        remote: section.text("remote", problems),
        remotes: section.texts("remotes", problems),
        reception: reception(section, problems),
        preamble: section.text("preamble", problems),
        max_connections: section.whole("maxconnections", 0..=CONNECTIONS_MAX, problems),
        hot: section.flag("hot", problems),
        join: joining::join(section, problems),
        keep: joining::history(section, problems),
        slow: joining::slow(section, problems),
        pacing: joining::pacing(section, problems),
        on_loss: losing::on_loss(section, problems),
        health: health::health(section, problems),
        on_demand: demand::on_demand(section, problems),
        order: losing::order(section, problems),
        slate: slate::slate(section, problems),
        congestion: congestion(section, problems),
        cache: section.whole("cache", 0..=CACHE_SECONDS_MAX, problems),
        api,
        login: users::login(section, problems),
        token_query: section.flag("token_query", problems),
    };
    idle(section, &resource.kind, problems);
    resource
}

/// Warns of what is said to a resource of another type.
fn idle(section: &Section<'_>, kind: &Field<ResourceKind>, problems: &mut Problems) {
    let (of_another, why): (&[&[&str]], _) = match kind {
        Field::Given(_, ResourceKind::Stream) => (&[&["cache", "api"]], "on a stream"),
        Field::Given(_, ResourceKind::Static) => (&[OF_STREAMS, &["api"]], "on a static resource"),
        Field::Given(_, ResourceKind::Api) => (&[OF_STREAMS, &["cache"]], "on an api resource"),
        Field::Absent | Field::Refused => return,
    };
    if let Field::Given(_, ResourceKind::Stream) = kind {
        demand::idle(section, problems);
    }
    for key in of_another.iter().copied().flatten() {
        if let Some((at, node)) = section.node(key)
            && !node.value.is_empty()
            && !problems.refused(&at)
        {
            problems.warn(at, ProblemKind::NoEffect(why));
        }
    }
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

/// The name of a congestion control. Whether the kernel has it shows only when it is asked for.
fn congestion(section: &Section<'_>, problems: &mut Problems) -> Field<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match section.text("congestion", problems) {
        Field::Given(at, name) if name.len() > CONGESTION_BYTES_MAX || !name.bytes().all(plain) => {
            problems.error(at, ProblemKind::Congestion);
            Field::Refused
        }
        name => name,
    }
}

/// Whether an interface can be asked for by this name (an alias of one has a colon).
fn is_interface(name: &str) -> bool {
    let wrong = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    name.len() <= INTERFACE_BYTES_MAX && !name.contains(wrong)
}
