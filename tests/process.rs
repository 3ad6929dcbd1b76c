//! The program as operators meet it: its command line, its errors, its signals and its log.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use restreamer::limits::CONFIG_FILE_BYTES_MAX;
use serde_json::{Value, json};
use support::crowd::{Crowd, Pace, Watcher};
use support::node::{Node, run, stream};
use support::packets::packets;
use support::source::{Source, Speech};
use support::{PATIENCE, eventually, http, nobody};
use tempfile::TempDir;

const BITS_PER_SECOND: u64 = 8_000_000;
/// What the product promises.
const STOP_WITHIN: Duration = Duration::from_secs(2);

// ---- The command line ------------------------------------------------------------------------

#[test]
fn a_good_file_passes_the_check_and_nothing_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // Neither is the port tried, nor the log opened.
    let text = json!({
        "listen": taken.local_addr().unwrap().to_string(), "log": "/nonexistent/log",
        "": "a comment", "resources": [stream("/a.ts", "http://user:s3cret@127.0.0.1:9/x")],
    });
    let (dir, file) = written(&text.to_string());
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out, format!("{file}: ok\n"));
}

#[test]
fn the_check_says_everything_that_is_wrong_and_where() {
    let (dir, file) = written(
        r#"{
    "listen": "8000",
    "timeout": -1,
    "maxconnections": "many",
    "lisen": ":80",
    "resources": [
        { "type": "stream", "serve": "a.ts", "remote": "tcp://127.0.0.1" },
        { "type": "stream", "serve": "/b.ts" },
        { "type": "movie", "serve": "/c.ts", "remote": "tcp://127.0.0.1:1",
          "remotes": ["tcp://127.0.0.1:1", "gopher://127.0.0.1:70/"] },
        { "type": "stream", "serve": "/b.ts", "remote": "tcp://127.0.0.1:1", "": 7 }
    ]
}"#,
    );
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    for (line, path) in [
        (2, "listen"),
        (3, "timeout"),
        (4, "maxconnections"),
        (5, "lisen"),
        (7, "resources[0].serve"),
        (7, "resources[0].remote"),
        (8, "resources[1]"),
        (9, "resources[2].type"),
        (11, "resources[3].serve"),
    ] {
        let place = format!("{file}:{line}: {path}: ");
        let why = err.lines().find_map(|said| said.strip_prefix(&place));
        assert!(why.is_some_and(|why| why.len() > 5), "{place} in\n{err}");
    }
    assert!(err.contains("did you mean `listen`"), "{err}");
    assert!(err.lines().all(|said| said.starts_with(&format!("{file}:"))), "{err}");
    // At start it is refused for the same reasons.
    let (code, out, starting) = run(&[&file], dir.path());
    assert_eq!((code, out.as_str()), (1, ""), "{starting}");
    assert!(starting.contains(&format!("{file}:2: listen: ")), "{starting}");
}

#[test]
fn an_unknown_key_fails_the_check_and_is_a_warning_at_start() {
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "outputbufer": 100,
        "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
    });
    let (dir, file) = written(&config.to_string());
    let (code, _, err) = run(&["--check", &file], dir.path());
    assert_eq!(code, 1);
    assert!(err.starts_with(&format!("{file}:1: outputbufer: ")), "{err}");
    assert!(err.contains("`outputbuffer`"), "{err}");
    let node = Node::spawn(&[&file], dir);
    let warning = node.await_log(|entry| entry["message"] == err.trim());
    assert_eq!((&warning["level"], &warning["event"]), (&json!("warning"), &json!("config")));
    node.await_log(|entry| entry["side"].is_string());
}

#[test]
fn a_check_of_no_stream_fails_the_check_and_is_an_error_in_the_log_at_start() {
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0",
        "resources": [
            { "type": "api", "serve": "/check", "api": "check", "remote": "/b.ts" },
            stream("/a.ts", &format!("tcp://{}", nobody())),
        ],
    });
    let (dir, file) = written(&config.to_string());
    let (code, out, err) = run(&["--check", &file], dir.path());
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, format!("{file}:1: resources[0].remote: no stream is served at `/b.ts`\n"));
    let node = Node::spawn(&[&file], dir);
    let error = node.await_log(|entry| entry["message"] == err.trim());
    assert_eq!((&error["event"], &error["error"]), (&json!("error"), &json!("config")));
    node.await_log(|entry| entry["side"].is_string());
}

#[test]
fn a_file_that_is_no_configuration_is_one_clear_line() {
    let (dir, file) = written("");
    let folder = dir.path().to_str().unwrap();
    let missing = format!("{folder}/missing.json");
    let huge = vec![b' '; CONFIG_FILE_BYTES_MAX + 1];
    for (text, name, says) in [
        (&b""[..], missing.as_str(), "cannot be read: No such file or directory"),
        (b"", folder, "cannot be read: Is a directory"),
        (b"", &file, "not valid JSON"),
        (b"{\n\"listen\": \":80\",,\n}", &file, ":2: not valid JSON"),
        (b"{\n\"\": \"\xff\" }", &file, ":2: is not UTF-8 text"),
        (b"[]", &file, "expected an object, found an array"),
        (b"{}", &file, "no stream"),
        (&huge, &file, "larger than"),
    ] {
        std::fs::write(&file, text).unwrap();
        for arguments in [&["--check", name][..], &[name]] {
            let (code, out, err) = run(arguments, dir.path());
            assert_eq!((code, out.as_str()), (1, ""), "{err}");
            assert!(err.contains(name) && err.contains(says), "{says} in {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
}

#[test]
fn without_arguments_the_file_in_the_working_directory_is_served() {
    let (dir, _) = written("");
    let (code, _, err) = run(&[], dir.path());
    assert_eq!((code, err.lines().count()), (1, 1));
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0",
        "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
    });
    std::fs::write(dir.path().join("restreamer.json"), config.to_string()).unwrap();
    let node = Node::start(&[], dir);
    assert_eq!(http::get(node.address, "/a.ts").status, 404);
}

#[test]
fn a_log_that_cannot_be_opened_is_one_clear_line() {
    for log in ["/nonexistent/folder/log", "/"] {
        let config = json!({
            "listen": "127.0.0.1:0", "side": "", "log": log,
            "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
        });
        let (dir, file) = written(&config.to_string());
        let (code, out, err) = run(&[&file], dir.path());
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(err.starts_with("restreamer: log: ") && err.contains(log), "{err}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen", "side"] {
        let mut config = json!({
            "listen": "127.0.0.1:0", "side": "127.0.0.1:0",
            "resources": [stream("/a.ts", &format!("tcp://{}", nobody()))],
        });
        config[key] = json!(address);
        let (dir, file) = written(&config.to_string());
        let (code, out, err) = run(&[&file], dir.path());
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(err.starts_with(&format!("restreamer: {key}: ")), "{err}");
        assert!(err.contains(&address) && err.contains("in use"), "{err}");
    }
}

#[test]
fn options_are_what_people_expect() {
    let (dir, file) = written("{}");
    for arguments in [
        &["--no-such-option"][..],
        &["-x"],
        &[&file, "another.json"],
        &["demo", "another.json"],
        &["demo", "--listen", "8000"],
        &["demo", "--side"],
    ] {
        let (code, out, err) = run(arguments, dir.path());
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["-h"]] {
        let (code, out, err) = run(&arguments, dir.path());
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("Usage: restreamer") && out.contains("--check"), "{out}");
    }
    for arguments in [["--version"], ["-V"]] {
        let (code, out, err) = run(&arguments, dir.path());
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(out, format!("restreamer {}\n", env!("CARGO_PKG_VERSION")));
    }
}

// ---- Signals ---------------------------------------------------------------------------------

#[test]
fn sigterm_ends_viewers_on_a_packet_boundary_and_the_process_in_time() {
    assert_ends_well("TERM");
}

#[test]
fn sigint_ends_viewers_on_a_packet_boundary_and_the_process_in_time() {
    assert_ends_well("INT");
}

#[test]
fn listening_stops_at_once_though_a_viewer_is_waited_for() {
    let (source, mut node, _crowd) = with_stalled_viewers(1);
    node.signal("TERM");
    node.await_log(|entry| entry["event"] == "stop");
    // The stalled viewer has the middle of a packet: it is waited for in vain.
    eventually("the port to be closed", || TcpStream::connect(node.address).err());
    assert!(node.is_running(), "it has not ended yet");
    let streams = json!([stream("/a.ts", &source.url(Speech::Raw))]);
    let next = json!({ "listen": node.address.to_string(), "resources": streams });
    let _next = Node::with(&next);
    assert_eq!(node.await_end().code(), Some(0));
}

#[test]
fn guests_do_not_hold_up_the_end() {
    let mut node = Node::of(&format!("tcp://{}", nobody()));
    // One has asked nothing yet, one has half asked, one has his answer and stays.
    let _silent = http::connect(node.address);
    let mut asking = http::connect(node.address);
    asking.write_all(b"GET /a.ts HT").unwrap();
    let (_, _refused) = http::open(node.address, b"GET /none HTTP/1.0\r\n\r\n");
    node.signal("TERM");
    let before = Instant::now();
    assert_eq!(node.await_end().code(), Some(0));
    assert!(before.elapsed() < STOP_WITHIN, "{:?}", before.elapsed());
}

#[test]
fn sigterm_while_an_attempt_hangs_does_not_wait_for_it() {
    // It accepts in the kernel and never answers the request.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::of(&format!("http://{}/x", silent.local_addr().unwrap()));
    let _attempt = silent.accept().unwrap();
    node.signal("TERM");
    let before = Instant::now();
    assert_eq!(node.await_end().code(), Some(0));
    assert!(before.elapsed() < STOP_WITHIN, "{:?}", before.elapsed());
}

#[test]
fn sigusr1_opens_the_log_again_after_a_rotation() {
    let (mut node, log) = with_log_file(&format!("tcp://{}", nobody()), 3600);
    let old = log.with_extension("1");
    std::fs::rename(&log, &old).unwrap();
    let before = lines(&old).len();
    node.signal("USR1");
    eventually("the log to be opened again", || log.exists().then_some(()));
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    assert_eq!(lines(&old).len(), before, "the old file is left alone");
    let new = lines(&log);
    assert!(new.iter().any(|entry| entry["event"] == "stop"), "{new:?}");
    assert_eq!(new.last().unwrap()["message"], "stopped", "flushed to the end");
}

#[test]
fn a_log_that_cannot_be_opened_again_goes_on_in_the_old_file() {
    let (mut node, log) = with_log_file(&format!("tcp://{}", nobody()), 3600);
    let old = log.with_extension("1");
    std::fs::rename(&log, &old).unwrap();
    // Where the log was, there is a folder now.
    std::fs::create_dir(&log).unwrap();
    let before = lines(&old).len();
    node.signal("USR1");
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    let lines = lines(&old);
    let complaint = lines[before..].iter().find(|entry| entry["event"] == "error").unwrap();
    assert!(complaint["message"].as_str().unwrap().contains(log.to_str().unwrap()), "{complaint}");
    assert_eq!(complaint["level"], "error", "as any other error is");
    assert!(["time", "module", "error"].iter().all(|key| complaint[*key].is_string()));
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

#[test]
fn sigusr1_does_nothing_to_a_log_on_standard_output() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    for _ in 0..3 {
        node.signal("USR1");
        node.await_log(|entry| entry["event"] == "reopen");
    }
    http::read_bytes(&mut viewer, 1000 * 188);
    assert_eq!(node.stop().code(), Some(0));
}

// ---- The log ---------------------------------------------------------------------------------

#[test]
fn every_line_of_the_log_has_the_keys_of_the_contract() {
    let script = "echo to the log >&2; exit 3";
    let source = Source::start(Speech::Http, BITS_PER_SECOND);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "reconnect": 1, "log": log,
        "outputbuffer": 1, "unknown": 1, "profile": true,
        "resources": [
            stream("/live", &source.url(Speech::Http)),
            stream("/refused", &format!("tcp://{}", nobody())),
            stream("/missing", "unix:///nonexistent/socket"),
            stream("/no-file", "file:///nonexistent/file.ts"),
            stream("/failing", &shell(script, &dir)),
            stream("/nobody", "fork:///nonexistent/program"),
        ],
    });
    let file = dir.path().join("restreamer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut node = Node::spawn(&[file.to_str().unwrap()], dir);
    eventually("all that can go wrong", || {
        let lines = lines(&log);
        let of = |stream: &str, event: &str| {
            lines.iter().any(|entry| entry["stream"] == stream && entry["event"] == event)
        };
        let wrong = ["/refused", "/missing", "/no-file", "/failing", "/nobody"];
        let all = wrong.iter().all(|stream| of(stream, "error"));
        (all && of("/live", "connected") && of("/failing", "stderr")).then_some(())
    });
    drop(source);
    eventually("the loss of the live one", || {
        let lost = |entry: &Value| entry["stream"] == "/live" && entry["event"] == "error";
        lines(&log).iter().any(lost).then_some(())
    });
    node.signal("USR1");
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    let lines = lines(&log);
    assert!(lines.iter().any(|entry| entry["message"] == "to the log"), "{lines:?}");
    for entry in &lines {
        for key in ["time", "module", "event", "message"] {
            let value = entry[key].as_str().unwrap_or_default();
            assert!(!value.is_empty(), "{key} in {entry}");
        }
        let time = entry["time"].as_str().unwrap();
        let date = time.get(..10).is_some_and(|date| date.starts_with("20"));
        assert!(date && &time[10..11] == "T" && time.ends_with('Z'), "RFC 3339: {time}");
        if entry["event"] == "error" {
            assert!(entry["error"].as_str().is_some_and(|kind| !kind.is_empty()), "{entry}");
        }
        let complains = entry["level"] != "info";
        let of_config = entry["event"] == "config";
        assert_eq!(complains, entry["event"] == "error" || of_config, "{entry}");
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    const FAILING: usize = 200;
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("log");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let open = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let mut resources = vec![stream("/a.ts", &source.url(Speech::Raw))];
    resources.extend((0..FAILING).map(|n| stream(&format!("/{n}"), "unix:///nonexistent/x")));
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "reconnect": 0.1, "log": fifo,
        "resources": resources,
    });
    let file = dir.path().join("restreamer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut node = Node::spawn(&[file.to_str().unwrap()], dir);
    // It is read until it has told where it serves, and never again.
    let mut served = [None, None];
    for line in BufReader::new(open.try_clone().unwrap()).lines() {
        let entry: Value = serde_json::from_str(&line.unwrap()).unwrap();
        for (place, key) in served.iter_mut().zip(["address", "side"]) {
            *place = place.or(entry[key].as_str().map(|address| address.parse().unwrap()));
        }
        if let [Some(address), Some(side)] = served {
            (node.address, node.side) = (address, side);
            break;
        }
    }
    let mut crowd = Crowd::new();
    eventually("the stream", || {
        (http::request(node.address, "HEAD", "/a.ts").status == 200).then_some(())
    });
    crowd.join(node.address, "/a.ts", 10, Pace::Fast);
    let lost = || node.count("restreamer_log_dropped_total", "") > 0;
    crowd.watch_until(|_| lost(), PATIENCE);
    // All is said that can be said; the stream goes on.
    let seen = crowd.watchers[0].verifier.packets;
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.packets > seen + 5000), PATIENCE);
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("a viewer");
    }
    drop(crowd);
    node.signal("TERM");
    let before = Instant::now();
    assert_eq!(node.await_end().code(), Some(0));
    assert!(before.elapsed() < STOP_WITHIN, "{:?}", before.elapsed());
}

#[test]
fn a_viewer_who_hangs_up_is_nothing_to_complain_about() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    for number in 0..20 {
        let mut viewer = http::watch(node.address, "/a.ts");
        http::read_bytes(&mut viewer, number * 50);
        if number % 2 == 0 {
            let now = Some(Duration::ZERO);
            socket2::SockRef::from(&viewer).set_linger(now).unwrap();
        }
    }
    node.await_count("restreamer_viewers_ended_total", "", 20);
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    for entry in node.log_to_the_end() {
        assert!(entry["level"] == "info" && entry["event"] != "error", "{entry}");
    }
}

#[test]
fn a_password_is_never_seen() {
    const SECRETS: [&str; 5] = ["s3cret-a", "s3cret-b", "s3cret-c", "s3cret-d", "s3cret-e"];
    let good = Source::start(Speech::Http, BITS_PER_SECOND);
    let (refusing, redirecting) = (answering("HTTP/1.1 403 Forbidden\r\n\r\n"), {
        let location = format!("http://bob:{}@{}/elsewhere", SECRETS[4], nobody());
        answering(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"))
    });
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let at = |secret: &str, address: SocketAddr| format!("http://alice:{secret}@{address}/x?y=z");
    let resources = [
        stream("/a.ts", &at(SECRETS[0], good.address)),
        stream("/b.ts", &at(SECRETS[1], refusing)),
        stream("/c.ts", &at(SECRETS[1], nobody())),
        stream("/d.ts", &at(SECRETS[1], redirecting)),
        stream("/e.ts", &format!("fork://false?-i+{}", at(SECRETS[2], nobody()))),
        stream("/f.ts", &format!("fork:///nonexistent?-i+{}", at(SECRETS[2], nobody()))),
    ];
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "reconnect": 1, "log": log,
        "userlist": { "carol": { "password": SECRETS[3] } }, "resources": resources,
    });
    let file = dir.path().join("restreamer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut node = Node::spawn(&[file.to_str().unwrap()], dir);
    let side = eventually("every attempt's end", || {
        let lines = lines(&log);
        let of = |stream: &str, event: &str| {
            lines.iter().any(|entry| entry["stream"] == stream && entry["event"] == event)
        };
        let failed = ["/b.ts", "/c.ts", "/d.ts", "/e.ts", "/f.ts"].map(|path| of(path, "error"));
        let side = lines.iter().find_map(|entry| entry["side"].as_str().map(str::to_owned));
        side.filter(|_| failed.iter().all(|&failed| failed) && of("/a.ts", "connected"))
    });
    let side = side.parse().unwrap();
    let mut seen = ["/metrics", "/streams"].map(|path| http::get(side, path).text()).to_vec();
    node.signal("TERM");
    node.await_end();
    seen.push(std::fs::read_to_string(&log).unwrap());
    for text in seen {
        assert!(text.contains("alice:***@"), "masked, not left out: {text}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn the_check_shows_no_password() {
    const SECRET: &str = "s3cret-x";
    let urls = [
        "https://alice:s3cret-x@127.0.0.1:0/x",
        "http://alice:s3cret-x@127.0.0.1:99999/x",
        "http://alice:s3cret-x@[::1/x",
        "http:/alice:s3cret-x@127.0.0.1/x",
        "tcp://alice:s3cret-x@127.0.0.1:1",
        "tcp://s3cret-x",
        "rtmp://alice:s3cret-x@127.0.0.1/x",
        "alice:s3cret-x@127.0.0.1/x",
        "fork://alice:s3cret-x@command",
        "fork://ffmpeg?http://alice:s3cret-x@%ff",
        "fork://ffmpeg?http://alice:s3cret-x%zz",
        "unix://s3cret-x",
        " http://alice:s3cret-x@127.0.0.1/x",
    ];
    let resources = urls.iter().enumerate();
    let resources: Vec<_> = resources.map(|(n, url)| stream(&format!("/{n}"), url)).collect();
    let config = json!({
        "userlist": { "carol": { "password": [SECRET] }, "dave": { "pasword": SECRET } },
        "resources": resources,
    });
    let text = serde_json::to_string_pretty(&config).unwrap();
    let (dir, file) = written(&text);
    for arguments in [&["--check", &*file][..], &[&file]] {
        let (code, out, err) = run(arguments, dir.path());
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(!err.contains(SECRET), "{err}");
        for number in 0..urls.len() {
            assert!(err.contains(&format!(": resources[{number}].remote: ")), "{number} in {err}");
        }
    }
    // A file that is not even JSON: the text around the fault is not quoted.
    std::fs::write(&file, text.replace("\"pasword\":", "\"password\"")).unwrap();
    let (code, _, err) = run(&["--check", &file], dir.path());
    assert!(code == 1 && err.contains("not valid JSON") && !err.contains(SECRET), "{err}");
}

// ---- Commands --------------------------------------------------------------------------------

#[test]
fn a_command_is_asked_to_end_before_it_is_killed() {
    let script = "trap 'echo asked >&2; exit 0' TERM; echo pid $$ >&2; while :; do sleep 0.1; done";
    let (node, pid) = with_command(script);
    node.signal("TERM");
    node.await_log(|entry| entry["message"] == "asked");
    await_gone(pid);
}

#[test]
fn a_command_is_gone_when_the_node_has_ended() {
    for ignoring in ["", "trap '' TERM; "] {
        let script = format!("{ignoring}echo pid $$ >&2; while :; do sleep 0.1; done");
        let (mut node, pid) = with_command(&script);
        assert!(is_alive(pid));
        node.signal("TERM");
        let before = Instant::now();
        assert_eq!(node.await_end().code(), Some(0));
        assert!(before.elapsed() < STOP_WITHIN, "{:?}", before.elapsed());
        assert!(!is_alive(pid), "{script} outlives its node");
    }
}

#[test]
fn what_a_command_has_started_is_gone_when_the_node_has_ended() {
    let script = "sleep 1000 & echo pid $! >&2; wait";
    let (mut node, pid) = with_command(script);
    assert!(is_alive(pid));
    node.signal("TERM");
    assert_eq!(node.await_end().code(), Some(0));
    await_gone(pid);
}

#[test]
fn a_command_is_gone_even_when_the_node_is_killed() {
    let (mut node, pid) = with_command("trap '' TERM; echo pid $$ >&2; exec sleep 1000");
    assert!(is_alive(pid));
    node.signal("KILL");
    assert_eq!(node.await_end().code(), None, "killed by a signal");
    await_gone(pid);
}

#[test]
fn a_command_whose_output_is_not_wanted_any_more_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("packets");
    std::fs::write(&file, packets(0..100)).unwrap();
    let script = format!("echo pid $$ >&2; cat {}; exec sleep 1000", file.display());
    let resources = [stream("/a.ts", &shell(&script, &dir))];
    let node = Node::with(&json!({ "readtimeout": 1, "resources": resources }));
    let pid = pid_in_log(&node);
    node.await_log(|entry| entry["event"] == "error");
    await_gone(pid);
    // And the next one runs.
    assert!(is_alive(pid_in_log(&node)));
}

// ---- What they share -------------------------------------------------------------------------

/// A node whose only stream is what a shell script writes; the script says its process id.
fn with_command(script: &str) -> (Node, u32) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::of(&shell(script, &dir));
    let pid = pid_in_log(&node);
    // The shell has read it.
    drop(dir);
    (node, pid)
}

/// The upstream that a shell script is.
fn shell(script: &str, dir: &TempDir) -> String {
    let file = dir.path().join("script");
    std::fs::write(&file, script).unwrap();
    format!("fork://sh?{}", file.display())
}

fn pid_in_log(node: &Node) -> u32 {
    let said = node.await_log(|entry| entry["message"].as_str().unwrap().starts_with("pid "));
    said["message"].as_str().unwrap()["pid ".len()..].parse().unwrap()
}

/// Whether a process runs; one that is dead and not yet reaped does not (proc(5), `stat`).
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().unwrap().trim_start();
    !state.starts_with(['Z', 'X'])
}

fn await_gone(pid: u32) {
    eventually("the end of a command", || (!is_alive(pid)).then_some(()));
}

/// Stops a node with viewers who read, who begin to read only now, and one who never reads.
fn assert_ends_well(signal: &str) {
    let (_source, mut node, mut crowd) = with_stalled_viewers(6);
    crowd.join(node.address, "/a.ts", 20, Pace::Fast);
    let fast = |all: &[Watcher]| all[6..].iter().all(|watcher| watcher.verifier.packets > 1000);
    crowd.watch_until(fast, PATIENCE);
    // What the kernel has for them ends in the middle of a packet.
    crowd.watchers[1..6].iter_mut().for_each(Watcher::hurry);
    node.signal(signal);
    let before = Instant::now();
    let watching = std::thread::spawn(move || {
        let over = |watcher: &Watcher| watcher.ended || watcher.pace() == Pace::Stalled;
        crowd.watch_until(|all| all.iter().all(over), PATIENCE);
        crowd
    });
    assert_eq!(node.await_end().code(), Some(0));
    let took = before.elapsed();
    assert!(took < STOP_WITHIN, "{took:?}");
    let crowd = watching.join().unwrap();
    for watcher in crowd.of(|pace| pace != Pace::Stalled) {
        let who = format!("{:?}", watcher.pace());
        if watcher.pace() == Pace::Fast {
            watcher.verifier.assert_perfect(&who);
        }
        watcher.verifier.assert_whole(&who);
        assert_eq!(watcher.verifier.unfinished(), 0, "{who}: the last packet is whole");
    }
    let log = node.log_to_the_end();
    let complaints: Vec<_> = log.iter().filter(|entry| entry["level"] != "info").collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_eq!(log.last().unwrap()["message"], "stopped");
}

/// Fast enough to fill what the kernel buffers for a viewer in a moment.
const FLOOD_BITS_PER_SECOND: u64 = 40_000_000;

/// A node with viewers who do not read, so that packets are dropped for each of them already.
fn with_stalled_viewers(count: usize) -> (Source, Node, Crowd) {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let node = Node::of(&source.url(Speech::Raw));
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", count, Pace::Stalled);
    node.await_metric("streaming_packets_dropped", "/a.ts", |dropped| dropped > 0.0);
    node.await_count("restreamer_viewers", "catching_up", count as u64);
    (source, node, crowd)
}

/// A node with one stream that logs to a file, and the file.
fn with_log_file(remote: &str, reconnect: u64) -> (Node, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = json!({
        "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "reconnect": reconnect, "log": log,
        "resources": [stream("/a.ts", remote)],
    });
    let file = dir.path().join("restreamer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let node = Node::spawn(&[file.to_str().unwrap()], dir);
    eventually("the attempt's end", || {
        lines(&log).iter().any(|entry| entry["event"] == "error").then_some(())
    });
    (node, log)
}

/// The whole lines of a log file so far.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    whole.lines().map(parse).collect()
}

/// A configuration file with this text, in a folder of its own.
fn written(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.json");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

/// A server that answers every request in the same words.
fn answering(words: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let words = words.to_owned();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            let mut buffer = [0; 4096];
            // Whoever asks may be gone by the time of the answer.
            let _gone = peer.read(&mut buffer).and_then(|_| peer.write_all(words.as_bytes()));
        }
    });
    address
}
