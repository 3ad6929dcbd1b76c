//! Where who joins begins, and what the ring keeps for that and for who lags.
//!
//! Owns the decision, the marks of where the head was (where seconds count), the packets that go
//! before the stream, and its share of what the node's rings may keep. It never keeps bytes: the
//! ring does, as far back as [`History::kept`] says. Driven by the stream, in every turn and when
//! somebody joins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allotment::Share;
use super::fill::Fill;
use super::inserted::{Before, Inserted};
use super::resync::Resync;
use crate::config::{Join, Keep, Slow};
use crate::limits::{BLOCK_BYTES, MARK_INTERVAL};
use crate::metrics::stream::{Joined, Lost};
use crate::ring::{Position, Ring};
use crate::ts::Content;
use crate::ts::programs::Tables;

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
    /// Bytes before the head that somebody lacks who lags further than others may.
    lacked: usize,
    /// How far one may lag who has no picture ahead of it.
    room: usize,
    /// The node has no room for what is to be kept, and that was told.
    refused: bool,
    inserted: Inserted,
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

impl History {
    /// Of a stream of which nothing has come yet.
    pub fn new(join: Join, keep: Keep, share: Share) -> History {
        History {
            join,
            keep,
            share,
            marks: VecDeque::new(),
            start: None,
            kept: 0,
            lacked: 0,
            room: 0,
            refused: false,
            inserted: Inserted::default(),
        }
    }

    /// Bytes before the head that the ring is to keep for who joins.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Looks at what has come by the connection there is. Answers why who joins now begins at the
    /// head, if it would have begun before that until now.
    pub fn look(&mut self, fill: Option<&Fill>, ring: &Ring, now: Instant) -> Option<Lost> {
        let Some(fill) = fill else {
            self.forget();
            self.inserted.forget();
            // It is there for who lags, up to a switch to another upstream.
            self.share(self.lacked);
            return None;
        };
        let head = ring.head();
        let oldest = self.floor(head, now);
        let floor = oldest.max(ring.tail());
        let point = fill.points().start(floor);
        let point = point.map(|point| Start {
            position: point.position,
            tables: Arc::clone(&point.tables),
            joined: Joined::RandomAccess,
        });
        self.mark(point.as_ref(), fill, head, now);
        let start = match self.join {
            Join::Seconds(ago) => self.marked(ago, floor, now),
            Join::RandomAccess => point,
            Join::Live => None,
        };
        let before = std::mem::replace(&mut self.start, start).is_some();
        // Also where it may yet begin, as the next packets will tell.
        let searched = fill.probe().content().map_or(0, Content::searched);
        let wanted = self.start.as_ref().map_or(0, |start| head.since(start.position));
        let searched = if self.join == Join::Live { 0 } else { searched.min(head.since(floor)) };
        // By another connection there may be none yet.
        let lost = before && self.start.is_none() && fill.points().are_known();
        self.kept = wanted.max(searched);
        // Those who lag come after those who join: without room they go on at the head.
        let is_there = self.share(self.kept.max(self.lacked));
        self.room = if is_there { head.since(oldest) } else { 0 };
        if !is_there && !self.share(self.kept) {
            self.forget();
            return (!std::mem::replace(&mut self.refused, true)).then_some(Lost::Node);
        }
        self.refused = false;
        lost.then_some(Lost::History)
    }

    /// Somebody lacks so much of what came last; who lags no further than `limit` does not count.
    pub fn lend(&mut self, lacked: usize, limit: usize) {
        self.lacked = if lacked > limit { lacked } else { 0 };
    }

    /// Takes a share that is so many bytes of the ring, in its blocks. Answers whether there is.
    fn share(&mut self, bytes: usize) -> bool {
        let blocks = if bytes == 0 { 0 } else { bytes.div_ceil(BLOCK_BYTES) + 1 };
        self.share.resize(blocks * BLOCK_BYTES)
    }

    /// The connection is over, or there is no room: who joins begins at the head.
    fn forget(&mut self) {
        self.marks.clear();
        (self.start, self.kept) = (None, 0);
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
                tables: fill.tables(),
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
        let tables = fill.map(Fill::tables).unwrap_or_default();
        let at_head = Start { position: ring.head(), tables, joined: Joined::Packet };
        let start = self.start.clone().filter(|start| start.position >= ring.tail());
        let start = start.unwrap_or(at_head);
        let Some(fill) = fill.filter(|_| self.join != Join::Live) else { return (start, None) };
        let Start { position, tables, .. } = &start;
        let packets = self.inserted.packets(*position, tables, Before::Nothing, fill, ring);
        (start, packets)
    }

    /// What becomes of those who lag further than `limit`.
    pub fn resync<'a>(
        &'a mut self,
        slow: Slow,
        limit: usize,
        fill: Option<&'a Fill>,
        ring: &'a Ring,
    ) -> Resync<'a> {
        Resync { slow, limit, room: self.room, ring, fill, inserted: &mut self.inserted }
    }
}
