//! What waits to be told to the targets at one server, and the order in which they get it.
//!
//! Owns the bounded queues and who is being told. Each target takes its own events in order. A
//! limit event also waits for earlier ones to other targets here, so that a server with one address
//! for "full" and another for "no longer full" ends up with the truth; but it does not wait for a
//! target that fails or has kept others waiting too long, until that one has answered again. The
//! decisions are made in [`State`], where time is an argument.

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
        let slots = (0..targets).map(|_| Slot::new()).collect();
        let state = State { slots, closed: false };
        Queues { state: Mutex::new(state), changed: Condvar::new(), patience }
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
    pub(super) fn take(&self, target: usize) -> Option<NotificationEvent> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.next(target, now, self.patience) {
                Next::Take(event) => return Some(event),
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

    /// What was taken could not be told yet.
    pub(super) fn fails(&self, target: usize) {
        self.lock().slots[target].answers = false;
        self.changed.notify_all();
    }

    /// What was taken is done with.
    pub(super) fn finish(&self, target: usize, delivered: bool) {
        let mut state = self.lock();
        let slot = &mut state.slots[target];
        (slot.telling, slot.answers) = (None, delivered);
        self.changed.notify_all();
    }

    /// Waits until something else waits for the target, but not longer than this; answers whether
    /// it does.
    pub(super) fn await_another(&self, target: usize, patience: Duration) -> bool {
        let nothing = |state: &mut State| state.slots[target].waiting.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, nothing);
        !nothing(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
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
    closed: bool,
}

/// One target's.
#[derive(Debug)]
struct Slot {
    waiting: VecDeque<Item>,
    /// What is being told, and since when.
    telling: Option<(Item, Instant)>,
    /// Whether others wait for it.
    answers: bool,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    number: u64,
    event: NotificationEvent,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Take(NotificationEvent),
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
        Slot { waiting: VecDeque::new(), telling: None, answers: true }
    }

    /// The number of the first limit event that is not told yet.
    fn first(&self) -> Option<u64> {
        let telling = self.telling.iter().map(|(item, _)| item);
        telling.chain(&self.waiting).find(|item| !item.is_heartbeat()).map(|item| item.number)
    }
}

impl State {
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
        if !item.is_heartbeat()
            && let Some(deadline) = self.held_until(item.number, now, patience)
        {
            return Next::Wait(Some(deadline));
        }
        let slot = &mut self.slots[target];
        slot.waiting.pop_front();
        slot.telling = Some((item, now));
        Next::Take(item.event)
    }

    /// Until when an event waits for earlier ones; those that take too long are not waited for.
    fn held_until(&mut self, number: u64, now: Instant, patience: Duration) -> Option<Instant> {
        let mut held = None;
        for slot in &mut self.slots {
            if !slot.answers || slot.first().is_none_or(|first| first >= number) {
                continue;
            }
            // What is not being told yet will be in a moment: its thread has nothing else to do.
            let since = slot.telling.map_or(now, |(_, since)| since);
            let deadline = since + patience;
            if deadline > now {
                held = earlier(held, Some(deadline));
            } else {
                slot.answers = false;
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

    fn state(targets: usize) -> State {
        State { slots: (0..targets).map(|_| Slot::new()).collect(), closed: false }
    }

    fn item(number: u64, event: NotificationEvent) -> Item {
        Item { number, event }
    }

    #[test]
    fn a_full_queue_drops_heartbeats_first_and_then_the_oldest() {
        let mut state = state(1);
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
        let mut state = state(2);
        let now = Instant::now();
        state.offer(0, item(1, LimitHit));
        state.offer(1, item(2, LimitMiss));
        let held = Next::Wait(Some(now + PATIENCE));
        assert_eq!(state.next(1, now, PATIENCE), held, "the other is not even being told");
        assert_eq!(state.next(0, now, PATIENCE), Next::Take(LimitHit));
        assert_eq!(state.next(1, now, PATIENCE), held);
        state.slots[0].telling = None;
        assert_eq!(state.next(1, now, PATIENCE), Next::Take(LimitMiss));
        assert_eq!(state.next(0, now, PATIENCE), Next::Wait(None));
        state.closed = true;
        assert_eq!(state.next(0, now, PATIENCE), Next::Closed);
    }

    #[test]
    fn nobody_waits_twice_for_one_that_hangs_nor_for_one_that_fails() {
        let mut state = state(2);
        let now = Instant::now();
        state.offer(0, item(1, LimitHit));
        assert_eq!(state.next(0, now, PATIENCE), Next::Take(LimitHit));
        for number in 2..5 {
            state.offer(1, item(number, LimitMiss));
        }
        let (almost, deadline) = (now + PATIENCE / 2, now + PATIENCE);
        assert_eq!(state.next(1, almost, PATIENCE), Next::Wait(Some(deadline)));
        for _ in 2..5 {
            assert_eq!(state.next(1, deadline, PATIENCE), Next::Take(LimitMiss));
            state.slots[1].telling = None;
        }
        state.slots[0].answers = true;
        state.offer(1, item(5, LimitMiss));
        assert!(matches!(state.next(1, almost, PATIENCE), Next::Wait(_)), "it answers again");
        state.slots[0].answers = false;
        assert_eq!(state.next(1, almost, PATIENCE), Next::Take(LimitMiss));
    }

    #[test]
    fn heartbeats_neither_wait_nor_are_waited_for() {
        let mut state = state(2);
        let now = Instant::now();
        state.offer(0, item(1, Heartbeat));
        state.offer(1, item(2, LimitHit));
        state.offer(0, item(3, Heartbeat));
        assert_eq!(state.next(1, now, PATIENCE), Next::Take(LimitHit));
        assert_eq!(state.next(0, now, PATIENCE), Next::Take(Heartbeat));
    }
}
