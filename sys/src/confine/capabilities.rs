//! Capabilities, and that none is gained (capabilities(7)).

use std::collections::HashSet;
use std::io;

use caps::CapSet;
use caps::errors::CapsError;

/// A capability that may be needed after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Ports below `net.ipv4.ip_unprivileged_port_start`.
    NetBindService,
    /// Receive buffers beyond `net.core.rmem_max`, congestion controls that not everybody may use.
    NetAdmin,
    /// Pipes beyond `pipe-user-pages-soft`.
    SysResource,
}

impl Capability {
    /// Its name, as the manual writes it.
    pub fn name(self) -> &'static str {
        match self {
            Capability::NetBindService => "CAP_NET_BIND_SERVICE",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::SysResource => "CAP_SYS_RESOURCE",
        }
    }

    fn bare(self) -> caps::Capability {
        match self {
            Capability::NetBindService => caps::Capability::CAP_NET_BIND_SERVICE,
            Capability::NetAdmin => caps::Capability::CAP_NET_ADMIN,
            Capability::SysResource => caps::Capability::CAP_SYS_RESOURCE,
        }
    }
}

/// No program that is executed from now on gains what its file would give it: a user, a group, a
/// capability (`PR_SET_NO_NEW_PRIVS`). Filters and Landlock rules take it, too, without privilege.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Drops every capability of the calling thread but these, as far as it has them; answers which of
/// them it has.
///
/// What is kept is for this program alone: the bounding, inheritable and ambient sets are emptied,
/// so that nothing that is executed has any, not even as root. Only who has `CAP_SETPCAP` may empty
/// the bounding set; for others it stays, and has nothing to bound once no privilege can be gained.
pub fn keep_only(kept: &[Capability]) -> io::Result<Vec<Capability>> {
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(other)? {
        caps::clear(None, CapSet::Bounding).map_err(other)?;
    }
    narrow(CapSet::Ambient, &HashSet::new())?;
    narrow(CapSet::Inheritable, &HashSet::new())?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(other)?;
    let kept: Vec<_> =
        kept.iter().copied().filter(|kept| permitted.contains(&kept.bare())).collect();
    let set: HashSet<_> = kept.iter().map(|kept| kept.bare()).collect();
    // What is not permitted cannot be in effect.
    narrow(CapSet::Effective, &set)?;
    narrow(CapSet::Permitted, &set)?;
    Ok(kept)
}

/// Makes a set what it is to be. One that is so already is left alone: who has taken everything
/// from us, such as systemd, may refuse the call as well.
fn narrow(which: CapSet, to: &HashSet<caps::Capability>) -> io::Result<()> {
    if caps::read(None, which).map_err(other)? == *to {
        return Ok(());
    }
    caps::set(None, which, to).map_err(other)
}

fn other(error: CapsError) -> io::Error {
    io::Error::other(error)
}
