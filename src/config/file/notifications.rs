//! Whom to notify.
//!
//! Owns the keys of `notifications`. Never judges what belongs together. Driven by `file`. No
//! `Debug` here: URLs hold passwords.

use super::super::NotificationEvent;
use super::super::problem::Problems;
use super::super::section::{Field, Items, Section};
use super::users::{self, Login};

const NOTIFICATION_KEYS: &[&str] = &["event", "type", "url", "authentication"];

const EVENTS: &[(&str, NotificationEvent)] = &[
    ("limit_hit", NotificationEvent::LimitHit),
    ("limit_miss", NotificationEvent::LimitMiss),
    ("heartbeat", NotificationEvent::Heartbeat),
];

const TYPES: &[(&str, ())] = &[("url", ())];

/// One element of `notifications`; all but `login` are given or refused.
pub(in crate::config) struct Notification {
    pub(in crate::config) event: Field<NotificationEvent>,
    pub(in crate::config) url: Field<String>,
    pub(in crate::config) login: Field<Login>,
}

pub(super) fn notifications(
    file: &Section<'_>,
    problems: &mut Problems,
) -> Field<Items<Notification>> {
    file.sections("notifications", NOTIFICATION_KEYS, problems, |section, problems| {
        section.required("type", section.word("type", TYPES, problems), problems);
        Notification {
            event: section.required("event", section.word("event", EVENTS, problems), problems),
            url: section.required("url", section.text("url", problems), problems),
            login: users::login(section, problems),
        }
    })
}
