use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::config::parse_network;

fn moment(unix: u64) -> Moment {
    Moment { instant: Instant::now(), unix: Duration::from_secs(unix) }
}

fn later(then: Moment, seconds: u64) -> Moment {
    let passed = Duration::from_secs(seconds);
    Moment { instant: then.instant + passed, unix: then.unix + passed }
}

fn commanded(now: Moment, age: u64, lasting: Option<u64>) -> Commanded {
    Commanded {
        verdict: Verdict::Deny,
        since: Since::new(now.instant, Duration::from_secs(age)),
        expires: lasting.map(|seconds| now.instant + Duration::from_secs(seconds)),
    }
}

fn kept(network: &str, now: Moment, age: u64, lasting: Option<u64>, hits: u64) -> Kept {
    Kept::new(parse_network(network).unwrap(), &commanded(now, age, lasting), hits, now)
}

/// What is left of a rule, its age, and its hits.
fn restored(kept: &Kept, now: Moment) -> Option<(Option<u64>, u64, u64)> {
    let (_, commanded, hits) = kept.restored(now)?;
    let left = commanded.expires.map(|expires| (expires - now.instant).as_secs());
    Some((left, commanded.since.age(now.instant).as_secs(), hits))
}

fn read_again(path: &Path) -> Vec<Kept> {
    match Store::open(path.to_owned()).1 {
        Found::Rules(rules) => rules,
        found => panic!("{found:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    let (mut store, found) = Store::open(path.clone());
    assert!(matches!(found, Found::Rules(rules) if rules.is_empty()), "there is none yet");
    assert!(!store.is_saved());
    let now = moment(1_800_000_000);
    let rules =
        [kept("203.0.113.0/24", now, 12, Some(588), 3), kept("2001:db8::/32", now, 0, None, 0)];
    store.write(&rules, now).unwrap();
    assert!(store.is_saved());
    assert_eq!(read_again(&path), rules);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"version\":1,\"rules\":[\
        {\"network\":\"203.0.113.0/24\",\"verdict\":\"deny\",\"since\":1799999988,\
        \"expires\":1800000588,\"hits\":3},\
        {\"network\":\"2001:db8::/32\",\"verdict\":\"deny\",\"since\":1800000000,\
        \"expires\":null,\"hits\":0}]}"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_restart_keeps_what_is_left_of_a_time() {
    let now = moment(1_800_000_000);
    let rule = kept("192.0.2.1", now, 12, Some(588), 3);
    assert_eq!(restored(&rule, later(now, 0)), Some((Some(588), 12, 3)));
    assert_eq!(restored(&rule, later(now, 500)), Some((Some(88), 512, 3)));
    assert_eq!(restored(&rule, later(now, 587)), Some((Some(1), 599, 3)));
    assert_eq!(restored(&rule, later(now, 588)), None);
    let for_ever = kept("192.0.2.1", now, 12, None, 4);
    assert_eq!(restored(&for_ever, later(now, 1_000_000)), Some((None, 1_000_012, 4)));
}

/// A machine without a clock of its own begins in 1970.
#[test]
fn a_clock_that_went_back_makes_no_ban_longer_than_it_was() {
    let now = moment(1_800_000_000);
    let rule = kept("192.0.2.1", now, 0, Some(600), 0);
    for unix in [0, 1_799_999_999] {
        assert_eq!(restored(&rule, moment(unix)), Some((Some(600), 0, 0)));
    }
    let rule = Kept { expires: Some(u64::MAX), since: 0, ..rule };
    assert_eq!(restored(&rule, now), Some((Some(DOOR_LASTING_MAX.as_secs()), 1_800_000_000, 0)));
}

#[test]
fn half_a_second_is_not_lost() {
    let now = moment(1_800_000_000);
    let half = Moment { unix: now.unix + Duration::from_millis(500), ..now };
    let rule = Kept::new("192.0.2.1/32".parse().unwrap(), &commanded(now, 0, Some(10)), 0, half);
    assert_eq!(rule.expires, Some(1_800_000_011));
}

#[test]
fn one_that_cannot_be_read_is_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    let rule = r#"{"network":"10.0.0.0/8","verdict":"deny","since":1,"expires":null,"hits":0}"#;
    let long = " ".repeat(DOOR_STATE_BYTES_MAX + 1);
    for (number, (text, why)) in [
        ("", "it is not what this program writes: EOF"),
        ("{\"version\":1,\"rules\":[", "it is not what this program writes: EOF"),
        ("{\"version\":2,\"rules\":[]}", "it is of version 2, and not of version 1"),
        (&format!("{{\"version\":1,\"rules\":[{rule}],\"x\":1}}"), "unknown field `x`"),
        (&format!("{{\"version\":1,\"rules\":[{}]}}", rule.replace("/8", "/88")), "invalid"),
        (&long, "it is larger than 16777216 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&path, text).unwrap();
        let (mut store, found) = Store::open(path.clone());
        let Found::Aside(said, aside) = found else { panic!("{found:?}") };
        assert!(said.to_string().contains(why), "{said}");
        let name = match number {
            0 => "door.json.unreadable".to_owned(),
            number => format!("door.json.unreadable.{}", number + 1),
        };
        assert_eq!(aside, dir.path().join(name));
        assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        store.write(&[], moment(0)).unwrap();
        assert!(read_again(&path).is_empty());
    }
}

#[test]
fn one_that_cannot_be_moved_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    fs::write(&path, "precious").unwrap();
    fs::write(dir.path().join("door.json.unreadable"), "").unwrap();
    for number in 2..=DOOR_STATE_ASIDE_MAX {
        fs::write(dir.path().join(format!("door.json.unreadable.{number}")), "").unwrap();
    }
    let (mut store, found) = Store::open(path.clone());
    assert!(matches!(found, Found::InTheWay(..)), "{found:?}");
    let now = moment(0);
    let why = store.write(&[], now).unwrap_err().to_string();
    assert_eq!(why, "one that cannot be read is in its place, and cannot be moved");
    assert!(!store.is_saved() && !store.wants_writing(now));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// The folder that the file is to be in, `/dev/null`, a FIFO that nobody writes to.
#[test]
fn what_is_no_file_is_neither_waited_for_nor_moved_nor_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/precious"), "precious").unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    symlink(at("folder"), at("link")).unwrap();
    let kind = |path: &Path| fs::symlink_metadata(path).unwrap().file_type();
    for name in ["folder", "fifo", "link"] {
        let before = kind(&at(name));
        let (mut store, found) = Store::open(at(name));
        assert!(matches!(found, Found::InTheWay(Unreadable::NoFile, _)), "{found:?}");
        let now = moment(1_800_000_000);
        store.write(&[], now).unwrap_err();
        assert!(!store.is_saved() && !store.wants_writing(now), "it is not tried again");
        assert_eq!(kind(&at(name)), before, "{name}");
    }
    assert_eq!(fs::read_to_string(at("folder/precious")).unwrap(), "precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing was made");
}

/// The old file is whole until the new one is: what was begun and not finished is nobody's.
#[test]
fn what_was_left_half_written_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.json");
    let (mut store, _) = Store::open(path.clone());
    let now = moment(1_800_000_000);
    let rules = [kept("192.0.2.1", now, 0, None, 0)];
    store.write(&rules, now).unwrap();
    let half = dir.path().join("door.json.new");
    fs::write(&half, "{\"version\":1,\"ru").unwrap();
    assert_eq!(read_again(&path), rules);
    store.write(&[], now).unwrap();
    assert!(!half.exists() && read_again(&path).is_empty());
    // A new one that cannot be written leaves the old one as it was.
    fs::create_dir(&half).unwrap();
    assert!(store.write(&rules, now).is_err());
    assert!(!store.is_saved() && store.wants_writing(now));
    assert!(read_again(&path).is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere/door.json");
    let (mut store, found) = Store::open(path.clone());
    assert!(matches!(found, Found::Rules(rules) if rules.is_empty()));
    let now = moment(0);
    assert_eq!(store.write(&[], now).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(store.wants_writing(now), "it may come");
    fs::create_dir(path.parent().unwrap()).unwrap();
    store.write(&[], now).unwrap();
    assert!(store.is_saved() && !store.wants_writing(now));
}

#[test]
fn a_wall_clock_that_is_set_makes_the_file_old() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path().join("door.json"));
    let now = moment(1_800_000_000);
    store.write(&[], now).unwrap();
    assert!(!store.wants_writing(later(now, 100_000)));
    for jump in [1_000, 3_599_999_999] {
        let unix = Duration::from_secs(jump);
        assert!(store.wants_writing(Moment { unix, ..later(now, 10) }), "{jump}");
    }
}

#[test]
fn the_largest_rule_fits_into_its_bound() {
    let longest = Kept {
        network: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(),
        verdict: Verdict::Allow,
        since: u64::MAX,
        expires: Some(u64::MAX),
        hits: u64::MAX,
    };
    let text = serde_json::to_string(&longest).unwrap();
    assert!(text.len() < crate::limits::DOOR_STATE_RULE_BYTES_MAX, "{text}");
}
