//! The cores that threads run on.

use std::io;
use std::sync::OnceLock;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, as the calls below have it.
const SELF: Pid = Pid::from_raw(0);
/// The cores of the first thread that was pinned, before it was.
static BEFORE: OnceLock<CpuSet> = OnceLock::new();

/// The cores that the calling thread may use, by the kernel's numbers, ascending; at least one.
///
/// Asked before anything is pinned, these are the process's (`taskset`, a container's `cpuset`,
/// systemd's `CPUAffinity=`). A share of the cores' time (`cpu.max` of a control group) is no
/// affinity: `std::thread::available_parallelism` counts with it. A kernel that is made for more
/// than 1024 cores is an error, `EINVAL`.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(SELF)?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect())
}

/// Keeps the calling thread on one core; `EINVAL` where there is none of this number, or not for us
/// (a `cpuset`, which is all that keeps a thread from widening its affinity).
///
/// Threads that it starts from then on are pinned there as well (`sched_setaffinity(2)`), unless
/// they [roam](roam).
pub fn pin(core: usize) -> io::Result<()> {
    let before = sched_getaffinity(SELF)?;
    BEFORE.get_or_init(|| before);
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(SELF, &set)?)
}

/// Lets the calling thread, which a pinned one has started, use all the cores that there were
/// before the first was pinned. Where the kernel does not allow that any more, it stays.
pub fn roam() {
    if let Some(before) = BEFORE.get() {
        let _stays = sched_setaffinity(SELF, before);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sched::sched_getcpu;

    use super::*;

    /// Pinning lasts as long as the thread.
    fn apart<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(f).join().unwrap())
    }

    #[test]
    fn cores_are_those_that_the_standard_library_counts() {
        let cores = cores().unwrap();
        assert!(cores.is_sorted_by(|a, b| a < b), "{cores:?}");
        // A quota may make it count fewer.
        let counted = thread::available_parallelism().unwrap().get();
        assert!(counted <= cores.len(), "{counted} of {cores:?}");
    }

    #[test]
    fn a_pinned_thread_runs_where_it_was_told_and_nobody_else_is_moved() {
        let before = cores().unwrap();
        for &core in &before {
            apart(|| {
                pin(core).unwrap();
                assert_eq!((cores().unwrap(), sched_getcpu().unwrap()), (vec![core], core));
                let child = thread::spawn(cores).join().unwrap();
                assert_eq!(child.unwrap(), [core], "what it starts is pinned as well");
            });
        }
        assert_eq!(cores().unwrap(), before);
    }

    #[test]
    fn a_pinned_thread_can_be_moved() {
        let all = cores().unwrap();
        apart(|| {
            for &core in &all {
                pin(core).unwrap();
                assert_eq!(sched_getcpu().unwrap(), core);
            }
        });
    }

    #[test]
    fn a_core_that_does_not_exist_is_an_error_and_changes_nothing() {
        let before = cores().unwrap();
        for core in [CpuSet::count() - 1, CpuSet::count(), usize::MAX] {
            let error = apart(|| {
                let error = pin(core).unwrap_err();
                assert_eq!(cores().unwrap(), before);
                error
            });
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{core}: {error}");
        }
    }

    #[test]
    fn a_thread_that_a_pinned_one_starts_may_roam() {
        let all = cores().unwrap();
        apart(|| {
            pin(all[0]).unwrap();
            let inherited = apart(|| cores().unwrap());
            let roaming = apart(|| {
                roam();
                cores().unwrap()
            });
            assert_eq!((inherited, roaming), (vec![all[0]], all.clone()));
        });
    }
}
