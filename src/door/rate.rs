//! How many new connections a source may make.
//!
//! Owns the rule by which a source is within its rate, and the times of the sources. The rule is
//! that of the kernel's program (`sys/bpf/door.bpf.c`), to the nanosecond. Time is passed in.
//! Driven by whoever has accepted a connection.

use std::net::IpAddr;

use lru::LruCache;

use crate::config;

/// The generic cell rate algorithm (ITU-T I.371, annex A), as virtual scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    /// From one connection to the next at the rate, in nanoseconds; at least 1.
    interval: u64,
    /// How far ahead of the rate a source may be.
    tolerance: u64,
}

impl Gcra {
    pub(super) fn new(rate: config::DoorRate) -> Gcra {
        let interval = u64::try_from(rate.interval().as_nanos()).unwrap_or(u64::MAX).max(1);
        let tolerance = interval.saturating_mul(rate.burst.saturating_sub(1).into());
        Gcra { interval, tolerance }
    }

    /// Whether one more connection is within the rate of a source whose next one is due at `due`;
    /// if so, when the one after it is.
    pub(super) fn take(self, due: Option<u64>, now: u64) -> Option<u64> {
        let from = due.unwrap_or(now).max(now);
        (from - now <= self.tolerance).then(|| from.saturating_add(self.interval))
    }
}

/// What makes a source: the leading bits of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceBits {
    v4: u32,
    v6: u32,
}

impl SourceBits {
    pub(super) fn new(v4: u8, v6: u8) -> SourceBits {
        SourceBits { v4: v4.into(), v6: v6.into() }
    }

    /// The source that a canonical address is of, as IPv6 has it.
    fn source(self, address: IpAddr) -> u128 {
        let leading = |address: u128, rest| address & u128::MAX.checked_shl(rest).unwrap_or(0);
        match address {
            IpAddr::V4(four) => leading(four.to_ipv6_mapped().to_bits(), 32 - self.v4.min(32)),
            IpAddr::V6(six) => leading(six.to_bits(), 128 - self.v6.min(128)),
        }
    }
}

/// The sources that have come, each with the time that its next connection is due.
#[derive(Debug)]
pub(super) struct Sources {
    rate: Gcra,
    bits: SourceBits,
    due: LruCache<u128, u64>,
    most: usize,
}

impl Sources {
    /// Room for `most` of them.
    pub(super) fn new(rate: Gcra, bits: SourceBits, most: usize) -> Sources {
        // Not bounded by itself, because a bounded one has its room from the beginning.
        Sources { rate, bits, due: LruCache::unbounded(), most }
    }

    /// Whether one more connection of this address is within its source's rate, and counts it if
    /// so. `now` is in nanoseconds, since whenever.
    pub(super) fn admit(&mut self, address: IpAddr, now: u64) -> bool {
        let source = self.bits.source(address);
        let Some(next) = self.rate.take(self.due.get(&source).copied(), now) else {
            return false;
        };
        self.due.put(source, next);
        if self.due.len() > self.most {
            self.due.pop_lru();
        }
        true
    }

    /// Forgets those who have been within their rate since `before`: they are as good as new. It
    /// begins with who has not come for longest and ends with the first who is not, behind whom
    /// another may be kept for a while.
    pub(super) fn forget(&mut self, before: u64) {
        while self.due.peek_lru().is_some_and(|(_, due)| *due < before) {
            self.due.pop_lru();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests;
