//! The vigil over the connected upstream: is there something to watch in what it sends?
//!
//! Owns nothing but its part of [`Failover`]: it shows the [`Watch`] what has come, tells what that
//! says, and leaves an upstream that has been ill for too long, as one that is silent.
//!
//! [`Watch`]: crate::stream::health::Watch

use std::time::{Duration, Instant};

use slog::{info, o, warn};

use super::{Failover, Link};
use crate::clock::seconds;
use crate::config::{Condition, Health};
use crate::metrics::health::Shown;
use crate::ring::Ring;
use crate::stream::fill::Fill;
use crate::stream::health::Seen;
use crate::ts::pmt::Kind;
use crate::upstream::Loss;

impl Failover {
    /// The same with these times.
    #[must_use]
    pub fn watched(self, health: Health) -> Failover {
        Failover { health, ..self }
    }

    /// Looks at the connected upstream, if that is due. Answers whether it is to be left, which
    /// takes a turn: nothing else does, so that a stream that is silent costs next to nothing.
    pub(super) fn look_if_due(&mut self, now: Instant) -> bool {
        if matches!(&self.link, Link::Connected { watch, .. } if watch.due() <= now) {
            self.look(now);
        }
        self.ill().is_some()
    }

    /// Leaves the connected upstream if it has been ill for too long. Answers whether it did.
    pub(super) fn give_up_ill(&mut self, ring: &mut Ring, now: Instant) -> bool {
        let Link::Connected { fill, watch, .. } = &self.link else { return false };
        // What this turn has brought may be just what was missing.
        let brought = has_come_since(fill, watch.looked());
        if watch.due() <= now || brought && self.ill().is_some() {
            self.look(now);
        }
        let Some((condition, time)) = self.ill() else { return false };
        self.give_up(&Loss::Unhealthy(condition, time), ring, now);
        true
    }

    /// What the connected upstream is to be left for, and how long it has been so.
    fn ill(&self) -> Option<(Condition, Duration)> {
        let Link::Connected { watch, .. } = &self.link else { return None };
        watch.left_for(self.tabled)
    }

    fn look(&mut self, now: Instant) {
        let Link::Connected { upstream, fill, watch, .. } = &mut self.link else { return };
        let changes = watch.look(&seen(fill, watch.looked()), now);
        let upstream = &self.upstreams[*upstream];
        if !changes.is_empty() {
            upstream.metrics.show_health(Shown::Watched(watch.held().collect()));
        }
        self.tabled |= watch.was_well(Condition::NoTables);
        let leave = watch.left_for(self.tabled).map(|(condition, _)| condition);
        for (condition, holds) in changes {
            let (word, label) = (condition.word(), upstream.remote.label());
            // Of the one for which it is left there is a line of its own.
            if holds && leave != Some(condition) {
                let since = watch.since(condition).unwrap_or(now);
                let time = seconds(now.saturating_duration_since(since));
                let said = format!("upstream {label} {condition} for {time} s");
                let more = o!("event" => "ill", "condition" => word, "seconds" => time);
                if self.health.time(condition).is_some() {
                    warn!(upstream.log, "{said}"; more);
                } else {
                    // Nothing follows from it: it may be just how this upstream is.
                    info!(upstream.log, "{said}"; more);
                }
            } else if !holds {
                info!(upstream.log, "upstream {label} is well again ({word})";
                    "event" => "well", "condition" => word);
            }
        }
    }
}

/// Whether something has come since a look. What is read right after one has come at the same
/// instant, that of the worker's round.
fn has_come_since(fill: &Fill, looked: Instant) -> bool {
    fill.last_data() >= looked
}

/// What there is to see, and what has come since the last look.
pub(super) fn seen(fill: &Fill, looked: Instant) -> Seen {
    let data = has_come_since(fill, looked);
    let Some(content) = fill.probe().content() else { return Seen { data, ..Seen::default() } };
    let [clear, scrambled] = content.packets();
    let is_video = |kind| kind == Kind::Video;
    Seen {
        data,
        packets: clear + scrambled,
        vitals: content.vitals(),
        tables: content.tables().programs().iter().any(|program| program.pmt.is_some()),
        video: content.elementary().any(|of| is_video(of.elementary.codec.kind())),
    }
}
