//! Memory that returns to the system the moment it is let go of.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

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

#[cfg(test)]
mod tests {
    use super::*;

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
