//! `/door`: who may come in, and changes of that.
//!
//! Owns who may change it and what a change looks like in a query. Never decides what a change
//! does: that is the keeper's. Driven by `routes`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use slog::info;

use super::{Asker, Desk};
use crate::config::{self, Authentication, Secret};
use crate::door::{Change, ChangeError, Keeper};
use crate::http::auth::{self, Guard, Verdict};
use crate::http::request::{Method, Request};
use crate::http::response::Response;
use crate::resource::node::{json, json_with};

/// Speaks for the door to those who may ask.
#[derive(Debug)]
pub struct Porter {
    keeper: Arc<Keeper>,
    /// Whom elsewhere it listens to; `None`: nobody.
    guard: Option<Guard>,
    /// Whoever lacks one of the guard's tokens is to be told that it wants one.
    wants_token: bool,
}

/// Why nothing is changed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no door is configured")]
    NoDoor,
    #[error("only this host may change the door: it has no authentication")]
    Elsewhere,
    #[error("a page in a browser may not change the door")]
    Page,
    #[error("who asks is not known here")]
    Stranger(Option<String>),
    #[error("{0}")]
    Query(#[from] QueryError),
    #[error("{0}")]
    Change(#[from] ChangeError),
}

/// What is wrong with a query.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum QueryError {
    #[error("network is missing, as in ?network=203.0.113.0/24")]
    NoNetwork,
    #[error("network is neither a network, as in 203.0.113.0/24, nor an address")]
    Network,
    #[error("for is not a number of seconds")]
    For,
    #[error("a rule is removed at once: for has no place here")]
    RemovedFor,
    #[error("there is something beside one network and one for in the query")]
    Unknown,
}

/// A refusal as it is sent.
#[derive(Debug, Serialize)]
struct Said {
    error: String,
}

impl Porter {
    /// Who speaks for this keeper to those who pass by `authentication`, and to this host.
    pub fn new(keeper: Arc<Keeper>, authentication: &Authentication) -> Porter {
        // To admit everybody without a word is no authentication.
        let is_open = matches!(authentication, Authentication::Open);
        let guard = (!is_open).then(|| Guard::new(authentication));
        let wants_token = matches!(authentication, Authentication::Bearer { .. });
        Porter { keeper, guard, wants_token }
    }

    /// Whether who asks may change something; answers their name, if they had to tell it.
    fn admit(&self, request: &Request, asker: Asker) -> Result<Option<String>, Refusal> {
        // It would come with this host's address, or with what the browser knows of passwords.
        if request.headers.has_origin {
            return Err(Refusal::Page);
        }
        if asker.is_local {
            return Ok(None);
        }
        let guard = self.guard.as_ref().ok_or(Refusal::Elsewhere)?;
        let shown = request.headers.authorization.as_ref().map(Secret::expose);
        match guard.judge(shown, None) {
            Verdict::Admitted => Ok(shown.and_then(auth::user)),
            Verdict::Challenge(how) => Err(Refusal::Stranger(Some(how))),
            // RFC 6750, 3.
            Verdict::Forbidden if self.wants_token => {
                Err(Refusal::Stranger(Some("Bearer realm=\"restreamer\"".to_owned())))
            }
            Verdict::Forbidden => Err(Refusal::Stranger(None)),
        }
    }
}

/// Which rules there are.
pub(super) fn list(desk: &Desk) -> Response {
    match &desk.porter {
        Some(porter) => json(&porter.keeper.list()),
        None => Refusal::NoDoor.response(),
    }
}

/// Changes a rule; answers which there are then.
pub(super) fn change(desk: &Desk, request: &Request, asker: Asker) -> Response {
    let Some(porter) = &desk.porter else { return Refusal::NoDoor.response() };
    if request.method != Method::Post {
        return Response::text(405).header("Allow", "POST");
    }
    match changed(desk, porter, request, asker) {
        Ok(()) => json(&porter.keeper.list()),
        Err(refusal) => refusal.response(),
    }
}

fn changed(desk: &Desk, porter: &Porter, request: &Request, asker: Asker) -> Result<(), Refusal> {
    let user = porter.admit(request, asker)?;
    let change = read(&request.path, request.query.expose())?;
    let changed = porter.keeper.change(&change)?;
    let (verb, lasting) = match &change {
        Change::Deny { lasting, .. } => ("deny", *lasting),
        Change::Allow { lasting, .. } => ("allow", *lasting),
        Change::Remove { .. } => ("remove", None),
    };
    let name = user.as_ref().map(|user| format!(", {user}")).unwrap_or_default();
    info!(desk.log, "told by {}{name} to {change}", asker.address;
        "event" => "door", "change" => verb, "network" => changed.network.to_string(),
        "seconds" => lasting.map(|lasting| lasting.as_secs()),
        "peer" => asker.address.to_string(), "user" => user, "saved" => changed.saved);
    Ok(())
}

/// The change that a path and a query say. What is not understood changes nothing: who means `for`
/// and writes something else is not to have a rule without end.
fn read(path: &str, query: &str) -> Result<Change, QueryError> {
    let (mut network, mut lasting) = (None, None);
    for one in query.split('&').filter(|one| !one.is_empty()) {
        let (key, value) = one.split_once('=').unwrap_or((one, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match key {
            "network" if network.is_none() => network = Some(self::network(&value)?),
            "for" if lasting.is_none() => lasting = Some(seconds(&value)?),
            _other => return Err(QueryError::Unknown),
        }
    }
    let network = network.ok_or(QueryError::NoNetwork)?;
    match path {
        "/door/deny" => Ok(Change::Deny { network, lasting }),
        "/door/allow" => Ok(Change::Allow { network, lasting }),
        _remove if lasting.is_some() => Err(QueryError::RemovedFor),
        _remove => Ok(Change::Remove { network }),
    }
}

fn network(text: &str) -> Result<IpNet, QueryError> {
    config::parse_network(text).map(config::canonical).ok_or(QueryError::Network)
}

/// Whether it is too long is the keeper's to say.
fn seconds(text: &str) -> Result<Duration, QueryError> {
    // A number's sign is no digit.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_number);
    seconds.map(Duration::from_secs).ok_or(QueryError::For)
}

impl Refusal {
    fn response(&self) -> Response {
        let response = json_with(self.status(), &Said { error: self.to_string() });
        match self {
            Refusal::Stranger(Some(how)) => response.header("WWW-Authenticate", how),
            _no_challenge => response,
        }
    }

    fn status(&self) -> u16 {
        match self {
            Refusal::NoDoor => 404,
            Refusal::Stranger(Some(_)) => 401,
            Refusal::Elsewhere | Refusal::Page | Refusal::Stranger(None) => 403,
            Refusal::Query(_) => 400,
            Refusal::Change(error) => match error {
                ChangeError::NotThere(_) => 404,
                ChangeError::OfConfiguration { .. } | ChangeError::Full(_) => 409,
                ChangeError::Lasting => 400,
                ChangeError::Kernel { .. } => 500,
            },
        }
    }
}

#[cfg(test)]
mod tests;
