//! What the side port answers.

use super::streams;
use crate::http::request::{Method, Request};
use crate::http::response::Response;
use crate::resource::node::{Node, json};
use crate::resource::{health, statistics};

const INDEX: &str = "restreamer\n\n/metrics     Prometheus text format\n\
                     /health      ok or full, JSON\n\
                     /statistics  what has passed through, JSON\n\
                     /streams     streams, upstreams and viewers, JSON\n";
const PATHS: [&str; 5] = ["/", "/metrics", "/health", "/statistics", "/streams"];

/// Answers a request.
pub fn answer(node: &Node, request: &Request) -> Response {
    let path = request.path.as_str();
    match request.method {
        _ if !PATHS.contains(&path) => Response::text(404),
        Method::Options => Response::allow(204),
        Method::Other => Response::allow(405),
        Method::Get | Method::Head => match path {
            "/metrics" => node.prometheus(),
            "/health" => json(&health::of(node)),
            "/statistics" => json(&statistics::of(node)),
            "/streams" => json(&streams::of(node)),
            _index => Response::with_body(200, "text/plain; charset=utf-8", INDEX.as_bytes()),
        },
    }
}
