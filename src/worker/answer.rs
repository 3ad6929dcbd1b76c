//! What guests ask for, and what they get.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use restreamer_sys::socket::{limit_unsent, prepare, set_congestion};
use slog::info;

use super::guests::{Next, refused, unavailable};
use super::handoff::{Command, HandedOver};
use super::lobbies::shown;
use super::token::Token;
use super::{Worker, rename};
use crate::config::{RefuseWith, Secret};
use crate::http::auth::{Guard, Verdict};
use crate::http::forwarded;
use crate::http::request::{Method, Request};
use crate::http::response::Response;
use crate::http::route::Routes;
use crate::limits::{REQUESTS_PER_CONNECTION_MAX, UNSENT_BYTES_MAX};
use crate::log::access::Entry;
use crate::resource::Question;
use crate::stream::ViewerKey;
use crate::stream::join::Refused;
use crate::upstream::tcp::LIVENESS;
use crate::viewer::Connection;
use crate::viewer::asker::Asker;
use crate::viewer::asking::Asked;
use crate::viewer::visit::Visit;

/// Something that is served.
#[derive(Debug)]
pub struct Resource {
    /// Where.
    pub path: String,
    /// Who may have it.
    pub guard: Guard,
    /// What it is.
    pub target: Target,
}

/// Delivers an answer, on another thread than the worker's.
type Reply = Box<dyn FnOnce(Response) + Send>;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A stream, of this worker or of another.
    Stream(usize),
    /// Whether a stream is connected; one that does not exist never is.
    Check(Option<usize>),
    /// The switch of a stream, if it exists.
    Control(Option<usize>),
    /// Something about the node.
    Node(Question),
    /// A static resource, by its number.
    Static(usize),
}

/// Paths, and the numbers of what they lead to.
pub fn routes(resources: &[Resource]) -> Routes<usize> {
    let numbered = resources.iter().enumerate();
    Routes::new(numbered.map(|(number, resource)| (resource.path.clone(), number)))
}

/// A short text of the contract, without a line's end.
fn word(status: u16, text: &'static str) -> Response {
    Response::with_body(status, "text/plain; charset=utf-8", text.as_bytes())
}

/// Whether the client may have the resource; if not, what it gets, and why.
fn judge(resource: &Resource, request: &Request) -> Result<(), (Response, &'static str)> {
    let authorization = request.headers.authorization.as_ref().map(Secret::expose);
    let token = request.parameter("token");
    match resource.guard.judge(authorization, token.as_deref()) {
        Verdict::Admitted => Ok(()),
        Verdict::Challenge(how) => {
            Err((Response::text(401).header("WWW-Authenticate", &how), "unauthorized"))
        }
        Verdict::Forbidden => Err((Response::text(403), "forbidden")),
    }
}

impl Worker {
    pub(super) fn serve_guests(&mut self, now: Instant) {
        // Taken out meanwhile: what they ask for is everything else that a worker has.
        let mut guests = std::mem::take(&mut self.guests);
        guests.turn(now, |key, asked| match asked {
            Asked::Request(connection, request, rest) => {
                self.answer(key, connection, *request, rest, now)
            }
            Asked::Refuse(connection, error) => {
                self.metrics.answered(error.status());
                Next::Send(refused(connection, error.status()))
            }
            Asked::NoProxy => {
                self.counts.proxy_error();
                Next::Gone
            }
            Asked::Left | Asked::Wait(_) => Next::Gone,
        });
        self.guests = guests;
    }

    /// Answers a request: a viewer joins its stream, everybody else is sent something.
    fn answer(
        &mut self,
        key: ViewerKey,
        mut connection: Connection,
        mut request: Request,
        rest: Vec<u8>,
        now: Instant,
    ) -> Next {
        connection.client = self.client(&connection, &request);
        let may_keep = connection.requests < REQUESTS_PER_CONNECTION_MAX;
        request.may_keep &= may_keep && self.stopping.is_none();
        let Some(resource) = self.routes.find(&request.path).map(|n| &self.resources[n]) else {
            let any = request.method == Method::Options && request.path == "*";
            let response = if any { Response::allow(204) } else { Response::text(404) };
            self.metrics.answered(response.status());
            // A player that has lost its way comes with a new connection.
            return Next::Send(Asker::new(connection, &request, rest).answer_last(response));
        };
        let target = resource.target;
        let response = match (request.method, target) {
            (Method::Options, _) => Response::allow(204),
            (Method::Post | Method::Other, Target::Control(_))
            | (Method::Get | Method::Head, _) => match judge(resource, &request) {
                Err((response, reason)) => {
                    self.refuse(target, &connection, &request, response.status(), reason);
                    response
                }
                Ok(()) => return self.admitted(target, key, connection, request, rest, now),
            },
            (Method::Post | Method::Other, _) => Response::allow(405),
        };
        self.metrics.answered(response.status());
        let asker = Asker::new(connection, &request, rest);
        Next::Send(match target {
            // A player that is refused comes with a new connection.
            Target::Stream(_) => asker.answer_last(response),
            _other => asker.answer(response),
        })
    }

    /// Answers a client who may have what it asks for.
    fn admitted(
        &mut self,
        target: Target,
        key: ViewerKey,
        connection: Connection,
        mut request: Request,
        rest: Vec<u8>,
        now: Instant,
    ) -> Next {
        if self.stopping.is_some() {
            return self.turn_away(target, connection, &request, rest);
        }
        let response = match target {
            Target::Stream(stream) => {
                let asked = HandedOver { stream, connection, request, rest };
                return self.show(key, asked, now);
            }
            Target::Node(question) => {
                let desk = self.desk.clone();
                let asker = Asker::new(connection, &request, rest);
                return self.ask(key, asker, |reply| desk.ask(question, reply));
            }
            Target::Static(number) => {
                let of = Arc::clone(&self.statics[number]);
                let condition = request.headers.if_none_match.take();
                let asker = Asker::new(connection, &request, rest);
                return self.ask(key, asker, |reply| of.ask(condition.as_deref(), reply));
            }
            Target::Check(stream) => self.check(stream),
            Target::Control(stream) => self.control(stream, connection.client, &request, now),
        };
        self.metrics.answered(response.status());
        Next::Send(Asker::new(connection, &request, rest).answer(response))
    }

    /// Who asks: whoever our proxies say that it is.
    fn client(&self, connection: &Connection, request: &Request) -> IpAddr {
        fn lines(lines: &[String]) -> Vec<&str> {
            lines.iter().map(String::as_str).collect()
        }
        let headers = &request.headers;
        let forwarded = lines(&headers.forwarded);
        let x_forwarded_for = lines(&headers.x_forwarded_for);
        let networks = &self.arrival.trusted;
        forwarded::client(connection.peer.ip(), networks, &forwarded, &x_forwarded_for)
    }

    fn check(&self, stream: Option<usize>) -> Response {
        if stream.is_some_and(|stream| self.board.is_available(stream)) {
            word(200, "200 ok")
        } else {
            word(404, "404 not found")
        }
    }

    /// Switches a stream. To HEAD it says what would be done.
    fn control(
        &mut self,
        stream: Option<usize>,
        client: IpAddr,
        request: &Request,
        now: Instant,
    ) -> Response {
        let says = |name| request.parameter(name).is_some();
        let on = match (says("offline"), says("online")) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        };
        let (Some(stream), Some(on)) = (stream, on) else { return word(400, "400 bad request") };
        if request.method == Method::Head {
            return word(202, "202 accepted");
        }
        if self.board.switch(stream, on) {
            let path = self.board.path(stream);
            let how = if on { "on" } else { "off" };
            info!(self.log, "{client} has switched {path} {how}";
                "event" => "control", "stream" => path, "client" => client.to_string());
        }
        // Told again, and again if need be, to a worker that was too busy to hear it.
        if on || self.switch_off(stream, now) { word(202, "202 accepted") } else { unavailable() }
    }

    /// Has something answered that may take time: `ask` has the answer at once, or gives it to
    /// [`Reply`] later.
    fn ask(
        &mut self,
        key: ViewerKey,
        asker: Asker,
        ask: impl FnOnce(Reply) -> Option<Response>,
    ) -> Next {
        let sender = self.sender.clone();
        match ask(Box::new(move |response| sender.answered(key, response))) {
            None => Next::Wait(asker),
            Some(response) => {
                self.metrics.answered(response.status());
                Next::Send(asker.answer(response))
            }
        }
    }

    /// Ends the viewers of a stream that is switched off, wherever they are. Answers whether that
    /// is to happen.
    fn switch_off(&mut self, stream: usize, now: Instant) -> bool {
        let mut all = self.end_viewers(stream, now);
        if self.board.is_hot(stream) {
            for (_, worker) in self.others() {
                all &= worker.hand_over(Command::SwitchedOff { stream }).is_ok();
            }
        }
        all
    }

    /// Ends the viewers of a stream that is switched off, or has the worker do it that has the
    /// stream. Answers whether that is to happen.
    pub(super) fn end_viewers(&mut self, stream: usize, now: Instant) -> bool {
        if let Some(here) = self.streams.get_mut(stream) {
            here.switched_off(now);
            self.streams.mark(stream);
            return true;
        }
        let owner = self.board.owner(stream);
        self.workers[owner].hand_over(Command::SwitchedOff { stream }).is_ok()
    }

    /// Shows a stream to a viewer, or what it would get. `key` is the guest's that asks for it.
    pub(super) fn show(&mut self, key: ViewerKey, asked: HandedOver, now: Instant) -> Next {
        let owned = self.board.owner(asked.stream) == self.number;
        let here = self.streams.get(asked.stream);
        // A part of a stream that its owner does not feed yet has nothing to show.
        let Some(stream) = here.filter(|stream| owned || stream.is_connected()) else {
            return self.hand_over(key, asked);
        };
        let HandedOver { stream: number, connection, request, rest } = asked;
        let client = connection.client;
        let admitted = match request.method {
            Method::Get => stream.admit(client, &request.headers.via, now),
            _head => stream.would_admit(client, &request.headers.via, now),
        };
        if admitted.is_ok() && request.method == Method::Get {
            if stream.serves_at_once(&request.headers.via, now) {
                self.welcome(connection, number, request, now, now);
            } else {
                self.park(connection, number, request, now);
            }
            return Next::Gone;
        }
        let own = stream.gate().own();
        let response = match admitted {
            Ok(()) => shown(stream),
            Err(why) => {
                let response = match why {
                    // So it learns that it has asked itself (RFC 5842, 7.2).
                    Refused::Loop => Response::stream(508).header("Via", &own.to_string()),
                    _no_place => self.refused_stream(),
                };
                let status = response.status();
                self.refuse(Target::Stream(number), &connection, &request, status, why.reason());
                response
            }
        };
        self.metrics.answered(response.status());
        Next::Send(Asker::new(connection, &request, rest).answer_last(response))
    }

    pub(super) fn join(
        &mut self,
        connection: Connection,
        stream: usize,
        visit: Visit,
        head: Vec<u8>,
        now: Instant,
    ) {
        let number = stream;
        let stream = self.streams.get_mut(number).expect("it has admitted the viewer");
        let token = Token::Viewer(number, stream.next_key());
        let socket = &connection.socket;
        if let Some(name) = stream.congestion() {
            // It could be used at start; without it a viewer is served as well.
            let _not_allowed_any_more = set_congestion(socket.as_fd(), name);
        }
        let ready = prepare(socket.as_fd(), LIVENESS)
            .and_then(|()| limit_unsent(socket.as_fd(), UNSENT_BYTES_MAX))
            .and_then(|()| rename(self.poll.registry(), socket, token));
        match ready {
            Ok(()) => {
                stream.join(connection, visit, head, now);
                self.streams.mark(number);
            }
            Err(_gone) => {
                stream.dismiss(connection.client);
                self.counts.accept_error();
            }
        }
    }

    /// What a viewer gets for whom there is no stream or no place.
    pub(super) fn refused_stream(&self) -> Response {
        match self.refuse_with {
            RefuseWith::NotFound => Response::stream(404),
            RefuseWith::Unavailable { retry_after } => {
                Response::stream(503).header("Retry-After", &retry_after.as_secs().to_string())
            }
        }
    }

    /// Counts and logs that somebody did not get what it asked for.
    pub(super) fn refuse(
        &self,
        target: Target,
        connection: &Connection,
        request: &Request,
        status: u16,
        reason: &'static str,
    ) {
        if let Target::Stream(stream) = target {
            self.board.refused(stream, reason);
        }
        self.log_unserved(connection, request, status, reason, Duration::ZERO);
    }

    /// Logs that somebody went without a stream, `time` after it had asked.
    pub(super) fn log_unserved(
        &self,
        connection: &Connection,
        request: &Request,
        status: u16,
        reason: &'static str,
        time: Duration,
    ) {
        self.access.log(Entry {
            peer: connection.peer,
            client: connection.client,
            path: request.path.clone(),
            user_agent: request.headers.user_agent.clone(),
            status,
            bytes: 0,
            packets_skipped: 0,
            time,
            reason,
            at: SystemTime::now(),
        });
    }
}
