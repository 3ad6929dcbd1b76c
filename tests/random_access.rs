//! Where decoding may start in real streams, and what who joins there is given.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use restreamer::ts::{Pid, Probe, RandomAccess};
use support::media::{Packet, assert_continuous, assert_decodes, packets_of, probe};
use support::packets::PACKET_BYTES;

/// Six seconds, a random access point every 0.8 s or so.
const SECONDS: &str = "6";

/// Encoders, each with what makes it interesting.
const ENCODERS: [(&str, &[&str]); 6] = [
    ("H.264, with its settings in an SEI", &["libx264", "-preset", "ultrafast", "-bf", "2"]),
    (
        "H.264 with open GOPs: I pictures that are not IDR",
        &["libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "open-gop=1"],
    ),
    (
        "H.264 in fields and slices",
        &["libx264", "-preset", "ultrafast", "-flags", "+ildct", "-slices", "4"],
    ),
    ("H.265", &["libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"]),
    (
        "H.265 with open GOPs",
        &["libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:open-gop=1"],
    ),
    ("MPEG-2", &["mpeg2video", "-bf", "2", "-b:v", "2M"]),
];

fn make(encoder: &[&str], path: &Path) {
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "error", "-y", "-f", "lavfi"]);
    command.args(["-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=440"]);
    command.args(["-t", SECONDS, "-g", "20", "-c:a", "mp2", "-c:v"]).args(encoder);
    command.args(["-pix_fmt", "yuv420p", "-f", "mpegts"]).arg(path).stdin(Stdio::null());
    assert!(command.status().unwrap().success(), "{encoder:?}");
}

/// Where ffprobe has the packets with key frames, in bytes.
fn key_frames(path: &Path) -> BTreeSet<u64> {
    let arguments = ["-select_streams", "v", "-show_packets", "-show_entries", "packet=pos,flags"];
    let probed = probe(path, &arguments);
    let packets = probed["packets"].as_array().unwrap().iter();
    let is_key = |packet: &&serde_json::Value| packet["flags"].as_str().unwrap().starts_with('K');
    packets.filter(is_key).map(|p| p["pos"].as_str().unwrap().parse().unwrap()).collect()
}

/// Where the probe has the video's random access points, in bytes.
fn found(bytes: &[u8], seed: u64) -> (BTreeSet<u64>, Probe) {
    let now = Instant::now();
    let (mut probe, mut dice) = (Probe::with_content(now), fastrand::Rng::with_seed(seed));
    let (mut held, mut rest, mut before) = (Vec::new(), bytes, 0);
    let mut places = BTreeSet::new();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(dice.usize(1..3000).min(rest.len()));
        rest = later;
        held.extend_from_slice(piece);
        let aligned = probe.align(&mut held);
        let place = |one: &RandomAccess| u64::try_from(before + one.offset).unwrap();
        places.extend(aligned.random_access.iter().map(place));
        before += i64::try_from(aligned.whole).unwrap();
        held.truncate(aligned.whole + aligned.held);
        held.drain(..aligned.whole);
    }
    (places, probe)
}

/// Takes the indicator out of every packet.
fn without_indicators(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for packet in bytes.chunks_mut(PACKET_BYTES) {
        if packet[3] & 0x20 != 0 && packet[4] > 0 {
            packet[5] &= !0x40;
        }
    }
    assert!(packets_of(&bytes).iter().all(|packet| !packet.is_random_access_point()));
    bytes
}

#[test]
fn random_access_points_are_the_key_frames_with_and_without_indicator() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.ts");
    for (seed, (what, encoder)) in (0..).zip(ENCODERS) {
        make(encoder, &path);
        let bytes = std::fs::read(&path).unwrap();
        let keys = key_frames(&path);
        assert!(keys.len() >= 7, "{what}: {keys:?}");
        assert_eq!(found(&bytes, seed).0, keys, "{what}, with indicators");
        assert_eq!(found(&without_indicators(&bytes), seed).0, keys, "{what}, without");
    }
}

#[test]
fn an_indicator_is_believed_once_there_was_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.ts");
    make(ENCODERS[0].1, &path);
    let bytes = std::fs::read(&path).unwrap();
    let keys: Vec<u64> = key_frames(&path).into_iter().collect();
    // From the fourth on there is none.
    let (start, end) = bytes.split_at(keys[3].try_into().unwrap());
    let mixed = [start, &without_indicators(end)].concat();
    assert_eq!(found(&mixed, 1).0, keys[..3].iter().copied().collect());
    // Scrambled pictures are not looked into, and what is said of them is not believed.
    let mut scrambled = bytes;
    for packet in scrambled.chunks_mut(PACKET_BYTES).filter(|packet| packet[1] & 0x1F == 1) {
        packet[3] |= 0xC0;
    }
    assert_eq!(found(&scrambled, 2).0, BTreeSet::new());
}

#[test]
fn sound_alone_has_random_access_points_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("radio.ts");
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440", "-t", "3"]);
    let status = command.args(["-c:a", "aac"]).arg(&path).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&path).unwrap();
    let starts: BTreeSet<u64> = (0..)
        .zip(packets_of(&bytes))
        .filter(|(_, packet)| packet.pid() == 0x100 && packet.starts_unit())
        .map(|(number, _)| number * PACKET_BYTES as u64)
        .collect();
    assert_eq!(found(&without_indicators(&bytes), 3).0, starts);
}

/// What who joins at a random access point gets: the tables, then all from there on.
#[test]
fn tables_and_a_random_access_point_play_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (what, encoder)) in ENCODERS.into_iter().enumerate() {
        let path = dir.path().join("made.ts");
        make(encoder, &path);
        let bytes = std::fs::read(&path).unwrap();
        let (places, probe) = found(&without_indicators(&bytes), 5);
        let place = usize::try_from(*places.iter().nth(3).unwrap()).unwrap();
        let tables = probe.content().unwrap().tables();
        assert!(tables.is_complete());
        let rest = &bytes[place..];
        let next = |pid: Pid| {
            let is_it = |packet: &&Packet| packet.pid() == pid.value();
            packets_of(rest).iter().find(is_it).unwrap().counter()
        };
        let mut joined = Vec::new();
        tables.write(next, &mut joined);
        assert_eq!(joined.len(), 2 * PACKET_BYTES);
        joined.extend_from_slice(rest);
        assert_continuous(&joined);
        let path = dir.path().join(format!("joined{number}.ts"));
        std::fs::write(&path, joined).unwrap();
        let probed = self::probe(&path, &["-show_streams", "-show_programs"]);
        assert_eq!(probed["programs"].as_array().unwrap().len(), 1, "{what}: {probed}");
        assert_eq!(probed["streams"].as_array().unwrap().len(), 2, "{what}: {probed}");
        if !what.contains("open") && !what.contains("MPEG-2") {
            assert_decodes(&path);
        }
    }
}
