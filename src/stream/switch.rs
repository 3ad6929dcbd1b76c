//! The change to another upstream on the same viewers' connections.
//!
//! Owns what a new connection sends until the stream may go on with it, and the decision when that
//! is: with complete tables, from a random access point of each program on. That is waited for
//! within bounds; then it goes on at the newest packet. What goes before the connection's packets
//! into the stream says of every PID there was that it does not go on
//! ([`discontinuity`](crate::ts::discontinuity)), and has the new tables. A PID of which nothing
//! has come yet is told of in the same way right before its first packet ([`Late`]).
//!
//! It never changes a packet, and reads no descriptor. Driven by [`super::fill`], which reads into
//! [`Switch::staged`] as long as there is a switch, and by the intake, for who is late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::points::{Point, Points};
use crate::limits::{PACKET_BYTES, SWITCH_BYTES_MAX, SWITCH_TABLES_TIMEOUT, SWITCH_TIMEOUT};
use crate::metrics::switching::Kind;
use crate::ring::{Position, Ring};
use crate::ts::discontinuity::{resume_after, signal};
use crate::ts::programs::{Program, Tables};
use crate::ts::{Aligned, Content, Header, Pid, Pids, Probe};

/// What viewers have had of the stream.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// PIDs that there were packets of.
    pub pids: Pids,
    /// The last tables.
    pub tables: Arc<Tables>,
}

impl Before {
    /// Takes note of a connection that is over.
    pub fn add(&mut self, probe: &Probe) {
        self.pids.extend(probe.pids());
        if let Some(content) = probe.content().filter(|content| content.tables().number() > 0) {
            self.tables = Arc::clone(content.tables());
        }
    }
}

/// A connection that the stream does not go on with yet; see the module.
#[derive(Debug)]
pub struct Switch {
    before: Before,
    staged: Ring,
    /// When its first packet had come.
    first: Option<Instant>,
}

/// The stream goes on with the connection.
#[derive(Debug)]
pub struct Switched {
    /// From where on.
    pub kind: Kind,
    /// How long the connection's packets were held back.
    pub waited: Duration,
}

/// What is known of a connection that is waited for.
#[derive(Clone, Copy, Debug)]
struct Staged {
    /// Since its first packet.
    time: Duration,
    bytes: usize,
    /// PAT and all PMTs have come.
    tables: bool,
    /// There is a random access point.
    point: bool,
    /// Programs that have none, but will.
    wanting: bool,
}

/// Whether to go on now, and from where.
fn judge(staged: Staged) -> Option<Kind> {
    let kind = if staged.point { Kind::RandomAccess } else { Kind::Packet };
    let over = staged.time >= SWITCH_TIMEOUT
        || staged.bytes >= SWITCH_BYTES_MAX
        || !staged.tables && staged.time >= SWITCH_TABLES_TIMEOUT;
    (over || staged.tables && !staged.wanting).then_some(kind)
}

impl Switch {
    /// Before it goes on there was this.
    pub fn new(before: Before) -> Switch {
        Switch { before, staged: Ring::new(), first: None }
    }

    /// The same, after this.
    pub fn set_before(&mut self, before: &Before) {
        self.before = before.clone();
    }

    /// Nothing of what there is so far is to go on with.
    pub fn forget(&mut self, points: &mut Points) {
        points.forget();
        self.staged.evict(0);
        self.first = None;
    }

    /// Where the connection's packets go.
    pub fn staged(&mut self) -> &mut Ring {
        &mut self.staged
    }

    /// When it goes on, whatever has come until then.
    pub fn deadline(&self, probe: &Probe) -> Option<Instant> {
        let complete = probe.content().is_some_and(|content| content.tables().is_complete());
        let patience = if complete { SWITCH_TIMEOUT } else { SWITCH_TABLES_TIMEOUT };
        self.first.map(|first| first + patience)
    }

    /// Looks at what has come of a connection so far. Answers whether to go on with it.
    pub fn look(&mut self, probe: &Probe, points: &Points, now: Instant) -> Option<Switched> {
        let content = probe.content()?;
        let head = self.staged.head();
        if head == Position::START {
            return None;
        }
        let waited = now.saturating_duration_since(*self.first.get_or_insert(now));
        let point = points.start(self.staged.tail());
        let bytes = head.since(point.map_or(head, |point| point.position));
        let bytes = bytes.max(content.searched().min(head.since(self.staged.tail())));
        let wants =
            |program: &Program| wants(program, content, waited) && !points.has(program.number);
        let staged = Staged {
            time: waited,
            bytes,
            tables: content.tables().is_complete(),
            point: point.is_some(),
            wanting: content.tables().programs().iter().any(wants),
        };
        self.staged.evict(bytes);
        judge(staged).map(|kind| Switched { kind, waited })
    }

    /// Goes on: puts what there is to say, and what was staged, into the ring.
    pub fn open(mut self, probe: &Probe, points: &mut Points, ring: &mut Ring) -> Late {
        let head = self.staged.head();
        let point = points.start(self.staged.tail());
        let current = probe.content().map(Content::tables);
        let tables = point.map(|point| &point.tables).or(current).cloned().unwrap_or_default();
        let start = point.map_or(head, |point: &Point| point.position);
        let first = first_counters(&self.staged, start);
        let next = |pid: Pid| {
            let known = || probe.knows(pid).then(|| probe.next_counter(pid));
            first[usize::from(pid.value())].or_else(known)
        };
        let mut said = Vec::new();
        let Before { pids, tables: old } = &self.before;
        resume_after(old, &tables, pids.iter(), next, &mut said);
        ring.insert(&said);
        points.move_to(start, ring.head());
        for packet in self.staged.packets(start) {
            ring.insert(packet);
        }
        let (rest, waiting) = self.staged.room();
        ring.hold(&rest[..waiting]);
        let mut missing = self.before.pids;
        for pid in probe.pids() {
            missing.remove(pid);
        }
        Late { missing, known: probe.known_pids() }
    }
}

/// Whether a random access point of a program is to be waited for: not if there is nothing in it to
/// see or hear, if that is scrambled, or if for so long nothing of it has come.
fn wants(program: &Program, content: &Content, waited: Duration) -> bool {
    let of_it = |followed: &crate::ts::content::Followed<'_>| {
        followed.program == program.number && followed.leads
    };
    match content.elementary().find(of_it).map(|leading| leading.packets) {
        None => false,
        Some([0, 0]) => waited < SWITCH_TABLES_TIMEOUT,
        Some([clear, _]) => clear > 0,
    }
}

/// The counter that the next packet with a payload is to have at `start`, of each PID that there is
/// one of from there on.
fn first_counters(staged: &Ring, start: Position) -> Vec<Option<u8>> {
    let mut first = vec![None; Pid::COUNT];
    for bytes in staged.packets(start) {
        if let Some((pid, counter)) = counter(bytes) {
            first[usize::from(pid.value())].get_or_insert(counter);
        }
    }
    first
}

/// The PID of a packet, and its counter, or the next one's if it does not count itself (ISO/IEC
/// 13818-1, 2.4.3.3). One with a transport error tells neither.
fn counter(bytes: &[u8; PACKET_BYTES]) -> Option<(Pid, u8)> {
    let [a, b, c, d, ..] = *bytes;
    let header = Header::new([a, b, c, d]).filter(|header| !header.transport_error())?;
    let after = u8::from(!header.has_payload());
    Some((header.pid(), header.continuity().wrapping_add(after) & 0x0F))
}

/// PIDs that viewers have had packets of, and that have not come again since the switch.
#[derive(Debug)]
pub struct Late {
    missing: Pids,
    /// How many PIDs the probe knew when this was looked at last.
    known: usize,
}

impl Late {
    /// Takes what a pass has aligned at the front of the ring's room into the stream, and before
    /// the first packet of each PID that was missing what says so.
    pub fn commit(
        &mut self,
        aligned: &Aligned,
        probe: &Probe,
        points: &mut Points,
        ring: &mut Ring,
    ) {
        let known = std::mem::replace(&mut self.known, probe.known_pids());
        if known == self.known || self.missing.is_empty() {
            return ring.commit(aligned.whole, aligned.held);
        }
        let (room, _held) = ring.room();
        let (packets, held) = room[..aligned.whole + aligned.held].split_at(aligned.whole);
        let (packets, held) = (packets.to_vec(), held.to_vec());
        ring.commit(0, 0);
        for packet in packets.as_chunks::<PACKET_BYTES>().0 {
            if let Some((pid, next)) = counter(packet)
                && self.missing.remove(pid)
            {
                points.inserted(ring.head(), PACKET_BYTES);
                ring.insert(&signal(pid, next));
            }
            ring.insert(packet);
        }
        ring.hold(&held);
    }
}

#[cfg(test)]
mod tests;
