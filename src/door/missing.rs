//! Why the kernel does not keep the door, and what is to be done about it.
//!
//! Owns the words for the operator. Driven by who opens the door.

use std::fmt;
use std::io;

use restreamer_sys::door::LoadError;

/// What is missing.
#[derive(Debug)]
pub struct Missing {
    why: String,
    advice: &'static str,
}

impl Missing {
    /// What is missing, in a few words.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The kernel has the programs, and does not take the rules.
    pub(super) fn of_rules(error: &io::Error) -> Missing {
        Missing { why: format!("the kernel does not take the rules: {error}"), advice: "" }
    }
}

impl From<LoadError> for Missing {
    fn from(error: LoadError) -> Missing {
        let advice = match &error {
            LoadError::Capability => {
                "grant it by `AmbientCapabilities=CAP_BPF` in the unit (the drop-in door.conf does \
                that), by `--cap-add BPF` to a container, or else by `setcap cap_bpf=ep` on the \
                program"
            }
            LoadError::Denied(_) => {
                "the process has the capability, so what forbids it is a filter of system calls \
                (seccomp: permit `bpf`) or a user namespace, as of a rootless container, in which \
                the capability is worth nothing"
            }
            LoadError::Old { .. } => "the rest of the node does not need it",
            LoadError::Object(_) | LoadError::Program { .. } | LoadError::Kernel(_) => {
                "this is worth a report, with the release of the kernel"
            }
        };
        Missing { why: error.to_string(), advice }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}
