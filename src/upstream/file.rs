//! Files, devices, FIFOs and sockets in the file system. Blocks.

use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Instant;

use restreamer_sys::{file, pipe, socket};

use super::Dialed;
use super::error::DialError;
use crate::clock::remaining;
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
    if kind.is_fifo() {
        let source = file::open_fifo(path).map_err(DialError::Open)?;
        pipe::grow(source.as_fd(), UPSTREAM_PIPE_BYTES).map_err(DialError::Open)?;
        Ok(Opened::Ready(Dialed::raw(source)))
    } else if kind.is_char_device() {
        let source = file::open_device(path).map_err(DialError::Open)?;
        Ok(Opened::Ready(Dialed::raw(source)))
    } else if kind.is_file() {
        let source = File::open(path).map_err(DialError::Open)?;
        let (dialed, sink) = Dialed::piped().map_err(DialError::Open)?;
        Ok(Opened::ToPlay(dialed, source, sink))
    } else {
        Err(DialError::NotAFile(path.to_owned()))
    }
}

/// Connects to a stream socket.
pub fn connect_unix(path: &Path, deadline: Option<Instant>) -> Result<Dialed, DialError> {
    let patience = remaining(deadline, Instant::now());
    let socket = socket::connect_unix(path, patience).map_err(DialError::of_connect)?;
    file::set_nonblocking(socket.as_fd()).map_err(DialError::Connect)?;
    Ok(Dialed::raw(socket))
}
