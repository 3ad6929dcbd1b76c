use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::config::{Authentication, StaticRemote, WebAddress};
use crate::egress::{Proxies, Trust};
use crate::http::request::{Method, Version};
use crate::limits::{STATIC_BODY_BYTES_MAX, STATIC_WAITING_MAX};
use crate::log::{self, Target};
use crate::metrics::Metrics;

/// What no working test waits for.
const PATIENCE: Duration = Duration::from_secs(20);
const CACHE: Duration = Duration::from_mins(1);
const NO_CACHE: Duration = Duration::ZERO;

fn resource(path: &str, remote: StaticRemote, cache: Duration, timeout: Duration) -> Static {
    counted(path, remote, cache, timeout, &Metrics::new())
}

fn counted(
    path: &str,
    remote: StaticRemote,
    cache: Duration,
    timeout: Duration,
    metrics: &Metrics,
) -> Static {
    within(path, remote, cache, Patience { head: timeout, whole: timeout }, metrics)
}

fn within(
    path: &str,
    remote: StaticRemote,
    cache: Duration,
    patience: Patience,
    metrics: &Metrics,
) -> Static {
    let client = Client::new(&Trust::load(None).unwrap(), Proxies::default());
    let authentication = Authentication::Open;
    let config = StaticConfig { path: path.into(), remote, cache, authentication };
    Static::new(config, client, patience, metrics.statics(path), log::silent())
}

fn file(path: impl Into<PathBuf>, cache: Duration) -> Arc<Static> {
    Arc::new(resource("/served", StaticRemote::File(path.into()), cache, PATIENCE))
}

fn web(url: &str, cache: Duration, timeout: Duration) -> Arc<Static> {
    Arc::new(resource("/served", StaticRemote::Web(address(url)), cache, timeout))
}

fn address(url: &str) -> WebAddress {
    WebAddress { url: url.parse().unwrap(), label: mask_passwords(url) }
}

/// A resource that comes from what may hang as no file can be made to.
fn other(
    cache: Duration,
    timeout: Duration,
    source: impl Fn() -> Fetched + Send + Sync + 'static,
) -> Arc<Static> {
    let nowhere = resource("/served", StaticRemote::File("/nowhere".into()), cache, timeout);
    Arc::new(Static { source: Arc::new(move || Ok(source())), ..nowhere })
}

fn fetched(body: &str) -> Fetched {
    Fetched { status: 200, content_type: None, body: body.into() }
}

/// A gate that one passes for each `()` that is sent, and all once the sender is gone.
fn gate() -> (Sender<()>, impl Fn() + Send + Sync + 'static) {
    let (open, opened) = channel();
    let opened = Mutex::new(opened);
    let pass = move || {
        let _passed = opened.lock().unwrap_or_else(PoisonError::into_inner).recv();
    };
    (open, pass)
}

struct Server {
    root: String,
    hits: Arc<AtomicUsize>,
}

impl Server {
    /// Reads the head of each request and lets `answer` do the rest.
    fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let (hits, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let count = Arc::clone(&hits);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (mut socket, answer) = (socket.unwrap(), Arc::clone(&answer));
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        socket.read_exact(&mut byte).unwrap();
                        head.push(byte[0]);
                    }
                    count.fetch_add(1, Ordering::AcqRel);
                    answer(&String::from_utf8(head).unwrap(), &mut socket);
                });
            }
        });
        Server { root, hits }
    }

    /// Answers everything with this, and hangs up.
    fn saying(answer: impl Into<Vec<u8>>) -> Server {
        let answer = answer.into();
        Server::start(move |_, socket| {
            // A client may have enough of it.
            let _hung_up = socket.write_all(&answer);
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::Acquire)
    }
}

/// An answer as it is sent.
#[derive(Debug)]
struct Answered {
    status: u16,
    head: String,
    body: Option<Arc<[u8]>>,
}

impl Answered {
    fn of(response: Response) -> Answered {
        let status = response.status();
        let outgoing = response.outgoing(Method::Get, Version::Http11, true);
        Answered { status, head: String::from_utf8(outgoing.head).unwrap(), body: outgoing.body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        self.body.as_ref().map_or("", |body| std::str::from_utf8(body).unwrap())
    }
}

/// What `ask` answered and, if that is nothing, where the reply will be.
struct Pending {
    at_once: Option<Response>,
    replies: Receiver<Response>,
}

impl Pending {
    fn answered(self) -> Answered {
        let response = self.at_once.unwrap_or_else(|| self.replies.recv_timeout(PATIENCE).unwrap());
        assert!(self.replies.recv().is_err(), "one answer");
        Answered::of(response)
    }
}

fn begin(of: &Arc<Static>, now: Instant, if_none_match: Option<&str>) -> Pending {
    let (reply, replies) = channel();
    let reply = move |response| reply.send(response).unwrap();
    Pending { at_once: of.ask_at(now, if_none_match, reply), replies }
}

fn ask(of: &Arc<Static>, if_none_match: Option<&str>) -> Answered {
    begin(of, Instant::now(), if_none_match).answered()
}

fn get(of: &Arc<Static>) -> Answered {
    ask(of, None)
}

fn folder_with(name: &str, body: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, body).unwrap();
    (folder, path)
}

#[test]
fn a_file_is_served_with_the_headers_of_the_contract() {
    let (_folder, path) = folder_with("a.json", b"foobar");
    let answered = get(&file(path, CACHE));
    assert_eq!((answered.status, answered.text()), (200, "foobar"));
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Content-Length", "6"),
        ("ETag", "\"85944171f73967e8\""),
        ("Cache-Control", "max-age=60"),
    ] {
        assert_eq!(answered.header(name), Some(value), "{name}");
    }
}

#[test]
fn a_client_that_has_the_body_is_not_sent_it() {
    let (_folder, path) = folder_with("a.json", b"foobar");
    let of = file(path, CACHE);
    for _waited_for_then_from_the_cache in 0..2 {
        let answered = ask(&of, Some("\"85944171f73967e8\""));
        assert_eq!((answered.status, answered.text()), (304, ""));
        assert_eq!(answered.header("ETag"), Some("\"85944171f73967e8\""));
        assert_eq!(answered.header("Cache-Control"), Some("max-age=60"));
        assert_eq!(answered.header("Content-Type"), None);
    }
    assert_eq!(ask(&of, Some("\"af63dc4c8601ec8c\"")).status, 200);
}

#[test]
fn fifty_at_once_cause_one_fetch() {
    let (open, pass) = gate();
    let server = Server::start(move |_, socket| {
        pass();
        socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfoobar").unwrap();
    });
    let of = web(&server.url("/a"), NO_CACHE, PATIENCE);
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let of = Arc::clone(&of);
            thread::spawn(move || begin(&of, Instant::now(), None))
        })
        .collect();
    let pending: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    assert!(pending.iter().all(|one| one.at_once.is_none()));
    open.send(()).unwrap();
    let answered: Vec<_> = pending.into_iter().map(Pending::answered).collect();
    assert_eq!(server.hits(), 1);
    let first = answered[0].body.as_ref().unwrap();
    for one in &answered {
        assert_eq!((one.status, one.text()), (200, "foobar"));
        assert!(Arc::ptr_eq(first, one.body.as_ref().unwrap()), "a copy of the body");
    }
    open.send(()).unwrap();
    assert_eq!(get(&of).text(), "foobar");
    assert_eq!(server.hits(), 2, "there is no cache");
}

#[test]
fn a_body_is_fresh_for_as_long_as_it_is_cached() {
    let server = Server::saying("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfoobar");
    let of = web(&server.url("/a"), CACHE, PATIENCE);
    let before = Instant::now();
    assert_eq!(get(&of).status, 200);
    let after = Instant::now();
    let last = before + Duration::from_millis(59_999);
    assert_eq!(begin(&of, last, None).at_once.map(|response| response.status()), Some(200));
    assert_eq!(server.hits(), 1);
    let stale = begin(&of, after + CACHE, None);
    assert!(stale.at_once.is_none());
    assert_eq!((stale.answered().status, server.hits()), (200, 2));
}

#[test]
fn what_has_not_changed_is_not_held_twice() {
    let (_folder, path) = folder_with("a", b"foobar");
    let of = file(&path, NO_CACHE);
    let [first, second] = [get(&of), get(&of)].map(|answered| answered.body.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    fs::write(&path, b"foobaz").unwrap();
    let third = get(&of);
    assert_eq!((third.text(), &*first), ("foobaz", &b"foobar"[..]));
}

#[test]
fn bodies_arrive_in_any_shape() {
    let in_pieces = |head: &'static str, pieces: &'static [&'static str]| {
        Server::start(move |_, socket| {
            socket.set_nodelay(true).unwrap();
            for piece in [head].iter().chain(pieces) {
                socket.write_all(piece.as_bytes()).unwrap();
                // No event tells that the other side has read it.
                thread::sleep(Duration::from_millis(5));
            }
        })
    };
    for server in [
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", &["fo", "ob", "ar"]),
        in_pieces("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &["foo", "bar"]),
        in_pieces("HTTP/1.0 200 OK\r\n\r\n", &["f", "oobar"]),
        in_pieces(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &["3\r\nfo", "o\r\n3\r", "\nbar\r\n0\r", "\n\r\n"],
        ),
    ] {
        let answered = get(&web(&server.url("/a"), CACHE, PATIENCE));
        assert_eq!((answered.status, answered.text()), (200, "foobar"));
        assert_eq!(answered.header("Content-Length"), Some("6"));
        assert_eq!(answered.header("ETag"), Some("\"85944171f73967e8\""));
    }
    let broken = in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", &["foobar"]);
    assert_eq!(get(&web(&broken.url("/a"), CACHE, PATIENCE)).status, 502);
}

#[test]
fn ten_mebibytes_and_no_more() {
    for (length, status) in [(STATIC_BODY_BYTES_MAX, 200), (STATIC_BODY_BYTES_MAX + 1, 502)] {
        let body = vec![b'x'; length];
        let (_folder, path) = folder_with("a.ts", &body);
        assert_eq!(get(&file(path, CACHE)).status, status, "a file of {length} bytes");
        for head in [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
        ] {
            let server = Server::saying([head.as_bytes(), &body].concat());
            let answered = get(&web(&server.url("/a"), CACHE, PATIENCE));
            assert_eq!(answered.status, status, "{head}");
            if status == 200 {
                assert_eq!(answered.body.unwrap().len(), length);
            }
        }
    }
}

#[test]
fn what_is_no_file_is_not_found_and_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let missing = folder.path().join("missing");
    let below_a_device = PathBuf::from("/dev/null/x");
    for path in [
        fifo,
        socket,
        missing,
        below_a_device,
        PathBuf::from("/dev/zero"),
        folder.path().to_owned(),
    ] {
        let answered = get(&file(&path, CACHE));
        assert_eq!(answered.status, 404, "{}", path.display());
        assert_eq!(answered.header("ETag"), None);
    }
}

#[test]
fn a_file_that_comes_to_be_is_found_though_it_was_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let of = file(&path, CACHE);
    assert_eq!(get(&of).status, 404);
    fs::write(&path, b"foobar").unwrap();
    assert_eq!(get(&of).status, 200, "404 is not cached");
}

#[test]
fn the_status_of_an_upstream_is_passed_on_and_not_kept() {
    for (status, said, expected) in [
        (404, "Content-Type: text/html; charset=utf-8\r\n", "text/html; charset=utf-8"),
        (500, "", "application/octet-stream"),
        (299, "", "application/octet-stream"),
        (429, "Content-Type: text/plain\r\n", "text/plain"),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{said}\r\ngone");
        let server = Server::saying(answer);
        let of = web(&server.url("/a.png"), CACHE, PATIENCE);
        for hits in 1..=2 {
            let answered = ask(&of, Some("*"));
            assert_eq!((answered.status, answered.text()), (status, "gone"));
            assert_eq!(answered.header("Content-Type"), Some(expected));
            assert_eq!(answered.header("Content-Length"), Some("4"));
            assert_eq!((answered.header("ETag"), answered.header("Cache-Control")), (None, None));
            assert_eq!(server.hits(), hits);
        }
    }
    let server = Server::saying("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    let answered = get(&web(&server.url("/a"), CACHE, PATIENCE));
    assert_eq!((answered.status, answered.header("Content-Length")), (204, None));
}

#[test]
fn the_type_is_the_upstreams_or_guessed() {
    for (said, expected) in [
        ("Content-Type: text/css; charset=iso-8859-1\r\n", "text/css; charset=iso-8859-1"),
        ("Content-Type: \r\n", "image/png"),
        ("Content-Type: text/\u{e9}\r\n", "image/png"),
        ("", "image/png"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{said}\r\nfoobar");
        let server = Server::saying(answer);
        let answered = get(&web(&server.url("/a.png?b.css"), CACHE, PATIENCE));
        assert_eq!(answered.header("Content-Type"), Some(expected), "{said:?}");
    }
}

#[test]
fn an_upstream_that_is_not_there_or_not_http_is_a_bad_gateway() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(get(&web(&format!("http://{closed}/"), CACHE, PATIENCE)).status, 502);
    let server = Server::saying("SSH-2.0-x\r\n");
    assert_eq!(get(&web(&server.url("/"), CACHE, PATIENCE)).status, 502);
}

#[test]
fn a_server_that_hangs_or_trickles_delays_nobody_else() {
    let (_never, pass) = gate();
    let hanging = Server::start(move |_, _| pass());
    let trickling = Server::start(|_, socket| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        let mut sent = socket.write_all(head);
        while sent.is_ok() {
            thread::sleep(Duration::from_millis(10));
            sent = socket.write_all(b"x");
        }
    });
    let (_folder, path) = folder_with("a", b"foobar");
    let timeout = Duration::from_millis(300);
    for server in [hanging, trickling] {
        let of = web(&server.url("/a"), CACHE, timeout);
        let began = Instant::now();
        let pending = [begin(&of, began, None), begin(&of, began, None)];
        assert_eq!(get(&file(&path, CACHE)).status, 200);
        for one in pending {
            assert_eq!(one.answered().status, 504);
        }
        assert!(began.elapsed() >= timeout);
        // It takes requests again, once the client has given up.
        while server.hits() < 2 {
            assert_eq!(get(&of).status, 504);
            assert!(began.elapsed() < PATIENCE);
        }
    }
}

#[test]
fn the_timeout_is_for_the_head_and_a_body_may_need_more() {
    let seconds = Duration::from_secs;
    for (timeout, head, whole) in [
        (None, STATIC_TIMEOUT, STATIC_TIMEOUT),
        (Some(seconds(1)), seconds(1), STATIC_TIMEOUT),
        (Some(seconds(20)), seconds(20), seconds(20)),
        (Some(seconds(3600)), STATIC_TIMEOUT_MAX, STATIC_TIMEOUT_MAX),
    ] {
        assert_eq!(patience(timeout), Patience { head, whole }, "{timeout:?}");
    }
    let timeout = Duration::from_millis(300);
    let slow = Server::start(move |_, socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").unwrap();
        thread::sleep(2 * timeout);
        socket.write_all(b"foobar").unwrap();
    });
    let (_never, pass) = gate();
    let silent = Server::start(move |_, _| pass());
    for (server, status) in [(slow, 200), (silent, 504)] {
        let remote = StaticRemote::Web(address(&server.url("/a")));
        let of = within("/served", remote, NO_CACHE, patience(Some(timeout)), &Metrics::new());
        let since = Instant::now();
        assert_eq!(get(&Arc::new(of)).status, status);
        assert!(since.elapsed() < STATIC_TIMEOUT);
    }
}

#[test]
fn a_reader_that_hangs_is_alone_and_forgiven() {
    let (open, pass) = gate();
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let of = other(CACHE, Duration::from_millis(200), move || {
        count.fetch_add(1, Ordering::AcqRel);
        pass();
        fetched("foobar")
    });
    let pending = [begin(&of, Instant::now(), None), begin(&of, Instant::now(), None)];
    for one in pending {
        assert!(one.at_once.is_none());
        assert_eq!(one.answered().status, 504);
    }
    for _ in 0..100 {
        let at_once = begin(&of, Instant::now(), None).at_once;
        assert_eq!(at_once.map(|response| response.status()), Some(504));
    }
    assert_eq!(reads.load(Ordering::Acquire), 1, "one hangs, and no more are sent after it");
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    while get(&of).status != 200 {
        assert!(Instant::now() < deadline, "it never took requests again");
        thread::yield_now();
    }
}

#[test]
fn so_many_wait_and_no_more() {
    let (open, pass) = gate();
    let of = other(NO_CACHE, PATIENCE, move || {
        pass();
        fetched("foobar")
    });
    let pending: Vec<_> =
        (0..STATIC_WAITING_MAX).map(|_| begin(&of, Instant::now(), None)).collect();
    assert!(pending.iter().all(|one| one.at_once.is_none()));
    let refused = begin(&of, Instant::now(), None).at_once;
    assert_eq!(refused.map(|response| response.status()), Some(503));
    drop(open);
    assert!(pending.into_iter().all(|one| one.answered().status == 200));
}

#[test]
fn credentials_reach_the_upstream_and_nobody_else() {
    let server = Server::start(|head, socket| {
        let known = head.to_lowercase().contains("authorization: basic dtpzzwnyzxq=\r\n");
        let status = if known { 200 } else { 401 };
        write!(socket, "HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n").unwrap();
    });
    let url = server.url("/a").replace("http://", "http://u:secret@");
    let of = web(&url, CACHE, PATIENCE);
    assert_eq!(get(&of).status, 200);
    assert!(!format!("{of:?}").contains("secret"));
}

#[test]
fn troubles_are_logged_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log_path) = (folder.path().join("a"), folder.path().join("log"));
    let dropped = Metrics::new().log_dropped();
    let (log, handle) = log::start(Target::File(log_path.clone()), dropped).unwrap();
    let of = resource("/served", StaticRemote::File(path.clone()), NO_CACHE, PATIENCE);
    let of = Arc::new(Static { log, ..of });
    let rounds: [(u16, &dyn Fn()); 8] = [
        (404, &|| {}),
        (404, &|| {}),
        (404, &|| fs::create_dir(&path).unwrap()),
        (404, &|| {}),
        (200, &|| {
            fs::remove_dir(&path).unwrap();
            fs::write(&path, b"foobar").unwrap();
        }),
        (200, &|| {}),
        (404, &|| fs::remove_file(&path).unwrap()),
        (404, &|| {}),
    ];
    for (status, change) in rounds {
        change();
        assert_eq!(get(&of).status, status);
    }
    handle.flush(PATIENCE);
    let text = fs::read_to_string(&log_path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = format!("/served: file://{} ", path.display());
    let expected = [
        ("error", "error", Some("missing"), "cannot be read: No such file or directory"),
        ("error", "error", Some("not_a_file"), "is no regular file"),
        ("info", "recovered", None, "is there again"),
        ("error", "error", Some("missing"), "cannot be read: No such file or directory"),
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, (level, event, error, why)) in lines.iter().zip(expected) {
        assert_eq!((line["level"].as_str(), line["event"].as_str()), (Some(level), Some(event)));
        assert_eq!(line["error"].as_str(), error);
        let message = line["message"].as_str().unwrap();
        assert!(message.strip_prefix(&shown).unwrap().starts_with(why), "{message}");
    }
}

#[test]
fn requests_and_fetches_are_counted() {
    let (_folder, path) = folder_with("a", b"foobar");
    let metrics = Metrics::new();
    let remote = StaticRemote::File(path.clone());
    let of = Arc::new(counted("/served", remote, CACHE, PATIENCE, &metrics));
    for _ in 0..3 {
        get(&of);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(begin(&of, Instant::now() + CACHE, None).answered().status, 404);
    let text = metrics.text().unwrap();
    for line in [
        "restreamer_static_requests_total{answer=\"cache\",path=\"/served\"} 2",
        "restreamer_static_requests_total{answer=\"fetch\",path=\"/served\"} 2",
        "restreamer_static_requests_total{answer=\"refused\",path=\"/served\"} 0",
        "restreamer_static_fetches_total{path=\"/served\",result=\"ok\"} 1",
        "restreamer_static_fetches_total{path=\"/served\",result=\"missing\"} 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
}
