//! `/streams`: what each stream is doing, for people and scripts.

use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::clock::seconds;
use crate::limits::CONTENTS_FRESH_FOR;
use crate::metrics::UpstreamMetrics;
use crate::metrics::content::{self, Contents};
use crate::metrics::health::{self, Shown as Ill};
use crate::metrics::status::{Attempted, Outcome};
use crate::resource::rates::Passed;
use crate::resource::{Node, Shown};

/// One stream.
#[derive(Debug, Serialize)]
pub struct Stream {
    #[serde(rename = "stream")]
    path: String,
    /// "connected", "dialing", "waiting", "idle" or "off".
    state: &'static str,
    /// Whether somebody who comes now is served, as far as can be known.
    available: bool,
    /// Seconds in this state.
    since_seconds: u64,
    /// What is wrong with the connected upstream; the words of `health`.
    conditions: Vec<&'static str>,
    /// The upstream in use or tried last.
    upstream: Option<String>,
    upstreams: Vec<String>,
    attempts: u64,
    /// The last of them, newest first.
    recent_attempts: Vec<Attempt>,
    last_error: Option<String>,
    /// From the upstream, over the last second.
    received_bits_per_second: u64,
    /// To all viewers, over the last second.
    sent_bits_per_second: u64,
    viewers: Viewers,
    /// They wait for the next upstream.
    held: bool,
    /// They see the slate.
    slate: bool,
    packets_dropped: u64,
    /// What each upstream sends, in the order of `upstreams`.
    contents: Vec<Sent>,
}

/// What an upstream sends, and how sound it is.
#[derive(Debug, Serialize)]
pub struct Sent {
    upstream: String,
    health: Health,
    integrity: Integrity,
    /// Over the last second; 0 when nothing comes.
    bits_per_second: u64,
    /// Of the connection; none when there is none.
    programs: Vec<Program>,
}

/// What is wrong with an upstream.
#[derive(Debug, Serialize)]
pub struct Health {
    /// "well" or "ill" while it is connected, "ended" from the end of its connection to the next
    /// one if that was an orderly one, else "unused".
    state: &'static str,
    conditions: Vec<Condition>,
}

/// One of those that hold.
#[derive(Debug, Serialize)]
pub struct Condition {
    condition: &'static str,
    since_seconds: u64,
}

/// Errors since the start, by their indicators in TR 101 290.
#[derive(Debug, Serialize)]
pub struct Integrity {
    #[serde(flatten, serialize_with = "as_map")]
    errors: Vec<(&'static str, u64)>,
    /// Packets.
    scrambled: u64,
    /// Times that a PAT or PMT was replaced by another one.
    table_changes: u64,
}

/// A program.
#[derive(Debug, Serialize)]
pub struct Program {
    #[serde(rename = "program")]
    number: u16,
    pmt_pid: u16,
    pcr_pid: Option<u16>,
    /// Since its last random access point; none when there was none.
    random_access_seconds: Option<f64>,
    /// From the last one but one to the last.
    gop_seconds: Option<f64>,
    elementary: Vec<Elementary>,
}

/// An elementary stream.
#[derive(Debug, Serialize)]
pub struct Elementary {
    pid: u16,
    /// "video", "audio", "subtitles" or "data".
    kind: &'static str,
    codec: &'static str,
    language: Option<String>,
    bits_per_second: u64,
    scrambled: bool,
}

fn as_map<S: Serializer>(pairs: &[(&str, u64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().copied())
}

/// An attempt to connect to an upstream.
#[derive(Debug, Serialize)]
pub struct Attempt {
    #[serde(rename = "attempt")]
    number: u64,
    upstream: Option<String>,
    /// "start", or what became of the attempt before: "failed: …" or "lost: …".
    reason: String,
    /// "ok", "dialing" or the error in a word.
    result: &'static str,
    error: Option<String>,
    /// Since it began.
    seconds_ago: u64,
    took_seconds: Option<f64>,
}

/// The viewers of a stream, by what they do.
#[derive(Debug, Serialize)]
pub struct Viewers {
    all: i64,
    live: i64,
    catching_up: i64,
    ending: i64,
    /// For the upstream.
    waiting: i64,
}

/// The streams of a node.
pub fn of(node: &Node) -> Vec<Stream> {
    let (rates, now) = (node.rates(), Instant::now());
    let numbered = node.streams.iter().enumerate();
    numbered.map(|(number, shown)| stream(shown, rates.of(number), now)).collect()
}

fn stream(shown: &Shown, rate: Passed, now: Instant) -> Stream {
    let status = shown.status.get();
    let (live, catching_up, ending, waiting) = shown.metrics.viewers();
    let all = live + catching_up + ending + waiting;
    let last = status.last();
    Stream {
        path: shown.path.clone(),
        conditions: last.map_or(Vec::new(), |begun| conditions(shown, begun.upstream)),
        state: status.state.word(),
        available: status.is_available(),
        since_seconds: now.saturating_duration_since(status.since).as_secs(),
        upstream: last.and_then(|begun| url(shown, begun.upstream)),
        upstreams: shown.upstreams.iter().map(|(url, _)| url.clone()).collect(),
        attempts: last.map_or(0, |begun| begun.number),
        recent_attempts: status
            .attempts
            .into_iter()
            .rev()
            .map(|attempted| attempt(shown, attempted, now))
            .collect(),
        last_error: status.last_error,
        received_bits_per_second: rate.received * 8,
        sent_bits_per_second: rate.sent * 8,
        viewers: Viewers { all, live, catching_up, ending, waiting },
        held: shown.metrics.switching().is_held(),
        slate: shown.metrics.switching().is_slate_shown(),
        packets_dropped: shown.metrics.dropped().0,
        contents: shown.upstreams.iter().map(|(url, metrics)| sent(url, metrics, now)).collect(),
    }
}

fn sent(url: &str, metrics: &UpstreamMetrics, now: Instant) -> Sent {
    let (scrambled, table_changes) = metrics.scrambled_and_replaced();
    let contents = metrics.contents();
    // What was told is as of when something came last.
    let is_fresh = |of: &Contents| now.saturating_duration_since(of.at) < CONTENTS_FRESH_FOR;
    let fresh = contents.as_ref().is_some_and(is_fresh);
    let programs = contents.iter().flat_map(|contents| &contents.programs);
    Sent {
        upstream: url.to_owned(),
        health: health(&metrics.health(), now),
        integrity: Integrity { errors: metrics.integrity(), scrambled, table_changes },
        bits_per_second: contents.as_ref().filter(|_| fresh).map_or(0, |of| of.bits_per_second),
        programs: programs.map(|program| self::program(program, fresh, now)).collect(),
    }
}

/// What is wrong with an upstream, if it is connected.
fn conditions(shown: &Shown, upstream: usize) -> Vec<&'static str> {
    match shown.upstreams.get(upstream).map(|(_, metrics)| metrics.health()) {
        Some(Ill::Watched(held)) => held.into_iter().map(|(of, _)| of.word()).collect(),
        Some(Ill::Unused | Ill::Ended(_)) | None => Vec::new(),
    }
}

fn health(shown: &Ill, now: Instant) -> Health {
    let condition = |condition, since| {
        let since_seconds = now.saturating_duration_since(since).as_secs();
        Condition { condition, since_seconds }
    };
    let (state, conditions) = match shown {
        Ill::Unused => ("unused", Vec::new()),
        Ill::Ended(since) => (health::ENDED, vec![condition(health::ENDED, *since)]),
        Ill::Watched(held) => {
            let state = if held.is_empty() { "well" } else { "ill" };
            (state, held.iter().map(|&(of, since)| condition(of.word(), since)).collect())
        }
    };
    Health { state, conditions }
}

fn program(program: &content::Program, fresh: bool, now: Instant) -> Program {
    let access = program.elementary.iter().find_map(|one| one.access);
    let last = access.filter(|access| access.any).map(|access| access.last);
    let elementary = program.elementary.iter().map(|one| Elementary {
        pid: one.pid,
        kind: one.kind,
        codec: one.codec,
        language: (!one.language.is_empty()).then(|| one.language.clone()),
        bits_per_second: if fresh { one.bits_per_second } else { 0 },
        scrambled: one.scrambled,
    });
    Program {
        number: program.number,
        pmt_pid: program.pmt_pid,
        pcr_pid: program.pcr_pid,
        random_access_seconds: last.map(|last| seconds(now.saturating_duration_since(last))),
        gop_seconds: access.and_then(|access| access.group).map(seconds),
        elementary: elementary.collect(),
    }
}

fn url(shown: &Shown, upstream: usize) -> Option<String> {
    shown.upstreams.get(upstream).map(|(url, _)| url.clone())
}

fn attempt(shown: &Shown, attempted: Attempted, now: Instant) -> Attempt {
    let Attempted { begun, outcome } = attempted;
    let (result, error, took) = match outcome {
        Outcome::Dialing => ("dialing", None, None),
        Outcome::Connected { took } => ("ok", None, Some(took)),
        Outcome::Failed { took, kind, why } => (kind, Some(why), Some(took)),
    };
    Attempt {
        number: begun.number,
        upstream: url(shown, begun.upstream),
        reason: begun.reason.to_string(),
        result,
        error,
        seconds_ago: now.saturating_duration_since(begun.at).as_secs(),
        took_seconds: took.map(seconds),
    }
}
