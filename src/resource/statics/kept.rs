//! A body that was fetched, what is known of it, and how it is answered.

use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fnv::FnvHasher;

use super::condition::Condition;
use crate::http::response::Response;
use crate::limits::CONTENT_TYPE_BYTES_MAX;

/// What nobody knows the kind of.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A body as it is kept and shared by all who are sent it.
#[derive(Debug)]
pub(super) struct Kept {
    body: Arc<[u8]>,
    hash: u64,
    content_type: String,
    /// When it had been fetched.
    since: Instant,
}

impl Kept {
    /// Keeps a body. One that has the same bytes as `before` shares its memory: those who still
    /// read that one hold no copy.
    pub(super) fn new(
        body: Vec<u8>,
        content_type: String,
        before: Option<&Kept>,
        now: Instant,
    ) -> Kept {
        match before {
            Some(before) if *before.body == *body => {
                Kept { body: Arc::clone(&before.body), hash: before.hash, content_type, since: now }
            }
            _ => Kept { hash: hash(&body), body: body.into(), content_type, since: now },
        }
    }

    /// Whether it is younger than `cache`.
    pub(super) fn is_fresh(&self, cache: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < cache
    }

    /// The answer to who has what `condition` says already.
    pub(super) fn response(&self, condition: &Condition, cache: Duration) -> Response {
        let response = if condition.is_met_by(self.hash) {
            Response::empty(304)
        } else {
            Response::with_body(200, &self.content_type, Arc::clone(&self.body))
        };
        response
            .header("ETag", &format!("\"{:016x}\"", self.hash))
            .header("Cache-Control", &format!("max-age={}", cache.as_secs()))
    }
}

/// FNV-1a with 64 bits, as the original hashes.
fn hash(body: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(body);
    hasher.finish()
}

/// What an upstream says of the kind of its body, if it can be said on.
pub(super) fn passed_on(content_type: Option<&str>) -> Option<String> {
    let value = content_type?.trim_matches([' ', '\t']);
    let clean = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (clean && (1..=CONTENT_TYPE_BYTES_MAX).contains(&value.len())).then(|| value.to_owned())
}

/// The kind that the first path with a known extension tells. Texts are taken for UTF-8, as the
/// original does.
pub(super) fn guessed(paths: [&Path; 2]) -> String {
    let guess = |path: &Path| mime_guess::from_path(path).first_raw();
    match paths.into_iter().find_map(guess) {
        Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        found => found.unwrap_or(UNKNOWN_TYPE).to_owned(),
    }
}

/// The kind of an error page of which its upstream says nothing.
pub(super) fn unknown() -> String {
    UNKNOWN_TYPE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_algorithms_authors() {
        for (body, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(hash(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn fresh_is_younger_than_the_cache_allows() {
        let now = Instant::now();
        let kept = Kept::new(Vec::new(), unknown(), None, now);
        let second = Duration::from_secs(1);
        for (cache, age, fresh) in [
            (Duration::ZERO, Duration::ZERO, false),
            (second, Duration::ZERO, true),
            (second, Duration::from_nanos(999_999_999), true),
            (second, second, false),
            (Duration::MAX, second, true),
        ] {
            assert_eq!(kept.is_fresh(cache, now + age), fresh, "{cache:?} {age:?}");
        }
        // The asker's clock was read before the fetch ended.
        assert!(kept.is_fresh(second, now.checked_sub(second).unwrap_or(now)));
    }

    #[test]
    fn the_same_bytes_are_kept_once() {
        let now = Instant::now();
        let first = Kept::new(b"abc".to_vec(), "text/a".into(), None, now);
        let same = Kept::new(b"abc".to_vec(), "text/b".into(), Some(&first), now);
        let other = Kept::new(b"abd".to_vec(), "text/b".into(), Some(&same), now);
        assert!(Arc::ptr_eq(&first.body, &same.body) && !Arc::ptr_eq(&same.body, &other.body));
        assert_eq!((same.hash, same.content_type.as_str()), (hash(b"abc"), "text/b"));
        assert_eq!((&*other.body, other.hash), (&b"abd"[..], hash(b"abd")));
    }

    #[test]
    fn a_content_type_is_one_clean_line() {
        let long = "a".repeat(CONTENT_TYPE_BYTES_MAX);
        let too_long = "a".repeat(CONTENT_TYPE_BYTES_MAX + 1);
        for (said, expected) in [
            (None, None),
            (Some(""), None),
            (Some(" \t"), None),
            (Some("text/html; charset=utf-8"), Some("text/html; charset=utf-8")),
            (Some(" image/png\t"), Some("image/png")),
            (Some("text/html\r\nSet-Cookie: a=b"), None),
            (Some("text/html\n"), None),
            (Some("text/html\0"), None),
            (Some("text/html;\tcharset=utf-8"), None),
            (Some("text/\u{e9}"), None),
            (Some("text/html\u{7f}"), None),
            (Some(&long), Some(long.as_str())),
            (Some(&too_long), None),
        ] {
            assert_eq!(passed_on(said).as_deref(), expected, "{said:?}");
        }
    }

    #[test]
    fn extensions_tell_the_kind() {
        for (paths, expected) in [
            (["/srv/logo.png", "/logo"], "image/png"),
            (["/srv/logo", "/logo.PNG"], "image/png"),
            (["/srv/index.html", "/index.css"], "text/html; charset=utf-8"),
            (["/srv/index", "/index.css"], "text/css; charset=utf-8"),
            (["/srv/a.txt", "/"], "text/plain; charset=utf-8"),
            (["/srv/a.json", "/"], "application/json"),
            (["/srv/.htaccess", "/a."], UNKNOWN_TYPE),
            (["/", ""], UNKNOWN_TYPE),
        ] {
            assert_eq!(guessed(paths.map(Path::new)), expected, "{paths:?}");
        }
    }
}
