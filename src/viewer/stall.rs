//! Telling a paused viewer from a vanished one.
//!
//! The kernel cuts a connection whose sent bytes stay unacknowledged (`TCP_USER_TIMEOUT`), but it
//! applies the same limit to a peer whose window is closed though it answers every probe: a viewer
//! on pause. So a viewer whose socket is full is looked at now and then: with nothing
//! unacknowledged it is on pause, and the limit is lifted until it moves again; from then on it is
//! gone when several window probes in a row stay unanswered.

use restreamer_sys::tcp_info::TcpInfo;

use crate::limits::STALL_PROBES_MAX;

/// What is known of a viewer whose socket is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    paused: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Leave,
    /// Lift the kernel's limit: it is on pause.
    Pause,
    /// Set the kernel's limit again: it is back.
    Resume,
    /// Let it go.
    Vanished,
}

impl Stall {
    /// It has caught up. Answers whether it was on pause.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Judges what the kernel says of a viewer whose socket is full.
    pub fn judge(&mut self, info: TcpInfo) -> Verdict {
        // With bytes in flight the kernel's limit is the judge, if it is in force.
        if info.unacknowledged > 0 {
            return if std::mem::take(&mut self.paused) { Verdict::Resume } else { Verdict::Leave };
        }
        if info.probes >= STALL_PROBES_MAX {
            Verdict::Vanished
        } else if std::mem::replace(&mut self.paused, true) {
            Verdict::Leave
        } else {
            Verdict::Pause
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(unacknowledged: u32, probes: u8) -> TcpInfo {
        TcpInfo { unacknowledged, probes }
    }

    #[test]
    fn a_paused_viewer_is_kept_as_long_as_it_answers() {
        let mut stall = Stall::default();
        assert_eq!(stall.judge(info(0, 0)), Verdict::Pause);
        for _ in 0..100 {
            assert_eq!(stall.judge(info(0, 1)), Verdict::Leave);
            assert_eq!(stall.judge(info(0, 0)), Verdict::Leave);
        }
        assert!(stall.resume() && !stall.resume(), "once it has caught up");
        assert_eq!(stall.judge(info(0, 0)), Verdict::Pause);
    }

    #[test]
    fn unanswered_probes_end_it() {
        let mut stall = Stall::default();
        assert_eq!(stall.judge(info(0, 0)), Verdict::Pause);
        // A lost probe is seen at many looks: what counts is how many were sent.
        for _ in 0..20 {
            assert_eq!(stall.judge(info(0, 1)), Verdict::Leave);
        }
        assert_eq!(stall.judge(info(0, STALL_PROBES_MAX)), Verdict::Vanished);
    }

    #[test]
    fn bytes_in_flight_are_the_kernels_matter() {
        let mut stall = Stall::default();
        assert_eq!(stall.judge(info(3, 0)), Verdict::Leave);
        assert_eq!(stall.judge(info(0, 0)), Verdict::Pause);
        assert_eq!(stall.judge(info(3, 0)), Verdict::Resume);
    }
}
