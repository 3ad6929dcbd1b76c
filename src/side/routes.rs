//! What the side port answers.

use slog::{Logger, info};

use super::streams;
use crate::http::request::{Method, Request};
use crate::http::response::Response;
use crate::resource::node::{Node, json, json_with};
use crate::resource::{health, statistics};

const INDEX: &str = "restreamer\n\n/metrics     Prometheus text format\n\
                     /health      ok, full or draining, JSON\n\
                     /live        ok or stuck, JSON: 503 if a worker's loop stands still\n\
                     /ready       as health, with status 503 unless it is ok\n\
                     /statistics  what has passed through, JSON\n\
                     /streams     streams, upstreams and viewers, JSON\n\
                     /drain       POST, from this host only: nobody new is to be sent here; \
                     with ?off: they may\n";
const PATHS: [&str; 8] =
    ["/", "/metrics", "/health", "/live", "/ready", "/statistics", "/streams", "/drain"];

/// Answers a request. `is_local` says that whoever asks is on this host.
pub fn answer(node: &Node, request: &Request, is_local: bool, log: &Logger) -> Response {
    let path = request.path.as_str();
    match request.method {
        _ if !PATHS.contains(&path) => Response::text(404),
        Method::Post if path == "/drain" => drain(node, request, is_local, log),
        _ if path == "/drain" => Response::text(405).header("Allow", "POST"),
        Method::Options => Response::allow(204),
        Method::Post | Method::Other => Response::allow(405),
        Method::Get | Method::Head => match path {
            "/metrics" => node.prometheus(),
            "/health" => json(&health::of(node)),
            "/live" => live(node),
            "/ready" => ready(node),
            "/statistics" => json(&statistics::of(node)),
            "/streams" => json(&streams::of(node)),
            _index => Response::with_body(200, "text/plain; charset=utf-8", INDEX.as_bytes()),
        },
    }
}

/// For those who restart what does not live.
fn live(node: &Node) -> Response {
    let live = node.liveness.get();
    json_with(live.status(), &live)
}

/// For those who choose among nodes by the status alone.
fn ready(node: &Node) -> Response {
    let health = health::of(node);
    json_with(if health.is_ok() { 200 } else { 503 }, &health)
}

/// The metrics may be everybody's to read; where viewers go is not everybody's to say.
fn drain(node: &Node, request: &Request, is_local: bool, log: &Logger) -> Response {
    if !is_local {
        return Response::text(403);
    }
    let drains = request.query.expose() != "off";
    if node.drain(drains) {
        let what = if drains { "draining: nobody new is to be sent here" } else { "takes viewers" };
        info!(log, "{what}"; "event" => "drain", "draining" => drains);
    }
    json(&health::of(node))
}
