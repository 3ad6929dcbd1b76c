//! Reading a stream of bytes: straight into the ring, its framing taken off in place.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use restreamer_sys::{Moved, file};

use super::intake::{Filled, Intake, Reader};
use crate::http::chunked;
use crate::limits::FILL_BYTES_PER_TURN_MAX;
use crate::upstream::{Framing, Keeper, Loss};

/// A pipe or stream socket that is being read.
#[derive(Debug)]
pub struct Bytes {
    framing: Framing,
    /// Came with the response head and was not read into the ring yet.
    early: Vec<u8>,
    keeper: Option<Keeper>,
}

impl Bytes {
    /// A body that begins with `early`.
    pub fn new(framing: Framing, early: Vec<u8>, keeper: Option<Keeper>) -> Bytes {
        Bytes { framing, early, keeper }
    }

    /// What it means that the descriptor ends here.
    fn at_end(&self) -> Loss {
        let fault = self.keeper.as_ref().and_then(Keeper::fault);
        fault.map_or_else(|| self.framing.at_end(), Loss::Broken)
    }
}

impl Reader for Bytes {
    fn fill(
        &mut self,
        source: BorrowedFd<'_>,
        _now: Instant,
        intake: &mut Intake<'_>,
    ) -> Result<Filled, Loss> {
        if self.framing.is_over() {
            return Err(Loss::Ended);
        }
        let mut budget = FILL_BYTES_PER_TURN_MAX;
        while budget > 0 {
            let room = intake.room();
            let read = if self.early.is_empty() {
                match file::read(source, room).map_err(Loss::Broken)? {
                    Moved::Bytes(n) => n.get(),
                    Moved::Blocked => return Ok(Filled::Drained),
                    Moved::Ended => return Err(self.at_end()),
                }
            } else {
                let n = self.early.len().min(room.len());
                room[..n].copy_from_slice(&self.early[..n]);
                self.early.drain(..n);
                n
            };
            let decoded = self.framing.decode(&mut room[..read]);
            intake.came = true;
            intake.commit(decoded.payload);
            match decoded.body {
                chunked::Body::Open => {}
                chunked::Body::Ended => return Err(Loss::Ended),
                chunked::Body::Broken(error) => return Err(Loss::Framing(error)),
            }
            budget = budget.saturating_sub(read);
        }
        Ok(Filled::More)
    }
}
