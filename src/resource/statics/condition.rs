//! What `If-None-Match` asks (RFC 9110, 13.1.2), as far as it can concern us.

use crate::limits::ETAGS_MAX;

/// The bodies that a client has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Those whose hash is one of these; tags that are none of ours are left out.
    OneOf(Vec<u64>),
    /// Whatever there is: `*`.
    Any,
}

impl Condition {
    /// Reads the value of the header. What is malformed says nothing, and the client gets the body.
    pub(super) fn parse(value: Option<&str>) -> Condition {
        let value = value.unwrap_or_default().trim();
        if value == "*" {
            return Condition::Any;
        }
        Condition::OneOf(Tags(value).filter_map(hash).take(ETAGS_MAX).collect())
    }

    /// Whether the client has the body with this hash.
    pub(super) fn is_met_by(&self, hash: u64) -> bool {
        match self {
            Condition::OneOf(hashes) => hashes.contains(&hash),
            Condition::Any => true,
        }
    }
}

/// The hash that a tag of ours shows: 16 lower-case hexadecimal digits, and no others are equal.
fn hash(tag: &str) -> Option<u64> {
    let ours = tag.len() == 16 && tag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(tag, 16).ok())?
}

/// The tags of a list without what is around them: `"…"`, `W/"…"` (the comparison is the weak one)
/// and, as clients of the original send them, bare.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches([' ', '\t', ',']);
        let text = text.strip_prefix("W/").unwrap_or(text);
        if text.is_empty() {
            return None;
        }
        let (tag, rest) = match text.strip_prefix('"') {
            // A comma may be part of it. One that never ends ends the list.
            Some(quoted) => quoted.split_once('"')?,
            None => text.split_once(',').unwrap_or((text, "")),
        };
        self.0 = rest;
        Some(tag.trim_end_matches([' ', '\t']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 0xaf63_dc4c_8601_ec8c;

    #[test]
    fn table() {
        for (value, met) in [
            (None, false),
            (Some(""), false),
            (Some("*"), true),
            (Some(" * "), true),
            (Some("\"*\""), false),
            (Some("\"af63dc4c8601ec8c\""), true),
            (Some("W/\"af63dc4c8601ec8c\""), true),
            (Some("af63dc4c8601ec8c"), true),
            (Some("W/af63dc4c8601ec8c"), true),
            (Some("w/\"af63dc4c8601ec8c\""), false),
            (Some("\"AF63DC4C8601EC8C\""), false),
            (Some("\"0af63dc4c8601ec8c\""), false),
            (Some("\"+f63dc4c8601ec8c\""), false),
            (Some("\"af63dc4c8601ec8c"), false),
            (Some("\"\", \"a,b\" ,, W/\"x\"\t,\"af63dc4c8601ec8c\""), true),
            (Some("85944171f73967e8,af63dc4c8601ec8c , \"x\""), true),
            (Some("\"a,af63dc4c8601ec8c,b\""), false),
            (Some("\"85944171f73967e8\""), false),
            (Some("é, \"é\", \"af63dc4c8601ec8c\""), true),
        ] {
            assert_eq!(Condition::parse(value).is_met_by(A), met, "{value:?}");
        }
    }

    #[test]
    fn a_list_without_end_is_bounded() {
        let list = "\"af63dc4c8601ec8c\",".repeat(2 * ETAGS_MAX);
        assert_eq!(Condition::parse(Some(&list)), Condition::OneOf(vec![A; ETAGS_MAX]));
    }
}
