//! The door's programs in the kernel: who may come in, and to which worker.
//!
//! Owns the programs and what they know: rules about networks, the times of sources, counters, the
//! workers' loads and listening sockets. Nothing is pinned: programs and maps are gone with the
//! last descriptor and the last socket that they are attached to. Never decides what the rules are.
//!
//! To load takes `CAP_BPF`; what is done later needs no capability from Linux 5.19 on, where
//! `kernel.unprivileged_bpf_disabled` is about making maps and programs alone (`__sys_bpf` in
//! `kernel/bpf/syscall.c`).
//!
//! The sources are in `sys/bpf`, with what was built from them.

mod refusal;
mod steering;

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError};
use aya::programs::sk_reuseport::SkReuseportError;
use aya::programs::socket_filter::SocketFilterError;
use aya::programs::{ProgramError, SocketFilter};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use caps::CapSet;
use nix::time::{ClockId, clock_gettime};

use refusal::told;
pub use steering::{ADDRESSES, NOBODY, Steering, WORKERS};

/// The program that admits connections.
const ADMIT: &str = "admit";

/// What was built from `sys/bpf/door.bpf.c`.
const PROGRAMS: &[u8] = include_bytes!("../bpf/door.bpf.o");

/// The first Linux on which a node that has given up its capabilities can change its maps.
const LINUX: (u32, u32) = (5, 19);

/// How many new connections a source may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next, in the long run.
    pub interval: Duration,
    /// At once, at least 1.
    pub burst: u32,
}

/// What is fixed when the programs are loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For sources that no rule is about; `None`: as many as they like.
    pub rate: Option<Rate>,
    /// How many leading bits of an IPv4 address make a source, at most 32.
    pub source_bits_v4: u8,
    /// The same of an IPv6 address, at most 128.
    pub source_bits_v6: u8,
    /// Room for so many rules.
    pub rules: u32,
    /// Room for so many sources; who has not come for longest is forgotten for who comes.
    pub sources: u32,
    /// Workers among whom connections may be steered, at most [`WORKERS`].
    pub workers: u32,
}

/// A network of IPv6 addresses, or one of IPv4 addresses as a part of `::ffff:0:0/96` (RFC 4291,
/// section 2.5.5.2). A network that holds all of that and more holds no address of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address of it.
    pub address: Ipv6Addr,
    /// The length of its prefix, at most 128.
    pub bits: u8,
}

/// All addresses of IPv4.
const IPV4: Network = Network { address: Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), bits: 96 };

/// What the kernel is told of them while nobody says anything: a rule about `::/0`, or about
/// another network with such a beginning, would be one about them too.
const UNSAID: u64 = 2;

impl Network {
    fn key(self) -> Key<[u8; 16]> {
        Key::new(self.bits.into(), self.address.octets())
    }
}

/// What becomes of those whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They come in, at whatever rate.
    Allow,
    /// They get no answer.
    Deny,
}

impl Verdict {
    fn word(self) -> u64 {
        match self {
            Verdict::Allow => 0,
            Verdict::Deny => 1,
        }
    }
}

/// What was counted since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were let in.
    pub admitted: u64,
    /// Attempts that a rule has denied.
    pub denied: u64,
    /// Attempts beyond a source's rate.
    pub over_rate: u64,
    /// Sources that were entered.
    pub sources: u64,
    /// Connections for which a worker was chosen.
    pub steered: u64,
    /// Connections that went from a closed listening socket to another one.
    pub migrated: u64,
}

/// The order of [`Counts`] in the kernel.
type CountWords = [u64; 6];
/// A rule in the kernel: its hits and its verdict.
type RuleWords = [u64; 2];

/// Why the programs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The process lacks the capability.
    #[error("CAP_BPF is missing")]
    Capability,
    /// The kernel is too old.
    #[error("Linux {major}.{minor} or later is needed, this is {release}",
        major = LINUX.0, minor = LINUX.1)]
    Old {
        /// What it says it is.
        release: String,
    },
    /// A map cannot be made, or the object makes no sense to the loader.
    #[error("{0}")]
    Object(String),
    /// A program is refused.
    #[error("{program}: {error}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel says, with the end of what its verifier says.
        error: String,
    },
    /// The process has the capability, and may not all the same: so says a filter of its system
    /// calls, or the namespace that it has the capability in is not the first one.
    #[error("the kernel permits no bpf call: {0}")]
    Denied(String),
    /// The kernel does not say what it is.
    #[error(transparent)]
    Kernel(#[from] io::Error),
}

/// The programs, loaded.
pub struct Door {
    programs: Ebpf,
    rules: LpmTrie<MapData, [u8; 16], RuleWords>,
    sources: HashMap<MapData, [u8; 16], u64>,
    counts: Array<MapData, CountWords>,
    /// For so many sources.
    room: usize,
}

// The loader's maps say nothing of themselves.
impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("programs", &self.programs).finish_non_exhaustive()
    }
}

impl Door {
    /// Loads what admits connections. It has no effect before it is attached.
    pub fn load(settings: &Settings) -> Result<Door, LoadError> {
        check()?;
        let mut door = load(PROGRAMS, settings)?;
        door.remove(IPV4)?;
        Ok(door)
    }

    /// Has a listening socket admit by the rules and the rate. Connections that are accepted from
    /// it are born with the filter: see [`detach`].
    pub fn attach(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let program = self.programs.program(ADMIT).ok_or_else(missing)?;
        let program: &SocketFilter = program.try_into().map_err(of_program)?;
        program.attach(listener).map_err(of_program)
    }

    /// Adds a rule, or changes the one about the same network, whose hits are then zero.
    pub fn set(&mut self, network: Network, verdict: Verdict) -> io::Result<()> {
        self.rules.insert(&network.key(), [0, verdict.word()], 0).map_err(of_map)
    }

    /// Removes the rule about exactly this network; one that is not there is no error.
    pub fn remove(&mut self, network: Network) -> io::Result<()> {
        if network == IPV4 {
            return self.rules.insert(&network.key(), [0, UNSAID], 0).map_err(of_map);
        }
        match self.rules.remove(&network.key()).map_err(of_map) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Connections that the rule about this network has decided about since it was set.
    pub fn hits(&self, network: Network) -> io::Result<u64> {
        // The longest prefix that is not longer: this network's own, where it has a rule.
        match self.rules.get(&network.key(), 0).map_err(of_map)? {
            [_, UNSAID] => Err(missing()),
            [hits, _] => Ok(hits),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> io::Result<Counts> {
        let words = self.counts.get(&0, 0).map_err(of_map)?;
        let [admitted, denied, over_rate, sources, steered, migrated] = words;
        Ok(Counts { admitted, denied, over_rate, sources, steered, migrated })
    }

    /// Forgets sources that have been within their rate for so long: they are as good as new.
    /// Answers how many are left. A call or two for each source, and no more of them than there is
    /// room for: while others come, some that were seen may be seen again.
    pub fn forget_idle(&mut self, idle: Duration) -> io::Result<usize> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let before = now.saturating_sub(idle).as_nanos();
        let mut left = 0;
        let mut forgotten = Vec::new();
        for entry in self.sources.iter().take(self.room) {
            let (source, due) = entry.map_err(of_map)?;
            if u128::from(due) < before { forgotten.push(source) } else { left += 1 }
        }
        for source in forgotten {
            match self.sources.remove(&source).map_err(of_map) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(left)
    }
}

/// Takes the filter from a socket, if it has one: from a connection that was accepted, which has
/// nothing more to be asked, and from a listening socket that somebody else goes on with.
pub fn detach(socket: BorrowedFd<'_>) -> io::Result<()> {
    match SocketFilter::detach(socket.as_fd()).map_err(of_program) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is any use in trying.
fn check() -> Result<(), LoadError> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability);
    let may = has(caps::Capability::CAP_BPF)
        .and_then(|bpf| Ok(bpf || has(caps::Capability::CAP_SYS_ADMIN)?));
    if !may.map_err(io::Error::other)? {
        return Err(LoadError::Capability);
    }
    let of_kernel = nix::sys::utsname::uname().map_err(io::Error::from)?;
    let release = of_kernel.release().to_string_lossy().into_owned();
    if version(&release).is_some_and(|version| version < LINUX) {
        return Err(LoadError::Old { release });
    }
    Ok(())
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn load(object: &[u8], settings: &Settings) -> Result<Door, LoadError> {
    let (interval, tolerance) = settings.rate.map_or((0, 0), words);
    let mask_v4 = leading(settings.source_bits_v4, u32::BITS, u32::MAX.into()).to_be_bytes();
    let mask_v6 = leading(settings.source_bits_v6, u128::BITS, u128::MAX).to_be_bytes();
    let (_, mask_v4) = mask_v4.split_last_chunk::<4>().expect("16 bytes");
    let mut loader = EbpfLoader::new();
    loader
        // The kernel's own types, which no program of ours looks at.
        .btf(None)
        .verifier_log_level(VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS)
        .override_global("interval", &interval, true)
        .override_global("tolerance", &tolerance, true)
        .override_global("source_mask_v4", mask_v4, true)
        .override_global("source_mask_v6", &mask_v6, true)
        .override_global("workers", &settings.workers, true)
        // One more is about those of IPv4.
        .map_max_entries("rules", settings.rules.saturating_add(1))
        .map_max_entries("sources", settings.sources)
        .map_max_entries("listeners", steering::places(settings.workers));
    let mut programs = loader.load(object).map_err(|error| {
        let said = told(&error);
        if is_denied(&error) { LoadError::Denied(said) } else { LoadError::Object(said) }
    })?;
    let refused = |error| LoadError::Program { program: ADMIT, error: told(&error) };
    let admit = programs.program_mut(ADMIT).ok_or_else(|| no_part(ADMIT))?;
    let admit: &mut SocketFilter = admit.try_into().map_err(refused)?;
    admit.load().map_err(refused)?;
    let rules = LpmTrie::try_from(take(&mut programs, "rules")?).map_err(|error| unfit(&error))?;
    let sources =
        HashMap::try_from(take(&mut programs, "sources")?).map_err(|error| unfit(&error))?;
    let counts = Array::try_from(take(&mut programs, "counts")?).map_err(|error| unfit(&error))?;
    let room = usize::try_from(settings.sources).unwrap_or(usize::MAX);
    Ok(Door { programs, rules, sources, counts, room })
}

/// A rate as the programs have it: the interval, and how far ahead of it a source may be, in
/// nanoseconds.
fn words(rate: Rate) -> (u64, u64) {
    let interval = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    (interval, interval.saturating_mul(rate.burst.saturating_sub(1).into()))
}

/// The first `bits` of a word of `length` bits, all of which are `ones`.
fn leading(bits: u8, length: u32, ones: u128) -> u128 {
    let rest = length.saturating_sub(bits.into());
    ones.checked_shl(rest).unwrap_or(0) & ones
}

fn take(programs: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    programs.take_map(name).ok_or_else(|| no_part(name))
}

fn no_part(name: &'static str) -> LoadError {
    LoadError::Object(format!("the object has no {name}"))
}

fn unfit(error: &MapError) -> LoadError {
    LoadError::Object(told(error))
}

/// Whether an error comes from a call that is not permitted.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let of_kernel = error.downcast_ref::<io::Error>();
        of_kernel.and_then(io::Error::raw_os_error) == Some(libc::EPERM)
    })
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// What the kernel has said, without the words of the loader.
fn of_map(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(SyscallError { io_error, .. }) => io_error,
        MapError::KeyNotFound => missing(),
        error => io::Error::other(error),
    }
}

fn of_program(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SocketFilterError(SocketFilterError::SetsockoptError {
            io_error, ..
        })
        | ProgramError::SkReuseportError(SkReuseportError::SetsockoptError { io_error, .. }) => {
            io_error
        }
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
