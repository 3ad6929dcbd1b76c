use std::hash::RandomState;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use mio::Events;

use super::*;
use crate::config::{Join, Keep, OnDemand, Reception, Remote, Slow};
use crate::http::via::Pseudonym;
use crate::log::access::AccessLog;
use crate::metrics::{Metrics, StreamStatus};
use crate::stream::admission::{Admission, Limits};
use crate::stream::allotment::Allotment;
use crate::stream::failover::{Failover, Upstream};
use crate::stream::gate::Gate;
use crate::stream::history::History;
use crate::stream::hold::Hold;
use crate::stream::{Parts, source::Source};
use crate::upstream::schedule::Schedule;
use crate::worker::handoff::tests::{queue, worker};
use crate::worker::handoff::{Command, Orders};

const LONG: Duration = Duration::from_mins(10);

/// A stream on demand that has nothing but an upstream which refuses connections.
fn dead(metrics: &Arc<Metrics>, admission: &Arc<Admission>, now: Instant) -> Stream {
    let log = crate::log::silent();
    let remote = Remote::parse("unix:///nowhere/at/all").unwrap();
    let of_upstream = metrics.upstream("/a.ts", remote.label());
    let upstreams = vec![Upstream::new(remote, Reception::default(), of_upstream, &log)];
    let schedule = Schedule::new(1, Some(LONG / 2), |_| 0);
    let status = Arc::new(StreamStatus::new(now));
    let failover = Failover::new(upstreams, schedule, None, status).on_demand(now);
    let parts = Parts {
        log,
        metrics: metrics.stream("/a.ts"),
        admission: Arc::clone(admission),
        source: Source::Upstreams(Box::new(failover)),
        hold: Hold::new(None),
        slow: Slow::Packets,
        on_demand: Some(OnDemand { linger: LONG, start_timeout: LONG }),
        lag_packets: 400,
        history: History::new(Join::Live, Keep::default(), Allotment::new(0).share()),
        pacing_percent: None,
        gate: Arc::new(Gate::new(None, Pseudonym::new(&RandomState::new(), "/a.ts"))),
        preamble: None,
        congestion: None,
        access: AccessLog::silent(),
    };
    Stream::new(parts, now)
}

/// Waits for events, and heeds them in a turn.
fn go_on(worker: &mut Worker, now: Instant) {
    let mut events = Events::with_capacity(16);
    worker.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
    assert!(!events.is_empty(), "nothing happens");
    for event in &events {
        worker.on_event(event, now);
    }
    worker.turn(now);
}

fn taken(orders: &Orders) -> Box<Stream> {
    match orders.commands.try_recv() {
        Ok(Command::Take { stream, .. }) => stream,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_moves_with_the_stream_and_is_heard_where_it_goes() {
    let (metrics, now) = (Metrics::new(), Instant::now());
    let admission = Arc::new(Admission::new(Limits::default(), None));
    let (mut worker, sender, listener) = worker(&metrics, now);
    let (_poll, other, orders) = queue();
    worker.meet(Arc::new([sender, other]));
    worker.board.given(0, 0);
    worker.take(0, Box::new(dead(&metrics, &admission, now)), now);
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.write_all(b"GET /a.ts HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    while worker.streams.get(0).unwrap().lobby_len() == 0 {
        go_on(&mut worker, now);
    }
    // While the attempt is under way its result comes here, and so the stream stays.
    worker.give(0, 1, now);
    while !worker.streams.get(0).expect("it stays").may_move() {
        go_on(&mut worker, now);
    }
    assert_eq!(worker.streams.get(0).unwrap().lobby_len(), 1, "it waits for the next attempt");
    worker.give(0, 1, now);
    let stream = taken(&orders);
    assert_eq!((stream.lobby_len(), stream.viewers(), admission.viewers()), (1, 1, 1));
    worker.attend(now);
    assert!(worker.awaited.is_empty(), "nobody waits here any more");
    // As if the other worker had given it back.
    worker.board.given(0, 0);
    worker.take(0, stream, now);
    assert_eq!(worker.awaited, [0]);
    drop(far);
    while worker.streams.get(0).unwrap().lobby_len() > 0 {
        go_on(&mut worker, now);
    }
    assert_eq!(admission.viewers(), 0);
    assert!(worker.awaited.is_empty());
}
