//! Where a resource is read from, and why it cannot be. Blocks.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use restreamer_sys::file::open_device;

use crate::config::StaticRemote;
use crate::egress::{Client, FetchError, Fetched, Patience};
use crate::limits::STATIC_BODY_BYTES_MAX;

/// Why there is no body. The text goes on from the upstream's address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The answer is another.
    #[error("answered {0}, expected 200")]
    Status(u16),
    /// No answer.
    #[error(transparent)]
    Web(#[from] FetchError),
    /// A file that cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory, a FIFO, a socket or a device.
    #[error("is no regular file")]
    NotAFile,
    /// A file that is too long.
    #[error("is longer than {STATIC_BODY_BYTES_MAX} bytes")]
    TooLong,
    /// The time is over.
    #[error("could not be read within {0:?}")]
    TimedOut(Duration),
    /// No thread for it.
    #[error("cannot be fetched: no thread: {0}")]
    Thread(io::Error),
}

/// What is told of a trouble: to operators in a word, to clients by a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The metric's label and the log's `error` key.
    pub(super) word: &'static str,
    /// The answer's status.
    pub(super) status: u16,
}

impl Trouble {
    pub(super) fn cause(&self) -> Cause {
        let (word, status) = match self {
            Trouble::Status(status @ 200..=599) => ("status", *status),
            // What we cannot say on: neither success nor error (RFC 9110, 15).
            Trouble::Status(_) => ("status", 502),
            Trouble::Web(FetchError::Silent(_) | FetchError::TimedOut(_))
            | Trouble::TimedOut(_) => ("timeout", 504),
            Trouble::Web(FetchError::TooLarge(_)) | Trouble::TooLong => ("too_large", 502),
            Trouble::Web(FetchError::Failed(_)) => ("unreachable", 502),
            Trouble::Unreadable(error) => unreadable(error.kind()),
            Trouble::NotAFile => ("not_a_file", 404),
            Trouble::Thread(_) => ("thread", 503),
        };
        Cause { word, status }
    }
}

fn unreadable(kind: io::ErrorKind) -> (&'static str, u16) {
    match kind {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ("missing", 404),
        io::ErrorKind::PermissionDenied => ("forbidden", 403),
        io::ErrorKind::TimedOut => ("timeout", 504),
        _ => ("unreadable", 502),
    }
}

/// Its address as it may be shown.
pub(super) fn label(remote: &StaticRemote) -> String {
    match remote {
        StaticRemote::File(path) => format!("file://{}", path.display()),
        StaticRemote::Web(address) => address.label.clone(),
    }
}

/// The path in its address.
pub(super) fn path(remote: &StaticRemote) -> &Path {
    match remote {
        StaticRemote::File(path) => path,
        StaticRemote::Web(address) => Path::new(address.url.path()),
    }
}

/// Reads the whole body. A file's time is not bounded here.
pub(super) fn read(
    remote: &StaticRemote,
    client: &Client,
    patience: Patience,
) -> Result<Fetched, Trouble> {
    match remote {
        StaticRemote::File(path) => {
            Ok(Fetched { status: 200, content_type: None, body: read_file(path)? })
        }
        StaticRemote::Web(address) => {
            Ok(client.get(&address.url, None, patience, STATIC_BODY_BYTES_MAX)?)
        }
    }
}

/// Looks before it opens, since opening a device can do things, and after it, since the path may
/// lead elsewhere by then: to a FIFO, for whose writer nothing that is opened like a device waits.
fn read_file(path: &Path) -> Result<Vec<u8>, Trouble> {
    if !fs::metadata(path)?.is_file() {
        return Err(Trouble::NotAFile);
    }
    let file = fs::File::from(open_device(path)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Trouble::NotAFile);
    }
    // One more than allowed tells a file that is too long from one that just fits. The length is
    // a hint: the file may be growing, and those of the kernel say 0.
    let read_max = STATIC_BODY_BYTES_MAX as u64 + 1;
    let mut body = Vec::new();
    body.reserve_exact(usize::try_from(metadata.len().min(read_max)).unwrap_or_default());
    file.take(read_max).read_to_end(&mut body)?;
    if body.len() > STATIC_BODY_BYTES_MAX { Err(Trouble::TooLong) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_its_status() {
        let late = Duration::from_secs(1);
        let of = |kind: io::ErrorKind| Trouble::Unreadable(kind.into());
        for (trouble, word, status) in [
            (Trouble::Status(404), "status", 404),
            (Trouble::Status(204), "status", 204),
            (Trouble::Status(101), "status", 502),
            (Trouble::Status(999), "status", 502),
            (FetchError::Silent(late).into(), "timeout", 504),
            (FetchError::TimedOut(late).into(), "timeout", 504),
            (FetchError::TooLarge(1).into(), "too_large", 502),
            (FetchError::Failed(Box::new(ureq::Error::HostNotFound)).into(), "unreachable", 502),
            (of(io::ErrorKind::NotFound), "missing", 404),
            (of(io::ErrorKind::NotADirectory), "missing", 404),
            (of(io::ErrorKind::PermissionDenied), "forbidden", 403),
            (of(io::ErrorKind::TimedOut), "timeout", 504),
            (of(io::ErrorKind::StaleNetworkFileHandle), "unreadable", 502),
            (of(io::ErrorKind::Other), "unreadable", 502),
            (Trouble::NotAFile, "not_a_file", 404),
            (Trouble::TooLong, "too_large", 502),
            (Trouble::TimedOut(late), "timeout", 504),
            (Trouble::Thread(io::ErrorKind::WouldBlock.into()), "thread", 503),
        ] {
            assert_eq!(trouble.cause(), Cause { word, status }, "{trouble}");
        }
    }

    #[test]
    fn a_file_of_the_kernel_has_no_length_and_is_read() {
        assert!(!read_file(Path::new("/proc/self/status")).unwrap().is_empty());
    }
}
