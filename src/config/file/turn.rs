//! The period of turns, in one of its three shapes.
//!
//! Owns the shapes and the bounds of `turn`. Never judges whether the bounds that a file gives fit
//! together. Driven by `file`.

use super::super::problem::Problems;
use super::super::section::{Field, Section, wrong_type};
use super::super::tree::{Node, Value};
use crate::limits::TURN_MILLISECONDS_MAX;

const TURN_KEYS: &[&str] = &["min", "max"];

/// What stands at `turn`, in milliseconds.
pub(in crate::config) enum Turn {
    /// The word `adaptive`, nothing, or something that was refused.
    Adaptive,
    /// A number.
    Fixed(usize),
    /// An object.
    Between {
        /// Its `min`.
        min: Field<usize>,
        /// Its `max`.
        max: Field<usize>,
    },
}

/// Reads `turn`.
pub(super) fn turn(file: &Section<'_>, problems: &mut Problems) -> Turn {
    const KEY: &str = "turn";
    let range = 1..=TURN_MILLISECONDS_MAX;
    let Some((at, node)) = file.node(KEY) else { return Turn::Adaptive };
    match &node.value {
        Value::Number(_) => {
            let fixed = file.whole(KEY, range, problems).given();
            fixed.map_or(Turn::Adaptive, |(_, milliseconds)| Turn::Fixed(milliseconds))
        }
        Value::Object(_) => {
            let Some(turn) = Section::open(node, at, TURN_KEYS, problems) else {
                return Turn::Adaptive;
            };
            let min = turn.whole("min", range.clone(), problems);
            let max = turn.whole("max", range, problems);
            Turn::Between { min, max }
        }
        _ if is_adaptive(node) => Turn::Adaptive,
        _ => {
            problems.error(at, wrong_type("a number, an object or `adaptive`", node));
            Turn::Adaptive
        }
    }
}

fn is_adaptive(node: &Node) -> bool {
    matches!(&node.value, Value::Text(word) if word == "adaptive")
}
