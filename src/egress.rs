//! How the node reaches out to others over HTTP: whom it trusts, which proxies it uses, whole
//! bodies and mere requests.
//!
//! Owns the root certificates, the proxies of the environment and the client for whole, bounded
//! bodies (static resources) and for requests whose status says all (notifications). Never follows
//! a live stream: that is `upstream`, which takes its trust and its proxies from here. Everything
//! that asks somebody blocks, and is driven by threads of its own.

pub mod address;
pub mod fetch;
pub mod proxy;
pub mod trust;

pub use fetch::{Client, FetchError, Fetched, Patience};
pub use proxy::{Proxies, Proxy, ProxyError};
pub use trust::{Trust, TrustError};

/// What everybody needs who reaches out.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Whom to trust.
    pub trust: Trust,
    /// Which proxies to use.
    pub proxies: Proxies,
}
