//! HTTP/1.x heads and bodies: reading requests and upstreams' answers, writing ours (RFC 9110,
//! 9112).
//!
//! Owns the rules of the protocol as pure functions over bytes. Never touches a socket, and never
//! panics on what a peer sent. Driven by whoever asks: a viewer's first bytes, the side port, a
//! dial.

pub mod auth;
pub mod chunked;
pub mod forwarded;
pub mod proxy_protocol;
pub mod request;
pub mod response;
pub mod route;
pub mod via;
