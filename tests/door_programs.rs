//! The door's programs as they are checked in: what the source beside them gives, and nothing of
//! the machine that done them. That they load and do what they are for is tested in `sys`.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

use restreamer::limits::WORKERS_MAX;
use restreamer_sys::door::{ADDRESSES, WORKERS};

/// The status of `sys/bpf/build` where what it takes is not there.
const MISSING: i32 = 2;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sys/bpf")
}

fn object() -> Vec<u8> {
    std::fs::read(programs().join("door.bpf.o")).unwrap()
}

/// `tests/appliance` does the same where the compiler is there for certain.
#[test]
fn the_object_is_what_its_source_gives() {
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.o");
    let mut build = Command::new("timeout");
    let done = build.arg("120").arg(programs().join("build")).arg(&again).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.code() == Some(MISSING) {
        // Past the test's own capture of what is printed: nobody is to take this for a check.
        let skipped = format!("SKIPPED: the object is not compared with its source: {said}");
        stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    }
    assert!(done.status.success(), "{said}");
    let same = std::fs::read(&again).unwrap() == object();
    assert!(same, "door.bpf.o is not what door.bpf.c gives: run sys/bpf/build");
}

/// Names of files that the compiler leaves in an object end with a zero, and begin after one.
#[test]
fn nothing_in_the_object_tells_where_it_was_built() {
    let object = object();
    let texts = object.split(|&byte| byte == 0);
    let texts = texts.filter(|text| text.iter().all(u8::is_ascii_graphic));
    let paths: Vec<_> = texts
        .map(|text| std::str::from_utf8(text).unwrap())
        .filter(|text| text.starts_with(['/', '.']) && text[1..].contains('/'))
        .filter(|text| !text.starts_with(".rel"))
        .collect();
    assert_eq!(paths, ["./sys/bpf/door.bpf.c"]);
    let home = std::env::var("HOME").unwrap();
    for place in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/"), "/usr/"] {
        let found = object.windows(place.len()).any(|window| window == place.as_bytes());
        assert!(!found, "{place} is in the object");
    }
}

#[test]
fn the_bounds_of_the_programs_are_those_of_the_node() {
    let source = std::fs::read_to_string(programs().join("door.bpf.c")).unwrap();
    let defined = |name: &str| -> usize {
        let begins = format!("#define {name} ");
        let value = source.lines().find_map(|line| line.strip_prefix(&begins));
        value.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
    };
    assert_eq!(defined("WORKERS_MAX"), WORKERS);
    assert_eq!(defined("WORKERS_MAX"), WORKERS_MAX);
    assert_eq!(defined("ADDRESSES_MAX"), ADDRESSES);
}
