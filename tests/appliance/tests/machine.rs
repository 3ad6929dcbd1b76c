//! The booted Debian that other tests rely on: it runs programs, it has a network of its own, and
//! nothing of it is left when it is dropped.

use std::net::TcpListener;

use restreamer_appliance::machine::Machine;
use restreamer_appliance::{debian, run};

#[test]
fn a_machine_is_up_when_it_is_booted_and_leaves_nothing_behind() {
    let dir = debian();
    let root = dir.path().join("root");
    let machine = Machine::boot(&root);
    assert_eq!(machine.ok(&["cat", "/proc/1/comm"]), "systemd\n");
    assert_eq!(machine.ok(&["systemctl", "is-active", "multi-user.target"]), "active\n");
    assert!(!machine.run(&["false"]).status.success());

    let listener = machine.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let listening = machine.ok(&["ss", "-Hltn", &format!("sport = :{port}")]);
    assert!(listening.contains(&format!("127.0.0.1:{port}")), "{listening}");

    let started = machine.ok(&["systemctl", "show", "-P", "MainPID", "dbus"]);
    let outside = machine.outside(started.trim().parse().unwrap());
    let executable = std::fs::read_link(format!("/proc/{outside}/exe")).unwrap();
    assert_eq!(executable.file_name().unwrap(), "dbus-daemon");

    drop(machine);
    assert!(!std::path::Path::new(&format!("/proc/{outside}")).exists(), "it still runs");
    let mounts = run("cat", &["/proc/self/mounts"]);
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
    let cgroups = run("find", &["/sys/fs/cgroup", "-name", &format!("m{}-*", std::process::id())]);
    assert_eq!(cgroups, "");
    // That its files can go shows that nobody holds them.
    dir.close().unwrap();
}
