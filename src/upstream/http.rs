//! HTTP upstreams: the request, and redirects. Blocks.

use std::time::Instant;

use url::{Position, Url};

use super::connection::{Connection, Opened, proxied};
use super::error::DialError;
use super::head::{ask, header};
use crate::egress::address::basic_authorization;
use crate::egress::{Egress, Proxy};
use crate::http::via::Pseudonym;
use crate::limits::REDIRECTS_MAX;

/// Asks for the stream and follows redirects, until its body begins. `own` is the name of the
/// stream that asks; what comes by way of it is refused.
pub fn dial(
    url: &Url,
    own: &Pseudonym,
    egress: &Egress,
    deadline: Option<Instant>,
) -> Result<Opened, DialError> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let proxy = egress.proxies.of(&at);
        let mut connection = Connection::open(&at, proxy, &egress.trust, deadline)?;
        // To whom a proxy has made a tunnel, it is nobody.
        let proxy = proxy.filter(|_| at.scheme() == "http");
        let (head, early) = ask(&mut connection, &request(&at, own, proxy))?;
        // Our own refusal, if we have asked ourselves, and answers that have come from us.
        if head.via.names(own) {
            return Err(DialError::Loop(head.via));
        }
        match (head.status, proxy) {
            (200, _) if head.via.is_long() => return Err(DialError::TooFar(head.via)),
            (200, _) => return connection.into_body(head, early),
            (301 | 302 | 303 | 307 | 308, _) => at = redirected(&at, head.location.as_deref())?,
            (407, Some(proxy)) => return Err(proxied(proxy)(DialError::Status(407))),
            (other, _) => return Err(DialError::Status(other)),
        }
    }
    Err(DialError::TooManyRedirects)
}

/// The request for a URL; user and password in it become Basic authorization (RFC 7617). A proxy is
/// told the whole address, and who we are.
fn request(url: &Url, own: &Pseudonym, proxy: Option<&Proxy>) -> String {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let origin = proxy.map(|_| format!("http://{host}")).unwrap_or_default();
    let to_server = header("Authorization", basic_authorization(url).as_ref());
    let to_proxy = header("Proxy-Authorization", proxy.and_then(Proxy::authorization));
    format!(
        "GET {origin}{target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: restreamer/{}\r\n\
         Accept: */*\r\nVia: {own}\r\nConnection: close\r\n{to_server}{to_proxy}\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The address of a redirect. User and password go along only to the same scheme, host and port.
fn redirected(from: &Url, location: Option<&str>) -> Result<Url, DialError> {
    let location = location.ok_or(DialError::BadRedirect)?;
    let mut to = from.join(location).map_err(|_no_url| DialError::BadRedirect)?;
    if !["http", "https"].contains(&to.scheme()) {
        return Err(DialError::RedirectScheme(to.scheme().to_owned()));
    }
    if to.origin() == from.origin() && to.username().is_empty() && to.password().is_none() {
        let copied = to.set_username(from.username()).and(to.set_password(from.password()));
        copied.map_err(|()| DialError::BadRedirect)?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests;
