//! One object of the file: its keys by name, each with the type it must have.
//!
//! Owns matching of keys (ASCII case does not matter, the last of several counts, `null` is as good
//! as absent), the warnings about keys, and type checks. Never knows what values mean together.
//! Driven by `file`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::excerpt::excerpt;
use super::problem::{At, ProblemKind, Problems};
use super::tree::{Node, Value, is_zero};
use crate::limits::{TIMEOUT_MAX, TIMEOUT_MIN};

/// What stands at a key.
pub(super) enum Field<T> {
    /// Nothing: the default holds.
    Absent,
    /// Something of the wrong type or size, already reported.
    Refused,
    /// A value.
    Given(At, T),
}

impl<T> Field<T> {
    /// The value, if there is a good one.
    pub(super) fn given(self) -> Option<(At, T)> {
        match self {
            Self::Given(at, value) => Some((at, value)),
            Self::Absent | Self::Refused => None,
        }
    }

    /// The value, or `default`. (After `Refused` it does not matter which: there is no `Config`.)
    pub(super) fn or(self, default: T) -> T {
        self.given().map_or(default, |(_, value)| value)
    }
}

/// The good elements of an array; those refused were reported.
pub(super) struct Items<T> {
    pub(super) good: Vec<T>,
    /// Whether there was none to refuse.
    pub(super) complete: bool,
}

struct Slot<'a> {
    key: &'static str,
    line: usize,
    node: &'a Node,
}

/// An object whose keys were matched with those the format knows.
pub(super) struct Section<'a> {
    /// Where the object is.
    pub(super) at: At,
    keys: &'static [&'static str],
    slots: Vec<Slot<'a>>,
}

impl<'a> Section<'a> {
    /// `None`, and an error, if `node` is no object; warnings for its unknown and repeated keys.
    /// `keys` are lower case.
    pub(super) fn open(
        node: &'a Node,
        at: At,
        keys: &'static [&'static str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let at = at.line(node.line);
        let Value::Object(entries) = &node.value else {
            problems.error(at, wrong_type("an object", node));
            return None;
        };
        let mut slots: Vec<Slot<'a>> = Vec::new();
        for entry in entries {
            let here = at.key(&entry.key).line(entry.line);
            let known = keys.iter().find(|key| key.eq_ignore_ascii_case(&entry.key));
            let Some(&key) = known else {
                let nearest = nearest(&entry.key, keys);
                problems.warn(here, ProblemKind::UnknownKey { nearest });
                continue;
            };
            let slot = Slot { key, line: entry.line, node: &entry.node };
            match slots.iter_mut().find(|slot| slot.key == key) {
                Some(before) => {
                    problems.warn(here, ProblemKind::DuplicateKey { first: before.line });
                    *before = slot;
                }
                None => slots.push(slot),
            }
        }
        Some(Self { at, keys, slots })
    }

    /// The node at `key`, `null` being nothing, as in the original's parser.
    pub(super) fn node(&self, key: &'static str) -> Option<(At, &'a Node)> {
        assert!(self.keys.contains(&key), "{key} is not among the keys of this section");
        let slot = self.slots.iter().find(|slot| slot.key == key)?;
        if matches!(slot.node.value, Value::Null) {
            return None;
        }
        Some((self.at.key(key).line(slot.node.line), slot.node))
    }

    fn read<T>(
        &self,
        key: &'static str,
        problems: &mut Problems,
        take: impl FnOnce(&'a Node) -> Result<T, ProblemKind>,
    ) -> Field<T> {
        let Some((at, node)) = self.node(key) else {
            return Field::Absent;
        };
        match take(node) {
            Ok(value) => Field::Given(at, value),
            Err(kind) => {
                problems.error(at, kind);
                Field::Refused
            }
        }
    }

    /// A string.
    pub(super) fn text(&self, key: &'static str, problems: &mut Problems) -> Field<String> {
        self.read(key, problems, text)
    }

    /// One of the words in `known`, as what it stands for.
    pub(super) fn word<T: Copy>(
        &self,
        key: &'static str,
        known: &[(&str, T)],
        problems: &mut Problems,
    ) -> Field<T> {
        self.read(key, problems, |node| pick(&text(node)?, known))
    }

    /// One of the numbers in `known`, as written, as what it stands for.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        known: &[(&str, T)],
        problems: &mut Problems,
    ) -> Field<T> {
        self.read(key, problems, |node| match &node.value {
            Value::Number(number) => pick(number, known),
            _ => Err(wrong_type("a number", node)),
        })
    }

    /// What was read at `key`, which must be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        field: Field<T>,
        problems: &mut Problems,
    ) -> Field<T> {
        match field {
            Field::Absent => {
                problems.error(self.at.key(key), ProblemKind::Missing);
                Field::Refused
            }
            field => field,
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, problems: &mut Problems) -> Field<bool> {
        self.read(key, problems, |node| match node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(wrong_type("a boolean", node)),
        })
    }

    /// A whole number within `range`.
    pub(super) fn whole(
        &self,
        key: &'static str,
        range: RangeInclusive<usize>,
        problems: &mut Problems,
    ) -> Field<usize> {
        self.read(key, problems, |node| match &node.value {
            Value::Number(number) => whole(number, range),
            _ => Err(wrong_type("a number", node)),
        })
    }

    /// A number within `range`, with or without a fraction.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<f64>,
        problems: &mut Problems,
    ) -> Field<f64> {
        self.read(key, problems, |node| match &node.value {
            Value::Number(number) => within(number, &range),
            _ => Err(wrong_type("a number", node)),
        })
    }

    /// Seconds, with or without a fraction; 0 is `None`, and more than `TIMEOUT_MAX` is that many.
    pub(super) fn seconds(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Field<Option<Duration>> {
        let seconds = self.read(key, problems, |node| match &node.value {
            Value::Number(number) => seconds(number),
            _ => Err(wrong_type("a number", node)),
        });
        match seconds {
            Field::Given(at, Some(long)) if long > TIMEOUT_MAX => {
                problems.warn(at.clone(), ProblemKind::LongSeconds);
                Field::Given(at, Some(TIMEOUT_MAX))
            }
            seconds => seconds,
        }
    }

    /// The elements of an array.
    pub(super) fn list(&self, key: &'static str, problems: &mut Problems) -> Field<&'a [Node]> {
        self.read(key, problems, |node| match &node.value {
            Value::List(nodes) => Ok(nodes.as_slice()),
            _ => Err(wrong_type("an array", node)),
        })
    }

    /// An array of objects with these keys, each as `read` takes it.
    pub(super) fn sections<T>(
        &self,
        key: &'static str,
        keys: &'static [&'static str],
        problems: &mut Problems,
        read: impl Fn(&Section<'a>, &mut Problems) -> T,
    ) -> Field<Items<T>> {
        let (at, nodes) = match self.list(key, problems) {
            Field::Given(at, nodes) => (at, nodes),
            Field::Absent => return Field::Absent,
            Field::Refused => return Field::Refused,
        };
        let mut good = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let section = Section::open(node, at.index(index), keys, problems);
            good.extend(section.map(|section| read(&section, problems)));
        }
        let complete = good.len() == nodes.len();
        Field::Given(at, Items { good, complete })
    }

    /// An array of strings, each with its place; every element that is none is reported.
    pub(super) fn texts(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Field<Items<(At, String)>> {
        let (at, nodes) = match self.list(key, problems) {
            Field::Given(at, nodes) => (at, nodes),
            Field::Absent => return Field::Absent,
            Field::Refused => return Field::Refused,
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let here = at.index(index).line(node.line);
            match text(node) {
                Ok(text) => texts.push((here, text)),
                Err(kind) => problems.error(here, kind),
            }
        }
        let complete = texts.len() == nodes.len();
        Field::Given(at, Items { good: texts, complete })
    }
}

/// The complaint that `node` is not `expected`, without its value, which may be a password.
pub(super) fn wrong_type(expected: &'static str, node: &Node) -> ProblemKind {
    ProblemKind::WrongType { expected, found: node.value.type_name() }
}

/// The complaint that a number is outside of a range that it may leave for nothing but 0.
pub(super) fn not_within(found: f64, range: RangeInclusive<f64>) -> ProblemKind {
    let (min, max) = range.into_inner();
    let [found, min, max] = [found, min, max].map(|number| number.to_string());
    ProblemKind::NotWithin { found, min, max }
}

fn text(node: &Node) -> Result<String, ProblemKind> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(wrong_type("a string", node)),
    }
}

fn pick<T: Copy>(word: &str, known: &[(&str, T)]) -> Result<T, ProblemKind> {
    let found = known.iter().find(|(known, _)| *known == word);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|&(word, _)| word).collect();
        ProblemKind::UnknownWord { found: excerpt(word), expected: known.join(", ") }
    })
}

fn whole(number: &str, range: RangeInclusive<usize>) -> Result<usize, ProblemKind> {
    if number.contains(['.', 'e', 'E']) {
        return Err(ProblemKind::NotWhole { found: excerpt(number) });
    }
    // i128 so that -0 is 0 and -1 is out of range rather than no number.
    let value = number.parse::<i128>().ok().and_then(|value| usize::try_from(value).ok());
    value.filter(|value| range.contains(value)).ok_or_else(|| ProblemKind::OutOfRange {
        found: excerpt(number),
        min: *range.start(),
        max: *range.end(),
    })
}

fn within(number: &str, range: &RangeInclusive<f64>) -> Result<f64, ProblemKind> {
    let value = number.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| ProblemKind::NotWithin {
        found: excerpt(number),
        min: range.start().to_string(),
        max: range.end().to_string(),
    })
}

/// Seconds however long: `Duration::MAX` stands for more than it can be.
fn seconds(number: &str) -> Result<Option<Duration>, ProblemKind> {
    let refused = || ProblemKind::TooFewSeconds {
        found: excerpt(number),
        min: TIMEOUT_MIN.as_secs_f64().to_string(),
    };
    if is_zero(number) {
        return Ok(None);
    }
    let value: f64 = number.parse().map_err(|_| refused())?;
    let long = if value > 0.0 { Duration::MAX } else { Duration::ZERO };
    let duration = Duration::try_from_secs_f64(value).unwrap_or(long);
    if duration >= TIMEOUT_MIN { Ok(Some(duration)) } else { Err(refused()) }
}

/// The known key that was probably meant: at most 1, 2 or 3 edits away as the key is longer.
pub(super) fn nearest(key: &str, keys: &[&'static str]) -> Option<&'static str> {
    let key: Vec<char> = key.chars().map(|c| c.to_ascii_lowercase()).collect();
    let edits_max = match key.len() {
        0 => return None,
        1..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    keys.iter()
        .filter(|known| known.len().abs_diff(key.len()) <= edits_max)
        .map(|&known| (edits(&key, known), known))
        .filter(|&(edits, known)| edits <= edits_max && edits < known.len())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, known)| known)
}

/// Levenshtein distance: insertions, deletions and replacements of one character.
fn edits(left: &[char], right: &str) -> usize {
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (index, right) in right.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, &left) in left.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[left.len()]
}

#[cfg(test)]
mod tests;
