//! Whether the workers' loops still go round.
//!
//! Each worker is asked now and then, and woken for it; it answers at the top of its loop, which is
//! no turn. Owns two numbers a worker, and who owes an answer for how long. Never decides what
//! comes of it; driven by a thread that `boot` starts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::limits::PULSE_PATIENCE;

/// What a worker was asked and has answered: the numbers of questions.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
    /// Who asks, and is waiting.
    asker: OnceLock<Thread>,
}

impl Pulse {
    /// Puts the next question. The same thread asks always: it is unparked by the answer.
    pub(super) fn ask(&self) {
        self.asker.get_or_init(std::thread::current);
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// Whether the last question has been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) >= self.asked.load(Ordering::Relaxed)
    }

    /// Answers all that was asked.
    pub fn answer(&self) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked > self.answered.load(Ordering::Relaxed) {
            self.tell(asked);
        }
    }

    /// Answers whatever will be asked: the loop has come to its end in good order.
    pub fn end(&self) {
        self.tell(u64::MAX);
    }

    fn tell(&self, number: u64) {
        self.answered.store(number, Ordering::Release);
        if let Some(asker) = self.asker.get() {
            asker.unpark();
        }
    }
}

/// Who owes an answer, and for how long.
#[derive(Debug)]
pub struct Roll {
    owing: Vec<Option<Duration>>,
    /// The longest time between two looks that counts.
    stride: Duration,
    looked: Instant,
}

impl Roll {
    /// Of so many workers, nobody owes anything. It is to be looked at once in `stride` at least.
    pub fn new(workers: usize, stride: Duration, now: Instant) -> Roll {
        Roll { owing: vec![None; workers], stride, looked: now }
    }

    /// A question has been put to the worker; one that owes an answer already owes it for as long.
    pub fn asked(&mut self, worker: usize) {
        self.owing[worker].get_or_insert(Duration::ZERO);
    }

    /// Looks who has answered. Time that the asker itself has missed (the process or its host was
    /// stopped, or has no time for us) is not held against the workers.
    pub fn look(&mut self, now: Instant, has_answered: impl Fn(usize) -> bool) {
        let passed = now.saturating_duration_since(self.looked).min(self.stride);
        self.looked = now;
        for (worker, owing) in self.owing.iter_mut().enumerate() {
            *owing = owing.filter(|_| !has_answered(worker)).map(|owed| owed + passed);
        }
    }

    /// Whether nobody owes an answer.
    pub fn is_complete(&self) -> bool {
        self.owing.iter().all(Option::is_none)
    }

    /// Whether the worker owes one for too long.
    pub fn is_stuck(&self, worker: usize) -> bool {
        self.owing[worker].is_some_and(|owed| owed >= PULSE_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::PULSE_INTERVAL;

    #[test]
    fn who_does_not_answer_is_stuck_after_a_while_and_well_again_with_its_answer() {
        let start = Instant::now();
        let mut roll = Roll::new(3, PULSE_INTERVAL, start);
        assert!(roll.is_complete());
        let mut now = start;
        for worker in 0..3 {
            roll.asked(worker);
        }
        assert!(!roll.is_complete(), "nobody has answered yet");
        while now - start < PULSE_PATIENCE {
            assert!((0..3).all(|worker| !roll.is_stuck(worker)), "{:?}", now - start);
            now += PULSE_INTERVAL / 4;
            roll.look(now, |worker| worker != 1);
            assert!(!roll.is_complete());
            // Asked again, worker 1 owes its answer for as long as before.
            (0..3).for_each(|worker| roll.asked(worker));
        }
        assert!(roll.is_stuck(1) && !roll.is_stuck(0) && !roll.is_stuck(2));
        roll.look(now, |_| true);
        assert!(roll.is_complete() && !roll.is_stuck(1));
    }

    #[test]
    fn a_pause_of_the_whole_process_is_nobodys_fault() {
        let start = Instant::now();
        let mut roll = Roll::new(1, PULSE_INTERVAL, start);
        roll.asked(0);
        roll.look(start + 100 * PULSE_PATIENCE, |_| false);
        assert!(!roll.is_stuck(0));
        assert!(!roll.is_complete());
    }

    #[test]
    fn an_answer_wakes_who_asked_and_counts_for_what_was_asked_before_it() {
        let pulse = Arc::new(Pulse::default());
        assert!(pulse.is_answered(), "nothing was asked");
        pulse.answer();
        pulse.ask();
        pulse.ask();
        assert!(!pulse.is_answered());
        let worker = Arc::clone(&pulse);
        let answering = std::thread::spawn(move || worker.answer());
        while !pulse.is_answered() {
            std::thread::park();
        }
        answering.join().unwrap();
        pulse.ask();
        assert!(!pulse.is_answered());
        pulse.end();
        pulse.ask();
        assert!(pulse.is_answered(), "whose loop has ended owes nothing");
    }
}
