//! The door's section.
//!
//! Owns the keys of `door` and the bounds of their values. Never judges whether its lists
//! contradict each other. Driven by `file`.

use super::super::problem::{At, Problems};
use super::super::section::{Field, Items, Section};
use super::users::{self, Login};
use crate::limits::{DOOR_BURST_MAX, DOOR_PER_SECOND_MAX, DOOR_PER_SECOND_MIN};

const DOOR_KEYS: &[&str] =
    &["deny", "allow", "rate", "source", "required", "steer", "state", "authentication"];
const RATE_KEYS: &[&str] = &["per_second", "burst"];
const SOURCE_KEYS: &[&str] = &["v4", "v6"];

/// What stands at `door`.
pub(in crate::config) struct Door {
    pub(in crate::config) deny: Field<Items<(At, String)>>,
    pub(in crate::config) allow: Field<Items<(At, String)>>,
    pub(in crate::config) rate: Option<Rate>,
    pub(in crate::config) source_v4: Field<usize>,
    pub(in crate::config) source_v6: Field<usize>,
    pub(in crate::config) required: Field<bool>,
    pub(in crate::config) steer: Field<bool>,
    pub(in crate::config) state: Field<String>,
    pub(in crate::config) login: Field<Login>,
}

/// What stands at its `rate`.
pub(in crate::config) struct Rate {
    /// Given or refused.
    pub(in crate::config) per_second: Field<f64>,
    pub(in crate::config) burst: Field<usize>,
}

/// Reads `door`; `None` when there is none, or it is no object.
pub(super) fn door(file: &Section<'_>, problems: &mut Problems) -> Option<Door> {
    let door = inner(file, "door", DOOR_KEYS, problems)?;
    let source = inner(&door, "source", SOURCE_KEYS, problems);
    let mut bits = |key, most| {
        source.as_ref().map_or(Field::Absent, |source| source.whole(key, 1..=most, problems))
    };
    let (source_v4, source_v6) = (bits("v4", 32), bits("v6", 128));
    Some(Door {
        deny: door.texts("deny", problems),
        allow: door.texts("allow", problems),
        rate: inner(&door, "rate", RATE_KEYS, problems).map(|rate| self::rate(&rate, problems)),
        source_v4,
        source_v6,
        required: door.flag("required", problems),
        steer: door.flag("steer", problems),
        state: door.text("state", problems),
        login: users::login(&door, problems),
    })
}

fn rate(rate: &Section<'_>, problems: &mut Problems) -> Rate {
    let per_second = rate.number("per_second", DOOR_PER_SECOND_MIN..=DOOR_PER_SECOND_MAX, problems);
    Rate {
        per_second: rate.required("per_second", per_second, problems),
        burst: rate.whole("burst", 1..=DOOR_BURST_MAX, problems),
    }
}

/// The object at `key`.
fn inner<'a>(
    section: &Section<'a>,
    key: &'static str,
    keys: &'static [&'static str],
    problems: &mut Problems,
) -> Option<Section<'a>> {
    let (at, node) = section.node(key)?;
    Section::open(node, at, keys, problems)
}
