use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, channel, sync_channel};

use prometheus::IntCounter;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use url::Url;

use super::*;
use crate::config::{Secret, WebAddress};
use crate::egress::{Proxies, Trust};
use crate::limits::{NOTIFY_CROSSINGS_MAX, NOTIFY_EVENTS_MAX};
use crate::log::{self, LogHandle};
use crate::metrics::Metrics;
use NotificationEvent::{Heartbeat, LimitHit, LimitMiss};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any test lasts.
const FOR_EVER: Duration = Duration::from_mins(10);

/// Tries at once, and waits for ever.
const QUICK: Timing = Timing {
    timeout: FOR_EVER,
    tries: 3,
    first_pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(4),
    order: FOR_EVER,
};

/// A server that tells what it is asked.
struct Server {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Server {
    /// Answers the request of this number (from 0) with a status; 0 is never.
    fn start(answer: impl Fn(usize, &str) -> u16 + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for number in 0.. {
                let Ok((mut peer, _)) = listener.accept() else { return };
                let head = read_head(&mut peer);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let status = answer(number, &path);
                if tell.send(head).is_err() {
                    return;
                }
                if status == 0 {
                    silent.push(peer);
                } else {
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n");
                    write!(peer, "{head}Connection: close\r\n\r\nok").unwrap();
                }
            }
        });
        Server { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The head of the next request.
    fn head(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }

    /// The path of the next request.
    fn path(&self) -> String {
        let head = self.head();
        assert!(head.starts_with("GET "), "{head}");
        head.split(' ').nth(1).unwrap().to_owned()
    }

    /// Requests that were not waited for.
    fn rest(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn read_head(peer: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(peer.read(&mut byte).unwrap(), 1, "the request ends early");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// An address that refuses connections, for as long as the socket is there.
fn refusing() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, format!("http://{address}/"))
}

fn notification(event: NotificationEvent, url: &str) -> NotificationConfig {
    let label = crate::config::mask_passwords(url);
    let target = WebAddress { url: Url::parse(url).unwrap(), label };
    NotificationConfig { event, target, authorization: None }
}

/// One for reaching the limit, one for falling below it.
fn limits(hit: &str, miss: &str) -> [NotificationConfig; 2] {
    [notification(LimitHit, hit), notification(LimitMiss, miss)]
}

/// Where notifications are counted and logged.
struct Record {
    metrics: NotifyMetrics,
    log: Logger,
    handle: LogHandle,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Record {
    fn new() -> Record {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let lost = IntCounter::new("lost", "in a test").unwrap();
        let (log, handle) = log::start(log::Target::File(file.clone()), lost).unwrap();
        let metrics = Metrics::new().notifications([LimitHit, LimitMiss, Heartbeat]);
        Record { metrics, log, handle, file, _dir: dir }
    }

    /// [delivered, failed, dropped]
    fn counts(&self, event: NotificationEvent) -> [u64; 3] {
        let results = [NotifyResult::Delivered, NotifyResult::Failed, NotifyResult::Dropped];
        results.map(|result| self.metrics.counter(event, result).get())
    }

    /// Waits for counts, which nobody announces.
    fn await_counts(&self, event: NotificationEvent, is_it: impl Fn([u64; 3]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_it(self.counts(event)) {
            assert!(Instant::now() < deadline, "{event:?}: {:?}", self.counts(event));
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn text(&self) -> String {
        self.handle.flush(PATIENCE);
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// The lines about a target that have this level.
    fn lines(&self, level: &str, target: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["level"] == level && line["target"] == target).collect()
    }

    /// Starts to notify.
    fn start(
        &self,
        notifications: Vec<NotificationConfig>,
        heartbeat: Option<Duration>,
        timing: Timing,
    ) -> SyncSender<Crossing> {
        self.start_to_end(notifications, heartbeat, timing).0
    }

    /// The same; the handle is for the end.
    fn start_to_end(
        &self,
        notifications: Vec<NotificationConfig>,
        heartbeat: Option<Duration>,
        timing: Timing,
    ) -> (SyncSender<Crossing>, Handle) {
        let (queue, crossings) = sync_channel(NOTIFY_CROSSINGS_MAX);
        let parts = Parts {
            notifications,
            heartbeat,
            crossings,
            client: client(),
            metrics: self.metrics.clone(),
            timing,
            log: self.log.clone(),
        };
        (queue, start(parts).unwrap())
    }

    /// Who tells the only target of these entries.
    fn teller(&self, notifications: Vec<NotificationConfig>, timing: Timing) -> Teller {
        let mut targets = target::group(notifications, timing.order);
        assert_eq!(targets.len(), 1);
        Teller {
            target: targets.remove(0),
            client: client(),
            metrics: self.metrics.clone(),
            timing,
            log: self.log.clone(),
            beats_fail: Cell::new(false),
        }
    }

    /// Tells the only target of these entries of each of them once, to the end.
    fn tell(&self, notifications: Vec<NotificationConfig>, timing: Timing) {
        let events: Vec<_> = notifications.iter().map(|one| one.event).collect();
        let teller = self.teller(notifications, timing);
        for (number, event) in (1..).zip(events) {
            assert_eq!(teller.target.offer(number, event), None);
        }
        teller.target.close();
        teller.run();
    }
}

fn client() -> Client {
    Client::new(&Trust::load(None).unwrap(), Proxies::default())
}

fn cross_ten_times(queue: &SyncSender<Crossing>) {
    for _ in 0..10 {
        queue.send(Crossing::Hit).unwrap();
        queue.send(Crossing::Miss).unwrap();
    }
}

#[test]
fn ten_hits_and_ten_misses_in_order_whatever_the_others_do() {
    let record = Record::new();
    let one_address = Server::start(|_, _| 200);
    let two_addresses = Server::start(|_, _| 304);
    let hangs = Server::start(|_, _| 0);
    let (_refuses, nobody) = refusing();
    let notifications = [
        limits(&hangs.url("/"), &hangs.url("/")),
        limits(&nobody, &nobody),
        limits(&one_address.url("/"), &one_address.url("/")),
        limits(&two_addresses.url("/hit"), &two_addresses.url("/miss")),
    ];
    let queue = record.start(notifications.concat(), None, QUICK);
    cross_ten_times(&queue);
    for _ in 0..10 {
        assert_eq!([one_address.path(), one_address.path()], ["/", "/"]);
        assert_eq!([two_addresses.path(), two_addresses.path()], ["/hit", "/miss"]);
    }
    for event in [LimitHit, LimitMiss] {
        record.await_counts(event, |counts| counts == [20, 10, 0]);
    }
    assert_eq!((one_address.rest(), two_addresses.rest()), (0, 0), "exactly ten of each");
    assert_eq!(hangs.asked.try_iter().count(), 1, "one after the other");
    let told = record.lines("info", &one_address.url("/"));
    let told: Vec<_> = told.iter().map(|line| line["notification"].as_str().unwrap()).collect();
    assert_eq!(told, ["limit_hit", "limit_miss"].repeat(10));
    assert_eq!(record.lines("warning", &nobody).len(), 20 * 3, "each try");
}

#[test]
fn an_address_that_hangs_does_not_delay_the_others_of_its_server() {
    let record = Record::new();
    let server = Server::start(|_, path| if path == "/hangs" { 0 } else { 200 });
    let timing = Timing { order: Duration::from_millis(300), ..QUICK };
    let mut notifications = limits(&server.url("/hit"), &server.url("/miss")).to_vec();
    notifications.push(notification(LimitHit, &server.url("/hangs")));
    let queue = record.start(notifications, None, timing);
    cross_ten_times(&queue);
    let paths: Vec<_> = (0..21).map(|_| server.path()).filter(|path| path != "/hangs").collect();
    let hits = paths.iter().filter(|path| *path == "/hit").count();
    assert_eq!((hits, paths.len()), (10, 20));
}

#[test]
fn what_a_later_event_has_overtaken_is_not_told_again() {
    let record = Record::new();
    let server = Server::start(|number, _| [503, 200, 200][number]);
    let timing = Timing { first_pause: FOR_EVER, longest_pause: FOR_EVER, ..QUICK };
    let both = limits(&server.url("/hit"), &server.url("/miss"));
    let queue = record.start(both.to_vec(), None, timing);
    queue.send(Crossing::Hit).unwrap();
    assert_eq!(server.path(), "/hit");
    queue.send(Crossing::Miss).unwrap();
    assert_eq!(server.path(), "/miss");
    record.await_counts(LimitHit, |counts| counts == [0, 0, 1]);
    record.await_counts(LimitMiss, |counts| counts == [1, 0, 0]);
    queue.send(Crossing::Hit).unwrap();
    assert_eq!(server.path(), "/hit", "the next one is told");
    record.await_counts(LimitHit, |counts| counts == [1, 0, 1]);
    assert_eq!(server.rest(), 0);
    let [failed, dropped] = record.lines("warning", &server.url("/hit")).try_into().unwrap();
    assert!(failed["message"].as_str().unwrap().contains("answered 503"), "{failed}");
    assert!(dropped["message"].as_str().unwrap().contains("a later event"), "{dropped}");
}

#[test]
fn what_may_pass_is_tried_again_until_it_is_told_once() {
    let record = Record::new();
    let server = Server::start(|number, _| [500, 429, 200][number]);
    record.tell(vec![notification(LimitHit, &server.url("/"))], QUICK);
    assert_eq!((server.rest(), record.counts(LimitHit)), (3, [1, 0, 0]));
    let failures = record.lines("warning", &server.url("/"));
    assert_eq!(failures.len(), 2);
    for (number, (failure, status)) in failures.iter().zip([500, 429]).enumerate() {
        assert_eq!((&failure["event"], &failure["error"]), (&"error".into(), &"notify".into()));
        assert_eq!(
            (&failure["notification"], &failure["try"]),
            (&"limit_hit".into(), &(number + 1).into())
        );
        let message = failure["message"].as_str().unwrap();
        assert!(message.starts_with(&server.url("/")), "{message}");
        assert!(message.contains(&format!("answered {status}")), "{message}");
    }
    let told = record.lines("info", &server.url("/"));
    assert_eq!((told.len(), &told[0]["try"]), (1, &3.into()));
}

#[test]
fn an_answer_counts_whatever_its_body_is() {
    for body in [0, 2 * 1024 * 1024] {
        let record = Record::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        thread::spawn(move || {
            let mut open = Vec::new();
            while let Ok((mut peer, _)) = listener.accept() {
                let _nobody_counts = tell.send(read_head(&mut peer));
                peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                // Nobody reads it.
                let _hung_up = peer.write_all(&vec![b'x'; body]);
                open.push(peer);
            }
        });
        let timing = Timing { timeout: Duration::from_secs(1), ..QUICK };
        record.tell(vec![notification(LimitHit, &url)], timing);
        assert_eq!(record.counts(LimitHit), [1, 0, 0], "{body} bytes");
        assert_eq!(asked.try_iter().count(), 1, "told once");
    }
}

#[test]
fn a_target_that_says_no_is_not_asked_again_and_the_next_event_is_told() {
    let record = Record::new();
    let server = Server::start(|number, _| [404, 204][number]);
    record.tell(limits(&server.url("/"), &server.url("/")).to_vec(), QUICK);
    assert_eq!(server.rest(), 2);
    assert_eq!((record.counts(LimitHit), record.counts(LimitMiss)), ([0, 1, 0], [1, 0, 0]));
    assert_eq!(record.lines("warning", &server.url("/")).len(), 1);
}

#[test]
fn a_target_that_gives_no_answer_is_given_up_and_the_next_event_is_told() {
    let record = Record::new();
    let server = Server::start(|number, _| [0, 0, 0, 200][number]);
    let timing = Timing { timeout: Duration::from_millis(300), ..QUICK };
    record.tell(limits(&server.url("/"), &server.url("/")).to_vec(), timing);
    assert_eq!(server.rest(), 4);
    assert_eq!((record.counts(LimitHit), record.counts(LimitMiss)), ([0, 1, 0], [1, 0, 0]));
}

#[test]
fn what_is_there_twice_is_told_twice() {
    let record = Record::new();
    let server = Server::start(|_, _| 200);
    let twice = vec![notification(LimitHit, &server.url("/")); 2];
    let teller = record.teller(twice, QUICK);
    teller.target.offer(1, LimitHit);
    teller.target.close();
    teller.run();
    assert_eq!((server.rest(), record.counts(LimitHit)), (2, [2, 0, 0]));
}

#[test]
fn another_authorization_is_another_target() {
    let plain = notification(LimitHit, "http://h/");
    let with =
        |secret| NotificationConfig { authorization: Some(Secret::new(secret)), ..plain.clone() };
    let all =
        vec![plain.clone(), with("Bearer a"), with("Bearer b"), with("Bearer a"), plain.clone()];
    let targets = target::group(all, FOR_EVER);
    let times: Vec<_> = targets.iter().map(|target| target.times(LimitHit)).collect();
    assert_eq!(times, [2, 2, 1]);
}

#[test]
fn what_is_too_much_is_dropped_and_counted() {
    let record = Record::new();
    let server = Server::start(|_, _| 0);
    let both = limits(&server.url("/"), &server.url("/"));
    let queue = record.start(both.to_vec(), None, QUICK);
    queue.send(Crossing::Hit).unwrap();
    server.path();
    for _ in 0..NOTIFY_EVENTS_MAX {
        queue.send(Crossing::Miss).unwrap();
    }
    for _ in 0..5 {
        queue.send(Crossing::Hit).unwrap();
    }
    record.await_counts(LimitMiss, |counts| counts == [0, 0, 5]);
    assert_eq!(record.counts(LimitHit), [0, 0, 0], "the last one counts");
    let complaints = record.lines("warning", &server.url("/"));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert_eq!(complaints[0]["notification"], "limit_miss");
}

#[test]
fn heartbeats_come_again_and_again_with_the_authorization() {
    let record = Record::new();
    let server = Server::start(|_, _| 200);
    let mut heartbeat = notification(Heartbeat, &server.url("/alive"));
    heartbeat.authorization = Some(Secret::new("Basic dXNlcjpnZWhlaW0="));
    let interval = Duration::from_millis(20);
    let begun = Instant::now();
    let _queue = record.start(vec![heartbeat], Some(interval), QUICK);
    for _ in 0..5 {
        let head = server.head();
        assert!(head.starts_with("GET /alive HTTP/1.1\r\n"), "{head}");
        let line = head.lines().find(|line| line.to_lowercase().starts_with("authorization:"));
        assert_eq!(line.unwrap().split_once(": ").unwrap().1, "Basic dXNlcjpnZWhlaW0=");
    }
    assert!(begun.elapsed() >= 5 * interval, "the first one too comes after an interval");
    record.await_counts(Heartbeat, |[delivered, ..]| delivered >= 5);
    for level in ["info", "warning"] {
        assert_eq!(record.lines(level, &server.url("/alive")).len(), 0, "nobody reads them all");
    }
}

#[test]
fn of_heartbeats_that_fail_the_first_is_logged_and_the_one_that_is_told_again() {
    let record = Record::new();
    let statuses = [500, 404, 500, 500, 500, 200, 200, 500, 500, 200];
    let server = Server::start(move |number, _| *statuses.get(number).unwrap_or(&200));
    let url = server.url("/");
    let interval = Duration::from_millis(5);
    let _queue = record.start(vec![notification(Heartbeat, &url)], Some(interval), QUICK);
    record.await_counts(Heartbeat, |[delivered, ..]| delivered >= 5);
    let failures = record.lines("warning", &url);
    assert_eq!(failures.len(), 2, "{failures:?}");
    for line in failures {
        assert!(line["message"].as_str().unwrap().contains("answered 500"), "{line}");
    }
    let told = record.lines("info", &url);
    assert_eq!(told.len(), 2, "{told:?}");
    for line in told {
        assert_eq!(
            (&line["event"], &line["notification"]),
            (&"notified".into(), &"heartbeat".into())
        );
        assert!(
            line["message"].as_str().unwrap().ends_with("is told of heartbeat again"),
            "{line}"
        );
    }
}

#[test]
fn heartbeats_make_way_for_what_matters() {
    let record = Record::new();
    let server = Server::start(|number, _| [500, 200][number]);
    let timing = Timing { first_pause: FOR_EVER, longest_pause: FOR_EVER, ..QUICK };
    let url = server.url("/");
    let both = vec![notification(Heartbeat, &url), notification(LimitHit, &url)];
    let teller = record.teller(both, timing);
    let target = teller.target.clone();
    assert_eq!(target.offer(1, Heartbeat), None);
    assert_eq!(target.offer(2, Heartbeat), Some(Heartbeat), "one waits already");
    let thread = thread::spawn(move || teller.run());
    server.path();
    assert_eq!(target.offer(3, LimitHit), None);
    server.path();
    target.close();
    thread.join().unwrap();
    assert_eq!((record.counts(Heartbeat), record.counts(LimitHit)), ([0, 1, 0], [1, 0, 0]));
}

#[test]
fn a_target_that_hangs_gets_one_heartbeat_at_a_time() {
    let record = Record::new();
    let server = Server::start(|_, _| 0);
    let heartbeat = notification(Heartbeat, &server.url("/"));
    let _queue = record.start(vec![heartbeat], Some(Duration::from_millis(2)), QUICK);
    record.await_counts(Heartbeat, |[.., dropped]| dropped >= 10);
    assert_eq!(server.path(), "/");
    assert_eq!(server.rest(), 0);
    assert_eq!(record.lines("warning", &server.url("/")).len(), 0, "none of them is missed");
}

#[test]
fn passwords_are_in_no_line_of_the_log() {
    let record = Record::new();
    let server = Server::start(|number, _| [0, 500, 404, 200][number]);
    let (_refuses, nobody) = refusing();
    let timing = Timing { timeout: Duration::from_millis(300), ..QUICK };
    for at in [server.url("/a"), nobody.clone()] {
        let url = at.replace("http://", "http://user:geheim@");
        let mut both = limits(&url, &url);
        for one in &mut both {
            one.authorization = Some(Secret::new("Bearer verschlossen"));
        }
        record.tell(both.to_vec(), timing);
    }
    for _ in 0..4 {
        assert!(server.head().contains("Bearer verschlossen\r\n"));
    }
    let text = record.text();
    let label = server.url("/a").replace("http://", "http://user:***@");
    assert!(text.contains(&label) && text.contains("answered 404"), "{text}");
    for secret in ["geheim", "verschlossen", "dXNlcjpnZWhlaW0"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn without_heartbeats_and_crossings_it_ends() {
    let record = Record::new();
    let server = Server::start(|_, _| 200);
    let targets = target::group(vec![notification(LimitHit, &server.url("/"))], FOR_EVER);
    let (queue, crossings) = sync_channel(1);
    queue.send(Crossing::Hit).unwrap();
    drop(queue);
    let outlets = targets.iter().map(|target| Outlet { target: target.clone(), overflows: false });
    let dispatcher = Dispatcher {
        outlets: outlets.collect(),
        crossings,
        beat: Some(Beat::new(FOR_EVER, Instant::now())),
        events: 0,
        metrics: record.metrics.clone(),
        log: record.log.clone(),
    };
    dispatcher.run();
    let teller = Teller {
        target: targets[0].clone(),
        client: client(),
        metrics: record.metrics.clone(),
        timing: QUICK,
        log: record.log.clone(),
        beats_fail: Cell::new(false),
    };
    teller.run();
    assert_eq!((server.rest(), record.counts(LimitHit)), (1, [1, 0, 0]));
}

#[test]
fn at_the_end_all_is_told_and_who_hangs_is_not_waited_for() {
    for (hangs, in_time) in [(None, true), (Some(Heartbeat), true), (Some(LimitMiss), false)] {
        let record = Record::new();
        let server = Server::start(|_, _| 200);
        let silent = Server::start(|_, _| 0);
        let mut notifications = limits(&server.url("/hit"), &server.url("/miss")).to_vec();
        notifications.extend(hangs.map(|event| notification(event, &silent.url("/"))));
        let interval = Duration::from_millis(10);
        let (queue, handle) = record.start_to_end(notifications, Some(interval), QUICK);
        if hangs == Some(Heartbeat) {
            silent.path();
        }
        cross_ten_times(&queue);
        drop(queue);
        let patience = if in_time { PATIENCE } else { Duration::from_millis(300) };
        let since = Instant::now();
        assert_eq!(handle.finish(patience), in_time, "{hangs:?}");
        assert!(in_time == (since.elapsed() < patience) && since.elapsed() < PATIENCE);
        for event in [LimitHit, LimitMiss] {
            record.await_counts(event, |counts| counts == [10, 0, 0]);
        }
        assert_eq!(server.rest(), 20);
    }
}
