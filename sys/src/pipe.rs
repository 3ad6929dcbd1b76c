//! Kernel pipes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A non-blocking pipe whose two ends this process holds.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// Makes a pipe and asks for room for `bytes`.
    ///
    /// The kernel may grant less: beyond `pipe-user-pages-soft` a user without `CAP_SYS_RESOURCE`
    /// gets 8 KiB (pipe(7)). [`Pipe::capacity`] tells what was granted.
    pub fn with_capacity(bytes: usize) -> io::Result<Pipe> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let capacity = grow(writer.as_fd(), bytes)?;
        Ok(Pipe { reader, writer, capacity })
    }

    /// Room in bytes, if every slot (a page) is filled to the brim.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The end that is read.
    pub fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The end that is written.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Gives up the pair as (reader, writer).
    pub fn into_ends(self) -> (OwnedFd, OwnedFd) {
        (self.reader, self.writer)
    }
}

/// Asks the kernel for `bytes` of room in a pipe or FIFO, and answers what it has then.
///
/// A refusal (`EPERM` beyond the user's limit, `EBUSY`) leaves the pipe as it was and is no error.
pub fn grow(pipe: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
    let granted = match fcntl(pipe, FcntlArg::F_SETPIPE_SZ(wanted)) {
        Ok(granted) => granted,
        Err(_refused) => fcntl(pipe, FcntlArg::F_GETPIPE_SZ)?,
    };
    Ok(usize::try_from(granted).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_what_the_kernel_granted() {
        let pipe = Pipe::with_capacity(100_000).unwrap();
        assert_eq!(pipe.capacity(), 131_072, "rounded up to a power of two of pages");
    }

    #[test]
    fn a_refused_size_leaves_the_pipe_usable() {
        let pipe = Pipe::with_capacity(usize::MAX).unwrap();
        assert!(pipe.capacity() >= 4096);
    }
}
