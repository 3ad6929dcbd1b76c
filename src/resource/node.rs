//! What there is to tell of the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::liveness::Liveness;
use super::rates::{self, Rates};
use crate::http::response::Response;
use crate::metrics::{Metrics, StreamMetrics, StreamStatus, UpstreamMetrics};
use crate::stream::admission::Admission;

const JSON: &str = "application/json";

/// What there is to tell of the node.
#[derive(Debug)]
pub struct Node {
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The streams in the order of the configuration.
    pub streams: Vec<Shown>,
    /// The viewers of all streams.
    pub admission: Arc<Admission>,
    /// How its workers are.
    pub liveness: Liveness,
    rates: Mutex<Rates>,
    drains: AtomicBool,
}

/// What is shown of a stream.
#[derive(Debug)]
pub struct Shown {
    /// The path it is served at.
    pub path: String,
    /// Its metrics.
    pub metrics: StreamMetrics,
    /// What its upstream is doing.
    pub status: Arc<StreamStatus>,
    /// Its upstreams: address (masked) and metrics.
    pub upstreams: Vec<(String, UpstreamMetrics)>,
}

impl Node {
    /// A node of which nothing was measured yet.
    pub fn new(
        metrics: Arc<Metrics>,
        streams: Vec<Shown>,
        admission: Arc<Admission>,
        workers: usize,
        now: Instant,
    ) -> Arc<Node> {
        let liveness = Liveness::new(workers);
        let rates = Mutex::new(Rates::new(streams.len(), now));
        let drains = AtomicBool::new(false);
        Arc::new(Node { metrics, streams, admission, liveness, rates, drains })
    }

    /// Whether nobody new is to be sent here.
    pub fn drains(&self) -> bool {
        self.drains.load(Ordering::Relaxed)
    }

    /// Says to those who ask whether somebody new is to be sent here. Answers whether that is news.
    ///
    /// Whoever comes all the same is served: until everybody has heard the word, there is no better
    /// place for him.
    pub fn drain(&self, drains: bool) -> bool {
        self.metrics.draining(drains);
        self.drains.swap(drains, Ordering::Relaxed) != drains
    }

    /// The rates as of the last measurement.
    pub fn rates(&self) -> Rates {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Measures the rates since the last time.
    pub fn measure(&self, now: Instant) {
        let sample = rates::sample(&self.streams);
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).update(sample, now);
    }

    /// All metrics in the Prometheus text format.
    pub fn prometheus(&self) -> Response {
        match self.metrics.text() {
            Ok(text) => Response::with_body(200, prometheus::TEXT_FORMAT, text.into_bytes()),
            Err(_unencodable) => Response::text(500),
        }
    }
}

/// An answer in JSON.
pub fn json(value: &impl Serialize) -> Response {
    json_with(200, value)
}

/// The same with another status.
pub fn json_with(status: u16, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => Response::with_body(status, JSON, body),
        Err(_unencodable) => Response::text(500),
    }
}
