//! The slots of the PIDs that are followed, dealt out anew whenever the tables change.
//!
//! Owns which PID gets one, and what is kept of it. It never looks at packets. What a change costs
//! grows with what is followed and not with its square, for an upstream may change its tables with
//! every packet. [`super::Content`] drives it.

use std::sync::Arc;

use super::{Content, DVB, FIXED_SLOTS, Role, Tally};
use crate::limits::{ELEMENTARY_STREAMS_MAX, SLOTS_MAX};
use crate::ts::elementary::Follow;
use crate::ts::integrity::{Indicator, PcrWatch, Watch};
use crate::ts::packet::Pid;
use crate::ts::pmt::Elementary;
use crate::ts::section::Assembler;

impl Content {
    /// Gives every PID of the current tables its slot. What is known of a PID that stays, stays.
    pub(super) fn assign(&mut self) {
        let at = self.clock.at();
        let tables = Arc::clone(self.programs.tables());
        let mut old = Old {
            slots: Box::new(self.slots),
            roles: std::mem::take(&mut self.roles),
            tallies: Box::new(self.tallies),
        };
        self.slots.fill(0);
        self.roles.push(Role::Other);
        for pid in [Pid::PAT, Pid::CAT].into_iter().chain(DVB) {
            self.give_tables(pid, self.roles.len(), &mut old);
        }
        for program in tables.programs() {
            if !self.is_given(program.pid) {
                self.give_tables(program.pid, old.slot(program.pid), &mut old);
            }
        }
        let (mut pcrs, mut left_out): (Vec<PcrWatch>, usize) = (Vec::new(), tables.left_out());
        let mut room = ELEMENTARY_STREAMS_MAX;
        for program in tables.programs() {
            let Some(pmt) = &program.pmt else { continue };
            let leading = pmt.leading().map(|one| one.pid);
            for elementary in &pmt.elementary {
                let pid = elementary.pid;
                if !pid.is_assignable() || self.is_given(pid) {
                    continue;
                }
                if room == 0 {
                    left_out += 1;
                    continue;
                }
                room -= 1;
                let leads = leading == Some(pid);
                self.give_elementary(program.number, elementary, leads, &mut old);
            }
            if let Some(pid) = pmt.pcr.filter(|pid| pcrs.iter().all(|watch| watch.pid != *pid)) {
                let known = self.pcrs.iter().find(|watch| watch.pid == pid);
                pcrs.push(known.copied().unwrap_or_else(|| PcrWatch::new(pid, at)));
            }
        }
        self.pcrs = pcrs;
        for _more in self.left_out..left_out {
            self.faults.count(Indicator::Malformed);
        }
        self.left_out = left_out;
    }

    /// Whether a PID has a slot by the PAT or a PMT.
    fn is_given(&self, pid: Pid) -> bool {
        usize::from(self.slots[pid.index()]) >= FIXED_SLOTS
    }

    /// Gives a PID of tables the next slot, with what the `old` one knows.
    fn give_tables(&mut self, pid: Pid, slot: usize, old: &mut Old) {
        let same = |role: &Role| matches!(role, Role::Tables { pid: of, .. } if *of == pid);
        let (role, tally) = old.take(slot, same).unwrap_or_else(|| {
            let watch = Watch::new(self.clock.at());
            let role = Role::Tables { pid, assembler: Assembler::default(), watch };
            (role, Tally { starts: true, every: true, ..Tally::default() })
        });
        self.give(pid, role, tally);
    }

    /// The same for an elementary stream.
    fn give_elementary(
        &mut self,
        program: u16,
        elementary: &Elementary,
        leads: bool,
        old: &mut Old,
    ) {
        let pid = elementary.pid;
        let same = |role: &Role| match role {
            Role::Elementary(follow) => follow.is_of(program, elementary, leads),
            Role::Other | Role::Tables { .. } => false,
        };
        let (role, tally) = old.take(old.slot(pid), same).unwrap_or_else(|| {
            let follow = Follow::new(program, *elementary, leads, self.clock.at(), self.now);
            (Role::Elementary(Box::new(follow)), Tally { starts: true, ..Tally::default() })
        });
        self.give(pid, role, tally);
    }

    fn give(&mut self, pid: Pid, role: Role, tally: Tally) {
        let slot = self.roles.len();
        self.slots[pid.index()] = slot.to_le_bytes()[0];
        self.tallies[slot] = tally;
        self.roles.push(role);
    }
}

/// What was known before the tables changed.
struct Old {
    slots: Box<[u8; Pid::COUNT]>,
    roles: Vec<Role>,
    tallies: Box<[Tally; SLOTS_MAX]>,
}

impl Old {
    fn slot(&self, pid: Pid) -> usize {
        usize::from(self.slots[pid.index()])
    }

    /// What is known of a slot, if it is the `same`.
    fn take(&mut self, slot: usize, same: impl Fn(&Role) -> bool) -> Option<(Role, Tally)> {
        let role = self.roles.get_mut(slot).filter(|role| same(role))?;
        Some((std::mem::replace(role, Role::Other), self.tallies[slot]))
    }
}
