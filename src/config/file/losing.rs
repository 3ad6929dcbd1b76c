//! What happens when a stream loses its upstream.
//!
//! Owns the shapes and the bounds of `on_loss`. Driven by `resources`.

use std::time::Duration;

use super::super::OnLoss;
use super::super::problem::Problems;
use super::super::section::{Field, Section, wrong_type};
use super::super::tree::Value;
use crate::limits::{HOLD_SECONDS_MAX, HOLD_SECONDS_MIN};

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
