//! Who is measured: started on the measured core, with viewers' address and configuration.
//!
//! Peers are measured where they are installed, with one thread each and no log of requests.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::ask::{connect, read_head};
use crate::child::Child;
use crate::scenario::Scenario;
use crate::source::{Greeting, Source};
use crate::watch::path_of;

/// What relays the source to the viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Server,
    /// The server with nobody but the live viewers.
    Alone,
    /// The bare loop, packed.
    Bare,
    /// The bare loop, spliced through.
    Through,
    /// One relay a viewer, spliced both ways. TCP mode: it looks at no byte, where HTTP mode would
    /// parse a head each way and hand the body to the same splicing.
    Haproxy,
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
    _dir: TempDir,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Server => "server",
            Subject::Alone => "server, live viewers alone",
            Subject::Bare => "bare loop",
            Subject::Through => "bare loop, spliced through",
            Subject::Haproxy => "HAProxy",
            Subject::Nginx => "nginx",
            Subject::Icecast => "Icecast",
        }
    }

    /// The program, of those that others have made.
    fn program(self) -> Option<&'static str> {
        match self {
            Subject::Server | Subject::Alone | Subject::Bare | Subject::Through => None,
            Subject::Haproxy => Some("haproxy"),
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
            Subject::Haproxy | Subject::Nginx => Greeting::Response,
            _ => Greeting::None,
        }
    }

    /// Whether it ends with its source, and says then what it has done.
    pub(crate) fn ends_with_source(self) -> bool {
        matches!(self, Subject::Bare | Subject::Through)
    }

    /// Whether it lets viewers in amid a packet.
    pub(crate) fn cuts_in(self) -> bool {
        self == Subject::Icecast
    }

    /// What of a scenario it is measured with.
    pub(crate) fn share(self, scenario: Scenario) -> Scenario {
        if self == Subject::Alone { scenario.live_alone() } else { scenario }
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
            Subject::Server | Subject::Alone => {
                let address = free_address()?;
                side = Some(address);
                let config =
                    server_config(scenario, source.address, [viewers, address], dir.path());
                Child::start(server.as_os_str(), &[write("config.json", config)?])?
            }
            Subject::Bare | Subject::Through => {
                let mut arguments = vec![
                    "bare".to_owned(),
                    format!("--listen={viewers}"),
                    format!("--source={}", source.address),
                    format!("--streams={}", scenario.streams),
                    format!("--period-micros={}", period.as_micros()),
                ];
                if self == Subject::Through {
                    arguments.push("--through".to_owned());
                }
                Child::start(std::env::current_exe()?.as_os_str(), &arguments)?
            }
            Subject::Haproxy => {
                let file = write("haproxy.cfg", haproxy_config(source.address, viewers))?;
                self.start_peer(&["-db".as_ref(), "-f".as_ref(), file.as_os_str()])?
            }
            Subject::Nginx => {
                let config = nginx_config(source.address, viewers, dir.path());
                let file = write("nginx.conf", config)?;
                let prefix = dir.path().as_os_str();
                self.start_peer(&["-p".as_ref(), prefix, "-c".as_ref(), file.as_os_str()])?
            }
            Subject::Icecast => {
                let log = dir.path().join("log");
                fs::create_dir(&log)?;
                fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
                fs::set_permissions(&log, Permissions::from_mode(0o777))?;
                let file = write("icecast.xml", icecast_config(viewers, dir.path()))?;
                self.start_peer(&["-c".as_ref(), file.as_os_str()])?
            }
        };
        let running = Running { subject: self, child, viewers, side, _dir: dir };
        if self == Subject::Icecast {
            source.send_to(put(&running)?);
        }
        Ok(running)
    }

    fn start_peer(self, arguments: &[&std::ffi::OsStr]) -> io::Result<Child> {
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
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn server_config(
    scenario: &Scenario,
    source: SocketAddr,
    [viewers, side]: [SocketAddr; 2],
    dir: &Path,
) -> String {
    let stream = |number| {
        json!({
            "type": "stream",
            "serve": path_of(number),
            "remote": format!("tcp://{source}"),
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

fn haproxy_config(source: SocketAddr, viewers: SocketAddr) -> String {
    format!(
        "global\n nbthread 1\n maxconn 4096\n maxpipes 4096\n\
         defaults\n mode tcp\n option splice-auto\n timeout connect 5s\n timeout client 30s\n \
         timeout server 30s\n\
         listen relay\n bind {viewers} backlog 4096\n server source {source}\n"
    )
}

fn nginx_config(source: SocketAddr, viewers: SocketAddr, dir: &Path) -> String {
    let mut temporary = String::new();
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        temporary += &format!(" {what}_temp_path {what};\n");
    }
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log {}/error.log;\n\
         worker_rlimit_nofile 16384;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n access_log off;\n tcp_nodelay on;\n{temporary} server {{\n \
         listen {viewers} backlog=4096;\n location / {{\n proxy_pass http://{source};\n \
         proxy_buffering off;\n chunked_transfer_encoding off;\n }} }} }}\n",
        dir.display()
    )
}

/// The password of the source, who is the only one to know the port.
const PASSWORD: &str = "bench";

fn icecast_config(viewers: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    let (ip, port) = (viewers.ip(), viewers.port());
    // As root it refuses to run, unless it is told whom to become.
    format!(
        "<icecast><location>bench</location><admin>bench@localhost</admin><limits><clients>8192</clients><sources>2</sources>\
         <queue-size>4194304</queue-size><burst-size>0</burst-size></limits>\
         <authentication><source-password>{PASSWORD}</source-password></authentication>\
         <hostname>bench</hostname>\
         <listen-socket><port>{port}</port><bind-address>{ip}</bind-address></listen-socket>\
         <paths><basedir>{dir}</basedir><logdir>{dir}/log</logdir>\
         <webroot>{dir}</webroot><adminroot>{dir}</adminroot></paths>\
         <logging><accesslog>access</accesslog><errorlog>error</errorlog><loglevel>1</loglevel></logging>\
         <security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group>\
         </changeowner></security></icecast>"
    )
}

/// The connection that an Icecast takes a stream from.
fn put(running: &Running) -> io::Result<TcpStream> {
    let mut socket = connect(&running.child, running.viewers)?;
    // base64 of source:bench
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic c291cmNlOmJlbmNo\r\n\
         Content-Type: video/mp2t\r\nIce-Public: 0\r\nExpect: 100-continue\r\n\r\n",
        path_of(0)
    );
    socket.write_all(request.as_bytes())?;
    let head = read_head(&mut socket)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if ["100", "200"].contains(&status) {
        Ok(socket)
    } else {
        Err(io::Error::other(format!("Icecast does not take a source: {head}")))
    }
}
