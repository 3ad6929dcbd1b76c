//! What a stream's viewers ask for: their number times its bitrate.
//!
//! Owns the measurement of the bitrate, taken whenever the worker asks, and carried along when the
//! stream moves. Driven by the worker, once in a while.

use std::time::Instant;

use super::Stream;
use crate::limits::{METER_INTERVAL_MIN, PACED_BYTES_PER_SECOND_MIN};
use crate::ring::Position;

/// How fast a stream comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    from: Position,
    since: Instant,
    bytes_per_second: u64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter { from: Position::START, since: now, bytes_per_second: 0 }
    }

    /// Takes note of the stream's head, unless it has done so just now. A stream comes in bursts:
    /// what was measured before counts for half.
    fn measure(&mut self, head: Position, now: Instant) {
        let milliseconds = now.saturating_duration_since(self.since).as_millis();
        if milliseconds < METER_INTERVAL_MIN.as_millis() {
            return;
        }
        let came = head.since(self.from) as u128 * 1000 / milliseconds;
        let came = u64::try_from(came).unwrap_or(u64::MAX);
        let before = if self.bytes_per_second == 0 { came } else { self.bytes_per_second };
        self.bytes_per_second = before.midpoint(came);
        (self.from, self.since) = (head, now);
    }
}

/// How fast one is sent what has come before it joined, in bytes a second; not before it is known
/// how fast the stream comes.
pub(super) fn pace(percent: Option<u32>, meter: &Meter) -> Option<u32> {
    let percent = percent.filter(|_| meter.bytes_per_second > 0)?;
    let rate = meter.bytes_per_second.saturating_mul(percent.into()) / 100;
    Some(u32::try_from(rate.max(PACED_BYTES_PER_SECOND_MIN)).unwrap_or(u32::MAX))
}

impl Stream {
    /// Bytes a second that its viewers ask for, one for each of them at least: they are there, and
    /// an upstream may come back.
    pub fn demand(&mut self, now: Instant) -> u64 {
        self.meter.measure(self.ring.head(), now);
        (self.viewers() as u64).saturating_mul(self.meter.bytes_per_second.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_joins_is_paced_by_the_bitrate_but_not_below_what_a_picture_takes() {
        let mut meter = Meter::new(Instant::now());
        assert_eq!(pace(Some(400), &meter), None, "it is not known");
        for (bytes_per_second, percent, expected) in [
            (1_000_000, Some(400), Some(8_000_000)),
            (1_000_000, None, None),
            (5_000_000, Some(400), Some(20_000_000)),
            (5_000_000, Some(250), Some(12_500_000)),
            (2_000_000_000, Some(400), Some(u32::MAX)),
        ] {
            meter.bytes_per_second = bytes_per_second;
            assert_eq!(pace(percent, &meter), expected);
        }
    }

    #[test]
    fn bursts_are_averaged_and_silence_is_forgotten_soon() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut head = Position::START;
        meter.measure(head, start);
        for (second, bytes, expected) in
            [(1, 1000, 1000), (2, 3000, 2000), (4, 4000, 2000), (5, 0, 1000), (6, 0, 500)]
        {
            head = head.advanced(bytes);
            meter.measure(head, at(second));
            assert_eq!(meter.bytes_per_second, expected, "after {second} s");
            // Asked once more for a viewer who has come: that is no time to measure.
            meter.measure(head.advanced(1), at(second) + Duration::from_millis(20));
            assert_eq!(meter.bytes_per_second, expected, "after {second} s");
        }
    }
}
