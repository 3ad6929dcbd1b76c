//! The packets that a viewer gets before the stream: tables, and where it has had something of the
//! stream before, what signals that it does not go on from there.
//!
//! Owns those that were made last, to share them: viewers who are skipped at a time go on at the
//! same place, mostly. It never decides which place that is. Driven by the history.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fill::Fill;
use crate::limits::INSERTED_MAX;
use crate::ring::{Position, Ring};
use crate::ts::programs::Tables;
use crate::ts::{Header, Pid, discontinuity};

/// See the module.
#[derive(Debug, Default)]
pub struct Inserted {
    /// Newest last.
    made: VecDeque<Made>,
}

#[derive(Debug)]
struct Made {
    position: Position,
    tables: Arc<Tables>,
    before: Before,
    packets: Option<Arc<[u8]>>,
}

/// What a viewer has had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// No packet.
    Nothing,
    /// Packets of the same PIDs.
    Something,
}

impl Inserted {
    /// What goes before the packets from `position` on, to which `tables` belong; their counters
    /// are those that follow. Nothing where there are neither tables nor PIDs.
    pub fn packets(
        &mut self,
        position: Position,
        tables: &Arc<Tables>,
        before: Before,
        fill: &Fill,
        ring: &Ring,
    ) -> Option<Arc<[u8]>> {
        let is_it = |made: &&Made| {
            (made.position, made.before) == (position, before) && Arc::ptr_eq(&made.tables, tables)
        };
        if let Some(made) = self.made.iter().find(is_it) {
            return made.packets.clone();
        }
        let packets = make(position, tables, before, fill, ring);
        if self.made.len() == INSERTED_MAX {
            self.made.pop_front();
        }
        let (tables, made) = (Arc::clone(tables), packets.clone());
        self.made.push_back(Made { position, tables, before, packets: made });
        packets
    }

    /// Another connection's positions may have other packets.
    pub fn forget(&mut self) {
        self.made.clear();
    }
}

fn make(
    position: Position,
    tables: &Tables,
    before: Before,
    fill: &Fill,
    ring: &Ring,
) -> Option<Arc<[u8]>> {
    let mut pids = tables.pids();
    if before == Before::Something {
        pids.extend(fill.probe().pids());
    }
    let counters = counters(&pids, position, ring);
    let next = |pid: Pid| {
        let seen = counters[place(pid)];
        seen.unwrap_or_else(|| fill.probe().next_counter(pid))
    };
    let mut packets = Vec::new();
    match before {
        Before::Nothing => tables.write(next, &mut packets),
        Before::Something => {
            discontinuity::resume(tables, fill.probe().pids(), |p| Some(next(p)), &mut packets);
        }
    }
    (!packets.is_empty()).then(|| packets.into())
}

/// By PID, the counter of the next packet with a payload in the ring from `position` on. Where it
/// has none of a PID, that is the next one to come.
fn counters(pids: &[Pid], position: Position, ring: &Ring) -> Vec<Option<u8>> {
    let mut wanted = vec![false; Pid::COUNT];
    let mut missing = 0;
    for pid in pids {
        missing += usize::from(!std::mem::replace(&mut wanted[place(*pid)], true));
    }
    let mut counters = vec![None; Pid::COUNT];
    for bytes in ring.packets(position) {
        if missing == 0 {
            break;
        }
        let [a, b, c, d, ..] = *bytes;
        let Some(header) = Header::new([a, b, c, d]) else { continue };
        if std::mem::take(&mut wanted[place(header.pid())]) {
            // One without payload has the counter of the one before it (ISO/IEC 13818-1, 2.4.3.3).
            let after = u8::from(!header.has_payload());
            counters[place(header.pid())] = Some(header.continuity().wrapping_add(after) & 0x0F);
            missing -= 1;
        }
    }
    counters
}

fn place(pid: Pid) -> usize {
    usize::from(pid.value())
}
