//! Connections that belong to no stream: those who have not asked yet, who wait for an answer, and
//! who are sent one.
//!
//! Each of these stages has its time, and those who are sent something, or wait for it, have a part
//! of the house only: a crowd that takes its answers slowly keeps nobody from asking. When there is
//! no room, whoever has kept us waiting longest goes first. A turn serves so many guests, and so
//! many bytes, and goes on in the next one with those who had nothing: viewers of streams wait for
//! nobody else's answer.

mod bodies;
mod closing;
mod room;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::clock::earlier;
use crate::http::request::{Method, Version};
use crate::http::response::Response;
use crate::limits::{
    ANSWER_TIMEOUT, CATCH_UP_BYTES_PER_TURN_MAX, GUESTS_BYTES_PER_TURN_MAX, GUESTS_PER_TURN_MAX,
    HEAD_TIMEOUT, LINGER_TIMEOUT, SEND_TIMEOUT,
};
use crate::metrics::Metrics;
use crate::stream::ViewerKey;
use crate::viewer::Connection;
use crate::viewer::asker::Asker;
use crate::viewer::asking::{Asked, Asking};
use crate::viewer::draining::{Drained, Draining, Then};
use bodies::Bodies;

pub use closing::unavailable;
pub use room::Room;

/// The guests of a worker.
#[derive(Debug, Default)]
pub struct Guests {
    places: Slab<Place>,
    generation: u32,
    marked: Vec<ViewerKey>,
    /// Bytes that may still be sent to guests in this turn.
    budget: usize,
    room: Room,
    bodies: Bodies,
    /// Guests that had to go for want of room, since somebody asked.
    turned_out: u64,
    /// The worker stops, and until then who has not asked may ask.
    closing: Option<Instant>,
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
    /// What it is sent.
    body: Option<Arc<[u8]>>,
    /// Taken out only while it is being looked at.
    guest: Option<Guest>,
}

#[derive(Debug)]
enum Guest {
    Asking(Asking),
    Waiting(Asker),
    Sending(Draining),
    Lingering(Draining),
}

/// What a guest is doing, in the order in which guests are turned out of a full house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lingering,
    Asking,
    Sending,
    Waiting,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Lingering, Stage::Asking, Stage::Sending, Stage::Waiting];

    fn timeout(self) -> Duration {
        match self {
            Stage::Asking => HEAD_TIMEOUT,
            Stage::Lingering => LINGER_TIMEOUT,
            Stage::Sending => SEND_TIMEOUT,
            Stage::Waiting => ANSWER_TIMEOUT,
        }
    }

    /// How many guests may be in it.
    fn most(self, room: Room) -> usize {
        match self {
            Stage::Lingering | Stage::Asking => room.guests,
            Stage::Sending | Stage::Waiting => room.slow_guests,
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
    Wait(Asker),
    /// It is ours no more.
    Gone,
}

impl Guests {
    /// Nobody, and room for so many.
    pub fn new(room: Room) -> Guests {
        Guests { bodies: Bodies::new(room.bodies_bytes), room, ..Guests::default() }
    }

    /// Makes room if there is none; answers the key that the next guest will have.
    pub fn reserve(&mut self) -> ViewerKey {
        while self.places.len() >= self.room.guests && self.turn_out_eldest() {}
        ViewerKey { index: self.places.vacant_key(), generation: self.generation }
    }

    /// Takes in a guest whose connection is registered under the key just
    /// [reserved](Guests::reserve); it is looked at in this turn.
    pub fn enter(&mut self, key: ViewerKey, asking: Asking, now: Instant) {
        self.insert(key, Guest::Asking(asking), now);
    }

    /// The same for one who has asked another worker, and is to be sent its answer.
    pub fn adopt(&mut self, key: ViewerKey, draining: Draining, now: Instant) {
        self.insert(key, Guest::Sending(draining), now);
        self.make_room(Stage::Sending);
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

    /// The answer that a guest waits for has been made; it is sent in the next turn. Answers
    /// whether the guest is still there.
    pub fn answered(&mut self, key: ViewerKey, response: Response, now: Instant) -> bool {
        match self.take(key) {
            Some(Guest::Waiting(asker)) => {
                self.put_back(key, Some(Guest::Sending(asker.answer(response))), now);
                self.mark(key);
                true
            }
            Some(other) => {
                self.put_back(key, Some(other), now);
                false
            }
            None => false,
        }
    }

    /// Turns out so many, the eldest, so that there are descriptors for connections that wait to
    /// be accepted. Answers whether there was anybody.
    pub fn free_descriptors(&mut self, guests: usize) -> bool {
        (0..guests).take_while(|_| self.turn_out_eldest()).count() > 0
    }

    /// How many had to go for want of room, since the last time.
    pub fn take_turned_out(&mut self) -> u64 {
        std::mem::take(&mut self.turned_out)
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

    /// Goes on with those who are marked. `ask` gets those who have asked (or what is wrong with
    /// it), with the key under which their answer is delivered, should it come later.
    pub fn turn(&mut self, now: Instant, mut ask: impl FnMut(ViewerKey, Asked) -> Next) {
        self.budget = GUESTS_BYTES_PER_TURN_MAX;
        let mut marked = std::mem::take(&mut self.marked).into_iter();
        let mut served = 0;
        while served < GUESTS_PER_TURN_MAX
            && self.budget > 0
            && let Some(key) = marked.next()
        {
            // Who was turned out has left a mark, and costs nothing.
            let Some(guest) = self.take(key) else { continue };
            served += 1;
            let next = match guest {
                Guest::Sending(draining) | Guest::Lingering(draining) => self.send(key, draining),
                // What it sends meanwhile stays in its socket.
                waiting @ Guest::Waiting(_) => Some(waiting),
                Guest::Asking(asking) => match asking.read() {
                    Asked::Wait(asking) => self.stays(asking),
                    asked => match ask(key, asked) {
                        Next::Send(draining) => self.send(key, draining),
                        Next::Wait(guest) => Some(Guest::Waiting(guest)),
                        Next::Gone => None,
                    },
                },
            };
            self.put_back(key, next, now);
        }
        // Those who had nothing come before those who want more.
        let again = std::mem::take(&mut self.marked);
        self.marked = marked.chain(again).collect();
    }

    /// The first deadline.
    pub fn deadline(&self) -> Option<Instant> {
        let first = |queue: &BTreeSet<(Instant, usize)>| queue.first().map(|&(at, _)| at);
        self.queues.iter().map(first).fold(None, earlier)
    }

    /// Refuses those who have not asked in time or whose answer is not there in time, and lets go
    /// of those who do not take it.
    pub fn on_deadline(&mut self, now: Instant, metrics: &Metrics) {
        let mut served = 0;
        for stage in Stage::ALL {
            while served < GUESTS_PER_TURN_MAX
                && let Some(&(deadline, index)) = self.queues[stage as usize].first()
                && deadline <= now
            {
                served += 1;
                let key = ViewerKey { index, generation: self.places[index].generation };
                let next = match self.take(key) {
                    Some(Guest::Asking(asking)) => self.too_late(key, asking, metrics),
                    Some(Guest::Waiting(asker)) => {
                        metrics.answered(504);
                        self.send(key, asker.answer_last(Response::text(504)))
                    }
                    _ => None,
                };
                // In another stage now, with a later deadline, or gone.
                self.put_back(key, next, now);
            }
        }
    }

    fn insert(&mut self, key: ViewerKey, guest: Guest, now: Instant) {
        assert_eq!(key.index, self.places.vacant_key(), "reserved, and nothing has changed since");
        let stage = guest.stage();
        let deadline = now + stage.timeout();
        let body = match &guest {
            Guest::Sending(draining) => self.bodies.hold(draining.body()),
            _no_body => None,
        };
        self.places.insert(Place {
            generation: key.generation,
            marked: false,
            stage,
            deadline,
            body,
            guest: Some(guest),
        });
        self.generation = (self.generation + 1) & ViewerKey::GENERATION_MASK;
        self.queues[stage as usize].insert((deadline, key.index));
        self.mark(key);
    }

    fn take(&mut self, key: ViewerKey) -> Option<Guest> {
        let place = self.places.get_mut(key.index).filter(|p| p.generation == key.generation)?;
        place.marked = false;
        place.guest.take()
    }

    /// Puts back a guest that was taken, or lets go of its place.
    fn put_back(&mut self, key: ViewerKey, guest: Option<Guest>, now: Instant) {
        let Some(guest) = guest else { return self.remove(key.index) };
        let place = &mut self.places[key.index];
        let stage = guest.stage();
        let asks_again = matches!(&guest, Guest::Asking(asking) if asking.is_new());
        if place.stage != stage || asks_again {
            self.queues[place.stage as usize].remove(&(place.deadline, key.index));
            let heard_until = self.closing.filter(|_| stage == Stage::Asking);
            (place.stage, place.deadline) = (stage, heard_until.unwrap_or(now + stage.timeout()));
            self.queues[stage as usize].insert((place.deadline, key.index));
            self.bodies.let_go(place.body.take());
            if let Guest::Sending(draining) = &guest {
                place.body = self.bodies.hold(draining.body());
            }
        }
        place.guest = Some(guest);
        self.make_room(stage);
        if asks_again {
            // No event will tell what it has sent already.
            self.mark(key);
        }
    }

    /// Turns out the eldest of a stage that has too many, or whose bodies take too much.
    fn make_room(&mut self, stage: Stage) {
        let queue = stage as usize;
        let too_large = |guests: &Guests| stage == Stage::Sending && guests.bodies.are_too_large();
        while self.queues[queue].len() > stage.most(self.room)
            || (too_large(self) && self.queues[queue].len() > 1)
        {
            let &(_, eldest) = self.queues[queue].first().expect("more than there may be");
            self.remove(eldest);
            self.turned_out += 1;
        }
    }

    fn remove(&mut self, index: usize) {
        let place = self.places.remove(index);
        self.queues[place.stage as usize].remove(&(place.deadline, index));
        self.bodies.let_go(place.body);
    }

    /// Goes on sending, for a share of what may be sent in this turn: the viewers of streams have
    /// waited since the last one.
    fn send(&mut self, key: ViewerKey, draining: Draining) -> Option<Guest> {
        let share = self.budget.min(CATCH_UP_BYTES_PER_TURN_MAX);
        let mut left = share;
        let drained = draining.advance(&mut left);
        self.budget -= share - left;
        match drained {
            Drained::Sending(draining) => Some(Guest::Sending(draining)),
            Drained::Part(draining) => {
                self.mark(key);
                Some(Guest::Sending(draining))
            }
            Drained::Lingering(draining) => Some(Guest::Lingering(draining)),
            Drained::Asking(asking) => Some(Guest::Asking(asking)),
            Drained::Over => None,
        }
    }

    fn turn_out_eldest(&mut self) -> bool {
        let eldest = self.queues.iter().find_map(BTreeSet::first).map(|&(_, index)| index);
        self.turned_out += u64::from(eldest.is_some());
        eldest.map(|index| self.remove(index)).is_some()
    }
}

/// A refusal, after which the connection ends.
pub fn refused(connection: Connection, status: u16) -> Draining {
    refusal(connection, Response::text(status))
}

fn refusal(connection: Connection, response: Response) -> Draining {
    let answer = response.outgoing(Method::Get, Version::Http11, false);
    Draining::new(connection, answer, Then::Close)
}

#[cfg(test)]
mod tests;
