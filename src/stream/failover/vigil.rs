//! The vigil over the connected upstream: is there something to watch in what it sends?
//!
//! Owns nothing but its part of [`Failover`]: it shows the [`Watch`] what has come, tells what that
//! says, and leaves an upstream that has been ill for too long, as one that is silent.
//!
//! [`Watch`]: crate::stream::health::Watch

use std::time::Instant;

use slog::{info, warn};

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

    /// Looks at the connected upstream, if that is due, and leaves one that has been ill for too
    /// long. Answers whether it did.
    pub(super) fn give_up_ill(&mut self, ring: &mut Ring, now: Instant) -> bool {
        let Link::Connected { upstream, fill, watch, .. } = &mut self.link else { return false };
        if watch.due() > now {
            return false;
        }
        let changes = watch.look(&seen(fill, watch.looked()), now);
        let upstream = &self.upstreams[*upstream];
        if !changes.is_empty() {
            upstream.metrics.show_health(Shown::Watched(watch.held().collect()));
        }
        self.tabled |= watch.was_well(Condition::NoTables);
        let leave = watch.left_for(self.tabled);
        for (condition, holds) in changes {
            let (word, label) = (condition.word(), upstream.remote.label());
            if holds && leave.is_none_or(|(of, _)| of != condition) {
                let since = watch.since(condition).unwrap_or(now);
                let time = seconds(now.saturating_duration_since(since));
                warn!(upstream.log, "upstream {label} {condition} for {time} s";
                    "event" => "ill", "condition" => word, "seconds" => time);
            } else if !holds {
                info!(upstream.log, "upstream {label} is well again ({word})";
                    "event" => "well", "condition" => word);
            }
        }
        let Some((condition, time)) = leave else { return false };
        self.give_up(&Loss::Unhealthy(condition, time), ring, now);
        true
    }
}

/// What there is to see, and what has come since the last look.
fn seen(fill: &Fill, looked: Instant) -> Seen {
    let data = fill.last_data() > looked;
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
