//! What is counted of notifications.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::registry::counters;
use crate::config::NotificationEvent;

/// The label of crossings that are lost before it is known whom they would be told.
const CROSSING: &str = "crossing";

#[derive(Debug)]
pub(super) struct Families {
    total: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        Families {
            total: counters(
                r,
                "restreamer_notifications_total",
                "Notifications by event, and what became of them; a crossing is a limit event \
                lost before its targets were found.",
                &["event", "result"],
            ),
        }
    }

    pub(super) fn of(&self, events: impl IntoIterator<Item = NotificationEvent>) -> NotifyMetrics {
        let metrics = NotifyMetrics { total: self.total.clone() };
        for event in events {
            for result in [NotifyResult::Delivered, NotifyResult::Failed, NotifyResult::Dropped] {
                metrics.counter(event, result);
            }
        }
        metrics
    }
}

/// What has become of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyResult {
    /// The target has taken it.
    Delivered,
    /// It was tried in vain.
    Failed,
    /// It was not tried, or not again: too many wait, or a later one went ahead.
    Dropped,
}

impl NotifyResult {
    fn word(self) -> &'static str {
        match self {
            NotifyResult::Delivered => "delivered",
            NotifyResult::Failed => "failed",
            NotifyResult::Dropped => "dropped",
        }
    }
}

/// The metrics of all notifications.
#[derive(Clone, Debug)]
pub struct NotifyMetrics {
    total: IntCounterVec,
}

impl NotifyMetrics {
    /// Notifications of this event with this result.
    pub fn counter(&self, event: NotificationEvent, result: NotifyResult) -> IntCounter {
        self.total.with_label_values(&[event.word(), result.word()])
    }

    /// Crossings that nobody was told of, because too many wait.
    pub fn crossings_dropped(&self) -> IntCounter {
        self.total.with_label_values(&[CROSSING, NotifyResult::Dropped.word()])
    }
}
