//! The beginning of what a file says, fit for one line of a message.

use crate::limits::PROBLEM_EXCERPT_CHARACTERS_MAX;

/// The beginning of what was written, fit for one line of a message.
pub(super) fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters
        .by_ref()
        .take(PROBLEM_EXCERPT_CHARACTERS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
