//! What is done at the door when its time has come.
//!
//! Owns the thread: it ends what has expired, at once; now and then it forgets sources that are
//! within their rate, and writes the state file again where that failed or its times are no longer
//! right. Driven by the clock, and woken when a rule has changed.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::Builder;
use std::time::Instant;

use slog::{error, info};

use super::super::state::Moment;
use super::{Book, Keeper};
use crate::limits::{DOOR_SOURCE_IDLE, DOOR_STACK_BYTES, DOOR_SWEEP_INTERVAL};

impl Keeper {
    /// Starts the thread.
    pub(in crate::door) fn start(self: &Arc<Keeper>) -> io::Result<()> {
        let keeper = Arc::clone(self);
        let thread = Builder::new().name("door".into()).stack_size(DOOR_STACK_BYTES);
        thread.spawn(move || keeper.run()).map(drop)
    }

    /// Ends the thread and writes the rules with the hits that they have by now: at a clean stop.
    pub fn stop(&self) {
        let mut book = self.book();
        book.over = true;
        self.save(&mut book, Moment::now());
        drop(book);
        self.wake.notify_all();
    }

    fn run(&self) {
        let mut sweep = Instant::now() + DOOR_SWEEP_INTERVAL;
        let mut book = self.book();
        while !book.over {
            let now = Moment::now();
            let ended = self.expire(&mut book, now);
            if sweep <= now.instant {
                self.sweep(&mut book, now);
                sweep = now.instant + DOOR_SWEEP_INTERVAL;
            }
            // What could not be ended is tried again with the next sweep.
            let expiry = book.rules.next_expiry().filter(|_| ended);
            let next = expiry.map_or(sweep, |expiry| expiry.min(sweep));
            let wait = next.saturating_duration_since(now.instant);
            let woken = self.wake.wait_timeout(book, wait);
            (book, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends what has expired. Answers whether all of it could be.
    pub(super) fn expire(&self, book: &mut Book, now: Moment) -> bool {
        let expired = book.rules.expired(now.instant);
        let mut ended = true;
        for plan in &expired {
            match book.carry_out(plan) {
                Ok(()) => info!(self.log, "the door: the time of {} is over", plan.network;
                    "event" => "door"),
                Err(why) => {
                    ended = false;
                    error!(
                        self.log,
                        "the door: the time of {} is over, and the kernel does not let go of it: \
                        {why}", plan.network; "event" => "error", "error" => "door_expiry"
                    );
                }
            }
        }
        if !expired.is_empty() {
            self.tell_workers(book);
            self.save(book, now);
        }
        ended
    }

    /// Tidies up.
    pub(super) fn sweep(&self, book: &mut Book, now: Moment) {
        if let Some(Err(why)) =
            book.kernel.as_mut().map(|kernel| kernel.forget_idle(DOOR_SOURCE_IDLE))
        {
            self.complain(Some(why));
        }
        if let (Some(shared), Some(before)) =
            (&self.accept, now.instant.checked_sub(DOOR_SOURCE_IDLE))
        {
            shared.forget(before);
        }
        if book.store.as_ref().is_some_and(|store| store.wants_writing(now)) {
            let kept = self.kept(book, now);
            if let Some(store) = &mut book.store
                && store.write(&kept, now).is_ok()
            {
                info!(self.log, "what was changed at the door is in {}", store.path().display();
                    "event" => "door");
            }
        }
    }
}
