//! Every system call of restreamer, behind safe types.
//!
//! Owns: `unsafe`, and the knowledge of what the kernel answers. Never decides anything: no policy,
//! no retry beyond `EINTR`, no logging but for the last line of a process that is ended for a
//! [violation](confine::violation). Functions take [`std::os::fd::BorrowedFd`] and return
//! [`std::os::fd::OwnedFd`]; what the kernel answers in the ordinary course of things is a value
//! ([`Moved`]), not an error.

pub mod confine;
pub mod cpu;
pub mod datagram;
pub mod door;
pub mod file;
pub mod limit;
pub mod memory;
pub mod moved;
pub mod pipe;
pub mod process;
pub mod signal;
pub mod socket;
pub mod splice;
pub mod systemd;
pub mod tcp_info;
pub mod wait;

pub use moved::Moved;
