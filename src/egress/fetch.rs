//! Whole bodies over HTTP and HTTPS. Blocks.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{Proxies, Trust};
use crate::config::Secret;
use crate::limits::REDIRECTS_MAX;

/// Asks for whole bodies.
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

/// Why there is no answer. The text goes on from the address.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The time is over.
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
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(u32::try_from(REDIRECTS_MAX).unwrap_or(u32::MAX))
            .user_agent(concat!("restreamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Client { agent, proxies }
    }

    /// GET. `authorization` is the header's whole value. The time is that of the whole exchange,
    /// the name's resolution included.
    pub fn get(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        let failed = |error| match error {
            ureq::Error::Timeout(_) => FetchError::TimedOut(timeout),
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge(body_bytes_max),
            error => FetchError::Failed(Box::new(error)),
        };
        let _proxy = self.proxies.of(url);
        let mut request = self.agent.get(url.as_str());
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization.expose());
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut response = request.call().map_err(failed)?;
        let mut body = Vec::new();
        let limit = u64::try_from(body_bytes_max).unwrap_or(u64::MAX);
        let mut reader = response.body_mut().with_config().limit(limit + 1).reader();
        match reader.read_to_end(&mut body) {
            Ok(length) if length > body_bytes_max => {
                return Err(FetchError::TooLarge(body_bytes_max));
            }
            Ok(_) => {}
            Err(error) => return Err(failed(ureq::Error::from(error))),
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Fetched {
            status: response.status().as_u16(),
            content_type: kind.map(str::to_owned),
            body,
        })
    }
}
