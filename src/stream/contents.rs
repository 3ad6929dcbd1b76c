//! What an upstream sends, told once a second.
//!
//! Owns the totals of the last time, of which rates are made. It never looks at packets: the probe
//! has. [`super::failover`] drives it while an upstream is connected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{PACKET_BYTES, RATE_INTERVAL};
use crate::metrics::content::{Access, Contents, Elementary, INDICATORS, Program};
use crate::ts::content::Followed;
use crate::ts::integrity::Indicator;
use crate::ts::{Content, Pid};

const _: () = assert!(Indicator::ALL.len() == INDICATORS.len());

/// Ticks of a time stamp in a second.
const STAMPS_PER_SECOND: u64 = 90_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was told last, and the number of the tables then.
    told: Option<Instant>,
    tables: u64,
    /// When the rates were measured last.
    measured: Instant,
    all: Rate,
    by_pid: BTreeMap<u16, Rate>,
}

/// Of one PID, or all.
#[derive(Clone, Copy, Default, Debug)]
struct Rate {
    /// Packets when it was measured last, in the clear and scrambled.
    measured: [u64; 2],
    /// Packets when it was told last.
    told: u64,
    bits_per_second: u64,
    scrambled: bool,
}

impl Rate {
    /// Measures, if so much `time` has passed that it is worth it.
    fn measure(&mut self, packets: [u64; 2], time: Option<Duration>) {
        let Some(time) = time else { return };
        let before = std::mem::replace(&mut self.measured, packets);
        // A PID that the tables name anew counts from zero.
        let passed = total(packets).checked_sub(total(before)).unwrap_or(total(packets));
        let bits = u128::from(passed) * PACKET_BYTES as u128 * 8 * 1000;
        let rate = bits / time.as_millis().max(1);
        self.bits_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
        self.scrambled = packets[1] > before[1];
    }

    /// Bytes since it was told last.
    fn tell(&mut self, packets: [u64; 2]) -> u64 {
        let before = std::mem::replace(&mut self.told, total(packets));
        let passed = total(packets).checked_sub(before).unwrap_or(total(packets));
        passed * PACKET_BYTES as u64
    }
}

impl Report {
    /// Of an upstream that is connected since `now`.
    pub fn new(now: Instant) -> Report {
        let all = Rate::default();
        Report { told: None, tables: 0, measured: now, all, by_pid: BTreeMap::new() }
    }

    /// What there is to tell, if it is time: once a second, and when the tables have changed.
    pub fn make(&mut self, content: &Content, now: Instant) -> Option<Contents> {
        let tables = content.tables().number();
        let time = now.saturating_duration_since(self.measured);
        let time = (time >= RATE_INTERVAL).then_some(time);
        if time.is_none() && tables == self.tables {
            return None;
        }
        // Tables that change all the time are not told of all the time.
        let again = self.told.is_some_and(|told| now < told + RATE_INTERVAL / 10);
        if time.is_none() && again {
            return None;
        }
        if time.is_some() {
            self.measured = now;
        }
        (self.told, self.tables) = (Some(now), tables);
        self.all.measure(content.packets(), time);
        let before = std::mem::take(&mut self.by_pid);
        let mut programs = programs(content);
        for followed in content.elementary() {
            let pid = followed.elementary.pid.value();
            let mut rate = before.get(&pid).copied().unwrap_or_default();
            rate.measure(followed.packets, time);
            let of_it = programs.iter_mut().find(|program| program.number == followed.program);
            if let Some(program) = of_it {
                program.elementary.push(elementary(&followed, &mut rate));
            }
            self.by_pid.insert(pid, rate);
        }
        Some(Contents { at: now, bits_per_second: self.all.bits_per_second, programs })
    }
}

/// The programs, without what they are made of.
fn programs(content: &Content) -> Vec<Program> {
    let programs = content.tables().programs().iter();
    let with_pmt = programs.filter_map(|program| {
        let pmt = program.pmt.as_ref()?;
        Some(Program {
            number: program.number,
            pmt_pid: program.pid.value(),
            pcr_pid: pmt.pcr.map(Pid::value),
            elementary: Vec::new(),
        })
    });
    with_pmt.collect()
}

fn elementary(followed: &Followed<'_>, rate: &mut Rate) -> Elementary {
    let Followed { elementary, packets, accessed, since, group_ticks, .. } = *followed;
    let access = Access {
        any: accessed.is_some(),
        last: accessed.unwrap_or(since),
        group: group_ticks.map(|ticks| {
            let seconds = Duration::from_secs(ticks / STAMPS_PER_SECOND);
            seconds + Duration::from_micros(ticks % STAMPS_PER_SECOND * 100 / 9)
        }),
    };
    Elementary {
        pid: elementary.pid.value(),
        kind: elementary.codec.kind().word(),
        codec: elementary.codec.word(),
        language: elementary.language.map_or(String::new(), |code| code.as_str().to_owned()),
        bytes: rate.tell(packets),
        bits_per_second: rate.bits_per_second,
        scrambled: rate.scrambled,
        access: followed.leads.then_some(access),
    }
}

fn total(packets: [u64; 2]) -> u64 {
    packets[0] + packets[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indicators_are_counted_under_their_words() {
        assert_eq!(Indicator::ALL.map(Indicator::word), INDICATORS);
    }

    #[test]
    fn rates_are_of_whole_seconds_and_survive_a_new_start() {
        let second = Some(Duration::from_secs(1));
        let mut rate = Rate::default();
        rate.measure([500, 0], second);
        assert_eq!((rate.bits_per_second, rate.scrambled), (500 * 1504, false));
        rate.measure([600, 0], None);
        assert_eq!(rate.bits_per_second, 500 * 1504);
        rate.measure([700, 300], Some(Duration::from_secs(2)));
        assert_eq!((rate.bits_per_second, rate.scrambled), (250 * 1504, true));
        rate.measure([10, 0], second);
        assert_eq!((rate.bits_per_second, rate.scrambled), (10 * 1504, false));
        assert_eq!((rate.tell([5, 0]), rate.tell([7, 1]), rate.tell([2, 0])), (940, 564, 376));
    }
}
