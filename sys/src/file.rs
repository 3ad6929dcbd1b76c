//! Reading and writing descriptors, and opening FIFOs.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::moved::{Moved, uninterrupted};

/// Reads what is there into `buffer`, which must not be empty (0 bytes read means the end).
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Moved> {
    assert!(!buffer.is_empty(), "a read into nothing looks like the end");
    Moved::from_read(uninterrupted(|| nix::unistd::read(from, buffer)))
}

/// Writes the slices in order, as one call (writev(2)).
pub fn write(to: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<Moved> {
    Moved::from_answer(uninterrupted(|| nix::sys::uio::writev(to, slices)))
}

/// Opens a FIFO for reading, without blocking, so that a missing writer neither delays nor ends it.
///
/// Read-write: fifo(7) leaves this open to the system, Linux grants it, and then the FIFO has
/// always one writer (us), so that reading never meets an end.
pub fn open_fifo(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    Ok(file.into())
}

/// Opens a device for reading, without blocking. Tuners refuse to be opened for writing as well.
pub fn open_device(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?.into())
}

/// Makes reads and writes of a descriptor answer [`Moved::Blocked`] instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_fifo_outlives_its_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = open_fifo(&path).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(fifo.as_fd(), &mut buffer).unwrap(), Moved::Blocked);
        for round in [b"one", b"two"] {
            OpenOptions::new().write(true).open(&path).unwrap().write_all(round).unwrap();
            assert_eq!(read(fifo.as_fd(), &mut buffer).unwrap().count(), 3);
            assert_eq!(&buffer[..3], round);
            assert_eq!(read(fifo.as_fd(), &mut buffer).unwrap(), Moved::Blocked);
        }
    }

    #[test]
    fn end_and_broken_pipe_are_values() {
        let (reader, writer) = crate::pipe::Pipe::with_capacity(4096).unwrap().into_ends();
        drop(writer);
        assert_eq!(read(reader.as_fd(), &mut [0]).unwrap(), Moved::Ended);
        let (reader, writer) = crate::pipe::Pipe::with_capacity(4096).unwrap().into_ends();
        drop(reader);
        assert_eq!(write(writer.as_fd(), &[IoSlice::new(b"x")]).unwrap(), Moved::Ended);
    }
}
