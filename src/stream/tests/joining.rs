//! Where who joins begins.

use super::programs::{Program, pat};
use super::*;
use crate::limits::BLOCK_BYTES;

/// A stream of one program, driven by hand.
pub(super) struct Channel {
    pub(super) bench: Bench,
    pub(super) program: Program,
    pats: u8,
    /// All that was sent.
    pub(super) sent: Vec<u8>,
}

impl Channel {
    pub(super) fn new(join: Join, keep: Keep) -> Channel {
        let mut bench = Bench::framed(Framing::Raw, None);
        let allotment = Allotment::new(HISTORY_BYTES_OF_NODE_MAX);
        bench.stream.history = History::new(join, keep, allotment.share());
        let program = Program::new(1, 0x100, 0x101);
        Channel { bench, program, pats: 0, sent: Vec::new() }
    }

    /// Sends packets in one turn; answers where they begin.
    pub(super) fn send(&mut self, packets: &[[u8; PACKET_BYTES]]) -> usize {
        let at = self.sent.len();
        for packets in packets.chunks(400) {
            self.bench.upstream.write_all(packets.as_flattened()).unwrap();
            self.bench.turn();
        }
        self.sent.extend_from_slice(packets.as_flattened());
        at
    }

    pub(super) fn tables(&mut self) -> usize {
        let mut tables = pat(&[&self.program], self.pats);
        self.pats += 1;
        tables.extend(self.program.pmt());
        self.send(&tables)
    }

    /// A whole picture, and the first packets of the next.
    pub(super) fn picture(&mut self, is_idr: bool, packets: usize) -> usize {
        let picture = self.program.picture(is_idr, packets);
        self.send(&picture)
    }

    /// What a viewer gets who joins now, up to the head: the packets of the tables, and the rest.
    fn join(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (key, mut far) = self.bench.viewer();
        let (sent, head) = (self.sent.len(), b"HEAD".len());
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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
        assert_eq!(all[..head], *b"HEAD");
        let rest = &all[head..];
        // As much of it as is a part of what was sent, from its end on.
        let inserted = rest
            .chunks(PACKET_BYTES)
            .take_while(|packet| [[0x40, 0], [0x41, 0]].contains(&[packet[1], packet[2]]))
            .count();
        let (tables, stream) = rest.split_at(inserted * PACKET_BYTES);
        assert!(self.sent[..sent].ends_with(stream), "byte by byte");
        (tables.to_vec(), stream.to_vec())
    }

    fn joins(&self, kind: &str) -> u64 {
        self.bench.metric(&format!("restreamer_joins_total{{kind=\"{kind}\""))
    }
}

fn counters(tables: &[u8]) -> Vec<(u8, u8)> {
    tables.chunks(PACKET_BYTES).map(|packet| (packet[2], packet[3] & 0x0F)).collect()
}

#[test]
fn who_joins_gets_the_tables_and_then_a_picture() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    channel.tables();
    channel.picture(false, 20);
    let key = channel.picture(true, 1000);
    channel.picture(false, 20);
    let (tables, stream) = channel.join();
    assert_eq!(stream, channel.sent[key..]);
    // The next of each is counter 1 of the PAT and counter 2 of the PMT.
    assert_eq!(counters(&tables), [(0, 0), (0, 1)]);
    assert_eq!(channel.joins("random_access"), 1);
    // When more of the tables has come since, those before it still fit.
    channel.tables();
    channel.picture(false, 20);
    channel.tables();
    let (tables, stream) = channel.join();
    assert_eq!(counters(&tables), [(0, 0), (0, 1)]);
    assert_eq!(stream, channel.sent[key..]);
}

#[test]
fn tables_are_those_of_the_picture() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    channel.tables();
    channel.picture(false, 20);
    let key = channel.picture(true, 100);
    channel.picture(false, 20);
    channel.program.change(0x102);
    channel.tables();
    channel.picture(false, 20);
    let (tables, stream) = channel.join();
    assert_eq!(stream, channel.sent[key..], "the picture of before");
    let video = |tables: &[u8]| tables[PACKET_BYTES + 5 + 14];
    assert_eq!(video(&tables), 1, "on its PID");
    let key = channel.picture(true, 100);
    channel.picture(false, 20);
    let (tables, stream) = channel.join();
    assert_eq!(stream, channel.sent[key..]);
    assert_eq!(video(&tables), 2);
}

#[test]
fn the_ring_keeps_what_a_join_needs_and_no_more() {
    let ring = |channel: &Channel| channel.bench.stream.ring.bytes();
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    channel.tables();
    for _ in 0..100 {
        channel.picture(false, 20);
    }
    assert_eq!(ring(&channel), 0, "there is no picture to begin with");
    for _ in 0..3 {
        channel.picture(true, 2000);
        channel.picture(false, 20);
        let most = 2020 * PACKET_BYTES + 2 * BLOCK_BYTES;
        assert!((2020 * PACKET_BYTES..most).contains(&ring(&channel)), "{}", ring(&channel));
    }
    // The upstream goes, and with it what it has sent.
    channel.bench.upstream.shutdown(std::net::Shutdown::Both).unwrap();
    channel.bench.turn();
    assert!(!channel.bench.stream.is_connected());
    assert_eq!(ring(&channel), 0);
}

#[test]
fn joined_live_there_is_nothing_before_the_newest_packet() {
    let mut channel = Channel::new(Join::Live, Keep::default());
    channel.tables();
    channel.picture(false, 20);
    channel.picture(true, 100);
    channel.picture(false, 20);
    assert_eq!(channel.bench.stream.ring.bytes(), 0);
    assert_eq!(channel.join(), (Vec::new(), Vec::new()));
    assert_eq!(channel.joins("packet"), 1);
}

#[test]
fn a_picture_further_back_than_history_is_let_go_and_that_is_told() {
    let lost = "restreamer_history_lost_total{reason=\"history\"";
    let mut channel = Channel::new(Join::RandomAccess, Keep::Bytes(BLOCK_BYTES));
    channel.tables();
    channel.picture(false, 20);
    let key = channel.picture(true, 100);
    channel.picture(false, 20);
    assert_eq!(channel.join().1, channel.sent[key..]);
    assert_eq!(channel.bench.metric(lost), 0);
    channel.picture(false, 400);
    assert_eq!((channel.bench.metric(lost), channel.bench.stream.ring.bytes()), (1, 0));
    // The tables that are current, and the next packet.
    let (tables, stream) = channel.join();
    assert_eq!((tables.len(), stream.len()), (2 * PACKET_BYTES, 0));
    assert_eq!(counters(&tables), [(0, 0), (0, 1)]);
    channel.picture(true, 100);
    channel.picture(false, 20);
    assert_eq!((channel.joins("packet"), channel.bench.metric(lost)), (1, 1));
    channel.join();
    assert_eq!(channel.joins("random_access"), 2);
}

#[test]
fn a_stream_for_which_the_node_has_no_room_is_joined_at_the_newest_packet() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    let allotment = Allotment::new(4 * BLOCK_BYTES);
    channel.bench.stream.history =
        History::new(Join::RandomAccess, Keep::default(), allotment.share());
    let mut other = allotment.share();
    assert!(other.resize(3 * BLOCK_BYTES));
    channel.tables();
    channel.picture(false, 20);
    let key = channel.picture(true, 100);
    channel.picture(false, 20);
    let lost = "restreamer_history_lost_total{reason=\"node\"";
    assert_eq!((channel.bench.metric(lost), channel.bench.stream.ring.bytes()), (1, 0));
    assert_eq!(channel.join().1.len(), 0);
    assert!(other.resize(0));
    let next = channel.picture(true, 100);
    channel.picture(false, 20);
    assert!(next > key);
    assert_eq!(channel.join().1, channel.sent[next..]);
    assert!(!other.resize(3 * BLOCK_BYTES), "the stream has its share");
    drop(channel);
    assert!(other.resize(4 * BLOCK_BYTES), "and has given it back");
}

#[test]
fn scrambled_streams_begin_with_their_tables() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    channel.tables();
    for _ in 0..10 {
        let mut picture = channel.program.picture(true, 100);
        for packet in &mut picture {
            packet[3] |= 0x80;
        }
        channel.send(&picture);
    }
    assert_eq!(channel.bench.stream.ring.bytes(), 0);
    let (tables, stream) = channel.join();
    assert_eq!((tables.len(), stream.len()), (2 * PACKET_BYTES, 0));
}

#[test]
fn some_seconds_ago_one_began_with_a_picture() {
    let ago = Duration::from_secs(3);
    let mut channel = Channel::new(Join::Seconds(ago), Keep::default());
    let second = Duration::from_secs(1);
    channel.tables();
    channel.picture(false, 20);
    let mut keys = Vec::new();
    for number in 0..10 {
        keys.push(channel.picture(true, 100));
        channel.picture(false, 20);
        let (_, stream) = channel.join();
        // The one before the picture that had just begun when the mark was made. Until there is
        // any it is the first packet; those of the tables are taken for inserted ones here.
        let begun = channel.sent.len() - stream.len();
        let expected = if number < 4 { 2 * PACKET_BYTES } else { keys[number - 4] };
        assert_eq!(begun, expected, "{number}: {keys:?}");
        channel.bench.now += second;
    }
    assert_eq!(channel.joins("seconds"), 10);
}

#[test]
fn history_in_seconds_is_that_long() {
    let keep = Keep::Seconds(Duration::from_secs(2));
    let mut channel = Channel::new(Join::RandomAccess, keep);
    channel.tables();
    channel.picture(false, 20);
    let key = channel.picture(true, 100);
    for _ in 0..15 {
        channel.bench.now += Duration::from_millis(100);
        channel.picture(false, 20);
    }
    assert_eq!(channel.join().1, channel.sent[key..]);
    for _ in 0..10 {
        channel.bench.now += Duration::from_millis(100);
        channel.picture(false, 20);
    }
    assert_eq!(channel.join().1.len(), 0);
    assert_eq!(channel.bench.stream.ring.bytes(), 0);
}

/// As where the upstream is another node, which begins with a burst of its own; or where it was
/// silent for longer than that.
#[test]
fn history_in_seconds_has_what_came_in_the_first_turn() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::Seconds(Duration::from_secs(2)));
    let mut first = pat(&[&channel.program], 0);
    first.extend(channel.program.pmt());
    first.extend(channel.program.picture(false, 20));
    let key = first.len() * PACKET_BYTES;
    first.extend(channel.program.picture(true, 100));
    first.extend(channel.program.picture(false, 20));
    channel.send(&first);
    assert_eq!(channel.join().1, channel.sent[key..]);
    channel.bench.now += Duration::from_secs(4);
    let mut next = channel.program.picture(true, 100);
    next.extend(channel.program.picture(false, 20));
    let key = channel.send(&next);
    assert_eq!(channel.join().1, channel.sent[key..]);
    // And no longer than that, whatever the ring happens to have.
    channel.bench.now += Duration::from_secs(4);
    for _ in 0..3 {
        channel.picture(false, 5);
        assert_eq!(channel.join().1.len(), 0);
    }
}

/// A viewer who takes nothing once its socket is full.
#[test]
fn a_joiner_is_not_skipped_for_where_it_began_but_the_ring_stays_bounded() {
    let mut channel = Channel::new(Join::RandomAccess, Keep::default());
    channel.tables();
    channel.picture(false, 20);
    let joined_behind = 20_000 * PACKET_BYTES;
    channel.picture(true, 20_000);
    channel.picture(false, 20);
    let (key, far) = channel.bench.viewer();
    let near = &channel.bench.stream.members.get_mut(key).unwrap().connection.socket;
    socket2::SockRef::from(near).set_send_buffer_size(8 * 1024).unwrap();
    socket2::SockRef::from(&far).set_recv_buffer_size(8 * 1024).unwrap();
    channel.bench.work();
    assert!(
        channel.bench.metric("restreamer_lag_bytes")
            > 10 * channel.bench.stream.limit.bytes() as u64
    );
    assert_eq!(channel.bench.metric("restreamer_skips_total"), 0);
    let mut most = 0;
    while channel.bench.metric("restreamer_skips_total") == 0 {
        channel.picture(true, 400);
        channel.picture(false, 20);
        most = most.max(channel.bench.stream.ring.bytes());
    }
    assert!((joined_behind..3 * joined_behind).contains(&most), "{most} bytes");
    assert!(channel.bench.stream.ring.bytes() < 1 << 20);
}
