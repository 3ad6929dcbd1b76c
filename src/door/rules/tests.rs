use super::super::tests::{allow, config as configured, deny, net, remove};
use super::*;

/// Rules as `network verdict by`.
fn shown(rules: &Rules, now: Instant) -> Vec<String> {
    let line = |(network, rule): (IpNet, &Rule)| {
        let (by, age) = rules.origin(rule, now);
        format!("{network} {} {by:?} {}", rule.holds().unwrap().word(), age.as_secs())
    };
    rules.iter().map(line).collect()
}

fn make(rules: &mut Rules, change: &Change, now: Instant) -> Result<Plan, String> {
    let plan = rules.plan(change, now).map_err(|error| error.to_string())?;
    rules.enter(&plan);
    Ok(plan)
}

const D: Option<Verdict> = Some(Verdict::Deny);
const A: Option<Verdict> = Some(Verdict::Allow);

#[test]
fn a_command_goes_before_the_configuration_until_it_is_removed() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut rules = Rules::new(&configured(&["10.0.0.0/8"], &["10.1.0.0/16"]), 10, start);
    let plan = make(&mut rules, &allow("10.0.0.0/8"), at(5)).unwrap();
    assert_eq!((plan.was, plan.will), (D, A));
    let plan = make(&mut rules, &deny("2001:db8::/32", None), at(6)).unwrap();
    assert_eq!((plan.was, plan.will), (None, D));
    assert_eq!(
        shown(&rules, at(10)),
        [
            "10.0.0.0/8 allow Command 5",
            "10.1.0.0/16 allow Configuration 10",
            "2001:db8::/32 deny Command 4",
        ]
    );
    let plan = make(&mut rules, &remove("10.0.0.0/8"), at(11)).unwrap();
    assert_eq!((plan.was, plan.will), (A, D));
    let plan = make(&mut rules, &remove("2001:db8::/32"), at(11)).unwrap();
    assert_eq!((plan.was, plan.will), (D, None));
    assert_eq!(
        shown(&rules, at(12)),
        ["10.0.0.0/8 deny Configuration 12", "10.1.0.0/16 allow Configuration 12",]
    );
}

#[test]
fn what_cannot_be_removed_says_why() {
    let now = Instant::now();
    let mut rules = Rules::new(&configured(&["10.0.0.0/8"], &["10.1.0.0/16"]), 10, now);
    for (network, why) in [
        ("192.0.2.7", "no rule is about 192.0.2.7/32"),
        ("10.0.0.0/9", "no rule is about 10.0.0.0/9"),
        (
            "10.0.0.0/8",
            "the configuration has `deny` for 10.0.0.0/8, which cannot be removed \
            while the node runs: `allow` it, which goes first",
        ),
        (
            "10.1.0.0/16",
            "the configuration has `allow` for 10.1.0.0/16, which cannot be removed \
            while the node runs: `deny` it, which goes first",
        ),
    ] {
        assert_eq!(make(&mut rules, &remove(network), now).unwrap_err(), why);
    }
    assert_eq!(rules.len(), 2);
}

#[test]
fn networks_are_told_apart_by_what_they_hold() {
    let now = Instant::now();
    let mut rules = Rules::new(&configured(&[], &[]), 10, now);
    for written in ["10.1.2.3/8", "::ffff:10.0.0.0/104", "10.0.0.0/8"] {
        let plan = make(&mut rules, &deny(written, None), now).unwrap();
        assert_eq!(plan.network, net("10.0.0.0/8"));
    }
    assert_eq!(rules.len(), 1);
    assert!(make(&mut rules, &remove("::ffff:10.9.9.9/104"), now).is_ok());
    assert_eq!(rules.len(), 0);
}

#[test]
fn a_ban_ends_when_its_time_is_over() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut rules = Rules::new(&configured(&[], &["192.0.2.1"]), 10, start);
    make(&mut rules, &deny("192.0.2.1", Some(10)), start).unwrap();
    make(&mut rules, &deny("192.0.2.2", Some(20)), start).unwrap();
    make(&mut rules, &deny("192.0.2.3", None), start).unwrap();
    assert_eq!(rules.next_expiry(), Some(at(10)));
    assert!(rules.expired(start + Duration::from_nanos(9_999_999_999)).is_empty());
    let over = rules.expired(at(10));
    assert_eq!(over.len(), 1);
    assert_eq!((over[0].network, over[0].was, over[0].will), (net("192.0.2.1"), D, A));
    rules.enter(&over[0]);
    assert_eq!(rules.next_expiry(), Some(at(20)));
    // One that is set anew has its time from then on.
    make(&mut rules, &deny("192.0.2.2", Some(20)), at(15)).unwrap();
    assert!(rules.expired(at(34)).is_empty());
    let over = rules.expired(at(3600));
    assert_eq!((over.len(), over[0].will), (1, None));
    rules.enter(&over[0]);
    assert_eq!((rules.len(), rules.next_expiry()), (2, None));
}

#[test]
fn a_time_is_not_too_short_nor_too_long() {
    let now = Instant::now();
    let mut rules = Rules::new(&configured(&[], &[]), 10, now);
    let most = DOOR_LASTING_MAX.as_secs();
    for (seconds, good) in [(0, false), (1, true), (most, true), (most + 1, false)] {
        let made = make(&mut rules, &deny("192.0.2.1", Some(seconds)), now);
        assert_eq!(made.is_ok(), good, "{seconds}");
    }
    let longest = Change::Allow { network: net("192.0.2.1"), lasting: Some(Duration::MAX) };
    let why = make(&mut rules, &longest, now).unwrap_err();
    assert_eq!(why, "a rule lasts for 1 to 316224000 seconds, or for ever if no time is given");
}

#[test]
fn there_is_room_for_so_many() {
    let now = Instant::now();
    let mut rules = Rules::new(&configured(&["10.0.0.0/8"], &[]), 2, now);
    make(&mut rules, &deny("192.0.2.1", None), now).unwrap();
    let why = make(&mut rules, &deny("192.0.2.2", None), now).unwrap_err();
    assert_eq!(why, "there are 2 rules already, which is as many as there may be");
    make(&mut rules, &allow("10.0.0.0/8"), now).unwrap();
    make(&mut rules, &allow("192.0.2.1"), now).unwrap();
    make(&mut rules, &remove("192.0.2.1"), now).unwrap();
    make(&mut rules, &deny("192.0.2.2", None), now).unwrap();
    let commanded =
        Commanded { verdict: Verdict::Deny, since: Since::new(now, Duration::ZERO), expires: None };
    assert!(!rules.restore(net("192.0.2.9"), commanded, 0));
    assert!(rules.restore(net("192.0.2.2"), commanded, 0));
}

#[test]
fn a_change_is_told_in_the_words_of_the_command() {
    for (change, told) in [
        (deny("10.1.2.3/8", Some(600)), "deny 10.0.0.0/8 for 600 s"),
        (allow("::ffff:192.0.2.7"), "allow 192.0.2.7/32"),
        (remove("2001:db8::/32"), "remove 2001:db8::/32"),
    ] {
        assert_eq!(change.to_string(), told);
    }
}
