//! What the packets of one connection hold: tables, random access points, and whether all is as it
//! should be.
//!
//! Owns what is known of each PID. It sees every packet, and looks into few: those in which a unit
//! of a PID that is followed starts, which carry a clock or an indicator, and those of tables. It
//! never keeps a packet and never looks into a scrambled one. [`super::probe`] drives it.

mod assign;

use std::sync::Arc;
use std::time::Instant;

use super::continuity::Continuity;
use super::elementary::{Access, Follow};
use super::integrity::{
    Clock, Faults, Indicator, PERIOD_LIMIT, PcrWatch, STEP_LIMIT, TABLE_LIMIT, Tick, Watch,
};
use super::packet::{Header, Packet, Pid};
use super::pcr::Ticks;
use super::probe::Counts;
use super::programs::{Change, Programs, Tables};
use super::random_access::{RandomAccess, RandomAccesses};
use super::section::{Assembler, Found, SectionError, TABLE_CAT, TABLE_PAT, TABLE_PMT};
use super::vitals::Vitals;
use crate::limits::{ELEMENTARY_STREAMS_MAX, PACKET_BYTES, PROGRAMS_MAX, SLOTS_MAX};

pub use super::elementary::Followed;

/// PIDs with tables of DVB (EN 300 468, table 1) that TR 101 290, 2.2 looks at: NIT; SDT and BAT;
/// EIT; TDT and TOT.
const DVB: [Pid; 4] = [Pid::new(0x10), Pid::new(0x11), Pid::new(0x12), Pid::new(0x14)];

/// Slots that are always there: that of all other PIDs, PAT, CAT, [`DVB`].
const FIXED_SLOTS: usize = 3 + DVB.len();

const _: () = assert!(FIXED_SLOTS + PROGRAMS_MAX + ELEMENTARY_STREAMS_MAX <= SLOTS_MAX);

/// What is counted of a slot's packets, and which of them are looked at.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    /// All packets, and the scrambled ones among them.
    all: u64,
    scrambled: u64,
    /// Units that start are looked at.
    starts: bool,
    /// Every packet is looked at.
    every: bool,
}

impl Tally {
    /// Packets in the clear, and scrambled ones.
    fn packets(&self) -> [u64; 2] {
        [self.all - self.scrambled, self.scrambled]
    }
}

/// What a slot's packets are.
#[derive(Clone, Debug)]
enum Role {
    /// Nothing that is followed.
    Other,
    /// Tables.
    Tables { pid: Pid, assembler: Assembler, watch: Watch },
    /// An elementary stream.
    Elementary(Box<Follow>),
}

/// See the module.
#[derive(Clone)]
pub struct Content {
    /// The slot of every PID.
    slots: [u8; Pid::COUNT],
    tallies: [Tally; SLOTS_MAX],
    /// By slot.
    roles: Vec<Role>,
    programs: Programs,
    /// Programs and elementary streams that are not followed, for there are too many.
    left_out: usize,
    pcrs: Vec<PcrWatch>,
    cat: Watch,
    /// Scrambled packets; so many of them up to the last tick, and the tick that saw one last.
    scrambled: u64,
    scrambled_before: u64,
    scrambled_at: Ticks,
    clock: Clock,
    now: Instant,
    /// Bytes that were delivered up to here, and before this pass.
    delivered: u64,
    front: u64,
    found: RandomAccesses,
    faults: Faults,
    /// Times that a table was replaced in this pass.
    changes: u64,
    /// Scrambled packets that were told of.
    counted: u64,
    vitals: Vitals,
}

impl Content {
    /// A connection of which nothing is known, at its beginning.
    pub(super) fn new(now: Instant) -> Content {
        let clock = Clock::new(now);
        let mut content = Content {
            slots: [0; Pid::COUNT],
            tallies: [Tally::default(); SLOTS_MAX],
            roles: Vec::new(),
            programs: Programs::default(),
            left_out: 0,
            pcrs: Vec::new(),
            cat: Watch::new(clock.at()),
            scrambled: 0,
            scrambled_before: 0,
            scrambled_at: clock.at(),
            clock,
            now,
            delivered: 0,
            front: 0,
            found: RandomAccesses::default(),
            faults: Faults::default(),
            changes: 0,
            counted: 0,
            vitals: Vitals::default(),
        };
        content.assign();
        content
    }

    /// The current tables.
    pub fn tables(&self) -> &Arc<Tables> {
        self.programs.tables()
    }

    /// Packets in the clear, and scrambled ones, of all PIDs.
    pub fn packets(&self) -> [u64; 2] {
        [self.delivered / PACKET_BYTES as u64 - self.scrambled, self.scrambled]
    }

    /// What tells whether it is alive.
    pub fn vitals(&self) -> Vitals {
        self.vitals
    }

    /// The elementary streams of the current tables, [`ELEMENTARY_STREAMS_MAX`] at most.
    pub fn elementary(&self) -> impl Iterator<Item = Followed<'_>> {
        self.roles.iter().zip(self.tallies.iter()).filter_map(|(role, tally)| match role {
            Role::Elementary(follow) => Some(follow.show(tally.packets())),
            Role::Other | Role::Tables { .. } => None,
        })
    }

    /// Whether the last random access point of `pid` has come in whole: a picture, or a frame of
    /// sound, and not its beginning alone.
    pub fn is_whole(&self, pid: Pid) -> bool {
        let role = self.roles.get(usize::from(self.slots[pid.index()]));
        matches!(role, Some(Role::Elementary(follow)) if follow.is_whole())
    }

    /// So many of the bytes that were delivered last may yet turn out to begin with a random access
    /// point, as the packets to come will tell.
    pub fn searched(&self) -> usize {
        let places = self.roles.iter().filter_map(|role| match role {
            Role::Elementary(follow) => follow.searched(),
            Role::Other | Role::Tables { .. } => None,
        });
        let bytes = places.min().map_or(0, |place| self.delivered - place);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// What comes next has arrived at `now`.
    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// A pass is over: what it found, and what there is to count.
    pub(super) fn end_pass(&mut self, counts: &mut Counts) -> RandomAccesses {
        if self.delivered > self.front
            && let Some(tick) = self.clock.arrival(self.now)
        {
            self.tick(tick);
        }
        self.front = self.delivered;
        counts.scrambled = self.scrambled - std::mem::replace(&mut self.counted, self.scrambled);
        counts.table_changes = std::mem::take(&mut self.changes);
        counts.faults = std::mem::take(&mut self.faults);
        std::mem::take(&mut self.found)
    }

    /// Sees the next packet that is delivered.
    #[inline]
    pub(super) fn see(
        &mut self,
        header: Header,
        bytes: &[u8; PACKET_BYTES],
        continuity: Continuity,
    ) {
        let slot = self.slots[header.pid().index()];
        let tally = &mut self.tallies[usize::from(slot)];
        tally.all += 1;
        if header.scrambled() {
            tally.scrambled += 1;
            self.scrambled += 1;
        }
        if tally.every | (tally.starts & header.unit_start()) || header.indicates(bytes) {
            self.look(slot, bytes, continuity);
        }
        self.delivered += PACKET_BYTES as u64;
    }

    /// Whether every packet of the PID is looked at.
    #[inline]
    pub(super) fn sees_each(&self, pid: Pid) -> bool {
        self.tallies[usize::from(self.slots[pid.index()])].every
    }

    /// Sees a [row](Header::row) of the packets that follow the one with this header, which are
    /// not looked at.
    #[inline]
    pub(super) fn see_row(&mut self, header: Header, row: u64) {
        let tally = &mut self.tallies[usize::from(self.slots[header.pid().index()])];
        tally.all += row;
        if header.scrambled() {
            tally.scrambled += row;
            self.scrambled += row;
        }
        self.delivered += row * PACKET_BYTES as u64;
    }

    /// Looks into a packet.
    #[inline(never)]
    fn look(&mut self, slot: u8, bytes: &[u8; PACKET_BYTES], continuity: Continuity) {
        let Some(packet) = Packet::new(bytes) else { return };
        if packet.transport_error() {
            if let Role::Tables { assembler, .. } = &mut self.roles[usize::from(slot)] {
                assembler.lose();
            }
            return;
        }
        if continuity == Continuity::Repeated {
            return;
        }
        self.look_at_clock(&packet);
        let slot = usize::from(slot);
        match &mut self.roles[slot] {
            Role::Other => {}
            Role::Tables { .. } => self.look_at_tables(slot, &packet, continuity),
            Role::Elementary(follow) => {
                self.vitals.unit(&packet, follow.kind());
                let access = follow.look(&packet, continuity, self.delivered, self.now);
                self.tallies[slot].every = follow.is_searching();
                if let Some(Access { place, pid, program }) = access {
                    let offset = place.cast_signed() - self.front.cast_signed();
                    let tables = self.programs.tables().number();
                    self.found.push(RandomAccess { offset, pid, program, tables });
                }
            }
        }
    }

    fn look_at_clock(&mut self, packet: &Packet<'_>) {
        let Some(field) = packet.adaptation() else { return };
        let (pid, mut anew) = (packet.pid(), field.discontinuity());
        let mut watch = self.pcrs.iter_mut().find(|watch| watch.pid == pid);
        let Some(pcr) = field.pcr() else {
            if let Some(watch) = watch.filter(|_| anew) {
                watch.announce();
            }
            return;
        };
        if let Some(watch) = &mut watch {
            anew |= watch.take_announced();
            watch.came(pcr, anew, &mut self.faults);
        } else if !self.pcrs.is_empty() {
            // Nobody's clock.
            return;
        }
        if let Some(tick) = self.clock.pcr(pid, pcr, anew, self.now) {
            self.tick(tick);
        }
    }

    fn look_at_tables(&mut self, slot: usize, packet: &Packet<'_>, continuity: Continuity) {
        let Role::Tables { pid, assembler, watch } = &mut self.roles[slot] else { return };
        let (pid, programs, faults, cat, vitals) =
            (*pid, &mut self.programs, &mut self.faults, &mut self.cat, &mut self.vitals);
        let of_programs = slot >= FIXED_SLOTS || pid == Pid::PAT;
        if continuity == Continuity::Broken {
            assembler.lose();
        }
        if packet.scrambled() {
            assembler.lose();
            return match pid {
                Pid::PAT => faults.count(Indicator::Pat),
                _ if of_programs => faults.count(Indicator::Pmt),
                _ => {}
            };
        }
        let mut changed = false;
        assembler.take(packet, |found| {
            let table = match found {
                Found::Section(section) => section[0],
                Found::Other(table) => table,
                Found::Malformed(SectionError::Crc) => return faults.count(Indicator::Crc),
                Found::Malformed(_) => return faults.count(Indicator::Malformed),
            };
            match (pid, found) {
                (Pid::PAT, _) if table != TABLE_PAT => faults.count(Indicator::Pat),
                (Pid::CAT, _) if table != TABLE_CAT => faults.count(Indicator::Cat),
                (Pid::CAT, _) => cat.came(),
                (_, Found::Section(section)) if of_programs && is_of_programs(pid, table) => {
                    watch.came();
                    match programs.take(pid, section) {
                        Ok(change) => {
                            vitals.section(pid);
                            changed |= change != Change::Nothing;
                            self.changes += u64::from(change == Change::Replaced);
                        }
                        Err(_why) => faults.count(Indicator::Malformed),
                    }
                }
                _ => {}
            }
        });
        if changed {
            self.assign();
        }
    }

    /// The clock has ticked: what is missing?
    fn tick(&mut self, tick: Tick) {
        let faults = &mut self.faults;
        let before = std::mem::replace(&mut self.scrambled_before, self.scrambled);
        let hidden = before != self.scrambled;
        if hidden {
            self.scrambled_at = tick.at;
        } else if tick.at.since(self.scrambled_at) > STEP_LIMIT {
            // Where nothing is scrambled, none is missed.
            self.cat.came();
        }
        if (hidden || self.cat.is_here() || tick.jumped) && self.cat.is_missing(tick, PERIOD_LIMIT)
        {
            faults.count(Indicator::Cat);
        }
        for watch in &mut self.pcrs {
            if watch.is_missing(tick) {
                faults.count(Indicator::PcrRepetition);
            }
        }
        for (slot, role) in self.roles.iter_mut().enumerate() {
            match role {
                Role::Tables { pid, watch, .. } if slot >= FIXED_SLOTS || *pid == Pid::PAT => {
                    let missed = if *pid == Pid::PAT { Indicator::Pat } else { Indicator::Pmt };
                    if watch.is_missing(tick, TABLE_LIMIT) {
                        faults.count(missed);
                    }
                }
                Role::Elementary(follow) => follow.tick(tick, self.tallies[slot].packets(), faults),
                Role::Other | Role::Tables { .. } => {}
            }
        }
    }
}

/// Whether a table on `pid` is the PAT or a PMT.
fn is_of_programs(pid: Pid, table: u8) -> bool {
    table == if pid == Pid::PAT { TABLE_PAT } else { TABLE_PMT }
}

#[cfg(test)]
mod tests;
