//! What a stream tells of itself after each turn.

use std::time::Instant;

use super::Stream;
use crate::clock::earlier;
use crate::metrics::stream::StreamGauges;
use crate::viewer::State;

impl Stream {
    /// Bytes sent to viewers since this was asked last, up to the last turn.
    pub fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Adds up the time of the viewers there have been since the last time.
    pub(super) fn count_time(&mut self, now: Instant) {
        let viewers = u32::try_from(self.viewers()).unwrap_or(u32::MAX);
        self.counts.duration += now.saturating_duration_since(self.counted) * viewers;
        self.counted = now;
    }

    pub(super) fn publish(&mut self, now: Instant) {
        self.count_time(now);
        let mut gauges = StreamGauges {
            live: self.members.live(),
            waiting: self.lobby_len(),
            lag_limit: self.limit.bytes(),
            ring: self.ring.bytes(),
            ..StreamGauges::default()
        };
        self.ending = None;
        for viewer in self.members.waiting() {
            let position = match &viewer.state {
                State::Live(_) => unreachable!("who is live does not wait"),
                State::CatchingUp(state) => {
                    gauges.catching_up += 1;
                    state.position()
                }
                State::Ending(state) => {
                    gauges.ending += 1;
                    self.ending = earlier(self.ending, Some(state.deadline()));
                    state.position()
                }
            };
            gauges.lag = gauges.lag.max(self.ring.head().since(position));
        }
        for feed in &self.feeds {
            gauges.lag = gauges.lag.max(feed.lag(self.ring.head()));
        }
        if gauges.catching_up + gauges.ending > 0 {
            self.check_soon(now);
        }
        self.sent += self.counts.live_bytes + self.counts.catching_up_bytes;
        self.metrics.count(&mut self.counts);
        // With many small streams this is a good part of what a turn costs beside its calls.
        if gauges != self.shown {
            self.metrics.show(&self.shown, &gauges);
            self.shown = gauges;
        }
        self.source.publish();
    }
}
