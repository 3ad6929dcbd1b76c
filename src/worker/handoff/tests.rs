use std::hash::RandomState;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mio::Poll;

use super::*;
use crate::config::{Authentication, RefuseWith, TurnPeriod};
use crate::egress::{Egress, Proxies, Trust};
use crate::http::auth::Guard;
use crate::http::via::Pseudonym;
use crate::limits::DATAGRAM_BUFFER_BYTES_MIN;
use crate::log::access::AccessLog;
use crate::metrics::{Metrics, StreamStatus};
use crate::resource::{Desk, Node};
use crate::stream::admission::{Admission, Limits};
use crate::stream::gate::Gate;
use crate::upstream::Dialer;
use crate::worker::Parts;
use crate::worker::accept::Arrival;
use crate::worker::answer::Resource;
use crate::worker::board::{Board, Entry};
use crate::worker::guests::Room;

const STREAMS: usize = 3;
const GUEST: ViewerKey = ViewerKey { index: 0, generation: 0 };

pub(in crate::worker) fn queue() -> (Poll, Sender, Orders) {
    let poll = Poll::new().unwrap();
    let (sender, orders) = channel(poll.registry(), STREAMS).unwrap();
    (poll, sender, orders)
}

/// Hands over as much as is taken; answers how much that is.
fn fill(sender: &Sender) -> usize {
    let one = || Command::SwitchedOff { stream: 0 };
    std::iter::from_fn(|| sender.hand_over(one()).ok()).count()
}

#[test]
fn what_is_handed_over_leaves_room_for_answers_and_attempts() {
    let (_poll, sender, orders) = queue();
    assert_eq!(fill(&sender), HANDED_OVER_MAX);
    // None of these waits for anybody: nobody heeds them here.
    for _ in 0..ANSWERS_MAX {
        sender.answered(GUEST, Response::text(200));
    }
    for stream in 0..STREAMS {
        sender.dialed(stream, Err(DialError::TimedOut));
    }
    let taken: Vec<_> = std::iter::from_fn(|| orders.commands.try_recv().ok()).collect();
    assert_eq!(taken.len(), HANDED_OVER_MAX + ANSWERS_MAX + STREAMS);
    assert_eq!(fill(&sender), HANDED_OVER_MAX, "there is room again");
}

#[test]
fn a_queue_full_of_answers_counts_nothing_as_handed_over() {
    let (_poll, sender, orders) = queue();
    for _ in 0..ANSWERS_MAX + STREAMS {
        sender.answered(GUEST, Response::text(200));
    }
    for _ in 0..HANDED_OVER_MAX {
        sender.answered(GUEST, Response::text(200));
    }
    assert_eq!(fill(&sender), 0);
    while orders.commands.try_recv().is_ok() {}
    assert_eq!(fill(&sender), HANDED_OVER_MAX);
}

#[test]
fn of_a_worker_that_is_gone_everything_comes_back() {
    let (_poll, sender, orders) = queue();
    drop(orders);
    assert!(sender.hand_over(Command::SwitchedOff { stream: 0 }).is_err());
}

/// Worker 0 of two, with a listener; the only stream, `/a.ts`, is worker 1's.
pub(in crate::worker) fn worker(
    metrics: &Arc<Metrics>,
    now: Instant,
) -> (Worker, Sender, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = listener.try_clone().unwrap();
    listening.set_nonblocking(true).unwrap();
    let admission = Arc::new(Admission::new(Limits::default(), None));
    let node = Node::new(Arc::clone(metrics), Vec::new(), admission, 2, now);
    let entry = Entry {
        path: "/a.ts".to_owned(),
        owner: AtomicUsize::new(1),
        hot: false,
        cost_ns: AtomicU64::new(0),
        gate: Arc::new(Gate::new(None, Pseudonym::new(&RandomState::new(), "/a.ts"))),
        status: Arc::new(StreamStatus::new(now)),
        metrics: metrics.stream("/a.ts"),
    };
    let (proxies, _errors) = Proxies::from_env();
    let egress = Egress { trust: Trust::load(None).unwrap(), proxies };
    let parts = Parts {
        number: 0,
        room: Room::of(2, 1024),
        streams: vec![None],
        board: Arc::new(Board::new([entry], 2)),
        resources: vec![Resource {
            path: "/a.ts".to_owned(),
            guard: Guard::new(&Authentication::Open),
            target: Target::Stream(0),
        }],
        listeners: vec![listening],
        ours: true,
        door: None,
        dialer: Dialer::new(None, DATAGRAM_BUFFER_BYTES_MIN, egress),
        arrival: Arrival::default(),
        refuse_with: RefuseWith::NotFound,
        desk: Desk::start(&node).unwrap(),
        statics: Vec::new(),
        access: AccessLog::silent(),
        metrics: Arc::clone(metrics),
        period: TurnPeriod::Fixed(Duration::from_millis(1)),
        log: crate::log::silent(),
    };
    let (worker, sender) = Worker::new(parts, now).unwrap();
    (worker, sender, listener)
}

#[test]
fn whose_worker_is_too_busy_is_told_to_come_again() {
    let (metrics, now) = (Metrics::new(), Instant::now());
    let (mut worker, sender, listener) = worker(&metrics, now);
    let (_poll, other, orders) = queue();
    worker.meet(Arc::new([sender, other.clone()]));
    let ask = |worker: &mut Worker| {
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        far.write_all(b"GET /a.ts HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        worker.listeners.mark(0);
        worker.turn(now);
        far
    };
    assert_eq!(fill(&other), HANDED_OVER_MAX);
    let mut refused = String::new();
    ask(&mut worker).read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    let counted = || {
        let text = metrics.text().unwrap();
        let of = |line: &&str| line.contains("reason=\"worker_busy\"");
        text.lines().find(of).map(|line| line.ends_with(" 1"))
    };
    assert_eq!(counted(), Some(true));
    // Once it has heeded something, there is room for the next one.
    orders.commands.try_recv().unwrap();
    let _far = ask(&mut worker);
    let last = std::iter::from_fn(|| orders.commands.try_recv().ok()).last();
    assert!(matches!(last, Some(Command::Asked(asked)) if asked.request.path == "/a.ts"));
    assert_eq!(counted(), Some(true));
}
