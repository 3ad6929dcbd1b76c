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
    /// Nothing will ever be moved again: the end of what is read, or the peer of what is written to
    /// is gone (`EPIPE`, `ECONNRESET`).
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

    /// The answer of a read: 0 is the end; that the peer has reset the connection is an error.
    pub(crate) fn from_read(answer: nix::Result<usize>) -> io::Result<Moved> {
        match answer {
            Err(errno @ Errno::ECONNRESET) => Err(errno.into()),
            answer => Moved::from_answer(answer),
        }
    }

    /// The answer of whatever moves bytes on: a peer that is gone is ordinary.
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
