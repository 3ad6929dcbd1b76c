//! Who may have a resource (RFC 7617, RFC 6750).
//!
//! Owns the secrets of one resource, made ready to be compared. Never tells by its time or its
//! `Debug` what they are: every one of them is compared, to its whole width, whatever was shown.
//! Driven by whoever has a request head.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::{Choice, ConstantTimeEq};

use crate::config::Authentication;

/// Judges requests for one resource.
pub struct Guard(Rule);

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Admitted,
    /// 401, with this value of `WWW-Authenticate`.
    Challenge(String),
    /// 403.
    Forbidden,
}

enum Rule {
    Open,
    Basic { challenge: String, listed: Listed, token_query: bool },
    Bearer { listed: Listed, token_query: bool },
    Deny,
}

impl Guard {
    /// A guard that knows who may pass.
    pub fn new(authentication: &Authentication) -> Guard {
        Guard(match authentication {
            Authentication::Open => Rule::Open,
            Authentication::Basic { realm, users, token_query } => {
                let credentials =
                    users.iter().map(|(user, password)| format!("{user}:{}", password.expose()));
                Rule::Basic {
                    challenge: challenge(realm),
                    listed: Listed::new(credentials.map(String::into_bytes)),
                    token_query: *token_query,
                }
            }
            Authentication::Bearer { tokens, token_query } => {
                // A user without password would else be whoever shows nothing behind `Bearer`.
                let tokens = tokens.iter().map(|token| token.expose().as_bytes().to_vec());
                let listed = Listed::new(tokens.filter(|token| !token.is_empty()));
                Rule::Bearer { listed, token_query: *token_query }
            }
            Authentication::Deny => Rule::Deny,
        })
    }

    /// Judges a request by the value of its `Authorization` header and of `?token=`, the latter
    /// percent-decoded; one of them suffices.
    ///
    /// A token stands for what stands behind the scheme's name in the header. For Bearer that is
    /// the password; for Basic it is `user:password` in Base64, or as it is: Base64 has no colon.
    pub fn judge(&self, authorization: Option<&str>, token: Option<&str>) -> Verdict {
        match &self.0 {
            Rule::Open => Verdict::Admitted,
            Rule::Basic { challenge, listed, token_query } => {
                let header = authorization.and_then(|value| behind(value, "Basic"));
                let token = token.filter(|_| *token_query);
                let shown = [header.and_then(decoded), token.and_then(plain_or_decoded)];
                if listed.has_one_of(&shown) {
                    Verdict::Admitted
                } else {
                    Verdict::Challenge(challenge.clone())
                }
            }
            Rule::Bearer { listed, token_query } => {
                let header = authorization.and_then(|value| behind(value, "Bearer"));
                let token = token.filter(|_| *token_query);
                let shown = [header, token].map(|text| text.map(|text| text.as_bytes().to_vec()));
                if listed.has_one_of(&shown) { Verdict::Admitted } else { Verdict::Forbidden }
            }
            Rule::Deny => Verdict::Forbidden,
        }
    }
}

/// The name in the value of an `Authorization` header: whose it is only where that was admitted,
/// and only for Basic; a token has none.
pub fn user(authorization: &str) -> Option<String> {
    let shown = String::from_utf8(behind(authorization, "Basic").and_then(decoded)?).ok()?;
    shown.split_once(':').map(|(user, _)| user.to_owned())
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Open => f.write_str("Guard(open)"),
            Rule::Basic { listed, .. } => write!(f, "Guard(basic, {})", listed.entries.len()),
            Rule::Bearer { listed, .. } => write!(f, "Guard(bearer, {})", listed.entries.len()),
            Rule::Deny => f.write_str("Guard(deny)"),
        }
    }
}

/// What admits, each as wide as the widest: how long a comparison takes tells nothing of any.
struct Listed {
    entries: Vec<Padded>,
    width: usize,
}

struct Padded {
    bytes: Vec<u8>,
    length: usize,
}

impl Listed {
    fn new(secrets: impl Iterator<Item = Vec<u8>>) -> Listed {
        let secrets: Vec<Vec<u8>> = secrets.collect();
        let width = secrets.iter().map(Vec::len).max().unwrap_or(0);
        let entries = secrets.iter().map(|secret| Padded::new(secret, width)).collect();
        Listed { entries, width }
    }

    fn has_one_of(&self, shown: &[Option<Vec<u8>>]) -> bool {
        let mut found = Choice::from(0);
        for secret in shown.iter().flatten() {
            let secret = Padded::new(secret, self.width);
            for entry in &self.entries {
                found |= entry.bytes.ct_eq(&secret.bytes) & entry.length.ct_eq(&secret.length);
            }
        }
        found.into()
    }
}

impl Padded {
    /// What is longer than `width` is cut, and then equal to none of that width for its length.
    fn new(secret: &[u8], width: usize) -> Padded {
        let mut bytes = secret.to_vec();
        bytes.resize(width, 0);
        Padded { bytes, length: secret.len() }
    }
}

/// To the letter as the original has it, though RFC 9110, 11.2 wants a comma between the two. A
/// realm is one line of text.
fn challenge(realm: &str) -> String {
    let mut quoted = String::with_capacity(realm.len());
    for character in realm.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    format!("Basic realm=\"{quoted}\" charset=\"UTF-8\"")
}

/// What stands behind the scheme's name, whose case does not matter, and one space or more
/// (RFC 9110, 11.1 and 11.4).
fn behind<'a>(authorization: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = authorization.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches(' '))
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn plain_or_decoded(token: &str) -> Option<Vec<u8>> {
    if token.contains(':') { Some(token.as_bytes().to_vec()) } else { decoded(token) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Secret;

    fn basic(users: &[(&str, &str)], token_query: bool) -> Guard {
        let users = users.iter().map(|&(user, word)| (user.to_owned(), Secret::new(word)));
        Guard::new(&Authentication::Basic {
            realm: "TV \"one\\two\"\r\n".into(),
            users: users.collect(),
            token_query,
        })
    }

    fn bearer(tokens: &[&str], token_query: bool) -> Guard {
        let tokens = tokens.iter().map(|&token| Secret::new(token)).collect();
        Guard::new(&Authentication::Bearer { tokens, token_query })
    }

    fn admits(guard: &Guard, authorization: Option<&str>, token: Option<&str>) -> bool {
        guard.judge(authorization, token) == Verdict::Admitted
    }

    #[test]
    fn without_authentication_all_are_admitted() {
        let guard = Guard::new(&Authentication::Open);
        for shown in [None, Some("Basic x"), Some("\0")] {
            assert_eq!(guard.judge(shown, shown), Verdict::Admitted);
        }
    }

    #[test]
    fn whom_nobody_may_have_is_forbidden() {
        let guard = Guard::new(&Authentication::Deny);
        for shown in [None, Some("Basic YTpi"), Some("Bearer a")] {
            assert_eq!(guard.judge(shown, Some("a")), Verdict::Forbidden);
        }
    }

    #[test]
    fn basic_wants_a_listed_user_with_their_password() {
        let guard = basic(&[("alice", "secret"), ("böb", "p:ß"), ("eve", "")], false);
        for (authorization, admitted) in [
            ("Basic YWxpY2U6c2VjcmV0", true),
            ("basic YWxpY2U6c2VjcmV0", true),
            ("BASIC   YWxpY2U6c2VjcmV0", true),
            ("Basic YsO2YjpwOsOf", true),
            ("Basic ZXZlOg==", true),
            ("Basic ZXZlOg", true),
            // alice:secrex, alice:secre, alice:secrets, alice:, :secret, alicesecret, nothing
            ("Basic YWxpY2U6c2VjcmV4", false),
            ("Basic YWxpY2U6c2VjcmU=", false),
            ("Basic YWxpY2U6c2VjcmV0cw==", false),
            ("Basic YWxpY2U6", false),
            ("Basic OnNlY3JldA==", false),
            ("Basic YWxpY2VzZWNyZXQ=", false),
            ("Basic ", false),
            // alice:secret and a NUL: the padding is no part of it.
            ("Basic YWxpY2U6c2VjcmV0AA==", false),
            ("Basic alice:secret", false),
            ("Basic YWxpY2U6c2VjcmV0 ", false),
            ("Basic YWxpY2U6c2Vjcm\u{e9}", false),
            ("Basic", false),
            ("BasicYWxpY2U6c2VjcmV0", false),
            (" Basic YWxpY2U6c2VjcmV0", false),
            ("Bearer YWxpY2U6c2VjcmV0", false),
            ("Bearer secret", false),
            ("", false),
        ] {
            assert_eq!(admits(&guard, Some(authorization), None), admitted, "{authorization:?}");
        }
        assert!(!admits(&guard, None, None));
        assert!(!admits(&guard, None, Some("alice:secret")), "a token is not asked for");
    }

    #[test]
    fn who_is_not_known_is_challenged_in_one_line() {
        let verdict = basic(&[("alice", "secret")], true).judge(None, Some("wrong"));
        let challenge = r#"Basic realm="TV \"one\\two\"" charset="UTF-8""#;
        assert_eq!(verdict, Verdict::Challenge(challenge.into()));
    }

    #[test]
    fn a_name_is_in_basic_credentials_alone() {
        for (authorization, name) in [
            ("Basic YWxpY2U6c2VjcmV0", Some("alice")),
            ("basic  YsO2YjpwOsOf", Some("böb")),
            ("Basic OnNlY3JldA==", Some("")),
            ("Basic YWxpY2VzZWNyZXQ=", None),
            ("Basic alice:secret", None),
            ("Bearer YWxpY2U6c2VjcmV0", None),
            ("", None),
        ] {
            assert_eq!(user(authorization).as_deref(), name, "{authorization}");
        }
    }

    #[test]
    fn bearer_wants_a_password_as_it_is() {
        let guard = bearer(&["sesame", "a b", ""], false);
        for (authorization, admitted) in [
            ("Bearer sesame", true),
            ("bearer  sesame", true),
            ("Bearer a b", true),
            ("Bearer Sesame", false),
            ("Bearer sesam", false),
            ("Bearer sesame0", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic sesame", false),
            ("sesame", false),
        ] {
            assert_eq!(admits(&guard, Some(authorization), None), admitted, "{authorization:?}");
        }
        assert_eq!(guard.judge(None, None), Verdict::Forbidden);
        assert_eq!(guard.judge(None, Some("sesame")), Verdict::Forbidden);
    }

    #[test]
    fn a_token_stands_for_the_header_where_it_may() {
        let (one, other) = (basic(&[("alice", "secret")], true), bearer(&["sesame", ""], true));
        for (guard, token, admitted) in [
            (&one, "YWxpY2U6c2VjcmV0", true),
            (&one, "alice:secret", true),
            (&one, "secret", false),
            (&one, "Basic YWxpY2U6c2VjcmV0", false),
            (&one, "", false),
            (&other, "sesame", true),
            (&other, "Bearer sesame", false),
            (&other, "", false),
        ] {
            assert_eq!(admits(guard, None, Some(token)), admitted, "{token:?}");
            assert_eq!(admits(guard, Some("Basic YTpi"), Some(token)), admitted, "{token:?}");
        }
        assert!(admits(&one, Some("Basic YWxpY2U6c2VjcmV0"), Some("wrong")));
        assert!(admits(&other, Some("Bearer sesame"), Some("wrong")));
    }

    #[test]
    fn an_empty_list_admits_nobody() {
        for shown in [None, Some(""), Some("Basic "), Some("Bearer "), Some("Basic Og==")] {
            assert!(!admits(&basic(&[], true), shown, shown), "{shown:?}");
            assert!(!admits(&bearer(&[], true), shown, shown), "{shown:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?}", basic(&[("alice", "pw")], true), bearer(&["pw"], true));
        assert_eq!(shown, "Guard(basic, 1) Guard(bearer, 1)");
    }

    proptest! {
        #[test]
        fn nothing_panics(
            users in prop::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..4),
            authorization in prop::option::of("((?i)basic|bearer)? {0,2}\\PC*"),
            token in prop::option::of("\\PC*"),
        ) {
            let users: Vec<_> = users.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let words: Vec<_> = users.iter().map(|&(_, word)| word).collect();
            for guard in [basic(&users, true), bearer(&words, true)] {
                let _any = guard.judge(authorization.as_deref(), token.as_deref());
            }
        }

        #[test]
        fn who_is_listed_is_admitted_and_nobody_else(
            users in prop::collection::vec(("[a-c]{1,3}", "[a-c]{0,3}"), 1..4),
            (user, word) in ("[a-c]{1,3}", "[a-c]{0,3}"),
        ) {
            let listed: Vec<_> = users.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let header = format!("Basic {}", BASE64.encode(format!("{user}:{word}")));
            let admitted = admits(&basic(&listed, false), Some(&header), None);
            prop_assert_eq!(admitted, listed.contains(&(&user, &word)));
        }
    }
}
