//! Every bound of the program, unit last in its name, related to each other by `const` asserts.
//!
//! A queue, buffer, header, list or retry without a bound here is a defect.

mod configuration;
mod demand;
mod door;
mod health;
mod history;
mod switching;
mod upstreams;

use std::time::Duration;

pub use configuration::*;
pub use demand::*;
pub use door::*;
pub use health::*;
pub use history::*;
pub use switching::*;
pub use upstreams::*;

// ---- Turns and rings ---------------------------------------------------------------------------

/// Shortest time from one turn to the next, unless configured.
pub const PERIOD_MIN: Duration = Duration::from_millis(5);
/// Longest time from one turn to the next, unless configured.
pub const PERIOD_MAX: Duration = Duration::from_millis(60);
/// Shortest time between turns when an upstream brings more than [`INTAKE_BYTES_PER_TURN_MAX`].
pub const PERIOD_HURRY_MIN: Duration = Duration::from_millis(1);
/// What one upstream is to bring in a turn, by turns not shorter than configured.
pub const INTAKE_BYTES_PER_TURN: usize = 128 * 1024;
/// What it may bring: below what the kernel buffers for it (208 KiB on a unix socket).
pub const INTAKE_BYTES_PER_TURN_MAX: usize = 160 * 1024;
/// Time over which what an upstream brings is averaged: longer than most turns.
pub const INTAKE_WINDOW: Duration = Duration::from_millis(100);
/// The next turn begins so many times the cost of the last one after its beginning.
pub const PERIOD_COST_FACTOR: u32 = 4;
/// Room asked for in the trunk and in the lane: 64 slots.
pub const TRUNK_BYTES: usize = 256 * 1024;
/// Live viewers to whom a stream is written, as to those who catch up: with so few, copying it to
/// each costs less than loading the trunk once and sharing its pages. With chunks of 60 KB writing
/// costs 0.79 of it at 2 viewers, 0.91 at 5 and 1.04 at 10 (`tests/bench/run --scenario relay`).
pub const WRITTEN_VIEWERS_MAX: usize = 4;
/// One block of a ring.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Room for the next read, below which a ring begins a new block.
pub const ROOM_BYTES_MIN: usize = 2048;
/// Blocks that a worker keeps to use again: 4 MiB.
pub const SPARE_BLOCKS_MAX: usize = 64;
/// Slices of a ring in one write.
pub const SLICES_MAX: usize = 8;
/// Bytes read from one upstream in one turn; what is left is read in the next.
pub const FILL_BYTES_PER_TURN_MAX: usize = 4 * 1024 * 1024;
/// Bytes written to one viewer who is catching up, in one turn.
pub const CATCH_UP_BYTES_PER_TURN_MAX: usize = 512 * 1024;
/// What is written in one turn to all viewers of a worker who are catching up, in bytes, with
/// [`CATCH_UP_CALL_BYTES`] for each call: about 3 ms, so that a storm of joins makes no live viewer
/// wait for longer. 5,000 who join take ten to twenty turns.
pub const CATCH_UP_WORK_BYTES_PER_TURN: usize = 16 * 1024 * 1024;
/// A call costs what so many bytes more would cost: 4.5 µs here, and a KiB 0.15 µs.
pub const CATCH_UP_CALL_BYTES: usize = 32 * 1024;
/// Bytes written to guests in one turn, all together: viewers wait for some milliseconds at most.
pub const GUESTS_BYTES_PER_TURN_MAX: usize = 4 * 1024 * 1024;
/// What two turns' data can raise a lag limit to, and how far one may lag who waits for our share.
pub const LAG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room asked for in the pipe between a command, file, FIFO or TLS connection and a worker.
pub const UPSTREAM_PIPE_BYTES: usize = 1024 * 1024;
/// The same in a pipe that a thread of ours writes: without root all pipes share 64 MiB (pipe(7)).
pub const PIPED_BYTES: usize = 256 * 1024;
/// Room in a pipe to another worker, below which its viewers are better served by the owner.
pub const FEED_PIPE_BYTES_MIN: usize = 64 * 1024;
/// Events taken from the kernel at once.
pub const EVENTS_MAX: usize = 1024;
/// Connections accepted in one turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 512;
/// Time between two lines in the log that connections cannot be accepted.
pub const ACCEPT_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub const BACKLOG_MAX: i32 = 4096;

/// Time in which streams send to who is live, in one turn; the others are the first in the next.
pub const SEND_LIVE_TIME_MAX: Duration = Duration::from_millis(60);

const _: () = assert!(PERIOD_MIN.as_nanos() <= PERIOD_MAX.as_nanos());
const _: () = assert!(PERIOD_MAX.as_millis() <= TURN_MILLISECONDS_MAX as u128);
const _: () = assert!(TURN_MILLISECONDS_MAX as u128 <= INTAKE_WINDOW.as_millis());
const _: () = assert!(INTAKE_BYTES_PER_TURN <= INTAKE_BYTES_PER_TURN_MAX);
const _: () = assert!(BLOCK_BYTES > 2 * ROOM_BYTES_MIN && ROOM_BYTES_MIN > PACKET_BYTES);
const _: () = assert!(SLICES_MAX * (BLOCK_BYTES - ROOM_BYTES_MIN) > TRUNK_BYTES);
const _: () = assert!(FILL_BYTES_PER_TURN_MAX <= LAG_BYTES_MAX / 2);
const _: () = assert!(CATCH_UP_BYTES_PER_TURN_MAX * 8 <= CATCH_UP_WORK_BYTES_PER_TURN);

// ---- Viewers and requests ----------------------------------------------------------------------

/// A request head.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The target in a request's first line.
pub const TARGET_BYTES_MAX: usize = 2048;
/// Header lines of a request or of an upstream's answer.
pub const HEADERS_MAX: usize = 64;
/// A PROXY protocol header in text (its specification, 2.1).
pub const PROXY_TEXT_BYTES_MAX: usize = 107;
/// A PROXY protocol header in binary. It is to fit the smallest TCP segment, 536 bytes (2), of
/// which two unix sockets take 232; names from a client's certificate may make it longer.
pub const PROXY_BINARY_BYTES_MAX: usize = 2048;
/// Proxies named by `Forwarded` or `X-Forwarded-For` that are looked at, the nearest first.
pub const FORWARDED_ELEMENTS_MAX: usize = 32;
/// Members of a `Via`: proxies, and nodes in a chain. Three tiers serve any audience there is.
pub const VIA_MEMBERS_MAX: usize = 16;
/// What is passed on of a `Via`: so many names of ours take two thirds of it.
pub const VIA_BYTES_MAX: usize = 1024;
/// What is kept of a request's `User-Agent`, for the access log.
pub const USER_AGENT_BYTES_MAX: usize = 256;
/// Time from the connection, or from the last answer, to the end of a request head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of all workers that are no viewer's: who asks, waits for an answer or is sent one.
pub const GUESTS_MAX: usize = 8192;
/// How many of them may wait for an answer, and how many may be sent one: a quarter is left for who
/// asks. So in each worker's share.
pub const SLOW_GUESTS_MAX: usize = GUESTS_MAX / 8 * 3;
/// They take a half of the descriptors that the process may have: the rest is for viewers.
pub const GUESTS_DESCRIPTORS_DIVISOR: usize = 2;
/// A worker's share of them, however few descriptors and however many workers there are.
pub const GUESTS_PER_WORKER_MIN: usize = 32;
/// Guests that go at a time when there are no descriptors to accept connections with.
pub const GUESTS_FOR_DESCRIPTORS: usize = 64;
/// Guests served in one turn; about 10 ms.
pub const GUESTS_PER_TURN_MAX: usize = 512;
/// Bodies of answers that are being sent, all together, each counted once in each worker.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A worker's share of them, however many workers there are: two that are as large as may be.
pub const BODIES_BYTES_PER_WORKER_MIN: usize = 2 * STATIC_BODY_BYTES_MAX;
/// Time for an answer that is made on another thread; a static resource may have to be fetched.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a client to take an answer: 10 MiB at 700 kbit/s.
pub const SEND_TIMEOUT: Duration = Duration::from_mins(2);
/// Requests on one connection.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 1000;
/// Answers that wait to be taken by a worker, once a turn; who makes more waits for it.
pub const ANSWERS_MAX: usize = 1024;
/// Commands of other workers that wait for one, beside the answers; more are refused.
pub const HANDED_OVER_MAX: usize = 2048;
/// How often workers tell what their viewers ask for, and connections are steered anew by it.
pub const STEER_INTERVAL: Duration = Duration::from_secs(1);
/// A stream's bitrate is measured over so long at least.
pub const METER_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// How often streams are spread over the workers anew, if that gains anything.
pub const BALANCE_INTERVAL: Duration = Duration::from_secs(5);
/// A stream moves if that relieves the busiest worker of this part of a core at least: 1 %.
pub const BALANCE_GAIN_DIVISOR: u32 = 100;
/// And of this part of all that it has to do: what a measurement errs by moves nothing to and fro.
pub const BALANCE_RELIEF_DIVISOR: u32 = 8;
/// How long a stream that has moved stays where it is.
pub const BALANCE_REST: Duration = Duration::from_mins(1);
/// Workers' loads are compared as if all had turns of this length.
pub const COMMON_PERIOD: Duration = Duration::from_millis(20);
/// A viewer's chunk costs what so many bytes more would cost: 4 µs here, and a KiB 0.08 µs.
pub const VIEWER_CHUNK_BYTES: u32 = 50 * 1024;
/// Streams that move at a time.
pub const BALANCE_MOVES_MAX: usize = 8;
/// Commands that a worker heeds in one turn; joining a stream takes some microseconds.
pub const COMMANDS_PER_TURN_MAX: usize = 1024;
/// Questions about the node that wait to be answered.
pub const DESK_JOBS_MAX: usize = 1024;
/// How long a text of all metrics is sent to those who ask on the main port: a crowd costs as one.
pub const METRICS_SHARED_FOR: Duration = Duration::from_millis(100);
/// A file that viewers get before a stream.
pub const PREAMBLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time for a client that has its answer to hang up.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes a client may send after its request head before it is cut.
pub const TALK_BYTES_MAX: usize = 64 * 1024;
/// Time in which viewers get the rest of the stream after its upstream has ended.
pub const ENDING_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for viewers to get the rest of their packet when we are told to stop, and for others to be
/// told that they are gone.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long one who is connected may still ask then. The rest of the time is for its answer.
pub const STOP_ASKING_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that a viewer's socket holds unsent before it counts as full. Without it a paused viewer
/// costs up to 4 MB of kernel memory, with it a twentieth, and a lag limit means what it says.
pub const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// Silence after which the kernel asks whether a viewer is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without answer after which a viewer is gone.
pub const KEEPALIVE_COUNT: u32 = 3;
/// How long sent bytes may stay unacknowledged before a viewer is gone.
pub const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a viewer who has ended its side stays when there is nothing to send it: with something
/// to send it turns out at once whether it listens.
pub const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the viewers of a stream who take nothing are looked at.
pub const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Window probes in a row that a paused viewer leaves unanswered before it is gone.
pub const STALL_PROBES_MAX: u8 = 3;

const _: () = assert!(TARGET_BYTES_MAX + 64 < HEAD_BYTES_MAX);
const _: () = assert!(GUESTS_PER_WORKER_MIN * WORKERS_MAX <= GUESTS_MAX);
const _: () = assert!(STATIC_BODY_BYTES_MAX <= BODIES_BYTES_PER_WORKER_MIN);
const _: () = assert!(BODIES_BYTES_PER_WORKER_MIN <= BODIES_BYTES_MAX);
const _: () = assert!(536 <= PROXY_BINARY_BYTES_MAX && PROXY_BINARY_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(2 * STALL_CHECK_INTERVAL.as_millis() <= UNACKNOWLEDGED_TIMEOUT.as_millis());

// ---- Static resources --------------------------------------------------------------------------

/// Time to fetch a static resource, where `timeout`, which is for the head alone, is not longer.
pub const STATIC_TIMEOUT: Duration = Duration::from_secs(10);
/// The same, however large `timeout` is: less than a client is kept waiting.
pub const STATIC_TIMEOUT_MAX: Duration = Duration::from_secs(25);
/// The body of a static resource, and of an upstream's error in its place.
pub const STATIC_BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Clients that wait for one static resource while it is fetched: an event's start makes thousands
/// of sets ask for the same page at once.
pub const STATIC_WAITING_MAX: usize = 2048;
/// A `Content-Type` that is passed on (RFC 6838, 4.2 allows names of 2 × 127 characters).
pub const CONTENT_TYPE_BYTES_MAX: usize = 512;
/// Tags of an `If-None-Match` that are looked at.
pub const ETAGS_MAX: usize = 64;
/// Stack of a thread that fetches a whole body: an HTTP client with TLS.
pub const FETCH_STACK_BYTES: usize = 1024 * 1024;

const _: () = assert!(STATIC_TIMEOUT_MAX.as_millis() < ANSWER_TIMEOUT.as_millis());
const _: () = assert!(STATIC_WAITING_MAX < SLOW_GUESTS_MAX && DIAL_STACK_BYTES < FETCH_STACK_BYTES);

// ---- Notifications -----------------------------------------------------------------------------

/// Crossings of the soft limit that wait until their targets are found; more are dropped.
pub const NOTIFY_CROSSINGS_MAX: usize = 1024;
/// Events that wait for one target.
pub const NOTIFY_EVENTS_MAX: usize = 64;
/// Time for a target's answer, from the name's resolution to the end of its head.
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// Times that one target is tried for one event.
pub const NOTIFY_TRIES_MAX: u32 = 4;
/// The longest pause between the first and the second try; each further pause is twice as long.
pub const NOTIFY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
pub const NOTIFY_PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long an event waits for one that came before it and goes to another address of the same
/// server.
pub const NOTIFY_ORDER_TIMEOUT: Duration = Duration::from_millis(500);

const _: () = assert!(NOTIFY_PAUSE_MIN.as_millis() <= NOTIFY_PAUSE_MAX.as_millis());
const _: () = assert!(NOTIFY_ORDER_TIMEOUT.as_millis() < NOTIFY_TIMEOUT.as_millis());
const _: () = assert!(NOTIFY_EVENTS_MAX <= NOTIFY_CROSSINGS_MAX);

// ---- Log and side port -------------------------------------------------------------------------

/// Lines of the access log that wait to be written; more are dropped and counted.
pub const ACCESS_LINES_MAX: usize = 16_384;
/// Lines of the access log about refused requests, in a second; more are one line together, so that
/// nobody fills a disk by asking in vain.
pub const REFUSED_LINES_PER_SECOND_MAX: u32 = 100;
/// Lines that wait to be written to the log; more are dropped and counted.
pub const LOG_LINES_MAX: usize = 8192;
/// Connections to the side port at a time.
pub const SIDE_CONNECTIONS_MAX: usize = 32;
/// Time for a client of the side port to send its request and to take the answer.
pub const SIDE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a node's answer to what is asked from the command line: less than health checks of
/// container runtimes take, 30 s.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of such an answer: a stream takes less than a KiB, mostly.
pub const OPERATOR_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often a node that drains is asked whether its viewers have gone.
pub const DRAIN_QUESTION_INTERVAL: Duration = Duration::from_millis(500);
/// How often rates are computed.
pub const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// For so long what an upstream sends is told as it was told last; then nothing comes.
pub const CONTENTS_FRESH_FOR: Duration = Duration::from_secs(3);
/// How often workers are asked whether their loops go round, at the least.
pub const PULSE_INTERVAL: Duration = Duration::from_secs(2);
/// The same at the most, however short a watchdog's time is.
pub const PULSE_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How often they are asked while a watchdog waits, so that two answers in a row may be late.
pub const PULSE_PER_WATCHDOG: u32 = 3;
/// How long a worker may owe its answer; its turns take milliseconds.
pub const PULSE_PATIENCE: Duration = Duration::from_secs(5);
/// Time to write what is in the log's queue when the program ends.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

const _: () = assert!(2 * RATE_INTERVAL.as_millis() < CONTENTS_FRESH_FOR.as_millis());
const _: () = assert!(METER_INTERVAL_MIN.as_millis() < STEER_INTERVAL.as_millis());
const _: () = assert!(PULSE_INTERVAL_MIN.as_millis() < PULSE_INTERVAL.as_millis());
const _: () = assert!(2 * PULSE_INTERVAL.as_millis() < PULSE_PATIENCE.as_millis());
const _: () = assert!(STOP_ASKING_TIMEOUT.as_millis() < DRAIN_TIMEOUT.as_millis());
