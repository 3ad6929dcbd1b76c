//! When a stream's upstream is connected.
//!
//! Owns the bounds of `on_demand`, `linger` and `start_timeout`. Driven by `resources`.

use std::time::Duration;

use super::super::OnDemand;
use super::super::problem::{ProblemKind, Problems};
use super::super::section::{Field, Section};
use super::super::tree::{Node, Value};
use crate::limits::{
    LINGER_DEFAULT, LINGER_SECONDS_MAX, START_SECONDS_MAX, START_SECONDS_MIN, START_TIMEOUT_DEFAULT,
};

const LINGER: &str = "linger";
const START_TIMEOUT: &str = "start_timeout";

/// Reads `on_demand` and what goes with it; given only if it is `true`.
pub(super) fn on_demand(stream: &Section<'_>, problems: &mut Problems) -> Field<OnDemand> {
    let mut seconds = |key, least, most, default| {
        let number = stream.number(key, least..=most, problems).given();
        number.map_or(default, |(_, seconds)| Duration::from_secs_f64(seconds))
    };
    let of = OnDemand {
        linger: seconds(LINGER, 0.0, LINGER_SECONDS_MAX, LINGER_DEFAULT),
        start_timeout: seconds(
            START_TIMEOUT,
            START_SECONDS_MIN,
            START_SECONDS_MAX,
            START_TIMEOUT_DEFAULT,
        ),
    };
    match stream.flag("on_demand", problems) {
        Field::Given(at, true) => Field::Given(at, of),
        Field::Given(_, false) | Field::Absent => Field::Absent,
        Field::Refused => Field::Refused,
    }
}

/// Warns of times of a stream that is connected always.
pub(super) fn idle(stream: &Section<'_>, problems: &mut Problems) {
    // What else may stand there was complained about.
    let is_false = |node: &Node| matches!(node.value, Value::Flag(false));
    let always = stream.node("on_demand").is_none_or(|(_, node)| is_false(node));
    for key in [LINGER, START_TIMEOUT] {
        let given = |(_, node): &(_, &Node)| always && !node.value.is_empty();
        if let Some((at, _)) = stream.node(key).filter(given)
            && !problems.refused(&at)
        {
            problems.warn(at, ProblemKind::NoEffect("without `on_demand`"));
        }
    }
}
