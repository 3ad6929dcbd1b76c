//! Is the stream as it should be? The indicators of TR 101 290 (ETSI TR 101 290 V1.4.1, 5.2.1 and
//! 5.2.2) that a receiver can compute, first and second priority.
//!
//! Owns the limits, the clock they are measured by and the counting. It never reads a packet:
//! [`super::content`] does, which drives it. What is counted where:
//!
//! - 1.1 `TS_sync_loss` and 1.2 `Sync_byte_error` are one count, [`Counts::sync_losses`]: what
//!   begins with another byte is not taken for a packet even once, so that each is a loss.
//! - 1.3 `PAT_error` and 1.5 `PMT_error` ([`Indicator::Pat`], [`Indicator::Pmt`]): once for each
//!   0.5 s without it, for each scrambled packet and, in PID 0, for each section of another table.
//! - 1.4 `Continuity_count_error`: [`Counts::continuity_errors`].
//! - 1.6 `PID_error` ([`Indicator::Pid`]): once for each 5 s in which a PID of a PMT has no packet.
//!   Only pictures and sound: subtitles and data may pause as long as they like.
//! - 2.1 `Transport_error`: [`Counts::transport_errors`].
//! - 2.2 `CRC_error` ([`Indicator::Crc`]): of PAT, CAT, PMT, NIT, SDT, BAT, EIT and TOT.
//! - 2.3a `PCR_repetition_error` ([`Indicator::PcrRepetition`]): two PCRs more than 100 ms apart,
//!   as ISO/IEC 13818-1, 2.7.2 has it (40 ms are a recommendation of DVB for encoders, TS 101 154),
//!   or none at all for a second.
//! - 2.3b `PCR_discontinuity_indicator_error` ([`Indicator::PcrDiscontinuity`]): a PCR that is not
//!   0 to 100 ms after the one before, without the indicator. By the stream's own clock, one that
//!   is too late is this as well.
//! - 2.4 `PCR_accuracy_error` is not computed: it needs the time at which each packet was sent, and
//!   nothing that has passed a network's buffers has that.
//! - 2.5 `PTS_error` ([`Indicator::Pts`]): once for each 700 ms without a PTS in pictures or sound
//!   that come and had one, but for scrambled ones.
//! - 2.6 `CAT_error` ([`Indicator::Cat`]): once for each 5 s of scrambled packets, never more than
//!   a second apart, without a CAT, and for each section of another table in PID 1.
//!
//! Sections that are broken in another way, tables with more parts than any may have, and each
//! program and elementary stream that is not followed, for there are too many, are
//! [`Indicator::Malformed`].
//!
//! **Time** is the stream's own: a PCR is a tick of the clock. Arrival means nothing where a server
//! sends in bursts. Something is missing at a tick if it did not come for longer than its limit,
//! counted from the first tick after it came: what is counted is so for certain, and what exceeds
//! its limit by less than the distance of two PCRs may not be. A stream without PCRs is measured by
//! arrival, and so is one whose PCRs stand still or do nothing but jump. What takes longer than a
//! second from tick to tick, or goes back, is a jump of the clock or a silence, which is held
//! against nobody; without packets there are no ticks, so that an upstream that is dead counts
//! nothing more.
//!
//! [`Counts::sync_losses`]: super::Counts::sync_losses
//! [`Counts::continuity_errors`]: super::Counts::continuity_errors
//! [`Counts::transport_errors`]: super::Counts::transport_errors

use std::ops::{AddAssign, Index};
use std::time::{Duration, Instant};

use super::packet::Pid;
use super::pcr::{Pcr, TICKS_PER_SECOND, Ticks};

/// Two PCRs are at most so far apart (2.3a, 2.3b).
const PCR_LIMIT: Ticks = Ticks::new(TICKS_PER_SECOND / 10);
/// A PAT and a PMT come so often (1.3, 1.5).
pub(super) const TABLE_LIMIT: Ticks = Ticks::new(TICKS_PER_SECOND / 2);
/// A PTS comes so often (2.5).
pub(super) const PTS_LIMIT: Ticks = Ticks::new(TICKS_PER_SECOND / 10 * 7);
/// The user's period of 1.6; also that of the CAT, for which 2.6 has none.
pub(super) const PERIOD_LIMIT: Ticks = Ticks::new(TICKS_PER_SECOND * 5);
/// From tick to tick: what takes longer is a jump.
pub(super) const STEP_LIMIT: Ticks = Ticks::new(TICKS_PER_SECOND);

/// Without a PCR for so long, arrival is the clock.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it ticks then.
const TICK: Duration = Duration::from_millis(100);

/// What may be wrong with a stream; see the module for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indicator {
    /// 1.3.
    Pat,
    /// 1.5.
    Pmt,
    /// 1.6.
    Pid,
    /// 2.2.
    Crc,
    /// 2.3a.
    PcrRepetition,
    /// 2.3b.
    PcrDiscontinuity,
    /// 2.5.
    Pts,
    /// 2.6.
    Cat,
    /// None of TR 101 290: sections that are none, for another reason than their CRC.
    Malformed,
}

impl Indicator {
    /// All of them, in the order of their numbers.
    pub const ALL: [Indicator; 9] = [
        Indicator::Pat,
        Indicator::Pmt,
        Indicator::Pid,
        Indicator::Crc,
        Indicator::PcrRepetition,
        Indicator::PcrDiscontinuity,
        Indicator::Pts,
        Indicator::Cat,
        Indicator::Malformed,
    ];
}

impl Indicator {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Indicator::Pat => "pat",
            Indicator::Pmt => "pmt",
            Indicator::Pid => "pid",
            Indicator::Crc => "crc",
            Indicator::PcrRepetition => "pcr_repetition",
            Indicator::PcrDiscontinuity => "pcr_discontinuity",
            Indicator::Pts => "pts",
            Indicator::Cat => "cat",
            Indicator::Malformed => "malformed",
        }
    }
}

/// Errors by their indicator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults([u64; Indicator::ALL.len()]);

impl Faults {
    /// Counts one.
    pub fn count(&mut self, indicator: Indicator) {
        self.0[indicator as usize] += 1;
    }

    /// Each count, in the order of [`Indicator::ALL`].
    pub fn all(&self) -> [u64; Indicator::ALL.len()] {
        self.0
    }
}

impl Index<Indicator> for Faults {
    type Output = u64;

    fn index(&self, indicator: Indicator) -> &u64 {
        &self.0[indicator as usize]
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

/// A tick of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tick {
    /// What the clock shows.
    pub(super) at: Ticks,
    /// It has jumped: what is watched begins anew.
    pub(super) jumped: bool,
}

/// The clock that all limits are measured by; see the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Ticks,
    /// Whose PCRs it goes by, and the last of them.
    reference: Option<(Pid, Pcr)>,
    /// Since when it goes by that PID's.
    chosen: Instant,
    /// When one of them came last that went on from the one before.
    went_on: Instant,
    /// Arrival was the clock at the last tick.
    by_arrival: bool,
    /// When it ticked last.
    ticked: Instant,
}

impl Clock {
    /// Shows zero.
    pub(super) fn new(now: Instant) -> Clock {
        Clock {
            at: Ticks::default(),
            reference: None,
            chosen: now,
            went_on: now,
            by_arrival: false,
            ticked: now,
        }
    }

    /// What it shows.
    pub(super) fn at(&self) -> Ticks {
        self.at
    }

    /// A PCR came. Ticks if it goes by that PID's.
    pub(super) fn pcr(&mut self, pid: Pid, pcr: Pcr, anew: bool, now: Instant) -> Option<Tick> {
        let jump = Ticks::new(u64::MAX);
        let step = match self.reference {
            Some((reference, _)) if reference == pid && anew => jump,
            Some((reference, last)) if reference == pid => pcr.since(last),
            // That of another program, while the first is here or has not had its time.
            Some(_) if !self.is_away(now) || !is_past(self.chosen, now) => return None,
            _ => {
                self.chosen = now;
                jump
            }
        };
        self.reference = Some((pid, pcr));
        if step > Ticks::default() && step <= STEP_LIMIT {
            self.went_on = now;
            // Arrival has counted that time already.
            let anew = std::mem::take(&mut self.by_arrival);
            return Some(self.tick(if anew { jump } else { step }, now));
        }
        (!self.is_away(now)).then(|| self.tick(step, now))
    }

    /// Packets came, with or without PCR. Ticks if arrival is the clock.
    pub(super) fn arrival(&mut self, now: Instant) -> Option<Tick> {
        let step = now.saturating_duration_since(self.ticked);
        if !self.is_away(now) || step < TICK {
            return None;
        }
        self.by_arrival = true;
        Some(self.tick(Ticks::of(step), now))
    }

    fn is_away(&self, now: Instant) -> bool {
        is_past(self.went_on, now)
    }

    fn tick(&mut self, step: Ticks, now: Instant) -> Tick {
        let jumped = step > STEP_LIMIT;
        if !jumped {
            self.at += step;
        }
        self.ticked = now;
        Tick { at: self.at, jumped }
    }
}

/// Whether it is longer ago than there is patience.
fn is_past(then: Instant, now: Instant) -> bool {
    now.saturating_duration_since(then) > PATIENCE
}

/// Something that has to come again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    since: Ticks,
    came: bool,
}

impl Watch {
    /// Begins to wait.
    pub(super) fn new(at: Ticks) -> Watch {
        Watch { since: at, came: false }
    }

    /// It came.
    pub(super) fn came(&mut self) {
        self.came = true;
    }

    /// Whether it came since the last tick.
    pub(super) fn is_here(&self) -> bool {
        self.came
    }

    /// Whether it is missing for longer than `limit`; if so, the next wait begins.
    pub(super) fn is_missing(&mut self, tick: Tick, limit: Ticks) -> bool {
        let missing = !self.came && !tick.jumped && tick.at.since(self.since) > limit;
        if missing || self.came || tick.jumped {
            *self = Watch::new(tick.at);
        }
        missing
    }
}

/// The PCRs of one PID.
#[derive(Clone, Copy, Debug)]
pub(super) struct PcrWatch {
    pub(super) pid: Pid,
    last: Option<Pcr>,
    /// There was a discontinuity indicator since.
    announced: bool,
    watch: Watch,
}

impl PcrWatch {
    pub(super) fn new(pid: Pid, at: Ticks) -> PcrWatch {
        PcrWatch { pid, last: None, announced: false, watch: Watch::new(at) }
    }

    /// A discontinuity indicator came, which holds up to the next PCR (ISO/IEC 13818-1, 2.4.3.5).
    pub(super) fn announce(&mut self) {
        self.announced = true;
    }

    /// Whether there was one since the last PCR; asked when the next comes.
    pub(super) fn take_announced(&mut self) -> bool {
        std::mem::take(&mut self.announced)
    }

    /// One came; `anew` with a discontinuity indicator.
    pub(super) fn came(&mut self, pcr: Pcr, anew: bool, faults: &mut Faults) {
        self.watch.came();
        let last = self.last.replace(pcr);
        let Some(step) = last.filter(|_| !anew).map(|last| pcr.since(last)) else { return };
        if step > PCR_LIMIT {
            faults.count(Indicator::PcrDiscontinuity);
        }
        // One that is further away is a jump of the clock, not a PCR that came late.
        if step > PCR_LIMIT && step <= STEP_LIMIT {
            faults.count(Indicator::PcrRepetition);
        }
    }

    /// None at all for a second.
    pub(super) fn is_missing(&mut self, tick: Tick) -> bool {
        self.watch.is_missing(tick, STEP_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Ticks {
        Ticks::new(milliseconds * TICKS_PER_SECOND / 1000)
    }

    fn pcr(milliseconds: u64) -> Pcr {
        Pcr::new(ms(milliseconds).count())
    }

    const A: Pid = Pid::new(256);
    const B: Pid = Pid::new(512);

    #[test]
    fn the_clock_goes_by_one_pids_pcrs() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        let tick = |at, jumped| Some(Tick { at: ms(at), jumped });
        assert_eq!(clock.pcr(A, pcr(5000), false, now), tick(0, true));
        assert_eq!(clock.pcr(B, pcr(100), false, now), None);
        assert_eq!(clock.pcr(A, pcr(5040), false, now), tick(40, false));
        assert_eq!(clock.pcr(A, pcr(9000), false, now), tick(40, true), "forth");
        assert_eq!(clock.pcr(A, pcr(8000), false, now), tick(40, true), "back");
        assert_eq!(clock.pcr(A, pcr(8040), true, now), tick(40, true), "as announced");
        assert_eq!(clock.pcr(A, pcr(9040), false, now), tick(1040, false));
        let later = now + Duration::from_millis(1001);
        assert_eq!(clock.pcr(B, pcr(1100), false, later), None, "the first is away");
        assert_eq!(clock.pcr(A, pcr(9080), false, later), None);
        assert_eq!(clock.pcr(B, pcr(1140), false, later), tick(1080, false));
    }

    #[test]
    fn bursts_are_no_jumps() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.pcr(A, pcr(0), false, start);
        for at in (40..40_000).step_by(40) {
            // All of four seconds at once.
            let now = start + Duration::from_secs(at / 4000 * 4);
            let expected = Some(Tick { at: ms(at), jumped: false });
            assert_eq!(clock.pcr(A, pcr(at), false, now), expected);
            assert_eq!(clock.arrival(now), None);
        }
    }

    #[test]
    fn a_clock_that_does_not_go_on_is_none() {
        let frozen: fn(u64) -> u64 = |_| 5000;
        for of in [frozen, |at| at * 100, |at| 100_000_000 - at] {
            let start = Instant::now();
            let mut clock = Clock::new(start);
            let mut last = Ticks::default();
            for at in (0..10_000).step_by(20) {
                let now = start + Duration::from_millis(at);
                for pid in [A, B] {
                    clock.pcr(pid, pcr(of(at)), false, now);
                }
                clock.arrival(now);
                last = clock.at();
            }
            assert!(last > ms(8500) && last <= ms(9000), "{last:?}");
            let now = start + Duration::from_secs(10);
            let (first, second) = (pcr(50_000_000), pcr(50_000_040));
            clock.pcr(A, first, false, now);
            clock.pcr(B, first, false, now);
            let ticks = [A, B].map(|pid| clock.pcr(pid, second, false, now));
            let goes_on = Some(Tick { at: last, jumped: true });
            assert!(ticks.contains(&goes_on), "{ticks:?}");
        }
    }

    #[test]
    fn without_pcrs_arrival_is_the_clock() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let mut ticks = Vec::new();
        for at in [50, 900, 1000, 1050, 1100, 1150, 1300, 9000, 9099, 9100] {
            ticks.extend(clock.arrival(start + Duration::from_millis(at)).map(|tick| (at, tick)));
        }
        let tick = |at, jumped| Tick { at: ms(at), jumped };
        let expected = [
            (1050, tick(0, true)),
            (1150, tick(100, false)),
            (1300, tick(250, false)),
            (9000, tick(250, true)),
            (9100, tick(350, false)),
        ];
        assert_eq!(ticks, expected);
    }

    #[test]
    fn what_is_missing_is_told_once_for_each_limit() {
        let mut watch = Watch::new(ms(0));
        let mut missing = Vec::new();
        for at in (0..=2000).step_by(100) {
            if at == 700 {
                watch.came();
            }
            if watch.is_missing(Tick { at: ms(at), jumped: at == 1500 }, ms(500)) {
                missing.push(at);
            }
        }
        assert_eq!(missing, [600, 1300], "from 700, from 1300, from 1500");
    }

    #[test]
    fn pcrs_too_far_apart() {
        let mut watch = PcrWatch::new(A, ms(0));
        let mut of = |at, anew| {
            let mut faults = Faults::default();
            watch.came(pcr(at), anew, &mut faults);
            (faults[Indicator::PcrRepetition], faults[Indicator::PcrDiscontinuity])
        };
        assert_eq!(of(1000, false), (0, 0));
        assert_eq!(of(1100, false), (0, 0));
        assert_eq!(of(1201, false), (1, 1));
        assert_eq!(of(9000, false), (0, 1), "a jump");
        assert_eq!(of(8999, false), (0, 1), "back");
        assert_eq!(of(1000, true), (0, 0), "as announced");
    }
}
