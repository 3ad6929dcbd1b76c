//! Files, devices, FIFOs and sockets in the file system. Blocks.

use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use restreamer_sys::{file, pipe};

use super::Dialed;
use super::error::DialError;
use crate::limits::UPSTREAM_PIPE_BYTES;

/// What a path leads to.
#[derive(Debug)]
pub enum Opened {
    /// Something that can be read as it is.
    Ready(Dialed),
    /// A regular file: the pipe's other end is to be played into.
    ToPlay(Dialed, File, PipeWriter),
}

/// Opens a FIFO, device or regular file.
pub fn open(path: &Path) -> Result<Opened, DialError> {
    let kind = fs::metadata(path).map_err(DialError::Open)?.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        let source = file::open_fifo(path).map_err(DialError::Open)?;
        if kind.is_fifo() {
            pipe::grow(source.as_fd(), UPSTREAM_PIPE_BYTES).map_err(DialError::Open)?;
        }
        Ok(Opened::Ready(Dialed::raw(source)))
    } else if kind.is_file() {
        let source = File::open(path).map_err(DialError::Open)?;
        let (dialed, sink) = playing().map_err(DialError::Open)?;
        Ok(Opened::ToPlay(dialed, source, sink))
    } else {
        Err(DialError::NotAFile(path.to_owned()))
    }
}

/// A pipe for a player: what the worker reads, and where the player writes (and waits).
pub fn playing() -> std::io::Result<(Dialed, PipeWriter)> {
    let (reader, writer) = std::io::pipe()?;
    file::set_nonblocking(reader.as_fd())?;
    pipe::grow(reader.as_fd(), UPSTREAM_PIPE_BYTES)?;
    Ok((Dialed::raw(reader), writer))
}

/// Connects to a stream socket.
pub fn connect_unix(path: &Path) -> Result<Dialed, DialError> {
    let socket = UnixStream::connect(path).map_err(DialError::Connect)?;
    socket.set_nonblocking(true).map_err(DialError::Connect)?;
    Ok(Dialed::raw(socket))
}
