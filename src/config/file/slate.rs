//! What viewers see while there is no upstream.
//!
//! Owns the shapes of `slate`. Driven by `resources`.

use std::path::{Path, PathBuf};

use super::super::Slate;
use super::super::problem::Problems;
use super::super::section::{Field, Section, wrong_type};
use super::super::tree::Value;

/// Reads `slate`; empty and false are none.
pub(super) fn slate(stream: &Section<'_>, problems: &mut Problems) -> Field<Option<Slate>> {
    let Some((at, node)) = stream.node("slate") else { return Field::Absent };
    match &node.value {
        Value::Flag(false) => Field::Given(at, None),
        Value::Text(word) if word.is_empty() => Field::Given(at, None),
        Value::Text(word) if word == "built-in" => Field::Given(at, Some(Slate::BuiltIn)),
        // No word becomes a file of that name by a slip of the pen.
        Value::Text(path) if Path::new(path).is_absolute() => {
            Field::Given(at, Some(Slate::File(PathBuf::from(path))))
        }
        _ => {
            problems.error(at, wrong_type("`built-in`, an absolute path or false", node));
            Field::Refused
        }
    }
}
