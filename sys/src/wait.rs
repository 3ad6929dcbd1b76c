//! Waiting for readability, for the threads that may block.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::moved::uninterrupted;

/// Waits until one of `fds` is readable or has ended; answers which are. All false: time is up.
///
/// `None` waits for ever. Resolution is a millisecond, rounded up.
pub fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    ready(fds, PollFlags::POLLIN, timeout)
}

/// Waits until one of `fds` can be written or has ended; answers which can.
#[cfg(test)]
pub(crate) fn writable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    ready(fds, PollFlags::POLLOUT, timeout)
}

fn ready<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    what: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut set = fds.map(|fd| PollFd::new(fd, what));
    let millis = timeout.map(|t| t.as_nanos().div_ceil(1_000_000));
    let timeout = millis.map_or(PollTimeout::NONE, |ms| {
        i32::try_from(ms).ok().and_then(|ms| ms.try_into().ok()).unwrap_or(PollTimeout::MAX)
    });
    uninterrupted(|| poll(&mut set, timeout))?;
    Ok(set.map(|fd| fd.any().unwrap_or(true)))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::pipe::Pipe;

    #[test]
    fn tells_which_descriptor_is_ready() {
        let (a, b) = (Pipe::with_capacity(4096).unwrap(), Pipe::with_capacity(4096).unwrap());
        let fds = || [a.reader(), b.reader()];
        assert_eq!(readable(fds(), Some(Duration::ZERO)).unwrap(), [false, false]);
        crate::file::write(b.writer(), &[IoSlice::new(b"x")]).unwrap();
        assert_eq!(readable(fds(), None).unwrap(), [false, true]);
        assert_eq!(writable([a.writer()], None).unwrap(), [true]);
    }
}
