//! What the kernel answers to a request to move bytes.

use std::io;
use std::num::NonZeroUsize;

use nix::errno::Errno;

/// The kernel's answer to a read, write, `tee` or `splice` that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes were moved; fewer than asked is ordinary.
    Bytes(NonZeroUsize),
    /// Nothing can be moved now; readiness will be reported (`EAGAIN`).
    Blocked,
    /// Nothing will ever be moved again: end of input, or the peer is gone (`EPIPE`, `ECONNRESET`).
    Ended,
}

impl Moved {
    /// The number of bytes moved, 0 unless [`Moved::Bytes`].
    pub fn count(self) -> usize {
        match self {
            Moved::Bytes(n) => n.get(),
            Moved::Blocked | Moved::Ended => 0,
        }
    }

    /// Reads an answer in which 0 means the end, as of `read`.
    pub(crate) fn from_answer(answer: nix::Result<usize>) -> io::Result<Moved> {
        match answer {
            Ok(n) => Ok(NonZeroUsize::new(n).map_or(Moved::Ended, Moved::Bytes)),
            Err(Errno::EAGAIN) => Ok(Moved::Blocked),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(Moved::Ended),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Calls `f` again for as long as a signal interrupts it.
pub(crate) fn uninterrupted<T>(mut f: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match f() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}
