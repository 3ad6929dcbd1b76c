//! Every bound of the program, unit last in its name, related to each other by `const` asserts.
//!
//! A queue, buffer, header, list or retry without a bound here is a defect.

use std::time::Duration;

/// Bytes of one transport stream packet (ISO/IEC 13818-1, 2.4.3.2).
pub const PACKET_BYTES: usize = 188;
