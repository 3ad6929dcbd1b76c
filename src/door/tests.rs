use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::*;
use crate::log::{self, Target};

// What every test of the door says.

pub(super) fn net(text: &str) -> IpNet {
    config::parse_network(text).unwrap()
}

pub(super) fn config(deny: &[&str], allow: &[&str]) -> config::Door {
    let nets = |list: &[&str]| list.iter().map(|text| net(text)).collect();
    config::Door { deny: nets(deny), allow: nets(allow), ..config::Door::default() }
}

pub(super) fn deny(network: &str, seconds: Option<u64>) -> Change {
    Change::Deny { network: net(network), lasting: seconds.map(Duration::from_secs) }
}

pub(super) fn allow(network: &str) -> Change {
    Change::Allow { network: net(network), lasting: None }
}

pub(super) fn remove(network: &str) -> Change {
    Change::Remove { network: net(network) }
}

fn required(required: bool) -> config::Door {
    config::Door { required, ..config::Door::default() }
}

/// What opening a door says in the log, by level.
fn said(
    config: &config::Door,
    kernel: Result<sys::Door, LoadError>,
    state: Option<PathBuf>,
) -> (Result<(), String>, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let dropped = prometheus::IntCounter::new("dropped", "in a test").unwrap();
    let (logger, handle) = log::start(Target::File(path.clone()), dropped).unwrap();
    let opened = Door::with(config, kernel, state, logger, Moment::now());
    handle.flush(Duration::from_secs(20));
    let text = std::fs::read_to_string(&path).unwrap();
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let of = |key: &str| entry[key].as_str().unwrap().to_owned();
        (of("level"), of("message"))
    };
    (opened.map(drop).map_err(|error| error.to_string()), text.lines().map(entry).collect())
}

#[test]
fn what_is_missing_is_said_once_with_what_is_to_be_done() {
    let old = || LoadError::Old { release: "5.10.0-28-amd64".into() };
    for (error, why, advice) in [
        (LoadError::Capability, "CAP_BPF is missing; ", "AmbientCapabilities=CAP_BPF"),
        (LoadError::Capability, "CAP_BPF is missing; ", "door.conf"),
        (LoadError::Capability, "CAP_BPF is missing; ", "--cap-add BPF"),
        (old(), "Linux 5.19 or later is needed, this is 5.10.0-28-amd64; ", ""),
        (LoadError::Denied("map".into()), "the kernel permits no bpf call: map; ", "seccomp"),
        (LoadError::Denied("map".into()), "the kernel permits no bpf call: map; ", "namespace"),
    ] {
        let (opened, lines) = said(&required(false), Err(error), Some("/dev/null/x".into()));
        assert_eq!(opened, Ok(()));
        let warned: Vec<_> = lines.iter().filter(|(level, _)| level == "warning").collect();
        let [(_, line)] = &warned[..] else { panic!("{lines:?}") };
        assert!(line.contains(why) && line.contains(advice), "{line}");
    }
}

#[test]
fn where_it_is_required_there_is_no_door_without_the_kernel() {
    let (opened, lines) = said(&required(true), Err(LoadError::Capability), None);
    let error = opened.unwrap_err();
    assert!(
        error.starts_with("`door` is required to be in the kernel: CAP_BPF is missing; grant it"),
        "{error}"
    );
    assert_eq!(lines, []);
}

#[test]
fn the_kernel_keeps_the_door_where_it_can() {
    let config = required(true);
    match kernel::load(&config, 1) {
        Err(LoadError::Capability) => {
            eprintln!("NOT TESTED: the door in the kernel, since CAP_BPF is missing");
        }
        kernel => {
            let (opened, lines) = said(&config, kernel, None);
            assert_eq!(opened, Ok(()));
            assert!(lines.contains(&("info".into(), "the kernel keeps the door".into())));
            let metrics = Metrics::new();
            let door = Door::open(&config, 1, &metrics, &log::silent()).unwrap();
            assert!(door.in_kernel());
            assert_eq!(door.to_steer(|_| ()), Some(()));
            let text = metrics.text().unwrap();
            assert!(text.contains("\nrestreamer_door_in_kernel 1\n"), "{text}");
        }
    }
}

#[test]
fn a_state_file_is_where_it_is_said_or_where_the_manager_says() {
    let given = config::Door { state: Some("/a/b.json".into()), ..config::Door::default() };
    let none = config::Door::default();
    for (config, folders, path) in [
        (&given, Some("/var/lib/x"), Some("/a/b.json")),
        (&given, None, Some("/a/b.json")),
        (&none, Some("/var/lib/x"), Some("/var/lib/x/door.json")),
        (&none, Some("/var/lib/x:/var/lib/y"), Some("/var/lib/x/door.json")),
        (&none, Some(""), None),
        (&none, None, None),
    ] {
        let found = state_path_in(config, folders.map(OsStr::new));
        assert_eq!(found, path.map(PathBuf::from), "{folders:?}");
    }
}

#[test]
fn where_changes_are_kept_or_that_they_are_not_is_said() {
    let missing = || Err(LoadError::Capability);
    let (_, lines) = said(&required(false), missing(), None);
    assert!(lines.iter().any(|(_, line)| line.contains("gone after a restart")), "{lines:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    let (_, lines) = said(&required(false), missing(), Some(path.clone()));
    assert_eq!(lines.len(), 1, "only what is missing: {lines:?}");
    // Told at the start, and not with the first change.
    let (_, lines) = said(&required(false), missing(), Some(path.join("door.json")));
    let of = |level: &str, words: [&str; 2]| {
        let has = |line: &String| words.iter().all(|word| line.contains(word));
        lines.iter().any(|(of, line)| of == level && has(line))
    };
    assert!(of("error", ["gone after a restart", "cannot be written: Not a directory"]));
    std::fs::write(&path, "precious").unwrap();
    let (_, lines) = said(&required(false), missing(), Some(path.clone()));
    let aside = dir.path().join("door.json.unreadable");
    let (level, line) = &lines[0];
    assert_eq!(level, "error");
    assert!(line.contains(&format!("kept as {}", aside.display())), "{line}");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "precious");
}

#[test]
fn rules_for_which_there_is_no_room_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    let rule = |n: usize| {
        let verdict = r#""verdict":"deny","since":0,"expires":null,"hits":0"#;
        format!("{{\"network\":\"10.{}.{}.{}/32\",{verdict}}}", n >> 16, (n >> 8) & 255, n & 255)
    };
    let rules: Vec<_> = (0..DOOR_RULES_MAX + 2).map(rule).collect();
    std::fs::write(&path, format!("{{\"version\":1,\"rules\":[{}]}}", rules.join(","))).unwrap();
    let (_, lines) = said(&required(false), Err(LoadError::Capability), Some(path));
    let has = |words: &str| lines.iter().any(|(_, line)| line.contains(words));
    assert!(has("2 rules of") && has("no room"), "{lines:?}");
    assert!(has("65536 rules of") && has("hold again, 0 have expired"), "{lines:?}");
}
