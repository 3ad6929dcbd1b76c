//! Whether an upstream that is connected sends something to watch.
//!
//! Owns, of each [`Condition`], since when it holds and how long it has. What is missing for longer
//! than [`HEALTH_LULL`], or than its own time if that is shorter, is a condition; it is over when
//! [`HEALTH_LOOKS`] looks have found it, with no such lull between them: one picture a minute is no
//! video. What cannot be judged stays as it was: without packets nobody knows of tables. It reads
//! no clock and looks at no packet. [`super::failover`] drives it, every [`HEALTH_INTERVAL`], also
//! when nothing comes.

use std::time::{Duration, Instant};

use crate::config::{Condition, Health};
use crate::limits::{HEALTH_INTERVAL, HEALTH_LOOK_MAX, HEALTH_LOOKS, HEALTH_LULL, PACKET_BYTES};
use crate::ts::Vitals;

/// What there is to see of an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Something has come since the last look, of whatever worth.
    pub data: bool,
    /// Packets since it is connected.
    pub packets: u64,
    /// The same of what is in them.
    pub vitals: Vitals,
    /// A PAT has come, and a PMT of one of its programs. Not of all: those that were filtered out
    /// of a transponder may still be in its PAT.
    pub tables: bool,
    /// The tables name video.
    pub video: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    limits: Health,
    looked: Instant,
    /// At the last look.
    packets: u64,
    vitals: Vitals,
    /// A section of the PAT, and of a PMT, has come since both had.
    tables: [bool; 2],
    signs: [Sign; Condition::ALL.len()],
    measured: Measured,
}

/// What is known of a condition.
#[derive(Clone, Copy, Debug, Default)]
struct Sign {
    /// Since the look before it was missed, and how long that was.
    missing: Option<(Instant, Duration)>,
    /// Looks that have found it, with no lull between them.
    found: u32,
    /// All was well once.
    proved: bool,
    held: Option<Held>,
}

/// A condition that holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    since: Instant,
    /// The looks that have missed it.
    time: Duration,
}

/// A bitrate is that of a while.
#[derive(Clone, Copy, Debug)]
struct Measured {
    since: Instant,
    packets: u64,
    time: Duration,
}

/// What a look tells of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judged {
    Well,
    Ill,
    Unknown,
}

impl Judged {
    fn of(well: bool) -> Judged {
        if well { Judged::Well } else { Judged::Ill }
    }
}

impl Sign {
    /// A look at `now`, so long after the one `before`.
    fn look(
        &mut self,
        judged: Judged,
        before: Instant,
        step: Duration,
        lull: Duration,
        looks: u32,
    ) {
        match judged {
            Judged::Unknown => {}
            Judged::Well => {
                self.missing = None;
                self.found = self.found.saturating_add(1);
                if self.found >= looks {
                    (self.proved, self.held) = (true, None);
                }
            }
            Judged::Ill => {
                let (since, time) = self.missing.unwrap_or((before, Duration::ZERO));
                let time = time + step;
                self.missing = Some((since, time));
                if time >= lull {
                    self.found = 0;
                }
                match &mut self.held {
                    Some(held) => held.time += step,
                    None => self.held = (time >= lull).then_some(Held { since, time }),
                }
            }
        }
    }
}

impl Watch {
    /// Over an upstream that is connected since `now`.
    pub fn new(limits: Health, now: Instant) -> Watch {
        Watch {
            limits,
            looked: now,
            packets: 0,
            vitals: Vitals::default(),
            tables: [false; 2],
            signs: [Sign::default(); Condition::ALL.len()],
            measured: Measured { since: now, packets: 0, time: Duration::ZERO },
        }
    }

    /// When the next look is due.
    pub fn due(&self) -> Instant {
        self.looked + HEALTH_INTERVAL
    }

    /// Whether something is wrong for which an upstream is left, after however long.
    pub fn is_ill(&self) -> bool {
        self.held().any(|(condition, _)| self.limits.time(condition).is_some())
    }

    /// When the last look was.
    pub fn looked(&self) -> Instant {
        self.looked
    }

    /// Looks at what has come up to `now`. Answers the conditions that hold from now on, and those
    /// that do so no more.
    pub fn look(&mut self, seen: &Seen, now: Instant) -> Vec<(Condition, bool)> {
        let before = std::mem::replace(&mut self.looked, now);
        let step = now.saturating_duration_since(before).min(HEALTH_LOOK_MAX);
        let held = self.signs.map(|sign| sign.held.is_some());
        for condition in Condition::ALL {
            let (mut before, mut step) = (before, step);
            let (mut lull, mut looks) = (HEALTH_LULL, HEALTH_LOOKS);
            let judged = if condition == Condition::Bitrate {
                // That is of a while already.
                (lull, looks) = (Duration::ZERO, 1);
                self.bitrate(seen, &mut before, &mut step)
            } else {
                lull = self.limits.time(condition).map_or(lull, |time| time.min(lull));
                self.judge(condition, seen)
            };
            self.signs[condition.index()].look(judged, before, step, lull, looks);
        }
        (self.packets, self.vitals) = (seen.packets, seen.vitals);
        let changed = Condition::ALL.into_iter().filter_map(|condition| {
            let holds = self.since(condition).is_some();
            (holds != held[condition.index()]).then_some((condition, holds))
        });
        changed.collect()
    }

    fn judge(&mut self, condition: Condition, seen: &Seen) -> Judged {
        let (now, before) = (seen.vitals, self.vitals);
        let packets = seen.packets > self.packets;
        match condition {
            Condition::NoData => Judged::of(seen.data),
            Condition::NoSync if !seen.data => Judged::Unknown,
            Condition::NoSync => Judged::of(packets),
            Condition::NoTables if !packets => Judged::Unknown,
            Condition::NoTables => {
                self.tables[0] |= now.pats > before.pats;
                self.tables[1] |= now.pmts > before.pmts;
                let both = seen.tables && self.tables == [true; 2];
                if both {
                    self.tables = [false; 2];
                }
                Judged::of(both)
            }
            Condition::NoVideo if !packets || !seen.tables => Judged::Unknown,
            Condition::NoVideo => Judged::of(!seen.video || now.video > before.video),
            Condition::Scrambled if now.clear > before.clear => Judged::Well,
            Condition::Scrambled if now.scrambled > before.scrambled => Judged::Ill,
            Condition::Scrambled | Condition::Bitrate => Judged::Unknown,
        }
    }

    /// Judged at the end of a while, which is the `step` then, from `before` on.
    fn bitrate(&mut self, seen: &Seen, before: &mut Instant, step: &mut Duration) -> Judged {
        let Some(floor) = self.limits.floor else { return Judged::Unknown };
        self.measured.time += *step;
        if self.measured.time < period(self.limits.time(Condition::Bitrate)) {
            return Judged::Unknown;
        }
        let (packets, time) = (seen.packets, Duration::ZERO);
        let measured = Measured { since: self.looked, packets, time };
        let last = std::mem::replace(&mut self.measured, measured);
        (*before, *step) = (last.since, last.time);
        let bits = u128::from(packets - last.packets) * PACKET_BYTES as u128 * 8;
        Judged::of(bits * 1000 >= u128::from(floor) * step.as_millis())
    }

    /// Since when a condition holds, if it does.
    pub fn since(&self, condition: Condition) -> Option<Instant> {
        self.signs[condition.index()].held.map(|held| held.since)
    }

    /// The conditions that hold, and since when.
    pub fn held(&self) -> impl Iterator<Item = (Condition, Instant)> {
        Condition::ALL.into_iter().filter_map(|of| self.since(of).map(|since| (of, since)))
    }

    /// Whether there was a time without the condition.
    pub fn was_well(&self, condition: Condition) -> bool {
        self.signs[condition.index()].proved
    }

    /// The condition for which the upstream is to be left, and how long it has held; `tabled` says
    /// whether the stream is known to have tables.
    pub fn left_for(&self, tabled: bool) -> Option<(Condition, Duration)> {
        Condition::ALL.into_iter().find_map(|condition| {
            let (limit, sign) = (self.limits.time(condition)?, self.signs[condition.index()]);
            let held = sign.held.filter(|held| held.time >= limit && sign.missing.is_some())?;
            let counts = condition != Condition::NoTables || tabled || self.limits.tables_asked;
            counts.then_some((condition, held.time))
        })
    }
}

/// The while over which a bitrate is measured: what it may be too low for, in equal parts of ten
/// seconds at most.
fn period(time: Option<Duration>) -> Duration {
    let time = time.unwrap_or(HEALTH_LULL);
    let parts = time.as_millis().div_ceil(HEALTH_LULL.as_millis()).max(1);
    time / u32::try_from(parts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
