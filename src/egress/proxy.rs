//! The proxies of the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.

use url::Url;

/// Which proxy leads to which address.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
}

impl Proxies {
    /// The proxy for an address; `None`: straight there.
    pub fn of(&self, url: &Url) -> Option<&Url> {
        match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }
    }
}
