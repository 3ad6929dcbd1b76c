//! The program clock reference (ISO/IEC 13818-1, 2.4.3.5): a 27 MHz clock that wraps.
//!
//! Owns the clock's arithmetic, so that nobody subtracts raw numbers. It never knows where the
//! clock came from. The player drives it for pacing, [`super::restamp`] for shifting.

use std::{ops::AddAssign, time::Duration};

/// Ticks of a second of the system clock (2.4.2.1).
pub const TICKS_PER_SECOND: u64 = 27_000_000;

/// Ticks of the system clock in one tick of the 90 kHz base (2.4.2.1).
pub const TICKS_PER_BASE: u64 = 300;

/// Where the clock wraps: 33 bits of base, about 26.5 hours.
const WRAP: u64 = (1 << 33) * TICKS_PER_BASE;

/// A value of the program clock: 27 MHz, modulo 2³³ × 300.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pcr(u64);

impl Pcr {
    /// The value `ticks` after the clock's zero, wrapped.
    pub const fn new(ticks: u64) -> Self {
        Self(ticks % WRAP)
    }

    /// The value in ticks since the clock's zero.
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// Reads the six bytes of an adaptation field: 33 bits of base, 6 reserved, 9 of extension. An
    /// extension of 300 or more, which is not valid, carries into the base.
    pub fn from_bytes(bytes: [u8; 6]) -> Self {
        let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        Self::new((bits >> 15) * TICKS_PER_BASE + (bits & 0x1FF))
    }

    /// The six bytes of an adaptation field, reserved bits set.
    pub fn to_bytes(self) -> [u8; 6] {
        let bits = ((self.0 / TICKS_PER_BASE) << 15) | 0x7E00 | (self.0 % TICKS_PER_BASE);
        let [_, _, bytes @ ..] = bits.to_be_bytes();
        bytes
    }

    /// How far the clock ran from `earlier` to here, across a wrap if need be. A clock that went
    /// back reads as one that nearly went round.
    pub const fn since(self, earlier: Self) -> Ticks {
        Ticks((self.0 + WRAP - earlier.0) % WRAP)
    }

    /// The value `ticks` later.
    #[must_use]
    pub const fn after(self, ticks: Ticks) -> Self {
        Self((self.0 + ticks.0 % WRAP) % WRAP)
    }
}

/// A length of time in ticks of 27 MHz: what lies between two clock values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Ticks(u64);

impl Ticks {
    /// `ticks` of 27 MHz.
    pub const fn new(ticks: u64) -> Self {
        Self(ticks)
    }

    /// The length in ticks of 27 MHz.
    pub const fn count(self) -> u64 {
        self.0
    }

    /// The ticks that have passed after `duration`, rounded down.
    pub fn of(duration: Duration) -> Self {
        let ticks = duration.as_nanos() * 27 / 1000;
        Self(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// What is longer than `earlier` of two lengths from the same start; nothing if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The length as time, rounded up to the nanosecond: after it, all the ticks have passed.
    pub const fn duration(self) -> Duration {
        let seconds = self.0 / TICKS_PER_SECOND;
        let nanoseconds = (self.0 % TICKS_PER_SECOND * 1000).div_ceil(27);
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds))
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_carry_base_and_extension() {
        // base 1, extension 2; base of all ones, extension 299
        assert_eq!(Pcr::from_bytes([0, 0, 0, 0, 0x80, 0x02]), Pcr::new(302));
        let last = Pcr::new(WRAP - 1);
        assert_eq!(last.to_bytes(), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x2B]);
        assert_eq!(Pcr::from_bytes(last.to_bytes()), last);
        assert_eq!(Pcr::from_bytes([0xFF; 6]), Pcr::new(511 - 300));
    }

    #[test]
    fn differences_cross_the_wrap() {
        let before = Pcr::new(WRAP - 27);
        let behind = Pcr::new(27_000_000 - 27);
        assert_eq!(behind.since(before), Ticks::new(27_000_000));
        assert_eq!(before.after(Ticks::new(27_000_000)), behind);
        assert_eq!(before.since(behind), Ticks::new(WRAP - 27_000_000));
    }

    #[test]
    fn ticks_are_time() {
        assert_eq!(Ticks::new(27_000_000).duration(), Duration::from_secs(1));
        assert_eq!(Ticks::new(27_000).duration(), Duration::from_millis(1));
        assert_eq!(Ticks::new(1).duration(), Duration::from_nanos(38));
        for ticks in [0, 1, 2, 26_999_999, 27_000_001, 1 << 50].map(Ticks::new) {
            assert_eq!(Ticks::of(ticks.duration()), ticks);
        }
        assert_eq!(Ticks::of(Duration::MAX), Ticks::new(u64::MAX));
        assert!(Ticks::new(u64::MAX).duration() > Duration::from_secs(1 << 30));
    }
}
