//! What becomes of a viewer who lags too far.

use super::joining::Channel;
use super::programs::Program;
use super::*;
use crate::limits::BLOCK_BYTES;
use crate::ts::{Continuity, Counters, Packet};

const SKIPS: &str = "restreamer_skips_total";

/// A viewer who reads only when it is told to.
struct Stalled {
    key: ViewerKey,
    far: TcpStream,
    /// How much had been sent when it came.
    joined: usize,
}

impl Channel {
    fn with(slow: Slow, keep: Keep) -> Channel {
        let mut channel = Channel::new(Join::RandomAccess, keep);
        channel.bench.stream.slow = slow;
        channel.tables();
        channel
    }

    fn stalled(&mut self) -> Stalled {
        let (key, far) = self.bench.viewer();
        let near = &self.bench.stream.members.get_mut(key).unwrap().connection.socket;
        socket2::SockRef::from(near).set_send_buffer_size(8 * 1024).unwrap();
        socket2::SockRef::from(&far).set_recv_buffer_size(8 * 1024).unwrap();
        Stalled { key, far, joined: self.sent.len() }
    }

    fn lag(&self) -> u64 {
        self.bench.metric("restreamer_lag_bytes")
    }

    /// Goes on, sending pictures of which each stands for itself, until `enough`.
    fn go_on(&mut self, packets: usize, is_idr: bool, enough: impl Fn(&Channel) -> bool) {
        for _ in 0..1000 {
            if enough(self) {
                return;
            }
            self.picture(is_idr, packets);
        }
        panic!("in vain");
    }

    /// The viewer reads what there is for it, up to the head, and leaves.
    fn take_all(&mut self, stalled: Stalled) -> Vec<u8> {
        let Stalled { key, mut far, .. } = stalled;
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let room = Readiness { writable: true, ..Readiness::default() };
        while self.bench.metric("restreamer_viewers{state=\"live\"") == 0 {
            self.bench.stream.on_viewer(key, room, self.bench.now);
            self.bench.work();
        }
        self.bench.stream.remove(key.index, Departure::Left, self.bench.now);
        self.bench.work();
        let all = reading.join().unwrap();
        assert_eq!(all[..4], *b"HEAD");
        all[4..].to_vec()
    }
}

/// Where signals are, in packets; asserts that no packet is torn and no counter unfit.
pub(super) fn signals(got: &[u8]) -> Vec<usize> {
    let (packets, rest) = got.as_chunks::<PACKET_BYTES>();
    assert!(rest.is_empty(), "a packet is torn");
    let mut counters = Counters::new();
    let mut signals = Vec::new();
    for (number, bytes) in packets.iter().enumerate() {
        let packet = Packet::new(bytes).expect("a packet");
        assert_eq!(counters.check(&packet), Continuity::Fits, "packet {number}");
        if packet.adaptation().is_some_and(|field| field.discontinuity()) {
            signals.push(number);
        }
    }
    signals
}

/// Asserts that it is the stream, and after one discontinuity, signalled on all PIDs, the tables
/// and the stream from `place` on; answers how many packets of the stream it is.
fn assert_resumes(got: &[u8], sent: &[u8], place: usize) -> u64 {
    let signals = signals(got);
    let first = signals[0];
    assert_eq!(signals, [first, first + 1, first + 2], "PAT, PMT and video");
    let (before, after) = got.split_at(first * PACKET_BYTES);
    // The tables that it had when it came.
    assert!(before.len() > 2 * PACKET_BYTES);
    assert!(
        sent.windows(before.len()).step_by(PACKET_BYTES).any(|part| part == before)
            || sent
                .windows(before.len() - 2 * PACKET_BYTES)
                .step_by(PACKET_BYTES)
                .any(|part| part == &before[2 * PACKET_BYTES..]),
        "byte by byte"
    );
    let tables: Vec<_> = after.chunks(PACKET_BYTES).skip(3).take(2).map(|p| p[1] & 0x40).collect();
    assert_eq!(tables, [0x40, 0x40]);
    assert!(after[5 * PACKET_BYTES..] == sent[place..], "the newest picture and all after it");
    (got.len() / PACKET_BYTES - 5) as u64
}

#[test]
fn a_stalled_viewer_goes_on_at_the_newest_picture_with_one_signal() {
    let mut channel = Channel::with(Slow::RandomAccess, Keep::default());
    channel.picture(true, 10);
    channel.picture(false, 20);
    let viewer = channel.stalled();
    channel.go_on(200, true, |channel| channel.bench.metric(SKIPS) > 0);
    for _ in 0..50 {
        channel.tables();
        channel.picture(true, 300);
        channel.picture(false, 300);
        assert!(channel.bench.stream.ring.bytes() < 1200 * PACKET_BYTES + 3 * BLOCK_BYTES);
    }
    let place = channel.picture(true, 300);
    for _ in 0..5 {
        channel.picture(false, 100);
    }
    assert_eq!(channel.bench.metric(SKIPS), 1, "it has had nothing since the first");
    let joined = viewer.joined;
    let got = channel.take_all(viewer);
    let sent = channel.sent.clone();
    let packets = assert_resumes(&got, &sent, place);
    // What it began with is before where it joined; two packets of tables are not of the stream.
    let counted = channel.bench.metric("streaming_packets_sent");
    let dropped = channel.bench.metric("streaming_packets_dropped");
    assert!(packets == counted || packets == counted + 2, "{packets} {counted}");
    let begun = (sent.len() / PACKET_BYTES) as u64 - counted - dropped;
    let begun = usize::try_from(begun).unwrap() * PACKET_BYTES;
    assert!(begun <= joined, "{begun}");
    assert_eq!(sent[begun + 1], 0x41, "all since its picture");
}

#[test]
fn who_is_before_no_picture_lags_as_far_as_history_reaches() {
    let keep = 40 * BLOCK_BYTES;
    let mut channel = Channel::with(Slow::RandomAccess, Keep::Bytes(keep));
    channel.picture(true, 10);
    channel.picture(false, 20);
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes() as u64;
    let mut most = 0;
    while channel.bench.metric(SKIPS) == 0 {
        channel.picture(false, 300);
        most = most.max(channel.lag());
        assert!(channel.bench.stream.ring.bytes() < keep + 4 * BLOCK_BYTES);
    }
    assert!(most > 10 * limit && most <= keep as u64, "{most}");
    assert!(most > keep as u64 - 400 * PACKET_BYTES as u64, "{most}");
    let place = channel.sent.len();
    assert_eq!(channel.lag(), 0, "it goes on at the head");
    channel.picture(false, 20);
    let got = channel.take_all(viewer);
    assert_resumes(&got, &channel.sent.clone(), place);
}

/// The same, but a picture comes in time.
#[test]
fn a_picture_that_is_further_off_than_the_limit_is_waited_for() {
    let mut channel = Channel::with(Slow::RandomAccess, Keep::default());
    channel.picture(true, 10);
    channel.picture(false, 20);
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes() as u64;
    channel.go_on(300, false, |channel| channel.lag() > 20 * limit);
    assert_eq!(channel.bench.metric(SKIPS), 0);
    let place = channel.picture(true, 20);
    assert_eq!(channel.bench.metric(SKIPS), 1);
    channel.picture(false, 20);
    let got = channel.take_all(viewer);
    assert_resumes(&got, &channel.sent.clone(), place);
}

/// It takes what it lacks, while the picture that it is about to get is still the newest.
#[test]
fn who_is_before_no_picture_and_reads_on_misses_nothing() {
    let mut channel = Channel::with(Slow::RandomAccess, Keep::default());
    channel.picture(true, 10);
    channel.picture(false, 20);
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes() as u64;
    channel.go_on(300, false, |channel| channel.lag() > 20 * limit);
    let got = channel.take_all(viewer);
    assert_eq!(signals(&got), [0; 0]);
    assert!(channel.sent.ends_with(&got[2 * PACKET_BYTES..]));
    assert_eq!(channel.bench.metric("streaming_packets_dropped"), 0);
}

#[test]
fn without_pictures_it_goes_on_at_the_head_with_tables_and_signals() {
    let mut channel = Channel::with(Slow::RandomAccess, Keep::default());
    let scrambled = |channel: &mut Channel| {
        let mut picture = channel.program.picture(true, 100);
        for packet in &mut picture {
            packet[3] |= 0x80;
        }
        channel.send(&picture)
    };
    scrambled(&mut channel);
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes();
    for _ in 0..100 {
        scrambled(&mut channel);
        assert!(channel.bench.stream.ring.bytes() < limit + 100 * PACKET_BYTES + 3 * BLOCK_BYTES);
    }
    assert_eq!(channel.bench.metric(SKIPS), 1);
    let got = channel.take_all(viewer);
    let signals = signals(&got);
    let place = channel.sent.len() - (got.len() - (signals[0] + 5) * PACKET_BYTES);
    assert_resumes(&got, &channel.sent.clone(), place);
}

#[test]
fn by_packets_nothing_is_inserted() {
    let mut channel = Channel::with(Slow::Packets, Keep::default());
    channel.picture(true, 10);
    let viewer = channel.stalled();
    channel.go_on(200, true, |channel| channel.bench.metric(SKIPS) > 0);
    let place = channel.sent.len();
    assert_eq!(channel.lag(), 0);
    channel.picture(true, 20);
    let got = channel.take_all(viewer);
    let (packets, rest) = got.as_chunks::<PACKET_BYTES>();
    assert!(rest.is_empty());
    assert!(got.ends_with(&channel.sent[place..]));
    let (all, _) = channel.sent.as_chunks::<PACKET_BYTES>();
    assert!(packets[2..].iter().all(|packet| all.contains(packet)), "nothing but the stream");
}

#[test]
fn who_is_too_slow_is_let_go_behind_its_packet() {
    let mut channel = Channel::with(Slow::Disconnect, Keep::default());
    channel.picture(true, 10);
    let Stalled { key, mut far, .. } = channel.stalled();
    channel.go_on(200, true, |channel| channel.bench.metric("restreamer_viewers{state=\"end") > 0);
    let ended = "restreamer_viewers_ended_total{reason=\"too_slow\"";
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        all
    });
    let room = Readiness { writable: true, ..Readiness::default() };
    while channel.bench.stream.viewers() > 0 {
        channel.bench.stream.on_viewer(key, room, channel.bench.now);
        channel.bench.work();
    }
    assert_eq!((channel.bench.metric(ended), channel.bench.metric(SKIPS)), (1, 0));
    let got = reading.join().unwrap();
    signals(&got[4..]);
    assert_eq!((got.len() - 4) % PACKET_BYTES, 0);
    // One who takes nothing any more goes for the same reason.
    let _silent = channel.stalled();
    channel.go_on(200, true, |channel| channel.bench.metric("restreamer_viewers{state=\"end") > 0);
    channel.bench.now += ENDING_TIMEOUT;
    channel.bench.work();
    assert_eq!((channel.bench.metric(ended), channel.bench.stream.viewers()), (2, 0));
}

/// Where the node has no room one lags no further than it may.
#[test]
fn who_lags_takes_its_share_of_the_node() {
    let mut channel = Channel::with(Slow::RandomAccess, Keep::default());
    let allotment = Allotment::new(20 * BLOCK_BYTES);
    channel.bench.stream.history =
        History::new(Join::RandomAccess, Keep::default(), allotment.share());
    channel.picture(true, 10);
    channel.picture(false, 20);
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes() as u64;
    channel.go_on(100, false, |channel| channel.lag() > 8 * limit);
    assert!(!allotment.share().resize(16 * BLOCK_BYTES), "it has its share");
    channel.go_on(100, false, |channel| channel.bench.metric(SKIPS) > 0);
    assert!(channel.bench.stream.ring.bytes() <= 22 * BLOCK_BYTES);
    channel.picture(false, 20);
    let got = channel.take_all(viewer);
    signals(&got);
    assert!(allotment.share().resize(20 * BLOCK_BYTES), "it has given it back");
}

/// Of two programs one has no more pictures: it is waited for as far as history reaches.
#[test]
fn a_program_that_has_ended_keeps_nobody_from_the_other() {
    let keep = 40 * BLOCK_BYTES;
    let mut channel = Channel::new(Join::RandomAccess, Keep::Bytes(keep));
    let mut other = Program::new(2, 0x200, 0x201);
    let mut tables = programs::pat(&[&channel.program, &other], 0);
    tables.extend(channel.program.pmt());
    tables.extend(other.pmt());
    channel.send(&tables);
    channel.picture(true, 10);
    let picture = [other.picture(true, 10), other.picture(false, 10)].concat();
    channel.send(&picture);
    let viewer = channel.stalled();
    let mut most = 0;
    while channel.bench.metric(SKIPS) == 0 {
        channel.picture(true, 300);
        most = most.max(channel.lag());
    }
    assert!(most > keep as u64 - 400 * PACKET_BYTES as u64, "{most}");
    let place = channel.picture(true, 100);
    channel.picture(false, 20);
    let got = channel.take_all(viewer);
    signals(&got);
    assert!(got.len() < 2000 * PACKET_BYTES, "{}", got.len());
    assert!(got.ends_with(&channel.sent[place..]));
}

/// Each program's newest picture is to be ahead, where each has any.
#[test]
fn two_programs_are_resumed_together() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    let mut other = Program::new(2, 0x200, 0x201);
    let mut tables = programs::pat(&[&channel.program, &other], 0);
    tables.extend(channel.program.pmt());
    tables.extend(other.pmt());
    channel.send(&tables);
    let picture = |channel: &mut Channel, other: &mut Program, is_idr| {
        let picture = other.picture(is_idr, 300);
        channel.send(&picture)
    };
    for is_idr in [true, false] {
        channel.picture(is_idr, 10);
        picture(&mut channel, &mut other, is_idr);
    }
    let viewer = channel.stalled();
    let limit = channel.bench.stream.limit.bytes() as u64;
    channel.go_on(100, false, |channel| channel.lag() > 4 * limit);
    let place = channel.picture(true, 100);
    channel.picture(false, 100);
    assert_eq!(channel.bench.metric(SKIPS), 0, "the other one has none yet");
    picture(&mut channel, &mut other, true);
    picture(&mut channel, &mut other, false);
    assert_eq!(channel.bench.metric(SKIPS), 1);
    let got = channel.take_all(viewer);
    assert_eq!(signals(&got).len(), 5, "PAT, two PMTs and two videos");
    assert!(got.ends_with(&channel.sent[place..]));
}
