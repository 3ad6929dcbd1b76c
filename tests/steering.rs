//! New viewers of a hot stream go where others ask for least, and even the load out.
//!
//! It takes root, and Linux 5.19 or later.

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::crowd::{Crowd, Pace};
use support::node::{Node, stream};
use support::source::{Source, Speech};
use support::{eventually, http};

/// Of the hot stream. So little work is not worth to move a stream to another worker for, though
/// those who ask for as much may make more of it than others.
const BITS_PER_SECOND: u64 = 20_000;
const WORKERS: usize = 4;
const NEW: usize = 400;
/// How often workers tell what their viewers ask for, a few times over.
const TOLD: Duration = Duration::from_secs(4);

/// A stream that one worker serves: how many times the hot one's rate it has, and its viewers.
struct Served {
    rate: u64,
    viewers: usize,
}

/// A node whose workers serve one of these each, the last one none, with viewers who watch, and
/// whatever else the door is to have.
struct Site {
    node: Node,
    crowd: Crowd,
    /// What each worker's viewers ask for, in viewers of the hot stream.
    before: Vec<u64>,
    rates: Vec<u64>,
    _sources: Vec<Source>,
}

fn path(number: usize) -> String {
    format!("/{number}.ts")
}

impl Site {
    fn new(door: &Value, served: &[Served; WORKERS]) -> Site {
        let source = |rate| Source::start(Speech::Raw, rate * BITS_PER_SECOND);
        let mut sources: Vec<_> = served.iter().map(|one| source(one.rate)).collect();
        sources.push(source(1));
        let urls: Vec<_> = sources.iter().map(|source| source.url(Speech::Raw)).collect();
        // Streams are dealt out in turn.
        let numbered = urls[..WORKERS].iter().enumerate();
        let mut resources: Vec<_> = numbered.map(|(at, url)| stream(&path(at), url)).collect();
        let mut hot = stream("/hot.ts", &urls[WORKERS]);
        hot["hot"] = json!(true);
        resources.push(hot);
        let node = Node::with(&json!({
            "workers": WORKERS,
            "door": door,
            "resources": resources,
        }));
        node.await_count("streaming_source_connected", "", WORKERS as u64 + 1);
        let mut crowd = Crowd::new();
        for (number, one) in served.iter().enumerate() {
            crowd.join(node.address, &path(number), one.viewers, Pace::Fast);
        }
        crowd.watch(TOLD);
        let site = Site {
            node,
            crowd,
            before: served.iter().map(|one| one.viewers as u64 * one.rate).collect(),
            rates: served.iter().map(|one| one.rate).collect(),
            _sources: sources,
        };
        let each: Vec<_> = served.iter().map(|one| one.viewers as u64).collect();
        assert_eq!(site.viewers(), each, "each worker serves its stream");
        site
    }

    /// Of each worker.
    fn viewers(&self) -> Vec<u64> {
        let of = |worker| format!("worker=\"{worker}\"");
        let count = |worker| self.node.count("restreamer_worker_viewers", &of(worker));
        (0..WORKERS).map(count).collect()
    }

    /// What each worker's viewers ask for, in viewers of the hot stream.
    fn loads(&self) -> Vec<u64> {
        let viewers = self.viewers().into_iter().zip(&self.before).zip(&self.rates);
        let moved = self.node.count("restreamer_streams_moved_total", "");
        assert_eq!(moved, 0, "streams were moved: {:?}", self.viewers());
        // Those who were there before count with another rate.
        viewers.map(|((all, before), rate)| all + before - before / rate).collect()
    }

    fn join(&mut self, viewers: usize) {
        self.crowd.join(self.node.address, "/hot.ts", viewers, Pace::Fast);
    }

    fn assert_all_is_well(mut self) {
        self.crowd.watch(Duration::from_secs(1));
        for (number, watcher) in self.crowd.watchers.iter().enumerate() {
            assert!(!watcher.ended, "viewer {number} was cut");
            watcher.verifier.assert_perfect(&format!("viewer {number}"));
        }
        let all = self.crowd.watchers.len() as u64;
        assert_eq!(self.node.count("restreamer_door_steered_total", ""), all);
        assert!(self.node.stop().success());
    }
}

/// How far a load is from the mean of all at most, in percent of it.
fn unevenness(loads: &[u64]) -> u64 {
    let (count, sum) = (loads.len() as u64, loads.iter().sum::<u64>());
    let percent = |load: &u64| (100 * count * load).abs_diff(100 * sum).div_ceil(sum);
    loads.iter().map(percent).max().unwrap()
}

const UNEVEN: [Served; WORKERS] = [
    Served { rate: 1, viewers: 40 },
    Served { rate: 1, viewers: 20 },
    Served { rate: 1, viewers: 10 },
    Served { rate: 1, viewers: 0 },
];

#[test]
fn four_hundred_who_come_at_once_even_the_load_out() {
    let mut site = Site::new(&json!({}), &UNEVEN);
    site.join(NEW);
    let loads = site.loads();
    assert_eq!(loads.iter().sum::<u64>(), 470);
    assert!(unevenness(&loads) <= 10, "{loads:?}");
    site.assert_all_is_well();
}

#[test]
fn what_counts_is_what_viewers_ask_for_and_not_how_many_they_are() {
    let served = [
        Served { rate: 2, viewers: 30 },
        Served { rate: 1, viewers: 20 },
        Served { rate: 1, viewers: 10 },
        Served { rate: 1, viewers: 0 },
    ];
    let mut site = Site::new(&json!({}), &served);
    // What a new one asks for is guessed at first, and told before the next ones come.
    for _ in 0..4 {
        site.join(NEW / 4);
        site.crowd.watch(TOLD / 2);
    }
    let loads = site.loads();
    assert_eq!(loads.iter().sum::<u64>(), 490);
    assert!(unevenness(&loads) <= 10, "{loads:?}");
    site.assert_all_is_well();
}

#[test]
fn who_is_not_steered_goes_anywhere() {
    let far_apart = [
        Served { rate: 1, viewers: 120 },
        Served { rate: 1, viewers: 60 },
        Served { rate: 1, viewers: 20 },
        Served { rate: 1, viewers: 0 },
    ];
    let mut site = Site::new(&json!({ "steer": false }), &far_apart);
    site.join(NEW);
    // Each has one rate.
    let loads = site.viewers();
    // By the kernel's hash each worker gets about as many, and what was uneven stays so.
    assert!(unevenness(&loads) > 20, "{loads:?}");
    assert_eq!(site.node.count("restreamer_door_steered_total", ""), 0);
}

/// A thread of the node that is held where it is, as a debugger does it (ptrace(2)), by a process
/// with whose end it goes on. Signals and the scheduler know no way to hold one of a process alone
/// that a kill would still get through to.
struct Held(Child);

impl Held {
    fn begin(node: &Node, name: &str) -> Held {
        const SEIZE_AND_INTERRUPT: &str = "$call = shift() + 0; $thread = shift() + 0; \
            syscall($call, 0x4206, $thread, 0, 0) == 0 or die \"seize: $!\"; \
            syscall($call, 0x4207, $thread, 0, 0) == 0 or die \"interrupt: $!\"; \
            waitpid($thread, 0x40000000) == $thread or die \"wait: $!\"; \
            $| = 1; print \"held\\n\"; <STDIN>;";
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let thread = threads.find_map(|thread| {
            let path = thread.unwrap().path();
            let is_it = std::fs::read_to_string(path.join("comm")).unwrap().trim() == name;
            is_it.then(|| path.file_name().unwrap().to_owned())
        });
        // The call's number, which is the architecture's.
        let ptrace = if cfg!(target_arch = "x86_64") { "101" } else { "117" };
        let mut command = Command::new("perl");
        command.args(["-e", SEIZE_AND_INTERRUPT, ptrace]).arg(thread.unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Held(holder)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Asks, and does not wait for the answer.
fn ask(node: &Node) -> TcpStream {
    let mut socket = http::connect(node.address);
    socket.write_all(b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    socket
}

fn is_answered(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    match socket.peek(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Ok(1) => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_for_a_worker_that_is_stuck_is_served_by_another_one() {
    const CLIENTS: usize = 40;
    let node = Node::with(&json!({
        "workers": 2,
        "door": {},
        "resources": [stream("/a.ts", "tcp://127.0.0.1:9")],
    }));
    let held = Held::begin(&node, "worker-0");
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(&node)).collect();
    let waiting = || clients.iter().filter(|client| !is_answered(client)).count();
    let migrated = || node.count("restreamer_door_migrated_total", "");
    eventually("those at the other worker are answered", || (waiting() < CLIENTS).then_some(()));
    let at_its_door = waiting() as u64;
    assert!(migrated() == 0 && at_its_door > 0, "{at_its_door} wait");
    // It owes an answer for some seconds; then its queue goes to the other one.
    eventually("all are answered", || (waiting() == 0).then_some(()));
    let came = migrated();
    assert!((1..=at_its_door).contains(&came), "{came} of {at_its_door}");
    node.await_log(|line| line["event"] == "migrate");
    // Nobody is sent there meanwhile.
    let more: Vec<_> = (0..CLIENTS).map(|_| ask(&node)).collect();
    eventually("nobody waits", || more.iter().all(is_answered).then_some(()));
    assert_eq!(migrated(), came);

    // Well again, it listens as before: who comes when the other one is stuck is served by it.
    drop(held);
    node.await_metric("restreamer_worker_stuck", "worker=\"0\"", |stuck| stuck < 0.5);
    let held = Held::begin(&node, "worker-1");
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(&node)).collect();
    eventually("all are answered", || clients.iter().all(is_answered).then_some(()));
    assert!(migrated() > came);
    drop(held);
}
