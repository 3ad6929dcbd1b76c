//! The sample that is built into the program, as `tests/data/make-sample` made it.
//!
//! Owns its bytes and the length of its loop. The player drives it.

/// Whole packets of constant bitrate: 640 × 360 H.264 at 25 Hz, AAC at 48 kHz.
pub(super) const PACKETS: &[u8] = include_bytes!("../sample.ts");

/// How long the sample is, in ticks of 90 kHz: 8 s, whole frames of video (40 ms) and audio (1024 /
/// 48000 s).
pub(super) const LENGTH: u64 = 720_000;
