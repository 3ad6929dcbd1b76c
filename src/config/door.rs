//! Who may connect at all, and how often.
//!
//! Owns the checked types of the door's section. Never judges a connection. Made by `check`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Authentication;

/// Who may connect at all, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    /// Networks whose connections are refused, canonical, each once.
    pub deny: Vec<IpNet>,
    /// Networks whose connections are taken, at whatever rate; canonical, each once, and none that
    /// is denied.
    pub allow: Vec<IpNet>,
    /// How many new connections a source may make that neither list is about; `None` is no limit.
    pub rate: Option<DoorRate>,
    /// How many leading bits of an IPv4 address make a source, 1 to 32.
    pub source_v4: u8,
    /// The same of an IPv6 address, 1 to 128.
    pub source_v6: u8,
    /// Whether the node refuses to start where the kernel cannot be the doorkeeper.
    pub required: bool,
    /// Whether new connections go to the worker with the least load.
    pub steer: bool,
    /// Where is kept what was changed while running; `None`: where the service manager says.
    pub state: Option<PathBuf>,
    /// Who else may change the lists than who is on this host: nobody, if [`Authentication::Open`].
    pub authentication: Authentication,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            deny: Vec::new(),
            allow: Vec::new(),
            rate: None,
            source_v4: 32,
            source_v6: 64,
            required: false,
            steer: true,
            state: None,
            authentication: Authentication::Open,
        }
    }
}

/// How many new connections a source may make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoorRate {
    /// In the long run: `DOOR_PER_SECOND_MIN` to `DOOR_PER_SECOND_MAX`.
    pub per_second: f64,
    /// At once: 1 to `DOOR_BURST_MAX`.
    pub burst: u32,
}

impl DoorRate {
    /// From one connection to the next at this rate, to the nanosecond.
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.per_second.recip())
    }
}
