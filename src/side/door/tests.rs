use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use slog::{Drain, Logger, o};

use super::*;
use crate::config::Door as Config;
use crate::door::Door;
use crate::http::request::{Parsed, Version, parse};
use crate::limits::DOOR_LASTING_MAX;
use crate::metrics::Metrics;
use crate::resource::Node;
use crate::side::routes;
use crate::stream::admission::{Admission, Limits};

/// A log that the test reads.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A side port without a port.
struct Side {
    desk: Desk,
    log: Written,
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Side {
    fn new(door: Option<Config>) -> Side {
        let log = Written::default();
        let json = slog_json::Json::default(log.clone());
        let logger = Logger::root(Mutex::new(json).ignore_res(), o!());
        let metrics = Metrics::counting(true);
        let porter = door.map(|config| {
            let door = Door::open(&config, 1, &metrics, &logger).unwrap();
            Porter::new(door.start().unwrap(), &config.authentication)
        });
        // What was said before anybody asked.
        log.0.lock().unwrap().clear();
        let admission = Arc::new(Admission::new(Limits::default(), None));
        let node = Node::new(metrics, Vec::new(), admission, 1, Instant::now());
        Side { desk: Desk::new(&node, porter, logger), log }
    }

    fn ask(&self, asker: Asker, first_line: &str, headers: &str) -> Answer {
        let head = format!("{first_line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let Parsed::Whole(request, _) = parse(head.as_bytes()) else { panic!("{head}") };
        let response = routes::answer(&self.desk, &request, asker);
        let status = response.status();
        let outgoing = response.outgoing(request.method, Version::Http11, false);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let body = outgoing.body.as_ref().map(|body| text(body)).unwrap_or_default();
        Answer { status, head: text(&outgoing.head), body }
    }

    fn post(&self, target: &str) -> Answer {
        self.ask(HERE, &format!("POST {target}"), "")
    }

    /// Network, verdict, whose, and whether it ends.
    fn rules(&self) -> Vec<String> {
        let listing = self.ask(HERE, "GET /door", "").json();
        let rules = listing["rules"].as_array().unwrap();
        let text = |rule: &Value| {
            let word = |key: &str| rule[key].as_str().unwrap().to_owned();
            let end = if rule["expires_in_seconds"].is_null() { "" } else { " for a while" };
            format!("{} {} by {}{end}", word("network"), word("verdict"), word("by"))
        };
        rules.iter().map(text).collect()
    }

    fn log(&self) -> Vec<Value> {
        let bytes = self.log.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("\r\nContent-Type: application/json\r\n"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap().to_owned())
    }
}

const HERE: Asker = Asker { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), is_local: true };

fn elsewhere() -> Asker {
    Asker { address: "192.0.2.1".parse().unwrap(), is_local: false }
}

fn config() -> Config {
    let networks = |text: &str| vec![text.parse().unwrap()];
    Config {
        deny: networks("203.0.113.0/24"),
        allow: networks("203.0.113.16/28"),
        ..Config::default()
    }
}

fn with(authentication: Authentication) -> Side {
    Side::new(Some(Config { authentication, ..config() }))
}

fn basic() -> Authentication {
    Authentication::Basic {
        realm: "door".into(),
        users: vec![("alice".into(), Secret::new("secret"))],
        token_query: true,
    }
}

#[test]
fn without_a_door_there_is_none_to_ask_about() {
    let side = Side::new(None);
    for line in ["GET /door", "POST /door/deny?network=::/0", "GET /door/deny", "POST /door/remove"]
    {
        let answer = side.ask(HERE, line, "");
        assert_eq!(answer.error(), (404, "no door is configured".to_owned()), "{line}");
    }
    assert!(side.ask(HERE, "GET /", "").body.contains("\n/door "), "the index names it");
    assert_eq!(side.ask(HERE, "GET /door/", "").status, 404);
}

#[test]
fn methods_are_those_that_fit() {
    let side = Side::new(Some(config()));
    for (line, status, allow) in [
        ("GET /door", 200, None),
        ("HEAD /door", 200, None),
        ("OPTIONS /door", 204, Some("GET, HEAD, OPTIONS")),
        ("POST /door", 405, Some("GET, HEAD, OPTIONS")),
        ("GET /door/deny?network=::/0", 405, Some("POST")),
        ("PUT /door/allow?network=::/0", 405, Some("POST")),
        ("OPTIONS /door/remove?network=::/0", 405, Some("POST")),
    ] {
        let answer = side.ask(HERE, line, "");
        assert_eq!(answer.status, status, "{line}");
        let allowed = answer.head.lines().find_map(|line| line.strip_prefix("Allow: "));
        assert_eq!(allowed, allow, "{line}");
    }
    assert_eq!(side.rules().len(), 2, "nothing has changed");
}

#[test]
fn changes_hold_and_are_answered_with_all_rules() {
    let side = Side::new(Some(config()));
    let answer = side.post("/door/deny?network=198.51.100.7%2F32&for=600");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rule = answer.json()["rules"][0].clone();
    assert_eq!((&rule["network"], &rule["hits"]), (&"198.51.100.7/32".into(), &0.into()));
    assert_eq!(rule["expires_in_seconds"], 600);
    assert_eq!(side.post("/door/allow?network=2001:db8::1&").status, 200);
    assert_eq!(side.post("/door/allow?for=1&network=203.0.113.99/24").status, 200);
    assert_eq!(
        side.rules(),
        [
            "198.51.100.7/32 deny by command for a while",
            "203.0.113.0/24 allow by command for a while",
            "203.0.113.16/28 allow by configuration",
            "2001:db8::1/128 allow by command",
        ]
    );
    for network in ["::ffff:198.51.100.7", "203.0.113.0/24", "2001:db8::1/128"] {
        let answer = side.post(&format!("/door/remove?network={network}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let ours = ["203.0.113.0/24 deny by configuration", "203.0.113.16/28 allow by configuration"];
    assert_eq!(side.rules(), ours);
}

#[test]
fn what_cannot_be_changed_is_told_of_and_changes_nothing() {
    let side = Side::new(Some(config()));
    let too_long = DOOR_LASTING_MAX.as_secs() + 1;
    for (target, status, words) in [
        ("/door/deny".to_owned(), 400, "network is missing"),
        ("/door/deny?for=1".to_owned(), 400, "network is missing"),
        ("/door/deny?network=".to_owned(), 400, "neither a network"),
        ("/door/deny?network=10.0.0.0/33".to_owned(), 400, "neither a network"),
        ("/door/deny?network=example.org".to_owned(), 400, "neither a network"),
        ("/door/deny?network=10.0.0.0/8&for=".to_owned(), 400, "number of seconds"),
        ("/door/deny?network=10.0.0.0/8&for=%2B5".to_owned(), 400, "number of seconds"),
        ("/door/deny?network=10.0.0.0/8&for=10m".to_owned(), 400, "number of seconds"),
        ("/door/deny?network=10.0.0.0/8&for=0".to_owned(), 400, "lasts for 1 to"),
        (format!("/door/deny?network=10.0.0.0/8&for={too_long}"), 400, "lasts for 1 to"),
        ("/door/deny?network=10.0.0.0/8&seconds=5".to_owned(), 400, "something beside"),
        ("/door/deny?network=10.0.0.0/8&for=5&for=6".to_owned(), 400, "something beside"),
        ("/door/deny?network=10.0.0.0/8&network=::/0".to_owned(), 400, "something beside"),
        ("/door/remove?network=10.0.0.0/8&for=5".to_owned(), 400, "no place"),
        ("/door/remove?network=10.0.0.0/8".to_owned(), 404, "no rule is about 10.0.0.0/8"),
        ("/door/remove?network=203.0.113.0/24".to_owned(), 409, "`allow` it"),
    ] {
        let (answered, error) = side.post(&target).error();
        assert_eq!(answered, status, "{target}: {error}");
        assert!(error.contains(words), "{target}: {error}");
    }
    assert_eq!(side.rules().len(), 2);
    assert!(side.log().is_empty(), "{:?}", side.log());
}

#[test]
fn another_host_may_look_and_change_nothing() {
    let side = with(Authentication::Open);
    assert_eq!(side.ask(elsewhere(), "GET /door", "").status, 200);
    for credentials in ["", "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"] {
        for verb in ["deny", "allow", "remove"] {
            let line = format!("POST /door/{verb}?network=203.0.113.0/24");
            let (status, error) = side.ask(elsewhere(), &line, credentials).error();
            assert!(status == 403 && error.starts_with("only this host"), "{status} {error}");
        }
    }
    assert_eq!(side.rules().len(), 2);
}

#[test]
fn who_shows_good_credentials_may_change_it_from_elsewhere() {
    let line = "POST /door/deny?network=10.0.0.0/8";
    let token = Authentication::Bearer { tokens: vec![Secret::new("sesame")], token_query: true };
    for (authentication, good, bad, challenge) in [
        (
            basic(),
            "Authorization: Basic YWxpY2U6c2VjcmV0\r\n",
            "Authorization: Basic YWxpY2U6c2VjcmV4\r\n",
            "\r\nWWW-Authenticate: Basic realm=\"door\" charset=\"UTF-8\"\r\n",
        ),
        (
            token,
            "Authorization: Bearer sesame\r\n",
            "Authorization: Bearer sesam\r\n",
            "\r\nWWW-Authenticate: Bearer realm=\"restreamer\"\r\n",
        ),
    ] {
        let side = with(authentication);
        for shown in ["", bad] {
            let answer = side.ask(elsewhere(), line, shown);
            assert_eq!(answer.error(), (401, "who asks is not known here".to_owned()));
            assert!(answer.head.contains(challenge), "{}", answer.head);
        }
        let query = format!("{line}&token=sesame");
        assert_eq!(side.ask(elsewhere(), &query, "").status, 401, "no token in an address");
        assert_eq!(side.rules().len(), 2);
        assert_eq!(side.ask(elsewhere(), line, good).status, 200);
        assert_eq!(side.rules().len(), 3);
        assert_eq!(side.post("/door/remove?network=10.0.0.0/8").status, 200, "here without");
    }
    let nobody = with(Authentication::Deny);
    let answer = nobody.ask(elsewhere(), line, "Authorization: Basic YWxpY2U6c2VjcmV0\r\n");
    assert_eq!(answer.error().0, 403);
}

#[test]
fn a_page_in_a_browser_changes_nothing_whoever_looks_at_it() {
    let side = with(basic());
    let shown = "Authorization: Basic YWxpY2U6c2VjcmV0\r\nOrigin: https://example.org\r\n";
    for asker in [HERE, elsewhere()] {
        let answer = side.ask(asker, "POST /door/deny?network=10.0.0.0/8", shown);
        assert_eq!(answer.error().0, 403);
        assert_eq!(side.ask(asker, "POST /drain", shown).status, 403);
    }
    assert_eq!(side.rules().len(), 2);
    assert!(!side.desk.node.drains());
}

#[test]
fn a_page_of_another_origin_reads_nothing_of_the_door() {
    let side = Side::new(Some(config()));
    let shared = |line: &str| {
        let answer = side.ask(HERE, line, "Origin: https://example.org\r\n");
        answer.head.contains("Access-Control-Allow-Origin")
    };
    assert!(!shared("GET /door") && !shared("POST /door/deny?network=10.0.0.0/8"));
    assert!(shared("GET /streams"), "whose absence would show");
}

#[test]
fn the_log_says_who_has_changed_what_for_how_long() {
    let side = with(basic());
    let good = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    assert_eq!(side.post("/door/allow?network=10.0.0.0/8").status, 200);
    let line = "POST /door/deny?network=10.1.2.3/8&for=90";
    assert_eq!(side.ask(elsewhere(), line, good).status, 200);
    assert_eq!(side.ask(elsewhere(), line, "").status, 401);
    let log = side.log();
    assert_eq!(log.len(), 2, "{log:?}");
    for (line, message, change, seconds, peer, user) in [
        (
            &log[0],
            "told by 127.0.0.1 to allow 10.0.0.0/8",
            "allow",
            Value::Null,
            "127.0.0.1",
            Value::Null,
        ),
        (
            &log[1],
            "told by 192.0.2.1, alice to deny 10.0.0.0/8 for 90 s",
            "deny",
            90.into(),
            "192.0.2.1",
            "alice".into(),
        ),
    ] {
        assert_eq!(line["msg"], message);
        assert_eq!((&line["event"], &line["level"]), (&"door".into(), &"INFO".into()));
        assert_eq!((&line["change"], &line["network"]), (&change.into(), &"10.0.0.0/8".into()));
        assert_eq!((&line["seconds"], &line["peer"]), (&seconds, &peer.into()));
        assert_eq!((&line["user"], &line["saved"]), (&user, &false.into()));
        assert!(!line.to_string().contains("secret") && !line.to_string().contains("YWxp"));
    }
}
