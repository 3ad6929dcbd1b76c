//! Which files, system calls and capabilities a configuration needs after the start. Pure.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use restreamer_sys::confine::calls::Use;
use restreamer_sys::confine::capabilities::Capability;
use restreamer_sys::confine::files::{May, Rules};

use super::super::datagram_buffer_bytes;
use crate::config::{Config, HostPort, Remote, RemoteKind, Slate, StaticRemote, StreamConfig};
use crate::limits::{PIPED_BYTES, TRUNK_BYTES, UPSTREAM_PIPE_BYTES};

/// What the plan depends on beside the configuration.
pub(super) struct Host<'a> {
    /// What stands at a path, symbolic links followed.
    pub(super) look: &'a dyn Fn(&Path) -> Place,
    /// Where a path leads, if anywhere; a symbolic link leads to what is not there yet as well.
    pub(super) follow: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// Where the symbolic link at a path points, if there is one.
    pub(super) points: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// What there is in `/dev`.
    pub(super) devices: Vec<String>,
    /// Where files go that nobody keeps.
    pub(super) scratch: PathBuf,
    /// The file that keeps what was changed at the door, if there is to be one.
    pub(super) door_state: Option<PathBuf>,
    /// `net.core.rmem_max`, in bytes.
    pub(super) receive_buffer: Option<usize>,
    /// `net.ipv4.ip_unprivileged_port_start`: the first port that is everybody's.
    pub(super) free_port: Option<usize>,
    /// `net.ipv4.tcp_allowed_congestion_control`.
    pub(super) congestion_controls: String,
    /// `fs.pipe-user-pages-soft`; 0 is no limit.
    pub(super) pipe_pages: Option<usize>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nothing,
    Fifo,
    File,
    Directory,
    /// A device or a socket.
    Special,
}

/// What is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) uses: Vec<Use>,
    pub(super) kept: Vec<Capability>,
    /// Whether there are commands to be started.
    pub(super) commands: bool,
}

/// What resolves a name reads: `/etc` as a whole, because its files are replaced by renaming, the
/// places where others keep the `resolv.conf` that it leads to, and the C library's modules.
const NAMES: [&str; 9] = [
    "/etc",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
];

/// Devices of commands, by the beginnings of their names: what is behind them is a picture or a
/// sound, a graphics card, an encoder or a terminal, and never a disk.
const DEVICES: [&str; 22] = [
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "dvb", "video", "media",
    "v4l", "dri", "snd", "nvidia", "kfd", "blackmag", "ajantv2", "dma_heap", "mpp_", "rga",
    "vchiq",
];

/// The first port that is everybody's, unless the kernel says something else (ip(7)).
const UNPRIVILEGED_PORT: usize = 1024;

/// The plan for a configuration with so many workers.
pub(super) fn plan(config: &Config, workers: usize, host: &Host<'_>) -> Plan {
    let kinds = || config.streams.iter().flat_map(|stream| &stream.remotes).map(Remote::kind);
    let commands = kinds().any(|kind| matches!(kind, RemoteKind::Command { .. }));
    let mut rules = Rules::default();
    // Figures about this process. Its own directory there is another each time it is looked up.
    rules.paths.push(("/proc".into(), May::Read));
    // Where workers empty their pipes.
    rules.paths.push(("/dev/null".into(), May::ReadWrite));
    if needs_names(config) {
        rules.paths.extend(NAMES.map(|path| (path.into(), May::Read)));
        // Who keeps the file may be started after us.
        let leads = (host.follow)(Path::new("/etc/resolv.conf"));
        let elsewhere = leads.as_deref().and_then(|target| directory(target, host));
        rules.paths.extend(elsewhere.map(|path| (path.into(), May::Read)));
    }
    for kind in kinds() {
        allow_upstream(kind, host, &mut rules);
    }
    for stream in &config.streams {
        // Opened each time it is played.
        if let Some(Slate::File(path)) = &stream.slate {
            allow_around(path, May::Read, host, &mut rules);
        }
    }
    for of in &config.statics {
        if let StaticRemote::File(path) = &of.remote {
            allow_around(path, May::Read, host, &mut rules);
        }
    }
    if let Some(path) = &config.log {
        allow_log(path, host, &mut rules);
    }
    if let Some(path) = &host.door_state {
        allow_state(path, host, &mut rules);
    }
    if commands {
        allow_commands(host, &mut rules);
    }
    rules.paths.sort();
    rules.paths.dedup();
    let mut uses = Vec::new();
    if kinds().any(|kind| matches!(kind, RemoteKind::UnixDatagram(_))) {
        uses.push(Use::SocketFiles);
    }
    if config.pin_workers {
        uses.push(Use::Pinning);
    }
    if config.door.is_some() {
        uses.push(Use::Maps);
    }
    if workers > 1 && config.door.as_ref().is_some_and(|door| door.steer) {
        uses.push(Use::ListeningAgain);
    }
    if host.door_state.is_some() {
        uses.push(Use::ReplacedFiles);
    }
    Plan { rules, uses, kept: capabilities(config, workers, host), commands }
}

/// Whether any name is ever to be resolved. Who answers by HTTP may lead elsewhere, to any name.
fn needs_names(config: &Config) -> bool {
    let is_name = |at: &HostPort| at.host.parse::<IpAddr>().is_err();
    let mut kinds = config.streams.iter().flat_map(|stream| &stream.remotes).map(Remote::kind);
    let by_upstream = kinds.any(|kind| match kind {
        RemoteKind::Http(_) => true,
        RemoteKind::Tcp(at) => is_name(at),
        RemoteKind::Udp(of) | RemoteKind::Rtp(of) => is_name(&of.address),
        _ => false,
    });
    let mut statics = config.statics.iter();
    let by_static = statics.any(|of| matches!(of.remote, StaticRemote::Web(_)));
    by_upstream || by_static || !config.notifications.is_empty()
}

fn allow_upstream(kind: &RemoteKind, host: &Host<'_>, rules: &mut Rules) {
    match kind {
        RemoteKind::File(path) => {
            // A FIFO is opened for writing as well. What is not there yet may become one.
            let may = match (host.look)(path) {
                Place::Fifo | Place::Nothing => May::ReadWrite,
                _ => May::Read,
            };
            allow_around(path, may, host, rules);
        }
        RemoteKind::UnixDatagram(path) => allow_around(path, May::MakeSockets, host, rules),
        // To connect to a socket is not a matter of files to Landlock, nor is any other.
        _ => {}
    }
}

/// Allows what stands in the directory of `path`, for what stands at `path` may be replaced, and
/// in the one that a symbolic link there leads to.
fn allow_around(path: &Path, may: May, host: &Host<'_>, rules: &mut Rules) {
    let target = (host.follow)(path);
    let beside = target.as_deref().and_then(|target| directory(target, host));
    let both = directory(path, host).into_iter().chain(beside);
    rules.paths.extend(both.map(|path| (path.to_owned(), may)));
    // What is written stays where it is.
    if may == May::Read {
        allow_releases(path, host, rules);
    }
}

/// Allows to read what is beside a directory that a symbolic link on the way leads to, and beside
/// that link: files are published by having a link lead to their next release.
fn allow_releases(path: &Path, host: &Host<'_>, rules: &mut Rules) {
    for link in path.ancestors().skip(1) {
        let Some(target) = (host.points)(link) else { continue };
        let places = [link, &target].into_iter().filter_map(|path| directory(path, host));
        // Links that every system has, such as /lib, stand below the root, which is all there is.
        let places = places.filter(|place| place.parent().is_some());
        rules.paths.extend(places.map(|place| (place.to_owned(), May::Read)));
    }
}

/// The directory of `path`; for one that is not there yet the next one above it stands. The root
/// stands for none: that would allow everything there is, for a path that may be a mistake.
fn directory<'a>(path: &'a Path, host: &Host<'_>) -> Option<&'a Path> {
    let above = path.ancestors().skip(1).find(|path| (host.look)(path) == Place::Directory)?;
    (above.parent().is_some() || path.parent() == Some(above)).then_some(above)
}

/// A log file is made anew when it was renamed. What leads to our own descriptors is not.
fn allow_log(path: &Path, host: &Host<'_>, rules: &mut Rules) {
    let stays = ["/dev", "/proc"].iter().any(|kernels| path.starts_with(kernels));
    if stays || !matches!((host.look)(path), Place::File | Place::Nothing) {
        rules.paths.extend((host.follow)(path).map(|path| (path, May::Append)));
    } else {
        allow_around(path, May::Append, host, rules);
    }
}

/// The state file is written beside its place and renamed to it, by which a symbolic link there is
/// replaced as well. A directory that is not there is not made, and the one above it is others'.
fn allow_state(path: &Path, host: &Host<'_>, rules: &mut Rules) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if (host.look)(folder) == Place::Directory {
        rules.paths.push((folder.to_owned(), May::Replace));
    }
}

/// Commands are anything: they may read and execute all that their user may, and write where
/// nothing is kept. They may listen, as encoders do that are pushed to.
fn allow_commands(host: &Host<'_>, rules: &mut Rules) {
    rules.paths.push(("/".into(), May::Execute));
    for path in ["/tmp", "/var/tmp", "/dev/shm"] {
        rules.paths.push((path.into(), May::Everything));
    }
    rules.paths.push((host.scratch.clone(), May::Everything));
    let known = host.devices.iter().filter(|name| DEVICES.iter().any(|of| name.starts_with(of)));
    rules.paths.extend(known.map(|name| (Path::new("/dev").join(name), May::Device)));
    rules.binds_tcp = true;
    rules.abstract_sockets = true;
}

/// What goes on to be needed, from who has it: nobody is the worse for having been root.
fn capabilities(config: &Config, workers: usize, host: &Host<'_>) -> Vec<Capability> {
    let mut kept = Vec::new();
    if binds_others_port(config, host) {
        kept.push(Capability::NetBindService);
    }
    let mut controls = config.streams.iter().filter_map(|stream| stream.congestion.as_deref());
    let allowed = |name| host.congestion_controls.split_whitespace().any(|one| one == name);
    if exceeds_buffer(config, host) || controls.any(|name| !allowed(name)) {
        kept.push(Capability::NetAdmin);
    }
    // All pipes of the user share the limit. Half of it is for others.
    let room = host.pipe_pages.filter(|&pages| pages > 0).map(|pages| pages / 2);
    if room.is_some_and(|room| pipe_pages(config, workers) > room) {
        kept.push(Capability::SysResource);
    }
    kept
}

/// Whether datagrams are received at a port that is not everybody's, which is bound with each
/// attempt.
fn binds_others_port(config: &Config, host: &Host<'_>) -> bool {
    let mut kinds = config.streams.iter().flat_map(|stream| &stream.remotes).map(Remote::kind);
    let first = host.free_port.unwrap_or(UNPRIVILEGED_PORT);
    kinds.any(|kind| match kind {
        RemoteKind::Udp(of) | RemoteKind::Rtp(of) => usize::from(of.address.port) < first,
        _ => false,
    })
}

/// Whether datagrams are to have more room than everybody may ask for.
fn exceeds_buffer(config: &Config, host: &Host<'_>) -> bool {
    let mut kinds = config.streams.iter().flat_map(|stream| &stream.remotes).map(Remote::kind);
    let datagrams = kinds.any(|kind| {
        use RemoteKind::{Rtp, Udp, UnixDatagram};
        matches!(kind, Udp(_) | Rtp(_) | UnixDatagram(_))
    });
    let wanted = datagram_buffer_bytes(config);
    datagrams && host.receive_buffer.is_none_or(|granted| granted < wanted)
}

/// Pages of all pipes that there may be at a time.
fn pipe_pages(config: &Config, workers: usize) -> usize {
    const PAGE_BYTES: usize = 4096;
    let of_stream = |stream: &StreamConfig| {
        let largest = stream.remotes.iter().map(|remote| pipe_bytes(remote.kind())).max();
        let slate = stream.slate.as_ref().map_or(0, |_| PIPED_BYTES);
        let feeds = if stream.hot { (workers - 1) * UPSTREAM_PIPE_BYTES } else { 0 };
        largest.unwrap_or(0) + slate + feeds
    };
    let streams: usize = config.streams.iter().map(of_stream).sum();
    (workers * 2 * TRUNK_BYTES + streams) / PAGE_BYTES
}

/// The pipe that an upstream is read from.
fn pipe_bytes(kind: &RemoteKind) -> usize {
    match kind {
        RemoteKind::File(_) | RemoteKind::Command { .. } => UPSTREAM_PIPE_BYTES,
        // An `http` one may lead to an `https` one.
        RemoteKind::Http(_) | RemoteKind::Sample => PIPED_BYTES,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
