//! A multicast group from which nothing comes is joined again.
//!
//! Owns the thread that does it: the kernel may take its time. Driven by [`super::Failover`].

use std::os::fd::AsFd;
use std::time::Instant;

use restreamer_sys::cpu;
use slog::{info, warn};

use super::{Failover, Link};
use crate::limits::DIAL_STACK_BYTES;
use crate::stream::fill::Rejoin;

impl Failover {
    /// Joins the connected upstream's group again, if it has been silent for long enough.
    pub(super) fn rejoin_if_due(&mut self, now: Instant) {
        let Link::Connected { upstream, fill, .. } = &mut self.link else { return };
        let Some(Rejoin { membership, socket, first }) = fill.rejoin_due(now) else { return };
        let upstream = &self.upstreams[*upstream];
        let log = upstream.log.clone();
        upstream.metrics.rejoined();
        if first {
            info!(log, "nothing comes, the group is joined again"; "event" => "rejoin");
        }
        let rejoin = move || {
            cpu::roam();
            if let Err(why) = membership.renew(socket.as_fd())
                && first
            {
                warn!(log, "the group cannot be joined again: {why}";
                    "event" => "error", "error" => "rejoin");
            }
        };
        // Without a thread there will be another silence.
        let _none = std::thread::Builder::new().stack_size(DIAL_STACK_BYTES).spawn(rejoin);
    }
}
