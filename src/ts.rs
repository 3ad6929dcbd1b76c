//! The MPEG transport stream (ISO/IEC 13818-1): packets and what can be read off them.
//!
//! Owns the reading of packets: their sync, headers, clocks and counters. It never does I/O, never
//! keeps a packet's bytes and never panics on what a peer sent. A worker drives [`probe::Probe`]
//! over the bytes of each upstream; the player drives the same probe over files and [`restamp`]
//! over the demo sample.

pub mod continuity;
pub mod packet;
pub mod pcr;
pub mod pes;
pub mod probe;
pub mod restamp;
mod sync;

pub use continuity::{Continuity, Counters};
pub use packet::{Adaptation, Header, Packet, Pid};
pub use pcr::{Pcr, Ticks};
pub use probe::{Aligned, Counts, Probe};
