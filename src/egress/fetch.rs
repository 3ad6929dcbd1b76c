//! Whole bodies over HTTP and HTTPS, or the status alone. Blocks.
//!
//! Owns the exchange from the name's resolution to the body's last byte, redirects included. Each
//! request has a connection of its own: one that was kept could have been closed meanwhile. A proxy
//! is always asked for a tunnel (`CONNECT`), to `http` addresses as well.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::http::Response;
use url::Url;

use super::address::basic_authorization;
use super::{Proxies, Trust};
use crate::config::Secret;
use crate::limits::REDIRECTS_MAX;

/// Asks for whole bodies, or what becomes of a request.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    proxies: Proxies,
}

/// A whole answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its status, whatever it is.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// How long a whole answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For each of these: the name's resolution, the connection with its TLS handshake, and the
    /// answer's head. Redirects do not prolong it.
    pub head: Duration,
    /// For everything, the body included.
    pub whole: Duration,
}

/// Why there is no answer. The text goes on from the address, and has no password in it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The time for its head is over.
    #[error("did not begin to answer within {0:?}")]
    Silent(Duration),
    /// The time for all of it is over.
    #[error("gave no whole answer within {0:?}")]
    TimedOut(Duration),
    /// The body is too long.
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
    /// Everything else.
    #[error("cannot be fetched: {0}")]
    Failed(#[source] Box<ureq::Error>),
}

impl Client {
    /// A client with this trust and these proxies.
    pub fn new(trust: &Trust, proxies: Proxies) -> Client {
        let roots = trust.roots().iter();
        let roots: Vec<_> =
            roots.map(|root| ureq::tls::Certificate::from_der(root).to_owned()).collect();
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(trust.client().crypto_provider().clone())
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Proxy and credentials depend on where each of them leads: they are followed here.
            .max_redirects(0)
            .max_idle_connections(0)
            .user_agent(concat!("restreamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Client { agent, proxies }
    }

    /// GET. `authorization` is the header's whole value; without it, user and password of the
    /// address are sent. They go along with a redirect to the same origin only.
    pub fn get(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        patience: Patience,
        body_bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        let answer = self.follow(url, authorization, patience);
        let body = answer.and_then(|answer| read(answer, body_bytes_max));
        body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge(body_bytes_max),
            error => failed(error, patience),
        })
    }

    /// The same for the answer's status, which is to be there in this time: its body is neither
    /// waited for nor read.
    pub fn status(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        timeout: Duration,
    ) -> Result<u16, FetchError> {
        let patience = Patience { head: timeout, whole: timeout };
        let answer = self.follow(url, authorization, patience);
        answer.map(|answer| answer.status().as_u16()).map_err(|error| {
            match failed(error, patience) {
                FetchError::TimedOut(timeout) => FetchError::Silent(timeout),
                error => error,
            }
        })
    }

    /// All exchanges, up to the beginning of the body that no redirect leads away from.
    fn follow(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        patience: Patience,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let begun = Instant::now();
        let mut at = url.clone();
        let mut authorization = authorization.cloned().or_else(|| basic_authorization(url));
        for _ in 0..=REDIRECTS_MAX {
            let spent = begun.elapsed();
            let left = Patience {
                head: patience.head.saturating_sub(spent),
                whole: patience.whole.saturating_sub(spent),
            };
            let answer = self.ask(&at, authorization.as_ref(), left)?;
            let Some(to) = redirected(&at, &answer)? else { return Ok(answer) };
            authorization = basic_authorization(&to)
                .or_else(|| authorization.filter(|_| to.origin() == at.origin()));
            at = to;
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// One exchange, up to the body's beginning.
    fn ask(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        left: Patience,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let proxy = self.proxies.of(url).map(|proxy| ureq::Proxy::new(proxy.url().as_str()));
        // What an error shows of an address has no password in it.
        let mut bare = url.clone();
        if bare.set_username("").and(bare.set_password(None)).is_err() {
            return Err(ureq::Error::HostNotFound);
        }
        bare.set_fragment(None);
        let mut request = self.agent.get(bare.as_str());
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization.expose());
        }
        let config = request.config().proxy(proxy.transpose()?);
        let config = config.timeout_resolve(Some(left.head)).timeout_connect(Some(left.head));
        let config = config.timeout_recv_response(Some(left.head));
        config.timeout_global(Some(left.whole)).build().call()
    }
}

fn failed(error: ureq::Error, patience: Patience) -> FetchError {
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect | Timeout::RecvResponse) => {
            FetchError::Silent(patience.head)
        }
        ureq::Error::Timeout(_) => FetchError::TimedOut(patience.whole),
        error => FetchError::Failed(Box::new(error)),
    }
}

/// Where an answer leads to, if it is a redirect.
fn redirected(from: &Url, answer: &Response<ureq::Body>) -> Result<Option<Url>, ureq::Error> {
    let location = match answer.status().as_u16() {
        301 | 302 | 303 | 307 | 308 => answer.headers().get("location"),
        _ => None,
    };
    let Some(location) = location else { return Ok(None) };
    let to = location.to_str().ok().and_then(|location| from.join(location).ok());
    let to = to.filter(|to| ["http", "https"].contains(&to.scheme()));
    to.map(Some).ok_or(ureq::Error::RedirectFailed)
}

fn read(mut response: Response<ureq::Body>, body_bytes_max: usize) -> Result<Fetched, ureq::Error> {
    let limit = u64::try_from(body_bytes_max).unwrap_or(u64::MAX);
    let length = response.body().content_length();
    let framed = length.is_some() || response.headers().contains_key("transfer-encoding");
    if length.is_some_and(|length| length > limit) {
        return Err(ureq::Error::BodyExceedsLimit(limit));
    }
    let mut body = Vec::new();
    // One more than it may have, since at the limit the reader does not look for the end.
    let mut reader = response.body_mut().with_config().limit(limit.saturating_add(1)).reader();
    match reader.read_to_end(&mut body) {
        Ok(length) if length > body_bytes_max => return Err(ureq::Error::BodyExceedsLimit(limit)),
        Ok(_) => {}
        // Many servers end a TLS connection without saying so, and a body that lasts as long as its
        // connection ends with it.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !framed => {}
        Err(error) => return Err(ureq::Error::from(error)),
    }
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    Ok(Fetched { status: response.status().as_u16(), content_type: kind.map(str::to_owned), body })
}

#[cfg(test)]
mod tests;
