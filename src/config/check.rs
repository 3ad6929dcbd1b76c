//! The file's mirror to a [`Config`]: what belongs together, and what this version cannot do yet.
//!
//! Owns both judgements. What the file asks for and nobody would do is refused here, never ignored.
//! Driven by `parse_with`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, Listen};
use super::file::{File, Resource, ResourceKind};
use super::problem::{At, Feature, ProblemKind, Problems};
use super::remote::Remote;
use super::section::{Field, Items};
use super::{Config, StreamConfig, TurnPeriod};
use crate::limits::{REMOTES_PER_STREAM_MAX, SERVE_BYTES_MAX, STREAMS_MAX};

/// The configuration a file stands for: worth something only if no problem was an error.
pub(super) fn check(
    file: File,
    services: &dyn Fn(&str) -> Option<u16>,
    problems: &mut Problems,
) -> Config {
    let default = Config::default();
    if let Some((at, true)) = file.no_statistics.given() {
        problems.error(at, ProblemKind::NotSupported(Feature::NoStatistics));
    }
    if let Some((at, true)) = file.profile.given() {
        problems.warn(at, ProblemKind::NoProfiler);
    }
    if let Some((at, 1..)) = file.notifications.given() {
        problems.error(at, ProblemKind::NotSupported(Feature::Notifications));
    }
    let (listen, side) = listeners(file.listen, file.side, &default, services, problems);
    let (max_connections, full_connections) =
        connections(file.max_connections, file.full_connections, problems);
    Config {
        listen,
        side,
        timeout: file.timeout.or(default.timeout),
        reconnect: file.reconnect.or(default.reconnect),
        read_timeout: file.read_timeout.or(default.read_timeout),
        input_buffer_packets: file.input_buffer.or(default.input_buffer_packets),
        output_buffer_packets: file.output_buffer.or(default.output_buffer_packets),
        max_connections,
        full_connections,
        log: file.log.given().map(|(_, log)| log).filter(|log| !log.is_empty()).map(PathBuf::from),
        turn: match file.turn.given() {
            Some((_, milliseconds)) => {
                TurnPeriod::Fixed(Duration::from_millis(milliseconds as u64))
            }
            None => TurnPeriod::Adaptive,
        },
        streams: streams(file.resources, problems),
        ..default
    }
}

fn listeners(
    listen: Field<String>,
    side: Field<String>,
    default: &Config,
    services: &dyn Fn(&str) -> Option<u16>,
    problems: &mut Problems,
) -> (Listen, Option<Listen>) {
    let mut parse = |at: &At, text: &str| {
        let refused = |kind| problems.error(at.clone(), ProblemKind::Address(kind));
        address::parse(text, services).map_err(refused).ok()
    };
    let listen = listen.given().map(|(at, text)| {
        let listen = parse(&at, &text);
        (at, listen)
    });
    let side = side.given().map(|(at, text)| {
        let side = if text.is_empty() { None } else { parse(&at, &text) };
        (at, side)
    });
    // The place to change is where an address is given: that of `side`, or else of `listen`.
    let given_at = side.as_ref().or(listen.as_ref()).map(|(at, _)| at.clone());
    let listen = listen.and_then(|(_, listen)| listen).unwrap_or_else(|| default.listen.clone());
    let side = side.map_or_else(|| default.side.clone(), |(_, side)| side);
    if let (Some(at), Some(side)) = (given_at, &side)
        && side.clashes(&listen)
    {
        problems.error(at, ProblemKind::SideIsListen { side: side.clone() });
    }
    (listen, side)
}

fn connections(
    max: Field<usize>,
    full: Field<usize>,
    problems: &mut Problems,
) -> (Option<usize>, Option<usize>) {
    let max = max.given().map(|(_, max)| max).filter(|&max| max > 0);
    let full = full.given().filter(|&(_, full)| full > 0);
    if let (Some(max), Some((at, full))) = (max, &full)
        && *full > max
    {
        problems.warn(at.clone(), ProblemKind::FullAboveMax { full: *full, max });
    }
    (max, full.map(|(_, full)| full))
}

fn streams(resources: Field<Items<Resource>>, problems: &mut Problems) -> Vec<StreamConfig> {
    let (at, resources) = match resources {
        Field::Given(at, resources) => (at, resources),
        Field::Absent => (At::whole_file(), Items { good: Vec::new(), complete: true }),
        Field::Refused => return Vec::new(),
    };
    let count = resources.good.len();
    if count > STREAMS_MAX {
        problems.error(at.clone(), ProblemKind::TooMany { count, max: STREAMS_MAX });
    }
    // What was refused might be the stream that is missed.
    let maybe = |resource: &Resource| {
        matches!(resource.kind, Field::Given(_, ResourceKind::Stream) | Field::Refused)
    };
    if resources.complete && !resources.good.iter().any(maybe) {
        problems.error(at, ProblemKind::NoStream);
    }
    let mut served = HashMap::new();
    let mut streams = Vec::new();
    for resource in resources.good {
        let Resource { at, kind, serve, remote, remotes, reception, preamble, authentication } =
            resource;
        let path = serve_path(serve, &mut served, problems);
        let remotes = match kind {
            Field::Given(_, ResourceKind::Stream) => {
                not_yet(preamble, Feature::Preamble, problems);
                not_yet(authentication, Feature::Authentication, problems);
                stream_remotes(&at, remote, remotes, problems)
            }
            Field::Given(at, ResourceKind::Static) => {
                problems.error(at, ProblemKind::NotSupported(Feature::StaticResource));
                continue;
            }
            Field::Given(at, ResourceKind::Api) => {
                problems.error(at, ProblemKind::NotSupported(Feature::ApiResource));
                continue;
            }
            Field::Absent | Field::Refused => continue,
        };
        let stream = |path| StreamConfig { reception, ..StreamConfig::new(path, remotes) };
        streams.extend(path.map(stream));
    }
    streams
}

/// Refuses what is not the empty string.
fn not_yet(text: Field<String>, feature: Feature, problems: &mut Problems) {
    if let Some((at, _)) = text.given().filter(|(_, text)| !text.is_empty()) {
        problems.error(at, ProblemKind::NotSupported(feature));
    }
}

/// The path a resource is served on, if it is good and nobody else's.
fn serve_path(
    serve: Field<String>,
    served: &mut HashMap<String, At>,
    problems: &mut Problems,
) -> Option<String> {
    let (at, path) = serve.given()?;
    let kind = if path.len() > SERVE_BYTES_MAX {
        ProblemKind::TooLong(SERVE_BYTES_MAX)
    } else if !path.starts_with('/') || path.chars().any(char::is_control) {
        ProblemKind::ServeMalformed
    } else if let Some(first) = served.get(&path) {
        first.already_served()
    } else {
        served.insert(path.clone(), at);
        return Some(path);
    };
    problems.error(at, kind);
    None
}

/// `remote`, then `remotes`; at least one, unless there was a problem.
fn stream_remotes(
    at: &At,
    remote: Field<String>,
    remotes: Field<Items<(At, String)>>,
    problems: &mut Problems,
) -> Vec<Remote> {
    let mut urls = Vec::new();
    let mut complete = !matches!(remote, Field::Refused) && !matches!(remotes, Field::Refused);
    urls.extend(remote.given().filter(|(_, url)| !url.is_empty()));
    if let Some((_, items)) = remotes.given() {
        complete &= items.complete;
        urls.extend(items.good);
    }
    if urls.is_empty() && complete {
        problems.error(at.clone(), ProblemKind::NoRemote);
    }
    if urls.len() > REMOTES_PER_STREAM_MAX {
        let kind = ProblemKind::TooMany { count: urls.len(), max: REMOTES_PER_STREAM_MAX };
        problems.error(at.key("remotes"), kind);
    }
    let mut good = Vec::with_capacity(urls.len());
    for (at, url) in urls {
        match Remote::parse(&url) {
            Ok(remote) => good.push(remote),
            Err(error) => problems.error(at, error),
        }
    }
    good
}
