//! RTP (RFC 3550): taking the header off, and putting datagrams in order again.
//!
//! Owns a bounded window of datagrams that came too early. Never waits: what is missing when the
//! window is full, or when its time is up, is lost, counted, and passed over. Driven by the fill.

use std::time::{Duration, Instant};

use crate::limits::{RTP_BEHIND_DATAGRAMS, RTP_HOLD, RTP_JUMP_DATAGRAMS, RTP_WINDOW_DATAGRAMS};

/// What a datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp<'a> {
    /// Its number, modulo 2¹⁶.
    pub sequence: u16,
    /// Who sends it.
    pub source: u32,
    /// What it is about: header, contributing sources, extension and padding taken off.
    pub payload: &'a [u8],
}

/// Reads an RTP datagram (RFC 3550, 5.1 and 5.3.1); `None`: it is none.
pub fn parse(datagram: &[u8]) -> Option<Rtp<'_>> {
    const FIXED_BYTES: usize = 12;
    let (fixed, mut rest) = datagram.split_at_checked(FIXED_BYTES)?;
    let flags = fixed[0];
    // RTCP may come to the same port (RFC 5761, 4).
    if flags >> 6 != 2 || matches!(fixed[1], 192..=223) {
        return None;
    }
    let contributors = 4 * usize::from(flags & 0x0F);
    rest = rest.get(contributors..)?;
    if flags & 0x10 != 0 {
        let words = u16::from_be_bytes(*rest.get(2..)?.first_chunk()?);
        rest = rest.get(4 + 4 * usize::from(words)..)?;
    }
    if flags & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        rest = rest.get(..rest.len().checked_sub(padding).filter(|_| padding > 0)?)?;
    }
    Some(Rtp {
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        source: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        payload: rest,
    })
}

/// What was seen of the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpCounts {
    /// Datagrams that did not come in time.
    pub lost: u64,
    /// Datagrams that came again.
    pub repeated: u64,
    /// Datagrams that came before an earlier one, and were put in order.
    pub reordered: u64,
    /// Datagrams that came after they were given up for lost.
    pub late: u64,
    /// Times that the sender began anew.
    pub restarts: u64,
    /// Datagrams of another sender, or with a number out of all reason.
    pub strays: u64,
}

/// Puts datagrams in order.
#[derive(Debug)]
pub struct Reorder {
    /// The number that is to come, and from whom; `None`: any.
    next: Option<(u16, u32)>,
    /// Payloads that came too early, at their number modulo the window.
    early: Vec<Option<Vec<u8>>>,
    waiting: usize,
    /// When the window's first gap is given up.
    deadline: Option<Instant>,
    /// Which of the numbers just passed were given up, the latest in bit 0.
    given_up: u128,
    /// What would follow the last stray.
    stray: Option<(u16, u32)>,
}

impl Default for Reorder {
    fn default() -> Self {
        Reorder {
            next: None,
            early: vec![None; RTP_WINDOW_DATAGRAMS],
            waiting: 0,
            deadline: None,
            given_up: 0,
            stray: None,
        }
    }
}

impl Reorder {
    /// A window without any datagram.
    pub fn new() -> Reorder {
        Reorder::default()
    }

    /// When to call [`Reorder::on_deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes a datagram; gives payloads to `out`, in order.
    pub fn take(
        &mut self,
        rtp: Rtp<'_>,
        now: Instant,
        counts: &mut RtpCounts,
        mut out: impl FnMut(&[u8]),
    ) {
        let (next, source) = *self.next.get_or_insert((rtp.sequence, rtp.source));
        let ahead = rtp.sequence.wrapping_sub(next);
        let behind = next.wrapping_sub(rtp.sequence);
        if rtp.source != source || (ahead > RTP_JUMP_DATAGRAMS && behind > RTP_BEHIND_DATAGRAMS) {
            return self.take_stray(rtp, counts, out);
        }
        // The sender we follow is alive: whoever else sends is a stray, however often.
        self.stray = None;
        if ahead == 0 {
            out(rtp.payload);
            self.pass(false);
            self.run(now, &mut out);
        } else if usize::from(ahead) < RTP_WINDOW_DATAGRAMS {
            self.keep(rtp, now, counts);
        } else if ahead <= RTP_JUMP_DATAGRAMS {
            // Beyond the window: make room by giving up the oldest that are missing.
            while usize::from(rtp.sequence.wrapping_sub(self.expected())) >= RTP_WINDOW_DATAGRAMS {
                self.advance(counts, &mut out);
            }
            self.run(now, &mut out);
            self.take(rtp, now, counts, out);
        } else if self.given_up >> (behind - 1) & 1 == 1 {
            // It comes once: a second one is a repetition.
            self.given_up &= !(1 << (behind - 1));
            counts.late += 1;
        } else {
            counts.repeated += 1;
        }
    }

    /// Takes a datagram of another sender, or of the same with a number out of all reason. Two such
    /// that follow each other are a sender who began anew (RFC 3550, A.1), one alone is a stray.
    fn take_stray(&mut self, rtp: Rtp<'_>, counts: &mut RtpCounts, mut out: impl FnMut(&[u8])) {
        if self.stray.replace((rtp.sequence.wrapping_add(1), rtp.source))
            != Some((rtp.sequence, rtp.source))
        {
            counts.strays += 1;
            return;
        }
        self.flush(counts, &mut out);
        counts.restarts += 1;
        (self.stray, self.given_up) = (None, 0);
        out(rtp.payload);
        self.next = Some((rtp.sequence.wrapping_add(1), rtp.source));
    }

    /// Gives up what has been missing for too long.
    pub fn on_deadline(
        &mut self,
        now: Instant,
        counts: &mut RtpCounts,
        mut out: impl FnMut(&[u8]),
    ) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        while self.waiting > 0 && self.early[self.place(self.expected())].is_none() {
            self.advance(counts, &mut out);
        }
        self.run(now, &mut out);
    }

    fn keep(&mut self, rtp: Rtp<'_>, now: Instant, counts: &mut RtpCounts) {
        let place = self.place(rtp.sequence);
        if self.early[place].is_some() {
            counts.repeated += 1;
            return;
        }
        // The first that waits names the gap; each missing one in front of it is what reorders.
        self.early[place] = Some(rtp.payload.to_vec());
        self.waiting += 1;
        counts.reordered += 1;
        self.deadline.get_or_insert(now + RTP_HOLD);
    }

    /// Gives out what follows without a gap; the patience with the next gap begins anew.
    fn run(&mut self, now: Instant, out: &mut impl FnMut(&[u8])) {
        let mut moved = false;
        while self.waiting > 0 {
            let place = self.place(self.expected());
            let Some(payload) = self.early[place].take() else { break };
            self.waiting -= 1;
            moved = true;
            out(&payload);
            self.pass(false);
        }
        if self.waiting == 0 {
            self.deadline = None;
        } else if moved || self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = Some(now + RTP_HOLD);
        }
    }

    /// Moves on by one number: what waits there goes out, what is missing is lost.
    fn advance(&mut self, counts: &mut RtpCounts, out: &mut impl FnMut(&[u8])) {
        let place = self.place(self.expected());
        let payload = self.early[place].take();
        match &payload {
            Some(payload) => {
                self.waiting -= 1;
                out(payload);
            }
            None => counts.lost += 1,
        }
        self.pass(payload.is_none());
    }

    /// Nothing more will come in order: what waits goes out, the gaps in it are lost.
    pub fn flush(&mut self, counts: &mut RtpCounts, mut out: impl FnMut(&[u8])) {
        while self.waiting > 0 {
            self.advance(counts, &mut out);
        }
        self.deadline = None;
    }

    fn pass(&mut self, given_up: bool) {
        self.given_up = self.given_up << 1 | u128::from(given_up);
        if let Some((next, _)) = &mut self.next {
            *next = next.wrapping_add(1);
        }
    }

    fn expected(&self) -> u16 {
        self.next.map_or(0, |(next, _)| next)
    }

    fn place(&self, sequence: u16) -> usize {
        usize::from(sequence) % self.early.len()
    }
}

// Numbers wrap at 2¹⁶, which a window must divide for places to stay apart.
const _: () = assert!(RTP_WINDOW_DATAGRAMS.is_power_of_two());
const _: () = assert!(RTP_WINDOW_DATAGRAMS <= u128::BITS as usize);
const _: () = assert!(RTP_BEHIND_DATAGRAMS as u32 <= u128::BITS);
const _: () = assert!(RTP_HOLD.as_nanos() > Duration::ZERO.as_nanos());

#[cfg(test)]
mod tests;
