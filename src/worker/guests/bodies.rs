//! The bodies that guests are being sent.
//!
//! Many guests share one. What slow ones hold still of the time before a resource was fetched anew
//! adds up: this knows how much it is in all.

use std::collections::HashMap;
use std::sync::Arc;

/// The bodies that are held, each once.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// By where they are: how many hold them.
    held: HashMap<usize, usize>,
    bytes: usize,
    /// Beyond this they are too large.
    most: usize,
}

impl Bodies {
    /// None are held, and so many bytes may be.
    pub(super) fn new(most: usize) -> Bodies {
        Bodies { most, ..Bodies::default() }
    }

    /// Somebody holds a body.
    pub(super) fn hold(&mut self, body: Option<&Arc<[u8]>>) -> Option<Arc<[u8]>> {
        let body = body?;
        let holders = self.held.entry(place(body)).or_default();
        *holders += 1;
        if *holders == 1 {
            self.bytes += body.len();
        }
        Some(Arc::clone(body))
    }

    /// Somebody holds it no more.
    pub(super) fn let_go(&mut self, body: Option<Arc<[u8]>>) {
        let Some(body) = body else { return };
        let holders = self.held.get_mut(&place(&body)).expect("it was held");
        *holders -= 1;
        if *holders == 0 {
            self.held.remove(&place(&body));
            self.bytes -= body.len();
        }
    }

    /// Whether they are more than there may be.
    pub(super) fn are_too_large(&self) -> bool {
        self.bytes > self.most
    }
}

/// Names a body for as long as it is held.
fn place(body: &Arc<[u8]>) -> usize {
    body.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_once_however_many_hold_it() {
        let mut bodies = Bodies::new(1000);
        let large: Arc<[u8]> = vec![0; 1000].into();
        let small: Arc<[u8]> = vec![0; 1].into();
        let first = bodies.hold(Some(&large));
        let second = bodies.hold(Some(&large));
        assert!(!bodies.are_too_large());
        let third = bodies.hold(Some(&small));
        assert!(bodies.are_too_large());
        bodies.let_go(first);
        assert!(bodies.are_too_large(), "somebody holds it still");
        bodies.let_go(second);
        assert!(!bodies.are_too_large());
        bodies.let_go(third);
        bodies.let_go(None);
        assert!(bodies.held.is_empty() && bodies.bytes == 0);
    }
}
