//! What the slow tests share: programs run and their failures shown, a Debian to boot.
//!
//! They take root, and what `tests/appliance/run` installs.

#![forbid(unsafe_code)]

pub mod client;
pub mod engine;
pub mod machine;
pub mod python;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What a Debian that is booted has beside the least.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,procps,curl";

/// The root of the repository.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders deep")
}

/// Where slow tests keep what takes long to make.
pub fn kept() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| repository().join("target")).join("appliance")
}

/// Runs a program to its end and answers what it has said; panics with that if it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program to its end.
pub fn output(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).current_dir(repository());
    command.output().unwrap_or_else(|why| panic!("{program}: {why}"))
}

/// All that a program has said.
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Does something on this network, on a thread of its own: sockets made there belong there.
pub(crate) fn on_network<T: Send>(network: BorrowedFd<'_>, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let acting = scope.spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network, kind).expect("root enters a network");
            act()
        });
        acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Looks again and again until `look` answers, for [`PATIENCE`] at most. For what nobody announces.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A Debian with systemd, fresh, in a folder of its own: `root/` in what is answered. The first
/// takes a minute, further ones are copies of it.
pub fn debian() -> tempfile::TempDir {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept();
    std::fs::create_dir_all(&kept).unwrap();
    let model = kept.join("debian");
    if !model.exists() {
        let making = kept.join("debian.making");
        if making.exists() {
            std::fs::remove_dir_all(&making).unwrap();
        }
        let include = format!("--include={PACKAGES}");
        let into = making.to_str().unwrap();
        run("debootstrap", &["--variant=minbase", &include, "bookworm", into, &mirror()]);
        std::fs::rename(&making, &model).unwrap();
    }
    let dir = tempfile::tempdir_in(&kept).unwrap();
    let root = dir.path().join("root");
    run("cp", &["-a", model.to_str().unwrap(), root.to_str().unwrap()]);
    dir
}

/// The program, built as the tests are.
pub fn program() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let profile = ["build", "--profile", "checked", "--locked", "--bin", "restreamer"];
    let said = run(&cargo, &[&profile[..], &["--message-format=json"]].concat());
    let name = said.lines().filter_map(|line| line.split_once("\"executable\":\"")).next_back();
    let (_, name) = name.expect("cargo names what it has built");
    name.split('"').next().expect("the name ends").into()
}

/// Where this machine has its packages from.
fn mirror() -> String {
    let listed = run("apt-get", &["indextargets", "--format", "$(SITE)", "Created-By: Packages"]);
    let site = listed.lines().find(|line| line.starts_with("http"));
    site.expect("apt has its packages from somewhere").to_owned()
}
