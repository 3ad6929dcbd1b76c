//! From a configuration to a running node, and to its end.
//!
//! Owns the order of things: signals are blocked before the first thread, addresses resolved and
//! bound before anybody is told that we run, what is not needed after that is given up before the
//! first thread is started, and at the end viewers go before their upstreams, and
//! those who are notified of limits learn that they have gone.
//! Driven by `main`.

mod confine;
mod crew;
mod door;
mod listen;
mod pulse;
mod resources;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use restreamer_sys::signal::{Signal, Signals};
use slog::{Logger, crit, error, info, o, warn};

use crate::config::Config;
use crate::door::{DoorError, Keeper};
use crate::egress::{Client, Egress, Proxies, Trust, TrustError};
use crate::limits::{
    DATAGRAM_BUFFER_BYTES_MIN, DRAIN_TIMEOUT, LOG_FLUSH_TIMEOUT, NOTIFY_CROSSINGS_MAX, PACKET_BYTES,
};
use crate::log::access::{self, AccessLog};
use crate::log::{self, LogHandle, Target};
use crate::metrics::Metrics;
use crate::notify;
use crate::resource::{Desk, Node};
use crate::side;
use crate::stream::admission::{Admission, Crossings};
use crate::upstream::Dialer;
use crew::Crew;
use door::Doorway;
use listen::Listening;
use pulse::Pulse;

pub use listen::{ListenError, PassedError};

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// An address cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket that was passed cannot be served.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The door cannot be kept as it is to be.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The log file cannot be opened.
    #[error("log: {path} cannot be opened: {error}")]
    Log {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// What viewers of a stream are to get first cannot be had.
    #[error("preamble of {stream}: {path} cannot be read: {error}")]
    Preamble {
        /// The path of the stream.
        stream: String,
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The kernel refuses what every node needs.
    #[error("{what}: {error}")]
    Kernel {
        /// What it refuses.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

const NO_THREAD: &str = "a thread cannot be started";

fn kernel(what: &'static str) -> impl Fn(io::Error) -> BootError {
    move |error| BootError::Kernel { what, error }
}

/// A node that serves.
#[derive(Debug)]
pub struct Running {
    /// Where viewers are served.
    pub addresses: Vec<SocketAddr>,
    /// Where metrics, health and status are served.
    pub side_addresses: Vec<SocketAddr>,
    signals: Signals,
    log: Logger,
    log_handle: LogHandle,
    access: AccessLog,
    crew: Crew,
    pulse: Pulse,
    dialer: Dialer,
    notify: Option<notify::Handle>,
    admission: Arc<Admission>,
    door: Option<Arc<Keeper>>,
}

/// Something to say of the configuration at start.
#[derive(Clone, Debug)]
pub struct Remark {
    /// What there is to say.
    pub text: String,
    /// Part of what it asks for will not happen.
    pub is_error: bool,
}

impl Remark {
    fn log(&self, log: &Logger) {
        if self.is_error {
            error!(log, "{}", self.text; "event" => "error", "error" => "config");
        } else {
            warn!(log, "{}", self.text; "event" => "config");
        }
    }
}

/// What takes privileges and files, and is there before anything else.
struct Ground {
    signals: Signals,
    open_files: u64,
    workers: usize,
    metrics: Arc<Metrics>,
    root: Logger,
    log: Logger,
    log_handle: LogHandle,
    log_writer: log::Pending,
    doorway: Option<Doorway>,
    listening: Listening,
}

impl Ground {
    fn lay(config: &Config) -> Result<Ground, BootError> {
        let signals = Signals::block().map_err(kernel("signals cannot be blocked"))?;
        let open_files = restreamer_sys::limit::raise_open_files()
            .map_err(kernel("the limit of open files cannot be raised"))?;
        let workers = crew::size(config, cores());
        let metrics = Metrics::counting(config.statistics);
        let (root, log_handle, log_writer) = open_log(config, &metrics)?;
        let log = root.new(o!("module" => "main"));
        let mut doorway = door::open(config, workers, &metrics, &root)?;
        let listening = Listening::open(config, workers)?;
        door::attach(&mut doorway, &listening, &log)?;
        let workers = workers.get();
        Ok(Ground {
            signals,
            open_files,
            workers,
            metrics,
            root,
            log,
            log_handle,
            log_writer,
            doorway,
            listening,
        })
    }
}

/// Starts a node. `remarks` go to its log.
pub fn start(config: &Config, remarks: &[Remark]) -> Result<Running, BootError> {
    let ground = Ground::lay(config)?;
    let Ground { open_files, workers, ref metrics, ref root, ref log, ref log_handle, .. } = ground;
    let listening = ground.listening;
    let (addresses, side_addresses) = listening.addresses();
    let (access, access_writer) = access::open(log_handle);
    report_panics(log.clone(), log_handle.clone());
    let egress = egress(config, log)?;
    tell_start(log, remarks.iter().chain(&listening.remarks), open_files, config, workers);
    let manager = pulse::manager(log);
    let now = Instant::now();
    let client = Client::new(&egress.trust, egress.proxies.clone());
    let (crossings, notify) = notifications(config, &client, metrics, root).unzip();
    let admission = Arc::new(Admission::new(resources::limits(config), crossings));
    let making = resources::Making {
        config,
        workers,
        metrics,
        admission: &admission,
        access: &access,
        root,
        now,
    };
    let (streams, shown) = resources::streams(&making)?;
    confine::confine(config, workers, log);
    let notify = start_first_threads(ground.log_writer, access_writer, notify)?;
    let mut minded = door::mind(ground.doorway)?;
    let statics = resources::statics(config, &client, &making);
    let dialer = dialer(config, egress);
    let board = crew::board(config, &shown, &streams, workers);
    let node = Node::new(Arc::clone(metrics), shown, Arc::clone(&admission), workers, now);
    let desk = Desk::start(&node).map_err(kernel(NO_THREAD))?;
    let porter = door::porter(config, minded.as_ref());
    let side = side::Desk::new(&node, porter, root.new(o!("module" => "side")));
    side::start(listening.side, side).map_err(kernel("the side port cannot be served"))?;
    let crew = Crew::start(crew::Making {
        config,
        streams,
        listeners: listening.viewers,
        ours: listening.ours,
        door: minded.as_ref(),
        board: Arc::clone(&board),
        desk,
        statics,
        access: &access,
        dialer: &dialer,
        metrics,
        root,
        log_handle,
        open_files,
        now,
    })?;
    door::start_steering(&mut minded, &board, &node)?;
    let pulse = Pulse::start(&crew, node, manager, log).map_err(kernel(NO_THREAD))?;
    Ok(Running {
        addresses,
        side_addresses,
        signals: ground.signals,
        log: ground.log,
        log_handle: ground.log_handle,
        access,
        crew,
        pulse,
        dialer,
        notify,
        admission,
        door: minded.map(|minded| minded.keeper),
    }
    .tell_addresses())
}

/// Those that were held back until the node was confined, which holds for the threads to come.
fn start_first_threads(
    log: log::Pending,
    access: access::Pending,
    notify: Option<notify::Parts>,
) -> Result<Option<notify::Handle>, BootError> {
    log.start().and_then(|()| access.start()).map_err(kernel(NO_THREAD))?;
    let notify = notify.map(notify::start).transpose();
    notify.map_err(kernel("notifications cannot be started"))
}

impl Running {
    fn tell_addresses(self) -> Running {
        for address in &self.addresses {
            info!(self.log, "viewers are served on {address}";
                "event" => "listen", "address" => address.to_string());
        }
        for address in &self.side_addresses {
            info!(self.log, "metrics, health and status are served on {address}";
                "event" => "listen", "side" => address.to_string());
        }
        self
    }

    /// Serves until SIGTERM or SIGINT, then ends the viewers on a packet boundary.
    pub fn serve(self) -> Result<(), BootError> {
        let next = || self.signals.wait().map_err(kernel("signals cannot be waited for"));
        while next()? == Signal::Reopen {
            self.log_handle.reopen();
            info!(self.log, "told to open the log file again"; "event" => "reopen");
        }
        info!(self.log, "told to stop"; "event" => "stop");
        if let Err(why) = self.pulse.stop() {
            warn!(self.log, "the service manager cannot be told that we stop: {why}";
                "event" => "error", "error" => "notify_socket");
        }
        // The workers keep DRAIN_TIMEOUT themselves; should one hang, we do not.
        let patience = DRAIN_TIMEOUT + Duration::from_millis(100);
        let deadline = Instant::now() + patience;
        let late = self.crew.stop(patience);
        if late > 0 {
            warn!(self.log, "{late} workers did not stop in time";
                "event" => "error", "error" => "stop");
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        self.admission.close();
        if self.notify.is_some_and(|notify| !notify.finish(left())) {
            warn!(self.log, "not everybody is told of the last limit events";
                "event" => "error", "error" => "notify");
        }
        if let Some(door) = self.door {
            door.stop();
        }
        self.dialer.wait_for_commands(left());
        self.access.flush(left().max(LOG_FLUSH_TIMEOUT));
        info!(self.log, "stopped"; "event" => "stop");
        self.log_handle.flush(LOG_FLUSH_TIMEOUT);
        Ok(())
    }
}

/// Whom to trust and which proxies to use; what of the environment is not heeded is logged.
fn egress(config: &Config, log: &Logger) -> Result<Egress, BootError> {
    let trust = Trust::load(config.ca_file.as_deref())?;
    let (proxies, errors) = Proxies::from_env();
    for error in errors {
        warn!(log, "{error}"; "event" => "config");
    }
    for (scheme, proxy) in proxies.in_use() {
        info!(log, "{scheme} addresses are reached by the proxy {proxy}"; "event" => "config");
    }
    Ok(Egress { trust, proxies })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn dialer(config: &Config, egress: Egress) -> Dialer {
    Dialer::new(config.timeout, datagram_buffer_bytes(config), egress)
}

/// The receive buffer that datagram sockets ask for.
fn datagram_buffer_bytes(config: &Config) -> usize {
    (config.input_buffer_packets * PACKET_BYTES).max(DATAGRAM_BUFFER_BYTES_MIN)
}

fn tell_start<'a>(
    log: &Logger,
    remarks: impl Iterator<Item = &'a Remark>,
    open_files: u64,
    config: &Config,
    workers: usize,
) {
    for remark in remarks {
        remark.log(log);
    }
    info!(log, "restreamer {} starts", env!("CARGO_PKG_VERSION");
        "event" => "start", "open_files" => open_files,
        "streams" => config.streams.len(), "workers" => workers);
}

fn open_log(
    config: &Config,
    metrics: &Metrics,
) -> Result<(Logger, LogHandle, log::Pending), BootError> {
    let target = config.log.clone().map_or(Target::Stdout, Target::File);
    log::open(target, metrics.log_dropped()).map_err(|error| BootError::Log {
        path: config.log.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        error,
    })
}

/// A panic is logged before it ends the process; the default message still goes to standard error.
fn report_panics(log: Logger, handle: LogHandle) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        crit!(log, "{panic}"; "event" => "error", "error" => "panic");
        handle.flush(LOG_FLUSH_TIMEOUT);
    }));
}

/// Who is told of crossings, and what is to be started for those who want to be notified.
fn notifications(
    config: &Config,
    client: &Client,
    metrics: &Metrics,
    root: &Logger,
) -> Option<(Crossings, notify::Parts)> {
    if config.notifications.is_empty() {
        return None;
    }
    let (queue, crossings) = sync_channel(NOTIFY_CROSSINGS_MAX);
    let metrics = metrics.notifications(config.notifications.iter().map(|one| one.event));
    let dropped = metrics.crossings_dropped();
    let parts = notify::Parts {
        notifications: config.notifications.clone(),
        heartbeat: config.heartbeat_interval,
        crossings,
        client: client.clone(),
        metrics,
        timing: notify::Timing::default(),
        log: root.new(o!("module" => "notify")),
    };
    Some((Crossings { queue, dropped }, parts))
}
