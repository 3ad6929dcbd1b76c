//! Where who joins begins, and what the ring keeps for that.
//!
//! Owns the decision, the marks of where the head was (where seconds count) and the stream's share
//! of what the node's rings may keep. It never keeps bytes: the ring does, as far back as
//! [`History::kept`] says. Driven by the stream, in every turn and when somebody joins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allotment::Share;
use super::fill::Fill;
use crate::config::{Join, Keep};
use crate::limits::{BLOCK_BYTES, MARK_INTERVAL};
use crate::metrics::stream::{Joined, Lost};
use crate::ring::{Position, Ring};
use crate::ts::programs::Tables;
use crate::ts::{Content, Header, Pid};

/// See the module.
#[derive(Debug)]
pub struct History {
    join: Join,
    keep: Keep,
    share: Share,
    /// Oldest first.
    marks: VecDeque<Mark>,
    /// Where one would begin now, if it is not at the head.
    start: Option<Start>,
    /// Bytes before the head that the ring is to keep.
    kept: usize,
    /// The node has no room for them, and that was told.
    refused: bool,
    /// The packets of the tables that were made last.
    made: Option<Made>,
}

/// Where one begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The first packet of the stream that it gets.
    pub position: Position,
    /// The tables that the packets from there on belong to.
    tables: Arc<Tables>,
    /// How that is counted.
    pub joined: Joined,
}

/// What was at a time.
#[derive(Debug)]
struct Mark {
    at: Instant,
    head: Position,
    /// Where one began who joined then.
    start: Start,
}

#[derive(Debug)]
struct Made {
    position: Position,
    tables: Arc<Tables>,
    packets: Option<Arc<[u8]>>,
}

impl History {
    /// Of a stream of which nothing has come yet.
    pub fn new(join: Join, keep: Keep, share: Share) -> History {
        let marks = VecDeque::new();
        History { join, keep, share, marks, start: None, kept: 0, refused: false, made: None }
    }

    /// Bytes before the head that the ring is to keep for who joins.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Looks at what has come by the connection there is. Answers why who joins now begins at the
    /// head, if it would have begun before that until now.
    pub fn look(&mut self, fill: Option<&Fill>, ring: &Ring, now: Instant) -> Option<Lost> {
        let Some(fill) = fill.filter(|_| self.join != Join::Live) else {
            self.forget();
            return None;
        };
        let head = ring.head();
        let floor = self.floor(head, now).max(ring.tail());
        let point = fill.points().start(floor);
        let point = point.map(|point| Start {
            position: point.position,
            tables: Arc::clone(&point.tables),
            joined: Joined::RandomAccess,
        });
        self.mark(point.as_ref(), fill, head, now);
        let start = match self.join {
            Join::Seconds(ago) => self.marked(ago, floor, now),
            Join::RandomAccess | Join::Live => point,
        };
        let before = std::mem::replace(&mut self.start, start).is_some();
        // Also where it may yet begin, as the next packets will tell.
        let searched = fill.probe().content().map_or(0, Content::searched);
        let wanted = self.start.as_ref().map_or(0, |start| head.since(start.position));
        let searched = searched.min(head.since(floor));
        // By another connection there may be none yet.
        let lost = before && self.start.is_none() && fill.points().are_known();
        self.kept = wanted.max(searched);
        // The blocks that the ring keeps for that.
        let blocks = if self.kept == 0 { 0 } else { self.kept.div_ceil(BLOCK_BYTES) + 1 };
        if !self.share.resize(blocks * BLOCK_BYTES) {
            self.forget();
            return (!std::mem::replace(&mut self.refused, true)).then_some(Lost::Node);
        }
        self.refused = false;
        lost.then_some(Lost::History)
    }

    /// The connection is over, or there is no room: who joins begins at the head.
    fn forget(&mut self) {
        self.marks.clear();
        (self.start, self.kept, self.made) = (None, 0, None);
        self.share.resize(0);
    }

    /// The oldest byte that may be kept.
    fn floor(&self, head: Position, now: Instant) -> Position {
        match self.keep {
            Keep::Bytes(bytes) => head.before(bytes).unwrap_or(Position::START),
            Keep::Seconds(time) => {
                // What came after it is younger; where there is none, all is.
                let old = |mark: &&Mark| now.saturating_duration_since(mark.at) > time;
                self.marks.iter().rev().find(old).map_or(Position::START, |mark| mark.head)
            }
        }
    }

    /// Notes where the head is, and where one would begin, where that will be asked for.
    fn mark(&mut self, point: Option<&Start>, fill: &Fill, head: Position, now: Instant) {
        let of_join = if let Join::Seconds(ago) = self.join { ago } else { Duration::ZERO };
        let of_keep = if let Keep::Seconds(time) = self.keep { time } else { Duration::ZERO };
        let longest = of_join.max(of_keep);
        if longest.is_zero() {
            return;
        }
        // The newest of those that are older stays: it says where what is younger begins.
        while let Some(second) = self.marks.get(1)
            && now.saturating_duration_since(second.at) > longest + 2 * MARK_INTERVAL
        {
            self.marks.pop_front();
        }
        let due = |last: &Mark| now.saturating_duration_since(last.at) >= MARK_INTERVAL;
        if self.marks.back().is_none_or(due) {
            let start = point.cloned().unwrap_or_else(|| Start {
                position: head,
                tables: tables(fill),
                joined: Joined::Packet,
            });
            self.marks.push_back(Mark { at: now, head, start });
        }
    }

    /// Where one began who joined so long ago; if nothing had come then, where the first one did.
    fn marked(&self, ago: Duration, floor: Position, now: Instant) -> Option<Start> {
        let old = |mark: &&Mark| now.saturating_duration_since(mark.at) >= ago;
        let kept = || self.marks.iter().filter(|mark| mark.start.position >= floor);
        let mark = kept().rev().find(old).or(kept().next())?;
        Some(Start { joined: Joined::Seconds, ..mark.start.clone() })
    }

    /// Where who joins now begins, and the packets of the tables that it gets before that, with
    /// counters that those in the stream follow. Nothing is before a stream that is joined live.
    pub fn begin(&mut self, fill: Option<&Fill>, ring: &Ring) -> (Start, Option<Arc<[u8]>>) {
        let tables = fill.map(tables).unwrap_or_default();
        let at_head = Start { position: ring.head(), tables, joined: Joined::Packet };
        let start = self.start.clone().filter(|start| start.position >= ring.tail());
        let start = start.unwrap_or(at_head);
        let Some(fill) = fill.filter(|_| self.join != Join::Live) else { return (start, None) };
        let is_it = |made: &&Made| {
            made.position == start.position && Arc::ptr_eq(&made.tables, &start.tables)
        };
        if let Some(made) = self.made.as_ref().filter(is_it) {
            return (start, made.packets.clone());
        }
        let packets = packets(&start, fill, ring);
        let tables = Arc::clone(&start.tables);
        self.made = Some(Made { position: start.position, tables, packets: packets.clone() });
        (start, packets)
    }
}

/// The current tables of a connection.
fn tables(fill: &Fill) -> Arc<Tables> {
    fill.probe().content().map(|content| Arc::clone(content.tables())).unwrap_or_default()
}

/// The packets of the tables at `start`. Where the ring has none of a PID from there on, the next
/// one to come follows them.
fn packets(start: &Start, fill: &Fill, ring: &Ring) -> Option<Arc<[u8]>> {
    let mut next: Vec<(Pid, Option<u8>)> =
        start.tables.pids().into_iter().map(|pid| (pid, None)).collect();
    let mut missing = next.len();
    for bytes in ring.packets(start.position) {
        if missing == 0 {
            break;
        }
        let [a, b, c, d, ..] = *bytes;
        let Some(header) = Header::new([a, b, c, d]) else { continue };
        let of_it = |one: &&mut (Pid, Option<u8>)| one.0 == header.pid() && one.1.is_none();
        if let Some((_, counter)) = next.iter_mut().find(of_it) {
            // One without payload has the counter of the one before it (ISO/IEC 13818-1, 2.4.3.3).
            let after = u8::from(!header.has_payload());
            *counter = Some(header.continuity().wrapping_add(after));
            missing -= 1;
        }
    }
    let mut packets = Vec::new();
    let counter = |pid| {
        let seen = next.iter().find(|(known, _)| *known == pid).and_then(|(_, counter)| *counter);
        seen.unwrap_or_else(|| fill.probe().next_counter(pid))
    };
    start.tables.write(counter, &mut packets);
    (!packets.is_empty()).then(|| packets.into())
}
