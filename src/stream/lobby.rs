//! Who waits for the upstream of a stream on demand.
//!
//! Owns their connections and requests, in the order in which they came. They have their places
//! among the viewers already. Never answers anybody: whom it gives back is the worker's to answer.
//! Driven by the stream.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::failover::Outlook;
use super::join::{Readiness, Refused};
use super::members::ViewerKey;
use crate::http::request::Request;
use crate::viewer::{Connection, Departure, Heard};

/// Who waits; see the module.
#[derive(Debug)]
pub struct Lobby {
    /// By their numbers.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    patience: Duration,
    /// What was to be expected when everybody was looked at last.
    outlook: Option<Outlook>,
}

/// One who waits.
#[derive(Debug)]
pub struct Waiting {
    /// Its connection.
    pub connection: Connection,
    /// What it has asked for.
    pub request: Request,
    /// When.
    pub since: Instant,
}

/// What becomes of one who has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// It joins.
    In,
    /// It is refused.
    Away(Refused),
}

/// A number in the form of a key; numbers are not used again.
fn key(number: u64) -> ViewerKey {
    let index = number & INDEX_MASK;
    let generation = (number >> INDEX_BITS) & u64::from(ViewerKey::GENERATION_MASK);
    ViewerKey {
        index: usize::try_from(index).expect("24 bits"),
        generation: u32::try_from(generation).expect("masked"),
    }
}

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

fn number(key: ViewerKey) -> u64 {
    u64::from(key.generation) << INDEX_BITS | key.index as u64
}

impl Lobby {
    /// Nobody; who comes waits for so long.
    pub fn new(patience: Duration) -> Lobby {
        Lobby { waiting: BTreeMap::new(), next: 0, patience, outlook: None }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the one who came first has waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, first)| first.since + self.patience)
    }

    /// Whether it makes sense for somebody to wait who has come at `since`. A `node` tries its own
    /// upstreams again by itself: it waits for the end of the round. Were it to wait for the next
    /// one, nodes in a ring would keep each other waiting for ever.
    pub fn may_wait(&self, since: Instant, node: bool, outlook: Outlook) -> bool {
        match outlook {
            Outlook::Connected | Outlook::Trying => true,
            Outlook::Later(due) => !node && due < since + self.patience,
            Outlook::Never => false,
        }
    }

    /// The key that the next one will have.
    pub fn next_key(&self) -> ViewerKey {
        key(self.next)
    }

    /// Somebody waits from now on.
    pub fn enter(&mut self, waiting: Waiting) {
        self.waiting.insert(number(self.next_key()), waiting);
        self.next += 1;
    }

    /// Takes note of what a connection reports: nobody has anything to say here. Answers one who
    /// is gone. Without an answer nobody ends his side who still wants one.
    pub fn on_event(&mut self, key: ViewerKey, ready: Readiness) -> Option<(Waiting, Departure)> {
        let waiting = self.waiting.get_mut(&number(key))?;
        let why = if ready.closed {
            Departure::of(&waiting.connection.socket)
        } else if ready.readable {
            match waiting.connection.listen() {
                Heard::Silence => return None,
                Heard::End => Departure::Left,
                Heard::Over(why) => why,
            }
        } else {
            return None;
        };
        self.waiting.remove(&number(key)).map(|gone| (gone, why))
    }

    /// Takes out those whose waiting is over, each with what becomes of it. Who has come since the
    /// last time may wait with this outlook.
    pub fn call(&mut self, outlook: Outlook, open: bool, now: Instant) -> Vec<(Waiting, Called)> {
        let as_before = self.outlook.replace(outlook) == Some(outlook);
        let nothing_new = open && as_before && self.deadline().is_some_and(|first| first > now);
        if nothing_new || self.is_empty() {
            return Vec::new();
        }
        let judge = |waiting: &Waiting| {
            let node = !waiting.request.headers.via.is_empty();
            if !open {
                Some(Called::Away(Refused::SwitchedOff))
            } else if outlook == Outlook::Connected {
                Some(Called::In)
            } else if waiting.since + self.patience <= now {
                Some(Called::Away(Refused::StartTimeout))
            } else if !self.may_wait(waiting.since, node, outlook) {
                Some(Called::Away(Refused::NoUpstream))
            } else {
                None
            }
        };
        let over: Vec<_> =
            self.waiting.iter().filter_map(|(n, one)| Some((*n, judge(one)?))).collect();
        let take = |(number, called)| Some((self.waiting.remove(&number)?, called));
        over.into_iter().filter_map(take).collect()
    }

    /// Takes out everybody.
    pub fn clear(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Takes out one.
    pub fn remove(&mut self, key: ViewerKey) -> Option<Waiting> {
        self.waiting.remove(&number(key))
    }

    /// Their connections.
    pub fn sockets(&self) -> impl Iterator<Item = (ViewerKey, &TcpStream)> {
        self.waiting.iter().map(|(number, one)| (key(*number), &one.connection.socket))
    }
}

#[cfg(test)]
mod tests;
