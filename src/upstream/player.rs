//! Plays a regular file, a slate, or the sample that is built in, as if it were a live stream.
//!
//! Owns the reading of the file and the waiting; `pace` owns the decision what is due. It never
//! changes a file's packets (sample and slate loop, so their time stamps and counters are
//! continued), and never runs on a worker: reading, writing and sleeping block. A thread of its own
//! drives it, and ends it by closing the other end of the sink.

mod built_in;
mod input;
mod measure;
mod pace;

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::limits::{LOOP_BYTES_MAX, PACE_AHEAD_BYTES_MAX, PACE_STEP, PACKET_BYTES};
use crate::ts::Packet;
use crate::ts::programs::Tables;
use input::Input;
use pace::Pace;

/// What is played.
#[derive(Debug)]
pub enum Source {
    /// A regular file, from where it stands to its end.
    File(File),
    /// The demo sample, over and over, as one continuous stream.
    Sample,
    /// A slate, in the same way: the one that is built in, or a regular file.
    Slate {
        /// The file.
        file: Option<File>,
        /// The tables of the stream that it takes the place of: it gets the numbers of that.
        like: Arc<Tables>,
    },
}

/// Why playing ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Read(#[source] io::Error),
    /// The file is no transport stream, or is none any more.
    #[error("no transport stream packet in {bytes} bytes of the file")]
    Barren {
        /// Bytes in a row without one.
        bytes: usize,
    },
    /// It is to be looped, and its time stamps tell no length.
    #[error("the file cannot be looped: its time stamps are missing or jump")]
    Timeless,
    /// It is to be looped, and is too long for that.
    #[error("the file cannot be looped: it is longer than {LOOP_BYTES_MAX} bytes")]
    TooLong,
    /// The sink failed in another way than by being closed.
    #[error("cannot pass on what is played: {0}")]
    Sink(#[source] io::Error),
}

/// The time by which the player goes.
pub trait Clock {
    /// The present.
    fn now(&self) -> Instant;
    /// Returns when `deadline` has come, at once if it has passed.
    fn sleep_until(&self, deadline: Instant);
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, deadline: Instant) {
        thread::sleep(deadline.saturating_duration_since(self.now()));
    }
}

/// Plays `source` into `sink` in real time, whole packets in bursts of [`PACE_STEP`].
///
/// Returns `Ok` when the file has ended (after the time its last packets take) or the sink was
/// closed, which is how playing ordinarily ends; a loop never ends by itself.
pub fn play(source: Source, sink: &mut dyn Write, clock: &dyn Clock) -> Result<(), PlayError> {
    let mut input = Input::new(source)?;
    let mut pace = Pace::new(clock.now());
    let mut packets = Vec::new();
    let mut more = true;
    loop {
        let now = clock.now();
        pace.forgive_delay(now);
        while more
            && pace.planned_until() <= now + PACE_STEP
            && packets.len() < PACE_AHEAD_BYTES_MAX
        {
            let known = packets.len();
            more = input.fill(&mut packets)?;
            plan(&mut pace, &packets[known..]);
            if !more {
                pace.end();
            }
        }
        let due = pace.take(now);
        match sink.write_all(&packets[..due]).and_then(|()| sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(PlayError::Sink)?,
        }
        packets.drain(..due);
        let next = pace.next_due().map_or(now + PACE_STEP, |due| due.max(now + PACE_STEP));
        if more {
            clock.sleep_until(next);
        } else {
            clock.sleep_until(next.min(pace.planned_until()));
            if packets.is_empty() {
                clock.sleep_until(pace.planned_until());
                return Ok(());
            }
        }
    }
}

/// Tells `pace` of the next packets of the source.
fn plan(pace: &mut Pace, packets: &[u8]) {
    for packet in packets.as_chunks::<PACKET_BYTES>().0.iter().filter_map(Packet::new) {
        pace.add(&packet);
    }
}

#[cfg(test)]
mod tests;
