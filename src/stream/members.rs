//! The viewers of a stream, and in which order those who wait are served.
//!
//! Owns them, how many are live, and the queue of all others, so that a turn looks at nobody in
//! vain: the fan-out at who is live, catching up at who is not. Never touches a socket, and never
//! decides what a viewer gets. Driven by the stream.

use std::collections::VecDeque;

use slab::Slab;

use crate::viewer::{Departure, State, Viewer};

/// Names a viewer of a stream; one that is gone is named by none ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewerKey {
    /// Its place.
    pub index: usize,
    /// Which of those who have had that place.
    pub generation: u32,
}

impl ViewerKey {
    /// Generations are counted modulo a power of two, so that a key fits an event's token.
    pub const GENERATION_BITS: u32 = 20;
    /// Keeps a generation within its bits.
    pub const GENERATION_MASK: u32 = (1 << Self::GENERATION_BITS) - 1;
}

/// What a viewer who waits got of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// All it could have.
    Share,
    /// Nothing: what may be written in a turn was written to others.
    Starved,
    /// It goes.
    Gone(Departure),
}

/// The viewers of a stream; see the module.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Slab<Member>,
    /// Of who comes next.
    generation: u32,
    live: usize,
    /// Who is not live, in the order in which they are served. Who is gone may still be named.
    waiting: VecDeque<ViewerKey>,
}

#[derive(Debug)]
struct Member {
    viewer: Viewer,
    generation: u32,
}

fn is_live(viewer: &Viewer) -> bool {
    matches!(viewer.state, State::Live(_))
}

impl Members {
    /// How many there are, whatever they do.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many are live.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// The key that the next one will have.
    pub(super) fn next_key(&self) -> ViewerKey {
        ViewerKey { index: self.all.vacant_key(), generation: self.generation }
    }

    /// Takes one in, who is not live yet.
    pub(super) fn insert(&mut self, viewer: Viewer) {
        assert!(!is_live(&viewer), "who joins begins with its answer's head");
        let key = self.next_key();
        self.all.insert(Member { viewer, generation: key.generation });
        self.generation = (self.generation + 1) & ViewerKey::GENERATION_MASK;
        self.waiting.push_back(key);
    }

    /// The viewer of that name, if it is there.
    pub(super) fn get_mut(&mut self, key: ViewerKey) -> Option<&mut Viewer> {
        let member = self.all.get_mut(key.index)?;
        (member.generation == key.generation).then_some(&mut member.viewer)
    }

    /// Takes out the one in that place.
    pub(super) fn remove(&mut self, index: usize) -> Viewer {
        let viewer = self.all.remove(index).viewer;
        self.live -= usize::from(is_live(&viewer));
        viewer
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ViewerKey, &Viewer)> {
        self.all.iter().map(|(index, Member { viewer, generation })| {
            (ViewerKey { index, generation: *generation }, viewer)
        })
    }

    /// The places that are taken.
    pub(super) fn places(&self) -> Vec<usize> {
        self.all.iter().map(|(index, _)| index).collect()
    }

    /// Gives everybody to `visit`, which makes nobody live; answers who is to go, by place.
    pub(super) fn each(
        &mut self,
        mut visit: impl FnMut(&mut Viewer) -> Option<Departure>,
    ) -> Vec<(usize, Departure)> {
        self.visit_all(|_| true, &mut visit)
    }

    /// The same with who is live.
    pub(super) fn each_live(
        &mut self,
        mut visit: impl FnMut(&mut Viewer) -> Option<Departure>,
    ) -> Vec<(usize, Departure)> {
        self.visit_all(is_live, &mut visit)
    }

    fn visit_all(
        &mut self,
        whom: impl Fn(&Viewer) -> bool,
        visit: &mut impl FnMut(&mut Viewer) -> Option<Departure>,
    ) -> Vec<(usize, Departure)> {
        let mut gone = Vec::new();
        for (index, Member { viewer, generation }) in &mut self.all {
            if !whom(viewer) {
                continue;
            }
            let was_live = is_live(viewer);
            gone.extend(visit(viewer).map(|why| (index, why)));
            if was_live && !is_live(viewer) {
                self.live -= 1;
                self.waiting.push_back(ViewerKey { index, generation: *generation });
            }
        }
        gone
    }

    /// Gives everybody who is not live to `serve`; answers who is to go, by place. When somebody
    /// is starved so is everybody after: they are the first the next time.
    pub(super) fn each_waiting(
        &mut self,
        mut serve: impl FnMut(&mut Viewer) -> Served,
    ) -> Vec<(usize, Departure)> {
        let mut gone = Vec::new();
        let waiting = self.waiting.len();
        let (mut stay, mut first_starved) = (0, None);
        for _ in 0..waiting {
            let key = self.waiting.pop_front().expect("so many were counted");
            let Some(viewer) = self.get_mut(key) else { continue };
            let served = serve(viewer);
            let caught_up = is_live(viewer);
            match served {
                Served::Gone(why) => {
                    gone.push((key.index, why));
                    continue;
                }
                Served::Share if caught_up => {
                    self.live += 1;
                    continue;
                }
                Served::Share => {}
                Served::Starved => first_starved = first_starved.or(Some(stay)),
            }
            self.waiting.push_back(key);
            stay += 1;
        }
        self.waiting.rotate_left(first_starved.unwrap_or(0));
        gone
    }

    /// Who is not live.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Viewer> {
        let there = |key: &ViewerKey| {
            let member = self.all.get(key.index)?;
            (member.generation == key.generation).then_some(&member.viewer)
        };
        self.waiting.iter().filter_map(there)
    }
}

#[cfg(test)]
mod tests;
