//! The door's programs that are checked in are what their source gives, with the compiler that
//! `tests/appliance/run` installs. `tests/door_programs.rs` looks as well, where it finds one.

use std::fs;

use restreamer_appliance::{output, repository, run, said};

#[test]
fn the_object_is_what_its_source_gives() {
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.o");
    run("timeout", &["120", "sys/bpf/build", again.to_str().unwrap()]);
    let ours = fs::read(repository().join("sys/bpf/door.bpf.o")).unwrap();
    assert!(fs::read(&again).unwrap() == ours, "run sys/bpf/build");
}

/// What the tests of every day go by: they skip the comparison then.
#[test]
fn who_has_no_compiler_is_told_what_is_missing() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ["bash", "dirname", "realpath"] {
        let path = run("which", &[tool]);
        std::os::unix::fs::symlink(path.trim(), tools.path().join(tool)).unwrap();
    }
    let path = format!("PATH={}", tools.path().display());
    let built = output("env", &[&path, "bash", "sys/bpf/build", "/dev/null"]);
    assert_eq!(built.status.code(), Some(2), "{}", said(&built));
    let told = String::from_utf8_lossy(&built.stderr);
    assert_eq!(told, "sys/bpf/build: clang of version 14 is missing\n");
}
