//! JSON text as a tree whose nodes know their line.
//!
//! Owns the syntax: duplicate keys are kept, comments (keys named `""`) are left out with all they
//! hold. Never knows what a key means. Driven by `parse_with`. No `Debug` here: a tree holds
//! passwords.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{At, Problem, ProblemKind};
use crate::limits::CONFIG_DEPTH_MAX;

/// A value and the line (from 1) on which it begins.
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A JSON value.
pub(super) enum Value {
    Null,
    Flag(bool),
    /// As written: what it is good for depends on the key.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// A key of an object, the line on which the key begins, and its value.
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) node: Node,
}

impl Value {
    /// Whether it says nothing: `null`, `false`, 0, or without any content.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Flag(flag) => !flag,
            Self::Number(number) => is_zero(number),
            Self::Text(text) => text.is_empty(),
            Self::List(nodes) => nodes.is_empty(),
            Self::Object(entries) => entries.is_empty(),
        }
    }

    /// The type's name with its article, as messages say it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Told by its digits: a tiny fraction is not rounded to 0.
pub(super) fn is_zero(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    !digits.contains(|digit: char| ('1'..='9').contains(&digit))
}

/// Parses a whole text. A byte order mark in front is tolerated.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(text);
    // The first pass sees the whole text, so that the position of a syntax error is the file's and
    // not that of a part. Neither pass recurses on its own: nesting is bounded by `Source::node`.
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| syntax(START, &better(text, error)))?;
    let root: &RawValue = serde_json::from_str(text).map_err(|error| syntax(START, &error))?;
    source.node(root.get(), 1)
}

/// Skipping says less than parsing does: "key must be a string" is "trailing comma" then.
fn better(text: &str, error: serde_json::Error) -> serde_json::Error {
    let position = |error: &serde_json::Error| (error.line(), error.column());
    match serde_json::from_str::<serde_json::Value>(text) {
        Err(parsing) if position(&parsing) == position(&error) => parsing,
        _ => error,
    }
}

/// The problem an error is in a part that begins at `place`.
fn syntax(place: Place, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default().to_owned();
    let line = place.line + error.line().saturating_sub(1);
    let before = if error.line() <= 1 { place.bytes_before } else { 0 };
    let kind = ProblemKind::Syntax { message, column: before + error.column() };
    At::whole_file().line(line).problem(kind)
}

/// Where a part begins.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    /// In that line.
    bytes_before: usize,
}

const START: Place = Place { line: 1, bytes_before: 0 };

/// The text that all parts borrow from, and where its lines begin.
struct Source<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Where a part of the text begins, told by its address.
    fn place(&self, part: &'a str) -> Place {
        let offset = part.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let offset = offset.filter(|&at| at + part.len() <= self.text.len());
        let offset = offset.expect("raw values borrow from the text they were parsed from");
        let line = self.line_starts.partition_point(|&start| start <= offset);
        Place { line, bytes_before: offset - self.line_starts[line - 1] }
    }

    /// `part` is one JSON value without white space around it, at `depth` from 1.
    fn node(&self, part: &'a str, depth: usize) -> Result<Node, Problem> {
        let place = self.place(part);
        let line = place.line;
        if depth > CONFIG_DEPTH_MAX {
            let kind = ProblemKind::TooDeep(CONFIG_DEPTH_MAX);
            return Err(At::whole_file().line(line).problem(kind));
        }
        let value = match part.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'a> = inner(part, place)?;
                Value::Object(self.entries(members, depth)?)
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = inner(part, place)?;
                let nodes = items.iter().map(|item| self.node(item.get(), depth + 1));
                Value::List(nodes.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(inner(part, place)?),
            Some(b't') => Value::Flag(true),
            Some(b'f') => Value::Flag(false),
            Some(b'n') => Value::Null,
            _ => Value::Number(part.to_owned()),
        };
        Ok(Node { line, value })
    }

    fn entries(&self, members: Members<'a>, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::new();
        for (key, value) in members.0 {
            let place = self.place(key.get());
            let key: String = inner(key.get(), place)?;
            // A comment may be anything, so nothing in it is looked at.
            if !key.is_empty() {
                let node = self.node(value.get(), depth + 1)?;
                entries.push(Entry { line: place.line, key, node });
            }
        }
        Ok(entries)
    }
}

/// Parses a part that begins at `place`. The first pass does not look at everything: half of a
/// surrogate pair, for one, is found only here.
fn inner<'a, T: Deserialize<'a>>(part: &'a str, place: Place) -> Result<T, Problem> {
    serde_json::from_str(part).map_err(|error| syntax(place, &error))
}

/// An object's keys and values as they stand in the text, duplicates included.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
