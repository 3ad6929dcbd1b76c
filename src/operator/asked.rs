//! Where a node is asked from the command line, and as whom.
//!
//! Owns the syntax: `HOST:PORT`, or a URL with credentials. Never repeats any of these. Driven by
//! `main`.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::config::{AddressError, Listen, Secret};

/// Where a node is asked, and as whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// The side port, if there is one.
    pub side: Option<Listen>,
    /// What is shown to it. One on this host wants nothing.
    pub credentials: Option<Credentials>,
}

/// What is shown to a node.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who asks (RFC 7617); without a name the password is a token (RFC 6750).
    user: String,
    /// `None`: it is in a file.
    password: Option<Secret>,
}

/// Why nobody can be asked there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// What is behind the credentials.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Side ports have no TLS.
    #[error("a side port is asked by http alone")]
    Scheme,
    /// More than an address.
    #[error("a path or a query has no place here, expected http://HOST:PORT")]
    Tail,
    /// A name with a colon cannot be shown (RFC 7617, 2), nor what is no text.
    #[error("the credentials are no text, or the user's name has a colon")]
    Credentials,
    /// A name alone.
    #[error("the user has no password: http://USER:PASSWORD@HOST:PORT, or --password-file")]
    NoPassword,
    /// One is enough.
    #[error("there is a password in the URL and in a file")]
    TwoPasswords,
    /// It would be seen by anybody as nothing.
    #[error("the password is empty or is not one line of text")]
    Password,
}

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Asked, AskedError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("http", text),
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(AskedError::Scheme);
        }
        // The last one: what is before it may be a secret, and no error shows it.
        let (who, address) = match rest.rsplit_once('@') {
            Some((who, address)) => (Some(who), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(AskedError::Tail);
        }
        let credentials = who.map(Credentials::parse).transpose()?;
        Ok(Asked { side: Some(address.parse()?), credentials })
    }
}

impl Asked {
    /// The same with the password from a file.
    pub fn with_password(mut self, file: &str) -> Result<Asked, AskedError> {
        let user = match self.credentials {
            Some(Credentials { password: Some(_), .. }) => return Err(AskedError::TwoPasswords),
            Some(Credentials { user, .. }) => user,
            None => String::new(),
        };
        let line = file.lines().next().unwrap_or_default();
        self.credentials = Some(Credentials { user, password: Some(password(line)?) });
        Ok(self)
    }
}

impl Credentials {
    fn parse(text: &str) -> Result<Credentials, AskedError> {
        let decoded = |text| percent_decode_str(text).decode_utf8();
        let (user, word) = match text.split_once(':') {
            Some((user, word)) => (user, Some(word)),
            None => (text, None),
        };
        let user = decoded(user).map_err(|_not_utf8| AskedError::Credentials)?.into_owned();
        if user.contains(':') || user.contains(char::is_control) {
            return Err(AskedError::Credentials);
        }
        let word = word.map(decoded).transpose().map_err(|_not_utf8| AskedError::Credentials)?;
        Ok(Credentials { user, password: word.map(|word| password(&word)).transpose()? })
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> Result<Secret, AskedError> {
        let word = self.password.as_ref().ok_or(AskedError::NoPassword)?.expose();
        Ok(Secret::new(match self.user.as_str() {
            "" => format!("Bearer {word}"),
            user => format!("Basic {}", STANDARD.encode(format!("{user}:{word}"))),
        }))
    }
}

fn password(text: &str) -> Result<Secret, AskedError> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(AskedError::Password);
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<String, AskedError> {
        let asked: Asked = text.parse()?;
        Ok(asked.credentials.unwrap().header()?.expose().to_owned())
    }

    #[test]
    fn an_address_with_and_without_credentials() {
        for text in ["h:1", "http://h:1", "HTTP://h:1/"] {
            let asked: Asked = text.parse().unwrap();
            assert_eq!(asked, Asked { side: Some("h:1".parse().unwrap()), credentials: None });
        }
        for (text, shown) in [
            ("http://alice:secret@h:1", "Basic YWxpY2U6c2VjcmV0"),
            ("alice:secret@h:1", "Basic YWxpY2U6c2VjcmV0"),
            ("http://b%C3%B6b:p:%c3%9f@[::1]:1/", "Basic YsO2YjpwOsOf"),
            ("http://alice:s@cret@h:1", "Basic YWxpY2U6c0BjcmV0"),
            ("http://:sesame@h:1", "Bearer sesame"),
            ("http://:a%20b@h:1", "Bearer a b"),
        ] {
            assert_eq!(header(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn a_password_may_be_in_a_file() {
        let with = |text: &str, file| {
            let asked = text.parse::<Asked>().unwrap().with_password(file)?;
            Ok(asked.credentials.unwrap().header().unwrap().expose().to_owned())
        };
        assert_eq!(with("alice@h:1", "secret\n").as_deref(), Ok("Basic YWxpY2U6c2VjcmV0"));
        assert_eq!(with("h:1", "sesame\r\nmore").as_deref(), Ok("Bearer sesame"));
        assert_eq!(with("alice:secret@h:1", "other"), Err(AskedError::TwoPasswords));
        for empty in ["", "\n", "a\0b\n"] {
            assert_eq!(with("alice@h:1", empty), Err(AskedError::Password));
        }
        assert_eq!(header("alice@h:1"), Err(AskedError::NoPassword));
    }

    #[test]
    fn no_error_and_no_debug_shows_a_secret() {
        for text in [
            "https://alice:secret@h:1",
            "http://alice:secret@h:1/secret",
            "http://alice:secret@h",
            "http://alice:secret@",
            "alice:secret@h:http:http",
            "http://alice:secret@h h:1",
            "http://alice%3a:secret@h:1",
            "http://alice:%ff-secret@h:1",
            "http://alice:sec%0aret@h:1",
            "http://alice:@h:1",
        ] {
            let error = text.parse::<Asked>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret") && !shown.contains("ret"), "{text}: {shown}");
        }
        let asked: Asked = "http://alice:secret@h:1".parse().unwrap();
        assert!(!format!("{asked:?}").contains("secret"));
    }
}
