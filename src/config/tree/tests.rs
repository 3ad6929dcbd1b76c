use super::*;

/// The tree as text, `line:value`, so that tables can state both.
fn show(node: &Node) -> String {
    let value = match &node.value {
        Value::Null => "null".to_owned(),
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.clone(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(nodes) => {
            format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Object(entries) => {
            let show = |e: &Entry| format!("{}:{}={}", e.line, e.key, show(&e.node));
            format!("{{{}}}", entries.iter().map(show).collect::<Vec<_>>().join(" "))
        }
    };
    format!("{}:{value}", node.line)
}

fn read_ok(text: &str) -> String {
    show(&read(text).unwrap_or_else(|problem| panic!("{problem}")))
}

fn read_err(text: &str) -> String {
    read(text).map(|node| show(&node)).expect_err("not valid").to_string()
}

#[test]
fn nodes_know_their_line() {
    assert_eq!(read_ok("1"), "1:1");
    assert_eq!(read_ok("\n\n null"), "3:null");
    assert_eq!(
        read_ok("{\"a\":\n[1,\n\n2,{\"b\"\n:false}]}"),
        "1:{1:a=2:[2:1 4:2 4:{4:b=5:false}]}"
    );
    assert_eq!(read_ok("{\r\n\"a\":\r\n\"x\"}"), "1:{2:a=3:\"x\"}");
    assert_eq!(read_ok("[]"), "1:[]");
    assert_eq!(read_ok(" {} "), "1:{}");
}

#[test]
fn values_are_what_json_says() {
    assert_eq!(read_ok(r#"["\u00e9\n\"", -1.50e3, true]"#), r#"1:[1:"é\n\"" 1:-1.50e3 1:true]"#);
    assert_eq!(read_ok(r#"{"\u0061":1}"#), "1:{1:a=1:1}");
}

#[test]
fn duplicates_are_kept_in_order() {
    assert_eq!(read_ok("{\"a\":1,\n\"a\":2}"), "1:{1:a=1:1 2:a=2:2}");
}

#[test]
fn comments_are_left_out_whatever_they_hold() {
    assert_eq!(read_ok(r#"{"":1,"a":{"":{"x":[]},"":""},"":null}"#), "1:{1:a=1:{}}");
    let deep = "[".repeat(500) + &"]".repeat(500);
    assert_eq!(read_ok(&format!("{{\"\": {deep}}}")), "1:{}");
    assert_eq!(read_ok(r#"{"": "\ud800"}"#), "1:{}", "half a surrogate pair in a comment");
}

#[test]
fn a_byte_order_mark_is_tolerated_in_front_only() {
    assert_eq!(read_ok("\u{feff}\n{}"), "2:{}");
    assert_eq!(read_err("\n\u{feff}{}"), "line 2: not valid JSON: expected value (column 1)");
}

#[test]
fn syntax_errors_have_the_line_of_the_file() {
    let table = [
        ("", "line 1: not valid JSON: EOF while parsing a value (column 0)"),
        ("{\n  \"a\": 1,\n}", "line 3: not valid JSON: trailing comma (column 1)"),
        ("{\n\"a\": 1\n\"b\": 2}", "line 3: not valid JSON: expected `,` or `}` (column 1)"),
        ("{\n\"a\": {\n\"b\": [1,\n x]}}", "line 4: not valid JSON: expected value (column 2)"),
        ("{}\n{}", "line 2: not valid JSON: trailing characters (column 1)"),
        ("{\n  // no\n}", "line 2: not valid JSON: key must be a string (column 3)"),
        (
            "{\n\"a\n\": 1}",
            "line 2: not valid JSON: control character (\\u0000-\\u001F) found while \
            parsing a string (column 2)",
        ),
        ("{\n\"a\": \"\\q\"}", "line 2: not valid JSON: invalid escape (column 8)"),
        (
            "{\"a\": [\n{\n\"b\": \"\\ud800\"}]}",
            "line 3: not valid JSON: unexpected end of hex escape (column 13)",
        ),
        ("[01]", "line 1: not valid JSON: invalid number (column 3)"),
    ];
    for (text, expected) in table {
        assert_eq!(read_err(text), expected, "{text:?}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| "[\n".repeat(depth) + &"]".repeat(depth);
    assert!(read(&nested(CONFIG_DEPTH_MAX)).is_ok());
    let expected = format!("line 17: nested deeper than {CONFIG_DEPTH_MAX} levels");
    assert_eq!(read_err(&nested(CONFIG_DEPTH_MAX + 1)), expected);
    assert_eq!(read_err(&nested(200_000)), expected);
    assert!(read(&"[".repeat(1_000_000)).is_err(), "unclosed");
    assert!(read(&"{\"a\":".repeat(200_000)).is_err(), "unclosed");
}
