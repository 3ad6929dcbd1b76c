//! A set of PIDs.

use std::fmt;

use super::packet::Pid;

/// A set of PIDs: a bit for each, 1 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Pids {
    bits: Box<[u64; Pid::COUNT / 64]>,
    count: usize,
}

impl Default for Pids {
    fn default() -> Self {
        Self { bits: Box::new([0; Pid::COUNT / 64]), count: 0 }
    }
}

impl fmt::Debug for Pids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Pids {
    /// Adds one. Answers whether it was not there.
    pub fn insert(&mut self, pid: Pid) -> bool {
        let (word, bit) = self.place(pid);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Takes one out. Answers whether it was there.
    pub fn remove(&mut self, pid: Pid) -> bool {
        let (word, bit) = self.place(pid);
        let was_there = *word & bit != 0;
        *word &= !bit;
        self.count -= usize::from(was_there);
        was_there
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Pid> {
        let words = self.bits.iter().zip(0_u16..);
        words.flat_map(|(word, number)| {
            let set = (0..64).filter(move |bit| word >> bit & 1 == 1);
            set.map(move |bit| Pid::new(number * 64 + bit))
        })
    }

    /// The word that has the bit of `pid`, and that bit.
    fn place(&mut self, pid: Pid) -> (&mut u64, u64) {
        (&mut self.bits[pid.index() / 64], 1 << (pid.index() % 64))
    }
}

impl Extend<Pid> for Pids {
    fn extend<T: IntoIterator<Item = Pid>>(&mut self, pids: T) {
        for pid in pids {
            self.insert(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..200_u16), 0..200)) {
            let (mut pids, mut model) = (Pids::default(), BTreeSet::new());
            for (is_there, value) in steps {
                // The lowest and the highest ones.
                let value = if value < 100 { value } else { 0x1FFF - value };
                if is_there {
                    prop_assert_eq!(pids.insert(Pid::new(value)), model.insert(value));
                } else {
                    prop_assert_eq!(pids.remove(Pid::new(value)), model.remove(&value));
                }
                prop_assert_eq!(pids.is_empty(), model.is_empty());
            }
            let all: Vec<u16> = pids.iter().map(Pid::value).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
