//! Reading datagrams: many a call, in order where RTP numbers them.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use restreamer_sys::datagram::receive;

use crate::clock::earlier;
use crate::limits::{DATAGRAMS_PER_CALL, PACKET_BYTES};
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

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, a packet's at least for each; there may be more.
    Bytes(usize),
    /// There is nothing more now.
    Nothing,
}

impl Datagrams {
    /// A socket that nothing was read from.
    pub fn new(of: Datagram, now: Instant) -> Datagrams {
        let places = vec![0; DATAGRAMS_PER_CALL * of.longest].into_boxed_slice();
        Datagrams { of, places, reorder: Reorder::new(), overflow: 0, joined: now, rejoined: false }
    }

    /// When to read again though nothing has come since `last_data`: a datagram is missing for too
    /// long, or the group is to be joined again.
    pub fn deadline(&self, last_data: Instant) -> Option<Instant> {
        earlier(self.reorder.deadline(), self.rejoin_at(last_data))
    }

    fn rejoin_at(&self, last_data: Instant) -> Option<Instant> {
        let after = self.of.rejoin.filter(|_| self.of.membership.is_some())?;
        Some(last_data.max(self.joined) + after)
    }

    /// The group to join again, if that is due, and whether for the first time in this silence.
    pub fn rejoin_due(&mut self, last_data: Instant, now: Instant) -> Option<(Membership, bool)> {
        let due = self.rejoin_at(last_data)? <= now;
        let (_, membership) = self.rejoin().filter(|_| due)?;
        self.joined = now;
        Some((membership, !std::mem::replace(&mut self.rejoined, true)))
    }

    /// Reads datagrams with one call, and gives what they carry to `out`.
    pub fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        now: Instant,
        counts: &mut UpstreamCounts,
        mut out: impl FnMut(&[u8]),
    ) -> Result<Received, Loss> {
        let longest = self.of.longest;
        let batch = receive(socket, &mut self.places, longest).map_err(Loss::Broken)?;
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
            take(&self.of, &mut self.reorder, &place[..length], now, counts, &mut out);
        }
        if batch.count == 0 { Ok(Received::Nothing) } else { Ok(Received::Bytes(bytes)) }
    }

    /// Gives up what has been missing for too long.
    pub fn give_up_missing(
        &mut self,
        now: Instant,
        counts: &mut UpstreamCounts,
        out: impl FnMut(&[u8]),
    ) {
        let mut seen = RtpCounts::default();
        self.reorder.on_deadline(now, &mut seen, out);
        add(&seen, counts);
    }

    /// The end: what waits for missing ones goes out.
    pub fn flush(&mut self, counts: &mut UpstreamCounts, out: impl FnMut(&[u8])) {
        let mut seen = RtpCounts::default();
        self.reorder.flush(&mut seen, out);
        add(&seen, counts);
    }

    fn rejoin(&self) -> Option<(Duration, Membership)> {
        self.of.rejoin.zip(self.of.membership.clone())
    }
}

fn take(
    of: &Datagram,
    reorder: &mut Reorder,
    datagram: &[u8],
    now: Instant,
    counts: &mut UpstreamCounts,
    out: &mut impl FnMut(&[u8]),
) {
    let mut odd = 0;
    let mut measured = |payload: &[u8]| {
        odd += u64::from(!payload.len().is_multiple_of(PACKET_BYTES));
        out(payload);
    };
    match of.payload {
        Payload::Packets => measured(datagram),
        Payload::Rtp => match rtp::parse(datagram) {
            Some(datagram) => {
                let mut seen = RtpCounts::default();
                reorder.take(datagram, now, &mut seen, measured);
                add(&seen, counts);
            }
            None => counts.datagrams_malformed += 1,
        },
    }
    counts.datagrams_odd += odd;
}

fn add(seen: &RtpCounts, counts: &mut UpstreamCounts) {
    counts.rtp_lost += seen.lost;
    counts.rtp_repeated += seen.repeated;
    counts.rtp_reordered += seen.reordered;
    counts.rtp_late += seen.late;
    counts.rtp_strays += seen.strays;
    counts.rtp_restarts += seen.restarts;
}
