//! Who may enter one stream: whether it is switched on, how many viewers it may have, and whether
//! who asks is the stream itself.
//!
//! Shared by the workers that have viewers of the stream and by whoever switches it: what one
//! thread has been told holds for all from then on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::http::via::{Pseudonym, Via};

/// The gate of a stream; see the module.
#[derive(Debug)]
pub struct Gate {
    open: AtomicBool,
    viewers: AtomicUsize,
    most: usize,
    own: Pseudonym,
}

/// Why the gate lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The stream is switched off.
    Off,
    /// It has as many viewers as it may have.
    Full,
}

impl Gate {
    /// An open gate, for so many viewers, to the stream of this name.
    pub fn new(most: Option<usize>, own: Pseudonym) -> Gate {
        Gate {
            open: AtomicBool::new(true),
            viewers: AtomicUsize::new(0),
            most: most.unwrap_or(usize::MAX),
            own,
        }
    }

    /// By what name other nodes know the stream.
    pub fn own(&self) -> &Pseudonym {
        &self.own
    }

    /// Whether a request that has come this way comes from the stream itself, or from too far to
    /// tell.
    pub fn closes_ring(&self, via: &Via) -> bool {
        via.names(&self.own) || via.is_long()
    }

    /// Switches the stream on or off. Answers whether that changes anything.
    pub fn switch(&self, on: bool) -> bool {
        self.open.swap(on, Ordering::AcqRel) != on
    }

    /// Whether it is switched on.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets a viewer in.
    pub fn enter(&self) -> Result<(), Closed> {
        if !self.is_open() {
            return Err(Closed::Off);
        }
        let one_more = |viewers| (viewers < self.most).then_some(viewers + 1);
        let entered = self.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.map(drop).map_err(|_most| Closed::Full)
    }

    /// Whether one more would be let in now.
    pub fn would_enter(&self) -> Result<(), Closed> {
        if !self.is_open() {
            Err(Closed::Off)
        } else if self.viewers.load(Ordering::Relaxed) >= self.most {
            Err(Closed::Full)
        } else {
            Ok(())
        }
    }

    /// A viewer who was let in is gone.
    pub fn leave(&self) {
        let viewers = self.viewers.fetch_sub(1, Ordering::Relaxed);
        assert!(viewers > 0, "nobody leaves who has not entered");
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    fn own() -> Pseudonym {
        Pseudonym::new(&RandomState::new(), "/a.ts")
    }

    #[test]
    fn so_many_may_enter_while_it_is_open() {
        let gate = Gate::new(Some(2), own());
        assert_eq!((gate.enter(), gate.enter()), (Ok(()), Ok(())));
        assert_eq!((gate.enter(), gate.would_enter()), (Err(Closed::Full), Err(Closed::Full)));
        gate.leave();
        assert_eq!((gate.would_enter(), gate.switch(true)), (Ok(()), false));
        assert!(gate.switch(false) && !gate.switch(false));
        assert_eq!((gate.enter(), gate.would_enter()), (Err(Closed::Off), Err(Closed::Off)));
        assert!(gate.switch(true));
        assert_eq!((gate.enter(), gate.enter()), (Ok(()), Err(Closed::Full)));
    }

    #[test]
    fn without_a_limit_everybody_may() {
        let gate = Gate::new(None, own());
        assert!((0..1000).all(|_| gate.enter().is_ok()));
    }
}
