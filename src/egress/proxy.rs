//! The proxies of the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
//!
//! Owns which address is reached by which proxy, as Go's `net/http` decides it: `localhost` and
//! loopback addresses are never reached by a proxy, whatever the variables say. A capital variable
//! goes before its small twin. Never connects to anything. Read once, at start.

mod exception;

use std::ffi::OsString;
use std::fmt;

use url::{Host, Url};

use super::address::{basic_authorization, host_and_port};
use crate::config::Secret;
use exception::Exception;

/// Which proxy leads to which address.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// A proxy that is spoken to over plain HTTP. `Debug` and `Display` mask its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
    host: String,
    port: u16,
    authorization: Option<Secret>,
}

/// A variable that is not heeded, or not wholly. Nothing here repeats more of it than a scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// No URL and no `host:port`.
    #[error("{variable} is not used: it is no address of a proxy: {error}")]
    Url {
        /// The variable.
        variable: &'static str,
        /// What the URL standard says.
        error: url::ParseError,
    },
    /// A proxy that is spoken to in another way.
    #[error("{variable} is not used: {scheme}:// proxies are not supported, only http://")]
    Scheme {
        /// The variable.
        variable: &'static str,
        /// The scheme, which is nothing but letters, digits and `+-.`.
        scheme: String,
    },
    /// An entry that fits nothing.
    #[error("{variable}: entry {number} is neither a name, nor an IP address, nor a network")]
    Exception {
        /// The variable.
        variable: &'static str,
        /// Which entry, from 1.
        number: usize,
    },
}

/// A variable that is set.
type Variable = (&'static str, String);

impl Proxies {
    /// What the process's environment says, and what of it is not heeded.
    pub fn from_env() -> (Proxies, Vec<ProxyError>) {
        Proxies::from_variables(std::env::var_os)
    }

    /// What an environment says, and what of it is not heeded. Pure but for `look_up`.
    pub fn from_variables(
        look_up: impl Fn(&'static str) -> Option<OsString>,
    ) -> (Proxies, Vec<ProxyError>) {
        let first_set = |names: [&'static str; 2]| -> Option<Variable> {
            names.into_iter().find_map(|name| {
                let value = look_up(name)?.to_string_lossy().trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            })
        };
        let mut errors = Vec::new();
        let mut proxy = |names| {
            let parsed = first_set(names).map(|(name, value)| Proxy::parse(name, &value));
            parsed.and_then(|parsed| parsed.map_err(|error| errors.push(error)).ok())
        };
        let http = proxy(["HTTP_PROXY", "http_proxy"]);
        let https = proxy(["HTTPS_PROXY", "https_proxy"]);
        let mut exceptions = Vec::new();
        if let Some((variable, list)) = first_set(["NO_PROXY", "no_proxy"]) {
            for (number, entry) in (1..).zip(list.split(',')) {
                match Exception::parse(entry.trim()) {
                    Some(exception) => exceptions.push(exception),
                    // A comma too many hurts nobody.
                    None if entry.trim().is_empty() => {}
                    None => errors.push(ProxyError::Exception { variable, number }),
                }
            }
        }
        (Proxies { http, https, exceptions }, errors)
    }

    /// The proxy for an `http` or `https` address; `None`: straight there.
    pub fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref()?,
            _ => self.http.as_ref()?,
        };
        let (host, port) = (url.host()?, url.port_or_known_default()?);
        let local = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.to_canonical().is_loopback(),
        };
        let excepted = self.exceptions.iter().any(|exception| exception.is_for(&host, port));
        (!local && !excepted).then_some(proxy)
    }

    /// The proxies in use: what they lead to, and they themselves.
    pub fn in_use(&self) -> impl Iterator<Item = (&'static str, &Proxy)> {
        let all = [("http", &self.http), ("https", &self.https)];
        all.into_iter().filter_map(|(scheme, proxy)| Some((scheme, proxy.as_ref()?)))
    }
}

impl Proxy {
    fn parse(variable: &'static str, value: &str) -> Result<Proxy, ProxyError> {
        let wrong = |error| ProxyError::Url { variable, error };
        let url = match value.split_once("://") {
            Some((scheme, _)) if !scheme.eq_ignore_ascii_case("http") => {
                // What is no URL has no scheme that could be shown.
                let scheme = Url::parse(value).map_err(wrong)?.scheme().to_owned();
                return Err(ProxyError::Scheme { variable, scheme });
            }
            Some(_) => Url::parse(value),
            None => Url::parse(&format!("http://{value}")),
        };
        let url = url.map_err(wrong)?;
        let (host, port) = host_and_port(&url).ok_or(wrong(url::ParseError::EmptyHost))?;
        if port == 0 {
            return Err(wrong(url::ParseError::InvalidPort));
        }
        Ok(Proxy { authorization: basic_authorization(&url), url, host, port })
    }

    /// Its address, user and password inside.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its name or IP address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization`, if it wants one.
    pub fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("http://")?;
        match (self.url.username(), self.url.password()) {
            ("", None) => {}
            (user, None) => write!(f, "{user}@")?,
            (user, Some(_)) => write!(f, "{user}:***@")?,
        }
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{host}:{}", self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests;
