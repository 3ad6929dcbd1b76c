//! A worker's streams: which it has, which need a turn, and when which wants to be looked at.
//!
//! A stream has the same number in every worker, and is in one of them. What a worker is told of a
//! stream that it does not have is silence: it has given it away since.

use std::time::Instant;

use super::board::Demand;
use super::deadlines::Deadlines;
use crate::stream::Stream;

/// The streams of a worker; see the module.
#[derive(Debug)]
pub struct Streams {
    slots: Vec<Option<Box<Stream>>>,
    /// Streams that need a turn, each once.
    marked: Vec<usize>,
    is_marked: Vec<bool>,
    deadlines: Deadlines,
    /// How many viewers each had after its last turn.
    viewers: Vec<usize>,
    viewers_of_all: usize,
    count: usize,
}

impl Streams {
    /// Those of the node's streams, in their order, that a worker begins with; each is due at once.
    pub fn new(streams: Vec<Option<Stream>>, now: Instant) -> Streams {
        let mut deadlines = Deadlines::new(streams.len());
        for (number, stream) in streams.iter().enumerate() {
            deadlines.set(number, stream.as_ref().map(|_| now));
        }
        Streams {
            marked: Vec::with_capacity(streams.len()),
            is_marked: vec![false; streams.len()],
            viewers: vec![0; streams.len()],
            viewers_of_all: 0,
            count: streams.iter().flatten().count(),
            slots: streams.into_iter().map(|stream| stream.map(Box::new)).collect(),
            deadlines,
        }
    }

    /// A stream, if it is here.
    pub fn get(&self, number: usize) -> Option<&Stream> {
        self.slots[number].as_deref()
    }

    /// A stream, if it is here.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut Stream> {
        self.slots[number].as_deref_mut()
    }

    /// All that are here.
    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().flatten().map(Box::as_ref)
    }

    /// The numbers of all that are here.
    pub fn numbers(&self) -> Vec<usize> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(number, slot)| slot.as_ref().map(|_| number)).collect()
    }

    /// Takes a stream in.
    pub fn insert(&mut self, number: usize, stream: Box<Stream>) {
        let before = self.slots[number].replace(stream);
        assert!(before.is_none(), "a stream is in one worker");
        self.count += 1;
        self.recount(number);
    }

    /// Gives a stream away.
    pub fn remove(&mut self, number: usize) -> Option<Box<Stream>> {
        let stream = self.slots[number].take();
        self.count -= usize::from(stream.is_some());
        self.recount(number);
        stream
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many viewers they all had after their last turns.
    pub fn viewers(&self) -> usize {
        self.viewers_of_all
    }

    /// What the viewers of all of them ask for.
    pub fn demand(&mut self, now: Instant) -> Demand {
        let of = |demand: u64, stream: &mut Box<Stream>| demand.saturating_add(stream.demand(now));
        let bytes_per_second = self.slots.iter_mut().flatten().fold(0, of);
        Demand { bytes_per_second, viewers: self.viewers_of_all }
    }

    /// The stream needs a turn.
    pub fn mark(&mut self, number: usize) {
        if !std::mem::replace(&mut self.is_marked[number], true) {
            self.marked.push(number);
        }
    }

    /// Whether one of them needs a turn.
    pub fn have_work(&self) -> bool {
        !self.marked.is_empty()
    }

    /// Those that need a turn. They stay marked, so that nothing marks them again, until each is
    /// [unmarked](Streams::unmark) in its turn.
    pub fn take_marked(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.marked)
    }

    /// The stream has had what it was marked for.
    pub fn unmark(&mut self, number: usize) {
        self.is_marked[number] = false;
    }

    /// Takes back the list that was [taken](Streams::take_marked): its memory is used again.
    pub fn reuse(&mut self, mut list: Vec<usize>) {
        assert!(self.marked.is_empty(), "its list is still in use");
        list.clear();
        self.marked = list;
    }

    /// Puts those back in front that were [taken](Streams::take_marked) and had no turn.
    pub fn mark_first(&mut self, mut waiting: Vec<usize>) {
        if !waiting.is_empty() {
            waiting.append(&mut self.marked);
            self.marked = waiting;
        }
    }

    /// No stream needs a turn.
    pub fn unmark_all(&mut self) {
        self.marked.clear();
        self.is_marked.fill(false);
    }

    /// When the first of them wants to be looked at.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// All that are due; one that is due again at once has to wait for the next time.
    pub fn take_due(&mut self, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| self.deadlines.take_due(now)).collect()
    }

    /// Takes note of a stream after its turn.
    pub fn settle(&mut self, number: usize, now: Instant) {
        self.recount(number);
        self.reschedule(number, now);
    }

    fn recount(&mut self, number: usize) {
        let viewers = self.get(number).map_or(0, Stream::viewers);
        self.viewers_of_all += viewers;
        self.viewers_of_all -= std::mem::replace(&mut self.viewers[number], viewers);
    }

    /// Asks a stream when it wants to be looked at.
    pub fn reschedule(&mut self, number: usize, now: Instant) {
        let deadline = self.get(number).and_then(|stream| stream.deadline(now));
        self.deadlines.set(number, deadline);
    }
}
