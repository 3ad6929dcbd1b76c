//! Resource limits of the process.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one; answers the limit then in force.
pub fn raise_open_files() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Whether a call failed because the process, or the system, has no more descriptors.
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    #[test]
    fn want_of_descriptors_is_told_from_others() {
        for (errno, is_it) in [
            (super::Errno::EMFILE, true),
            (super::Errno::ENFILE, true),
            (super::Errno::ENOMEM, false),
            (super::Errno::EAGAIN, false),
        ] {
            assert_eq!(super::is_out_of_descriptors(&errno.into()), is_it, "{errno}");
        }
        assert!(!super::is_out_of_descriptors(&std::io::Error::other("none of the kernel's")));
    }

    #[test]
    fn soft_becomes_hard() {
        let limit = super::raise_open_files().unwrap();
        let (soft, hard) = super::getrlimit(super::Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, hard), (limit, limit));
    }
}
