//! The file's mirror to a [`Config`]: what belongs together.
//!
//! Owns this judgement. What the file asks for and nobody would do is refused here, never ignored.
//! Driven by `parse_with`.

mod door;
mod notifications;
mod resources;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{self, Listen};
use super::file::{File, Turn};
use super::network;
use super::problem::{At, ProblemKind, Problems};
use super::section::{Field, Items};
use super::{Config, NotificationEvent, RefuseWith, TurnPeriod};
use crate::limits::{PERIOD_MAX, PERIOD_MIN, TRUSTED_PROXIES_MAX};

/// The configuration a file stands for: worth something only if no problem was an error.
pub(super) fn check(
    file: File,
    services: &dyn Fn(&str) -> Option<u16>,
    problems: &mut Problems,
) -> Config {
    let default = Config::default();
    if let Some((at, true)) = file.profile.given() {
        problems.warn(at, ProblemKind::NoProfiler);
    }
    let (listen, side, side_given) =
        listeners(file.listen, file.side, &default, services, problems);
    let never_full = matches!(file.full_connections, Field::Absent | Field::Given(_, 0));
    let never_beats = matches!(file.heartbeat_interval, Field::Given(_, None));
    let never = |event| match event {
        NotificationEvent::LimitHit | NotificationEvent::LimitMiss => {
            never_full.then_some("fullconnections")
        }
        NotificationEvent::Heartbeat => never_beats.then_some("heartbeatinterval"),
    };
    let (max_connections, full_connections) =
        connections(file.max_connections, file.full_connections, problems);
    let door = file.door.map(|door| door::door(door, &file.users, problems));
    let served = resources::resources(file.resources, &file.users, problems);
    let notifications =
        notifications::notifications(file.notifications, never, &file.users, problems);
    Config {
        listen,
        side,
        side_given,
        timeout: file.timeout.or(default.timeout),
        reconnect: file.reconnect.or(default.reconnect),
        read_timeout: file.read_timeout.or(default.read_timeout),
        // 0 is the least there is: one packet.
        input_buffer_packets: file.input_buffer.or(default.input_buffer_packets).max(1),
        output_buffer_packets: file.output_buffer.or(default.output_buffer_packets).max(1),
        max_connections,
        full_connections,
        log: path(file.log),
        turn: turn(file.turn, problems),
        workers: file.workers.given().map(|(_, workers)| workers),
        pin_workers: file.pin_workers.or(default.pin_workers),
        max_per_address: count(file.max_per_address),
        refuse_with: refusal(file.refuse_with, file.retry_after, problems),
        trusted_proxies: trusted_proxies(file.trusted_proxies, problems),
        proxy_protocol: file.proxy_protocol.or(default.proxy_protocol),
        door,
        ca_file: path(file.certificates),
        confine: file.confine.or(default.confine),
        statistics: !file.no_statistics.or(!default.statistics),
        heartbeat_interval: file.heartbeat_interval.or(default.heartbeat_interval),
        streams: served.streams,
        statics: served.statics,
        apis: served.apis,
        notifications,
    }
}

/// `listen`, `side`, and whether the latter is given.
///
/// What is given is meant and cannot be ignored; but a default that is in the way must not keep a
/// file of the original from starting.
fn listeners(
    listen: Field<String>,
    side: Field<String>,
    default: &Config,
    services: &dyn Fn(&str) -> Option<u16>,
    problems: &mut Problems,
) -> (Listen, Option<Listen>, bool) {
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
    let given = side.is_some();
    // The place to change is where an address is given: that of `side`, or else of `listen`.
    let given_at = side.as_ref().or(listen.as_ref()).map(|(at, _)| at.clone());
    let listen = listen.and_then(|(_, listen)| listen).unwrap_or_else(|| default.listen.clone());
    let side = side.map_or_else(|| default.side.clone(), |(_, side)| side);
    match (given_at, side) {
        (Some(at), Some(side)) if side.clashes(&listen) && given => {
            problems.error(at, ProblemKind::SideIsListen { side: side.clone() });
            (listen, Some(side), given)
        }
        (Some(at), Some(side)) if side.clashes(&listen) => {
            problems.warn(at, ProblemKind::SideDropped { side });
            (listen, None, given)
        }
        (_, side) => (listen, side, given),
    }
}

/// A path; the empty string is none.
fn path(text: Field<String>) -> Option<PathBuf> {
    text.given().map(|(_, text)| text).filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// A limit; 0 is none.
fn count(limit: Field<usize>) -> Option<usize> {
    limit.given().map(|(_, limit)| limit).filter(|&limit| limit > 0)
}

fn connections(
    max: Field<usize>,
    full: Field<usize>,
    problems: &mut Problems,
) -> (Option<usize>, Option<usize>) {
    let max = count(max);
    let full = full.given().filter(|&(_, full)| full > 0);
    if let (Some(max), Some((at, full))) = (max, &full)
        && *full > max
    {
        problems.warn(at.clone(), ProblemKind::FullAboveMax { full: *full, max });
    }
    (max, full.map(|(_, full)| full))
}

/// The period of turns. A bound that is not given is what it is by default.
fn turn(turn: Turn, problems: &mut Problems) -> TurnPeriod {
    let duration = |milliseconds| Duration::from_millis(milliseconds as u64);
    match turn {
        Turn::Adaptive => TurnPeriod::default(),
        Turn::Fixed(milliseconds) => TurnPeriod::Fixed(duration(milliseconds)),
        Turn::Between { min, max } => {
            let (min, max) = (min.given(), max.given());
            let at = min.as_ref().or(max.as_ref()).map(|(at, _)| at.clone());
            let min = min.map_or(PERIOD_MIN, |(_, milliseconds)| duration(milliseconds));
            let max = max.map_or(PERIOD_MAX, |(_, milliseconds)| duration(milliseconds));
            if let Some(at) = at.filter(|_| min > max) {
                problems.error(at, ProblemKind::MinAboveMax { min, max });
            }
            TurnPeriod::Adaptive { min, max }
        }
    }
}

fn refusal(
    refuse_with: Field<RefuseWith>,
    retry_after: Field<usize>,
    problems: &mut Problems,
) -> RefuseWith {
    let misplaced = !matches!(refuse_with, Field::Refused);
    match (refuse_with.or(Config::default().refuse_with), retry_after.given()) {
        (RefuseWith::Unavailable { .. }, Some((_, seconds))) => {
            RefuseWith::Unavailable { retry_after: Duration::from_secs(seconds as u64) }
        }
        (refusal @ RefuseWith::NotFound, Some((at, _))) if misplaced => {
            problems.warn(at, ProblemKind::NoEffect("unless `refuse_with` is 503"));
            refusal
        }
        (refuse_with, _) => refuse_with,
    }
}

fn trusted_proxies(entries: Field<Items<(At, String)>>, problems: &mut Problems) -> Vec<IpNet> {
    let Some((at, entries)) = entries.given() else {
        return Vec::new();
    };
    let count = entries.good.len();
    if count > TRUSTED_PROXIES_MAX {
        problems.error(at, ProblemKind::TooMany { count, max: TRUSTED_PROXIES_MAX });
        return Vec::new();
    }
    let mut networks = Vec::with_capacity(count);
    for (at, text) in entries.good {
        match network::parse_network(&text) {
            Some(network) => networks.push(network::canonical(network)),
            None => problems.error(at, ProblemKind::Network),
        }
    }
    networks
}
