//! The Debian package installs, serves at once, is upgraded with its configuration kept, and is
//! purged without a trace.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use restreamer_appliance::machine::Machine;
use restreamer_appliance::{debian, eventually, repository, run};

/// What is watched of the test picture, in whole packets.
const PACKET_BYTES: usize = 188;
const PACKETS: usize = 100;

const CONFIGURATION: &str = "etc/restreamer/restreamer.json";

/// What a system writes by itself while it runs, or keeps of every package that it ever had.
const OF_THE_SYSTEM: [&str; 7] = [
    "/var/lib/dpkg/",
    "/var/log/journal/",
    "/var/log/dpkg.log",
    "/var/log/wtmp",
    "/var/cache/ldconfig/",
    "/var/lib/systemd/random-seed",
    "/run/systemd/dynamic-uid",
];

/// Builds the package into a folder; where it is.
fn build(folder: &Path) -> PathBuf {
    let script = repository().join("image/deb");
    let said = run("timeout", &["1500", script.to_str().unwrap(), folder.to_str().unwrap()]);
    PathBuf::from(said.lines().last().expect("it says where it is"))
}

/// The package, built once.
fn package() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_folder, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = build(folder.path());
        (folder, path)
    });
    path
}

/// The package as a later version of it, with another default configuration.
fn later(version: &str, comment: &str, into: &Path) {
    let tree = tempfile::tempdir().unwrap();
    let tree = tree.path();
    run("dpkg-deb", &["-R", package().to_str().unwrap(), tree.to_str().unwrap()]);
    let ours = run("dpkg-deb", &["--field", package().to_str().unwrap(), "Version"]);
    let [ours, theirs] = [ours.trim(), version].map(|version| format!("\nVersion: {version}\n"));
    edit(&tree.join("DEBIAN/control"), &ours, &theirs);
    edit(&tree.join(CONFIGURATION), "{\n", &format!("{{\n  \"\": \"{comment}\",\n"));
    let [tree, into] = [tree, into].map(|path| path.to_str().unwrap());
    run("dpkg-deb", &["--root-owner-group", "-b", tree, into]);
}

/// Replaces the first of `old` in a file.
fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "no {old:?} in {text}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// Every file, link and folder of the system, and every user.
fn traces(machine: &Machine) -> BTreeSet<String> {
    let found = machine.ok(&["find", "/", "/run", "-xdev", "-not", "-name", "invocation:*"]);
    let users = machine.ok(&["sh", "-c", "getent passwd && getent group"]);
    let theirs = |line: &&str| !OF_THE_SYSTEM.iter().any(|place| line.starts_with(place));
    found.lines().chain(users.lines()).filter(theirs).map(str::to_owned).collect()
}

fn is_active(machine: &Machine, unit: &str) -> bool {
    machine.run(&["systemctl", "--quiet", "is-active", unit]).status.success()
}

/// The main process of a service that runs.
fn process(machine: &Machine, unit: &str) -> String {
    eventually(unit, || is_active(machine, unit).then_some(()));
    let process = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", unit]);
    assert_ne!(process.trim(), "0", "{unit}");
    process.trim().to_owned()
}

/// Watches the test picture on a port of the loopback interface.
fn assert_serves(machine: &Machine, port: u16) {
    let bytes = PACKETS * PACKET_BYTES;
    let url = format!("http://127.0.0.1:{port}/demo.ts");
    let script = format!("curl --silent --no-buffer --max-time 20 {url} | head --bytes={bytes}");
    let watched = eventually("a picture", || {
        let watched = machine.run(&["sh", "-c", &script]);
        (!watched.stdout.is_empty()).then_some(watched.stdout)
    });
    assert_eq!(watched.len(), bytes);
    assert!(watched.chunks(PACKET_BYTES).all(|packet| packet[0] == 0x47));
}

/// That what runs is the program that is installed now.
fn assert_is_installed(machine: &Machine, process: &str) {
    let running = machine.ok(&["readlink", &format!("/proc/{process}/exe")]);
    assert_eq!(running.trim(), "/usr/bin/restreamer");
}

/// When the socket unit was started, which it must have been.
fn opened(machine: &Machine) -> String {
    assert!(is_active(machine, "restreamer.socket"));
    let when = "--property=ActiveEnterTimestampMonotonic";
    machine.ok(&["systemctl", "show", when, "--value", "restreamer.socket"])
}

fn version(machine: &Machine) -> String {
    machine.ok(&["dpkg-query", "--show", "--showformat=${Version}", "restreamer"])
}

#[test]
fn installs_serves_upgrades_and_is_purged_without_a_trace() {
    let dir = debian();
    let root = dir.path().join("root");
    fs::copy(package(), root.join("root/1.deb")).unwrap();
    later("9-1", "a later default", &root.join("root/2.deb"));
    later("9-2", "a later default", &root.join("root/3.deb"));
    later("9-3", "a later default", &root.join("root/4.deb"));
    let machine = Machine::boot(&root);
    // What the administrator has said of a setting that is ours as well.
    fs::write(root.join("etc/sysctl.d/90-local.conf"), "net.core.somaxconn = 8192\n").unwrap();
    let before = traces(&machine);

    machine.ok(&["dpkg", "--install", "/root/1.deb"]);
    assert_installed(&machine);
    let set = |name: &str| machine.ok(&["cat", &format!("/proc/sys/net/{name}")]);
    assert_eq!(set("core/somaxconn"), "8192\n", "the administrator's");
    assert_eq!(set("ipv4/tcp_max_syn_backlog"), "4096\n", "ours");
    assert_eq!(set("ipv4/tcp_migrate_req"), "1\n", "ours");
    let first = process(&machine, "restreamer.service");

    // The administrator's part: another port, and an instance.
    let configuration = root.join(CONFIGURATION);
    edit(&configuration, "127.0.0.1:8000", "127.0.0.1:8001");
    let edited = fs::read_to_string(&configuration).unwrap();
    let second = edited.replace(":8001", ":8002").replace(":9470", ":9471");
    fs::write(configuration.with_file_name("second.json"), second).unwrap();
    machine.ok(&["systemctl", "enable", "--now", "restreamer@second.service"]);
    machine.ok(&["systemctl", "restart", "restreamer.service"]);
    let instance = process(&machine, "restreamer@second.service");
    for folder in ["restreamer", "restreamer-second"] {
        machine.ok(&["sh", "-c", &format!("echo {{}} >/var/lib/{folder}/door.json")]);
    }

    // A default that has changed asks; unattended, the edited file stays and the new one is beside.
    let unattended = ["dpkg", "--force-confdef", "--force-confold", "--install", "/root/2.deb"];
    machine.ok(&unattended);
    assert_eq!(version(&machine), "9-1");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), edited);
    let offered = fs::read_to_string(root.join(format!("{CONFIGURATION}.dpkg-dist"))).unwrap();
    assert!(offered.contains("a later default"), "{offered}");
    for (unit, port, before) in
        [("restreamer.service", 8001, &first), ("restreamer@second.service", 8002, &instance)]
    {
        let now = process(&machine, unit);
        assert_ne!(now, *before, "{unit} runs the new program");
        assert_is_installed(&machine, &now);
        assert_serves(&machine, port);
    }

    // One that has not does not ask; what is switched off stays off.
    machine.ok(&["systemctl", "disable", "--now", "restreamer.service"]);
    machine.ok(&["dpkg", "--install", "/root/3.deb"]);
    assert_eq!(version(&machine), "9-2");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), edited);
    assert!(!is_active(&machine, "restreamer.service"));

    // A socket in use stays as it is while the service behind it is another.
    machine.ok(&["systemctl", "enable", "--now", "restreamer.socket"]);
    machine.ok(&["systemctl", "enable", "--now", "restreamer.service"]);
    assert_serves(&machine, 8000);
    let behind = process(&machine, "restreamer.service");
    let opened = opened(&machine);
    machine.ok(&["dpkg", "--install", "/root/4.deb"]);
    assert_serves(&machine, 8000);
    let now = process(&machine, "restreamer.service");
    assert_ne!(now, behind);
    assert_is_installed(&machine, &now);
    assert_eq!(self::opened(&machine), opened, "the socket was not closed");

    machine.ok(&["dpkg", "--remove", "restreamer"]);
    assert!(!root.join("usr/bin/restreamer").exists());
    assert!(!machine.run(&["pidof", "restreamer"]).status.success(), "none runs any more");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), edited, "kept until purged");
    machine.ok(&["test", "-s", "/var/lib/restreamer/door.json"]);

    machine.ok(&["dpkg", "--purge", "restreamer"]);
    let after = traces(&machine);
    let left: Vec<_> = after.difference(&before).collect();
    assert!(left.is_empty(), "left: {left:#?}");
    let lost: Vec<_> = before.difference(&after).collect();
    assert!(lost.is_empty(), "lost: {lost:#?}");
    let units = machine.run(&["systemctl", "list-unit-files", "--no-legend", "restreamer*"]);
    assert_eq!(units.stdout, b"", "systemd knows nothing of it");
}

#[test]
fn a_port_that_is_taken_does_not_spoil_the_installation() {
    let dir = debian();
    let root = dir.path().join("root");
    fs::copy(package(), root.join("root/1.deb")).unwrap();
    let machine = Machine::boot(&root);
    let taken = machine.inside(|| TcpListener::bind("127.0.0.1:8000").unwrap());

    machine.ok(&["dpkg", "--install", "/root/1.deb"]);
    let status = ["dpkg-query", "--show", "--showformat=${Status}", "restreamer"];
    assert_eq!(machine.ok(&status), "install ok installed");
    assert!(!is_active(&machine, "restreamer.service"));
    let log = machine.ok(&["journalctl", "--unit=restreamer.service", "--no-pager"]);
    assert!(log.contains("127.0.0.1:8000"), "it says why: {log}");

    drop(taken);
    machine.ok(&["systemctl", "reset-failed", "restreamer.service"]);
    machine.ok(&["systemctl", "restart", "restreamer.service"]);
    assert_serves(&machine, 8000);
}

/// The service of a fresh installation serves, and what comes with it is where it is looked for.
fn assert_installed(machine: &Machine) {
    assert_serves(machine, 8000);
    let health = machine.ok(&["curl", "--silent", "--fail", "http://127.0.0.1:9470/health"]);
    assert!(health.contains("\"status\":\"ok\""), "{health}");
    let enabled = |unit| machine.run(&["systemctl", "is-enabled", unit]).stdout;
    assert_eq!(enabled("restreamer.service"), b"enabled\n");
    assert_eq!(enabled("restreamer.socket"), b"disabled\n");
    let file = "/etc/restreamer/restreamer.json";
    machine.ok(&["restreamer", "--check", file]);
    let secret = machine.ok(&["stat", "--format=%a %U %G", file]);
    assert_eq!(secret.trim(), "640 root restreamer", "it will hold passwords");
    let state = machine.ok(&["stat", "--dereference", "--format=%a", "/var/lib/restreamer"]);
    assert_eq!(state.trim(), "750");

    for page in ["man1/restreamer.1", "man1/restreamer-demo.1", "man5/restreamer.json.5"] {
        let page = format!("/usr/share/man/{page}.gz");
        assert!(machine.ok(&["gzip", "--decompress", "--stdout", &page]).contains("\n.TH "));
    }
    let load = ". /usr/share/bash-completion/completions/restreamer && complete -p restreamer";
    assert!(machine.ok(&["bash", "-c", load]).contains("_restreamer"));
    for path in [
        "/usr/share/zsh/vendor-completions/_restreamer",
        "/usr/share/fish/vendor_completions.d/restreamer.fish",
        "/usr/share/doc/restreamer/README.md.gz",
        "/usr/share/doc/restreamer/changelog.Debian.gz",
        "/usr/share/doc/restreamer/copyright",
        "/usr/share/doc/restreamer/examples/restreamer.rules.yml",
        "/usr/share/doc/restreamer/examples/door.conf",
    ] {
        machine.ok(&["test", "-s", path]);
    }
}

#[test]
fn lintian_finds_no_fault() {
    let package = package().to_str().unwrap();
    let said = run("lintian", &["--allow-root", "--fail-on=error,warning", package]);
    assert_eq!(said.trim(), "", "reasons for exceptions are in restreamer.lintian-overrides");
}

#[test]
fn the_same_source_gives_the_same_package() {
    let again = tempfile::tempdir().unwrap();
    let again = build(again.path());
    assert_eq!(fs::read(package()).unwrap(), fs::read(again).unwrap());
}
