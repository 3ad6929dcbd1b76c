//! What is counted of the changes from one upstream to another under the same viewers.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::registry::{counters, gauges};

#[derive(Debug)]
pub(super) struct Families {
    held: IntGaugeVec,
    switches: IntCounterVec,
    expired: IntCounterVec,
    slate: IntGaugeVec,
    slates: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        Families {
            held: gauges(
                r,
                "restreamer_stream_held",
                "Whether the stream's viewers wait for its next upstream (0 or 1).",
                &["stream"],
            ),
            switches: counters(
                r,
                "restreamer_switches_total",
                "Times that a stream went on with another connection for the same viewers, by \
                 where that began: at a random access point, or at a packet.",
                &["stream", "kind"],
            ),
            expired: counters(
                r,
                "restreamer_holds_expired_total",
                "Times that viewers had waited for an upstream for too long, and were let go.",
                &["stream"],
            ),
            slate: gauges(
                r,
                "restreamer_stream_slate",
                "Whether the stream's viewers see its slate (0 or 1).",
                &["stream"],
            ),
            slates: counters(
                r,
                "restreamer_slates_total",
                "Times that the stream's viewers were shown its slate.",
                &["stream"],
            ),
        }
    }

    pub(super) fn of(&self, path: &str) -> Switching {
        let by = |kind: Kind| self.switches.with_label_values(&[path, kind.word()]);
        Switching {
            held: self.held.with_label_values(&[path]),
            switches: Kind::ALL.map(by),
            expired: self.expired.with_label_values(&[path]),
            slate: self.slate.with_label_values(&[path]),
            slates: self.slates.with_label_values(&[path]),
        }
    }
}

/// One stream's part of it.
#[derive(Clone, Debug)]
pub struct Switching {
    held: IntGauge,
    switches: [IntCounter; Kind::ALL.len()],
    expired: IntCounter,
    slate: IntGauge,
    slates: IntCounter,
}

/// Where a stream goes on with another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At a random access point.
    RandomAccess,
    /// At a packet.
    Packet,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::RandomAccess, Kind::Packet];

    /// The metric's label, and the word in the log.
    pub fn word(self) -> &'static str {
        match self {
            Kind::RandomAccess => "random_access",
            Kind::Packet => "packet",
        }
    }
}

impl Switching {
    /// Shows whether viewers wait.
    pub fn held(&self, are: bool) {
        self.held.set(are.into());
    }

    /// Whether viewers wait.
    pub fn is_held(&self) -> bool {
        self.held.get() > 0
    }

    /// Whether viewers see the slate.
    pub fn is_slate_shown(&self) -> bool {
        self.slate.get() > 0
    }

    /// Counts that the stream goes on.
    pub fn switched(&self, kind: Kind) {
        self.switches[kind as usize].inc();
    }

    /// Counts that viewers are let go.
    pub fn expired(&self) {
        self.expired.inc();
    }

    /// Shows whether viewers see the slate, which has just begun or ended.
    pub fn slate(&self, shown: bool) {
        self.slate.set(shown.into());
        self.slates.inc_by(shown.into());
    }
}
