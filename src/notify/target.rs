//! Who is told, and the thread that tells one of them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use url::Origin;

use super::queue::{Queues, Taken};
use super::timing::Timing;
use crate::config::{NotificationConfig, NotificationEvent, Secret, WebAddress, mask_passwords};
use crate::egress::{Client, FetchError};
use crate::metrics::{NotifyMetrics, NotifyResult};

/// One address that is told of events.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: WebAddress,
    authorization: Option<Secret>,
    /// What it is told of; twice, if the configuration says it twice.
    events: Vec<NotificationEvent>,
    /// The queues of its server, of which it has this one.
    queues: Arc<Queues>,
    number: usize,
}

impl Target {
    /// The address, without its password.
    pub(super) fn label(&self) -> &str {
        &self.address.label
    }

    /// How many times it is told of such an event.
    pub(super) fn times(&self, event: NotificationEvent) -> usize {
        self.events.iter().filter(|&&wanted| wanted == event).count()
    }

    /// Queues an event; answers what is dropped for want of room: it or one before it.
    pub(super) fn offer(&self, number: u64, event: NotificationEvent) -> Option<NotificationEvent> {
        self.queues.offer(self.number, number, event)
    }

    /// Waits until nothing comes any more and all limit events of its server are done with, but not
    /// longer than until then; answers whether it is so.
    pub(super) fn await_told(&self, deadline: Instant) -> bool {
        self.queues.await_told(deadline)
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.queues.close();
    }
}

/// The targets: one for each address and authorization.
pub(super) fn group(notifications: Vec<NotificationConfig>, patience: Duration) -> Vec<Target> {
    let mut groups: Vec<(NotificationConfig, Vec<NotificationEvent>)> = Vec::new();
    for one in notifications {
        let same = |other: &NotificationConfig| {
            (&other.target.url, &other.authorization) == (&one.target.url, &one.authorization)
        };
        match groups.iter_mut().find(|(other, _)| same(other)) {
            Some((_, events)) => events.push(one.event),
            None => groups.push((one.clone(), vec![one.event])),
        }
    }
    let mut servers: HashMap<Origin, usize> = HashMap::new();
    for (one, _) in &groups {
        *servers.entry(one.target.url.origin()).or_default() += 1;
    }
    let mut servers: HashMap<_, _> = servers
        .into_iter()
        .map(|(server, targets)| (server, (Arc::new(Queues::new(targets, patience)), 0..targets)))
        .collect();
    let target = |(one, events): (NotificationConfig, _)| {
        let (queues, numbers) =
            servers.get_mut(&one.target.url.origin()).expect("every server is there");
        Target {
            address: one.target,
            authorization: one.authorization,
            events,
            queues: Arc::clone(queues),
            number: numbers.next().expect("every target is counted"),
        }
    };
    groups.into_iter().map(target).collect()
}

/// Tells one target of its events, one after the other.
pub(super) struct Teller {
    pub(super) target: Target,
    pub(super) client: Client,
    pub(super) metrics: NotifyMetrics,
    pub(super) timing: Timing,
    pub(super) log: Logger,
    /// Whether the last heartbeat failed: only the first failure of a row is complained about.
    pub(super) beats_fail: Cell<bool>,
}

/// Why a target has not taken an event. The text goes on from the address.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It says no.
    #[error("answered {0}, expected 200 to 399")]
    Status(u16),
    /// It does not say anything.
    #[error(transparent)]
    NoAnswer(#[from] FetchError),
}

impl Failure {
    /// Whether another try may help.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Status(status) => *status == 429 || *status >= 500,
            Failure::NoAnswer(_) => true,
        }
    }
}

fn judge(answer: Result<u16, FetchError>) -> Result<(), Failure> {
    match answer? {
        200..400 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

impl Teller {
    /// Tells until nothing comes any more.
    pub(super) fn run(self) {
        let Target { queues, number, .. } = &self.target;
        while let Some(taken) = queues.take(*number) {
            match taken {
                Taken::ToTell(event) => {
                    let mut result = NotifyResult::Delivered;
                    for _ in 0..self.target.times(event) {
                        if result != NotifyResult::Dropped {
                            result = self.tell(event);
                        }
                        self.metrics.counter(event, result).inc();
                    }
                    queues.finish(*number, result == NotifyResult::Delivered);
                }
                Taken::Overtaken(event) => {
                    self.overtaken(event);
                    let times = self.target.times(event) as u64;
                    self.metrics.counter(event, NotifyResult::Dropped).inc_by(times);
                }
            }
        }
    }

    /// Tells of one event, again and again if need be.
    fn tell(&self, event: NotificationEvent) -> NotifyResult {
        let Target { address, authorization, queues, number, .. } = &self.target;
        let mut tries = 0;
        loop {
            tries += 1;
            let timeout = self.timing.timeout;
            let answer = self.client.status(&address.url, authorization.as_ref(), timeout);
            let Err(failure) = judge(answer) else {
                self.succeeded(event, tries);
                return NotifyResult::Delivered;
            };
            self.failed(event, tries, &failure);
            if !failure.may_pass() || tries >= self.timing.tries {
                return NotifyResult::Failed;
            }
            if queues.pause(*number, self.timing.pause(tries, fastrand::f64())) {
                continue;
            }
            // A heartbeat gives way to anything, and was tried in vain.
            if event == NotificationEvent::Heartbeat {
                return NotifyResult::Failed;
            }
            self.overtaken(event);
            return NotifyResult::Dropped;
        }
    }

    fn overtaken(&self, event: NotificationEvent) {
        warn!(self.log, "{}: {} is not told any more, because a later event was",
            self.target.label(), event.word();
            "event" => "error", "error" => "notify", "target" => self.target.label(),
            "notification" => event.word());
    }

    fn succeeded(&self, event: NotificationEvent, tries: u32) {
        let heartbeat = event == NotificationEvent::Heartbeat;
        if heartbeat && !self.beats_fail.replace(false) {
            return;
        }
        let again = if heartbeat { " again" } else { "" };
        info!(self.log, "{} is told of {}{again}", self.target.label(), event.word();
            "event" => "notified", "target" => self.target.label(),
            "notification" => event.word(), "try" => tries);
    }

    fn failed(&self, event: NotificationEvent, tries: u32, failure: &Failure) {
        if event == NotificationEvent::Heartbeat && self.beats_fail.replace(true) {
            return;
        }
        // Whatever a library's error quotes.
        let why = mask_passwords(&failure.to_string());
        warn!(self.log, "{} {why}: {}, try {tries} of {}", self.target.label(), event.word(),
            self.timing.tries;
            "event" => "error", "error" => "notify", "target" => self.target.label(),
            "notification" => event.word(), "try" => tries);
    }
}
