//! What the configuration serves, made.

use std::fs::File;
use std::hash::RandomState;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restreamer_sys::socket;
use slog::{Logger, error, o, warn};

use super::BootError;
use crate::config::{Api, Config, Order, StaticConfig, StreamConfig};
use crate::egress::Client;
use crate::http::auth::Guard;
use crate::http::via::Pseudonym;
use crate::limits::{
    HISTORY_BYTES_OF_NODE_MAX, HISTORY_OF_MEMORY_DIVISOR, PACKET_BYTES, PREAMBLE_BYTES_MAX,
};
use crate::log::access::AccessLog;
use crate::metrics::{Metrics, StreamStatus};
use crate::resource::{Question, Shown, Static, statics};
use crate::stream::admission::{Admission, Limits};
use crate::stream::allotment::Allotment;
use crate::stream::failover::{Failover, Upstream};
use crate::stream::gate::Gate;
use crate::stream::history::History;
use crate::stream::hold::Hold;
use crate::stream::source::{Fed, Source};
use crate::stream::{self, Stream};
use crate::upstream::schedule::Schedule;
use crate::worker::accept::Arrival;
use crate::worker::answer::{Resource, Target};

/// How many viewers there may be.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        hard: config.max_connections,
        soft: config.full_connections,
        per_address: config.max_per_address,
    }
}

/// How connections come in.
pub(super) fn arrival(config: &Config) -> Arrival {
    Arrival { proxy_protocol: config.proxy_protocol, trusted: config.trusted_proxies.clone() }
}

/// What streams are made with.
pub(super) struct Making<'a> {
    pub(super) config: &'a Config,
    pub(super) workers: usize,
    pub(super) metrics: &'a Metrics,
    pub(super) admission: &'a Arc<Admission>,
    pub(super) access: &'a AccessLog,
    pub(super) root: &'a Logger,
    pub(super) now: Instant,
}

/// The streams, each in one part, or in one for each worker if it is hot: the owner's is the first;
/// and what is shown of them.
pub(super) fn streams(making: &Making<'_>) -> Result<(Vec<Vec<Stream>>, Vec<Shown>), BootError> {
    making.metrics.limited(making.config.full_connections, making.config.max_connections);
    let random = RandomState::new();
    let made = making.config.streams.iter();
    let allotment = Allotment::new(history_bytes(restreamer_sys::memory::available().ok()));
    let made = made.map(|config| {
        let history = || History::new(config.join, config.keep, allotment.share());
        stream(config, Pseudonym::new(&random, &config.path), history, making)
    });
    Ok(made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

/// What all rings may keep for those who join, where so much memory is `available`.
fn history_bytes(available: Option<u64>) -> usize {
    let share = |all| usize::try_from(all).unwrap_or(usize::MAX) / HISTORY_OF_MEMORY_DIVISOR;
    available.map_or(HISTORY_BYTES_OF_NODE_MAX, |all| share(all).min(HISTORY_BYTES_OF_NODE_MAX))
}

fn stream(
    config: &StreamConfig,
    own: Pseudonym,
    history: impl Fn() -> History,
    making: &Making<'_>,
) -> Result<(Vec<Stream>, Shown), BootError> {
    let Making { metrics, root, now, .. } = *making;
    let log = root.new(o!("stream" => config.path.clone()));
    let status = Arc::new(StreamStatus::new(now));
    let shown = Shown {
        path: config.path.clone(),
        metrics: metrics.stream(&config.path),
        status: Arc::clone(&status),
        upstreams: config
            .remotes
            .iter()
            .map(|r| (r.label().to_owned(), metrics.upstream(&config.path, r.label())))
            .collect(),
    };
    let upstreams = config.remotes.iter().zip(&shown.upstreams);
    let upstreams: Vec<_> = upstreams
        .map(|(remote, (_, metrics))| {
            Upstream::new(remote.clone(), config.reception.clone(), metrics.clone(), &log)
        })
        .collect();
    let reconnect = making.config.reconnect;
    let (all, random) = (upstreams.len(), |below| fastrand::usize(..below));
    let (schedule, after) = match config.order {
        Order::Turns => (Schedule::new(all, reconnect, random), Duration::ZERO),
        Order::Preference { return_after } => {
            (Schedule::by_preference(all, reconnect, random), return_after)
        }
    };
    let failover = Failover::new(upstreams, schedule, making.config.read_timeout, status)
        .watched(config.health)
        .with_slate(config.slate.clone(), config.hot)
        .returning_after(after);
    let failover = if config.on_demand.is_some() { failover.on_demand(now) } else { failover };
    let log = log.new(o!("module" => "stream"));
    shown.metrics.switched(true);
    let preamble =
        config.preamble.as_deref().map(|path| preamble(path, config, &log)).transpose()?;
    let congestion = congestion(config, &log);
    let gate = Arc::new(Gate::new(config.max_connections, own));
    let fed = std::iter::repeat_with(|| Source::Fed(Fed::default()));
    let sources = std::iter::once(Source::Upstreams(Box::new(failover))).chain(fed);
    let metrics = shown.metrics.parts(if config.hot { making.workers } else { 1 });
    let parts = metrics.into_iter().zip(sources).map(|(metrics, source)| stream::Parts {
        preamble: preamble.clone(),
        log: log.clone(),
        metrics,
        admission: Arc::clone(making.admission),
        source,
        hold: Hold::new(config.on_loss.patience()),
        on_demand: config.on_demand,
        lag_packets: making.config.output_buffer_packets,
        history: history(),
        slow: config.slow,
        pacing_percent: config.pacing_percent,
        gate: Arc::clone(&gate),
        congestion: congestion.clone(),
        access: making.access.clone(),
    });
    Ok((parts.map(|parts| Stream::new(parts, now)).collect(), shown))
}

/// The congestion control of the stream's viewers. One that cannot be used is said in the log, and
/// done without: viewers are better served by the system's than not at all.
fn congestion(config: &StreamConfig, log: &Logger) -> Option<Arc<str>> {
    let name = config.congestion.as_deref()?;
    match socket::try_congestion(name) {
        Ok(()) => Some(name.into()),
        Err(why) => {
            error!(log, "congestion control {name} cannot be used, the system's is: {why}";
                "event" => "error", "error" => "congestion");
            None
        }
    }
}

/// What every viewer gets first; one that is no row of packets is said in the log, and sent.
fn preamble(path: &Path, config: &StreamConfig, log: &Logger) -> Result<Arc<[u8]>, BootError> {
    let failed = |error| BootError::Preamble {
        stream: config.path.clone(),
        path: path.display().to_string(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PREAMBLE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > PREAMBLE_BYTES_MAX {
        let why = format!("it is larger than {PREAMBLE_BYTES_MAX} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    let whole = bytes.len().is_multiple_of(PACKET_BYTES);
    if !whole || bytes.chunks(PACKET_BYTES).any(|packet| packet[0] != 0x47) {
        warn!(log, "preamble {} is no row of transport stream packets", path.display();
            "event" => "config");
    }
    Ok(bytes.into())
}

/// What is served where, to whom.
pub(super) fn resources(config: &Config) -> Vec<Resource> {
    let streams = config.streams.iter().enumerate().map(|(number, stream)| Resource {
        path: stream.path.clone(),
        guard: Guard::new(&stream.authentication),
        target: Target::Stream(number),
    });
    let apis = config.apis.iter().map(|api| Resource {
        path: api.path.clone(),
        guard: Guard::new(&api.authentication),
        target: match api.api {
            Api::Health => Target::Node(Question::Health),
            Api::Statistics => Target::Node(Question::Statistics),
            Api::Prometheus => Target::Node(Question::Prometheus),
            Api::Check(stream) => Target::Check(stream),
            Api::Control(stream) => Target::Control(stream),
        },
    });
    let statics = config.statics.iter().enumerate().map(|(number, of)| Resource {
        path: of.path.clone(),
        guard: Guard::new(&of.authentication),
        target: Target::Static(number),
    });
    streams.chain(apis).chain(statics).collect()
}

/// The static resources.
pub(super) fn statics(config: &Config, client: &Client, making: &Making<'_>) -> Vec<Arc<Static>> {
    let patience = statics::patience(config.timeout);
    let make = |of: &StaticConfig| {
        let log = making.root.new(o!("module" => "static", "path" => of.path.clone()));
        let metrics = making.metrics.statics(&of.path);
        Arc::new(Static::new(of.clone(), client.clone(), patience, metrics, log))
    };
    config.statics.iter().map(make).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_take_a_part_of_the_memory_there_is() {
        assert_eq!(history_bytes(Some(128 << 20)), 32 << 20);
        assert_eq!(history_bytes(Some(1 << 40)), HISTORY_BYTES_OF_NODE_MAX);
        assert_eq!(history_bytes(None), HISTORY_BYTES_OF_NODE_MAX, "it is not known");
    }
}
