//! Takes live MPEG transport streams in and fans each out over plain HTTP to thousands of viewers.
//!
//! The layers, each of which uses only those to its left (`tests/tidy.rs` checks it):
//! `limits clock log metrics config` ← `ts http ring` ← `egress` ← `upstream viewer` ← `stream` ←
//! `resource door` ← `worker` ← `notify side operator` ← `boot cli`; below all of them the package
//! `restreamer-sys`.

#![forbid(unsafe_code)]

pub mod boot;
pub mod cli;
pub mod clock;
pub mod config;
pub mod door;
pub mod egress;
pub mod http;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod operator;
pub mod resource;
pub mod ring;
pub mod side;
pub mod stream;
pub mod ts;
pub mod upstream;
pub mod viewer;
pub mod worker;
