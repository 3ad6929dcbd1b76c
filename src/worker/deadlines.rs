//! When which stream wants to be looked at.

use std::collections::BTreeSet;
use std::time::Instant;

/// One deadline a stream, in order.
#[derive(Debug)]
pub struct Deadlines {
    order: BTreeSet<(Instant, usize)>,
    of: Vec<Option<Instant>>,
}

impl Deadlines {
    /// No stream has one.
    pub fn new(streams: usize) -> Deadlines {
        Deadlines { order: BTreeSet::new(), of: vec![None; streams] }
    }

    /// The first of all.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(deadline, _)| deadline)
    }

    /// Takes out a stream that is due; it has no deadline then.
    pub fn take_due(&mut self, now: Instant) -> Option<usize> {
        let &(deadline, stream) = self.order.first()?;
        if deadline > now {
            return None;
        }
        self.order.pop_first();
        self.of[stream] = None;
        Some(stream)
    }

    /// Sets a stream's deadline. A later one than before is left for when the earlier has come:
    /// the patience with an upstream that sends moves on with every turn.
    pub fn set(&mut self, stream: usize, deadline: Option<Instant>) {
        let (Some(new), old) = (deadline, self.of[stream]) else { return };
        if old.is_some_and(|old| old <= new) {
            return;
        }
        if let Some(old) = old {
            self.order.remove(&(old, stream));
        }
        self.order.insert((new, stream));
        self.of[stream] = Some(new);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_comes_first_and_once() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let mut deadlines = Deadlines::new(3);
        assert_eq!(deadlines.next(), None);
        (0..3).for_each(|stream| deadlines.set(stream, Some(now)));
        assert_eq!(deadlines.take_due(now), Some(0));
        assert_eq!(deadlines.take_due(now), Some(1));
        assert_eq!(deadlines.take_due(now), Some(2));
        assert_eq!(deadlines.take_due(now), None);
        deadlines.set(1, Some(at(5)));
        deadlines.set(2, Some(at(3)));
        deadlines.set(1, Some(at(9)));
        deadlines.set(2, Some(at(2)));
        assert_eq!(deadlines.next(), Some(at(2)));
        assert_eq!(deadlines.take_due(at(1)), None);
        assert_eq!(deadlines.take_due(at(9)), Some(2));
        assert_eq!(deadlines.take_due(at(9)), Some(1));
        assert_eq!((deadlines.take_due(at(9)), deadlines.next()), (None, None));
    }
}
