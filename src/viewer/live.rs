//! At the head: fed by the fan-out.

use restreamer_sys::Moved;

use super::State;
use super::catching_up::CatchingUp;
use crate::ring::Position;

/// A viewer who has everything up to the head. It has no position of its own: that is the head.
#[derive(Debug)]
pub struct Live;

impl Live {
    /// What becomes of it when it was offered the bytes from `from` to `to` and took what `taken`
    /// says; with [`Moved::Ended`] it is gone and this does not matter.
    pub fn offered(self, from: Position, to: Position, taken: Moved) -> State {
        let reached = from.advanced(taken.count());
        if reached == to { State::Live(self) } else { State::CatchingUp(CatchingUp::at(reached)) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn only_who_took_all_stays_live() {
        let (from, to) = (Position::START, Position::START.advanced(376));
        let took = |n| Moved::Bytes(NonZeroUsize::new(n).unwrap());
        assert!(matches!(Live.offered(from, to, took(376)), State::Live(_)));
        for (taken, reached) in [(took(375), 375), (took(1), 1), (Moved::Blocked, 0)] {
            match Live.offered(from, to, taken) {
                State::CatchingUp(state) => assert_eq!(state.position(), from.advanced(reached)),
                other => panic!("{other:?}"),
            }
        }
    }
}
