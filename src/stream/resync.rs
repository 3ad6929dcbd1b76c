//! What becomes of a viewer who lags too far.
//!
//! Owns the decision: it waits, goes on elsewhere, or goes. The ring keeps what a viewer lacks from
//! where it stands on, so that the newest picture ahead of it is always there. Who has fallen
//! behind that picture goes on with it; who has not gets there yet, and is left to lag for as far
//! as the stream's history may reach. It never goes back, and never writes. Driven by the fan-out,
//! for each viewer and feed that is behind.

use std::sync::Arc;

use super::fill::Fill;
use super::inserted::{Before, Inserted};
use super::points::Point;
use crate::config::Slow;
use crate::ring::{Position, Ring};
use crate::viewer::catching_up::{CatchingUp, Landing};

/// What there is to know for that, in one turn.
#[derive(Debug)]
pub struct Resync<'a> {
    /// What is configured.
    pub slow: Slow,
    /// How far one may lag.
    pub limit: usize,
    /// How far one may lag who has no picture ahead of it; less than `limit` counts for nothing.
    pub room: usize,
    /// What the stream has.
    pub ring: &'a Ring,
    /// Where it comes from, while it comes.
    pub fill: Option<&'a Fill>,
    /// What was put before it.
    pub inserted: &'a mut Inserted,
}

/// What becomes of a viewer.
#[derive(Debug)]
pub enum Course {
    /// It gets what it lacks.
    Stays,
    /// It goes on there.
    GoesOn(Landing),
    /// It is let go.
    Goes,
}

/// Where to go on; `P` is a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<P> {
    /// Where it stands.
    Here,
    /// At that picture.
    Picture(P),
    /// At the newest packet.
    Head,
}

/// Where one goes on who lags by `lag`, which is too far, where the newest picture `of_all`
/// programs and `of_some` is ahead of it, and where there have been pictures, or not.
fn place<P>(
    lag: usize,
    room: usize,
    of_all: Option<P>,
    of_some: Option<P>,
    known: bool,
) -> Place<P> {
    let waits = of_all.is_none() && known && lag <= room;
    match of_all.or(of_some) {
        _ if waits => Place::Here,
        Some(picture) => Place::Picture(picture),
        None => Place::Head,
    }
}

impl<'a> Resync<'a> {
    /// How far one may lag before it is cut who gets the rest of the stream and no more.
    pub fn patience(&self) -> usize {
        if self.slow == Slow::RandomAccess { self.limit.max(self.room) } else { self.limit }
    }

    /// Judges a viewer.
    pub fn judge(&mut self, state: &CatchingUp) -> Course {
        let lag = self.ring.head().since(state.position());
        if lag <= state.may_lag(self.limit) {
            return Course::Stays;
        }
        match self.slow {
            Slow::Disconnect => Course::Goes,
            Slow::Packets => Course::GoesOn(self.head()),
            Slow::RandomAccess => match self.place(state, lag) {
                Place::Here => Course::Stays,
                Place::Picture(point) => Course::GoesOn(self.landing(Some(point), state)),
                Place::Head => Course::GoesOn(self.landing(None, state)),
            },
        }
    }

    /// Where a feed goes on that lags too far. Those who watch there are many: nobody is let go.
    pub fn of_feed(&mut self, state: &CatchingUp) -> Landing {
        let floor = self.floor(state);
        let point = self.fill.and_then(|fill| {
            let points = fill.points();
            points.of_all(floor).or_else(|| points.start(floor))
        });
        if self.slow == Slow::Packets { self.head() } else { self.landing(point, state) }
    }

    fn head(&self) -> Landing {
        Landing { position: self.ring.head(), inserted: None }
    }

    /// The least position by which one gains who goes on there. One that is further back than
    /// anybody may lag is none: the program has had no picture since.
    fn floor(&self, state: &CatchingUp) -> Position {
        let oldest = self.ring.head().before(self.limit.max(self.room));
        state.next_stop().advanced(1).max(oldest.unwrap_or(Position::START))
    }

    fn place(&self, state: &CatchingUp, lag: usize) -> Place<&'a Point> {
        let Some(points) = self.fill.map(Fill::points) else {
            // Nothing comes, and what comes next may begin with a picture.
            return place(lag, self.room, None, None, true);
        };
        let floor = self.floor(state);
        place(lag, self.room, points.of_all(floor), points.start(floor), points.are_known())
    }

    /// At a point, or at the head.
    fn landing(&mut self, point: Option<&Point>, state: &CatchingUp) -> Landing {
        let Some(fill) = self.fill else { return self.head() };
        let (position, tables) = match point {
            Some(point) => (point.position, Arc::clone(&point.tables)),
            None => (self.ring.head(), fill.tables()),
        };
        let before = if state.has_had_packets() { Before::Something } else { Before::Nothing };
        let inserted = self.inserted.packets(position, &tables, before, fill, self.ring);
        Landing { position, inserted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_waits_or_goes_on_and_where() {
        let (of_all, of_some) = (Some('a'), Some('s'));
        for (lag, of_all, of_some, known, expected) in [
            (101, of_all, of_some, true, Place::Picture('a')),
            (50, of_all, of_some, true, Place::Picture('a')),
            // Not all have one ahead, as far as it may lag.
            (50, None, of_some, true, Place::Here),
            (100, None, None, true, Place::Here),
            (101, None, of_some, true, Place::Picture('s')),
            (101, None, None, true, Place::Head),
            // There are none to wait for.
            (50, None, None, false, Place::Head),
        ] {
            assert_eq!(place(lag, 100, of_all, of_some, known), expected, "{lag}");
        }
    }
}
