//! Rates over the last second.

use std::time::Instant;

use super::Shown;

/// What has passed through a stream, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Received from its upstreams.
    pub received: u64,
    /// Sent to its viewers.
    pub sent: u64,
}

/// Rates of all streams, in their order.
#[derive(Clone, Debug)]
pub struct Rates {
    at: Instant,
    total: Vec<Passed>,
    /// Bytes per second of each stream.
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
        self.per_second = pairs
            .map(|(new, old)| Passed {
                received: rate(new.received, old.received),
                sent: rate(new.sent, old.sent),
            })
            .collect();
        (self.total, self.at) = (total, now);
    }

    /// Bytes per second of a stream.
    pub fn of(&self, stream: usize) -> Passed {
        self.per_second.get(stream).copied().unwrap_or_default()
    }

    /// Bytes per second sent to all viewers.
    pub fn sent(&self) -> u64 {
        self.per_second.iter().map(|passed| passed.sent).sum()
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
        once.map(|(_, (_, metrics))| metrics.bytes_received()).sum()
    };
    streams
        .iter()
        .map(|shown| Passed { received: received(shown), sent: shown.metrics.bytes_sent() })
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
        let passed = |received, sent| Passed { received, sent };
        rates.update(vec![passed(1000, 4000), passed(0, 500)], now + Duration::from_secs(2));
        assert_eq!(rates.of(0), passed(500, 2000));
        assert_eq!(rates.sent(), 2250);
        rates.update(vec![passed(1000, 4000), passed(0, 500)], now + Duration::from_secs(3));
        assert_eq!((rates.of(0), rates.sent()), (passed(0, 0), 0));
        assert_eq!(rates.of(7), passed(0, 0));
    }
}
