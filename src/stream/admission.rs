//! How many viewers the node takes.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of viewers of all streams, and its limit.
#[derive(Debug)]
pub struct Admission {
    viewers: AtomicUsize,
    limit: Option<usize>,
}

impl Admission {
    /// Nobody is there yet; `limit` is `maxconnections`.
    pub fn new(limit: Option<usize>) -> Admission {
        Admission { viewers: AtomicUsize::new(0), limit }
    }

    /// Lets one more in, unless the limit is reached.
    pub fn enter(&self) -> bool {
        let limit = self.limit.unwrap_or(usize::MAX);
        let one_more = |viewers| (viewers < limit).then_some(viewers + 1);
        self.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Whether one more would be let in now.
    pub fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.viewers() < limit)
    }

    /// One who was let in is gone.
    pub fn leave(&self) {
        self.viewers.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_a_place_is_free_again() {
        let admission = Admission::new(Some(2));
        assert!(admission.enter() && admission.enter());
        assert!(!admission.enter() && !admission.has_room());
        admission.leave();
        assert!(admission.enter());
        assert_eq!(admission.viewers(), 2);
    }
}
