//! The worker's two pipes: one chunk on its way to every live viewer.
//!
//! The trunk is loaded once a chunk; for each viewer it is duplicated into the lane (`tee`), which
//! is emptied into the viewer's socket (`splice`). What is queued on sockets are references to the
//! trunk's pages, which nobody writes again.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use restreamer_sys::pipe::Pipe;
use restreamer_sys::splice::{Drain, splice, tee};
use restreamer_sys::{Moved, file};

use crate::limits::TRUNK_BYTES;

/// Trunk and lane; they serve every stream and viewer of a worker, one chunk at a time.
#[derive(Debug)]
pub struct Trunk {
    pipe: Pipe,
    lane: Pipe,
    drain: Drain,
    loaded: usize,
}

impl Trunk {
    /// Makes the pipes. The kernel may grant less than [`TRUNK_BYTES`]: then chunks go in parts.
    pub fn new() -> io::Result<Trunk> {
        let (pipe, lane) = (Pipe::with_capacity(TRUNK_BYTES)?, Pipe::with_capacity(TRUNK_BYTES)?);
        Ok(Trunk { pipe, lane, drain: Drain::open()?, loaded: 0 })
    }

    /// What the kernel granted for a part of a chunk, in bytes.
    pub fn capacity(&self) -> usize {
        self.pipe.capacity().min(self.lane.capacity())
    }

    /// Loads bytes into the empty trunk; answers how many there was room for.
    ///
    /// # Panics
    /// When the last load was not [emptied](Trunk::empty) away.
    pub fn load(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert_eq!(self.loaded, 0, "a trunk carries one chunk at a time");
        // One write into an empty pipe packs every page full, whatever the slices are.
        self.loaded = file::write(self.pipe.writer(), slices)?.count();
        Ok(self.loaded)
    }

    /// Sends what is loaded to one viewer, as far as its socket takes it. Leaves the lane empty.
    pub fn send(&self, socket: &impl AsFd) -> io::Result<Moved> {
        let in_lane = tee(self.pipe.reader(), self.lane.writer(), self.loaded)?.count();
        if in_lane == 0 {
            return Ok(Moved::Blocked);
        }
        let sent = splice(self.lane.reader(), socket.as_fd(), in_lane);
        self.throw_away(&self.lane, in_lane - sent.as_ref().map_or(0, |sent| sent.count()));
        sent
    }

    /// Gives what is loaded to another worker, as far as its pipe takes it: pages that it shares
    /// with the viewers here.
    pub fn copy(&self, pipe: &impl AsFd) -> io::Result<Moved> {
        if self.loaded == 0 {
            return Ok(Moved::Blocked);
        }
        tee(self.pipe.reader(), pipe.as_fd(), self.loaded)
    }

    /// Empties the trunk for the next load.
    pub fn empty(&mut self) {
        self.throw_away(&self.pipe, self.loaded);
        self.loaded = 0;
    }

    /// Empties a pipe that holds `bytes`. Were anything left, it would reach the next viewer.
    fn throw_away(&self, pipe: &Pipe, bytes: usize) {
        if bytes > 0 {
            let thrown = self.drain.empty(pipe.reader(), bytes).expect("/dev/null takes pages");
            assert_eq!(thrown, bytes, "nobody else reads the worker's pipes");
        }
    }
}
