use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::config::DoorRate;

const SECOND: u64 = 1_000_000_000;

/// The other formulation of the same algorithm (ITU-T I.371, annex A): a bucket that leaks. What
/// the kernel's program and ours do is its virtual scheduling.
struct Bucket {
    interval: i128,
    limit: i128,
    level: i128,
    last: i128,
}

impl Bucket {
    fn take(&mut self, now: u64) -> bool {
        let now = i128::from(now);
        let level = (self.level - (now - self.last)).max(0);
        if level > self.limit {
            return false;
        }
        self.level = level + self.interval;
        self.last = now;
        true
    }
}

fn gcra(per_second: f64, burst: u32) -> Gcra {
    Gcra::new(DoorRate { per_second, burst })
}

proptest! {
    #[test]
    fn both_formulations_agree(
        interval in 1..10 * SECOND,
        burst in 1..50_u32,
        start in 0..1000 * SECOND,
        steps in prop::collection::vec((0..3_u8, any::<u64>()), 1..200),
    ) {
        let rule = Gcra { interval, tolerance: interval * u64::from(burst - 1) };
        let mut bucket = Bucket {
            interval: interval.into(),
            limit: i128::from(interval) * i128::from(burst - 1),
            level: 0,
            last: start.into(),
        };
        let (mut now, mut due) = (start, None);
        for (kind, chance) in steps {
            // At once, about an interval later, and after anything up to the whole burst.
            now += match kind {
                0 => 0,
                1 => (interval - interval / 4) + chance % (interval / 2).max(1),
                _ => chance % (interval * u64::from(burst)),
            };
            let taken = rule.take(due, now);
            prop_assert_eq!(taken.is_some(), bucket.take(now), "at {}", now);
            due = taken.or(due);
        }
    }

    /// Whatever comes, in any time there are not more than the burst and the rate.
    #[test]
    fn never_more_than_the_burst_and_the_rate(
        burst in 1..20_u32,
        steps in prop::collection::vec(0..SECOND, 2..200),
    ) {
        let rule = gcra(5.0, burst);
        let (mut now, mut due, mut taken) = (0, None, Vec::new());
        for step in steps {
            now += step;
            if let Some(next) = rule.take(due, now) {
                due = Some(next);
                taken.push(now);
            }
        }
        for (first, from) in taken.iter().enumerate() {
            for (last, until) in taken.iter().enumerate().skip(first) {
                let most = u64::from(burst) + (until - from) / (SECOND / 5);
                prop_assert!((last - first + 1) as u64 <= most);
            }
        }
    }
}

/// Rate, burst, attempts a second, seconds; how many come in.
#[test]
fn a_burst_and_then_the_rate() {
    for (per_second, burst, attempts, seconds, taken) in [
        (5.0, 20, 50, 10, 20 + 5 * 10 - 1),
        (5.0, 1, 50, 10, 5 * 10),
        (5.0, 20, 5, 100, 500),
        (5.0, 20, 4, 100, 400),
        (0.5, 1, 10, 60, 30),
        (0.5, 3, 10, 60, 3 + 30 - 1),
        (1000.0, 1, 1000, 5, 5000),
    ] {
        let rule = gcra(per_second, burst);
        let mut due = None;
        let mut count = 0;
        for attempt in 0..attempts * seconds {
            if let Some(next) = rule.take(due, attempt * SECOND / attempts) {
                due = Some(next);
                count += 1;
            }
        }
        assert_eq!(count, taken, "{per_second} {burst} {attempts} {seconds}");
    }
}

#[test]
fn a_pause_gives_the_burst_back_and_no_more() {
    let rule = gcra(1.0, 3);
    let mut due = None;
    let mut taken_at = |now: u64| {
        let mut count = 0;
        while let Some(next) = rule.take(due, now) {
            due = Some(next);
            count += 1;
        }
        count
    };
    assert_eq!(taken_at(0), 3);
    assert_eq!(taken_at(SECOND - 1), 0);
    assert_eq!(taken_at(SECOND), 1);
    assert_eq!(taken_at(3 * SECOND), 2);
    assert_eq!(taken_at(1000 * SECOND), 3);
}

/// Times near the end of what 64 bits hold do not wrap.
#[test]
fn extremes_of_the_configuration() {
    let slowest = gcra(crate::limits::DOOR_PER_SECOND_MIN, 100_000);
    assert!(slowest.tolerance < u64::MAX / 2);
    let century = 100 * 366 * 86_400 * SECOND;
    let mut due = None;
    for _ in 0..100_000 {
        due = slowest.take(due, century);
        assert!(due.is_some());
    }
    assert_eq!(slowest.take(due, century), None);
    let fastest = gcra(crate::limits::DOOR_PER_SECOND_MAX, 1);
    assert_eq!(fastest, Gcra { interval: 1000, tolerance: 0 });
}

fn source(v4: u8, v6: u8, address: &str) -> String {
    let address: IpAddr = address.parse().unwrap();
    Ipv6Addr::from(SourceBits::new(v4, v6).source(address)).to_string()
}

#[test]
fn leading_bits_make_a_source() {
    assert_eq!(source(32, 64, "192.0.2.7"), "::ffff:192.0.2.7");
    assert_eq!(source(24, 64, "192.0.2.7"), "::ffff:192.0.2.0");
    assert_eq!(source(1, 64, "192.0.2.7"), "::ffff:128.0.0.0");
    assert_eq!(source(32, 64, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!(source(32, 128, "2001:db8::7"), "2001:db8::7");
    assert_eq!(source(32, 1, "2001:db8::7"), "::");
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

#[test]
fn each_source_has_its_own_rate() {
    let mut sources = Sources::new(gcra(1.0, 2), SourceBits::new(31, 64), 10);
    assert!(sources.admit(v4(0), 0) && sources.admit(v4(1), 0));
    assert!(!sources.admit(v4(0), 0), "both are one source");
    assert!(sources.admit(v4(2), 0), "and this is another");
    assert_eq!(sources.len(), 2);
    sources.forget(2 * SECOND);
    assert_eq!(sources.len(), 2, "who has not come for longest is ahead of its rate");
    sources.forget(2 * SECOND + 1);
    assert_eq!(sources.len(), 0);
}

#[test]
fn who_has_not_come_for_longest_is_forgotten_for_who_comes() {
    let mut sources = Sources::new(gcra(0.001, 1), SourceBits::new(32, 64), 3);
    assert!((1..=3).all(|last| sources.admit(v4(last), 0)));
    assert!(!sources.admit(v4(1), 1), "it comes in vain, but it comes");
    assert!(sources.admit(v4(4), 2));
    assert_eq!(sources.len(), 3);
    assert!(!sources.admit(v4(1), 3), "still known");
    assert!(sources.admit(v4(2), 3), "forgotten");
}
