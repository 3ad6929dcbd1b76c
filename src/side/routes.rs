//! What the side port answers.

use serde::Serialize;

use super::{Node, health, streams};
use crate::http::request::{Method, Request};
use crate::http::response::Response;

const JSON: &str = "application/json";
const INDEX: &str = "restreamer\n\n/metrics  Prometheus text format\n/health   ok or full, JSON\n\
                     /streams  streams, upstreams and viewers, JSON\n";

/// Answers a request.
pub fn answer(node: &Node, request: &Request) -> Response {
    match (request.method, request.path.as_str()) {
        (Method::Get | Method::Head, "/") => {
            Response::with_body(200, "text/plain; charset=utf-8", INDEX.as_bytes())
        }
        (Method::Get | Method::Head, "/metrics") => match node.metrics.text() {
            Ok(text) => Response::with_body(200, prometheus::TEXT_FORMAT, text.into_bytes()),
            Err(_unencodable) => Response::text(500),
        },
        (Method::Get | Method::Head, "/health") => json(&health::of(node)),
        (Method::Get | Method::Head, "/streams") => json(&streams::of(node)),
        (Method::Options, "/" | "/metrics" | "/health" | "/streams") => Response::allow(204),
        (_, "/" | "/metrics" | "/health" | "/streams") => Response::allow(405),
        _ => Response::text(404),
    }
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => Response::with_body(200, JSON, body),
        Err(_unencodable) => Response::text(500),
    }
}
