//! What people and metrics see of addresses with secrets in them.

use url::{Position, Url};

/// What stands for a secret.
const MASK: &str = "***";

/// The address as written, a password and a `token` in its query (which other nodes of ours take
/// for an authorization) replaced by `***`.
pub(super) fn label(url: &Url, written: &str) -> String {
    match url.password() {
        Some(_) => {
            let (before, after) = (Position::BeforePassword, Position::AfterPassword);
            mask_tokens(&format!("{}{MASK}{}", &url[..before], &url[after..]))
        }
        None => mask_tokens(written),
    }
}

/// Replaces the passwords and tokens of all URLs in a text: commands are often given an address
/// with one.
pub fn mask_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        masked.push_str(before);
        // A slash may be the password's own once it is decoded: rather mask too much.
        let end = behind.find(' ').unwrap_or(behind.len());
        let userinfo = &behind[..behind[..end].rfind('@').unwrap_or(0)];
        rest = match userinfo.split_once(':') {
            Some((user, _)) => {
                masked.push_str(user);
                masked.push(':');
                masked.push_str(MASK);
                &behind[userinfo.len()..]
            }
            None => behind,
        };
    }
    masked.push_str(rest);
    mask_tokens(&masked)
}

/// Replaces the value of every parameter `token`.
fn mask_tokens(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("token=") {
        let (before, behind) = rest.split_at(at + "token=".len());
        masked.push_str(before);
        rest = behind;
        if rest.is_empty() || !before[..at].ends_with(['?', '&']) {
            continue;
        }
        masked.push_str(MASK);
        let end = rest.find(|c: char| c == '&' || c == '#' || c.is_whitespace());
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_and_nothing_else() {
        for (text, masked) in [
            ("http://h/a?token=s3cret", "http://h/a?token=***"),
            ("http://u:p@h/a?x=1&token=s3/c:rt&y=2", "http://u:***@h/a?x=1&token=***&y=2"),
            ("http://h/a?mytoken=x&token=", "http://h/a?mytoken=x&token="),
            ("a token=b http://h/?token=c d", "a token=b http://h/?token=*** d"),
            ("http://h/token=x", "http://h/token=x"),
        ] {
            let url = text.split(' ').find_map(|word| Url::parse(word).ok()).unwrap();
            if !text.contains(' ') {
                assert_eq!(label(&url, text), masked);
            }
            assert_eq!(mask_passwords(text), masked, "{text}");
        }
    }
}
