//! Request heads (RFC 9112, 3 to 6).

use httparse::{EMPTY_HEADER, Header, Status};

use super::via::Via;
use crate::config::Secret;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX, USER_AGENT_BYTES_MAX};

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path of the target, percent-decoded, without its query.
    pub path: String,
    /// The query of the target as it came; there may be a token in it.
    pub query: Secret,
    /// The minor version: HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Whether another request may follow on the connection (RFC 9112, 9.3), if we want one.
    pub may_keep: bool,
    /// What of the header lines matters to us.
    pub headers: Headers,
}

/// The header lines that matter to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Authorization`.
    pub authorization: Option<Secret>,
    /// `User-Agent`, at most [`USER_AGENT_BYTES_MAX`] of it.
    pub user_agent: Option<String>,
    /// `If-None-Match`; several lines are one list (RFC 9110, 5.3).
    pub if_none_match: Option<String>,
    /// `Forwarded`, line by line.
    pub forwarded: Vec<String>,
    /// `X-Forwarded-For`, line by line.
    pub x_forwarded_for: Vec<String>,
    /// `Via`.
    pub via: Via,
    /// Whether there is an `Origin`: a page in a browser asks. Browsers say so with every POST
    /// (Fetch standard, 3.2), and no page can keep them from it.
    pub has_origin: bool,
}

impl Request {
    /// The value of a parameter in the query, percent-decoded; of several the first. Without a `=`
    /// it is the empty string. A plus is a plus: base64 has some, and only forms mean a space.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let decoded = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let all = self.query.expose().split('&');
        let mut all = all.map(|one| one.split_once('=').unwrap_or((one, "")));
        all.find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value).into_owned())
    }
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
    /// Change something. Only the side port knows what; 405 elsewhere.
    Post,
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
    /// A whole head, and how many bytes it has.
    Whole(Box<Request>, usize),
    /// The beginning of one.
    Part,
    /// No head, and never one.
    Refused(HeadError),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
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

impl HeadError {
    /// The status that answers it.
    pub fn status(self) -> u16 {
        match self {
            HeadError::Malformed | HeadError::NoHost => 400,
            HeadError::TargetTooLong => 414,
            HeadError::HeadTooLong => 431,
            HeadError::Version => 505,
        }
    }
}

/// Reads a request head from all the bytes a client has sent so far.
///
/// A line may end in a bare LF (RFC 9112, 2.2 allows it, old set-top boxes do it). A body is never
/// read. So that nobody can smuggle a second request past a proxy that sees another end of the
/// first, only a head with strict line ends and no word of a body may be followed by another.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) if length > HEAD_BYTES_MAX => too_long(bytes),
        Ok(Status::Complete(length)) => match whole(&request, &bytes[..length]) {
            Ok(request) => Parsed::Whole(Box::new(request), length),
            Err(error) => Parsed::Refused(error),
        },
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => too_long(bytes),
        Ok(Status::Partial) if target_too_long(bytes) => Parsed::Refused(HeadError::TargetTooLong),
        Ok(Status::Partial) => Parsed::Part,
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused(HeadError::HeadTooLong),
        Err(httparse::Error::Version) => Parsed::Refused(HeadError::Version),
        Err(_) => Parsed::Refused(HeadError::Malformed),
    }
}

fn whole(request: &httparse::Request<'_, '_>, head: &[u8]) -> Result<Request, HeadError> {
    let target = request.path.ok_or(HeadError::Malformed)?;
    if target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let hosts = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host")).count();
    match (version, hosts) {
        (Version::Http11, 0) => return Err(HeadError::NoHost),
        (_, 0 | 1) => {}
        _several => return Err(HeadError::Malformed),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("OPTIONS") => Method::Options,
        Some("POST") => Method::Post,
        _ => Method::Other,
    };
    let query = target.split_once('?').map_or("", |(_, query)| query);
    Ok(Request {
        method,
        path: path_of(target)?,
        query: Secret::new(query.split('#').next().unwrap_or(query)),
        version,
        may_keep: version == Version::Http11 && may_keep(request.headers, head),
        headers: headers(request.headers),
    })
}

fn headers(lines: &[Header<'_>]) -> Headers {
    let mut headers = Headers::default();
    for line in lines {
        let value = || String::from_utf8_lossy(line.value).trim().to_owned();
        match line.name.to_ascii_lowercase().as_str() {
            // Two of them are neither the one nor the other.
            "authorization" if headers.authorization.is_some() => {
                headers.authorization = Some(Secret::new(""));
            }
            "authorization" => headers.authorization = Some(Secret::new(value())),
            "user-agent" => {
                let mut agent = value();
                agent.truncate(agent.floor_char_boundary(USER_AGENT_BYTES_MAX));
                headers.user_agent = Some(agent);
            }
            "if-none-match" => {
                let before = headers.if_none_match.take();
                headers.if_none_match =
                    Some(before.map_or_else(value, |list| format!("{list}, {}", value())));
            }
            "forwarded" => headers.forwarded.push(value()),
            "x-forwarded-for" => headers.x_forwarded_for.push(value()),
            "via" => headers.via.add(line.value),
            "origin" => headers.has_origin = true,
            _ => {}
        }
    }
    headers
}

/// Whether it is certain where this request ends, and the client wants to go on.
fn may_keep(headers: &[Header<'_>], head: &[u8]) -> bool {
    let says = |header: &Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    let strict = head.iter().zip(std::iter::once(&0).chain(head));
    let strict = strict.filter(|&(&byte, _)| byte == b'\n').all(|(_, &before)| before == b'\r');
    let bodiless = headers.iter().all(|header| match header.value {
        b"0" if says(header, "content-length") => true,
        _ => !says(header, "content-length") && !says(header, "transfer-encoding"),
    });
    let close = headers.iter().filter(|header| says(header, "connection")).any(|header| {
        let options = header.value.split(|&byte| byte == b',');
        options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"close"))
    });
    strict && bodiless && !close
}

/// The decoded path of a target in origin form, absolute form, or `*` (RFC 9112, 3.2).
fn path_of(target: &str) -> Result<String, HeadError> {
    let target = target.split(['?', '#']).next().unwrap_or(target);
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    if !path.starts_with('/') && path != "*" {
        return Err(HeadError::Malformed);
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_not_utf8| HeadError::Malformed)?.into_owned();
    if decoded.contains('\0') { Err(HeadError::Malformed) } else { Ok(decoded) }
}

fn too_long(bytes: &[u8]) -> Parsed {
    let line =
        if target_too_long(bytes) { HeadError::TargetTooLong } else { HeadError::HeadTooLong };
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
            Parsed::Refused(error) => error.status(),
            other => panic!("{other:?}"),
        }
    }

    fn path(head: &str) -> String {
        match parse(head.as_bytes()) {
            Parsed::Whole(request, _) => request.path,
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
            let Parsed::Whole(request, length) = parse(head.as_bytes()) else {
                panic!("{head:?}");
            };
            let read = (request.method, request.path.as_str(), request.version);
            assert_eq!(read, (method, "/a.ts", version), "{head:?}");
            assert!(head[..length].ends_with('\n'), "{head:?}");
        }
    }

    #[test]
    fn targets() {
        for (target, decoded) in [
            ("/a%20b.ts", "/a b.ts"),
            ("/a.ts?token=1/2", "/a.ts"),
            ("http://host:8000/a.ts?q", "/a.ts"),
            ("http://host", "/"),
            ("http://host?x=/a.ts", "/"),
            ("/to/http://x/y", "/to/http://x/y"),
            ("/%C3%A9", "/é"),
        ] {
            assert_eq!(path(&format!("GET {target} HTTP/1.0\r\n\r\n")), decoded, "{target}");
        }
    }

    fn request(head: &str) -> Request {
        match parse(head.as_bytes()) {
            Parsed::Whole(request, _) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_of_the_query() {
        let request = request("GET /a?offline&token=a%20b+c&token=d&x=#f HTTP/1.0\r\n\r\n");
        assert_eq!(request.parameter("offline").as_deref(), Some(""));
        assert_eq!(request.parameter("token").as_deref(), Some("a b+c"));
        assert_eq!(request.parameter("x").as_deref(), Some(""));
        assert_eq!(request.parameter("online"), None);
        assert!(!format!("{request:?}").contains("a%20b"), "a token is nobody's business");
    }

    #[test]
    fn headers_that_matter() {
        let request = request(
            "GET / HTTP/1.0\r\nauthorization: Bearer s3cret\r\nUser-Agent: tv\r\n\
             If-None-Match: \"1\"\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nIf-None-Match: \"2\"\r\n\
             x-forwarded-for: 9.9.9.9\r\nForwarded: for=1.2.3.4\r\nVia: 1.1 a (b)\r\n\
             VIA: 1.1 c\r\n\r\n",
        );
        let headers = &request.headers;
        assert_eq!(headers.authorization.as_ref().map(Secret::expose), Some("Bearer s3cret"));
        assert_eq!(headers.user_agent.as_deref(), Some("tv"));
        assert_eq!(headers.if_none_match.as_deref(), Some("\"1\", \"2\""));
        assert_eq!(headers.x_forwarded_for, ["1.2.3.4, 5.6.7.8", "9.9.9.9"]);
        assert_eq!(headers.forwarded, ["for=1.2.3.4"]);
        assert_eq!(headers.via.to_string(), "1.1 a, 1.1 c");
        assert!(!headers.has_origin);
        let from_page = self::request("POST / HTTP/1.0\r\nORIGIN: null\r\n\r\n");
        assert!(from_page.headers.has_origin);
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn another_request_may_follow_only_where_the_end_of_the_first_is_certain() {
        for (head, keep) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 00\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\n\r\n", false),
            ("GET / HTTP/1.1\nHost: x\n\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(request(head).may_keep, keep, "{head:?}");
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
