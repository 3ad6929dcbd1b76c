//! `/streams`: what each stream is doing, for people and scripts.

use std::time::Instant;

use serde::Serialize;

use crate::clock::seconds;
use crate::metrics::status::{Attempted, Outcome};
use crate::resource::rates::Passed;
use crate::resource::{Node, Shown};

/// One stream.
#[derive(Debug, Serialize)]
pub struct Stream {
    #[serde(rename = "stream")]
    path: String,
    /// "connected", "dialing", "waiting" or "off".
    state: &'static str,
    /// Seconds in this state.
    since_seconds: u64,
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
    packets_dropped: u64,
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
}

/// The streams of a node.
pub fn of(node: &Node) -> Vec<Stream> {
    let (rates, now) = (node.rates(), Instant::now());
    let numbered = node.streams.iter().enumerate();
    numbered.map(|(number, shown)| stream(shown, rates.of(number), now)).collect()
}

fn stream(shown: &Shown, rate: Passed, now: Instant) -> Stream {
    let status = shown.status.get();
    let (live, catching_up, ending) = shown.metrics.viewers();
    let last = status.last();
    Stream {
        path: shown.path.clone(),
        state: status.state.word(),
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
        viewers: Viewers { all: live + catching_up + ending, live, catching_up, ending },
        packets_dropped: shown.metrics.dropped().0,
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
