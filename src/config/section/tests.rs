use proptest::prelude::*;

use super::super::tree;
use super::*;

const KEYS: &[&str] = &["alpha", "beta", "readtimeout"];

/// What `take` makes of the key `alpha` of an object, and all problems as text.
fn alpha<T>(
    text: &str,
    take: impl FnOnce(&Section<'_>, &mut Problems) -> Field<T>,
) -> (Option<T>, String) {
    let root = tree::read(text).unwrap_or_else(|problem| panic!("{problem}"));
    let mut problems = Problems::default();
    let value = Section::open(&root, At::whole_file(), KEYS, &mut problems)
        .and_then(|section| take(&section, &mut problems).given())
        .map(|(_, value)| value);
    let (errors, warnings) = problems.finish();
    let said: Vec<String> = errors.iter().chain(&warnings).map(ToString::to_string).collect();
    (value, said.join("; "))
}

fn number(value: &str) -> (Option<usize>, String) {
    alpha(&format!("{{\"alpha\": {value}}}"), |s, problems| s.whole("alpha", 1..=1000, problems))
}

fn time(value: &str) -> Result<Option<Duration>, String> {
    let text = format!("{{\"alpha\": {value}}}");
    let (value, said) = alpha(&text, |s, problems| s.seconds("alpha", problems));
    assert_eq!(value.is_some(), said.is_empty());
    value.ok_or(said)
}

#[test]
fn keys_match_without_regard_to_case_and_the_last_counts() {
    let read = |text: &str| alpha(text, |s, problems| s.whole("alpha", 0..=9, problems));
    assert_eq!(read(r#"{"alpha": 1}"#), (Some(1), String::new()));
    assert_eq!(read(r#"{"AlPHa": 1}"#), (Some(1), String::new()));
    assert_eq!(read(r#"{"alpha": null}"#), (None, String::new()));
    assert_eq!(read("{}"), (None, String::new()));
    let twice = "{\"Alpha\": 1,\n\"alpha\": 2}";
    let said = "line 2: alpha: given twice: the one on line 1 is ignored";
    assert_eq!(read(twice), (Some(2), said.to_owned()));
    let mistaken = "{\"alpha\": \"x\",\n\"alpha\": 2}";
    assert_eq!(read(mistaken), (Some(2), said.to_owned()), "what is ignored is not checked");
    let emptied = "{\"alpha\": 1,\n\"alpha\": null}";
    assert_eq!(read(emptied), (None, said.to_owned()));
}

#[test]
fn whole_numbers_are_within_their_range() {
    for (text, value) in [("1", 1), ("1000", 1000), ("42", 42)] {
        assert_eq!(number(text), (Some(value), String::new()), "{text}");
    }
    for text in ["0", "-0", "-1", "1001", "18446744073709551616", "-99999999999999999999"] {
        let said = format!("line 1: alpha: {text} is not within 1 and 1000");
        assert_eq!(number(text), (None, said));
    }
    for text in ["1.0", "1e2", "1E2", "0.5"] {
        let said = format!("line 1: alpha: expected a whole number, found {text}");
        assert_eq!(number(text), (None, said));
    }
    let digits = "9".repeat(1000);
    let said = format!("line 1: alpha: {}… is not within 1 and 1000", "9".repeat(64));
    assert_eq!(number(&digits), (None, said));
}

#[test]
fn seconds_may_have_a_fraction_and_zero_is_none() {
    let table = [
        ("0", None),
        ("0.0", None),
        ("-0.0", None),
        ("0.001", Some(Duration::from_millis(1))),
        ("1", Some(Duration::from_secs(1))),
        ("2.5", Some(Duration::from_millis(2500))),
        ("1e1", Some(Duration::from_secs(10))),
        ("86400", Some(TIMEOUT_MAX)),
    ];
    for (text, value) in table {
        assert_eq!(time(text), Ok(value), "{text}");
    }
    for text in ["-1", "-0.5", "-86401", "-1e300", "-1e999", "0.0001", "1e-400000"] {
        let said = format!("line 1: alpha: {text} seconds is neither 0 nor at least 0.001");
        assert_eq!(time(text), Err(said));
    }
    for text in ["86400.5", "86401", "1e300", "1e999"] {
        let text = format!("{{\"alpha\": {text}}}");
        let said = "line 1: alpha: is more than 86400 seconds and counts as that many";
        let read = alpha(&text, |s, problems| s.seconds("alpha", problems));
        assert_eq!(read, (Some(Some(TIMEOUT_MAX)), said.to_owned()), "{text}");
    }
}

#[test]
fn values_have_their_type() {
    let values = [
        ("\"x\"", "a string"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("{}", "an object"),
    ];
    for (value, found) in values {
        let text = format!("{{\"alpha\": {value}}}");
        let said = |expected: &str| format!("line 1: alpha: expected {expected}, found {found}");
        let check = |expected: &str, (given, problems): (bool, String)| {
            let right = found == expected;
            assert_eq!(
                (given, problems),
                (right, if right { String::new() } else { said(expected) })
            );
        };
        let given = |(value, said): (Option<()>, String)| (value.is_some(), said);
        check("a string", given(alpha(&text, |s, p| forget(s.text("alpha", p)))));
        check("a boolean", given(alpha(&text, |s, p| forget(s.flag("alpha", p)))));
        check("a number", given(alpha(&text, |s, p| forget(s.whole("alpha", 0..=9, p)))));
        check("a number", given(alpha(&text, |s, p| forget(s.seconds("alpha", p)))));
        check("an array", given(alpha(&text, |s, p| forget(s.list("alpha", p)))));
        check("an array", given(alpha(&text, |s, p| forget(s.texts("alpha", p)))));
    }
}

fn forget<T>(field: Field<T>) -> Field<()> {
    match field {
        Field::Given(at, _) => Field::Given(at, ()),
        Field::Absent => Field::Absent,
        Field::Refused => Field::Refused,
    }
}

#[test]
fn every_wrong_element_is_reported() {
    let text = "{\"alpha\": [\"a\",\n1,\n\"b\",\nnull]}";
    let (value, said) = alpha(text, |s, problems| s.texts("alpha", problems));
    let items = value.expect("an array");
    let good: Vec<&str> = items.good.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!((good.as_slice(), items.complete), (["a", "b"].as_slice(), false));
    assert_eq!(
        said,
        "line 2: alpha[1]: expected a string, found a number; \
         line 4: alpha[3]: expected a string, found null"
    );
}

#[test]
fn the_nearest_key_is_near() {
    let table = [
        ("readtimout", Some("readtimeout")),
        ("read_timeout", Some("readtimeout")),
        ("ReadTimeOuts", Some("readtimeout")),
        ("alpa", Some("alpha")),
        ("alhpa", Some("alpha")),
        ("bets", Some("beta")),
        ("bet", Some("beta")),
        ("ab", None),
        ("gamma", None),
        ("timeout", None),
        ("", None),
        ("é", None),
    ];
    for (key, expected) in table {
        assert_eq!(nearest(key, KEYS), expected, "{key}");
    }
}

proptest! {
    #[test]
    fn edits_are_a_distance(left in "[ab]{0,8}", right in "[ab]{0,8}") {
        let of = |a: &str, b: &str| edits(&a.chars().collect::<Vec<_>>(), b);
        prop_assert_eq!(of(&left, &right), of(&right, &left));
        prop_assert_eq!(of(&left, &left), 0);
        prop_assert_eq!(of(&left, &right) == 0, left == right);
        prop_assert!(of(&left, &right) <= left.len().max(right.len()));
        prop_assert!(of(&left, &right) >= left.len().abs_diff(right.len()));
    }
}
