//! What a configuration may ask for.

use std::time::Duration;

use super::HEAD_BYTES_MAX;

/// Bytes of one transport stream packet (ISO/IEC 13818-1, 2.4.3.2).
pub const PACKET_BYTES: usize = 188;
/// A configuration file's length: thousands of streams fit.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of a configuration file; the format itself needs 5.
pub const CONFIG_DEPTH_MAX: usize = 16;
/// Errors, and warnings, of a configuration file that are shown; the rest is counted.
pub const PROBLEMS_MAX: usize = 100;
/// What a message repeats of a key, word or number in the configuration file.
pub const PROBLEM_EXCERPT_CHARACTERS_MAX: usize = 64;
/// Resources of a configuration file.
pub const RESOURCES_MAX: usize = 4096;
/// Upstreams of one stream.
pub const REMOTES_PER_STREAM_MAX: usize = 64;
/// An upstream's URL.
pub const REMOTE_BYTES_MAX: usize = 4096;
/// The path a stream is served on.
pub const SERVE_BYTES_MAX: usize = 1024;
/// A host name (RFC 1035, 2.3.4, without the root's dot).
pub const HOST_BYTES_MAX: usize = 253;
/// The path of a unix socket, without its NUL (unix(7): `sun_path` has 108 bytes).
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// What is read of `/etc/services`.
pub const SERVICES_FILE_BYTES_MAX: usize = 1024 * 1024;
/// The shortest configurable timeout that is not "none".
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// The longest configurable timeout.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// `inputbuffer` and `outputbuffer`, 188 MB.
pub const BUFFER_PACKETS_MAX: usize = 1_000_000;
/// `maxconnections`, `fullconnections` and `max_per_address`: more than any machine has.
pub const CONNECTIONS_MAX: usize = 1_000_000_000;
/// The longest configurable period of turns: a longer one saves nothing, and a viewer takes no more
/// than [`UNSENT_BYTES_MAX`] a turn when in need.
pub const TURN_MILLISECONDS_MAX: usize = 100;
/// `workers`: more threads than cores gain nothing, and few machines have more cores.
pub const WORKERS_MAX: usize = 256;
/// `mru`: the largest UDP datagram (RFC 768).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// `cache` of a static resource: a leap year.
pub const CACHE_SECONDS_MAX: usize = 366 * 24 * 60 * 60;
/// `retry_after`: a day.
pub const RETRY_AFTER_SECONDS_MAX: usize = 24 * 60 * 60;
/// Entries of `trusted_proxies`, all of which may be compared with an address.
pub const TRUSTED_PROXIES_MAX: usize = 1024;
/// Users in `userlist`, all of which a request may be compared with.
pub const USERS_MAX: usize = 4096;
/// A user's name, and a password: longer ones fit into no request head, and whatever a client shows
/// is compared with each at the width of the widest.
pub const CREDENTIAL_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// A realm, which every answer 401 repeats.
pub const REALM_BYTES_MAX: usize = 256;
/// Notifications of a configuration file.
pub const NOTIFICATIONS_MAX: usize = 64;
/// The shortest `mru`: a datagram has at least one packet.
pub const DATAGRAM_BYTES_MIN: usize = PACKET_BYTES;
/// An interface's name, without its NUL (netdevice(7): `IFNAMSIZ` is 16).
pub const INTERFACE_BYTES_MAX: usize = 15;
/// A congestion control's name, without its NUL (the kernel's `TCP_CA_NAME_MAX` is 16).
pub const CONGESTION_BYTES_MAX: usize = 15;

const _: () = assert!(HOST_BYTES_MAX < REMOTE_BYTES_MAX && SERVE_BYTES_MAX < CONFIG_FILE_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MIN < DATAGRAM_BYTES_MAX);
