//! Viewers wait for the next upstream, and go on with it.

use super::programs::{Program, pat};
use super::*;
use crate::limits::{SWITCH_TABLES_TIMEOUT, SWITCH_TIMEOUT};

const PATIENCE: Duration = Duration::from_secs(30);

type Packets = Vec<[u8; PACKET_BYTES]>;

impl Bench {
    /// A stream whose viewers wait for the next upstream.
    fn holding() -> Bench {
        let mut bench = Bench::framed(Framing::Raw, Some(PATIENCE));
        bench.stream.hold = Hold::new(Some(PATIENCE));
        bench
    }

    /// The upstream goes.
    fn lose(&mut self) {
        let (gone, _nobody) = UnixStream::pair().unwrap();
        self.upstream = gone;
        self.turn();
        assert!(!self.stream.is_connected());
    }

    /// Another one comes, by this way, when it is time.
    fn regain(&mut self, via: &Via) {
        let (upstream, source) = UnixStream::pair().unwrap();
        source.set_nonblocking(true).unwrap();
        self.upstream = upstream;
        self.now += Duration::from_secs(12);
        assert!(self.stream.source().begin_attempt(self.now).is_some());
        let dialed = Dialed { via: via.clone(), ..Dialed::raw(source) };
        assert!(self.stream.dialed(Ok(dialed), self.now));
    }

    fn say(&mut self, packets: &[[u8; PACKET_BYTES]]) {
        self.upstream.write_all(packets.as_flattened()).unwrap();
        self.turn();
    }

    /// When the connection is looked at though nothing has come.
    fn due(&mut self) -> Option<Instant> {
        self.stream.source().connected().and_then(Fill::deadline)
    }

    fn held(&self) -> u64 {
        self.metric("restreamer_stream_held")
    }

    fn switches(&self, kind: &str) -> u64 {
        self.metric(&format!("restreamer_switches_total{{kind=\"{kind}\""))
    }
}

fn tables(program: &mut Program) -> Packets {
    let mut packets = pat(&[program], 3);
    packets.extend(program.pmt());
    packets
}

/// What a viewer got since, in packets.
fn packets_of(far: &mut TcpStream, count: usize) -> Packets {
    read(far, count * PACKET_BYTES).as_chunks::<PACKET_BYTES>().0.to_vec()
}

fn pid(packet: &[u8; PACKET_BYTES]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

#[test]
fn viewers_go_on_with_the_next_upstream_at_a_picture() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let mut one = Program::new(1, 0x100, 0x101);
    let before = [tables(&mut one), one.picture(true, 10)].concat();
    bench.say(&before);
    assert_eq!(read(&mut far, 4), b"HEAD");
    assert_eq!(packets_of(&mut far, before.len()), before);
    bench.lose();
    assert_eq!((bench.stream.viewers(), bench.held()), (1, 1));
    let again = bench.stream.admit(IpAddr::from([127, 0, 0, 1]), &Via::default(), bench.now);
    assert_eq!(again, Err(Refused::NoUpstream), "there are better places for who comes now");

    bench.regain(&Via::default());
    let mut two = Program::new(1, 0x200, 0x201);
    bench.say(&two.picture(true, 5));
    bench.say(&tables(&mut two));
    bench.say(&two.picture(false, 5));
    assert_eq!((bench.held(), bench.switches("random_access")), (1, 0));
    let picture = two.picture(true, 10);
    bench.say(&picture);
    assert_eq!((bench.held(), bench.switches("random_access")), (0, 1));
    let said = packets_of(&mut far, 5);
    let pids: Vec<_> = said.iter().map(pid).collect();
    assert_eq!(pids, [0, 0, 0x200, 0, 0x200], "a word, and PAT and PMT under two versions");
    assert_eq!(said[0][3..6], [0x20 | 1, 183, 0x80], "before the PAT with counter 2");
    assert_eq!([said[1][3] & 0x0F, said[3][3] & 0x0F], [2, 3], "the next in the stream is 4");
    assert_eq!(packets_of(&mut far, picture.len()), picture);
    // What there was before and has not come yet.
    let old = [tables(&mut one), one.picture(false, 2)].concat();
    bench.say(&old);
    let late = packets_of(&mut far, 1 + 3 + 2);
    assert_eq!(late.iter().map(pid).collect::<Vec<_>>(), [0, 0x100, 0x100, 0x101, 0x101, 0x101]);
    assert!(late[1][5] == 0x80 && late[3][5] == 0x80);
    assert_eq!([late[0], late[2], late[4], late[5]], *old);
}

/// It is where the packets are: neither what was held back nor what was put in counts.
#[test]
fn who_joins_right_after_a_switch_begins_at_the_picture_it_began_with() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let mut one = Program::new(1, 0x100, 0x101);
    bench.say(&[tables(&mut one), one.picture(true, 10)].concat());
    bench.lose();
    bench.regain(&Via::default());
    let mut two = Program::new(1, 0x100, 0x101);
    two.picture(true, 7);
    bench.say(&[tables(&mut two), two.picture(false, 30)].concat());
    // Nobody knows yet where that is.
    let (_, mut early) = bench.viewer();
    bench.work();
    let picture = [two.picture(true, 10), two.picture(false, 3), tables(&mut two)].concat();
    bench.say(&picture);
    let (_, mut late) = {
        bench.stream.drop_viewer(ViewerKey { index: 0, generation: 0 }, bench.now);
        read(&mut far, 4 + bytes_of(12));
        bench.viewer()
    };
    bench.work();
    let all = read(&mut late, 4 + bytes_of(2 + picture.len()));
    let (inserted, rest) = all[4..].as_chunks::<PACKET_BYTES>().0.split_at(2);
    assert_eq!(rest, picture);
    let counters: Vec<_> = inserted.iter().map(|packet| (pid(packet), packet[3] & 0x0F)).collect();
    assert_eq!(counters, [(0, 2), (0x100, 1)], "those in the stream are 3 and 2");
    // Who was there before the picture has it with all that was said.
    let all = read(&mut early, 4 + bytes_of(5 + picture.len()));
    let pids: Vec<_> = all[4..].as_chunks::<PACKET_BYTES>().0.iter().map(pid).collect();
    assert_eq!(pids[..6], [0, 0x100, 0x101, 0, 0x100, 0x101]);
    assert_eq!(all[4 + bytes_of(5)..], *picture.as_flattened());
}

#[test]
fn who_has_waited_for_long_enough_is_let_go() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let mut program = Program::new(1, 0x100, 0x101);
    bench.say(&[tables(&mut program), program.picture(true, 10)].concat());
    let lost = bench.now;
    bench.lose();
    // One that comes and goes without a picture gives nobody more time.
    bench.regain(&Via::default());
    assert_eq!(bench.stream.hold_deadline(), None, "it is connected");
    bench.say(&tables(&mut program));
    bench.lose();
    assert_eq!((bench.stream.viewers(), bench.held()), (1, 1));
    assert_eq!(bench.stream.hold_deadline(), Some(lost + PATIENCE));
    bench.now = lost + PATIENCE;
    assert!(bench.stream.on_deadline(bench.now));
    bench.work();
    assert_eq!((bench.stream.viewers(), bench.held()), (0, 0));
    assert_eq!(read_to_end(&mut far).len(), 4 + bytes_of(12));
    assert_eq!(bench.metric("restreamer_holds_expired_total"), 1);
    assert_eq!(bench.metric("restreamer_viewers_ended_total{reason=\"finished\""), 1);
    // Who comes then has nothing to do with what was before.
    bench.regain(&Via::default());
    let sent = bench.send(5);
    bench.turn();
    let (_, mut far) = bench.viewer();
    bench.work();
    let more = bench.send(5);
    bench.turn();
    assert_eq!(read(&mut far, 4 + more.len())[4..], more, "{}", sent.len());
    assert_eq!(bench.switches("packet"), 0);
}

#[test]
fn where_all_have_gone_nobody_waits() {
    let mut bench = Bench::holding();
    let (key, _far) = bench.viewer();
    bench.turn();
    let mut program = Program::new(1, 0x100, 0x101);
    bench.say(&[tables(&mut program), program.picture(true, 10)].concat());
    bench.lose();
    assert_eq!(bench.held(), 1);
    let closed = Readiness { closed: true, ..Readiness::default() };
    assert!(bench.stream.on_viewer(key, closed, bench.now));
    bench.turn();
    assert_eq!((bench.stream.viewers(), bench.held()), (0, 0));
    assert_eq!(bench.stream.hold_deadline(), None, "there is nobody to be let go");
    assert_eq!(bench.metric("restreamer_holds_expired_total"), 0);
}

fn read_to_end(far: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    got
}

#[test]
fn without_another_attempt_there_is_nothing_to_wait_for() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let sent = bench.send(5);
    bench.turn();
    bench.stream.source().stop();
    bench.stream.lost(bench.now);
    bench.work();
    assert_eq!(read_to_end(&mut far)[4..], sent);
    assert_eq!((bench.stream.viewers(), bench.held()), (0, 0));
}

/// Packets that no table tells of: the stream goes on with the newest, in good time.
#[test]
fn without_tables_it_goes_on_at_a_packet() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let before = bench.send(5);
    bench.turn();
    bench.lose();
    bench.regain(&Via::default());
    bench.number += 3;
    bench.send(10);
    bench.turn();
    let due = bench.now + SWITCH_TABLES_TIMEOUT;
    assert_eq!(bench.due(), Some(due));
    bench.now = due;
    assert!(bench.stream.on_deadline(bench.now));
    bench.work();
    assert_eq!((bench.held(), bench.switches("packet")), (0, 1));
    let after = bench.send(5);
    bench.turn();
    let got = read(&mut far, 4 + bytes_of(11));
    assert_eq!(got[4..4 + before.len()], before);
    let word = &got[4 + before.len()..][..PACKET_BYTES];
    assert_eq!(word[..6], [0x47, 1, 0, 0x20 | ((5 + 3 + 9) % 16), 183, 0x80]);
    assert_eq!(got[4 + before.len() + PACKET_BYTES..], after);
}

#[test]
fn a_picture_is_waited_for_within_bounds() {
    let mut bench = Bench::holding();
    let (_, _far) = bench.viewer();
    bench.turn();
    let mut program = Program::new(1, 0x100, 0x101);
    bench.say(&tables(&mut program));
    bench.lose();
    bench.regain(&Via::default());
    bench.say(&[tables(&mut program), program.picture(false, 10)].concat());
    let due = bench.now + SWITCH_TIMEOUT;
    assert_eq!(bench.due(), Some(due));
    bench.now = due;
    assert!(bench.stream.on_deadline(bench.now));
    bench.work();
    assert_eq!((bench.held(), bench.switches("packet")), (0, 1));
}

/// It ends in the same turn in which it begins to be of use.
#[test]
fn one_that_has_gone_when_it_is_read_is_still_gone_on_with() {
    let mut bench = Bench::holding();
    let (_, mut far) = bench.viewer();
    bench.turn();
    let mut program = Program::new(1, 0x100, 0x101);
    bench.say(&[tables(&mut program), program.picture(true, 10)].concat());
    read(&mut far, 4 + bytes_of(12));
    bench.lose();
    bench.regain(&Via::default());
    let all = [tables(&mut program), program.picture(true, 10)].concat();
    bench.upstream.write_all(all.as_flattened()).unwrap();
    bench.lose();
    assert_eq!((bench.held(), bench.switches("random_access")), (1, 1));
    assert_eq!(packets_of(&mut far, 5 + 10)[5..], all[2..]);
}

/// A viewer whose request says which way it has come.
fn node(bench: &mut Bench) -> TcpStream {
    let (key, far) = bench.viewer();
    bench.stream.members.get_mut(key).unwrap().visit.of_node = true;
    far
}

#[test]
fn who_may_be_a_node_is_let_go_when_the_way_changes() {
    let mut way = Via::default();
    way.add(b"1.1 a");
    for (next, leaves) in [(Via::default(), 0), (way, 1)] {
        let mut bench = Bench::holding();
        let ((_, mut far), mut node) = (bench.viewer(), node(&mut bench));
        bench.turn();
        let sent = bench.send(5);
        bench.turn();
        bench.lose();
        bench.regain(&next);
        bench.work();
        let rerouted = bench.metric("restreamer_viewers_ended_total{reason=\"rerouted\"");
        assert_eq!((bench.stream.viewers(), rerouted), (2 - leaves, leaves as u64));
        assert_eq!(read(&mut far, 4 + sent.len())[4..], sent);
        assert_eq!(read(&mut node, 4 + sent.len())[4..], sent, "all there was");
        assert!(!bench.stream.is_rerouted(), "nobody is fed");
        if leaves == 1 {
            assert!(read_to_end(&mut node).is_empty());
        }
    }
}
