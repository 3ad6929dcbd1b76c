//! Connections that belong to no stream: those who have not asked yet, who wait for an answer, and
//! who are sent one.
//!
//! Each of these stages has its time. When the house is full, whoever has kept us waiting longest
//! goes first.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::clock::earlier;
use crate::http::request::{Method, Version};
use crate::http::response::Response;
use crate::limits::{ANSWER_TIMEOUT, GUESTS_MAX, HEAD_TIMEOUT, LINGER_TIMEOUT, SEND_TIMEOUT};
use crate::metrics::Metrics;
use crate::stream::ViewerKey;
use crate::viewer::Connection;
use crate::viewer::asking::{Asked, Asking};
use crate::viewer::draining::{Drained, Draining, Then};
use crate::viewer::waiting::Waiting;

/// The guests of a worker.
#[derive(Debug, Default)]
pub struct Guests {
    places: Slab<Place>,
    generation: u32,
    marked: Vec<ViewerKey>,
    /// Deadlines and places of those in each stage.
    queues: [BTreeSet<(Instant, usize)>; Stage::ALL.len()],
}

#[derive(Debug)]
struct Place {
    generation: u32,
    marked: bool,
    stage: Stage,
    /// When its time in this stage is up.
    deadline: Instant,
    /// Taken out only while it is being looked at.
    guest: Option<Guest>,
}

#[derive(Debug)]
enum Guest {
    Asking(Asking),
    Waiting(Waiting),
    Sending(Draining),
    Lingering(Draining),
}

/// What a guest is doing, in the order in which guests are turned out of a full house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asking,
    Lingering,
    Sending,
    Waiting,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Asking, Stage::Lingering, Stage::Sending, Stage::Waiting];

    fn timeout(self) -> Duration {
        match self {
            Stage::Asking => HEAD_TIMEOUT,
            Stage::Lingering => LINGER_TIMEOUT,
            Stage::Sending => SEND_TIMEOUT,
            Stage::Waiting => ANSWER_TIMEOUT,
        }
    }
}

impl Guest {
    fn stage(&self) -> Stage {
        match self {
            Guest::Asking(_) => Stage::Asking,
            Guest::Waiting(_) => Stage::Waiting,
            Guest::Sending(_) => Stage::Sending,
            Guest::Lingering(_) => Stage::Lingering,
        }
    }
}

/// What becomes of a guest that has asked.
#[derive(Debug)]
pub enum Next {
    /// It is sent an answer.
    Send(Draining),
    /// Its answer is being made elsewhere.
    Wait(Waiting),
    /// It is ours no more.
    Gone,
}

impl Guests {
    /// Makes room if there is none; answers the key that the next guest will have.
    pub fn reserve(&mut self) -> ViewerKey {
        while self.places.len() >= GUESTS_MAX && self.turn_out_eldest() {}
        ViewerKey { index: self.places.vacant_key(), generation: self.generation }
    }

    /// Takes in a guest whose connection is registered under the key just
    /// [reserved](Guests::reserve); it is looked at in this turn.
    pub fn enter(&mut self, key: ViewerKey, asking: Asking, now: Instant) {
        assert_eq!(key.index, self.places.vacant_key(), "reserved, and nothing has changed since");
        let deadline = now + Stage::Asking.timeout();
        self.places.insert(Place {
            generation: key.generation,
            marked: false,
            stage: Stage::Asking,
            deadline,
            guest: Some(Guest::Asking(asking)),
        });
        self.generation = (self.generation + 1) & ViewerKey::GENERATION_MASK;
        self.queues[Stage::Asking as usize].insert((deadline, key.index));
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

    /// The answer that a guest waits for has been made. One that is gone needs none.
    pub fn answered(&mut self, key: ViewerKey, response: Response, now: Instant) {
        match self.take(key) {
            Some(Guest::Waiting(waiting)) => {
                let next = send(waiting.answer(response));
                self.put_back(key, next, now);
            }
            Some(other) => self.put_back(key, Some(other), now),
            None => {}
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
    /// it), with the key under which their answer is delivered, should it come later.
    pub fn turn(&mut self, now: Instant, mut ask: impl FnMut(ViewerKey, Asked) -> Next) {
        for key in std::mem::take(&mut self.marked) {
            let Some(guest) = self.take(key) else { continue };
            let next = match guest {
                Guest::Sending(draining) | Guest::Lingering(draining) => send(draining),
                // What it sends meanwhile stays in its socket.
                waiting @ Guest::Waiting(_) => Some(waiting),
                Guest::Asking(asking) => match asking.read() {
                    Asked::Wait(asking) => Some(Guest::Asking(asking)),
                    asked => match ask(key, asked) {
                        Next::Send(draining) => send(draining),
                        Next::Wait(waiting) => Some(Guest::Waiting(waiting)),
                        Next::Gone => None,
                    },
                },
            };
            self.put_back(key, next, now);
        }
    }

    /// The first deadline.
    pub fn deadline(&self) -> Option<Instant> {
        let first = |queue: &BTreeSet<(Instant, usize)>| queue.first().map(|&(at, _)| at);
        self.queues.iter().map(first).fold(None, earlier)
    }

    /// Refuses those who have not asked in time or whose answer is not there in time, and lets go
    /// of those who do not take it.
    pub fn on_deadline(&mut self, now: Instant, metrics: &Metrics) {
        for stage in Stage::ALL {
            while let Some(&(deadline, index)) = self.queues[stage as usize].first()
                && deadline <= now
            {
                let key = ViewerKey { index, generation: self.places[index].generation };
                let next = match self.take(key) {
                    Some(Guest::Asking(asking)) if asking.has_begun() => {
                        metrics.answered(408);
                        send(refused(asking.give_up(), 408))
                    }
                    Some(Guest::Waiting(waiting)) => {
                        metrics.answered(504);
                        send(waiting.give_up())
                    }
                    _ => None,
                };
                // In another stage now, with a later deadline, or gone.
                self.put_back(key, next, now);
            }
        }
    }

    /// Closes all who have not asked; those who get an answer may take it.
    pub fn dismiss(&mut self) {
        for stage in [Stage::Asking, Stage::Waiting] {
            for (_, index) in std::mem::take(&mut self.queues[stage as usize]) {
                self.places.remove(index);
            }
        }
    }

    fn take(&mut self, key: ViewerKey) -> Option<Guest> {
        let place = self.places.get_mut(key.index).filter(|p| p.generation == key.generation)?;
        place.marked = false;
        place.guest.take()
    }

    /// Puts back a guest that was taken, or lets go of its place.
    fn put_back(&mut self, key: ViewerKey, guest: Option<Guest>, now: Instant) {
        let place = &mut self.places[key.index];
        let Some(guest) = guest else {
            self.queues[place.stage as usize].remove(&(place.deadline, key.index));
            drop(self.places.remove(key.index));
            return;
        };
        let stage = guest.stage();
        let asks_again = matches!(&guest, Guest::Asking(asking) if asking.is_new());
        if place.stage != stage || asks_again {
            self.queues[place.stage as usize].remove(&(place.deadline, key.index));
            (place.stage, place.deadline) = (stage, now + stage.timeout());
            self.queues[stage as usize].insert((place.deadline, key.index));
        }
        place.guest = Some(guest);
        if asks_again {
            // No event will tell what it has sent already.
            self.mark(key);
        }
    }

    fn turn_out_eldest(&mut self) -> bool {
        let eldest = self.queues.iter_mut().find_map(BTreeSet::pop_first);
        eldest.map(|(_, index)| self.places.remove(index)).is_some()
    }
}

/// A refusal, after which the connection ends.
pub fn refused(connection: Connection, status: u16) -> Draining {
    let answer = Response::text(status).outgoing(Method::Get, Version::Http11, false);
    Draining::new(connection, answer, Then::Close)
}

/// Goes on sending.
fn send(draining: Draining) -> Option<Guest> {
    match draining.advance() {
        Drained::Sending(draining) => Some(Guest::Sending(draining)),
        Drained::Lingering(draining) => Some(Guest::Lingering(draining)),
        Drained::Asking(asking) => Some(Guest::Asking(asking)),
        Drained::Over => None,
    }
}

#[cfg(test)]
mod tests;
