//! Static resources: bodies that come from files and from others, whole, once for all who ask.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use restreamer::limits::STATIC_BODY_BYTES_MAX;
use serde_json::{Value, json};
use support::crowd::{Crowd, Pace};
use support::http::{self, Answer, Session};
use support::node::{Node, api, stream};
use support::packets::PACKET_BYTES;
use support::source::{Source, Speech};
use support::tls::{Authority, close, shake_hands};
use support::upstream::{accept, read_head};
use support::{PATIENCE, eventually, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
const REQUESTS: &str = "restreamer_static_requests_total";
const FETCHES: &str = "restreamer_static_fetches_total";
/// A file that nobody may read, the superuser included (ip(8), proc(5)).
const FORBIDDEN: &str = "/proc/sys/net/ipv4/route/flush";

// ---- What comes ------------------------------------------------------------------------------

#[test]
fn a_body_comes_whole_however_it_is_sent() {
    let html = b"<p>\xc3\xbcber uns</p>".as_slice();
    let typed =
        |more: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/x-a; b=c\r\n{more}\r\n");
    let length = typed(&format!("Content-Length: {}\r\n", html.len()));
    let coded = typed("Transfer-Encoding: chunked\r\n");
    let chunks = chunked(html, 5);
    for (what, said, at_once) in [
        ("with its length", [length.as_bytes(), html], true),
        ("with its length, byte by byte", [length.as_bytes(), html], false),
        ("without length", [typed("").as_bytes(), html], true),
        ("without length, byte by byte", [typed("").as_bytes(), html], false),
        ("in chunks", [coded.as_bytes(), &chunks], true),
        ("in chunks, byte by byte", [coded.as_bytes(), &chunks], false),
        (
            "by an old server",
            [b"HTTP/1.0 200 Fine\r\ncontent-type:text/x-a; b=c\n\r\n", html],
            true,
        ),
    ] {
        let said = said.concat();
        let origin = Origin::start(move |_, peer| {
            if at_once {
                return peer.write_all(&said);
            }
            said.iter().try_for_each(|&byte| peer.write_all(&[byte]))
        });
        let (_source, node) = serving(&[("/x", &origin.url("/page"), 0)], &json!({}));
        let answer = http::fetch(node.address, "/x");
        assert_eq!((answer.status, answer.body.as_slice()), (200, html), "{what}");
        assert_eq!(answer.header("Content-Type"), Some("text/x-a; b=c"), "{what}");
        assert_is_kept(&answer, 0);
        node.await_count(FETCHES, "result=\"ok\"", 1);
    }
}

#[test]
fn ten_mebibytes_come_whole_and_one_byte_more_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let fitting: Vec<u8> = (0..251).cycle().take(STATIC_BODY_BYTES_MAX).collect();
    let beyond = [fitting.as_slice(), b"!"].concat();
    let mut remotes = Vec::new();
    let mut origins = Vec::new();
    for (name, body) in [("fitting", &fitting), ("beyond", &beyond)] {
        let file = dir.path().join(name);
        std::fs::write(&file, body).unwrap();
        remotes.push((format!("/{name}/file"), format!("file://{}", file.display())));
        for way in ["length", "end", "chunks"] {
            let said = framed(way, body);
            let origin = Origin::start(move |_, peer| peer.write_all(&said));
            remotes.push((format!("/{name}/{way}"), origin.url("/")));
            origins.push(origin);
        }
    }
    let remotes: Vec<_> =
        remotes.iter().map(|(path, url)| (path.as_str(), url.as_str(), 9)).collect();
    let (_source, node) = serving(&remotes, &json!({}));
    for (path, ..) in remotes {
        let answer = http::fetch(node.address, path);
        if path.starts_with("/fitting") {
            assert_eq!((answer.status, answer.body.len()), (200, fitting.len()), "{path}");
            assert!(answer.body == fitting, "{path}: other bytes");
            assert_is_kept(&answer, 9);
        } else {
            assert_eq!(answer.status, 502, "{path}");
            assert_eq!(node.count(FETCHES, &format!("\"{path}\",result=\"too_large\"")), 1);
        }
    }
}

#[test]
fn what_others_answer_instead_is_passed_on_and_not_kept() {
    let origin = Origin::start(|path, peer| {
        let status = &path[1..];
        match status {
            "204" => write!(peer, "HTTP/1.1 204 None\r\n\r\n"),
            _ => write!(
                peer,
                "HTTP/1.1 {status} So\r\nContent-Type: text/x-why\r\n\r\nbecause of {status}"
            ),
        }
    });
    let statuses = [204, 400, 401, 403, 404, 410, 418, 500, 503];
    let remotes = statuses.map(|status| (format!("/{status}"), origin.url(&format!("/{status}"))));
    let remotes = remotes.each_ref().map(|(path, url)| (path.as_str(), url.as_str(), 3600));
    let (_source, node) = serving(&remotes, &json!({}));
    let mut session = Session::open(node.address);
    for (round, status) in (1..=2).flat_map(|round| statuses.map(|status| (round, status))) {
        let answer = session.ask("GET", &format!("/{status}"));
        assert_eq!(answer.status, status);
        for absent in ["ETag", "Cache-Control", "WWW-Authenticate"] {
            assert_eq!(answer.header(absent), None, "{status}");
        }
        if status != 204 {
            assert_eq!(answer.header("Content-Type"), Some("text/x-why"), "{status}");
            assert_eq!(answer.text(), format!("because of {status}"));
        }
        node.await_count(FETCHES, &format!("\"/{status}\",result=\"status\""), round);
    }
}

#[test]
fn what_cannot_be_fetched_is_a_bad_gateway() {
    let origin = Origin::start(|path, peer| match path {
        "/cut" => write!(peer, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all"),
        "/cut-chunk" => {
            write!(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        }
        "/no-http" => peer.write_all(&[0x47; 188]),
        "/endless" => write!(peer, "HTTP/1.1 302 Found\r\nLocation: /endless\r\n\r\n"),
        _nothing => Ok(()),
    });
    let nobody = format!("http://{}/x", nobody());
    let (cut, chunk, no_http, endless, nothing) = (
        origin.url("/cut"),
        origin.url("/cut-chunk"),
        origin.url("/no-http"),
        origin.url("/endless"),
        origin.url("/nothing"),
    );
    let remotes = [
        ("/nobody", nobody.as_str(), 60),
        ("/cut", &cut, 60),
        ("/cut-chunk", &chunk, 60),
        ("/no-http", &no_http, 60),
        ("/endless", &endless, 60),
        ("/nothing", &nothing, 60),
    ];
    let (_source, node) = serving(&remotes, &json!({}));
    for (path, ..) in remotes {
        let answer = http::fetch(node.address, path);
        assert_eq!((answer.status, answer.text().as_str()), (502, "502 Bad Gateway\n"), "{path}");
        let complaint = node.await_log(|entry| entry["event"] == "error");
        assert_eq!((&complaint["module"], &complaint["path"]), (&json!("static"), &json!(path)));
        assert!(complaint["error"].is_string(), "{complaint}");
    }
}

#[test]
fn files_have_the_type_of_their_extension_and_errors_their_status() {
    let dir = tempfile::tempdir().unwrap();
    let page = "<p>a page</p>";
    for name in ["a.html", "b.CSS", "c.json", "d.png", "e.svg", "f.txt", "g h", "i"] {
        std::fs::write(dir.path().join(name), page).unwrap();
    }
    std::fs::write(dir.path().join("empty.txt"), "").unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let at = |name: &str| format!("file://{}/{name}", dir.path().display());
    let rows = [
        ("/a", at("a.html"), 200, "text/html; charset=utf-8"),
        ("/b", at("b.CSS"), 200, "text/css; charset=utf-8"),
        ("/c", at("c.json"), 200, "application/json"),
        ("/d", at("d.png"), 200, "image/png"),
        ("/e", at("e.svg"), 200, "image/svg+xml"),
        ("/f", at("f.txt"), 200, "text/plain; charset=utf-8"),
        ("/g", at("g%20h"), 200, "application/octet-stream"),
        // The file has none; the path it is served at has one.
        ("/i.css", at("i"), 200, "text/css; charset=utf-8"),
        ("/empty", at("empty.txt"), 200, "text/plain; charset=utf-8"),
        ("/missing", at("missing.html"), 404, ""),
        ("/no-folder", at("a.html/x"), 404, ""),
        ("/folder", format!("file://{}", dir.path().display()), 404, ""),
        // It would wait for ever for somebody who writes.
        ("/fifo", at("fifo"), 404, ""),
        ("/forbidden", format!("file://{FORBIDDEN}"), 403, ""),
    ];
    let remotes: Vec<_> = rows.iter().map(|(path, url, ..)| (*path, url.as_str(), 5)).collect();
    let (_source, node) = serving(&remotes, &json!({}));
    for (path, url, status, kind) in &rows {
        let answer = http::fetch(node.address, path);
        assert_eq!(answer.status, *status, "{url}");
        if *status == 200 {
            assert_eq!(answer.header("Content-Type"), Some(*kind), "{url}");
            assert_is_kept(&answer, 5);
            assert_eq!(answer.text(), if *path == "/empty" { "" } else { page }, "{url}");
        }
    }
}

#[test]
fn a_type_that_nobody_says_is_guessed() {
    let origin = Origin::start(|_, peer| write!(peer, "HTTP/1.1 200 OK\r\n\r\nx"));
    let urls = ["/a.json?b.html", "/a", "/a.unknown"].map(|path| origin.url(path));
    let remotes = [("/x", urls[0].as_str(), 0), ("/y.svg", &urls[1], 0), ("/z", &urls[2], 0)];
    let (_source, node) = serving(&remotes, &json!({}));
    for (path, kind) in [
        ("/x", "application/json"),
        ("/y.svg", "image/svg+xml"),
        ("/z", "application/octet-stream"),
    ] {
        assert_eq!(http::fetch(node.address, path).header("Content-Type"), Some(kind), "{path}");
    }
}

#[test]
fn a_body_comes_by_tls_from_whom_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let [authority, unknown] = ["authority", "stranger"].map(Authority::named);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    let ca_file = json!({ "ca_file": authority.file(dir.path()) });
    let (_source, node) = serving(&[("/x", &url, 0)], &ca_file);
    for (authority, status) in [(&authority, 200), (&unknown, 502), (&authority, 200)] {
        let server = authority.vouch_for("127.0.0.1");
        let mut session = Session::open(node.address);
        session.say(b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
        let greeted = shake_hands(accept(&listener), &server);
        assert_eq!(greeted.is_ok(), status == 200);
        if let Ok(mut peer) = greeted {
            let head = read_head(&mut peer);
            assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
            peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoobar").unwrap();
            close(peer);
        }
        assert_eq!(session.hear("GET").status, status);
    }
}

#[test]
fn user_and_password_are_shown_to_the_upstream_alone() {
    let (tell, heads) = channel();
    let origin = Origin::start_telling(tell, |_, peer| write!(peer, "HTTP/1.1 500 No\r\n\r\n"));
    let url = format!("http://alice:s3cret@{}/x", origin.address);
    let (_source, node) = serving(&[("/x", &url, 0)], &json!({}));
    let answer = http::fetch(node.address, "/x");
    assert!(answer.status == 500 && !answer.head.contains("s3cret"), "{}", answer.head);
    let head: String = heads.recv_timeout(PATIENCE).unwrap();
    // alice:s3cret
    let line = "authorization: basic YWxpY2U6czNjcmV0".to_lowercase();
    assert!(head.to_lowercase().lines().any(|said| said == line), "{head}");
    assert!(!head.contains("s3cret"), "{head}");
    let metrics = http::get(node.side, "/metrics").text();
    node.signal("TERM");
    let log = node.log_to_the_end().iter().map(Value::to_string).collect::<String>();
    assert!(log.contains("alice:***@"), "{log}");
    for text in [metrics, log] {
        assert!(!text.contains("s3cret") && !text.contains("YWxpY2U6"), "{text}");
    }
}

#[test]
fn a_folder_is_served_with_all_below_it() {
    let origin = Origin::start(|path, peer| write!(peer, "HTTP/1.1 200 OK\r\n\r\n{path}"));
    let (_source, node) = serving(&[("/logo/", &origin.url("/the-logo"), 60)], &json!({}));
    for (path, status) in
        [("/logo/", 200), ("/logo/x", 200), ("/logo/x/y.png?z", 200), ("/logo", 404), ("/", 404)]
    {
        let answer = http::fetch(node.address, path);
        assert_eq!(answer.status, status, "{path}");
        if status == 200 {
            assert_eq!(answer.text(), "/the-logo", "{path}: one resource, whatever is asked for");
        }
    }
    assert_eq!(origin.asked(), 1);
}

// ---- What a client has already ---------------------------------------------------------------

#[test]
fn who_has_it_already_gets_no_body() {
    let origin =
        Origin::start(|_, peer| write!(peer, "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nfoobar"));
    let (_source, node) = serving(&[("/x", &origin.url("/x"), 60)], &json!({}));
    let mut session = Session::open(node.address);
    let get = session.ask("GET", "/x");
    // By the authors of the algorithm (their test vector for `foobar`).
    let tag = "85944171f73967e8";
    assert_eq!(get.header("ETag"), Some(format!("\"{tag}\"").as_str()));
    assert_eq!(get.header("Cache-Control"), Some("max-age=60"));
    assert_eq!(get.header("Content-Length"), Some("6"));
    let head = session.ask("HEAD", "/x");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(timeless(&head), timeless(&get));
    for (condition, status) in [
        (format!("\"{tag}\""), 304),
        (tag.to_owned(), 304),
        (format!("W/\"{tag}\""), 304),
        (format!("\"other\", \"{tag}\""), 304),
        ("*".to_owned(), 304),
        (format!("\"{}\"", tag.to_uppercase()), 200),
        ("\"85944171f73967e9\"".to_owned(), 200),
        (String::new(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let line = format!("If-None-Match: {condition}\r\n");
            let answer = session.ask_with(method, "/x", &line);
            assert_eq!(answer.status, status, "{method} {condition}");
            assert_eq!(answer.header("ETag"), get.header("ETag"), "{method} {condition}");
            assert_eq!(answer.header("Cache-Control"), get.header("Cache-Control"));
            if status == 304 {
                assert_eq!(answer.header("Content-Length"), None, "{}", answer.head);
            } else if method == "GET" {
                assert_eq!(answer.body, b"foobar", "{condition}");
            }
        }
    }
    assert_eq!(origin.asked(), 1);
}

// ---- How often is fetched --------------------------------------------------------------------

#[test]
fn cache_says_for_how_long_nothing_is_fetched() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_, peer| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        write!(peer, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")
    });
    let url = origin.url("/");
    let remotes = [("/long", url.as_str(), 3600), ("/never", &url, 0), ("/short", &url, 1)];
    let (_source, node) = serving(&remotes, &json!({}));
    let body = |path: &str| http::fetch(node.address, path).text();
    for _ in 0..5 {
        assert_eq!(body("/long"), "0");
    }
    assert_eq!(origin.asked(), 1);
    let mut tags = Vec::new();
    // The upstream closes every connection behind its answer: none of them is to be used again.
    for number in 1..=5 {
        let answer = http::fetch(node.address, "/never");
        tags.push(answer.header("ETag").unwrap().to_owned());
        assert_eq!(answer.text(), number.to_string());
    }
    tags.dedup();
    assert_eq!(tags.len(), 5, "each body has its own tag");
    assert_eq!(body("/short"), "6");
    eventually("a second to be over", || (body("/short") == "7").then_some(()));
    assert_eq!(origin.asked(), 8);
    assert_eq!(node.count(REQUESTS, "answer=\"cache\",path=\"/long\""), 4);
    assert_eq!(node.count(REQUESTS, "answer=\"cache\",path=\"/never\""), 0);
}

#[test]
fn many_who_ask_at_once_cause_one_fetch() {
    const MANY: u64 = 100;
    let (go, gate) = gate();
    let origin = Origin::start(move |_, peer| {
        gate.wait();
        write!(peer, "HTTP/1.1 200 OK\r\n\r\nfoobar")
    });
    // Not even kept for a moment.
    let (_source, node) = serving(&[("/x", &origin.url("/x"), 0)], &json!({}));
    let mut sessions: Vec<_> = (0..MANY).map(|_| Session::open(node.address)).collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        let (method, line) = asked_as(number);
        session.say(format!("{method} /x HTTP/1.1\r\nHost: x\r\n{line}\r\n").as_bytes());
    }
    node.await_count(REQUESTS, "answer=\"fetch\"", MANY);
    go.send(()).unwrap();
    for (number, session) in sessions.iter_mut().enumerate() {
        let (method, line) = asked_as(number);
        let answer = session.hear(method);
        let status = if line.is_empty() { 200 } else { 304 };
        assert_eq!((answer.status, answer.header("Content-Length").is_some()), {
            (status, status == 200)
        });
        let body = if method == "HEAD" || status == 304 { "" } else { "foobar" };
        assert_eq!(answer.text(), body, "{method} {line}");
    }
    assert_eq!(origin.asked(), 1);
    node.await_count("restreamer_guests", "", MANY);
}

/// Those who wait together have not all asked for the same.
fn asked_as(number: usize) -> (&'static str, &'static str) {
    match number % 4 {
        0 => ("HEAD", ""),
        1 => ("GET", "If-None-Match: \"85944171f73967e8\"\r\n"),
        _ => ("GET", ""),
    }
}

#[test]
fn an_upstream_that_hangs_keeps_nobody_else_waiting() {
    let (go, gate) = gate();
    let gate = Arc::new(gate);
    let (tell, heads) = channel();
    let origin = Origin::start_telling(tell, move |path, peer| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        if path == "/half" {
            write!(peer, "{head}who")?;
            gate.wait();
            return write!(peer, "le");
        }
        gate.wait();
        write!(peer, "{head}whole")
    });
    let quick = Origin::start(|_, peer| write!(peer, "HTTP/1.1 200 OK\r\n\r\nquick"));
    let (silent, half, quick) = (origin.url("/silent"), origin.url("/half"), quick.url("/"));
    let remotes = [("/silent", silent.as_str(), 0), ("/half", &half, 0), ("/quick", &quick, 0)];
    let (_source, node) = serving(&remotes, &json!({ "timeout": 3, "outputbuffer": 100_000 }));
    // Nobody reads for them all the time.
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 5, Pace::Fast);
    let mut hanging = ["/silent", "/half"].map(|path| {
        let mut session = Session::open(node.address);
        session.say(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        heads.recv_timeout(PATIENCE).expect("a fetch");
        session
    });
    assert_eq!(http::fetch(node.address, "/quick").text(), "quick");
    assert_eq!(http::fetch(node.address, "/check").text(), "200 ok");
    assert_eq!(http::fetch(node.address, "/health").status, 200);
    http::read_bytes(&mut http::watch(node.address, "/a.ts"), 10 * PACKET_BYTES);
    for session in &hanging {
        assert!(session.is_silent(), "they were not answered after those who hang");
    }
    let [silent, half] = &mut hanging;
    let answer = silent.hear("GET");
    assert_eq!((answer.status, answer.text().as_str()), (504, "504 Gateway Timeout\n"));
    assert_eq!(silent.ask("GET", "/quick").text(), "quick", "the connection goes on");
    assert!(half.is_silent(), "a body may take longer than its head");
    let seen = crowd.watchers[0].verifier.packets;
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.packets > seen + 100), PATIENCE);
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("a viewer");
    }
    // Once it answers, it is there again.
    drop(go);
    assert_eq!(half.hear("GET").text(), "whole");
    eventually("the resource", || {
        let answer = http::fetch(node.address, "/silent");
        assert!([200, 504].contains(&answer.status), "{}", answer.head);
        (answer.status == 200).then(|| assert_eq!(answer.text(), "whole"))
    });
    node.await_log(|entry| entry["event"] == "error" && entry["error"] == "timeout");
}

// ---- What they share -------------------------------------------------------------------------

type Answering = dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A web server that answers each request as it is told, and then closes the connection.
struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Origin {
    /// `answer` gets the path of each request.
    fn start(
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        Origin::start_telling(channel().0, answer)
    }

    /// The same; `heads` is told each request.
    fn start_telling(
        heads: Sender<String>,
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, answer): (_, Arc<Answering>) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            while let Ok((mut peer, _)) = listener.accept() {
                let (count, answer, heads) =
                    (Arc::clone(&count), Arc::clone(&answer), heads.clone());
                thread::spawn(move || {
                    peer.set_read_timeout(Some(PATIENCE)).unwrap();
                    peer.set_write_timeout(Some(PATIENCE)).unwrap();
                    peer.set_nodelay(true).unwrap();
                    let head = read_head(&mut peer);
                    count.fetch_add(1, Ordering::Relaxed);
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    // There may be nobody who listens.
                    let _told = heads.send(head);
                    // Who has given up does not take it.
                    let _taken = answer(&path, &mut peer);
                });
            }
        });
        Origin { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Keeps an answer back until it is told, or until nobody can tell any more.
struct Gate(Mutex<Receiver<()>>);

impl Gate {
    fn wait(&self) {
        // An error says that nobody can tell any more.
        let _told = self.0.lock().unwrap().recv();
    }
}

fn gate() -> (Sender<()>, Gate) {
    let (go, told) = channel();
    (go, Gate(Mutex::new(told)))
}

/// A node with a connected stream and these static resources: path, remote and `cache`.
fn serving(statics: &[(&str, &str, u64)], config: &Value) -> (Source, Node) {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let mut resources = vec![
        stream("/a.ts", &source.url(Speech::Raw)),
        api("/health", "health", None),
        api("/check", "check", Some("/a.ts")),
    ];
    resources.extend(statics.iter().map(|(path, remote, cache)| {
        json!({ "type": "static", "serve": path, "remote": remote, "cache": cache })
    }));
    let mut config = config.clone();
    config["resources"] = resources.into();
    let node = Node::with(&config);
    node.await_connected();
    (source, node)
}

/// An answer 200 with this body, which ends in one of three ways.
fn framed(way: &str, body: &[u8]) -> Vec<u8> {
    let (line, body) = match way {
        "length" => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        "chunks" => ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(body, 65_537)),
        _end => (String::new(), body.to_vec()),
    };
    [format!("HTTP/1.1 200 OK\r\n{line}\r\n").as_bytes(), &body].concat()
}

/// A body in chunks of so many bytes, with an extension and a trailer.
fn chunked(body: &[u8], bytes: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for piece in body.chunks(bytes) {
        framed.extend(format!("{:x};x=y\r\n", piece.len()).into_bytes());
        framed.extend([piece, b"\r\n"].concat());
    }
    framed.extend(b"0\r\nX-Trailer: z\r\n\r\n");
    framed
}

/// Asserts what every body comes with.
fn assert_is_kept(answer: &Answer, cache: u64) {
    // FNV-1a (draft-eastlake-fnv, 2): offset basis and prime of 64 bits.
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = answer.body.iter().fold(0xcbf2_9ce4_8422_2325, step);
    for (name, value) in [
        ("ETag", format!("\"{hash:016x}\"")),
        ("Cache-Control", format!("max-age={cache}")),
        ("Content-Length", answer.body.len().to_string()),
        ("Access-Control-Allow-Origin", "*".to_owned()),
        ("Connection", "keep-alive".to_owned()),
    ] {
        assert_eq!(answer.header(name), Some(value.as_str()), "{name}");
    }
}

/// The head without what depends on the time.
fn timeless(answer: &Answer) -> Vec<&str> {
    answer.head.lines().filter(|line| !line.starts_with("Date: ")).collect()
}
