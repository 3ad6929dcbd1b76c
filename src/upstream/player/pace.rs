//! When is a packet of a file due?
//!
//! Owns the plan: a file is a sequence of segments from one PCR to the next, each of so many bytes
//! and so much time (ISO/IEC 13818-1, 2.4.2.2: between two PCRs the rate is constant). It never
//! looks at a clock and never keeps a packet: it counts bytes, and time is passed in. The player
//! drives it.
//!
//! A clock that jumps (a discontinuity, back, more than [`PACE_PCR_GAP_MAX`] ahead, or faster than
//! [`PACE_BYTES_PER_SECOND_MAX`]) says nothing about the segment it ends; such a segment, and one
//! without any PCR, takes as long as the file's average so far makes likely.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{
    PACE_BYTES_PER_SECOND_DEFAULT, PACE_BYTES_PER_SECOND_MAX, PACE_GAP_BYTES_MAX, PACE_LATE_MAX,
    PACE_PCR_GAP_MAX, PACKET_BYTES,
};
use crate::ts::pcr::{Pcr, TICKS_PER_SECOND, Ticks};
use crate::ts::{Packet, Pid};

/// The plan of what is due when.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the plan's tick 0 is.
    start: Instant,
    /// Segments of which packets are left.
    segments: VecDeque<Segment>,
    /// The plan's end, in ticks since its start.
    end: Ticks,
    /// The segment that no PCR has closed yet.
    open: Open,
    /// The last PCR, and whose it is. Only one PID's are followed.
    last: Option<(Pid, Pcr)>,
    /// A discontinuity of the clock was announced since.
    jumps: bool,
    /// Bytes and ticks of all segments that were measured.
    measured: (u64, u64),
}

/// Packets whose time is known: evenly spread over it.
#[derive(Debug)]
struct Segment {
    start: Ticks,
    length: Ticks,
    bytes: usize,
    taken: usize,
}

/// Packets whose time is not known yet.
#[derive(Debug, Default)]
struct Open {
    bytes: usize,
    /// Those from the last PCR on. The others came before the first, and go at the same rate.
    clocked: usize,
}

impl Pace {
    /// A plan that begins at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            segments: VecDeque::new(),
            end: Ticks::default(),
            open: Open::default(),
            last: None,
            jumps: false,
            measured: (0, 0),
        }
    }

    /// The source's next packet. Its time is planned when the next PCR (or the bound) is seen.
    pub(super) fn add(&mut self, packet: &Packet<'_>) {
        let ours = self.last.is_none_or(|(pid, _)| pid == packet.pid());
        if ours && let Some(field) = packet.adaptation() {
            self.jumps |= field.discontinuity();
            if let Some(pcr) = field.pcr() {
                self.clock(packet.pid(), pcr);
            }
        }
        self.open.bytes += PACKET_BYTES;
        self.open.clocked += PACKET_BYTES;
        if self.open.bytes >= PACE_GAP_BYTES_MAX {
            self.end();
        }
    }

    /// No PCR will follow the packets so far: they are planned by the average.
    pub(super) fn end(&mut self) {
        let length = self.likely(self.open.bytes);
        self.close(length);
        self.last = None;
    }

    /// When all that is planned will be over.
    pub(super) fn planned_until(&self) -> Instant {
        self.instant(self.end)
    }

    /// When the next packet is due; `None` when there is none.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.segments.front().map(|segment| self.instant(segment.due(segment.taken)))
    }

    /// Starts the plan anew where it stands if `now` is more than [`PACE_LATE_MAX`] behind it.
    pub(super) fn forgive_delay(&mut self, now: Instant) {
        let due = self.next_due().unwrap_or(self.planned_until());
        let late = now.saturating_duration_since(due);
        if late > PACE_LATE_MAX {
            self.start += late;
        }
    }

    /// Takes the packets that are due at `now`: so many bytes.
    pub(super) fn take(&mut self, now: Instant) -> usize {
        let elapsed = Ticks::of(now.saturating_duration_since(self.start));
        let mut bytes = 0;
        while let Some(segment) = self.segments.front_mut() {
            bytes += segment.take(elapsed);
            if segment.taken < segment.bytes {
                break;
            }
            self.segments.pop_front();
        }
        bytes
    }

    /// A PCR stands before the next packet's end.
    fn clock(&mut self, pid: Pid, pcr: Pcr) {
        let last = self.last.replace((pid, pcr));
        let jumps = std::mem::take(&mut self.jumps);
        let Some((_, last)) = last else {
            self.open.clocked = 0;
            return;
        };
        let ticks = pcr.since(last);
        if !jumps && believable(self.open.clocked, ticks) {
            self.measured.0 += self.open.clocked as u64;
            self.measured.1 += ticks.count();
            self.close(share(ticks.count(), self.open.bytes as u64, self.open.clocked as u64));
        } else {
            self.close(self.likely(self.open.bytes));
        }
    }

    /// Plans the open segment, `length` long.
    fn close(&mut self, length: Ticks) {
        let Open { bytes, .. } = std::mem::take(&mut self.open);
        if bytes > 0 {
            self.segments.push_back(Segment { start: self.end, length, bytes, taken: 0 });
            self.end += length;
        }
    }

    /// How long `bytes` take at the average rate so far.
    fn likely(&self, bytes: usize) -> Ticks {
        let (of_bytes, ticks) = match self.measured {
            (0, _) | (_, 0) => (PACE_BYTES_PER_SECOND_DEFAULT, TICKS_PER_SECOND),
            measured => measured,
        };
        share(ticks, bytes as u64, of_bytes)
    }

    fn instant(&self, ticks: Ticks) -> Instant {
        self.start + ticks.duration()
    }
}

impl Segment {
    /// When the packet at `byte` is due, in ticks since the plan's start.
    fn due(&self, byte: usize) -> Ticks {
        let mut due = self.start;
        due += share(self.length.count(), byte as u64, self.bytes as u64);
        due
    }

    /// Takes the packets that are due `elapsed` after the plan's start: so many bytes.
    fn take(&mut self, elapsed: Ticks) -> usize {
        let left = (self.bytes - self.taken) / PACKET_BYTES;
        let packets =
            partition(left, |packet| self.due(self.taken + packet * PACKET_BYTES) <= elapsed);
        self.taken += packets * PACKET_BYTES;
        packets * PACKET_BYTES
    }
}

/// How many of `count` there are before the first for which `early` is false.
fn partition(count: usize, early: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from.midpoint(to);
        if early(middle) { from = middle + 1 } else { to = middle }
    }
    from
}

/// Whether a PCR `ticks` after another, with so many bytes between them, is no jump of the clock.
fn believable(bytes: usize, ticks: Ticks) -> bool {
    let fastest = share(TICKS_PER_SECOND, bytes as u64, PACE_BYTES_PER_SECOND_MAX);
    ticks >= fastest && ticks <= Ticks::of(PACE_PCR_GAP_MAX)
}

/// The time of `part` bytes where `whole` bytes take so many ticks, rounded down.
fn share(ticks: u64, part: u64, whole: u64) -> Ticks {
    let share = u128::from(ticks) * u128::from(part) / u128::from(whole.max(1));
    Ticks::new(u64::try_from(share).unwrap_or(u64::MAX))
}
