//! For how long something may be wrong with an upstream.
//!
//! Owns the keys and the bounds of `health`. Driven by `resources`.

use std::time::Duration;

use super::super::problem::Problems;
use super::super::section::{Field, Section, not_within, wrong_type};
use super::super::tree::Value;
use super::super::{Condition, Health};
use crate::limits::{HEALTH_BITRATE_MAX, HEALTH_SECONDS_MAX, HEALTH_SECONDS_MIN};

/// Those that have nothing but a time.
const TIMED: [Condition; 5] = [
    Condition::NoData,
    Condition::NoSync,
    Condition::NoTables,
    Condition::NoVideo,
    Condition::Scrambled,
];
const KEYS: &[&str] = &["no_data", "no_sync", "no_tables", "no_video", "scrambled", "bitrate"];
const BITRATE_KEYS: &[&str] = &["below", "for"];

/// What was said of `health`; the rest is as the number of upstreams has it.
pub(in crate::config) struct Asked {
    /// By [`Condition::index`]; `None` is for ever.
    times: [Field<Option<Duration>>; KEYS.len()],
    floor: Option<u64>,
}

impl Asked {
    /// With the defaults of a stream with so many upstreams, and a slate or none.
    pub(in crate::config) fn complete(self, upstreams: usize, slate: bool) -> Health {
        let health = Health::of_upstreams(upstreams);
        let mut health = if slate { health.with_slate() } else { health };
        health.floor = self.floor;
        health.tables_asked = !matches!(self.times[Condition::NoTables.index()], Field::Absent);
        for (time, asked) in health.times.iter_mut().zip(self.times) {
            *time = asked.or(*time);
        }
        health
    }
}

/// Reads `health`.
pub(super) fn health(stream: &Section<'_>, problems: &mut Problems) -> Asked {
    let mut asked = Asked { times: std::array::from_fn(|_| Field::Absent), floor: None };
    let Some((at, node)) = stream.node("health") else { return asked };
    let Some(section) = Section::open(node, at, KEYS, problems) else { return asked };
    for condition in TIMED {
        asked.times[condition.index()] = time(&section, condition.word(), problems);
    }
    if let Some((floor, time)) = bitrate(&section, problems) {
        asked.floor = Some(floor);
        asked.times[Condition::Bitrate.index()] = time;
    }
    asked
}

/// Seconds; false and 0 are for ever, as in `pacing`.
fn time(
    section: &Section<'_>,
    key: &'static str,
    problems: &mut Problems,
) -> Field<Option<Duration>> {
    let Some((at, node)) = section.node(key) else { return Field::Absent };
    match &node.value {
        Value::Flag(false) => Field::Given(at, None),
        Value::Number(_) => match section.number(key, 0.0..=HEALTH_SECONDS_MAX, problems) {
            Field::Given(at, 0.0) => Field::Given(at, None),
            Field::Given(at, seconds) if seconds < HEALTH_SECONDS_MIN => {
                let range = HEALTH_SECONDS_MIN..=HEALTH_SECONDS_MAX;
                problems.error(at, not_within(seconds, range));
                Field::Refused
            }
            Field::Given(at, seconds) => Field::Given(at, Some(Duration::from_secs_f64(seconds))),
            Field::Absent | Field::Refused => Field::Refused,
        },
        _ => {
            problems.error(at, wrong_type("a number or false", node));
            Field::Refused
        }
    }
}

/// A floor and how long less than it may come; without a time that is shown and no more.
fn bitrate(
    section: &Section<'_>,
    problems: &mut Problems,
) -> Option<(u64, Field<Option<Duration>>)> {
    const KEY: &str = "bitrate";
    let (at, node) = section.node(KEY)?;
    if matches!(node.value, Value::Flag(false)) {
        return None;
    }
    let Value::Object(_) = node.value else {
        problems.error(at, wrong_type("an object or false", node));
        return None;
    };
    let object = Section::open(node, at, BITRATE_KEYS, problems)?;
    let below = object.whole("below", 1..=HEALTH_BITRATE_MAX, problems);
    let below: Field<usize> = object.required("below", below, problems);
    let time = time(&object, "for", problems);
    below.given().map(|(_, below)| (below as u64, time))
}
