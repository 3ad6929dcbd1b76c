//! Who is measured: started on the measured core, with viewers' address and configuration.
//!
//! Peers are measured where they are installed, with one thread each and no log of requests.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Child;
use crate::flood;
use crate::peers;
use crate::scenario::Scenario;
use crate::source::{Greeting, Source};
use crate::tiers;
use crate::watch::path_of;

/// What relays the source to the viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Server,
    /// The server with nobody but the live viewers.
    Alone,
    /// The server with a door that denies the flood's network.
    Door,
    /// The same without the capability that the door in the kernel takes.
    DoorAtAccept,
    /// The server at the same place, without a door.
    NoDoor,
    /// One of three servers in a row, by its number; they are started and measured together.
    Tier(usize),
    /// The bare loop, packed.
    Bare,
    /// The bare loop, spliced through.
    Through,
    /// The bare loop, written to each viewer.
    Written,
    /// One relay a viewer, with `option splice-auto`. TCP mode: it looks at no byte, where HTTP
    /// mode would parse a head each way and hand the body to the same splicing.
    Haproxy,
    /// The same with `option splice-response`. By itself it splices after three reads in a row that
    /// fill its buffer (16 KiB): a live stream brings less at a time, and would be copied.
    HaproxySplicing,
    /// One relay a viewer, unbuffered.
    Nginx,
    /// Fan-out from one mount, to which the source puts its packets.
    Icecast,
}

/// One that runs.
pub(crate) struct Running {
    pub(crate) subject: Subject,
    pub(crate) child: Child,
    pub(crate) viewers: SocketAddr,
    /// Where the server answers for its metrics.
    pub(crate) side: Option<SocketAddr>,
    /// What runs beside it on the same core, has as many viewers and is measured with it.
    pub(crate) company: Vec<Running>,
    pub(crate) _dir: TempDir,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Server => "server",
            Subject::Alone => "server, live viewers alone",
            Subject::Door => "door in the kernel",
            Subject::DoorAtAccept => "door at accept",
            Subject::NoDoor => "no door",
            Subject::Tier(0) => "first tier",
            Subject::Tier(1) => "second tier",
            Subject::Tier(_) => "third tier",
            Subject::Bare => "bare loop",
            Subject::Through => "bare loop, spliced through",
            Subject::Written => "bare loop, written",
            Subject::Haproxy => "HAProxy",
            Subject::HaproxySplicing => "HAProxy, always splicing",
            Subject::Nginx => "nginx",
            Subject::Icecast => "Icecast",
        }
    }

    /// The program, of those that others have made.
    fn program(self) -> Option<&'static str> {
        match self {
            Subject::Server
            | Subject::Alone
            | Subject::Door
            | Subject::DoorAtAccept
            | Subject::NoDoor
            | Subject::Tier(_)
            | Subject::Bare
            | Subject::Through
            | Subject::Written => None,
            Subject::Haproxy | Subject::HaproxySplicing => Some("haproxy"),
            Subject::Nginx => Some("nginx"),
            Subject::Icecast => Some("icecast2"),
        }
    }

    /// Whether its program is there: in `PATH`, or where Debian has daemons.
    pub(crate) fn is_installed(self) -> bool {
        self.program().is_none_or(|program| find(program).is_some())
    }

    pub(crate) fn greeting(self) -> Greeting {
        match self {
            Subject::Haproxy | Subject::HaproxySplicing | Subject::Nginx => Greeting::Response,
            _ => Greeting::None,
        }
    }

    /// Whether it ends with its source, and says then what it has done.
    pub(crate) fn ends_with_source(self) -> bool {
        matches!(self, Subject::Bare | Subject::Through | Subject::Written)
    }

    /// Whether it lets viewers in amid a packet.
    pub(crate) fn cuts_in(self) -> bool {
        self == Subject::Icecast
    }

    /// What of a scenario it is measured with. One thread of nginx cannot relay to a thousand: a
    /// process with no time left has larger and fewer chunks, and hence cheaper ones.
    pub(crate) fn share(self, scenario: Scenario) -> Scenario {
        match self {
            Subject::Alone => scenario.live_alone(),
            Subject::Nginx => scenario.quarter(),
            _ => scenario,
        }
    }

    /// Whether it is of others' making: that it fails is told, and is no failure.
    pub(crate) fn is_peer(self) -> bool {
        self.program().is_some()
    }

    /// Starts it. `period` is what the bare loop's is to be; `server` the server's program.
    pub(crate) fn start(
        self,
        server: &Path,
        scenario: &Scenario,
        source: &Source,
        period: Duration,
    ) -> io::Result<Running> {
        let dir = tempfile::tempdir()?;
        let viewers = free_address()?;
        let mut side = None;
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::write(&path, text).map(|()| path)
        };
        let child = match self {
            Subject::Tier(_) => return tiers::start(server, scenario, source),
            Subject::Server | Subject::Alone => {
                let address = free_address()?;
                side = Some(address);
                let upstream = |_| format!("tcp://{}", source.address);
                let config = server_config(scenario, upstream, [viewers, address], dir.path());
                Child::start(server.as_os_str(), &[write("config.json", config)?])?
            }
            Subject::Door | Subject::DoorAtAccept | Subject::NoDoor => {
                let address = free_address()?;
                side = Some(address);
                let upstream = |_| format!("tcp://{}", source.address);
                // The flood comes in at another address than the viewers.
                let all = SocketAddr::from(([0, 0, 0, 0], viewers.port()));
                let config = server_config(scenario, upstream, [all, address], dir.path());
                let mut config: Value = serde_json::from_str(&config)?;
                if self != Subject::NoDoor {
                    config["door"] = json!({ "deny": [flood::NETWORK] });
                }
                let file = write("config.json", config.to_string())?;
                if self == Subject::DoorAtAccept {
                    // CAP_SYS_ADMIN stands for CAP_BPF (capabilities(7)).
                    let without = OsStr::new("--bounding-set=-bpf,-sys_admin");
                    let arguments = [without, server.as_os_str(), file.as_os_str()];
                    Child::start(OsStr::new("setpriv"), &arguments)?
                } else {
                    Child::start(server.as_os_str(), &[file])?
                }
            }
            Subject::Bare | Subject::Through | Subject::Written => {
                let way = match self {
                    Subject::Through => "through",
                    Subject::Written => "written",
                    _ => "packed",
                };
                let mut arguments = vec![
                    "bare".to_owned(),
                    format!("--way={way}"),
                    format!("--listen={viewers}"),
                    format!("--source={}", source.address),
                    format!("--streams={}", scenario.streams),
                    format!("--period-micros={}", period.as_micros()),
                ];
                arguments.extend(scenario.options.arguments());
                Child::start(std::env::current_exe()?.as_os_str(), &arguments)?
            }
            Subject::Haproxy | Subject::HaproxySplicing => {
                let option = match self {
                    Subject::Haproxy => "splice-auto",
                    _ => "splice-response",
                };
                let config = peers::haproxy(source.address, viewers, option);
                let file = write("haproxy.cfg", config)?;
                self.start_peer(&["-db".as_ref(), "-f".as_ref(), file.as_os_str()])?
            }
            Subject::Nginx => {
                let config = peers::nginx(source.address, viewers, dir.path());
                let file = write("nginx.conf", config)?;
                let prefix = dir.path().as_os_str();
                self.start_peer(&["-p".as_ref(), prefix, "-c".as_ref(), file.as_os_str()])?
            }
            Subject::Icecast => {
                let log = dir.path().join("log");
                fs::create_dir(&log)?;
                fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
                fs::set_permissions(&log, Permissions::from_mode(0o777))?;
                let file = write("icecast.xml", peers::icecast(viewers, dir.path()))?;
                self.start_peer(&["-c".as_ref(), file.as_os_str()])?
            }
        };
        let running =
            Running { subject: self, child, viewers, side, company: Vec::new(), _dir: dir };
        if self == Subject::Icecast {
            source.send_to(peers::put(&running)?);
        }
        Ok(running)
    }

    fn start_peer(self, arguments: &[&OsStr]) -> io::Result<Child> {
        let program = self.program().and_then(find);
        let program = program.ok_or_else(|| io::Error::other("is not installed"))?;
        Child::start(program.as_os_str(), arguments)
    }
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// An address where nobody listens. Until it is used, another might take it: then the run fails.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The server's configuration; `upstream` says where each stream comes from.
pub(crate) fn server_config(
    scenario: &Scenario,
    upstream: impl Fn(usize) -> String,
    [viewers, side]: [SocketAddr; 2],
    dir: &Path,
) -> String {
    let stream = |number| {
        json!({
            "type": "stream",
            "serve": path_of(number),
            "remote": upstream(number),
        })
    };
    let mut config = json!({
        "listen": viewers.to_string(),
        "side": side.to_string(),
        "log": dir.join("log"),
        "workers": 1,
        "resources": (0..scenario.streams).map(stream).collect::<Vec<_>>(),
    });
    if let Some(turn) = scenario.turn {
        config["turn"] = turn.into();
    }
    config.to_string()
}
