//! The loop of all viewers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::crowd::{Phase, Shared, Tally};
use crate::packet::{Checker, Clock};
use crate::scenario::{Audience, Scenario};
use crate::subject::Running;
use crate::viewer::{Got, Manner, Viewer};

/// Viewers that connect before those who are there are served again.
const JOINS: usize = 20;
/// Viewers that wait for their response head at a time, before the window: no backlog overflows,
/// which would cost them a second.
const WAITING: usize = 256;
/// Time for the last look at everybody.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// All viewers of one subject.
pub(crate) struct Watch {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    viewers: Vec<Viewer>,
    tally: Tally,
    shared: Arc<Shared>,
    clock: Clock,
    address: SocketAddr,
    cuts_in: bool,
    audience: Audience,
    streams: usize,
    /// How those read who come in the window.
    joining: Manner,
    /// When the joiners began to come.
    storm: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        clock: Clock,
        running: &Running,
        scenario: &Scenario,
    ) -> io::Result<Watch> {
        Ok(Watch {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024],
            viewers: Vec::new(),
            tally: Tally::default(),
            shared,
            clock,
            address: running.viewers,
            cuts_in: running.subject.cuts_in(),
            audience: scenario.audience,
            streams: scenario.streams,
            joining: if scenario.group.is_some() { Manner::Awaiting } else { Manner::Joining },
            storm: None,
        })
    }

    pub(crate) fn run(mut self) -> io::Result<Tally> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let due = self.due();
            for _ in 0..due.min(JOINS) {
                self.join()?;
            }
            let waits = if due > 0 { Duration::ZERO } else { Duration::from_millis(1) };
            self.turn(waits, false)?;
        }
        let deadline = Instant::now() + LAST_LOOK;
        while self.viewers.iter().any(Viewer::is_unlooked) && Instant::now() < deadline {
            self.turn(Duration::from_millis(1), true)?;
        }
        for viewer in &self.viewers {
            let (all, seen) = (&mut self.tally.seen, viewer.checker.seen);
            all.packets += seen.packets;
            all.lost += seen.lost;
            all.torn += seen.torn;
            all.repeated += seen.repeated;
            self.tally.ended += u64::from(viewer.has_ended());
            self.tally.silent += u64::from(viewer.is_unlooked());
        }
        Ok(self.tally)
    }

    /// Viewers who are to connect now.
    fn due(&mut self) -> usize {
        let seated = self.audience.seated();
        let missing = seated.saturating_sub(self.viewers.len());
        if missing > 0 {
            let waiting = self.viewers.len() - self.shared.welcome.load(Ordering::Relaxed);
            return missing.min(WAITING.saturating_sub(waiting));
        }
        if self.audience.joins == 0 || self.shared.phase() != Phase::Window {
            return 0;
        }
        let began = *self.storm.get_or_insert_with(Instant::now);
        joins_due(self.audience, began.elapsed()) - (self.viewers.len() - seated)
    }

    fn join(&mut self) -> io::Result<()> {
        let number = self.viewers.len();
        let Audience { whole, spots, stalled, .. } = self.audience;
        let manner = match number {
            n if n < whole => Manner::Whole,
            n if n < whole + spots => Manner::Spots,
            n if n < whole + spots + stalled => Manner::Stalled,
            _ => self.joining,
        };
        let now = self.clock.nanos();
        let path = path_of(number % self.streams);
        let mut viewer = Viewer::connect(self.address, &path, manner)?;
        if self.cuts_in {
            viewer.checker = Checker::amid_a_packet();
        }
        viewer.began = viewer.is_joining().then_some(now);
        let mut watched = SourceFd(&viewer.socket.as_raw_fd());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut watched, Token(number), both)?;
        viewer.ask();
        self.viewers.push(viewer);
        Ok(())
    }

    fn turn(&mut self, patience: Duration, closing: bool) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let phase = self.shared.phase();
        for event in &self.events {
            let viewer = &mut self.viewers[event.token().0];
            viewer.ask();
            loop {
                let was_in_body = viewer.is_in_body();
                let (taken, body) = match viewer.read(&mut self.buffer, closing) {
                    Got::Nothing | Got::Ended => break,
                    Got::Unseen(bytes) => {
                        viewer.checker.skip(bytes);
                        (bytes, bytes)
                    }
                    Got::Seen(bytes, body) => {
                        let delays = match phase {
                            Phase::Nothing => None,
                            Phase::Before => Some(&mut self.tally.delays_before),
                            Phase::Window => Some(&mut self.tally.delays),
                        };
                        // What a joiner gets first is old on purpose.
                        let delays = delays.filter(|_| !viewer.is_joining());
                        viewer.checker.feed(body, self.clock.nanos(), delays);
                        (bytes, body.len())
                    }
                };
                if !was_in_body && viewer.is_in_body() {
                    self.shared.welcome.fetch_add(1, Ordering::Relaxed);
                }
                if phase == Phase::Window {
                    self.tally.bytes += body as u64;
                }
                if body > 0
                    && viewer.is_content()
                    && let Some(began) = viewer.began.take()
                {
                    self.tally.joins.add(self.clock.nanos() - began);
                }
                // All was taken that was there; readiness tells of what comes next.
                if taken < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Where a stream is served.
pub(crate) fn path_of(stream: usize) -> String {
    format!("/{stream}.ts")
}

/// How many of so many are to have come after this time.
fn joins_due(audience: Audience, elapsed: Duration) -> usize {
    let Audience { joins, storm, .. } = audience;
    let due = joins as u128 * elapsed.min(storm).as_micros() / storm.as_micros();
    usize::try_from(due).unwrap_or(joins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::NOBODY;

    #[test]
    fn joiners_come_evenly() {
        let audience = Audience { joins: 5000, ..NOBODY };
        let at = |millis| joins_due(audience, Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(1000), at(2000), at(9000)], [0, 2, 2500, 5000, 5000]);
    }
}
