//! Reading datagrams: many a call, in order where RTP numbers them.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use restreamer_sys::datagram::receive;

use super::intake::{Filled, Intake, Reader};
use crate::clock::earlier;
use crate::limits::{DATAGRAMS_PER_CALL, FILL_BYTES_PER_TURN_MAX, PACKET_BYTES};
use crate::metrics::UpstreamCounts;
use crate::upstream::Loss;
use crate::upstream::datagram::{Datagram, Membership, Payload};
use crate::upstream::rtp::{self, Reorder, RtpCounts};

/// A datagram socket that is being read.
#[derive(Debug)]
pub struct Datagrams {
    of: Datagram,
    /// Places for the datagrams of one call.
    places: Box<[u8]>,
    reorder: Reorder,
    /// What the kernel had dropped when it last said.
    overflow: u32,
    /// When the group was joined, or joined again.
    joined: Instant,
    /// That in this silence, too.
    rejoined: bool,
}

impl Datagrams {
    /// A socket that nothing was read from.
    pub fn new(of: Datagram, now: Instant) -> Datagrams {
        let places = vec![0; DATAGRAMS_PER_CALL * of.longest].into_boxed_slice();
        Datagrams { of, places, reorder: Reorder::new(), overflow: 0, joined: now, rejoined: false }
    }

    fn rejoin_at(&self, last_data: Instant) -> Option<Instant> {
        let after = self.of.rejoin.filter(|_| self.of.membership.is_some())?;
        Some(last_data.max(self.joined) + after)
    }

    fn rejoin(&self) -> Option<(Duration, Membership)> {
        self.of.rejoin.zip(self.of.membership.clone())
    }

    /// Reads datagrams with one call; answers how many bytes they had, a packet's at least for
    /// each, or 0 when there is nothing more now.
    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        now: Instant,
        intake: &mut Intake<'_>,
    ) -> Result<usize, Loss> {
        let longest = self.of.longest;
        let batch = receive(socket, &mut self.places, longest).map_err(Loss::Broken)?;
        let counts = &mut *intake.counts;
        counts.datagrams += batch.count as u64;
        counts.datagrams_cut += batch.truncated as u64;
        if let Some(overflow) = batch.overflow {
            counts.datagrams_dropped += u64::from(overflow.wrapping_sub(self.overflow));
            self.overflow = overflow;
        }
        let mut bytes = 0;
        let lengths = batch.lengths[..batch.count].iter();
        for (place, &length) in self.places.chunks_exact(longest).zip(lengths) {
            if length == 0 && self.of.ends {
                return Err(Loss::Ended);
            }
            bytes += length.max(PACKET_BYTES);
            self.rejoined = false;
            take(&self.of, &mut self.reorder, &place[..length], now, intake);
        }
        Ok(bytes)
    }
}

impl Reader for Datagrams {
    fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        now: Instant,
        intake: &mut Intake<'_>,
    ) -> Result<Filled, Loss> {
        let mut budget = FILL_BYTES_PER_TURN_MAX;
        let filled = loop {
            match self.read(socket, now, intake) {
                Ok(0) => break Ok(Filled::Drained),
                Ok(bytes) => {
                    intake.came = true;
                    budget = budget.saturating_sub(bytes);
                }
                Err(loss) => break Err(loss),
            }
            if budget == 0 {
                break Ok(Filled::More);
            }
        };
        let mut seen = RtpCounts::default();
        self.reorder.on_deadline(now, &mut seen, |bytes| intake.copy(bytes));
        add(&seen, intake.counts);
        filled
    }

    /// A datagram is missing for too long, or the group is to be joined again.
    fn deadline(&self, last_data: Instant) -> Option<Instant> {
        earlier(self.reorder.deadline(), self.rejoin_at(last_data))
    }

    fn rejoin_due(&mut self, last_data: Instant, now: Instant) -> Option<(Membership, bool)> {
        let due = self.rejoin_at(last_data)? <= now;
        let (_, membership) = self.rejoin().filter(|_| due)?;
        self.joined = now;
        Some((membership, !std::mem::replace(&mut self.rejoined, true)))
    }

    /// What waits for missing ones goes out.
    fn finish(&mut self, intake: &mut Intake<'_>) {
        let mut seen = RtpCounts::default();
        self.reorder.flush(&mut seen, |bytes| intake.copy(bytes));
        add(&seen, intake.counts);
    }
}

fn take(
    of: &Datagram,
    reorder: &mut Reorder,
    datagram: &[u8],
    now: Instant,
    intake: &mut Intake<'_>,
) {
    let mut odd = 0;
    let mut measured = |payload: &[u8]| {
        odd += u64::from(!payload.len().is_multiple_of(PACKET_BYTES));
        intake.copy(payload);
    };
    match of.payload {
        Payload::Packets => measured(datagram),
        Payload::Rtp => match rtp::parse(datagram) {
            Some(datagram) => {
                let mut seen = RtpCounts::default();
                reorder.take(datagram, now, &mut seen, measured);
                add(&seen, intake.counts);
            }
            None => intake.counts.datagrams_malformed += 1,
        },
    }
    intake.counts.datagrams_odd += odd;
}

fn add(seen: &RtpCounts, counts: &mut UpstreamCounts) {
    counts.rtp_lost += seen.lost;
    counts.rtp_repeated += seen.repeated;
    counts.rtp_reordered += seen.reordered;
    counts.rtp_late += seen.late;
    counts.rtp_strays += seen.strays;
    counts.rtp_restarts += seen.restarts;
}
