//! Connections that belong to no stream: those who have not asked yet, and those who are refused.
//!
//! Each kind has one time to live, so that the order of coming is the order of deadlines. When the
//! house is full, whoever has kept us waiting longest goes first.

use std::collections::VecDeque;
use std::time::Instant;

use slab::Slab;

use crate::clock::earlier;
use crate::http::request::{Method, Version};
use crate::http::response::{Outgoing, Response};
use crate::limits::{GUESTS_MAX, HEAD_TIMEOUT, LINGER_TIMEOUT};
use crate::metrics::Metrics;
use crate::stream::ViewerKey;
use crate::viewer::Connection;
use crate::viewer::asking::{Asked, Asking};
use crate::viewer::draining::Draining;

/// The guests of a worker.
#[derive(Debug, Default)]
pub struct Guests {
    places: Slab<Place>,
    generation: u32,
    marked: Vec<ViewerKey>,
    asking: VecDeque<(Instant, ViewerKey)>,
    draining: VecDeque<(Instant, ViewerKey)>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    marked: bool,
    /// Taken out only while it is being looked at.
    guest: Option<Guest>,
}

#[derive(Debug)]
enum Guest {
    Asking(Asking),
    Draining(Draining),
}

impl Guests {
    /// Makes room if there is none; answers the key that the next guest will have.
    pub fn reserve(&mut self) -> ViewerKey {
        while self.places.len() >= GUESTS_MAX && self.turn_out_eldest() {}
        ViewerKey { index: self.places.vacant_key(), generation: self.generation }
    }

    /// Takes in a connection that is registered under the key just [reserved](Guests::reserve); it
    /// is looked at in this turn.
    pub fn enter(&mut self, key: ViewerKey, connection: Connection, now: Instant) {
        assert_eq!(key.index, self.places.vacant_key(), "reserved, and nothing has changed since");
        let guest = Some(Guest::Asking(Asking::new(connection)));
        self.places.insert(Place { generation: key.generation, marked: false, guest });
        self.generation = (self.generation + 1) & ViewerKey::GENERATION_MASK;
        self.asking.push_back((now + HEAD_TIMEOUT, key));
        self.mark(key);
    }

    /// A guest's connection has something to tell.
    pub fn mark(&mut self, key: ViewerKey) {
        if let Some(place) = self.places.get_mut(key.index)
            && place.generation == key.generation
            && !std::mem::replace(&mut place.marked, true)
        {
            self.marked.push(key);
        }
    }

    /// Whether somebody is marked.
    pub fn have_work(&self) -> bool {
        !self.marked.is_empty()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Goes on with all that are marked. `ask` gets those who have asked (or what is wrong with
    /// it), and answers with those who are to be sent something: the connection and the answer.
    pub fn turn(
        &mut self,
        now: Instant,
        mut ask: impl FnMut(Asked) -> Option<(Connection, Outgoing)>,
    ) {
        for key in std::mem::take(&mut self.marked) {
            let Some(guest) = self.take(key) else { continue };
            let next = match guest {
                Guest::Draining(draining) => draining.advance().map(Guest::Draining),
                Guest::Asking(asking) => match asking.read() {
                    Asked::Wait(asking) => Some(Guest::Asking(asking)),
                    asked => ask(asked).and_then(|(connection, answer)| {
                        self.draining.push_back((now + LINGER_TIMEOUT, key));
                        Draining::new(connection, answer).advance().map(Guest::Draining)
                    }),
                },
            };
            self.put_back(key, next);
        }
    }

    /// The first deadline.
    pub fn deadline(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<(Instant, ViewerKey)>| queue.front().map(|&(at, _)| at);
        earlier(first(&self.asking), first(&self.draining))
    }

    /// Refuses those who have not asked in time, and lets go of those who do not hang up.
    pub fn on_deadline(&mut self, now: Instant, metrics: &Metrics) {
        while let Some(key) = due(&mut self.asking, now) {
            let Some(guest) = self.take(key) else { continue };
            let next = match guest {
                // Long since answered, and waited for until its own time is up.
                draining @ Guest::Draining(_) => Some(draining),
                Guest::Asking(asking) => {
                    metrics.answered(408);
                    let answer = Response::text(408);
                    let answer = answer.outgoing(Method::Get, Version::Http11, false);
                    self.draining.push_back((now + LINGER_TIMEOUT, key));
                    Draining::new(asking.give_up(), answer).advance().map(Guest::Draining)
                }
            };
            self.put_back(key, next);
        }
        while let Some(key) = due(&mut self.draining, now) {
            if self.is_here(key) {
                self.places.remove(key.index);
            }
        }
    }

    /// Closes all who have not asked; those who get an answer may take it.
    pub fn dismiss(&mut self) {
        self.places.retain(|_, place| matches!(place.guest, Some(Guest::Draining(_))));
        self.asking.clear();
    }

    fn take(&mut self, key: ViewerKey) -> Option<Guest> {
        let place = self.places.get_mut(key.index).filter(|p| p.generation == key.generation)?;
        place.marked = false;
        place.guest.take()
    }

    fn put_back(&mut self, key: ViewerKey, guest: Option<Guest>) {
        match guest {
            Some(guest) => self.places[key.index].guest = Some(guest),
            None => drop(self.places.remove(key.index)),
        }
    }

    fn turn_out_eldest(&mut self) -> bool {
        let eldest = self.asking.pop_front().or_else(|| self.draining.pop_front());
        let Some((_, key)) = eldest else { return false };
        if self.is_here(key) {
            self.places.remove(key.index);
        }
        true
    }

    fn is_here(&self, key: ViewerKey) -> bool {
        self.places.get(key.index).is_some_and(|place| place.generation == key.generation)
    }
}

fn due(queue: &mut VecDeque<(Instant, ViewerKey)>, now: Instant) -> Option<ViewerKey> {
    queue.pop_front_if(|(deadline, _)| *deadline <= now).map(|(_, key)| key)
}

#[cfg(test)]
mod tests;
