//! What an upstream sends is looked at as TR 101 290 asks: a stream with known faults yields
//! exactly those counts, in the probe and in all that a node tells.

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use restreamer::ts::{Counts, Probe};
use serde_json::{Value, json};
use support::broadcast::{self, CAT, ENGLISH, GERMAN, Item, PMT, SDT, VIDEO, clean, numbered};
use support::node::{Node, stream};
use support::packets::PACKET_BYTES;
use support::upstream::accept;
use support::{eventually, http};

/// The words for what is counted, as metrics and `/streams` have them.
const WORDS: [&str; 12] = [
    "sync",
    "continuity",
    "transport",
    "pat",
    "pmt",
    "pid",
    "crc",
    "pcr_repetition",
    "pcr_discontinuity",
    "pts",
    "cat",
    "malformed",
];

/// Milliseconds that every fault has for itself.
const SLOT: u64 = 10_000;

/// A fault, put into ten seconds of a clean stream, and what it is to be counted as.
struct Fault {
    what: &'static str,
    /// Before packets have their counters; with the time at which it begins.
    items: fn(&mut Vec<Item>, u64),
    /// After that.
    bytes: fn(&mut Vec<u8>),
    expected: &'static [(&'static str, u64)],
}

const NO_ITEMS: fn(&mut Vec<Item>, u64) = |_, _| ();
const NO_BYTES: fn(&mut Vec<u8>) = |_| ();

/// Each of them, and how often it is counted, by hand. From `from` on 4 s are clean.
const FAULTS: [Fault; 22] = [
    Fault { what: "nothing", items: NO_ITEMS, bytes: NO_BYTES, expected: &[] },
    Fault {
        what: "1.1 and 1.2: bytes that are no packet",
        items: NO_ITEMS,
        bytes: |bytes| drop(bytes.splice(1000 * PACKET_BYTES..1000 * PACKET_BYTES, [0x48; 100])),
        expected: &[("sync", 1)],
    },
    Fault {
        what: "1.3: no PAT for 1.1 s, which is twice half a second",
        items: |items, from| items.retain(|item| item.pid() != 0 || !within(item, from, 1000)),
        bytes: NO_BYTES,
        expected: &[("pat", 2)],
    },
    Fault {
        what: "1.3: no PAT for 0.5 s",
        items: |items, from| items.retain(|item| item.pid() != 0 || !within(item, from, 400)),
        bytes: NO_BYTES,
        expected: &[],
    },
    Fault {
        what: "1.3: a PAT that is scrambled",
        items: |items, from| first(items, from, 0).scramble(),
        bytes: NO_BYTES,
        expected: &[("pat", 1)],
    },
    Fault {
        what: "1.3: other tables in PID 0, known and not known",
        items: |items, from| {
            insert(items, from, broadcast::section(0, &broadcast::table(0x42)));
            insert(items, from, broadcast::section(0, &broadcast::table(0x80)));
        },
        bytes: NO_BYTES,
        expected: &[("pat", 2)],
    },
    Fault {
        what: "1.4: three packets of the video are missing, here and there",
        items: NO_ITEMS,
        bytes: |bytes| (0..3).for_each(|n| remove_payload(bytes, 1000 + 300 * n)),
        expected: &[("continuity", 3)],
    },
    Fault {
        what: "1.5: no PMT for 1.7 s, which is three times half a second",
        items: |items, from| items.retain(|item| item.pid() != PMT || !within(item, from, 1600)),
        bytes: NO_BYTES,
        expected: &[("pmt", 3)],
    },
    Fault {
        what: "1.5: a PMT that is scrambled",
        items: |items, from| first(items, from, PMT).scramble(),
        bytes: NO_BYTES,
        expected: &[("pmt", 1)],
    },
    Fault {
        what: "1.6: one language is away for 5.2 s",
        items: |items, from| {
            items.retain(|item| item.pid() != ENGLISH || !within(item, from, 5200));
        },
        bytes: NO_BYTES,
        expected: &[("pid", 1)],
    },
    Fault {
        what: "2.1: a packet with a transport error",
        items: NO_ITEMS,
        bytes: |bytes| bytes[1000 * PACKET_BYTES + 1] |= 0x80,
        expected: &[("transport", 1)],
    },
    Fault {
        what: "2.2: a wrong CRC in the PMT and in the SDT",
        items: |items, from| {
            first(items, from, PMT).bytes[20] ^= 1;
            let mut sdt = broadcast::table(0x42);
            insert(items, from, broadcast::section(SDT, &sdt));
            sdt[9] ^= 0x80;
            insert(items, from, broadcast::section(SDT, &sdt));
        },
        bytes: NO_BYTES,
        expected: &[("crc", 2)],
    },
    Fault {
        what: "2.3a: no PCR for 0.2 s; the next is out of range as well",
        items: |items, from| items.retain(|item| !(item.is_pcr() && within(item, from, 180))),
        bytes: NO_BYTES,
        expected: &[("pcr_repetition", 1), ("pcr_discontinuity", 1)],
    },
    Fault {
        what: "2.3a: no PCR for 0.1 s",
        items: |items, from| items.retain(|item| !(item.is_pcr() && within(item, from, 80))),
        bytes: NO_BYTES,
        expected: &[],
    },
    Fault {
        what: "2.3b: the clock goes an hour forth, and back",
        items: |items, from| shift_clock(items, from, false),
        bytes: NO_BYTES,
        expected: &[("pcr_discontinuity", 2)],
    },
    Fault {
        what: "2.3b: the same, as announced",
        items: |items, from| shift_clock(items, from, true),
        bytes: NO_BYTES,
        expected: &[],
    },
    Fault {
        what: "2.5: sound without PTS for 0.8 s",
        items: |items, from| {
            let of_it = |item: &&mut Item| item.pid() == GERMAN && item.starts();
            items
                .iter_mut()
                .filter(of_it)
                .filter(|i| within(i, from, 760))
                .for_each(Item::take_pts);
        },
        bytes: NO_BYTES,
        expected: &[("pts", 1)],
    },
    Fault {
        what: "2.6: 5.2 s scrambled, and no CAT",
        items: |items, from| scramble(items, from),
        bytes: NO_BYTES,
        expected: &[("cat", 1)],
    },
    Fault {
        what: "2.6: 5.2 s scrambled, with a CAT",
        items: |items, from| {
            scramble(items, from);
            for at in (from..from + 5200).step_by(500) {
                insert(items, at, broadcast::section(CAT, &broadcast::table(1)));
            }
        },
        bytes: NO_BYTES,
        expected: &[],
    },
    Fault {
        what: "2.6: another table in PID 1",
        items: |items, from| insert(items, from, broadcast::section(CAT, &broadcast::table(2))),
        bytes: NO_BYTES,
        expected: &[("cat", 1)],
    },
    Fault {
        what: "a pointer that leads out of the packet",
        items: |items, from| first(items, from, PMT).bytes[4] = 200,
        bytes: NO_BYTES,
        expected: &[("malformed", 1)],
    },
    Fault {
        what: "nothing but silence, for an hour",
        items: |items, from| {
            let late = items.iter_mut().filter(|item| item.at >= from && item.is_pcr());
            late.for_each(|item| item.set_pcr(item.at + 3_600_000));
        },
        bytes: NO_BYTES,
        expected: &[("pcr_discontinuity", 1)],
    },
];

impl Fault {
    fn stream(&self, start: u64) -> Vec<u8> {
        let mut items = clean(start, SLOT);
        (self.items)(&mut items, start + 4000);
        let mut bytes = numbered(&items).concat();
        (self.bytes)(&mut bytes);
        bytes
    }

    fn expected(&self) -> Vec<(&'static str, u64)> {
        let count = |word| self.expected.iter().find(|(of, _)| *of == word).map_or(0, |(_, n)| *n);
        WORDS.map(|word| (word, count(word))).to_vec()
    }
}

fn within(item: &Item, from: u64, length: u64) -> bool {
    item.at > from && item.at <= from + length
}

/// The first packet of a PID from then on.
fn first(items: &mut [Item], from: u64, pid: u16) -> &mut Item {
    items.iter_mut().find(|item| item.at >= from && item.pid() == pid).unwrap()
}

fn insert(items: &mut Vec<Item>, at: u64, bytes: [u8; PACKET_BYTES]) {
    let place = items.iter().position(|item| item.at >= at).unwrap();
    items.insert(place, Item { at, bytes });
}

/// Removes the next packet of the video with a payload.
fn remove_payload(bytes: &mut Vec<u8>, from: usize) {
    let is_it = |packet: &[u8]| packet[2] == VIDEO.to_le_bytes()[0] && packet[3] & 0x30 == 0x10;
    let mut packets = bytes.chunks(PACKET_BYTES).enumerate().skip(from);
    let (place, _) = packets.find(|(_, packet)| packet[1] & 0x5F == 1 && is_it(packet)).unwrap();
    drop(bytes.drain(place * PACKET_BYTES..(place + 1) * PACKET_BYTES));
}

/// An hour forth for a second, with or without the indicator.
fn shift_clock(items: &mut [Item], from: u64, announced: bool) {
    let mut shifted = false;
    for item in items.iter_mut().filter(|item| item.is_pcr()) {
        let here = within(item, from, 1000);
        if here {
            item.set_pcr(item.at + 3_600_000);
        }
        if announced && here != shifted {
            item.bytes[5] |= 0x80;
        }
        shifted = here;
    }
}

/// Scrambles the video, but not its clock, for 5.2 s.
fn scramble(items: &mut [Item], from: u64) {
    let of_it = |item: &&mut Item| item.pid() == VIDEO && !item.is_pcr();
    items.iter_mut().filter(of_it).filter(|item| within(item, from, 5200)).for_each(Item::scramble);
}

/// What a probe counts that is fed in pieces; each arrives a millisecond after the one before.
fn probed(bytes: &[u8], piece: usize) -> Counts {
    let start = Instant::now();
    let (mut probe, mut counts) = (Probe::with_content(start), Counts::default());
    let mut held = Vec::new();
    for (number, piece) in (0..).zip(bytes.chunks(piece)) {
        held.extend_from_slice(piece);
        probe.at(start + Duration::from_millis(number));
        let aligned = probe.align(&mut held);
        counts += aligned.counts;
        held.truncate(aligned.whole + aligned.held);
        held.drain(..aligned.whole);
    }
    counts += probe.finish(&mut held).counts;
    counts
}

/// Counts by their words.
fn words(counts: &Counts) -> Vec<(&'static str, u64)> {
    let own = [counts.sync_losses, counts.continuity_errors, counts.transport_errors];
    WORDS.into_iter().zip(own.into_iter().chain(counts.faults.all())).collect()
}

#[test]
fn each_fault_is_counted_exactly_and_nothing_else() {
    for fault in &FAULTS {
        let bytes = fault.stream(0);
        for piece in [bytes.len(), 10_000, 1316, 333] {
            let counts = probed(&bytes, piece);
            assert_eq!(words(&counts), fault.expected(), "{}, by {piece} bytes", fault.what);
        }
    }
}

#[test]
fn an_hour_without_faults_counts_nothing_also_where_the_clock_wraps() {
    // So long that each PID's counter is at its beginning again; two minutes before the wrap.
    const PIECE: u64 = 40_000;
    let wrap = (1u64 << 33) / 90;
    let first = (wrap - 120_000) / PIECE * PIECE;
    let start = Instant::now();
    let (mut probe, mut counts) = (Probe::with_content(start), Counts::default());
    let (mut held, mut sent) = (Vec::new(), 0);
    for from in (first..first + 3_600_000).step_by(usize::try_from(PIECE).unwrap()) {
        for packets in numbered(&clean(from, PIECE)).chunks(22) {
            // Ten pieces a second, one of them late.
            let late = u64::from(sent % 220 == 0) * 90;
            let at = Duration::from_millis(sent * 1000 / 220 + late);
            sent += packets.len() as u64;
            held.extend_from_slice(packets.as_flattened());
            probe.at(start + at);
            let aligned = probe.align(&mut held);
            counts += aligned.counts;
            held.truncate(aligned.whole + aligned.held);
            held.drain(..aligned.whole);
        }
    }
    counts += probe.finish(&mut held).counts;
    assert_eq!(counts, Counts { packets: sent, ..Counts::default() });
    assert_eq!(sent, 3600 * 220);
    let [video, ..] = probe.content().unwrap().elementary().collect::<Vec<_>>()[..] else {
        panic!("no video");
    };
    // All but the first, a PCR before the PMT.
    assert_eq!((video.group_ticks, video.packets), (Some(90_000), [3600 * 100 - 1, 0]));
}

/// A clock that stands still or jumps, the program's or one of a PID that no PMT names, must not
/// hide that all else is missing.
#[test]
fn a_broken_clock_hides_nothing() {
    let frozen: fn(u64) -> u64 = |_| 0;
    for (what, clock, of_it) in [
        ("standing still", frozen, true),
        ("jumping", |at| at * 100, true),
        ("standing still, nobody's", frozen, false),
        ("jumping, nobody's", |at| at * 100, false),
    ] {
        let mut items = clean(0, 20_000);
        items.retain(|item| item.at < 3000 || ![0, PMT, ENGLISH].contains(&item.pid()));
        let mut all = Vec::new();
        for mut item in items {
            if item.is_pcr() {
                let mut broken = item.clone();
                broken.set_pcr(clock(item.at));
                if of_it {
                    item = broken;
                } else {
                    broken.bytes[1] = 7;
                    all.push(broken);
                }
            }
            all.push(item);
        }
        let (start, mut counts) = (Instant::now(), Counts::default());
        let mut probe = Probe::with_content(start);
        let mut bytes = numbered(&all);
        for (packets, items) in bytes.chunks_mut(10).zip(all.chunks(10)) {
            probe.at(start + Duration::from_millis(items[0].at));
            counts += probe.align(packets.as_flattened_mut()).counts;
        }
        let of = |word| words(&counts).iter().find(|(of, _)| *of == word).unwrap().1;
        // Of 17 s; arrival ticks every 100 ms.
        assert!((28..=34).contains(&of("pat")), "{what}: {counts:?}");
        assert!((28..=34).contains(&of("pmt")), "{what}: {counts:?}");
        assert_eq!(of("pid"), 3, "{what}: {counts:?}");
    }
}

/// All faults in one connection, one after the other, and what it all amounts to. Between two of
/// them the clock and the counters begin anew, as announced.
fn all_faults() -> (Vec<u8>, Vec<(&'static str, u64)>) {
    let (mut all, mut sums) = (Vec::new(), WORDS.map(|word| (word, 0)));
    for (number, fault) in (0..).zip(&FAULTS) {
        let mut bytes = fault.stream(number * SLOT);
        let mut seen = vec![[0, 1], [0, 0x11]];
        all.extend(seen.iter().flat_map(|pid| anew(*pid, 0x10)));
        for packet in bytes.chunks_mut(PACKET_BYTES).take(10).filter(|_| number > 0) {
            let pid = [packet[1] & 0x1F, packet[2]];
            if !seen.contains(&pid) {
                seen.push(pid);
                all.extend(anew(pid, packet[3]));
            }
            if packet[3] & 0x30 == 0x20 {
                packet[5] |= 0x80;
            }
        }
        all.extend(bytes);
        for (sum, (_, count)) in sums.iter_mut().zip(fault.expected()) {
            sum.1 += count;
        }
    }
    (all, sums.to_vec())
}

/// A packet without payload, from which a PID's counter goes on so that a packet with this control
/// byte is the next.
fn anew([high, low]: [u8; 2], control: u8) -> [u8; PACKET_BYTES] {
    let mut bytes = [0xFF; PACKET_BYTES];
    let before = control.wrapping_sub(control >> 4 & 1) & 0x0F;
    bytes[..6].copy_from_slice(&[0x47, high, low, 0x20 | before, 183, 0x80]);
    bytes
}

/// A node with one stream, and its upstream.
fn broadcast() -> (Node, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let node = Node::with(&json!({ "resources": [stream("/a.ts", &url)] }));
    let peer = accept(&listener);
    node.await_connected();
    (node, listener, peer)
}

fn contents(node: &Node) -> Value {
    let streams: Value = serde_json::from_str(&http::get(node.side, "/streams").text()).unwrap();
    streams[0]["contents"][0].clone()
}

#[test]
fn a_node_tells_exactly_the_faults_of_a_connection() {
    let (bytes, expected) = all_faults();
    assert_eq!(words(&probed(&bytes, 50_000)), expected, "all in one");
    assert!(expected.iter().all(|(_, count)| *count > 0), "each at least once: {expected:?}");
    let (node, _listener, mut peer) = broadcast();
    peer.write_all(&bytes).unwrap();
    node.await_count("restreamer_received_bytes_total", "/a.ts", bytes.len() as u64 - 100);
    for (word, count) in &expected {
        let told = match *word {
            "sync" => node.count("restreamer_sync_losses_total", "/a.ts"),
            "continuity" | "transport" => {
                node.count(&format!("restreamer_{word}_errors_total"), "/a.ts")
            }
            other => node.count("restreamer_integrity_errors_total", &format!("\"{other}\"")),
        };
        assert_eq!(told, *count, "{word}");
    }
    let integrity = &contents(&node)["integrity"];
    for (word, count) in &expected {
        assert_eq!(integrity[word], *count, "{integrity}");
    }
    // The video for twice 5.2 s, one PAT, one PMT.
    assert_eq!(integrity["scrambled"], 2 * 2 * 5200 / 40 + 2);
    assert_eq!(node.count("restreamer_scrambled_packets_total", "/a.ts"), 2 * 2 * 5200 / 40 + 2);
}

#[test]
fn what_a_stream_is_made_of_is_told_and_goes_with_it() {
    let (node, listener, mut peer) = broadcast();
    peer.write_all(&numbered(&clean(0, 10_000)).concat()).unwrap();
    let told = || http::get(node.side, "/metrics").text();
    let first = eventually("the PMT", || {
        let contents = contents(&node);
        (!contents["programs"][0].is_null()).then_some(contents)
    });
    let program = &first["programs"][0];
    assert_eq!((&program["program"], &program["pmt_pid"]), (&json!(1), &json!(PMT)));
    assert_eq!(program["pcr_pid"], VIDEO);
    let elementary = |at: usize, key: &str| program["elementary"][at][key].clone();
    for (at, pid, kind, codec, language) in [
        (0, VIDEO, "video", "h264", Value::Null),
        (1, GERMAN, "audio", "aac", json!("deu")),
        (2, ENGLISH, "audio", "ac3", json!("eng")),
    ] {
        assert_eq!(elementary(at, "pid"), pid);
        assert_eq!((elementary(at, "kind"), elementary(at, "codec")), (json!(kind), json!(codec)));
        assert_eq!(
            (elementary(at, "language"), elementary(at, "scrambled")),
            (language, json!(false))
        );
    }
    // A second later rates and all else are told anew.
    peer.write_all(&numbered(&clean(10_000, 10_000)).concat()).unwrap();
    let one = |line: &str| {
        let text = told();
        text.lines().find(|told| told.starts_with(line)).map(str::to_owned)
    };
    let labels =
        format!("pid=\"0x0101\",stream=\"/a.ts\",url=\"{}\"", first["upstream"].as_str().unwrap());
    let mut at = 20_000;
    let rate = |of: &Value| of["bits_per_second"].as_u64().unwrap();
    let shown = eventually("rates", || {
        peer.write_all(&numbered(&clean(at, 100)).concat()).unwrap();
        at += 100;
        Some(contents(&node)).filter(|shown| rate(shown) > 0)
    });
    assert!(one(&format!("restreamer_gop_seconds{{{labels}}} 1")).is_some(), "{}", told());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let accessed =
        one(&format!("restreamer_random_access_timestamp_seconds{{{labels}}} ")).unwrap();
    let accessed: f64 = accessed.rsplit(' ').next().unwrap().parse().unwrap();
    let ago = now().as_secs_f64() - accessed;
    assert!((-0.1..30.0).contains(&ago), "{ago}");
    let info = "restreamer_elementary_info{codec=\"aac\",kind=\"audio\",language=\"deu\",\
                pid=\"0x0102\",program=\"1\",";
    assert!(one(info).is_some(), "{}", told());
    assert_eq!(shown["programs"][0]["gop_seconds"], 1.0, "{shown}");
    assert!(shown["programs"][0]["random_access_seconds"].as_f64().unwrap() < 30.0, "{shown}");
    let parts = shown["programs"][0]["elementary"].as_array().unwrap().iter().map(rate);
    assert!((1..rate(&shown)).contains(&parts.sum()), "{shown}");
    // Another PMT: what it does not name has no labels any more.
    let mut other = broadcast::pmt(1);
    other.truncate(other.len() - 4 - 14);
    let other = broadcast::sealed(&other);
    eventually("the other PMT", || {
        let mut items = clean(at, 100);
        let pmts = items.iter_mut().filter(|item| item.pid() == PMT);
        pmts.for_each(|item| item.bytes = broadcast::section(PMT, &other));
        peer.write_all(&numbered(&items).concat()).unwrap();
        at += 100;
        (!told().contains("codec=\"ac3\"")).then_some(())
    });
    assert!(!told().contains("0x0103") && told().contains("0x0102"), "{}", told());
    assert_eq!(node.count("restreamer_table_changes_total", "/a.ts"), 1);
    // With the connection all of it goes.
    drop((listener, peer));
    eventually("the loss", || (!told().contains("pid=\"0x")).then_some(()));
    assert_eq!(contents(&node)["programs"], json!([]));
    assert_eq!(node.count("restreamer_table_changes_total", "/a.ts"), 1, "what was counted stays");
}
