//! What a running node is asked from its own command line: whether it is well, to drain, and whom
//! to let in.
//!
//! Owns the questions to the side port and what their answers mean. Never touches the node but by
//! its side port. Blocks. Driven by `main`, in a process of its own.

pub mod asked;
pub mod door;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Listen;
use crate::limits::{DRAIN_QUESTION_INTERVAL, OPERATOR_ANSWER_BYTES_MAX, OPERATOR_TIMEOUT};

pub use asked::{Asked, AskedError, Credentials};

/// Why a node was not asked, or is not well.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is nobody to ask.
    #[error("the node has no side port to be asked at")]
    NoSidePort,
    /// Only the node knows its port.
    #[error("side: port 0 is chosen by the kernel; say with --side which it is")]
    AnyPort,
    /// No answer.
    #[error("{url} does not answer: {error}")]
    Silent {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        error: Box<ureq::Error>,
    },
    /// No answer of a node.
    #[error("{url} answered {status}")]
    Refused {
        /// What was asked.
        url: String,
        /// The answer's status.
        status: u16,
    },
    /// The node says why it does not.
    #[error("{url} answered {status}: {error}")]
    Declined {
        /// What was asked.
        url: String,
        /// The answer's status.
        status: u16,
        /// Its reason.
        error: String,
    },
    /// There is nothing to show the node.
    #[error(transparent)]
    Credentials(#[from] AskedError),
    /// An answer that no node gives.
    #[error("{url} is no node's side port: {error}")]
    Garbled {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        error: serde_json::Error,
    },
    /// The node is not what it is to be.
    #[error("{0}")]
    Ill(Illness),
}

/// What is wrong with a node that answers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illness {
    /// It does not work.
    #[error("the loops of workers {0:?} stand still")]
    Stuck(Vec<usize>),
    /// It serves nothing.
    #[error("none of {streams} streams is connected; {first}")]
    NoStream {
        /// How many there are.
        streams: usize,
        /// What is wrong with the first of them.
        first: String,
    },
    /// A stream that is to be there is not.
    #[error("{0}")]
    Stream(String),
    /// A stream that is to be there is not in the configuration.
    #[error("there is no stream {0}")]
    Unknown(String),
    /// It wants no new viewers.
    #[error("the node is {status} with {viewers} viewers")]
    NotReady {
        /// "full" or "draining".
        status: String,
        /// How many it has.
        viewers: usize,
    },
}

/// What makes a node well.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// These streams are connected; if empty, any.
    pub streams: Vec<String>,
    /// All streams are.
    pub all: bool,
    /// It wants new viewers.
    pub ready: bool,
}

/// A part of what `/streams` says of one.
#[derive(Debug, Deserialize)]
struct Stream {
    #[serde(rename = "stream")]
    path: String,
    state: String,
    /// Nor is one ill that rests because nobody wants it.
    available: bool,
    last_error: Option<String>,
    /// What is wrong with the connected upstream.
    #[serde(default)]
    conditions: Vec<String>,
}

/// Of an upstream with one of these there is nothing to watch. What else may be wrong with one may
/// be as it should.
const NOTHING: [&str; 2] = ["no_data", "no_sync"];

impl Stream {
    /// Connected, and something comes.
    fn is_connected(&self) -> bool {
        self.state == "connected" && self.nothing().is_none()
    }

    /// Connected, and something comes; or nobody wants it to.
    fn is_available(&self) -> bool {
        self.available && self.nothing().is_none()
    }

    /// Why nothing comes.
    fn nothing(&self) -> Option<&String> {
        self.conditions.iter().find(|word| NOTHING.contains(&word.as_str()))
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.path, self.state)?;
        if let Some(nothing) = self.nothing() {
            return write!(f, ", but nothing to watch comes ({nothing})");
        }
        match &self.last_error {
            Some(error) if !self.available => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}

/// What `/live` says.
#[derive(Debug, Default, Deserialize)]
struct Live {
    /// Those that stand still.
    #[serde(default)]
    workers: Vec<usize>,
}

/// A part of what `/health` says.
#[derive(Debug, Deserialize)]
struct Health {
    status: String,
    viewer: usize,
}

/// The side port of a node.
#[derive(Debug)]
pub struct SidePort {
    agent: ureq::Agent,
    address: String,
    /// Of these only the door takes notice.
    credentials: Option<Credentials>,
}

impl SidePort {
    /// Where a node that listens so is asked: one that listens everywhere, on the loopback.
    pub fn at(asked: Asked) -> Result<SidePort, OperatorError> {
        let Asked { side, credentials } = asked;
        let side = side.ok_or(OperatorError::NoSidePort)?;
        if side.port == 0 {
            return Err(OperatorError::AnyPort);
        }
        let host = match side.host.as_deref() {
            None | Some("0.0.0.0") => Ipv4Addr::LOCALHOST.to_string(),
            Some("::") => Ipv6Addr::LOCALHOST.to_string(),
            Some(host) => host.to_owned(),
        };
        let address = Listen { host: Some(host), port: side.port }.to_string();
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .timeout_global(Some(OPERATOR_TIMEOUT))
            .build()
            .new_agent();
        Ok(SidePort { agent, address, credentials })
    }

    /// Whether the node is well; answers what there is to say of it.
    pub fn health(&self, wishes: &Wishes) -> Result<String, OperatorError> {
        let url = self.url("/live");
        let live: Live = read(&url, &[200, 503], self.agent.get(&url).call())?;
        let streams: Vec<Stream> = self.get("/streams")?;
        let health: Health = self.get("/health")?;
        judge(&live, &streams, &health, wishes).map_err(OperatorError::Ill)
    }

    /// Has nobody new sent to the node, or allows it again; then waits until its viewers have gone,
    /// for `patience` at most. Answers how many are left.
    pub fn drain(&self, drains: bool, patience: Duration) -> Result<usize, OperatorError> {
        let deadline = Instant::now() + patience;
        let url = self.url(if drains { "/drain" } else { "/drain?off" });
        let mut health: Health = read(&url, &[200], self.agent.post(&url).send_empty())?;
        while health.viewer > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(DRAIN_QUESTION_INTERVAL));
            health = self.get("/health")?;
        }
        Ok(health.viewer)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, OperatorError> {
        let url = self.url(path);
        read(&url, &[200], self.agent.get(&url).call())
    }
}

fn read<T: DeserializeOwned>(
    url: &str,
    expected: &[u16],
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, OperatorError> {
    let (status, body) = whole(url, answer)?;
    if !expected.contains(&status) {
        return Err(OperatorError::Refused { url: url.to_owned(), status });
    }
    serde_json::from_slice(&body).map_err(|error| garbled(url, error))
}

/// An answer with its body.
fn whole(
    url: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(u16, Vec<u8>), OperatorError> {
    let silent = |error| OperatorError::Silent { url: url.to_owned(), error: Box::new(error) };
    let mut answer = answer.map_err(silent)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(OPERATOR_ANSWER_BYTES_MAX).read_to_vec();
    Ok((status, body.map_err(silent)?))
}

fn garbled(url: &str, error: serde_json::Error) -> OperatorError {
    OperatorError::Garbled { url: url.to_owned(), error }
}

fn judge(
    live: &Live,
    streams: &[Stream],
    health: &Health,
    wishes: &Wishes,
) -> Result<String, Illness> {
    if !live.workers.is_empty() {
        return Err(Illness::Stuck(live.workers.clone()));
    }
    for wanted in &wishes.streams {
        let found = streams.iter().find(|stream| stream.path == *wanted);
        let stream = found.ok_or_else(|| Illness::Unknown(wanted.clone()))?;
        if !stream.is_available() {
            return Err(Illness::Stream(stream.to_string()));
        }
    }
    let lost = streams.iter().find(|stream| !stream.is_available());
    let available = streams.iter().filter(|stream| stream.is_available()).count();
    let connected = streams.iter().filter(|stream| stream.is_connected()).count();
    match lost {
        Some(lost) if wishes.all => return Err(Illness::Stream(lost.to_string())),
        Some(lost) if available == 0 => {
            return Err(Illness::NoStream { streams: streams.len(), first: lost.to_string() });
        }
        _ => {}
    }
    if wishes.ready && health.status != "ok" {
        let (status, viewers) = (health.status.clone(), health.viewer);
        return Err(Illness::NotReady { status, viewers });
    }
    let (all, status, viewers) = (streams.len(), &health.status, health.viewer);
    let idle = streams.iter().filter(|stream| stream.state == "idle").count();
    let idle = if idle == 0 { String::new() } else { format!(", {idle} idle") };
    Ok(format!("{status}: {connected} of {all} streams connected{idle}, {viewers} viewers"))
}
