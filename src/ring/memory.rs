//! The memory of blocks.
//!
//! What a thread lets go of it uses again before anything else: a block that has just been read
//! from and written to is in the processor's cache, whichever stream it belonged to. A few are kept
//! for that; all others return to the system at once.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use restreamer_sys::memory::Pages;

use crate::limits::{BLOCK_BYTES, SPARE_BLOCKS_MAX};

thread_local! {
    /// Let go of by this thread, the last one last.
    static SPARES: RefCell<Vec<Pages>> = const { RefCell::new(Vec::new()) };
}

/// [`BLOCK_BYTES`] bytes, of whatever content.
#[derive(Debug)]
pub(super) struct Memory {
    /// Taken out only when this is dropped.
    pages: Option<Pages>,
}

impl Memory {
    /// Takes what was let go of last, or asks the system.
    pub(super) fn take() -> Memory {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        let pages = spare.unwrap_or_else(|| {
            // As where the allocator has nothing more: there is no way on.
            Pages::map(BLOCK_BYTES)
                .unwrap_or_else(|why| panic!("no memory for a stream's recent bytes: {why}"))
        });
        Memory { pages: Some(pages) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let pages = self.pages.take();
        // At the end of a thread there are no spares any more, and the system has it all.
        let _ended = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE_BLOCKS_MAX {
                spares.extend(pages);
            }
        });
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_deref().expect("there until it is dropped")
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_deref_mut().expect("there until it is dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_of_last_is_taken_first() {
        let (one, two) = (Memory::take(), Memory::take());
        let (first, second) = (one.as_ptr(), two.as_ptr());
        assert!(one.len() == BLOCK_BYTES && first != second);
        drop(one);
        drop(two);
        let (two, one) = (Memory::take(), Memory::take());
        assert_eq!((one.as_ptr(), two.as_ptr()), (first, second));
    }

    #[test]
    fn so_many_are_kept() {
        let all: Vec<_> = (0..SPARE_BLOCKS_MAX + 10).map(|_| Memory::take()).collect();
        drop(all);
        assert_eq!(SPARES.with_borrow(Vec::len), SPARE_BLOCKS_MAX);
    }
}
