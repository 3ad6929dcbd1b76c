//! Heads and whole answers of ours.

use std::fmt::Write;
use std::io::IoSlice;
use std::sync::Arc;

use super::request::{Method, Version};
use crate::clock::http_date;

/// An answer: status, headers and, for all but a stream, the body.
///
/// An answer allows any origin (CORS: players in browsers), unless it is [`Response::unshared`].
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    headers: String,
    is_shared: bool,
    body: Option<Arc<[u8]>>,
}

/// An answer as it is sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Its head.
    pub head: Vec<u8>,
    /// Its body, shared with others who are sent the same.
    pub body: Option<Arc<[u8]>>,
}

impl Response {
    /// An answer with a body and its length.
    pub fn with_body(status: u16, kind: &str, body: impl Into<Arc<[u8]>>) -> Response {
        let body = body.into();
        let mut response = Response::empty(status).header("Content-Type", kind);
        response = response.header("Content-Length", &body.len().to_string());
        response.body = Some(body);
        response
    }

    /// An answer with no more than what headers are added to it: 204 and 304 have no body
    /// (RFC 9110, 15.3.5 and 15.4.5).
    pub fn empty(status: u16) -> Response {
        Response { status, headers: String::new(), is_shared: true, body: None }
    }

    /// A short answer in words, for people.
    pub fn text(status: u16) -> Response {
        let body = format!("{status} {}\n", reason(status)).into_bytes();
        Response::with_body(status, "text/plain; charset=utf-8", body)
    }

    /// The head before a stream that is there, or is not; a stream ends with its connection.
    ///
    /// The headers are the contract's: `Accept-Range` is the original's, the other spelling right.
    pub fn stream(status: u16) -> Response {
        let response = Response::empty(status)
            .header("Content-Type", "video/mpeg")
            .header("Last-Modified", &http_date())
            .header("Accept-Range", "none")
            .header("Accept-Ranges", "none")
            .header("Cache-Control", "no-cache,no-store,no-transform");
        match status {
            200 => response,
            _no_stream => response.header("Content-Length", "0"),
        }
    }

    /// What is allowed on a resource: 204 to OPTIONS, 405 to a method that is none of it.
    pub fn allow(status: u16) -> Response {
        let response = match status {
            // The star does not cover Authorization (Fetch standard, CORS-preflight).
            204 => Response::empty(status)
                .header("Access-Control-Allow-Methods", ALLOWED)
                .header("Access-Control-Allow-Headers", "*, Authorization")
                .header("Access-Control-Max-Age", "86400"),
            _refused => Response::text(status),
        };
        response.header("Allow", ALLOWED)
    }

    /// Adds a header line. A name and a value are ours, or were checked to be one line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Response {
        debug_assert!(!value.contains(['\r', '\n', '\0']), "a header is one line");
        // Writing to a String cannot fail.
        let _ok = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// The same for no page of another origin to read (Fetch standard, CORS protocol).
    #[must_use]
    pub fn unshared(mut self) -> Response {
        self.is_shared = false;
        self
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What is to be sent; to HEAD without the body. `keep` says that the connection goes on.
    pub fn outgoing(self, method: Method, version: Version, keep: bool) -> Outgoing {
        let minor = match version {
            Version::Http10 => 0,
            Version::Http11 => 1,
        };
        let (status, reason) = (self.status, reason(self.status));
        let connection = if keep { "keep-alive" } else { "close" };
        let shared = if self.is_shared { "Access-Control-Allow-Origin: *\r\n" } else { "" };
        let date = http_date();
        let head = format!(
            "HTTP/1.{minor} {status} {reason}\r\nDate: {date}\r\nConnection: {connection}\r\n\
             {shared}{}\r\n",
            self.headers
        );
        let body = self.body.filter(|body| method != Method::Head && !body.is_empty());
        Outgoing { head: head.into_bytes(), body }
    }
}

impl Outgoing {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, |body| body.len())
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is left after `sent` bytes: of the head, and of the body. To be sent with one call: the
    /// kernel would keep the body back until the head is acknowledged, which takes 40 ms.
    pub fn after(&self, sent: usize) -> [IoSlice<'_>; 2] {
        let of_body = sent.saturating_sub(self.head.len());
        let head = self.head.get(sent..).unwrap_or_default();
        let body = self.body.as_ref().and_then(|body| body.get(of_body..)).unwrap_or_default();
        [head, body].map(IoSlice::new)
    }
}

const ALLOWED: &str = "GET, HEAD, OPTIONS";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        // Passed on from elsewhere; the phrase may be empty (RFC 9112, 4).
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(response: Response, method: Method, version: Version) -> String {
        let outgoing = response.outgoing(method, version, false);
        let after = |sent| outgoing.after(sent).iter().flat_map(|part| part.to_vec()).collect();
        let whole: Vec<u8> = after(0);
        assert_eq!(whole.len(), outgoing.len());
        for sent in 0..=whole.len() {
            assert_eq!(after(sent), whole[sent..], "after {sent} bytes");
        }
        String::from_utf8(whole).unwrap()
    }

    fn text(response: Response, method: Method) -> String {
        sent(response, method, Version::Http11)
    }

    #[test]
    fn a_stream_has_the_headers_of_the_contract_and_no_length() {
        let head = text(Response::stream(200), Method::Get);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in [
            "Content-Type: video/mpeg",
            "Accept-Range: none",
            "Accept-Ranges: none",
            "Cache-Control: no-cache,no-store,no-transform",
            "Access-Control-Allow-Origin: *",
            "Connection: close",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        assert!(head.contains("\r\nLast-Modified: ") && head.contains(" GMT\r\n"));
        assert!(head.ends_with("\r\n\r\n") && !head.contains("Content-Length"));
    }

    #[test]
    fn an_offline_stream_has_the_same_headers_and_no_body() {
        let head = sent(Response::stream(404), Method::Get, Version::Http10);
        assert!(head.starts_with("HTTP/1.0 404 Not Found\r\n"));
        assert!(head.contains("Content-Type: video/mpeg\r\n"));
        assert!(head.contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn head_gets_the_length_and_no_body() {
        let whole = text(Response::text(404), Method::Get);
        let head = text(Response::text(404), Method::Head);
        assert!(whole.ends_with("\r\n\r\n404 Not Found\n"));
        assert!(
            whole.contains("Content-Length: 14\r\n") && head.contains("Content-Length: 14\r\n")
        );
        assert!(head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn options_and_wrong_methods_say_what_is_allowed() {
        for status in [204, 405] {
            let head = text(Response::allow(status), Method::Options);
            assert!(head.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{head}");
        }
    }
}
