//! Addresses of what is fetched whole: static resources, and whom to notify.
//!
//! Owns their syntax and the masking of their passwords. Never resolves nor connects. Driven by
//! `check`.

use url::Url;

use super::{WebAddress, mask};
use crate::limits::REMOTE_BYTES_MAX;

impl WebAddress {
    /// Parses an `http` or `https` URL; a fragment is dropped.
    pub fn parse(text: &str) -> Result<WebAddress, WebError> {
        if text.is_empty() {
            return Err(WebError::Empty);
        }
        if text.len() > REMOTE_BYTES_MAX {
            return Err(WebError::TooLong);
        }
        // `Url` would drop these silently, and the label would no longer be what is asked for.
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(WebError::WhiteSpace);
        }
        let (scheme, rest) = text.split_once(':').ok_or(WebError::Scheme)?;
        if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(WebError::Scheme);
        }
        // `Url` would take any number of slashes; one form is enough, and is what the label shows.
        if !rest.starts_with("//") || rest.starts_with("///") {
            return Err(WebError::Form);
        }
        let mut url = Url::parse(text)?;
        url.set_fragment(None);
        if url.port() == Some(0) {
            return Err(WebError::Port);
        }
        let label = mask::label(&url, text);
        Ok(WebAddress { url, label })
    }
}

/// Why an address is refused. Nothing here repeats any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The empty string.
    #[error("is empty")]
    Empty,
    /// More than `REMOTE_BYTES_MAX`.
    #[error("is longer than {REMOTE_BYTES_MAX} bytes")]
    TooLong,
    /// White space around it or a control character in it.
    #[error("has white space around it or a control character in it")]
    WhiteSpace,
    /// Another scheme, or none.
    #[error("is neither an http:// nor an https:// URL")]
    Scheme,
    /// Not of the scheme's form.
    #[error("is written http://host/path or https://host/path")]
    Form,
    /// What the URL standard says is wrong with it.
    #[error("is not a valid URL: {0}")]
    Url(#[from] url::ParseError),
    /// A port that nobody can be connected to at.
    #[error("its port is not a number within 1 and 65535")]
    Port,
}

#[cfg(test)]
mod tests;
