//! Asks the workers whether they still go round, and tells how the node is: the side port, the
//! metrics and the log always, the service manager if there is one.
//!
//! Owns the thread that does so. The node is ready when every loop has answered for the first time,
//! and the watchdog is fed only when all of them have answered again: a worker that is stuck, or a
//! process that is, stays silent, and whoever has set the watchdog acts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Thread, park_timeout};
use std::time::{Duration, Instant};

use restreamer_sys::systemd::{self, Manager, State};
use slog::{Logger, error, info, warn};

use super::crew::Crew;
use crate::limits::{PULSE_INTERVAL, PULSE_INTERVAL_MIN, PULSE_PER_WATCHDOG};
use crate::metrics::UpstreamState;
use crate::metrics::WorkerMetrics;
use crate::resource::Node;
use crate::worker::handoff::Sender;
use crate::worker::pulse::Roll;

/// The thread that asks.
#[derive(Debug)]
pub(super) struct Pulse {
    manager: Arc<Manager>,
    over: Arc<AtomicBool>,
    thread: Thread,
}

/// How often workers are asked.
fn interval(watchdog: Option<Duration>) -> Duration {
    let wanted = watchdog.map_or(PULSE_INTERVAL, |wanted| wanted / PULSE_PER_WATCHDOG);
    wanted.clamp(PULSE_INTERVAL_MIN, PULSE_INTERVAL)
}

/// Whom to tell how we are. One that cannot be told is none: the node serves without it.
pub(super) fn manager(log: &Logger) -> Manager {
    Manager::from_env().unwrap_or_else(|why| {
        warn!(log, "who has started us cannot be told how we are (NOTIFY_SOCKET): {why}";
            "event" => "error", "error" => "notify_socket");
        Manager::nobody()
    })
}

/// The node in a line, for `systemctl status`.
fn status(node: &Node) -> String {
    let streams = node.streams.len();
    let count =
        |state| node.streams.iter().filter(|stream| stream.status.get().state == state).count();
    let connected = count(UpstreamState::Connected);
    let idle = match count(UpstreamState::Idle) {
        0 => String::new(),
        idle => format!(", {idle} idle"),
    };
    let viewers = node.admission.viewers();
    let many = |count, one| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {connected} of them connected{idle}; {}",
        many(streams, "stream"),
        many(viewers, "viewer")
    )
}

impl Pulse {
    /// Starts to ask.
    pub(super) fn start(
        crew: &Crew,
        node: Arc<Node>,
        manager: Manager,
        log: &Logger,
    ) -> io::Result<Pulse> {
        let over = Arc::new(AtomicBool::new(false));
        let manager = Arc::new(manager);
        let (workers, until) = (Arc::clone(&crew.senders), Arc::clone(&over));
        let watchdog = systemd::watchdog();
        let asking = Asking::new(workers, node, Arc::clone(&manager), watchdog, log.clone());
        let thread = Builder::new().name("pulse".into()).spawn(move || asking.run(&until))?;
        Ok(Pulse { manager, over, thread: thread.thread().clone() })
    }

    /// Tells that we are about to end, and nothing any more.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.over.store(true, Ordering::Release);
        self.thread.unpark();
        self.manager.tell(&[State::Stopping, State::Status("stopping")])
    }
}

/// The thread's own.
struct Asking {
    workers: Arc<[Sender]>,
    metrics: Vec<WorkerMetrics>,
    node: Arc<Node>,
    manager: Arc<Manager>,
    watchdog: bool,
    interval: Duration,
    roll: Roll,
    ready: bool,
    /// Telling the manager has failed, and the log says so.
    failing: bool,
    log: Logger,
}

impl Asking {
    fn new(
        workers: Arc<[Sender]>,
        node: Arc<Node>,
        manager: Arc<Manager>,
        watchdog: Option<Duration>,
        log: Logger,
    ) -> Asking {
        let interval = interval(watchdog);
        Asking {
            metrics: (0..workers.len()).map(|number| node.metrics.worker(number)).collect(),
            roll: Roll::new(workers.len(), interval, Instant::now()),
            watchdog: watchdog.is_some(),
            workers,
            node,
            manager,
            interval,
            ready: false,
            failing: false,
            log,
        }
    }

    fn run(mut self, over: &AtomicBool) {
        loop {
            for (number, worker) in self.workers.iter().enumerate() {
                worker.ask_pulse();
                self.roll.asked(number);
            }
            let round_ends = Instant::now() + self.interval;
            let mut told = false;
            // An answer wakes us before the round is over.
            loop {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let now = Instant::now();
                self.look(now);
                if !told && self.roll.is_complete() {
                    self.tell();
                    told = true;
                }
                if now >= round_ends {
                    break;
                }
                park_timeout(round_ends - now);
            }
        }
    }

    fn look(&mut self, now: Instant) {
        self.roll.look(now, |number| self.workers[number].has_answered());
        for (number, metrics) in self.metrics.iter().enumerate() {
            let stuck = self.roll.is_stuck(number);
            metrics.stuck(stuck);
            match (self.node.liveness.note(number, stuck), stuck) {
                (true, true) => error!(self.log, "worker {number} does not answer";
                    "event" => "error", "error" => "stuck", "worker" => number),
                (true, false) => info!(self.log, "worker {number} answers again";
                    "event" => "answers", "worker" => number),
                (false, _) => {}
            }
        }
    }

    /// All is well, and all workers have said so.
    fn tell(&mut self) {
        if !self.manager.listens() {
            return;
        }
        let status = status(&self.node);
        let mut news = vec![State::Status(&status)];
        news.extend((!self.ready).then_some(State::Ready));
        news.extend(self.watchdog.then_some(State::Watchdog));
        match self.manager.tell(&news) {
            Ok(()) => (self.ready, self.failing) = (true, false),
            // It is told again in the next round.
            Err(why) if !self.failing => {
                self.failing = true;
                error!(self.log, "the service manager cannot be told how we are: {why}";
                    "event" => "error", "error" => "notify_socket");
            }
            Err(_as_before) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use mio::Poll;

    use super::*;
    use crate::metrics::Metrics;
    use crate::stream::admission::{Admission, Limits};
    use crate::worker::handoff::{Orders, channel};

    struct House {
        /// What the workers are asked by; they answer when a test says so.
        workers: Vec<(Poll, Orders)>,
        metrics: Arc<Metrics>,
        node: Arc<Node>,
        asking: Asking,
        /// What hears as the service manager does.
        manager: UnixDatagram,
        _dir: tempfile::TempDir,
    }

    fn house(watchdog: Duration) -> House {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let (mut workers, mut senders) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let poll = Poll::new().unwrap();
            let (sender, orders) = channel(poll.registry(), 1).unwrap();
            workers.push((poll, orders));
            senders.push(sender);
        }
        let (metrics, now) = (Metrics::new(), Instant::now());
        let admission = Arc::new(Admission::new(Limits::default(), None));
        let node = Node::new(Arc::clone(&metrics), Vec::new(), admission, 2, now);
        let asking = Asking::new(
            senders.into(),
            Arc::clone(&node),
            Arc::new(Manager::at(path.as_os_str()).unwrap()),
            Some(watchdog),
            crate::log::silent(),
        );
        House { workers, metrics, node, asking, manager, _dir: dir }
    }

    /// What the manager hears next, within so much time.
    fn heard(manager: &UnixDatagram, within: Duration) -> Option<String> {
        let mut buffer = [0; 256];
        manager.set_read_timeout(Some(within)).unwrap();
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[test]
    fn nobody_is_told_that_all_is_well_before_all_workers_have_said_so() {
        const SHORT: Duration = Duration::from_millis(300);
        const LONG: Duration = Duration::from_secs(20);
        let House { workers, asking, manager, .. } = house(Duration::from_millis(60));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| asking.run(&over));
            let [(_, first), (_, second)] = &workers[..] else { panic!("two workers") };
            // What the manager hears while these workers answer whatever they are asked.
            let hear = |answering: &[&Orders], within: Duration| {
                let deadline = Instant::now() + within;
                while Instant::now() < deadline {
                    for orders in answering {
                        orders.pulse.answer();
                    }
                    let news = heard(&manager, Duration::from_millis(5));
                    if news.is_some() {
                        return news;
                    }
                }
                None
            };
            assert_eq!(hear(&[first], SHORT), None, "the second has not answered");
            let status = "STATUS=0 streams, 0 of them connected; 0 viewers\n";
            let ready = hear(&[first, second], LONG);
            assert_eq!(ready, Some(format!("{status}READY=1\nWATCHDOG=1\n")));
            let fed = Some(format!("{status}WATCHDOG=1\n"));
            assert_eq!(hear(&[first, second], LONG), fed, "ready once");
            // The second may have answered one question more.
            hear(&[first], SHORT);
            assert_eq!(hear(&[first], SHORT), None, "the second does not answer");
            assert_eq!(hear(&[first, second], LONG), fed);
            over.store(true, Ordering::Release);
            running.thread().unpark();
        });
    }

    #[test]
    fn a_worker_that_does_not_answer_is_shown_until_it_does() {
        let House { workers, metrics, node, mut asking, .. } = house(PULSE_INTERVAL);
        let told = || {
            let live = node.liveness.get();
            let metrics = metrics.text().unwrap();
            let of = |number| {
                let name = format!("restreamer_worker_stuck{{worker=\"{number}\"}} 1");
                metrics.contains(&name)
            };
            (serde_json::to_string(&live).unwrap(), of(0), of(1))
        };
        let mut now = Instant::now();
        for (number, worker) in asking.workers.iter().enumerate() {
            worker.ask_pulse();
            asking.roll.asked(number);
        }
        workers[0].1.pulse.answer();
        asking.look(now);
        assert_eq!(told(), (r#"{"status":"ok"}"#.into(), false, false));
        for _ in 0..20 {
            now += PULSE_INTERVAL;
            asking.look(now);
        }
        assert_eq!(told(), (r#"{"status":"stuck","workers":[1]}"#.into(), false, true));
        workers[1].1.pulse.answer();
        asking.look(now);
        assert_eq!(told(), (r#"{"status":"ok"}"#.into(), false, false));
    }

    #[test]
    fn workers_are_asked_three_times_while_the_watchdog_waits_and_every_two_seconds_without_one() {
        let seconds = Duration::from_secs_f64;
        for (watchdog, every) in [
            (None, 2.0),
            (Some(20.0), 2.0),
            (Some(3.0), 1.0),
            (Some(0.6), 0.2),
            (Some(0.000_001), 0.01),
        ] {
            assert_eq!(interval(watchdog.map(seconds)), seconds(every), "{watchdog:?}");
        }
    }
}
