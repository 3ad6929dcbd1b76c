//! Which files there are for us (landlock(7)), as far as the kernel can tell.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope, make_bitflags,
};

/// The newest interface whose rights are asked for: what later ones restrict was not tried.
const NEWEST: ABI = ABI::V7;

/// What may be done to a file, or to what is beneath a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum May {
    /// Read it.
    Read,
    /// Read and write what is there.
    ReadWrite,
    /// Write to files, and make them.
    Append,
    /// Make files, write to them, and put them in the place of others; list what is there.
    Replace,
    /// Make sockets, and remove what is there.
    MakeSockets,
    /// Execute it, which takes reading.
    Execute,
    /// Read and write it, and whatever a device can do besides.
    Device,
    /// All that there is.
    Everything,
}

impl May {
    fn rights(self) -> BitFlags<AccessFs> {
        match self {
            May::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            May::ReadWrite => make_bitflags!(AccessFs::{ReadFile | WriteFile}),
            May::Append => make_bitflags!(AccessFs::{WriteFile | MakeReg}),
            // To sync a directory takes to open it, which is to list it.
            May::Replace => {
                make_bitflags!(AccessFs::{ReadDir | WriteFile | MakeReg | RemoveFile})
            }
            May::MakeSockets => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
            May::Execute => make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir}),
            May::Device => {
                make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | IoctlDev})
            }
            May::Everything => AccessFs::from_all(NEWEST),
        }
    }
}

/// What is allowed; all else is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What may be done beneath which path. One that leads nowhere allows nothing.
    pub paths: Vec<(PathBuf, May)>,
    /// Whether TCP sockets may be bound to a port.
    pub binds_tcp: bool,
    /// Whether abstract unix sockets of others may be connected to.
    pub abstract_sockets: bool,
}

/// Restricts the calling thread, and those that it starts from then on, to `rules`; answers the
/// version of the kernel's interface, or `None` if it has none (or is not to use it).
///
/// Paths are followed now: a rule holds for the file or directory that it leads to, wherever that
/// is moved, and not for another that takes its place. What is open already stays open. Versions
/// before 4 restrict no TCP, before 5 no devices, before 6 neither signals nor abstract sockets.
pub fn restrict(rules: &Rules) -> io::Result<Option<i32>> {
    let mut ruleset =
        Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(other)?;
    if !rules.binds_tcp {
        ruleset = ruleset.handle_access(AccessNet::BindTcp).map_err(other)?;
    }
    ruleset = ruleset.scope(Scope::Signal).map_err(other)?;
    if !rules.abstract_sockets {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket).map_err(other)?;
    }
    let mut created = ruleset.create().map_err(other)?;
    for (path, may) in &rules.paths {
        if let Ok(file) = PathFd::new(path) {
            allow(&mut created, PathBeneath::new(file, may.rights()));
        }
    }
    let status = created.restrict_self().map_err(other)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as i32),
        _without => None,
    })
}

/// A file of the kernel's own (an unnamed pipe) is not restricted at all, and no rule can name it.
fn allow(created: &mut RulesetCreated, rule: PathBeneath<PathFd>) {
    let _nothing_to_allow = created.add_rule(rule);
}

fn other(error: impl Display) -> io::Error {
    io::Error::other(error.to_string())
}
