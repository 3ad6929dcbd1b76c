//! Request heads (RFC 9112, 3 to 6).

use httparse::{EMPTY_HEADER, Status};

use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path of the target, percent-decoded, without its query.
    pub path: String,
    /// The minor version: HTTP/1.0 or HTTP/1.1.
    pub version: Version,
}

/// The methods that we tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Send the resource.
    Get,
    /// Send what would be its head.
    Head,
    /// Say what is allowed (asked by browsers before a cross-origin request).
    Options,
    /// Anything else; answered 405.
    Other,
}

/// The version a client speaks; it is answered in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How far the bytes of a head lead.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole head.
    Whole(Request),
    /// The beginning of one.
    Part,
    /// No head, and never one.
    Refused(Refusal),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP.
    #[error("malformed request head")]
    Malformed,
    /// HTTP/1.1 without `Host` (RFC 9112, 3.2).
    #[error("no Host header")]
    NoHost,
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("request target longer than {TARGET_BYTES_MAX} bytes")]
    TargetTooLong,
    /// Longer than [`HEAD_BYTES_MAX`], or more than [`HEADERS_MAX`] lines.
    #[error("request head longer than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} lines")]
    HeadTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
}

impl Refusal {
    /// The status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed | Refusal::NoHost => 400,
            Refusal::TargetTooLong => 414,
            Refusal::HeadTooLong => 431,
            Refusal::Version => 505,
        }
    }
}

/// Reads a request head from all the bytes a client has sent so far.
///
/// A line may end in a bare LF (RFC 9112, 2.2 allows it, old set-top boxes do it): we read one
/// head a connection and never its body, so that nobody can smuggle a second request.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) if bytes_of_head(bytes) > HEAD_BYTES_MAX => too_long(bytes),
        Ok(Status::Complete(_)) => whole(&request).map_or_else(Parsed::Refused, Parsed::Whole),
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => too_long(bytes),
        Ok(Status::Partial) if target_too_long(bytes) => Parsed::Refused(Refusal::TargetTooLong),
        Ok(Status::Partial) => Parsed::Part,
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Refusal::HeadTooLong),
        Err(httparse::Error::Version) => Parsed::Refused(Refusal::Version),
        Err(_) => Parsed::Refused(Refusal::Malformed),
    }
}

fn whole(request: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    let target = request.path.ok_or(Refusal::Malformed)?;
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let hosts = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host")).count();
    match (version, hosts) {
        (Version::Http11, 0) => return Err(Refusal::NoHost),
        (_, 0 | 1) => {}
        _several => return Err(Refusal::Malformed),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("OPTIONS") => Method::Options,
        _ => Method::Other,
    };
    Ok(Request { method, path: path_of(target)?, version })
}

/// The decoded path of a target in origin form, absolute form, or `*` (RFC 9112, 3.2).
fn path_of(target: &str) -> Result<String, Refusal> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    if !path.starts_with('/') && path != "*" {
        return Err(Refusal::Malformed);
    }
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_not_utf8| Refusal::Malformed)?.into_owned();
    if decoded.contains('\0') { Err(Refusal::Malformed) } else { Ok(decoded) }
}

fn bytes_of_head(bytes: &[u8]) -> usize {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let crlf = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(usize::MAX, |at| at + 2).min(crlf.map_or(usize::MAX, |at| at + 4)).min(bytes.len())
}

fn too_long(bytes: &[u8]) -> Parsed {
    let line = if target_too_long(bytes) { Refusal::TargetTooLong } else { Refusal::HeadTooLong };
    Parsed::Refused(line)
}

/// Whether the first line alone is too long, finished or not.
fn target_too_long(bytes: &[u8]) -> bool {
    bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len()) > TARGET_BYTES_MAX + 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(bytes: &[u8]) -> u16 {
        match parse(bytes) {
            Parsed::Refused(refusal) => refusal.status(),
            other => panic!("{other:?}"),
        }
    }

    fn path(head: &str) -> String {
        match parse(head.as_bytes()) {
            Parsed::Whole(request) => request.path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ordinary_heads() {
        for (head, method, version) in [
            ("GET /a.ts HTTP/1.1\r\nHost: x\r\n\r\n", Method::Get, Version::Http11),
            ("HEAD /a.ts HTTP/1.0\r\n\r\n", Method::Head, Version::Http10),
            ("OPTIONS /a.ts HTTP/1.1\nhost: x\n\n", Method::Options, Version::Http11),
            ("DELETE /a.ts HTTP/1.0\r\n\r\n", Method::Other, Version::Http10),
            ("\r\nGET /a.ts HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n", Method::Get, Version::Http10),
        ] {
            let request = Request { method, path: "/a.ts".into(), version };
            assert_eq!(parse(head.as_bytes()), Parsed::Whole(request), "{head:?}");
        }
    }

    #[test]
    fn targets() {
        for (target, decoded) in [
            ("/a%20b.ts", "/a b.ts"),
            ("/a.ts?token=1/2", "/a.ts"),
            ("http://host:8000/a.ts?q", "/a.ts"),
            ("http://host", "/"),
            ("/to/http://x/y", "/to/http://x/y"),
            ("/%C3%A9", "/é"),
        ] {
            assert_eq!(path(&format!("GET {target} HTTP/1.0\r\n\r\n")), decoded, "{target}");
        }
    }

    #[test]
    fn every_beginning_of_a_head_is_a_part() {
        let head = b"GET /a.ts HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(parse(&head[..end]), Parsed::Part, "{end}");
        }
    }

    #[test]
    fn refusals() {
        let long_target = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
        let endless_target = format!("GET /{}", "a".repeat(TARGET_BYTES_MAX + 100));
        let long_head = format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        let endless_head = format!("GET / HTTP/1.0\r\nX: {}", "a".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
        for (head, status) in [
            ("GET /\0 HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nX: \0\r\n\r\n", 400),
            ("GET /%00 HTTP/1.0\r\n\r\n", 400),
            ("GET /%ff HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET a.ts HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\n folded\r\n\r\n", 400),
            ("\x16\x03\x01\x02\x00", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (&long_target, 414),
            (&endless_target, 414),
            (&long_head, 431),
            (&endless_head, 431),
            (&many, 431),
        ] {
            let shown: String = head.chars().take(40).collect();
            assert_eq!(refused(head.as_bytes()), status, "{shown:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any_answer = parse(&bytes);
        }

        #[test]
        fn a_head_with_anything_in_it_does_not_panic(path in "\\PC*", value in "\\PC*") {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {value}\r\n\r\n");
            let _any_answer = parse(head.as_bytes());
        }
    }
}
