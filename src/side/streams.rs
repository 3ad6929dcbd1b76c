//! `/streams`: what each stream is doing, for people and scripts.

use std::time::Instant;

use serde::Serialize;

use crate::metrics::UpstreamState;
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
    last_error: Option<String>,
    /// From the upstream, over the last second.
    received_bits_per_second: u64,
    /// To all viewers, over the last second.
    sent_bits_per_second: u64,
    viewers: Viewers,
    packets_dropped: u64,
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
    let urls = || shown.upstreams.iter().map(|(url, _)| url.clone());
    Stream {
        path: shown.path.clone(),
        state: word(status.state),
        since_seconds: now.saturating_duration_since(status.since).as_secs(),
        upstream: status.upstream.and_then(|number| urls().nth(number)),
        upstreams: urls().collect(),
        attempts: status.attempts,
        last_error: status.last_error,
        received_bits_per_second: rate.received * 8,
        sent_bits_per_second: rate.sent * 8,
        viewers: Viewers { all: live + catching_up + ending, live, catching_up, ending },
        packets_dropped: shown.metrics.dropped().0,
    }
}

fn word(state: UpstreamState) -> &'static str {
    match state {
        UpstreamState::Waiting => "waiting",
        UpstreamState::Dialing => "dialing",
        UpstreamState::Connected => "connected",
        UpstreamState::Off => "off",
    }
}
