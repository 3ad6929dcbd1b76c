//! Memory that returns to the system the moment it is let go of, and how much there is.

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::{Advice, MmapMut};
use nix::sys::sysinfo::sysinfo;

/// Pages of our own, zero at first (mmap(2), anonymous and private).
///
/// The allocator keeps what is freed to it, or returns it only from the top of its heap. Dropping
/// these unmaps them. A page takes memory once it is written to.
#[derive(Debug)]
pub struct Pages(MmapMut);

impl Pages {
    /// Maps `bytes`, at least one.
    pub fn map(bytes: usize) -> io::Result<Pages> {
        let pages = MmapMut::map_anon(bytes)?;
        // Neighbouring mappings merge, and a huge page over several of them would stay for as long
        // as one of them does. A kernel that has no huge pages refuses, and need not be told.
        let _without = pages.advise(Advice::NoHugePage);
        Ok(Pages(pages))
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The bytes of memory that this process may have: the machine's, or what its control groups allow
/// if that is less. Where groups cannot be read, there are none.
pub fn available() -> io::Result<u64> {
    let all = sysinfo()?.ram_total();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Ok(least_of(&groups, Path::new("/sys/fs/cgroup")).map_or(all, |least| least.min(all)))
}

/// The least limit of `groups`, which are as in cgroups(7), and of those that they are in. One that
/// has a hierarchy of its own (as in a container) finds itself at the top.
fn least_of(groups: &str, mount: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or("-"), fields.next().unwrap_or("/"));
        let (folder, file) = match controllers {
            "" => ("", "memory.max"),
            of if of.split(',').any(|one| one == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        let read = |group: &Path| fs::read_to_string(mount.join(folder).join(group).join(file));
        path.ancestors().filter_map(|group| read(group).ok()).collect()
    });
    // Without a limit it is `max`, or more than there is anywhere.
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let mount = tempfile::tempdir().unwrap();
        let write = |group: &str, limit: &str| {
            let file = mount.path().join(group);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, limit).unwrap();
        };
        let least = |groups: &str| least_of(groups, mount.path());
        assert_eq!((least(""), least("0::/a/b\n"), least("junk\n:\n")), (None, None, None));
        write("a/b/memory.max", "max\n");
        assert_eq!(least("0::/a/b\n"), None);
        write("a/memory.max", "4096000\n");
        assert_eq!((least("0::/a/b\n"), least("0::/a\n")), (Some(4_096_000), Some(4_096_000)));
        assert_eq!(least("0::/\n"), None);
        write("memory.max", "8192000\n");
        assert_eq!(least("0::/not/to/be/seen\n"), Some(8_192_000), "the container's own");
        write("memory/x/memory.limit_in_bytes", "1024000\n");
        assert_eq!(least("3:cpu:/x\n4:cpu,memory:/x\n0::/a\n"), Some(1_024_000));
    }

    #[test]
    fn there_is_memory() {
        assert!(available().unwrap() > 1 << 20);
    }

    #[test]
    fn pages_are_zero_and_ours() {
        let (mut one, two) = (Pages::map(65_536).unwrap(), Pages::map(65_536).unwrap());
        assert!(one.len() == 65_536 && one.iter().all(|&byte| byte == 0));
        one.fill(7);
        assert!(one.iter().all(|&byte| byte == 7) && two.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        assert!(Pages::map(usize::MAX / 4).is_err());
    }
}
