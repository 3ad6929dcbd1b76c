//! What happens when a stream loses its upstream.
//!
//! Owns the shapes and the bounds of `on_loss`, `order` and `return_after`. Driven by `resources`.

use std::time::Duration;

use super::super::problem::{ProblemKind, Problems};
use super::super::section::{Field, Section, wrong_type};
use super::super::tree::Value;
use super::super::{OnLoss, Order};
use crate::limits::{
    HOLD_SECONDS_MAX, HOLD_SECONDS_MIN, RETURN_SECONDS_DEFAULT, RETURN_SECONDS_MAX,
};

/// Reads `on_loss`.
pub(super) fn on_loss(stream: &Section<'_>, problems: &mut Problems) -> Field<OnLoss> {
    const KEY: &str = "on_loss";
    const HOLD: &str = "hold";
    let Some((at, node)) = stream.node(KEY) else { return Field::Absent };
    match &node.value {
        // As other words that are empty.
        Value::Text(word) if word.is_empty() => Field::Absent,
        Value::Text(word) if word == HOLD => Field::Given(at, OnLoss::default()),
        Value::Text(word) if word == "cut" => Field::Given(at, OnLoss::Cut),
        Value::Object(_) => {
            let Some(object) = Section::open(node, at.clone(), &[HOLD], problems) else {
                return Field::Refused;
            };
            let range = HOLD_SECONDS_MIN..=HOLD_SECONDS_MAX;
            let seconds = object.number(HOLD, range, problems);
            match object.required(HOLD, seconds, problems).given() {
                Some((_, seconds)) => {
                    Field::Given(at, OnLoss::Hold(Duration::from_secs_f64(seconds)))
                }
                None => Field::Refused,
            }
        }
        _ => {
            problems.error(at, wrong_type("`hold`, `cut` or an object", node));
            Field::Refused
        }
    }
}

const ORDERS: &[(&str, bool)] = &[("round-robin", false), ("priority", true)];

/// Reads `order` and `return_after`, which belong together.
pub(super) fn order(stream: &Section<'_>, problems: &mut Problems) -> Order {
    const KEY: &str = "return_after";
    // As other words that are empty.
    let no_word = |value: &Value| matches!(value, Value::Text(word) if word.is_empty());
    let is_given = stream.node("order").is_some_and(|(_, node)| !no_word(&node.value));
    let by_preference = is_given && stream.word("order", ORDERS, problems).or(false);
    let after = stream.number(KEY, 0.0..=RETURN_SECONDS_MAX, problems);
    if let Field::Given(at, 0.0..) = &after
        && !by_preference
        && stream.node(KEY).is_some_and(|(_, node)| !node.value.is_empty())
        && stream.node("order").is_none_or(|(at, _)| !problems.refused(&at))
    {
        problems.warn(at.clone(), ProblemKind::NoEffect("without `order` `priority`"));
    }
    if by_preference {
        let seconds = after.or(RETURN_SECONDS_DEFAULT);
        Order::Preference { return_after: Duration::from_secs_f64(seconds) }
    } else {
        Order::Turns
    }
}
