//! The random access points of one connection, as positions in the ring.
//!
//! Owns, for each program, the last one that has come in whole, and the one after it that has not.
//! It keeps no bytes, and does not know whether the ring still has them: who asks says from where
//! on. Driven by the intake, with what each pass of the probe has found.

use std::sync::Arc;

use crate::ring::Position;
use crate::ts::programs::Tables;
use crate::ts::random_access::RandomAccess;
use crate::ts::{Aligned, Content, Pid};

/// See the module.
#[derive(Debug, Default)]
pub struct Points {
    /// One for each program that has any.
    programs: Vec<OfProgram>,
    /// The current tables.
    tables: Arc<Tables>,
    /// Where the connection's bytes begin.
    first: Position,
    /// Where packets were put in that are not the connection's, and how many bytes, oldest first.
    inserted: Vec<(Position, usize)>,
}

/// Where decoding may start.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its first packet.
    pub position: Position,
    /// The tables it belongs to.
    pub tables: Arc<Tables>,
}

#[derive(Debug)]
struct OfProgram {
    number: u16,
    pid: Pid,
    newest: Point,
    /// The one before, while the newest has not come in whole.
    before: Option<Point>,
}

impl OfProgram {
    /// The newest one from `floor` on, whole if there is such a one.
    fn from(&self, floor: Position) -> Option<&Point> {
        let there = |point: &&Point| point.position >= floor;
        let newest = Some(&self.newest).filter(there);
        self.before.as_ref().filter(there).or(newest)
    }
}

impl Points {
    /// Takes note of a pass, the packets of which end at `end`.
    pub fn take(&mut self, end: Position, aligned: &Aligned, content: &Content) {
        let tables = content.tables();
        for found in aligned.random_access.iter() {
            // With tables that have changed twice since, nobody could read it.
            let of_it = [tables, &self.tables].into_iter().find(|one| one.number() == found.tables);
            if let Some(tables) = of_it.map(Arc::clone) {
                let before = i64::try_from(aligned.whole).unwrap_or(i64::MAX) - found.offset;
                self.add(end, before, found, tables);
            }
        }
        if tables.number() != self.tables.number() {
            self.tables = Arc::clone(tables);
            let listed = |number| tables.programs().iter().any(|one| one.number == number);
            self.programs.retain(|program| listed(program.number));
        }
        for program in &mut self.programs {
            if program.before.is_some() && content.is_whole(program.pid) {
                program.before = None;
            }
        }
    }

    /// Adds one that begins so many bytes `before` the end.
    fn add(&mut self, end: Position, before: i64, found: &RandomAccess, tables: Arc<Tables>) {
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let Some(position) = self.position(end, before) else { return };
        let newest = Point { position, tables };
        let (number, pid) = (found.program, found.pid);
        match self.programs.iter_mut().find(|program| program.number == number) {
            Some(program) => {
                // That another one begins ends the one before.
                let before = std::mem::replace(&mut program.newest, newest);
                (program.pid, program.before) = (pid, Some(before));
            }
            None => self.programs.push(OfProgram { number, pid, newest, before: None }),
        }
    }

    /// Where the connection's byte is that is so many of its bytes before `end`.
    fn position(&self, end: Position, before: usize) -> Option<Position> {
        let mut position = end.before(before)?;
        for &(inserted, bytes) in self.inserted.iter().rev() {
            if position >= inserted.advanced(bytes) {
                break;
            }
            position = position.before(bytes)?;
        }
        (position >= self.first).then_some(position)
    }

    /// So many bytes at `at`, after all that was taken note of, are not the connection's.
    pub fn inserted(&mut self, at: Position, bytes: usize) {
        self.inserted.push((at, bytes));
    }

    /// Nobody is to begin at what there was.
    pub fn forget(&mut self) {
        self.programs.clear();
    }

    /// What was at `from` is at `to` now, and so is what follows; what was before it is nowhere.
    pub fn move_to(&mut self, from: Position, to: Position) {
        let moved = |point: Point| {
            let there = point.position >= from;
            there.then(|| Point { position: to.advanced(point.position.since(from)), ..point })
        };
        self.first = to;
        self.programs = std::mem::take(&mut self.programs)
            .into_iter()
            .filter_map(|program| {
                let OfProgram { number, pid, newest, before } = program;
                let before = before.and_then(moved);
                moved(newest).map(|newest| OfProgram { number, pid, newest, before })
            })
            .collect();
    }

    /// Whether a program has any.
    pub fn has(&self, program: u16) -> bool {
        self.programs.iter().any(|known| known.number == program)
    }

    /// Where one begins who is to have a picture of whichever program at once: of each program's
    /// newest point from `floor` on, the oldest. A program that has none there is not waited for.
    pub fn start(&self, floor: Position) -> Option<&Point> {
        let points = self.programs.iter().filter_map(|program| program.from(floor));
        points.min_by_key(|point| point.position)
    }

    /// The same, if every program has one there.
    pub fn of_all(&self, floor: Position) -> Option<&Point> {
        let all = self.programs.iter().all(|program| program.from(floor).is_some());
        self.start(floor).filter(|_| all)
    }

    /// Whether there has been any.
    pub fn are_known(&self) -> bool {
        !self.programs.is_empty()
    }
}

#[cfg(test)]
mod tests;
