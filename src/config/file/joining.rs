//! Where a new viewer of a stream begins and where a slow one goes on, each in one of its shapes,
//! and what goes with that.
//!
//! Owns the shapes and the bounds of `join`, `history`, `slow` and `pacing`. Driven by `resources`.

use std::time::Duration;

use super::super::problem::Problems;
use super::super::section::{Field, Section, not_within, wrong_type};
use super::super::tree::Value;
use super::super::{Join, Keep, Slow};
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_SECONDS_MAX, HISTORY_SECONDS_MIN, PACING_MAX, PACING_MIN,
};

/// Reads `join`.
pub(super) fn join(stream: &Section<'_>, problems: &mut Problems) -> Field<Join> {
    const KEY: &str = "join";
    let Some((at, node)) = stream.node(KEY) else { return Field::Absent };
    match &node.value {
        // As other words that are empty.
        Value::Text(word) if word.is_empty() => Field::Absent,
        Value::Text(word) if word == "random_access" => Field::Given(at, Join::RandomAccess),
        Value::Text(word) if word == "live" => Field::Given(at, Join::Live),
        Value::Object(_) => match seconds(stream, KEY, problems) {
            Some(ago) => Field::Given(at, Join::Seconds(ago)),
            None => Field::Refused,
        },
        _ => {
            problems.error(at, wrong_type("`random_access`, `live` or an object", node));
            Field::Refused
        }
    }
}

/// Reads `history`.
pub(super) fn history(stream: &Section<'_>, problems: &mut Problems) -> Field<Keep> {
    const KEY: &str = "history";
    let Some((at, node)) = stream.node(KEY) else { return Field::Absent };
    match &node.value {
        Value::Number(_) => match stream.whole(KEY, 0..=HISTORY_BYTES_MAX, problems) {
            Field::Given(at, bytes) => Field::Given(at, Keep::Bytes(bytes)),
            Field::Absent | Field::Refused => Field::Refused,
        },
        Value::Object(_) => match seconds(stream, KEY, problems) {
            Some(time) => Field::Given(at, Keep::Seconds(time)),
            None => Field::Refused,
        },
        _ => {
            problems.error(at, wrong_type("a number or an object", node));
            Field::Refused
        }
    }
}

/// Reads `slow`.
pub(super) fn slow(stream: &Section<'_>, problems: &mut Problems) -> Field<Slow> {
    let Some((at, node)) = stream.node("slow") else { return Field::Absent };
    match &node.value {
        Value::Text(word) if word.is_empty() => Field::Absent,
        Value::Text(word) if word == "random_access" => Field::Given(at, Slow::RandomAccess),
        Value::Text(word) if word == "packets" => Field::Given(at, Slow::Packets),
        Value::Text(word) if word == "disconnect" => Field::Given(at, Slow::Disconnect),
        _ => {
            let words = "`random_access`, `packets` or `disconnect`";
            problems.error(at, wrong_type(words, node));
            Field::Refused
        }
    }
}

/// Reads `pacing`, as percent.
pub(super) fn pacing(stream: &Section<'_>, problems: &mut Problems) -> Field<Option<u32>> {
    const KEY: &str = "pacing";
    let Some((at, node)) = stream.node(KEY) else { return Field::Absent };
    match &node.value {
        Value::Flag(false) => Field::Given(at, None),
        Value::Number(_) => match stream.number(KEY, 0.0..=PACING_MAX, problems) {
            Field::Given(at, 0.0) => Field::Given(at, None),
            Field::Given(at, times) if times < PACING_MIN => {
                problems.error(at, not_within(times, PACING_MIN..=PACING_MAX));
                Field::Refused
            }
            Field::Given(at, times) => Field::Given(at, Some(percent(times))),
            Field::Absent | Field::Refused => Field::Refused,
        },
        _ => {
            problems.error(at, wrong_type("a number or false", node));
            Field::Refused
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
fn percent(times: f64) -> u32 {
    (times * 100.0).round() as u32
}

/// The only member of the object at `key`.
fn seconds(stream: &Section<'_>, key: &'static str, problems: &mut Problems) -> Option<Duration> {
    const KEY: &str = "seconds";
    let (at, node) = stream.node(key)?;
    let object = Section::open(node, at, &[KEY], problems)?;
    let range = HISTORY_SECONDS_MIN..=HISTORY_SECONDS_MAX;
    let number = object.required(KEY, object.number(KEY, range, problems), problems);
    number.given().map(|(_, seconds)| Duration::from_secs_f64(seconds))
}
