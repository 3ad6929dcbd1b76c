//! Tells others, by GET, that the viewers have crossed the soft limit and that the node is alive.
//!
//! Owns a thread that waits for crossings and for the next heartbeat, and one for each target:
//! entries of the configuration with the same address and authorization are one. Never makes
//! anybody wait: whoever tells of a crossing does not, and a target that hangs or fails delays
//! nobody but itself. Started by `boot`, and not at all when there is nobody to tell.
//!
//! A target gets its events in order, each at least once: what it answers too late is told again.
//! Its answer is the status; what comes after its head is not waited for.
//! Events to several addresses of one server keep their order as well, for as long as the server
//! answers. An event is lost when it was tried in vain, when a later one went ahead to the same
//! server meanwhile, or when too many newer ones wait behind it; a heartbeat makes way for
//! everything else.
//!
//! At the node's end `boot` waits for the limit events that the end itself has caused, by the
//! [`Handle`] and for a bounded time: what is not told by then is lost. Heartbeats are not waited
//! for.

mod queue;
mod target;
mod timing;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use slog::{Logger, warn};

use crate::config::{NotificationConfig, NotificationEvent};
use crate::egress::Client;
use crate::metrics::{NotifyMetrics, NotifyResult};
use crate::stream::admission::Crossing;
use target::{Target, Teller};
use timing::Beat;

pub use timing::Timing;

/// What notifications are made of.
#[derive(Debug)]
pub struct Parts {
    /// Whom to tell of what.
    pub notifications: Vec<NotificationConfig>,
    /// From one heartbeat to the next, the first one included; not zero. `None` is never.
    pub heartbeat: Option<Duration>,
    /// Crossings of the soft limit. Everything ends when nobody can send any more.
    pub crossings: Receiver<Crossing>,
    /// Who asks.
    pub client: Client,
    /// Where it is counted.
    pub metrics: NotifyMetrics,
    /// How patient it is.
    pub timing: Timing,
    /// Where failures, and limit events that were told, are logged; of heartbeats the first failure
    /// of a row, and the end of it.
    pub log: Logger,
}

/// By which the end of the notifications is waited for.
#[derive(Debug)]
pub struct Handle {
    targets: Vec<Target>,
}

impl Handle {
    /// Waits until all crossings are told, or given up, but not longer than this; answers whether
    /// they are. Nobody must be able to send another one.
    pub fn finish(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.targets.iter().all(|target| target.await_told(deadline))
    }
}

/// Starts the threads. Fails when one cannot be started.
pub fn start(parts: Parts) -> io::Result<Handle> {
    let targets = target::group(parts.notifications, parts.timing.order);
    for (number, target) in targets.iter().enumerate() {
        let teller = Teller {
            target: target.clone(),
            client: parts.client.clone(),
            metrics: parts.metrics.clone(),
            timing: parts.timing,
            log: parts.log.clone(),
            beats_fail: Cell::new(false),
        };
        thread::Builder::new().name(format!("notify-{number}")).spawn(move || teller.run())?;
    }
    let handle = Handle { targets: targets.clone() };
    let dispatcher = Dispatcher {
        outlets: targets.into_iter().map(|target| Outlet { target, overflows: false }).collect(),
        crossings: parts.crossings,
        beat: parts.heartbeat.map(|interval| Beat::new(interval, Instant::now())),
        events: 0,
        metrics: parts.metrics,
        log: parts.log,
    };
    thread::Builder::new().name("notify".into()).spawn(move || dispatcher.run())?;
    Ok(handle)
}

/// Puts each event into the queues of those who want it.
struct Dispatcher {
    outlets: Vec<Outlet>,
    crossings: Receiver<Crossing>,
    beat: Option<Beat>,
    /// Events so far: their numbers are their order.
    events: u64,
    metrics: NotifyMetrics,
    log: Logger,
}

struct Outlet {
    target: Target,
    /// Whether the last limit event pushed one out: only the first of a row is complained about.
    overflows: bool,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            match self.next_crossing() {
                Ok(Crossing::Hit) => self.announce(NotificationEvent::LimitHit),
                Ok(Crossing::Miss) => self.announce(NotificationEvent::LimitMiss),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.beat.as_mut().is_some_and(|beat| beat.strikes(Instant::now())) {
                self.announce(NotificationEvent::Heartbeat);
            }
        }
        for outlet in &self.outlets {
            outlet.target.close();
        }
    }

    /// Waits for a crossing, or for the next heartbeat.
    fn next_crossing(&self) -> Result<Crossing, RecvTimeoutError> {
        match &self.beat {
            Some(beat) => self.crossings.recv_timeout(beat.remaining(Instant::now())),
            None => self.crossings.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn announce(&mut self, event: NotificationEvent) {
        self.events += 1;
        for Outlet { target, overflows } in &mut self.outlets {
            if target.times(event) == 0 {
                continue;
            }
            let dropped = target.offer(self.events, event);
            if let Some(lost) = dropped {
                let times = target.times(lost) as u64;
                self.metrics.counter(lost, NotifyResult::Dropped).inc_by(times);
            }
            if event == NotificationEvent::Heartbeat {
                continue;
            }
            // A heartbeat that makes way is no loss: that its target is down was said already.
            let lost = dropped.filter(|&lost| lost != NotificationEvent::Heartbeat);
            if let Some(lost) = lost
                && !*overflows
            {
                warn!(self.log, "{}: {} is not told, because others wait", target.label(),
                    lost.word();
                    "event" => "error", "error" => "notify", "target" => target.label(),
                    "notification" => lost.word());
            }
            *overflows = lost.is_some();
        }
    }
}
