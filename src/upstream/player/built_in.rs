//! What is built into the program, as `tests/data/make-loop` made it. Both loop without a seam.
//!
//! Owns the bytes: whole packets of constant bitrate. The player drives it.

/// The demo's stream: 8 s, 640 × 360 H.264 at 25 Hz, AAC at 48 kHz.
pub(super) const SAMPLE: &[u8] = include_bytes!("../sample.ts");

/// What viewers see while there is no upstream: "This stream will be back soon". 3.2 s, 1280 × 720
/// H.264 at 25 Hz, AAC at 48 kHz that is silent.
pub(super) const SLATE: &[u8] = include_bytes!("../slate.ts");
