use std::hash::RandomState;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::config::{Condition, Health, Join, Keep, Reception, Remote, Slow};
use crate::http::request::{Parsed, parse};
use crate::http::via::{Pseudonym, Via};
use crate::limits::{
    ENDING_TIMEOUT, HISTORY_BYTES_OF_NODE_MAX, LAG_BYTES_MAX, PACKET_BYTES, UNACKNOWLEDGED_TIMEOUT,
    VIA_MEMBERS_MAX,
};
use crate::metrics::{Metrics, StreamStatus};
use crate::stream::admission::Limits;
use crate::stream::allotment::Allotment;
use crate::stream::failover::{Failover, Upstream};
use crate::stream::join::{Readiness, Refused};
use crate::upstream::schedule::Schedule;
use crate::upstream::{Body, Dialed, Framing};
use crate::viewer::visit::Visit;
use crate::viewer::{Connection, State};

mod fed;
mod joining;
pub(crate) mod programs;
mod slow;
mod switching;

/// A stream with a connected upstream, driven by hand.
struct Bench {
    stream: Stream,
    trunk: Trunk,
    upstream: UnixStream,
    now: Instant,
    metrics: Arc<Metrics>,
    number: u64,
}

const PATH: &str = "/a.ts";
const LAG_PACKETS: usize = 100;
const VIEWERS_MAX: usize = 2;

impl Bench {
    fn new() -> Bench {
        Bench::framed(Framing::Raw, Some(Duration::from_secs(5)))
    }

    fn framed(framing: Framing, read_timeout: Option<Duration>) -> Bench {
        Bench::watched(framing, read_timeout, Health::default())
    }

    fn watched(framing: Framing, read_timeout: Option<Duration>, health: Health) -> Bench {
        let now = Instant::now();
        let metrics = Metrics::new();
        let remote = Remote::sample();
        let log = crate::log::silent();
        let of_upstream = metrics.upstream(PATH, remote.label());
        let upstreams = vec![Upstream::new(remote, Reception::default(), of_upstream, &log)];
        let schedule = Schedule::new(1, Some(Duration::from_secs(10)), |_| 0);
        let status = Arc::new(StreamStatus::new(now));
        let parts = Parts {
            log,
            metrics: metrics.stream(PATH),
            admission: Arc::new(Admission::new(Limits::default(), None)),
            source: Source::Upstreams(Box::new(
                Failover::new(upstreams, schedule, read_timeout, status).watched(health),
            )),
            hold: Hold::new(None),
            on_demand: None,
            lag_packets: LAG_PACKETS,
            history: History::new(
                Join::RandomAccess,
                Keep::default(),
                Allotment::new(HISTORY_BYTES_OF_NODE_MAX).share(),
            ),
            slow: Slow::RandomAccess,
            pacing_percent: None,
            gate: Arc::new(Gate::new(Some(VIEWERS_MAX), Pseudonym::new(&RandomState::new(), PATH))),
            preamble: None,
            congestion: None,
            access: AccessLog::silent(),
        };
        let mut stream = Stream::new(parts, now);
        let (upstream, source) = UnixStream::pair().unwrap();
        source.set_nonblocking(true).unwrap();
        assert!(stream.source().begin_attempt(now).is_some());
        let dialed = Dialed { body: Body::Stream(framing), ..Dialed::raw(source) };
        assert!(stream.dialed(Ok(dialed), now));
        Bench { stream, trunk: Trunk::new().unwrap(), upstream, now, metrics, number: 0 }
    }

    fn viewer(&mut self) -> (ViewerKey, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (near, peer) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let key = self.stream.next_key();
        self.stream.admit(peer.ip(), &Via::default(), self.now).unwrap();
        let connection = Connection::new(near, peer);
        self.stream.join(connection, visit(self.now), b"HEAD".to_vec(), self.now);
        (key, far)
    }

    /// The upstream sends packets, whose bytes are answered.
    fn send(&mut self, packets: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..packets {
            let mut packet = [u8::try_from(self.number % 251).unwrap(); PACKET_BYTES];
            let counter = 0x10 | u8::try_from(self.number % 16).unwrap();
            packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, counter]);
            bytes.extend(packet);
            self.number += 1;
        }
        self.upstream.write_all(&bytes).unwrap();
        bytes
    }

    fn turn(&mut self) -> bool {
        self.stream.mark_readable();
        self.work()
    }

    /// A turn in which the upstream is not read.
    fn work(&mut self) -> bool {
        self.stream.send_live(&mut self.trunk, self.now);
        self.stream.catch_up(&mut Allowance::of_a_turn(), self.now)
    }

    fn metric(&self, sample: &str) -> u64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.starts_with(sample));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

fn visit(now: Instant) -> Visit {
    let head = b"GET / HTTP/1.0\r\n\r\n";
    let Parsed::Whole(request, _) = parse(head) else { panic!("a whole head") };
    Visit::new(*request, now)
}

fn read(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    socket.read_exact(&mut buffer).unwrap();
    buffer
}

#[test]
fn a_viewer_joins_at_the_head_and_is_live() {
    let mut bench = Bench::new();
    bench.send(10);
    bench.turn();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let sent = bench.send(20);
    bench.turn();
    assert_eq!(read(&mut far, 4 + sent.len()), [b"HEAD".to_vec(), sent.clone()].concat());
    let live = "restreamer_sent_bytes_total{path=\"live\"";
    assert_eq!(bench.metric(live), sent.len() as u64);
    assert_eq!(bench.metric("streaming_packets_sent"), 20);
    assert_eq!(bench.metric("restreamer_viewers{state=\"live\""), 1);
}

#[test]
fn one_byte_at_a_time_is_whole_packets_in_the_end() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let mut sent = Vec::new();
    let feed = bench.upstream.try_clone().unwrap();
    // Made, but sent through the same socket byte by byte.
    let (sink, _unread) = UnixStream::pair().unwrap();
    bench.upstream = sink;
    sent.extend(bench.send(5));
    for byte in &sent {
        (&feed).write_all(std::slice::from_ref(byte)).unwrap();
        bench.turn();
    }
    assert_eq!(read(&mut far, 4 + sent.len())[4..], sent);
}

#[test]
fn a_chunk_larger_than_the_trunk_goes_in_parts() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let packets = 3 * bench.trunk.capacity() / PACKET_BYTES;
    let mut feed = bench.upstream.try_clone().unwrap();
    let (sink, drain) = UnixStream::pair().unwrap();
    let draining = std::thread::spawn(move || io::copy(&mut &drain, &mut io::sink()));
    bench.upstream = sink;
    let sent = bench.send(packets);
    drop(std::mem::replace(&mut bench.upstream, feed.try_clone().unwrap()));
    draining.join().unwrap().unwrap();
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || feed.write_all(&bytes).unwrap());
    let reading = std::thread::spawn(move || read(&mut far, 4 + bytes_of(packets)));
    while bench.metric("streaming_packets_sent") < packets as u64 {
        bench.turn();
        let key = ViewerKey { index: 0, generation: 0 };
        let room = Readiness { writable: true, ..Readiness::default() };
        bench.stream.on_viewer(key, room, bench.now);
    }
    sending.join().unwrap();
    assert_eq!(reading.join().unwrap()[4..], sent);
}

fn bytes_of(packets: usize) -> usize {
    packets * PACKET_BYTES
}

#[test]
fn a_stalled_viewer_is_skipped_and_the_ring_stays_small() {
    let mut bench = Bench::new();
    let (_, _far) = bench.viewer();
    let mut most = 0;
    for _ in 0..2000 {
        bench.send(60);
        bench.turn();
        most = most.max(bench.stream.ring.bytes());
    }
    assert!(bench.metric("restreamer_skips_total") > 0);
    assert!(bench.metric("streaming_packets_dropped") > 0);
    assert!(most <= 512 * 1024, "{most} bytes");
    let lag = bench.metric("restreamer_lag_bytes");
    assert!(lag <= bench.metric("restreamer_lag_limit_bytes"), "{lag}");
    assert_eq!(
        bench.metric("streaming_packets_dropped") * PACKET_BYTES as u64,
        bench.metric("streaming_bytes_dropped")
    );
}

/// An allowance that others have spent.
fn spent() -> Allowance {
    let mut allowance = Allowance::of_a_turn();
    while !allowance.is_spent() {
        allowance.spend(0);
    }
    allowance
}

#[test]
fn who_waits_for_its_share_of_a_turn_is_not_skipped_and_keeps_nobody_waiting() {
    const PACKETS: usize = 30;
    let mut bench = Bench::new();
    let (_, mut live) = bench.viewer();
    bench.turn();
    read(&mut live, 4);
    let (_, mut joined) = bench.viewer();
    let mut all = b"HEAD".to_vec();
    for _ in 0..8 {
        let sent = bench.send(PACKETS);
        bench.stream.mark_readable();
        bench.stream.send_live(&mut bench.trunk, bench.now);
        assert_eq!(read(&mut live, sent.len()), sent, "before anybody who is catching up");
        assert!(bench.stream.catch_up(&mut spent(), bench.now), "there is more to do");
        all.extend(sent);
    }
    assert!(bench.metric("restreamer_lag_bytes") > bench.metric("restreamer_lag_limit_bytes"));
    assert!(!bench.work(), "all is done");
    assert!(read(&mut joined, all.len()) == all, "nothing is missing");
    assert_eq!(bench.metric("restreamer_skips_total"), 0);
    assert_eq!(bench.metric("restreamer_viewers{state=\"live\""), 2);
}

#[test]
fn whoever_waits_for_its_share_the_ring_stays_bounded() {
    let mut bench = Bench::new();
    let (_, _joined) = bench.viewer();
    let mut most = 0;
    for _ in 0..2 * LAG_BYTES_MAX / bytes_of(60) {
        bench.send(60);
        bench.stream.mark_readable();
        bench.stream.send_live(&mut bench.trunk, bench.now);
        bench.stream.catch_up(&mut spent(), bench.now);
        most = most.max(bench.stream.ring.bytes());
    }
    assert!((LAG_BYTES_MAX..LAG_BYTES_MAX * 9 / 8).contains(&most), "{most} bytes");
}

#[test]
fn told_to_stop_viewers_are_let_go_within_the_allowance() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    bench.work();
    let stay = bench.stream.stop(bench.now);
    assert!(stay, "or else there is no turn");
    bench.work();
    assert_eq!((read(&mut far, 4), bench.stream.viewers()), (b"HEAD".to_vec(), 0));
    assert!(!bench.stream.stop(bench.now));
}

#[test]
fn a_ring_holds_what_somebody_lacks_and_nothing_else() {
    let mut bench = Bench::new();
    let ring = |bench: &Bench| bench.metric("restreamer_ring_bytes");
    bench.send(60);
    bench.turn();
    assert_eq!(ring(&bench), 0, "nobody is there");
    let (key, mut far) = bench.viewer();
    let mut sent = 4;
    while bench.metric("restreamer_viewers{state=\"catching_up\"") == 0 || ring(&bench) == 0 {
        sent += bench.send(60).len();
        bench.turn();
        assert!(sent < 64 << 20, "its socket is never full");
    }
    assert!(ring(&bench) > 0, "one whose socket is full may get it yet");
    let (stream, now) = (&mut bench.stream, bench.now);
    read(&mut far, 1 << 20);
    let writable = Readiness { writable: true, ..Readiness::default() };
    assert!(stream.on_viewer(key, writable, now));
    bench.turn();
    assert_eq!(ring(&bench), 0, "and has got it");
}

#[test]
fn events_of_a_viewer_that_is_gone_are_silence() {
    let mut bench = Bench::new();
    let (key, far) = bench.viewer();
    bench.turn();
    drop(far);
    let closed = Readiness { closed: true, ..Readiness::default() };
    assert!(bench.stream.on_viewer(key, closed, bench.now));
    assert_eq!(bench.stream.viewers(), 0);
    let (_, mut next) = bench.viewer();
    // The same place, another viewer: the old key does not reach it.
    assert!(!bench.stream.on_viewer(key, closed, bench.now));
    assert_eq!(bench.stream.viewers(), 1);
    let sent = bench.send(5);
    bench.turn();
    assert_eq!(read(&mut next, 4 + sent.len())[4..], sent);
    assert_eq!(bench.stream.admission.viewers(), 1);
}

#[test]
fn one_who_hung_up_on_a_silent_stream_is_let_go() {
    let mut bench = Bench::framed(Framing::Raw, None);
    let (key, mut far) = bench.viewer();
    bench.turn();
    // All read: or else hanging up is a reset, which is told from an end at once.
    read(&mut far, 4);
    drop(far);
    let readable = Readiness { readable: true, ..Readiness::default() };
    let turn = bench.stream.on_viewer(key, readable, bench.now);
    assert!(turn, "or else nobody asks when to look again");
    assert_eq!(bench.stream.viewers(), 1, "it may still listen");
    let mut checks = 0;
    while bench.stream.viewers() > 0 {
        bench.now = bench.stream.deadline(bench.now).expect("somebody is waited for");
        bench.stream.on_deadline(bench.now);
        checks += 1;
        // Two looks a second at the upstream's health are among them.
        assert!(checks < 100);
    }
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"left\""), 1);
}

#[test]
fn one_who_ended_its_side_and_listens_stays() {
    let mut bench = Bench::framed(Framing::Raw, None);
    let (key, mut far) = bench.viewer();
    bench.turn();
    far.shutdown(std::net::Shutdown::Write).unwrap();
    let readable = Readiness { readable: true, ..Readiness::default() };
    bench.stream.on_viewer(key, readable, bench.now);
    let mut sent = Vec::new();
    for _ in 0..20 {
        bench.now += STALL_CHECK_INTERVAL;
        bench.stream.on_deadline(bench.now);
        sent.extend(bench.send(5));
        bench.turn();
    }
    assert_eq!(read(&mut far, 4 + sent.len())[4..], sent);
    assert_eq!(bench.stream.viewers(), 1);
}

#[test]
fn a_viewer_that_talks_too_much_is_cut() {
    let mut bench = Bench::new();
    let (key, mut far) = bench.viewer();
    bench.turn();
    let readable = Readiness { readable: true, ..Readiness::default() };
    let chatter = vec![0; 32 * 1024];
    let cut = (0..100).any(|_| {
        let _refused = far.write(&chatter);
        bench.stream.on_viewer(key, readable, bench.now);
        bench.stream.viewers() == 0
    });
    assert!(cut);
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"talked\""), 1);
}

#[test]
fn when_the_upstream_ends_viewers_get_all_of_it_and_then_the_end() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let sent = bench.send(50);
    bench.upstream.shutdown(std::net::Shutdown::Both).unwrap();
    bench.turn();
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got[4..], sent);
    assert_eq!(bench.stream.viewers(), 0);
    assert!(!bench.stream.is_connected());
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"finished\""), 1);
    let due = bench.stream.deadline(bench.now).unwrap();
    assert_eq!(due - bench.now, Duration::from_secs(10), "reconnect after the attempt's start");
}

/// Whether it is a packet of [`Bench::send`], or one that signals a skip.
fn is_whole(packet: &[u8]) -> bool {
    let of_stream = packet[4..] == [packet[4]; 184];
    let signals = packet[3] & 0x30 == 0x20 && packet[4..6] == [183, 0x80];
    packet[0] == 0x47 && packet.len() == PACKET_BYTES && (of_stream || signals)
}

/// What brought a node down once: the ring moves on behind the back of one who is ending.
#[test]
fn one_who_is_ending_survives_the_next_upstream() {
    let mut bench = Bench::framed(Framing::Raw, None);
    let (key, mut far) = bench.viewer();
    while bench.metric("restreamer_skips_total") == 0 {
        bench.send(60);
        bench.turn();
    }
    bench.upstream.shutdown(std::net::Shutdown::Both).unwrap();
    bench.turn();
    assert_eq!((bench.stream.viewers(), bench.stream.is_connected()), (1, false));
    // Back at once, and far beyond the lag limit.
    let (upstream, source) = UnixStream::pair().unwrap();
    source.set_nonblocking(true).unwrap();
    bench.upstream = upstream;
    bench.now += Duration::from_secs(11);
    assert!(bench.stream.source().begin_attempt(bench.now).is_some());
    assert!(bench.stream.dialed(Ok(Dialed::raw(source)), bench.now));
    bench.now -= Duration::from_secs(10);
    for _ in 0..200 {
        bench.send(60);
        bench.turn();
    }
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).map(|_| got)
    });
    let room = Readiness { writable: true, ..Readiness::default() };
    while bench.stream.viewers() > 0 {
        bench.stream.on_viewer(key, room, bench.now);
        bench.turn();
    }
    let got = reading.join().unwrap().unwrap();
    assert_eq!((got.len() - 4) % PACKET_BYTES, 0);
    assert!(got[4..].chunks(PACKET_BYTES).all(is_whole));
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"finished\""), 1);
}

#[test]
fn a_silent_upstream_is_closed_when_its_time_is_up() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    bench.send(1);
    bench.turn();
    bench.now += Duration::from_millis(4999);
    assert!(!bench.stream.on_deadline(bench.now), "not yet");
    bench.now += Duration::from_millis(1);
    assert!(bench.stream.on_deadline(bench.now));
    bench.work();
    assert!(!bench.stream.is_connected());
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(bench.metric("restreamer_upstream_losses_total{reason=\"silent\""), 1);
}

#[test]
fn a_paused_viewer_loses_the_kernels_limit_and_gets_it_back() {
    let mut bench = Bench::framed(Framing::Raw, None);
    let (key, mut far) = bench.viewer();
    while bench.metric("restreamer_skips_total") == 0 {
        bench.send(60);
        bench.turn();
    }
    let user_timeout = |bench: &mut Bench| {
        let socket = &bench.stream.members.get_mut(key).unwrap().connection.socket;
        restreamer_sys::socket::user_timeout(socket.as_fd()).unwrap()
    };
    let limit = Some(UNACKNOWLEDGED_TIMEOUT);
    restreamer_sys::socket::set_user_timeout(
        bench.stream.members.get_mut(key).unwrap().connection.socket.as_fd(),
        limit,
    )
    .unwrap();
    // The first look finds that it took something before; then it is known to be on pause.
    let deadline = Instant::now() + Duration::from_secs(20);
    while user_timeout(&mut bench).is_some() {
        assert!(Instant::now() < deadline, "it is on pause, and nobody noticed");
        bench.now += STALL_CHECK_INTERVAL;
        bench.stream.on_deadline(bench.now);
        bench.turn();
    }
    far.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let room = Readiness { writable: true, ..Readiness::default() };
    while user_timeout(&mut bench).is_none() {
        while far.read(&mut buffer).is_ok() {}
        bench.stream.on_viewer(key, room, bench.now);
        bench.turn();
    }
    assert_eq!(user_timeout(&mut bench), limit);
    assert_eq!(bench.stream.viewers(), 1);
}

#[test]
fn told_to_stop_every_viewer_ends_on_a_packet_boundary() {
    let mut bench = Bench::new();
    let (_, mut live) = bench.viewer();
    let (slow, mut far) = bench.viewer();
    bench.turn();
    let drained = std::thread::spawn(move || {
        let mut got = Vec::new();
        live.read_to_end(&mut got).map(|_| got)
    });
    while bench.metric("restreamer_skips_total") == 0 {
        bench.send(60);
        bench.turn();
    }
    bench.stream.stop(bench.now);
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).map(|_| got)
    });
    let room = Readiness { writable: true, ..Readiness::default() };
    while bench.stream.viewers() > 0 {
        bench.stream.on_viewer(slow, room, bench.now);
        bench.work();
    }
    for got in [drained, reading].map(|thread| thread.join().unwrap().unwrap()) {
        assert_eq!((got.len() - 4) % PACKET_BYTES, 0);
        assert!(got[4..].chunks(PACKET_BYTES).all(is_whole), "whole packets to the end");
    }
}

#[test]
fn a_viewer_gets_the_preamble_before_the_stream() {
    let mut bench = Bench::new();
    bench.stream.preamble = Some(vec![b'P'; 3 * PACKET_BYTES].into());
    let (_, mut far) = bench.viewer();
    let sent = bench.send(5);
    bench.turn();
    let all = [b"HEAD".to_vec(), vec![b'P'; 3 * PACKET_BYTES], sent].concat();
    assert_eq!(read(&mut far, all.len()), all);
    assert_eq!(bench.metric("streaming_packets_sent"), 5, "of the stream");
}

#[test]
fn switched_off_a_stream_lets_its_viewers_go_and_takes_none() {
    let mut bench = Bench::new();
    let here = IpAddr::from([127, 0, 0, 1]);
    let (_, mut far) = bench.viewer();
    let sent = bench.send(5);
    bench.turn();
    assert!(bench.stream.gate().switch(false));
    bench.stream.switched_off(bench.now);
    bench.stream.switched_off(bench.now);
    bench.turn();
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got, [b"HEAD".to_vec(), sent].concat());
    assert_eq!(
        bench.stream.would_admit(here, &Via::default(), bench.now),
        Err(Refused::SwitchedOff)
    );
    assert!(bench.stream.is_connected(), "its upstream stays");
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"switched_off\""), 1);
    assert!(bench.stream.gate().switch(true));
    assert_eq!(bench.stream.admit(here, &Via::default(), bench.now), Ok(()));
}

#[test]
fn a_stream_is_no_viewer_of_itself() {
    let bench = Bench::new();
    let here = IpAddr::from([127, 0, 0, 1]);
    let mut via = Via::default();
    via.add(b"1.1 restreamer-0123456789abcdef");
    assert_eq!(bench.stream.would_admit(here, &via, bench.now), Ok(()));
    via.add(bench.stream.gate().own().to_string().as_bytes());
    via.add(b"1.1 cache");
    assert_eq!(bench.stream.would_admit(here, &via, bench.now), Err(Refused::Loop));
    assert_eq!(bench.stream.admit(here, &via, bench.now), Err(Refused::Loop));
    let mut endless = Via::default();
    endless.add("1.1 cache,".repeat(VIA_MEMBERS_MAX).as_bytes());
    assert_eq!(bench.stream.would_admit(here, &endless, bench.now), Ok(()));
    endless.add(b"1.1 cache");
    assert_eq!(bench.stream.admit(here, &endless, bench.now), Err(Refused::Loop));
}

#[test]
fn a_stream_has_its_own_limit_of_viewers() {
    let mut bench = Bench::new();
    let here = IpAddr::from([127, 0, 0, 1]);
    let (key, _first) = bench.viewer();
    let (_, _second) = bench.viewer();
    assert_eq!(bench.stream.admit(here, &Via::default(), bench.now), Err(Refused::StreamFull));
    let gone = Readiness { closed: true, ..Readiness::default() };
    bench.stream.on_viewer(key, gone, bench.now);
    assert_eq!(bench.stream.admit(here, &Via::default(), bench.now), Ok(()));
}

/// Turns in which others had all that may be written in one, while the upstream goes on; answers
/// what it sends.
fn starve(bench: &mut Bench, turns: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    for _ in 0..turns {
        sent.extend(bench.send(20));
        bench.stream.mark_readable();
        bench.stream.send_live(&mut bench.trunk, bench.now);
        let mut nothing = Allowance::of_a_turn();
        nothing.spend(usize::MAX);
        bench.stream.catch_up(&mut nothing, bench.now);
    }
    assert!(sent.len() > bench.stream.limit.bytes(), "far enough behind to be skipped");
    sent
}

#[test]
fn who_had_to_wait_for_its_turn_gets_everything_through_a_small_socket() {
    let mut bench = Bench::new();
    let (key, far) = bench.viewer();
    let near = &bench.stream.members.get_mut(key).unwrap().connection.socket;
    socket2::SockRef::from(near).set_send_buffer_size(8 * 1024).unwrap();
    socket2::SockRef::from(&far).set_recv_buffer_size(8 * 1024).unwrap();
    let sent = starve(&mut bench, 40);
    bench.turn();
    let member = bench.stream.members.get_mut(key).unwrap();
    assert!(matches!(&member.state, State::CatchingUp(state) if state.is_blocked()));
    assert_eq!(bench.metric("restreamer_skips_total"), 0);
    let all = 4 + sent.len();
    let mut reader = far.try_clone().unwrap();
    let reading = std::thread::spawn(move || read(&mut reader, all));
    let room = Readiness { writable: true, ..Readiness::default() };
    while bench.metric("restreamer_viewers{state=\"live\"") == 0 {
        bench.stream.on_viewer(key, room, bench.now);
        bench.work();
    }
    assert_eq!(reading.join().unwrap(), [b"HEAD".to_vec(), sent].concat());
    assert_eq!(bench.metric("streaming_packets_dropped"), 0);
    // From now on its lag is its own.
    while bench.metric("restreamer_skips_total") == 0 {
        bench.send(20);
        bench.turn();
        assert!(bench.metric("restreamer_lag_bytes") <= bench.stream.limit.bytes() as u64);
    }
}

#[test]
fn who_had_to_wait_for_its_turn_gets_the_rest_when_the_upstream_ends() {
    let mut bench = Bench::new();
    let (_, mut far) = bench.viewer();
    let sent = starve(&mut bench, 20);
    drop(std::mem::replace(&mut bench.upstream, UnixStream::pair().unwrap().0));
    bench.turn();
    bench.work();
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got, [b"HEAD".to_vec(), sent].concat());
    assert_eq!(bench.metric("streaming_packets_dropped"), 0);
}

/// Senders in bursts send every six seconds or so, also just after a look, in the same round.
#[test]
fn what_comes_in_the_round_of_a_look_is_seen_by_the_next() {
    let mut health = Health::default();
    health.times[Condition::NoData.index()] = Some(Duration::from_secs(10));
    let mut bench = Bench::watched(Framing::Raw, None, health);
    for half in 1..60 {
        bench.now += Duration::from_millis(500);
        bench.stream.on_deadline(bench.now);
        if half % 12 == 0 {
            bench.send(10);
        }
        bench.turn();
        assert!(bench.stream.is_connected(), "left after {half} halves of a second");
    }
    for _ in 0..22 {
        bench.now += Duration::from_millis(500);
        bench.stream.on_deadline(bench.now);
        bench.turn();
    }
    assert!(!bench.stream.is_connected(), "it is left when nothing comes any more");
}
