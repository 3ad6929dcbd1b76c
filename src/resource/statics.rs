//! Static resources: files and pages of others, fetched whole and kept for a while.
//!
//! Owns the last body of each resource and the threads that fetch it. Never makes who asks wait,
//! never holds more than one body a resource (beside those that are still being sent), and never
//! has more than one fetch of a resource at a time. Driven by workers, who ask; they are replied to
//! from the fetch's threads.
//!
//! A fetch has two threads: one reads and may hang (a server that trickles, a file on a dead NFS),
//! one waits for it, for a bounded time, and replies. Once the time is over nobody joins
//! the fetch any more: as long as its reader hangs, the resource is answered 504 at once, and
//! nothing is begun for it, so that there are two threads a resource at most. Should the reader
//! come back, what it brings is thrown away, and the next request begins a fetch.

mod condition;
mod kept;
mod source;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use restreamer_sys::cpu;
use slog::{Logger, error, info};

use crate::config::{StaticConfig, mask_passwords};
use crate::egress::{Client, Fetched, Patience};
use crate::http::response::Response;
use crate::limits::{DIAL_STACK_BYTES, FETCH_STACK_BYTES, STATIC_TIMEOUT, STATIC_TIMEOUT_MAX};
use crate::metrics::StaticMetrics;
use condition::Condition;
use kept::Kept;
use source::{Cause, Trouble};
use state::{Asked, State, Waiting};

/// How long a fetch may take: `timeout` of the configuration is for the head of the answer, a body
/// may need more.
pub fn patience(timeout: Option<Duration>) -> Patience {
    let whole = timeout.map_or(STATIC_TIMEOUT, |timeout| timeout.max(STATIC_TIMEOUT));
    let whole = whole.min(STATIC_TIMEOUT_MAX);
    Patience { head: timeout.map_or(whole, |timeout| timeout.min(whole)), whole }
}

/// One static resource.
pub struct Static {
    path: String,
    /// Its upstream's address, the password masked.
    label: String,
    /// What it is if its upstream does not say.
    guessed: String,
    cache: Duration,
    /// For a whole fetch.
    patience: Duration,
    source: Arc<Source>,
    state: Mutex<State>,
    metrics: StaticMetrics,
    log: Logger,
}

/// What reads the resource, and may hang.
type Source = dyn Fn() -> Result<Fetched, Trouble> + Send + Sync;

/// What all who waited for a fetch are answered.
enum Answer {
    Kept(Arc<Kept>),
    /// Somebody else's answer that is none to keep.
    PassedOn {
        status: u16,
        content_type: String,
        body: Arc<[u8]>,
    },
    Ours(Cause),
}

impl Static {
    /// A resource that nobody has asked for yet. `patience` bounds each fetch, and its `whole` the
    /// time that anybody waits.
    pub fn new(
        config: StaticConfig,
        client: Client,
        patience: Patience,
        metrics: StaticMetrics,
        log: Logger,
    ) -> Static {
        let StaticConfig { path, remote, cache, authentication: _ } = config;
        Static {
            label: source::label(&remote),
            guessed: kept::guessed([source::path(&remote), Path::new(&path)]),
            cache,
            patience: patience.whole,
            state: Mutex::default(),
            metrics,
            log,
            path,
            source: Arc::new(move || source::read(&remote, &client, patience)),
        }
    }

    /// Asks for the resource, with the value of the request's `If-None-Match`; never waits.
    ///
    /// Answers what can be answered at once: a body that is fresh, and refusals (too many wait, a
    /// fetch hangs, no thread can be had); then `reply` is dropped uncalled. Otherwise `reply` is
    /// called exactly once, in bounded time, on another thread.
    pub fn ask(
        self: &Arc<Self>,
        if_none_match: Option<&str>,
        reply: impl FnOnce(Response) + Send + 'static,
    ) -> Option<Response> {
        self.ask_at(Instant::now(), if_none_match, reply)
    }

    fn ask_at(
        self: &Arc<Self>,
        now: Instant,
        if_none_match: Option<&str>,
        reply: impl FnOnce(Response) + Send + 'static,
    ) -> Option<Response> {
        let condition = Condition::parse(if_none_match);
        let mut state = self.state();
        match state.ask(self.cache, now) {
            Asked::Fresh(kept) => {
                drop(state);
                self.metrics.cached();
                Some(kept.response(&condition, self.cache))
            }
            Asked::Join => {
                state.join(Waiting::new(condition, reply));
                self.metrics.waits();
                None
            }
            // The thread is started under the lock, so that nobody joins a fetch without one.
            Asked::Begin => match self.start() {
                Ok(()) => {
                    state.begin(Waiting::new(condition, reply));
                    self.metrics.waits();
                    None
                }
                Err(error) => {
                    drop(state);
                    let trouble = Trouble::Thread(error);
                    self.report(Some(&trouble));
                    Some(self.refuse(trouble.cause().status))
                }
            },
            Asked::Full => Some(self.refuse(503)),
            Asked::Hung => Some(self.refuse(504)),
        }
    }

    fn refuse(&self, status: u16) -> Response {
        self.metrics.refused();
        Response::text(status)
    }

    /// Starts the thread that waits for a reader and replies.
    fn start(self: &Arc<Self>) -> io::Result<()> {
        let resource = Arc::clone(self);
        let thread = thread::Builder::new().name("static".into()).stack_size(DIAL_STACK_BYTES);
        thread
            .spawn(move || {
                cpu::roam();
                resource.fetch();
            })
            .map(drop)
    }

    /// Starts the thread that reads.
    fn start_reader(&self) -> io::Result<Receiver<Result<Fetched, Trouble>>> {
        let (found, results) = sync_channel(1);
        let source = Arc::clone(&self.source);
        let thread = thread::Builder::new().name("fetch".into()).stack_size(FETCH_STACK_BYTES);
        thread.spawn(move || {
            let _nobody_waits_any_more = found.send(source());
        })?;
        Ok(results)
    }

    fn fetch(&self) {
        let found = match self.start_reader() {
            Ok(results) => match results.recv_timeout(self.patience) {
                Ok(found) => found,
                Err(_) => return self.hang(&results),
            },
            Err(error) => Err(Trouble::Thread(error)),
        };
        let (answer, trouble) = self.judge(found);
        self.report(trouble.as_ref());
        let mut state = self.state();
        if let Answer::Kept(kept) = &answer {
            state.keep(Arc::clone(kept));
        }
        let waiting = state.end();
        drop(state);
        self.answer(waiting, &answer);
    }

    /// Answers all who wait, and then waits for the reader that hangs.
    fn hang(&self, results: &Receiver<Result<Fetched, Trouble>>) {
        let trouble = Trouble::TimedOut(self.patience);
        self.report(Some(&trouble));
        let waiting = self.state().hang();
        self.answer(waiting, &Answer::Ours(trouble.cause()));
        let _too_late = results.recv();
        let nobody = self.state().end();
        assert!(nobody.is_empty(), "nobody waits for a reader that hangs");
    }

    /// What is answered to what was found, and what is wrong with it.
    fn judge(&self, found: Result<Fetched, Trouble>) -> (Answer, Option<Trouble>) {
        let trouble = match found {
            Ok(Fetched { status: 200, content_type, body }) => {
                let content_type = kept::passed_on(content_type.as_deref())
                    .unwrap_or_else(|| self.guessed.clone());
                // Nobody but this thread replaces it.
                let before = self.state().kept();
                let kept = Kept::new(body, content_type, before.as_deref(), Instant::now());
                return (Answer::Kept(Arc::new(kept)), None);
            }
            Ok(Fetched { status, content_type, body }) => {
                let trouble = Trouble::Status(status);
                if trouble.cause().status == status {
                    let content_type = kept::passed_on(content_type.as_deref());
                    let answer = Answer::PassedOn {
                        status,
                        content_type: content_type.unwrap_or_else(kept::unknown),
                        body: body.into(),
                    };
                    return (answer, Some(trouble));
                }
                trouble
            }
            Err(trouble) => trouble,
        };
        (Answer::Ours(trouble.cause()), Some(trouble))
    }

    fn answer(&self, waiting: Vec<Waiting>, answer: &Answer) {
        for one in waiting {
            one.answer(|condition| match answer {
                Answer::Kept(kept) => kept.response(condition, self.cache),
                // These have neither body nor length (RFC 9110, 8.6).
                Answer::PassedOn { status: status @ (204 | 304), .. } => Response::empty(*status),
                Answer::PassedOn { status, content_type, body } => {
                    Response::with_body(*status, content_type, Arc::clone(body))
                }
                Answer::Ours(cause) => Response::text(cause.status),
            });
        }
    }

    /// Counts a fetch, and logs what came of it when that has changed.
    fn report(&self, trouble: Option<&Trouble>) {
        let cause = trouble.map(Trouble::cause);
        self.metrics.fetched(cause.map_or("ok", |cause| cause.word));
        let before = self.state().note(cause);
        if cause == before {
            return;
        }
        let (path, label) = (self.path.as_str(), &self.label);
        match trouble {
            Some(why) => {
                let (text, word) = (mask_passwords(&why.to_string()), why.cause().word);
                error!(self.log, "{path}: {label} {text}";
                    "event" => "error", "error" => word, "resource" => path);
            }
            None => info!(self.log, "{path}: {label} is there again";
                "event" => "recovered", "resource" => path),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of the state that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Static {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Static { path, label, cache, patience, state, .. } = self;
        f.debug_struct("Static")
            .field("path", path)
            .field("label", label)
            .field("cache", cache)
            .field("patience", patience)
            .field("state", state)
            .finish_non_exhaustive()
    }
}
