//! What the rings of the node together may keep for those who join.
//!
//! Owns the count. Who comes first has it: a stream that finds nothing left keeps nothing, and has
//! its viewers begin at the newest packet, until others need less.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The node's; shared by the workers.
#[derive(Debug)]
pub struct Allotment {
    bytes: usize,
    taken: AtomicUsize,
}

/// A ring's share of it, which is given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Allotment>,
    taken: usize,
}

impl Allotment {
    /// So many bytes for all.
    pub fn new(bytes: usize) -> Arc<Allotment> {
        Arc::new(Allotment { bytes, taken: AtomicUsize::new(0) })
    }

    /// Nothing yet, for one ring.
    pub fn share(self: &Arc<Allotment>) -> Share {
        Share { of: Arc::clone(self), taken: 0 }
    }
}

impl Share {
    /// Makes it so many bytes; where there are not as many left it is none. Answers whether it is
    /// what was asked for.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let Allotment { bytes: all, taken } = &*self.of;
        let before = std::mem::replace(&mut self.taken, bytes);
        if bytes == before {
            // As in most turns: workers share the count, and the cache line it is in.
            return true;
        }
        if bytes < before {
            taken.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        let more = bytes - before;
        let grown = |sum: usize| sum.checked_add(more).filter(|sum| sum <= all);
        let granted = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if !granted {
            taken.fetch_sub(before, Ordering::Relaxed);
            self.taken = 0;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_have_so_much_and_no_more() {
        let all = Allotment::new(100);
        let (mut one, mut two) = (all.share(), all.share());
        assert!(one.resize(60) && two.resize(40) && one.resize(60));
        assert!(!two.resize(41), "there is no more");
        assert!(one.resize(100), "the other one has lost what it had");
        assert!(!two.resize(1) && two.resize(0));
        assert!(one.resize(50) && two.resize(50) && !two.resize(usize::MAX));
        drop(one);
        assert!(two.resize(100));
        drop(two);
        assert_eq!(all.taken.load(Ordering::Relaxed), 0);
    }
}
