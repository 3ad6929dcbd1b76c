//! URLs of what is asked for over HTTP: upstreams, static resources, and whom to notify.
//!
//! Owns their syntax, the masking of their passwords, and what holds for every URL. Never resolves
//! nor connects. Driven by `check` and `remote`.

use url::Url;

use super::{WebAddress, mask};
use crate::limits::REMOTE_BYTES_MAX;

impl WebAddress {
    /// Parses an `http` or `https` URL; a fragment is dropped.
    pub fn parse(text: &str) -> Result<WebAddress, UrlError> {
        check_text(text)?;
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Scheme)?;
        let known = ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
        let scheme = known.ok_or(UrlError::Scheme)?;
        // `Url` would take any number of slashes; one form is enough, and is what the label shows.
        if !rest.starts_with("//") || rest.starts_with("///") {
            return Err(UrlError::Form(scheme));
        }
        let mut url = Url::parse(text)?;
        url.set_fragment(None);
        if url.port() == Some(0) {
            return Err(UrlError::Port);
        }
        let label = mask::label(&url, text);
        Ok(WebAddress { url, label })
    }
}

/// What holds for a URL of any scheme.
pub(super) fn check_text(text: &str) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > REMOTE_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    // `Url` would drop these silently, and the label would no longer be what is asked for.
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(UrlError::WhiteSpace);
    }
    Ok(())
}

/// Why a URL is refused. Nothing here repeats more of it than its scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The empty string.
    #[error("is empty")]
    Empty,
    /// More than `REMOTE_BYTES_MAX`.
    #[error("is longer than {REMOTE_BYTES_MAX} bytes")]
    TooLong,
    /// White space around it or a control character in it.
    #[error("has white space around it or a control character in it")]
    WhiteSpace,
    /// Another scheme, or none, where only these will do.
    #[error("is neither an http:// nor an https:// URL")]
    Scheme,
    /// Not of this scheme's form.
    #[error("{0} is written {0}://host/path")]
    Form(&'static str),
    /// What the URL standard says is wrong with it.
    #[error("is not a valid URL: {0}")]
    Url(#[from] url::ParseError),
    /// A port that is no number or cannot be connected to.
    #[error("its port is not a number within 1 and 65535")]
    Port,
}

#[cfg(test)]
mod tests;
