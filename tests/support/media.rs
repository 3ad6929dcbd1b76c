//! Real streams: ffmpeg as source and as judge, and a small parser of packets, independent of the
//! program's own.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::packets::PACKET_BYTES;
use super::tool::Tool;

pub const FRAMES_PER_SECOND: f64 = 25.0;
/// Length of [`sample`].
pub const SAMPLE_SECONDS: u32 = 20;
/// Rate of [`sample`], which is constant, null packets included.
pub const SAMPLE_BITS_PER_SECOND: u64 = 2_000_000;
const GOP_SECONDS: f64 = 1.0;
const H264: u8 = 0x1B;

/// A file of H.264 and AAC, made once a run: 20 s, 2 Mbit/s, a random access point every second.
pub fn sample() -> &'static Path {
    static SAMPLE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.ts");
        let (seconds, rate) = (SAMPLE_SECONDS.to_string(), SAMPLE_BITS_PER_SECOND.to_string());
        #[rustfmt::skip]
        let arguments = [
            "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25",
            "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", &seconds,
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
            "-g", "25", "-bf", "2", "-b:v", "1500k", "-maxrate", "1500k", "-bufsize", "700k",
            "-c:a", "aac", "-b:a", "96k",
            "-f", "mpegts", "-muxrate", &rate, path.to_str().unwrap(),
        ];
        let made = Command::new("ffmpeg").args(arguments).stdin(Stdio::null()).status().unwrap();
        assert!(made.success());
        (dir, path)
    };
    &SAMPLE.get_or_init(make).1
}

/// [`sample`] in memory.
pub fn sample_bytes() -> Vec<u8> {
    std::fs::read(sample()).unwrap()
}

impl Tool {
    /// ffmpeg, with these arguments; it says nothing but errors.
    pub fn ffmpeg(arguments: &[&str]) -> Tool {
        let mut command = Command::new("ffmpeg");
        Tool::start(command.args(["-v", "error", "-y"]).args(arguments).stdin(Stdio::null()))
    }
}

/// One packet.
#[derive(Clone, Copy)]
pub struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    pub fn pid(self) -> u16 {
        u16::from_be_bytes([self.0[1] & 0x1F, self.0[2]])
    }

    /// Whether a PES packet or a section begins in it.
    pub fn starts_unit(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    pub fn counter(self) -> u8 {
        self.0[3] & 0x0F
    }

    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    pub fn is_random_access_point(self) -> bool {
        self.flags() & 0x40 != 0
    }

    /// Whether its counter starts anew.
    pub fn is_discontinuous(self) -> bool {
        self.flags() & 0x80 != 0
    }

    /// Its PCR's base, in ticks of 90 kHz.
    pub fn pcr(self) -> Option<u64> {
        let base = self.0[6..11].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte)) >> 7;
        (self.flags() & 0x10 != 0).then_some(base)
    }

    /// Flags of the adaptation field.
    fn flags(self) -> u8 {
        if self.0[3] & 0x20 != 0 && self.0[4] > 0 { self.0[5] } else { 0 }
    }

    /// The section that begins in it, from its table id on; its CRC at the end.
    fn section(self) -> &'a [u8] {
        let payload = if self.0[3] & 0x20 != 0 { 5 + usize::from(self.0[4]) } else { 4 };
        let section = &self.0[payload + 1 + usize::from(self.0[payload])..];
        let length = usize::from(u16::from_be_bytes([section[1] & 0x0F, section[2]]));
        &section[..3 + length]
    }
}

/// The packets of a recording, which is nothing but whole packets.
pub fn packets_of(recording: &[u8]) -> Vec<Packet<'_>> {
    assert_eq!(recording.len() % PACKET_BYTES, 0, "a packet is torn");
    let packets: Vec<_> = recording.chunks(PACKET_BYTES).map(Packet).collect();
    let lost = packets.iter().position(|packet| packet.0[0] != 0x47);
    assert_eq!(lost, None, "no packet begins there");
    packets
}

/// What a viewer saw.
pub struct Recording {
    /// Whole packets.
    pub bytes: Vec<u8>,
    /// From the first to the last PCR, by the stream's clock.
    pub span: Duration,
    /// From the arrival of the first PCR to the arrival of the last.
    pub took: Duration,
}

/// Records until the stream's clock has run for `span`; then the rest of the packet.
pub fn record(viewer: &mut TcpStream, span: Duration) -> Recording {
    let deadline = Instant::now() + PATIENCE + span;
    let mut recorder = Recorder::default();
    let mut buffer = vec![0; 64 * 1024];
    while recorder.span() < span {
        assert!(Instant::now() < deadline, "the stream's clock stands still");
        let n = viewer.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended after {:?}", recorder.span());
        recorder.feed(&buffer[..n]);
    }
    recorder.finish()
}

/// Records to the end of the stream.
pub fn record_to_end(viewer: &mut TcpStream) -> Recording {
    let mut recorder = Recorder::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match viewer.read(&mut buffer).unwrap() {
            0 => break,
            n => recorder.feed(&buffer[..n]),
        }
    }
    assert_eq!(recorder.bytes.len() % PACKET_BYTES, 0, "the last packet is torn");
    recorder.finish()
}

#[derive(Default)]
struct Recorder {
    bytes: Vec<u8>,
    looked_at: usize,
    first: Option<(u64, Instant)>,
    last: Option<(u64, Instant)>,
}

impl Recorder {
    fn feed(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        self.bytes.extend_from_slice(bytes);
        let whole = self.bytes.len() / PACKET_BYTES * PACKET_BYTES;
        for packet in packets_of(&self.bytes[self.looked_at..whole]) {
            if let Some(pcr) = packet.pcr() {
                self.first.get_or_insert((pcr, now));
                self.last = Some((pcr, now));
            }
        }
        self.looked_at = whole;
    }

    fn span(&self) -> Duration {
        let (Some((first, _)), Some((last, _))) = (self.first, self.last) else {
            return Duration::ZERO;
        };
        assert!(last >= first, "the clock went back from {first} to {last}");
        Duration::from_millis((last - first) / 90)
    }

    fn finish(mut self) -> Recording {
        let span = self.span();
        let took = match (self.first, self.last) {
            (Some((_, first)), Some((_, last))) => last - first,
            _ => Duration::ZERO,
        };
        self.bytes.truncate(self.looked_at);
        Recording { bytes: self.bytes, span, took }
    }
}

impl Recording {
    /// As if a viewer had seen these bytes.
    pub fn of(bytes: &[u8]) -> Recording {
        let mut recorder = Recorder::default();
        recorder.feed(bytes);
        recorder.finish()
    }

    /// Asserts what a player would find out: nothing is missing, and from the first random access
    /// point on it decodes without a word, one H.264 and one AAC stream of this length.
    pub fn assert_plays(&self) {
        assert_continuous(&self.bytes);
        let dir = tempfile::tempdir().unwrap();
        let path = self.playable(dir.path());
        let probed = probe(&path, &["-count_packets", "-show_streams"]);
        let streams = probed["streams"].as_array().unwrap();
        let mut codecs: Vec<_> =
            streams.iter().map(|s| s["codec_name"].as_str().unwrap()).collect();
        codecs.sort_unstable();
        assert_eq!(codecs, ["aac", "h264"], "{probed}");
        let video = streams.iter().find(|stream| stream["codec_name"] == "h264").unwrap();
        let frames: f64 = video["nb_read_packets"].as_str().unwrap().parse().unwrap();
        // Up to a GOP is before the first random access point; half a second may be in flight.
        let seconds = self.span.as_secs_f64() - GOP_SECONDS - 0.5;
        assert!(frames >= seconds * FRAMES_PER_SECOND, "{frames} frames in {:?}", self.span);
        assert_decodes(&path);
    }

    /// Writes the part that has to play without fault: PAT and PMT, then all from the first random
    /// access point on, without the PES packets that the recording's end has cut.
    pub fn playable(&self, dir: &Path) -> PathBuf {
        let packets = packets_of(&self.bytes);
        let tables = Tables::find(&packets);
        let is_start = |p: &Packet| p.pid() == tables.video && p.is_random_access_point();
        let start = packets.iter().position(is_start).expect("a random access point");
        let mut ends = HashMap::new();
        for (number, packet) in packets.iter().enumerate().filter(|(_, p)| p.starts_unit()) {
            ends.insert(packet.pid(), number);
        }
        let is_whole = |number: usize, p: Packet| {
            p.pid() == 0 || p.pid() == tables.pmt || ends.get(&p.pid()).is_some_and(|&e| number < e)
        };
        let mut bytes = [tables.programs.0, tables.program.0].concat();
        for (number, packet) in packets.iter().enumerate().skip(start) {
            if is_whole(number, *packet) {
                bytes.extend_from_slice(packet.0);
            }
        }
        let path = dir.join("playable.ts");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Where in `file`, in bytes, the recording is, packet for packet.
    pub fn place_in(&self, file: &[u8]) -> usize {
        let mut places = (0..file.len()).step_by(PACKET_BYTES);
        let is_here = |&at: &usize| file[at..].starts_with(&self.bytes);
        places.find(is_here).expect("the recording is a contiguous part of the file")
    }
}

struct Tables<'a> {
    programs: Packet<'a>,
    program: Packet<'a>,
    pmt: u16,
    video: u16,
}

impl<'a> Tables<'a> {
    /// Reads the first PAT and PMT; there is one program.
    fn find(packets: &[Packet<'a>]) -> Tables<'a> {
        let first = |pid| {
            let is_it = |packet: &&Packet<'a>| packet.pid() == pid && packet.starts_unit();
            *packets.iter().find(is_it).expect("a table")
        };
        let pid_at = |bytes: &[u8]| u16::from_be_bytes([bytes[0] & 0x1F, bytes[1]]);
        let programs = first(0);
        let pmt = pid_at(&programs.section()[10..]);
        let program = first(pmt);
        let section = program.section();
        let mut rest = &section[12 + usize::from(pid_at(&section[10..]) & 0x0FFF)..];
        while rest[0] != H264 {
            rest = &rest[5 + usize::from(pid_at(&rest[3..]) & 0x0FFF)..];
        }
        Tables { programs, program, pmt, video: pid_at(&rest[1..]) }
    }
}

/// Asserts that no packet of any PID is missing or repeated.
pub fn assert_continuous(recording: &[u8]) {
    let mut last = HashMap::new();
    for (number, packet) in packets_of(recording).into_iter().enumerate() {
        if packet.pid() == 0x1FFF {
            continue;
        }
        let before = last.insert(packet.pid(), packet.counter());
        if let Some(before) = before.filter(|_| !packet.is_discontinuous()) {
            let expected = (before + u8::from(packet.has_payload())) & 0x0F;
            let pid = packet.pid();
            assert_eq!(packet.counter(), expected, "packet {number}, PID {pid:#x}");
        }
    }
}

/// ffprobe's answer.
pub fn probe(path: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new("ffprobe");
    let output = command.args(["-v", "error", "-of", "json"]).args(arguments).arg(path).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffprobe complains");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that ffmpeg decodes a file to its end and says nothing at all.
pub fn assert_decodes(path: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror", "-nostdin", "-i"]).arg(path);
    let output = command.args(["-map", "0", "-f", "null", "-"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffmpeg complains");
    assert!(output.status.success(), "{}", output.status);
}
