//! The MPEG transport stream (ISO/IEC 13818-1): packets and what can be read off them.
//!
//! Owns the reading of packets: their sync, headers, clocks and counters, and what they hold. It
//! never does I/O, never keeps a packet's bytes and never panics on what a peer sent. A worker
//! drives [`probe::Probe`] over the bytes of each upstream, which drives all else; the player has
//! the same probe find the packets of files, and [`restamp`] renew those of the demo sample.

pub mod content;
pub mod continuity;
mod crc;
pub mod discontinuity;
mod elementary;
pub mod integrity;
pub mod packet;
pub mod pat;
pub mod pcr;
pub mod pes;
mod pids;
pub mod pmt;
pub mod probe;
pub mod programs;
pub mod random_access;
pub mod remap;
pub mod restamp;
pub mod section;
mod sync;
pub mod vitals;

pub use content::Content;
pub use continuity::{Continuity, Counters};
pub use packet::{Adaptation, Header, Packet, Pid};
pub use pcr::{Pcr, Ticks};
pub use pids::Pids;
pub use probe::{Aligned, Counts, Probe};
pub use random_access::{RandomAccess, RandomAccesses};
pub use vitals::Vitals;
