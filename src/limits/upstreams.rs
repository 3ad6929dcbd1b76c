//! What upstreams may send, and how they are reached and read.

use std::time::Duration;

use super::{DRAIN_TIMEOUT, PACKET_BYTES};

// ---- Upstreams ---------------------------------------------------------------------------------

/// A chunk-size line with its extensions, or the trailer section, of a chunked body.
pub const CHUNK_LINE_BYTES_MAX: usize = 4096;
/// An upstream's answer head.
pub const UPSTREAM_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Redirects followed in one attempt.
pub const REDIRECTS_MAX: usize = 10;
/// Time between two attempts, however small `reconnect` is.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// Chance adds to `reconnect` this part of it at most: enough to spread attempts.
pub const RECONNECT_EXTRA_DIVISOR: u32 = 5;
/// Attempts on a stream's upstreams that are shown, the last ones.
pub const ATTEMPTS_SHOWN_MAX: usize = 8;
/// A line of a command's standard error in the log.
pub const COMMAND_LINE_BYTES_MAX: usize = 1024;
/// Lines of a command's standard error that reach the log in one second.
pub const COMMAND_LINES_PER_SECOND_MAX: u32 = 20;
/// Reads of 4 KiB for what a command said last: the pipe holds 64 KiB.
pub const COMMAND_LAST_READS_MAX: usize = 16;
/// Time for a command to end when asked, before it is killed.
pub const COMMAND_END_TIMEOUT: Duration = Duration::from_millis(800);
/// Bytes read of a TLS connection at once, and passed on at once; a record has 16 KiB at most.
pub const TLS_READ_BYTES: usize = 32 * 1024;
/// Stack of a thread that dials, decrypts (less than 96 KiB), plays a file or minds a command.
pub const DIAL_STACK_BYTES: usize = 256 * 1024;

const _: () = assert!(COMMAND_END_TIMEOUT.as_millis() < DRAIN_TIMEOUT.as_millis());

// ---- Transport streams -------------------------------------------------------------------------

/// Packets in a row that prove each other in a hunt for sync.
pub const SYNC_ROW_PACKETS: usize = 3;
/// Packets of one PID with counters in a row, which prove the last of them in a hunt for sync.
pub const SYNC_KIN_PACKETS: usize = 5;
/// PIDs of rejected candidates that a hunt for sync remembers.
pub const SYNC_SUSPECTS_MAX: usize = 32;
/// Bytes that a probe holds back at most, until it can tell packets from garbage.
pub const SYNC_HELD_BYTES_MAX: usize = (SYNC_ROW_PACKETS - 1) * PACKET_BYTES + 4;

/// A section of a PAT, CAT or PMT, all of it (ISO/IEC 13818-1, 2.4.4.4: a `section_length` of
/// 1021), and of most tables of DVB (EN 300 468, 5.1.1).
pub const TABLE_SECTION_BYTES_MAX: usize = 1024;
/// The longest section there is (ISO/IEC 13818-1, 2.4.4.11: a `section_length` of 4093).
pub const SECTION_BYTES_MAX: usize = 4096;
/// Sections of a PAT: one lists 253 programs.
pub const PAT_SECTIONS_MAX: usize = 4;
/// Programs of a stream that are followed; a whole transponder has thirty, of radio twice as many.
pub const PROGRAMS_MAX: usize = 64;
/// Elementary streams of all programs that are followed.
pub const ELEMENTARY_STREAMS_MAX: usize = 160;
/// Elementary streams of one upstream that have metrics; `/streams` shows all.
pub const ELEMENTARY_SHOWN_MAX: usize = 32;
/// PIDs that are followed: also those of PAT, CAT and DVB's tables, and all others together.
pub const SLOTS_MAX: usize = 256;
/// Random access points that one pass over the bytes tells of: one of each program, as those of one
/// mean nothing to the viewers of another.
pub const RANDOM_ACCESS_PER_PASS_MAX: usize = PROGRAMS_MAX;
/// Packets at the front of a PES packet in which its picture is looked for: 3 KB. An encoder's
/// settings in an SEI take 700 bytes.
pub const PICTURE_PACKETS_MAX: u8 = 16;

const _: () = assert!(SYNC_HELD_BYTES_MAX >= PACKET_BYTES);
const _: () = assert!(TABLE_SECTION_BYTES_MAX < SECTION_BYTES_MAX);
const _: () = assert!(ELEMENTARY_SHOWN_MAX <= ELEMENTARY_STREAMS_MAX);
const _: () = assert!(8 + PROGRAMS_MAX + ELEMENTARY_STREAMS_MAX <= SLOTS_MAX);

// ---- Files played in real time -----------------------------------------------------------------

/// How often the player writes what has become due of a file.
pub const PACE_STEP: Duration = Duration::from_millis(15);
/// How late the player may be before it takes the present as the new start of its plan instead of
/// catching up: after a suspended machine or a sink that did not read.
pub const PACE_LATE_MAX: Duration = Duration::from_secs(1);
/// The longest time between two PCRs that the player believes; a longer one is a jump of the clock.
/// ISO/IEC 13818-1, 2.7.2 allows 100 ms.
pub const PACE_PCR_GAP_MAX: Duration = Duration::from_secs(1);
/// Bytes between two PCRs of a file beyond which the player goes by the bitrate it knows: 335
/// Mbit/s at 100 ms.
pub const PACE_GAP_BYTES_MAX: usize = 4 << 20;
/// Bytes of a file that the player keeps in memory ahead of time, before it reads no further.
pub const PACE_AHEAD_BYTES_MAX: usize = 2 * PACE_GAP_BYTES_MAX;
/// The rate at which the player plays a file that has no PCR: 8 Mbit/s.
pub const PACE_BYTES_PER_SECOND_DEFAULT: u64 = 1_000_000;
/// The rate beyond which the player takes two PCRs for a jump of the clock: 1 Gbit/s.
pub const PACE_BYTES_PER_SECOND_MAX: u64 = 125_000_000;
/// Bytes that the player reads from a file at once.
pub const PLAYER_READ_BYTES: usize = 64 << 10;
/// Bytes of a file without a single packet after which the player gives up.
pub const PLAYER_BARREN_BYTES_MAX: usize = 4 << 20;
/// The most of a recording that is looped: it is read through before it is played.
pub const LOOP_BYTES_MAX: usize = 256 << 20;
/// The longest pass of one. Stamps that say more have jumped: half of what 33 bits of 90 kHz hold
/// is 13 hours.
pub const LOOP_LENGTH_MAX: Duration = Duration::from_hours(6);

const _: () = assert!(PACE_LATE_MAX.as_millis() > PACE_STEP.as_millis());
const _: () = assert!(PACE_BYTES_PER_SECOND_DEFAULT < PACE_BYTES_PER_SECOND_MAX);
const _: () = assert!(PACE_GAP_BYTES_MAX + PLAYER_READ_BYTES < PACE_AHEAD_BYTES_MAX);

// ---- Datagrams ---------------------------------------------------------------------------------

/// Datagrams of RTP that may come before one that is missing.
pub const RTP_WINDOW_DATAGRAMS: usize = 64;
/// How long a missing datagram of RTP is waited for.
pub const RTP_HOLD: Duration = Duration::from_millis(100);
/// A step in the numbers of RTP beyond which the sender has begun anew.
pub const RTP_JUMP_DATAGRAMS: u16 = 3000;
/// Shortest time between two joins of a silent multicast group.
pub const REJOIN_MIN: Duration = Duration::from_millis(100);
/// How far behind a datagram of RTP is taken for a late or repeated one.
pub const RTP_BEHIND_DATAGRAMS: u16 = 128;
/// What a datagram takes of a receive buffer beside its bytes, about.
pub const DATAGRAM_OVERHEAD_BYTES: usize = 1024;
/// Receive buffer of datagram sockets that is asked for, however small `inputbuffer` is: a turn of
/// 60 ms brings 150 KB at 20 Mbit/s.
pub const DATAGRAM_BUFFER_BYTES_MIN: usize = 2 * 1024 * 1024;
/// Datagrams read with one call.
pub const DATAGRAMS_PER_CALL: usize = 16;

const _: () = assert!(RTP_WINDOW_DATAGRAMS < RTP_JUMP_DATAGRAMS as usize);
