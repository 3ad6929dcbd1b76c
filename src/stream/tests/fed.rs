//! A part of a stream that its owner feeds through a pipe.

use std::os::fd::OwnedFd;

use restreamer_sys::pipe::Pipe;

use super::joining::Channel;
use super::*;
use crate::stream::source::Fed;

const PIPE_BYTES: usize = 64 * 1024;

impl Bench {
    /// A part of the stream, which nobody feeds yet.
    fn part(&self) -> Bench {
        let mut part = Bench::new();
        part.stream = Stream::new(
            Parts {
                log: crate::log::silent(),
                metrics: part.metrics.stream(PATH),
                admission: Arc::clone(&self.stream.admission),
                source: Source::Fed(Fed::default()),
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
                gate: Arc::clone(self.stream.gate()),
                preamble: None,
                congestion: None,
                access: AccessLog::silent(),
            },
            self.now,
        );
        part
    }

    fn feed(&mut self, part: &mut Bench) {
        let (reader, writer) = pipe();
        self.stream.feed_to(1, writer);
        assert!(part.stream.dialed(Ok(Dialed::raw(reader)), self.now));
    }

    /// The upstream goes, and another one comes.
    fn reconnect(&mut self) {
        let (upstream, source) = UnixStream::pair().unwrap();
        source.set_nonblocking(true).unwrap();
        self.upstream = upstream;
        self.turn();
        self.now += Duration::from_mins(1);
        assert!(self.stream.source().begin_attempt(self.now).is_some());
        assert!(self.stream.dialed(Ok(Dialed::raw(source)), self.now));
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    Pipe::with_capacity(PIPE_BYTES).unwrap().into_ends()
}

fn read_to_end(mut socket: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    got
}

#[test]
fn viewers_of_both_parts_get_the_same_through_the_trunk() {
    let mut owner = Bench::new();
    let mut part = owner.part();
    assert!(
        part.stream.admit(IpAddr::from([127, 0, 0, 1]), &Via::default(), part.now).is_err(),
        "there is nothing to show"
    );
    owner.feed(&mut part);
    let ((_, mut here), (_, mut there)) = (owner.viewer(), part.viewer());
    owner.turn();
    part.turn();
    let mut all = b"HEAD".to_vec();
    for packets in [1, 50, 300] {
        all.extend(owner.send(packets));
        owner.turn();
        part.turn();
    }
    assert_eq!(read(&mut here, all.len()), all);
    assert_eq!(read(&mut there, all.len()), all);
    assert!(
        owner.stream.admit(IpAddr::from([127, 0, 0, 1]), &Via::default(), owner.now).is_err(),
        "two are all there may be"
    );
}

#[test]
fn a_late_part_gets_everything_from_the_ring() {
    let mut owner = Bench::new();
    let mut part = owner.part();
    owner.feed(&mut part);
    let (_, mut there) = part.viewer();
    let mut all = b"HEAD".to_vec();
    while all.len() < 20 * PIPE_BYTES {
        all.extend(owner.send(500));
        owner.turn();
    }
    assert!(owner.metric("restreamer_lag_bytes") > 10 * PIPE_BYTES as u64);
    let reading = std::thread::spawn(move || read(&mut there, all.len()) == all);
    let room = Readiness { writable: true, ..Readiness::default() };
    while !reading.is_finished() {
        part.turn();
        part.stream.on_viewer(ViewerKey { index: 0, generation: 0 }, room, part.now);
        owner.work();
    }
    assert!(reading.join().unwrap(), "every byte, in order");
    assert_eq!(owner.metric("restreamer_lag_bytes"), 0);
    assert_eq!(owner.metric("restreamer_feed_skips_total"), 0);
}

#[test]
fn a_part_that_does_not_read_holds_up_nobody() {
    let mut owner = Bench::new();
    let mut part = owner.part();
    owner.feed(&mut part);
    let (_, mut here) = owner.viewer();
    owner.turn();
    read(&mut here, 4);
    while owner.metric("restreamer_feed_skips_total") == 0 {
        let sent = owner.send(500);
        owner.turn();
        assert_eq!(read(&mut here, sent.len()), sent);
    }
    assert!(owner.metric("restreamer_ring_bytes") < 2 * LAG_BYTES_MAX as u64);
    // It is told to end, and looked at again though nothing comes.
    owner.reconnect();
    owner.turn();
    let due = owner.stream.deadline(owner.now).expect("a feed is not done with");
    assert!(due < owner.now + ENDING_TIMEOUT, "soon");
    owner.now += 2 * ENDING_TIMEOUT;
    assert!(owner.stream.on_deadline(owner.now));
    owner.work();
    assert!(!owner.stream.are_fed(), "nobody has read it in time");
}

/// Whose viewers are told, too.
#[test]
fn a_part_that_was_skipped_goes_on_at_a_picture_with_one_signal() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    let mut part = channel.bench.part();
    channel.bench.feed(&mut part);
    channel.tables();
    channel.picture(true, 10);
    channel.picture(false, 20);
    part.turn();
    let (key, mut far) = part.viewer();
    part.turn();
    // The part does not come to read.
    while channel.bench.metric("restreamer_feed_skips_total") == 0 {
        channel.picture(true, 1500);
        channel.picture(false, 20);
    }
    let place = channel.picture(true, 300);
    channel.picture(false, 20);
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        got
    });
    while channel.bench.metric("restreamer_lag_bytes") > 0
        || part.turn()
        || part.metric("restreamer_lag_bytes") > 0
    {
        channel.bench.work();
        part.turn();
        part.stream.on_viewer(key, Readiness { writable: true, ..Readiness::default() }, part.now);
    }
    part.stream.remove(key.index, Departure::Left, part.now);
    let got = reading.join().unwrap();
    let signals = slow::signals(&got[4..]);
    assert_eq!(signals.len(), 3, "PAT, PMT and video, once: {signals:?}");
    let after = &got[4 + (signals[2] + 3) * PACKET_BYTES..];
    assert!(channel.sent.ends_with(after), "byte by byte");
    assert!(after.len() > channel.sent.len() - place, "a picture");
    let started = channel.sent.len() - after.len();
    assert_eq!(channel.sent[started + 1], 0x41, "it begins with one");
    assert_eq!(channel.bench.metric("restreamer_feed_skips_total"), 1);
}

#[test]
fn what_is_fed_anew_comes_after_the_end_of_what_was_fed_before() {
    let mut owner = Bench::new();
    let mut part = owner.part();
    owner.feed(&mut part);
    let (_, there) = part.viewer();
    part.turn();
    let before = owner.send(60);
    owner.turn();
    owner.reconnect();
    owner.feed(&mut part);
    let after = owner.send(40);
    owner.turn();
    // All of this finds the part at once, and it has not looked in between.
    assert!(part.turn(), "there is more");
    let (_, mut next) = part.viewer();
    part.turn();
    assert_eq!(read_to_end(there), [b"HEAD".to_vec(), before].concat());
    assert_eq!(read(&mut next, 4 + after.len()), [b"HEAD".to_vec(), after].concat());
}

#[test]
fn an_empty_trunk_gives_nothing_and_ends_nothing() {
    let (reader, writer) = pipe();
    assert!(matches!(Trunk::new().unwrap().copy(&writer), Ok(restreamer_sys::Moved::Blocked)));
    drop(reader);
}

/// The owner's feeds stay, and what is put into its ring is all that a part needs.
#[test]
fn a_part_goes_on_with_its_owners_next_upstream() {
    let mut owner = Bench::new();
    owner.stream.hold = Hold::new(Some(Duration::from_mins(10)));
    let mut part = owner.part();
    owner.feed(&mut part);
    let (_, mut there) = part.viewer();
    part.turn();
    let before = owner.send(5);
    owner.turn();
    part.turn();
    owner.reconnect();
    assert!(owner.stream.feeds_worker(1) && !owner.stream.feeds_worker(2));
    owner.number += 7;
    owner.send(5);
    owner.turn();
    owner.now += crate::limits::SWITCH_TABLES_TIMEOUT;
    owner.turn();
    let after = owner.send(20);
    owner.turn();
    part.turn();
    assert_eq!(part.stream.viewers(), 1);
    let got = read(&mut there, 4 + before.len() + PACKET_BYTES + after.len());
    assert_eq!(got[4..][..before.len()], before);
    assert_eq!(got[4 + before.len()..][3..6], [0x20, 183, 0x80], "before the one with counter 1");
    assert_eq!(got[4 + before.len() + PACKET_BYTES..], after);
    // The way that it came by is told to who comes now, and to no node that was told another.
    let mut way = Via::default();
    way.add(b"1.1 a");
    part.stream.reroute(&way, false, part.now);
    assert_eq!((part.stream.via(), part.stream.viewers()), (way, 1));
}
