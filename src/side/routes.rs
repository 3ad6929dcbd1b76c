//! What the side port answers.

use slog::info;

use super::{Asker, Desk, door, streams};
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
                     with ?off: they may\n\
                     /door        who may come in, JSON\n\
                     /door/deny   POST, from this host or with credentials: ?network=CIDR is \
                     denied; with &for=SECONDS: for so long\n\
                     /door/allow  the same: it is allowed\n\
                     /door/remove the same: what was said of ?network=CIDR is taken back\n";
const PATHS: [&str; 12] = [
    "/",
    "/metrics",
    "/health",
    "/live",
    "/ready",
    "/statistics",
    "/streams",
    "/drain",
    "/door",
    "/door/deny",
    "/door/allow",
    "/door/remove",
];

/// Answers a request.
pub fn answer(desk: &Desk, request: &Request, asker: Asker) -> Response {
    let (node, path) = (&*desk.node, request.path.as_str());
    match request.method {
        _ if !PATHS.contains(&path) => Response::text(404),
        _ if path.starts_with("/door/") => door::change(desk, request, asker).unshared(),
        Method::Post if path == "/drain" => drain(desk, request, asker),
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
            // Whom a node turns away is not for whatever page its operator has open.
            "/door" => door::list(desk).unshared(),
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
fn drain(desk: &Desk, request: &Request, asker: Asker) -> Response {
    // A page in a browser on this host is somebody else's.
    if !asker.is_local || request.headers.has_origin {
        return Response::text(403);
    }
    let (node, drains) = (&*desk.node, request.query.expose() != "off");
    if node.drain(drains) {
        let what = if drains { "draining: nobody new is to be sent here" } else { "takes viewers" };
        info!(desk.log, "{what}"; "event" => "drain", "draining" => drains);
    }
    json(&health::of(node))
}
