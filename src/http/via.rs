//! Which way a message has come: `Via` (RFC 9110, 7.6.3).
//!
//! Nodes are chained, and each pulls on its own account: a viewer's request makes no request to an
//! upstream, so that a request tells of the nearest node alone. The way therefore comes *down* with
//! the stream: every answer says which streams it has come by, this one last, and a stream that
//! finds itself in an upstream's answer does not take it. Requests say who asks as well: that finds
//! a stream that is its own upstream, which has no answer to give yet. Everybody is told the way,
//! not only who asks with a `Via`: a cache may give one answer to many.
//!
//! A stream without an upstream lets nobody in (one on demand has them wait, and answers when it
//! knows its way), and its way does not change under a viewer that is a node: viewers stay when it
//! loses an upstream, but when the next one comes another way it lets go of those that asked with a
//! `Via`, which come back at once and are told that way (`Stream::reroute`). So the connection that
//! would close a ring is made to a stream that knows all of the ring, and is refused; where two are
//! made at the same time the ring stands for as long as it takes each node of it to be told, and
//! then one of them finds itself. A proxy between nodes passes `Via` on, and adds itself: so it
//! does for players, which are let go as well.
//!
//! Owns the field's grammar; reads whatever a peer sends. Never fails: what is no member is left
//! out. Upstreams that speak no HTTP say nothing of their way: a ring through one of them is not
//! found.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::limits::{VIA_BYTES_MAX, VIA_MEMBERS_MAX};

/// By what name a stream is known in the ways of others. It is of the stream and not of its node: a
/// stream that comes from another one of the same node is no ring. It is another one after a
/// restart, so that no two nodes have the same one, however alike their machines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudonym(Arc<str>);

impl Pseudonym {
    /// The name of the stream at `path`; all of a process are made with the same `random`.
    pub fn new(random: &RandomState, path: &str) -> Pseudonym {
        Pseudonym(format!("restreamer-{:016x}", random.hash_one(path)).into())
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The version is that of what was received; we say it of all upstreams.
        write!(f, "1.1 {}", self.0)
    }
}

/// The way that a message has come, the nearest last, without the comments (which anybody may leave
/// out) and without members that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    text: String,
    members: usize,
}

impl Via {
    /// Adds a line. What is beyond the bounds is not looked at: the way [is long](Via::is_long).
    pub fn add(&mut self, line: &[u8]) {
        for member in without_comments(line).split(',').filter(|member| !member.trim().is_empty()) {
            self.members += 1;
            if self.is_long() {
                return;
            }
            let mut words = member.split_ascii_whitespace();
            if let (Some(protocol), Some(by), None) = (words.next(), words.next(), words.next())
                && protocol.split('/').count() <= 2
                && protocol.split('/').all(|part| is_word(part, ""))
                && is_word(by, ":[]")
            {
                let comma = if self.text.is_empty() { "" } else { ", " };
                self.text.extend([comma, protocol, " ", by]);
            }
        }
    }

    /// Whether nobody has said anything of it.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Whether it is longer than any chain of nodes should be.
    pub fn is_long(&self) -> bool {
        self.members > VIA_MEMBERS_MAX || self.text.len() > VIA_BYTES_MAX
    }

    /// Whether it leads by this stream.
    pub fn names(&self, stream: &Pseudonym) -> bool {
        let mut names = self.text.split(", ").filter_map(|member| member.split_once(' '));
        names.any(|(_, by)| by.eq_ignore_ascii_case(&stream.0))
    }

    /// The way to whoever is sent the stream: this one, and by `stream`.
    pub fn by(&self, stream: &Pseudonym) -> String {
        let comma = if self.text.is_empty() { "" } else { ", " };
        format!("{}{comma}{stream}", self.text)
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A line without its comments, which may hold each other (RFC 9110, 5.6.5). One that is not closed
/// ends with the line.
fn without_comments(line: &[u8]) -> String {
    let (mut text, mut depth, mut quoted) = (String::new(), 0_usize, false);
    for character in String::from_utf8_lossy(line).chars() {
        match character {
            _ if quoted => quoted = false,
            '\\' if depth > 0 => quoted = true,
            '(' => {
                depth += 1;
                text.push(' ');
            }
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            other => text.push(other),
        }
    }
    text
}

/// Whether it is a token (RFC 9110, 5.6.2), or one with these characters as well.
fn is_word(text: &str, more: &str) -> bool {
    let may_be = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(|c| may_be(c) || more.contains(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn via(lines: &[&str]) -> Via {
        let mut via = Via::default();
        for line in lines {
            via.add(line.as_bytes());
        }
        via
    }

    fn name(path: &str) -> Pseudonym {
        // One for all: names are compared.
        static RANDOM: std::sync::LazyLock<RandomState> =
            std::sync::LazyLock::new(RandomState::new);
        Pseudonym::new(&RANDOM, path)
    }

    #[test]
    fn lines_are_one_list_and_comments_are_left_out() {
        for (lines, read) in [
            (&["1.1 a"][..], "1.1 a"),
            (&["1.0 fred, 1.1 p.example.net"], "1.0 fred, 1.1 p.example.net"),
            (&["HTTP/1.1 host:80", "2 [::1]:443"], "HTTP/1.1 host:80, 2 [::1]:443"),
            (&["1.1 varnish (Varnish/7.1), 1.1\tb"], "1.1 varnish, 1.1 b"),
            (&["1.1 a(x, 1.1 c (deep) \\), 1.1 d), 1.1 b"], "1.1 a, 1.1 b"),
            (&["1.1 a (never closed, 1.1 c", "1.1 b"], "1.1 a, 1.1 b"),
            (&["1.1 a, , 1.1 b,"], "1.1 a, 1.1 b"),
            (&[""], ""),
            // Neither of these is a member.
            (&["kong/2.0, 1.1 a b, a/b/c d, 1.1 a\"b, 1.1 é, /1 x, 1.1 a), 1.1 b"], "1.1 b"),
        ] {
            assert_eq!(via(lines).to_string(), read, "{lines:?}");
        }
    }

    #[test]
    fn a_stream_finds_itself_and_nobody_else() {
        let (a, b) = (name("/a.ts"), name("/b.ts"));
        let nearer = via(&[&via(&["1.1 cdn (x)"]).by(&a), "1.1 varnish"]);
        assert!(nearer.names(&a) && !nearer.names(&b));
        assert!(via(&[&nearer.to_string().to_uppercase()]).names(&a), "hosts have no case");
        assert_eq!(Via::default().by(&a), a.to_string());
        assert!(!Via::default().names(&a));
        let long = via(&[&format!("{a}-other, 1.1 x{}", &a.to_string()[4..])]);
        assert!(!long.names(&a), "{long}");
        let elsewhere = Pseudonym::new(&RandomState::new(), "/a.ts");
        assert_ne!(a, elsewhere, "another process's stream at the same path");
    }

    #[test]
    fn a_way_without_end_is_not_looked_at() {
        let members = vec!["1.1 x"; VIA_MEMBERS_MAX];
        assert!(!via(&members).is_long());
        assert!(via(&[&members[..], &["1.1 x"]].concat()).is_long());
        let endless = via(&["1.1 x,".repeat(100_000).as_str()]);
        assert!(endless.is_long() && endless.to_string().len() < VIA_BYTES_MAX);
        assert!(via(&[&format!("1.1 {}", "x".repeat(VIA_BYTES_MAX))]).is_long());
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_passed_on_is_one_line_that_reads_the_same(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        ) {
            let mut read = Via::default();
            for line in &lines {
                read.add(line);
            }
            let text = read.to_string();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(via(&[&text]).to_string(), text);
        }

        #[test]
        fn our_name_is_found_behind_whatever_well_formed_came_before(
            before in "([0-9.]{1,3} [a-z0-9.:-]{1,20}( \\([a-z, \\\\)]{0,9}\\))?, ){0,8}",
        ) {
            let own = name("/own.ts");
            let read = via(&[&format!("{before}{own}")]);
            // A comment that a quoted parenthesis keeps open swallows the rest.
            prop_assume!(!before.contains('\\'));
            prop_assert!(read.names(&own), "{}", read);
        }
    }
}
