//! Heads and whole answers of ours.

use std::fmt::Write;

use super::request::{Method, Version};
use crate::clock::http_date;

/// An answer: status, headers and, for all but a stream, the body.
///
/// Every answer says `Connection: close` and allows any origin (CORS: players in browsers).
#[derive(Debug)]
pub struct Response {
    head: String,
    body: Option<Vec<u8>>,
}

impl Response {
    /// An answer with a body and its length.
    pub fn with_body(version: Version, status: u16, kind: &str, body: Vec<u8>) -> Response {
        let mut response = Response::begin(version, status).header("Content-Type", kind);
        response = response.header("Content-Length", &body.len().to_string());
        response.body = Some(body);
        response
    }

    /// A short answer in words, for people.
    pub fn text(version: Version, status: u16) -> Response {
        let body = format!("{status} {}\n", reason(status)).into_bytes();
        Response::with_body(version, status, "text/plain; charset=utf-8", body)
    }

    /// The head before a stream that is there, or (404) is not; a stream ends with its connection.
    ///
    /// The headers are the contract's: `Accept-Range` is the original's, the other spelling right.
    pub fn stream(version: Version, status: u16) -> Response {
        let response = Response::begin(version, status)
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
    pub fn allow(version: Version, status: u16) -> Response {
        let response = match status {
            204 => Response::begin(version, status)
                .header("Access-Control-Allow-Methods", ALLOWED)
                .header("Access-Control-Allow-Headers", "*")
                .header("Access-Control-Max-Age", "86400"),
            _refused => Response::text(version, status),
        };
        response.header("Allow", ALLOWED)
    }

    /// Adds a header line. Name and value are ours, never a peer's bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Response {
        debug_assert!(!value.contains(['\r', '\n']), "a header is one line");
        // Writing to a String cannot fail.
        let _ok = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// The bytes to send; to HEAD without the body.
    pub fn into_bytes(self, method: Method) -> Vec<u8> {
        let mut bytes = self.head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        if method != Method::Head {
            bytes.extend(self.body.unwrap_or_default());
        }
        bytes
    }

    fn begin(version: Version, status: u16) -> Response {
        let minor = match version {
            Version::Http10 => 0,
            Version::Http11 => 1,
        };
        let head = format!("HTTP/1.{minor} {status} {}\r\n", reason(status));
        Response { head, body: None }
            .header("Date", &http_date())
            .header("Connection", "close")
            .header("Access-Control-Allow-Origin", "*")
    }
}

const ALLOWED: &str = "GET, HEAD, OPTIONS";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response, method: Method) -> String {
        String::from_utf8(response.into_bytes(method)).unwrap()
    }

    #[test]
    fn a_stream_has_the_headers_of_the_contract_and_no_length() {
        let head = text(Response::stream(Version::Http11, 200), Method::Get);
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
        let head = text(Response::stream(Version::Http10, 404), Method::Get);
        assert!(head.starts_with("HTTP/1.0 404 Not Found\r\n"));
        assert!(head.contains("Content-Type: video/mpeg\r\n"));
        assert!(head.contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn head_gets_the_length_and_no_body() {
        let whole = text(Response::text(Version::Http11, 404), Method::Get);
        let head = text(Response::text(Version::Http11, 404), Method::Head);
        assert!(whole.ends_with("\r\n\r\n404 Not Found\n"));
        assert!(
            whole.contains("Content-Length: 14\r\n") && head.contains("Content-Length: 14\r\n")
        );
        assert!(head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn options_and_wrong_methods_say_what_is_allowed() {
        for status in [204, 405] {
            let head = text(Response::allow(Version::Http11, status), Method::Options);
            assert!(head.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{head}");
        }
    }
}
