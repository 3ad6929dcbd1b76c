//! `tee` and `splice`: pages move between pipes and sockets, no byte passes through user space.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::SpliceFFlags;

use crate::moved::{Moved, uninterrupted};

/// Duplicates up to `bytes` from the front of the pipe `from` into the pipe `to`, consuming
/// nothing.
///
/// Always starts at the front; may be partial when `to` has fewer free slots than `from` has used
/// ones (tee(2)).
pub fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> io::Result<Moved> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    Moved::from_answer(uninterrupted(|| nix::fcntl::tee(from, to, bytes, flags)))
}

/// Moves up to `bytes` from the pipe `from` to the socket, pipe or file `to` (splice(2)).
///
/// The kernel holds references to the pipe's pages for as long as a socket needs them; nobody
/// writes to those pages again, so a slow peer receives what was sent.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> io::Result<Moved> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    Moved::from_answer(uninterrupted(|| nix::fcntl::splice(from, None, to, None, bytes, flags)))
}

/// Where pipes are emptied without a copy: `/dev/null`.
#[derive(Debug)]
pub struct Drain(File);

impl Drain {
    /// Opens `/dev/null`.
    pub fn open() -> io::Result<Drain> {
        let opened = OpenOptions::new().write(true).open("/dev/null").map(Drain);
        // An empty root has none: who is told only that something is missing looks everywhere else.
        opened.map_err(|why| io::Error::new(why.kind(), format!("/dev/null: {why}")))
    }

    /// Throws away all that the pipe `from` holds, at most `bytes`; answers how much it was.
    pub fn empty(&self, from: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
        let mut thrown = 0;
        while thrown < bytes {
            match splice(from, self.0.as_fd(), bytes - thrown)? {
                Moved::Bytes(n) => thrown += n.get(),
                Moved::Blocked | Moved::Ended => break,
            }
        }
        Ok(thrown)
    }
}

#[cfg(test)]
mod tests {
    mod into_pipe;

    use std::io::{IoSlice, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::file::{read, write};
    use crate::pipe::Pipe;

    fn fill(pipe: &Pipe, bytes: &[u8]) -> usize {
        write(pipe.writer(), &[IoSlice::new(bytes)]).unwrap().count()
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn tee_leaves_the_trunk_full_and_splice_empties_the_lane() {
        let (trunk, lane) =
            (Pipe::with_capacity(65_536).unwrap(), Pipe::with_capacity(65_536).unwrap());
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(fill(&trunk, &bytes), bytes.len());
        for _ in 0..3 {
            let (near, mut far) = pair();
            assert_eq!(tee(trunk.reader(), lane.writer(), 65_536).unwrap().count(), bytes.len());
            assert_eq!(splice(lane.reader(), near.as_fd(), 65_536).unwrap().count(), bytes.len());
            let mut got = vec![0; bytes.len()];
            far.read_exact(&mut got).unwrap();
            assert_eq!(got, bytes);
        }
        assert_eq!(Drain::open().unwrap().empty(trunk.reader(), 65_536).unwrap(), bytes.len());
        assert_eq!(read(trunk.reader(), &mut [0; 8]).unwrap(), Moved::Blocked);
    }

    #[test]
    fn tee_into_a_smaller_lane_is_partial_and_starts_at_the_front() {
        let (trunk, lane) =
            (Pipe::with_capacity(65_536).unwrap(), Pipe::with_capacity(8192).unwrap());
        let mut bytes = vec![1_u8; 4096];
        bytes.extend([2_u8; 16_384]);
        assert_eq!(fill(&trunk, &bytes), bytes.len());
        assert_eq!(tee(trunk.reader(), lane.writer(), 65_536).unwrap().count(), 8192);
        let mut got = [0; 8192];
        assert_eq!(read(lane.reader(), &mut got).unwrap().count(), 8192);
        assert_eq!((got[0], got[4095], got[4096]), (1, 1, 2));
    }

    #[test]
    fn a_full_socket_takes_a_part_and_then_blocks() {
        let (near, _far) = pair();
        let (trunk, lane) =
            (Pipe::with_capacity(65_536).unwrap(), Pipe::with_capacity(65_536).unwrap());
        assert_eq!(fill(&trunk, &vec![7; 65_536]), 65_536);
        let drain = Drain::open().unwrap();
        let blocked = (0..10_000).any(|_| {
            tee(trunk.reader(), lane.writer(), 65_536).unwrap();
            let answer = splice(lane.reader(), near.as_fd(), 65_536).unwrap();
            drain.empty(lane.reader(), 65_536).unwrap();
            answer == Moved::Blocked
        });
        assert!(blocked, "640 MB cannot fit a socket nobody reads");
    }

    #[test]
    fn a_peer_that_is_gone_is_a_value() {
        let (near, far) = pair();
        drop(far);
        let trunk = Pipe::with_capacity(65_536).unwrap();
        let ended = (0..10_000).any(|_| {
            fill(&trunk, &[7; 4096]);
            matches!(splice(trunk.reader(), near.as_fd(), 65_536).unwrap(), Moved::Ended)
        });
        assert!(ended, "a reset reaches the sender");
    }
}
