//! Rates over the last second.

use std::iter::Sum;
use std::time::Instant;

use super::Shown;

/// What has passed through a stream: bytes, and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes received from its upstreams.
    pub received: u64,
    /// Bytes sent to its viewers.
    pub sent: u64,
    /// Bytes that its viewers were skipped over.
    pub dropped: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets skipped.
    pub packets_dropped: u64,
}

impl Passed {
    /// Each number of this and of another.
    fn with(self, other: Passed, op: impl Fn(u64, u64) -> u64) -> Passed {
        Passed {
            received: op(self.received, other.received),
            sent: op(self.sent, other.sent),
            dropped: op(self.dropped, other.dropped),
            packets_received: op(self.packets_received, other.packets_received),
            packets_sent: op(self.packets_sent, other.packets_sent),
            packets_dropped: op(self.packets_dropped, other.packets_dropped),
        }
    }
}

impl Sum for Passed {
    fn sum<I: Iterator<Item = Passed>>(all: I) -> Passed {
        all.fold(Passed::default(), |sum, next| sum.with(next, u64::saturating_add))
    }
}

/// Rates of all streams, in their order.
#[derive(Clone, Debug)]
pub struct Rates {
    at: Instant,
    total: Vec<Passed>,
    /// What passes through each stream in a second.
    per_second: Vec<Passed>,
}

impl Rates {
    /// Nothing has passed yet.
    pub fn new(streams: usize, now: Instant) -> Rates {
        let none = vec![Passed::default(); streams];
        Rates { at: now, total: none.clone(), per_second: none }
    }

    /// Takes a new sample of what has passed since the start.
    pub fn update(&mut self, total: Vec<Passed>, now: Instant) {
        let millis = u64::try_from(now.duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return;
        }
        let rate = |new: u64, old: u64| new.saturating_sub(old).saturating_mul(1000) / millis;
        let pairs = total.iter().zip(&self.total);
        self.per_second = pairs.map(|(new, old)| new.with(*old, rate)).collect();
        (self.total, self.at) = (total, now);
    }

    /// What passes through a stream in a second.
    pub fn of(&self, stream: usize) -> Passed {
        self.per_second.get(stream).copied().unwrap_or_default()
    }

    /// Of all streams together.
    pub fn all(&self) -> Passed {
        self.per_second.iter().copied().sum()
    }
}

/// What has passed through each stream since the start.
pub fn sample(streams: &[Shown]) -> Vec<Passed> {
    // One that is listed twice has one count.
    let is_first = |shown: &Shown, number: usize| {
        shown.upstreams.iter().position(|(url, _)| *url == shown.upstreams[number].0)
            == Some(number)
    };
    let received = |shown: &Shown| {
        let numbered = shown.upstreams.iter().enumerate();
        let once = numbered.filter(|&(number, _)| is_first(shown, number));
        let received = once.map(|(_, (_, metrics))| metrics.received());
        received.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    };
    streams
        .iter()
        .map(|shown| {
            let (packets_received, received) = received(shown);
            let (packets_sent, sent) = shown.metrics.sent();
            let (packets_dropped, dropped) = shown.metrics.dropped();
            Passed { received, sent, dropped, packets_received, packets_sent, packets_dropped }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_what_passed_over_the_time_it_took() {
        let now = Instant::now();
        let mut rates = Rates::new(2, now);
        let passed = |received, sent| Passed { received, sent, ..Passed::default() };
        rates.update(vec![passed(1000, 4000), passed(0, 500)], now + Duration::from_secs(2));
        assert_eq!(rates.of(0), passed(500, 2000));
        assert_eq!(rates.all().sent, 2250);
        rates.update(vec![passed(1000, 4000), passed(0, 500)], now + Duration::from_secs(3));
        assert_eq!((rates.of(0), rates.all().sent), (passed(0, 0), 0));
        assert_eq!(rates.of(7), passed(0, 0));
    }
}
