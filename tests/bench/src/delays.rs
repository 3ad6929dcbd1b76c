//! Delays, in buckets.

use std::time::Duration;

/// A bucket is a tenth of a millisecond wide.
const BUCKET_NANOS: u64 = 100_000;
/// All above is one bucket.
const SECONDS_MAX: u64 = 10;

/// How often which delay was seen.
#[derive(Debug)]
pub(crate) struct Delays {
    buckets: Vec<u64>,
    nanos_max: u64,
}

impl Default for Delays {
    fn default() -> Delays {
        let buckets = SECONDS_MAX * 1_000_000_000 / BUCKET_NANOS;
        Delays { buckets: vec![0; usize::try_from(buckets).unwrap_or(1)], nanos_max: 0 }
    }
}

impl Delays {
    pub(crate) fn add(&mut self, nanos: u64) {
        let last = self.buckets.len() - 1;
        let bucket = usize::try_from(nanos / BUCKET_NANOS).unwrap_or(last).min(last);
        self.buckets[bucket] += 1;
        self.nanos_max = self.nanos_max.max(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The delay that so many per cent do not exceed: a bucket's upper end.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in (1..).zip(&self.buckets) {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(bucket * BUCKET_NANOS);
            }
        }
        Duration::ZERO
    }

    /// The longest delay.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.nanos_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_ends() {
        const TENTHS: fn(u64) -> Duration = |n| Duration::from_micros(n * 100);
        let mut delays = Delays::default();
        assert_eq!(delays.percentile(50), Duration::ZERO);
        (1..=100).for_each(|ms| delays.add(ms * 1_000_000));
        assert_eq!((delays.percentile(50), delays.percentile(99)), (TENTHS(501), TENTHS(991)));
        assert_eq!(delays.longest(), TENTHS(1000));
        delays.add(u64::MAX);
        assert_eq!(delays.count(), 101);
    }
}
