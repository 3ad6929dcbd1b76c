//! What waits to be told to the targets at one server, and the order in which they get it.
//!
//! Owns the bounded queues and who is being told. Each target takes its own events in order. A
//! limit event also waits for earlier ones to other targets here, so that a server with one address
//! for "full" and another for "no longer full" ends up with the truth; but it does not wait for a
//! target that has kept others waiting too long, until that one has answered again, nor for one
//! that pauses between two tries. What was overtaken so is not told any more: it would hide the
//! truth. The decisions are made in [`State`], where time is an argument.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{earlier, remaining};
use crate::config::NotificationEvent;
use crate::limits::NOTIFY_EVENTS_MAX;

/// The queues of all targets at one server.
#[derive(Debug)]
pub(super) struct Queues {
    state: Mutex<State>,
    changed: Condvar,
    /// How long a target's event waits for another target's.
    patience: Duration,
}

impl Queues {
    /// Empty queues of so many targets, which are numbered from 0.
    pub(super) fn new(targets: usize, patience: Duration) -> Queues {
        Queues { state: Mutex::new(State::new(targets)), changed: Condvar::new(), patience }
    }

    /// Queues an event; answers what is dropped for want of room: it or one before it.
    pub(super) fn offer(
        &self,
        target: usize,
        number: u64,
        event: NotificationEvent,
    ) -> Option<NotificationEvent> {
        let dropped = self.lock().offer(target, Item { number, event });
        self.changed.notify_all();
        dropped
    }

    /// Waits for a target's next event and takes it; `None`: there will be none.
    pub(super) fn take(&self, target: usize) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.next(target, now, self.patience) {
                Next::Take(taken) => return Some(taken),
                Next::Closed => return None,
                Next::Wait(deadline) => {
                    state = match remaining(deadline, now) {
                        None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                        Some(left) => {
                            let waited = self.changed.wait_timeout(state, left);
                            waited.unwrap_or_else(PoisonError::into_inner).0
                        }
                    };
                }
            }
        }
    }

    /// What was taken could not be told: waits until it is time for another try. Answers whether
    /// there is one, which begins then: not if something else has become more important.
    pub(super) fn pause(&self, target: usize, pause: Duration) -> bool {
        let mut state = self.lock();
        state.slots[target].fails(Instant::now(), self.patience);
        self.changed.notify_all();
        let goes_on = |state: &mut State| !state.gives_way(target);
        let waited = self.changed.wait_timeout_while(state, pause, goes_on);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.tries_again(target, Instant::now())
    }

    /// What was taken is done with.
    pub(super) fn finish(&self, target: usize, delivered: bool) {
        self.lock().finish(target, delivered, Instant::now(), self.patience);
        self.changed.notify_all();
    }

    /// Waits until nothing comes any more and every limit event is done with, but not longer than
    /// until then; answers whether it is so.
    pub(super) fn await_told(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let not_yet = |state: &mut State| !state.is_told();
        let waited = self.changed.wait_timeout_while(self.lock(), left, not_yet);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_told()
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    /// The number of the last limit event that was taken: those before it are overtaken.
    last: u64,
    closed: bool,
}

/// One target's.
#[derive(Debug)]
struct Slot {
    waiting: VecDeque<Item>,
    telling: Option<Telling>,
    /// Whether it has kept others waiting too long: they do not wait for it then.
    hangs: bool,
}

/// What is being told.
#[derive(Clone, Copy, Debug)]
struct Telling {
    item: Item,
    /// Since when it is tried; `None`: it pauses between two tries.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    number: u64,
    event: NotificationEvent,
}

/// An event that was taken from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is to be told, and then to be finished.
    ToTell(NotificationEvent),
    /// A later one went ahead to the same server: it is not told any more.
    Overtaken(NotificationEvent),
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Take(Taken),
    /// Until something changes, or until then.
    Wait(Option<Instant>),
    Closed,
}

impl Item {
    fn is_heartbeat(self) -> bool {
        self.event == NotificationEvent::Heartbeat
    }
}

impl Slot {
    fn new() -> Slot {
        Slot { waiting: VecDeque::new(), telling: None, hangs: false }
    }

    /// The number of the first limit event that is not told yet.
    fn first(&self) -> Option<u64> {
        let telling = self.telling.iter().map(|telling| &telling.item);
        telling.chain(&self.waiting).find(|item| !item.is_heartbeat()).map(|item| item.number)
    }

    /// Whether it is between two tries of a limit event.
    fn pauses(&self) -> bool {
        self.telling.is_some_and(|Telling { item, since }| since.is_none() && !item.is_heartbeat())
    }

    /// A try has ended in vain.
    fn fails(&mut self, now: Instant, patience: Duration) {
        let since = self.telling.as_mut().and_then(|telling| telling.since.take());
        self.hangs = since.is_some_and(|since| now.duration_since(since) >= patience);
    }
}

impl State {
    fn new(targets: usize) -> State {
        let slots = (0..targets).map(|_| Slot::new()).collect();
        State { slots, last: 0, closed: false }
    }

    /// A heartbeat never pushes anything out, and does not wait beside another. A limit event
    /// pushes out a heartbeat, or else the oldest event: the last one tells how it is now.
    fn offer(&mut self, target: usize, item: Item) -> Option<NotificationEvent> {
        let waiting = &mut self.slots[target].waiting;
        let heartbeat = waiting.iter().position(|item| item.is_heartbeat());
        let full = waiting.len() >= NOTIFY_EVENTS_MAX;
        if item.is_heartbeat() && (full || heartbeat.is_some()) {
            return Some(item.event);
        }
        let dropped = if full { waiting.remove(heartbeat.unwrap_or(0)) } else { None };
        waiting.push_back(item);
        dropped.map(|item| item.event)
    }

    fn next(&mut self, target: usize, now: Instant, patience: Duration) -> Next {
        let Some(&item) = self.slots[target].waiting.front() else {
            return if self.closed { Next::Closed } else { Next::Wait(None) };
        };
        if !item.is_heartbeat() {
            if item.number < self.last {
                self.slots[target].waiting.pop_front();
                return Next::Take(Taken::Overtaken(item.event));
            }
            if let Some(deadline) = self.held_until(item.number, now, patience) {
                return Next::Wait(Some(deadline));
            }
            self.last = item.number;
        }
        let slot = &mut self.slots[target];
        slot.waiting.pop_front();
        slot.telling = Some(Telling { item, since: Some(now) });
        Next::Take(Taken::ToTell(item.event))
    }

    /// Whether no limit event will be told any more.
    fn is_told(&self) -> bool {
        self.closed && self.slots.iter().all(|slot| slot.first().is_none())
    }

    /// Whether there is something more important than what a target is being told: after a limit
    /// event a later one, after a heartbeat anything, the end included.
    fn gives_way(&self, target: usize) -> bool {
        let slot = &self.slots[target];
        slot.telling.is_none_or(|Telling { item, .. }| {
            if item.is_heartbeat() {
                self.closed || !slot.waiting.is_empty()
            } else {
                item.number < self.last
            }
        })
    }

    fn tries_again(&mut self, target: usize, now: Instant) -> bool {
        let again = !self.gives_way(target);
        if again && let Some(telling) = &mut self.slots[target].telling {
            telling.since = Some(now);
        }
        again
    }

    fn finish(&mut self, target: usize, delivered: bool, now: Instant, patience: Duration) {
        let slot = &mut self.slots[target];
        if delivered {
            slot.hangs = false;
        } else if slot.telling.is_some_and(|telling| telling.since.is_some()) {
            slot.fails(now, patience);
        }
        slot.telling = None;
    }

    /// Until when an event waits for earlier ones; those that take too long are not waited for.
    fn held_until(&mut self, number: u64, now: Instant, patience: Duration) -> Option<Instant> {
        let mut held = None;
        for slot in &mut self.slots {
            let first = slot.first();
            if slot.hangs || slot.pauses() || first.is_none_or(|first| first >= number) {
                continue;
            }
            // What is not being told yet will be in a moment: its thread has nothing else to do.
            let since = slot.telling.and_then(|telling| telling.since).unwrap_or(now);
            let deadline = since + patience;
            if deadline > now {
                held = earlier(held, Some(deadline));
            } else {
                slot.hangs = true;
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NotificationEvent::{Heartbeat, LimitHit, LimitMiss};

    const PATIENCE: Duration = Duration::from_millis(100);

    fn to_tell(event: NotificationEvent) -> Next {
        Next::Take(Taken::ToTell(event))
    }

    fn item(number: u64, event: NotificationEvent) -> Item {
        Item { number, event }
    }

    #[test]
    fn a_full_queue_drops_heartbeats_first_and_then_the_oldest() {
        let mut state = State::new(1);
        assert_eq!(state.offer(0, item(1, LimitMiss)), None);
        assert_eq!(state.offer(0, item(2, Heartbeat)), None);
        assert_eq!(state.offer(0, item(3, Heartbeat)), Some(Heartbeat), "one waits already");
        for number in 4..NOTIFY_EVENTS_MAX as u64 + 2 {
            assert_eq!(state.offer(0, item(number, LimitHit)), None);
        }
        assert_eq!(state.slots[0].waiting.len(), NOTIFY_EVENTS_MAX);
        assert_eq!(state.offer(0, item(100, LimitHit)), Some(Heartbeat), "it makes way");
        assert_eq!(state.offer(0, item(101, LimitHit)), Some(LimitMiss), "the oldest");
        assert_eq!(state.offer(0, item(102, Heartbeat)), Some(Heartbeat), "it pushes nothing out");
        let numbers: Vec<_> = state.slots[0].waiting.iter().map(|item| item.number).collect();
        assert_eq!(numbers.len(), NOTIFY_EVENTS_MAX);
        assert!(numbers.is_sorted() && numbers[0] == 4 && numbers.ends_with(&[100, 101]));
    }

    #[test]
    fn an_event_waits_for_earlier_ones_to_the_same_server() {
        let mut state = State::new(2);
        let now = Instant::now();
        state.offer(0, item(1, LimitHit));
        state.offer(1, item(2, LimitMiss));
        let held = Next::Wait(Some(now + PATIENCE));
        assert_eq!(state.next(1, now, PATIENCE), held, "the other is not even being told");
        assert_eq!(state.next(0, now, PATIENCE), to_tell(LimitHit));
        assert_eq!(state.next(1, now, PATIENCE), held);
        state.slots[0].telling = None;
        assert_eq!(state.next(1, now, PATIENCE), to_tell(LimitMiss));
        assert_eq!(state.next(0, now, PATIENCE), Next::Wait(None));
        state.closed = true;
        assert_eq!(state.next(0, now, PATIENCE), Next::Closed);
    }

    #[test]
    fn nobody_waits_twice_for_one_that_hangs() {
        let mut state = State::new(2);
        let now = Instant::now();
        state.offer(0, item(1, LimitHit));
        assert_eq!(state.next(0, now, PATIENCE), to_tell(LimitHit));
        for number in 2..5 {
            state.offer(1, item(number, LimitMiss));
        }
        let (almost, deadline) = (now + PATIENCE / 2, now + PATIENCE);
        assert_eq!(state.next(1, almost, PATIENCE), Next::Wait(Some(deadline)));
        for _ in 2..5 {
            assert_eq!(state.next(1, deadline, PATIENCE), to_tell(LimitMiss));
            state.slots[1].telling = None;
        }
        state.finish(0, true, deadline, PATIENCE);
        state.offer(0, item(5, LimitHit));
        state.offer(1, item(6, LimitMiss));
        assert_eq!(state.next(0, deadline, PATIENCE), to_tell(LimitHit));
        assert!(matches!(state.next(1, deadline, PATIENCE), Next::Wait(_)), "it answers again");
        state.finish(0, false, deadline + PATIENCE, PATIENCE);
        state.offer(0, item(7, LimitHit));
        state.offer(1, item(8, LimitMiss));
        for _ in 0..2 {
            let next = state.next(1, deadline + PATIENCE, PATIENCE);
            assert_eq!(next, to_tell(LimitMiss), "nobody had to wait to find out");
            state.slots[1].telling = None;
        }
    }

    #[test]
    fn what_pauses_is_overtaken_and_what_is_tried_again_is_waited_for() {
        let mut state = State::new(2);
        let now = Instant::now();
        for (target, number, event) in [(0, 1, LimitHit), (1, 2, LimitMiss), (0, 3, LimitHit)] {
            state.offer(target, item(number, event));
        }
        assert_eq!(state.next(0, now, PATIENCE), to_tell(LimitHit));
        state.slots[0].fails(now, PATIENCE);
        assert!(state.tries_again(0, now), "it was not overtaken yet");
        assert_eq!(state.next(1, now, PATIENCE), Next::Wait(Some(now + PATIENCE)));
        state.slots[0].fails(now, PATIENCE);
        assert_eq!(state.next(1, now, PATIENCE), to_tell(LimitMiss));
        assert!(!state.tries_again(0, now), "it was overtaken");
        state.finish(0, false, now, PATIENCE);
        state.finish(1, true, now, PATIENCE);
        assert_eq!(state.next(0, now, PATIENCE), to_tell(LimitHit), "a later one was not");
    }

    #[test]
    fn what_waits_behind_one_that_hangs_is_overtaken_with_it() {
        let mut state = State::new(2);
        let now = Instant::now();
        for (target, number, event) in
            [(0, 1, LimitHit), (0, 3, LimitHit), (0, 4, Heartbeat), (0, 6, LimitHit)]
        {
            state.offer(target, item(number, event));
        }
        assert_eq!(state.next(0, now, PATIENCE), to_tell(LimitHit));
        state.offer(1, item(5, LimitMiss));
        assert_eq!(state.next(1, now + PATIENCE, PATIENCE), to_tell(LimitMiss));
        state.finish(0, true, now + PATIENCE, PATIENCE);
        state.finish(1, true, now + PATIENCE, PATIENCE);
        let overtaken = Next::Take(Taken::Overtaken(LimitHit));
        for next in [overtaken, to_tell(Heartbeat), to_tell(LimitHit)] {
            assert_eq!(state.next(0, now + PATIENCE, PATIENCE), next);
        }
    }

    #[test]
    fn all_is_told_when_no_limit_event_is_left() {
        let mut state = State::new(2);
        let now = Instant::now();
        assert!(!state.is_told(), "more may come");
        state.offer(0, item(1, Heartbeat));
        state.offer(1, item(2, LimitHit));
        state.closed = true;
        assert!(!state.is_told(), "it waits");
        assert_eq!(state.next(1, now, PATIENCE), to_tell(LimitHit));
        assert!(!state.is_told(), "it is being told");
        state.finish(1, false, now, PATIENCE);
        assert!(state.is_told(), "heartbeats do not count");
    }

    #[test]
    fn heartbeats_give_way_to_everything() {
        let mut state = State::new(1);
        let now = Instant::now();
        state.offer(0, item(1, Heartbeat));
        assert_eq!(state.next(0, now, PATIENCE), to_tell(Heartbeat));
        assert!(state.tries_again(0, now));
        state.offer(0, item(2, Heartbeat));
        assert!(!state.tries_again(0, now));
        assert_eq!(state.next(0, now, PATIENCE), to_tell(Heartbeat));
        assert!(state.tries_again(0, now));
        state.closed = true;
        assert!(!state.tries_again(0, now));
    }

    #[test]
    fn heartbeats_neither_wait_nor_are_waited_for() {
        let mut state = State::new(2);
        let now = Instant::now();
        state.offer(0, item(1, Heartbeat));
        state.offer(1, item(2, LimitHit));
        state.offer(0, item(3, Heartbeat));
        assert_eq!(state.next(1, now, PATIENCE), to_tell(LimitHit));
        assert_eq!(state.next(0, now, PATIENCE), to_tell(Heartbeat));
    }
}
