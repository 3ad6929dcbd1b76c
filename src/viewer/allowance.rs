//! What may be written in one turn to viewers who are catching up, of all streams of a worker
//! together: it keeps the live ones from waiting, however many join at once.

use crate::limits::{CATCH_UP_CALL_BYTES, CATCH_UP_WORK_BYTES_PER_TURN};

/// What is left of it; see the module.
#[derive(Debug)]
pub struct Allowance {
    left: usize,
}

impl Allowance {
    /// That of a turn which begins.
    pub fn of_a_turn() -> Allowance {
        Allowance { left: CATCH_UP_WORK_BYTES_PER_TURN }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Takes off a call that moved so many bytes. The last one may be larger than what is left.
    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.saturating_add(CATCH_UP_CALL_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_are_spent() {
        for bytes in [0, 1, 1000, CATCH_UP_WORK_BYTES_PER_TURN, usize::MAX] {
            let mut allowance = Allowance::of_a_turn();
            let mut calls = 0;
            while !allowance.is_spent() {
                allowance.spend(bytes);
                calls += 1;
            }
            let cost = bytes.saturating_add(CATCH_UP_CALL_BYTES);
            assert_eq!(calls, CATCH_UP_WORK_BYTES_PER_TURN.div_ceil(cost), "{bytes} bytes a call");
        }
    }
}
