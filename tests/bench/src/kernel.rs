//! What the kernel says of itself: memory of sockets, connections it has turned away; and what it
//! is told: sysctls, which are as they were when the measurement is over.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::figures::float;

/// `/proc/net/sockstat` counts memory in pages, of this size on the machines that matter here.
const PAGE_BYTES: u64 = 4096;
/// Time between two looks: no multiple or part of a turn.
const LOOK: Duration = Duration::from_millis(97);

/// One look. Memory is the whole machine's, of both ends of a connection within it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// What counts against `net.ipv4.tcp_mem`.
    tcp_bytes: u64,
    /// Sockets themselves are in it, and all other objects of the kernel.
    slab_bytes: u64,
    /// Connections that found a listener's queue full.
    overflows: u64,
}

impl Sample {
    pub(crate) fn take() -> io::Result<Sample> {
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let tcp = fs::read_to_string("/proc/net/netstat")?;
        Sample::of(&sockets, &memory, &tcp)
            .ok_or_else(|| io::Error::other("the kernel tells nothing of its sockets"))
    }

    fn of(sockets: &str, memory: &str, tcp: &str) -> Option<Sample> {
        let of_tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let pages: u64 = of_tcp.split_once(" mem ")?.1.split(' ').next()?.parse().ok()?;
        let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:"))?;
        let kib: u64 = slab.split_whitespace().next()?.parse().ok()?;
        let mut extended = tcp.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, values) = (extended.next()?, extended.next()?);
        let mut counters = names.split_whitespace().zip(values.split_whitespace());
        let overflows = counters.find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()?;
        Some(Sample { tcp_bytes: pages * PAGE_BYTES, slab_bytes: kib * 1024, overflows })
    }
}

/// What a subject cost the kernel, beyond what there was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) tcp_mean_mb: f64,
    pub(crate) tcp_max_mb: f64,
    pub(crate) slab_mb: f64,
    /// From the beginning to the window's end.
    pub(crate) overflows: u64,
}

impl Kernel {
    /// Looks at it for so long.
    pub(crate) fn watch(before: Sample, length: Duration) -> io::Result<Kernel> {
        let deadline = Instant::now() + length;
        let mut samples = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Kernel::of(before, &samples));
            }
            std::thread::sleep(left.min(LOOK));
            samples.push(Sample::take()?);
        }
    }

    fn of(before: Sample, samples: &[Sample]) -> Kernel {
        let megabytes = |bytes: u64, before: u64| float(bytes.saturating_sub(before)) / 1e6;
        let count = samples.len().max(1) as u64;
        let tcp = samples.iter().map(|sample| sample.tcp_bytes);
        let last = samples.last().copied().unwrap_or(before);
        Kernel {
            tcp_mean_mb: megabytes(tcp.clone().sum::<u64>() / count, before.tcp_bytes),
            tcp_max_mb: megabytes(tcp.max().unwrap_or_default(), before.tcp_bytes),
            slab_mb: megabytes(last.slab_bytes, before.slab_bytes),
            overflows: last.overflows - before.overflows,
        }
    }
}

/// A sysctl that is changed until it is dropped.
#[derive(Debug)]
pub(crate) struct Sysctl {
    file: PathBuf,
    before: String,
}

impl Sysctl {
    /// `name` is a path below `/proc/sys`. One that cannot be written is an error, and as it was.
    pub(crate) fn set(name: &str, value: &str) -> io::Result<Sysctl> {
        let file = PathBuf::from("/proc/sys").join(name);
        let told = |error: io::Error| io::Error::other(format!("{name}: {error}"));
        let before = fs::read_to_string(&file).map_err(told)?;
        fs::write(&file, value).map_err(told)?;
        Ok(Sysctl { file, before })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.file, &self.before) {
            eprintln!("{} is not as it was: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let sockets = "sockets: used 11\nTCP: inuse 1 orphan 0 tw 18 alloc 1 mem 152\n\
                       UDP: inuse 0 mem 180\n";
        let tcp =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: A\n";
        let sample = Sample::of(sockets, "MemTotal: 9 kB\nSlab:     70 kB\n", tcp).unwrap();
        let Sample { tcp_bytes, slab_bytes, overflows } = sample;
        assert_eq!((tcp_bytes, slab_bytes, overflows), (152 * 4096, 71_680, 22));
        assert!(Sample::of("", "", "").is_none());
        Sample::take().unwrap();
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let before = Sample { tcp_bytes: 1_000_000, slab_bytes: 5, overflows: 7 };
        let at = |tcp_bytes| Sample { tcp_bytes, slab_bytes: 2_000_005, overflows: 9 };
        let kernel = Kernel::of(before, &[at(3_000_000), at(5_000_000)]);
        let expected = Kernel { tcp_mean_mb: 3.0, tcp_max_mb: 4.0, slab_mb: 2.0, overflows: 2 };
        assert_eq!(kernel, expected);
        assert_eq!(Kernel::of(before, &[]), Kernel { tcp_max_mb: 0.0, ..Kernel::default() });
    }

    #[test]
    fn a_sysctl_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("knob");
        fs::write(&file, "4096\n").unwrap();
        // An absolute path takes the place of /proc/sys.
        let guard = Sysctl::set(file.to_str().unwrap(), "128").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "128");
        drop(guard);
        assert_eq!(fs::read_to_string(&file).unwrap(), "4096\n");
        let error = Sysctl::set("no/such/knob", "1").unwrap_err().to_string();
        assert!(error.starts_with("no/such/knob: "), "{error}");
    }
}
