//! The program in one command: the built-in sample plays for ever, without a seam.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use support::media::{probe, record};
use support::node::PROGRAM;
use support::{eventually, http};

/// More than three passes of the sample, which lasts 8 s.
const RECORDED: Duration = Duration::from_secs(25);
/// Ticks of 90 kHz from one frame to the next: 25 pictures a second, and AAC frames of 1024
/// samples at 48 kHz.
const FRAME_TICKS: [(&str, i64); 2] = [("h264", 3600), ("aac", 1920)];

#[test]
fn the_demo_plays_on_and_on_and_ends_with_ctrl_c() {
    let mut demo = Demo::start();
    demo.assert_presented();
    eventually("the stream", || {
        (http::request(demo.address, "HEAD", "/demo.ts").status == 200).then_some(())
    });
    let recording = record(&mut http::watch(demo.address, "/demo.ts"), RECORDED);
    let ratio = recording.took.as_secs_f64() / recording.span.as_secs_f64();
    assert!((0.9..1.2).contains(&ratio), "{:?} in {:?}", recording.span, recording.took);
    recording.assert_plays();

    let dir = tempfile::tempdir().unwrap();
    let path = recording.playable(dir.path());
    let shown = ["-show_entries", "stream=index,codec_name:packet=stream_index,dts,pts"];
    let probed = probe(&path, &shown);
    let streams = probed["streams"].as_array().unwrap();
    for (codec, ticks) in FRAME_TICKS {
        let stream = streams.iter().find(|stream| stream["codec_name"] == codec).unwrap();
        let packets = probed["packets"].as_array().unwrap();
        let of_it = packets.iter().filter(|packet| packet["stream_index"] == stream["index"]);
        let of_it: Vec<&Value> = of_it.collect();
        let steps = of_it.windows(2).map(|two| time(two[1], "dts") - time(two[0], "dts"));
        let mut counted: HashMap<i64, usize> = HashMap::new();
        for step in steps {
            *counted.entry(step).or_default() += 1;
        }
        assert_eq!(counted.keys().collect::<Vec<_>>(), [&ticks], "{codec}: {counted:?}");
        let mut shown: Vec<i64> = of_it.iter().map(|packet| time(packet, "pts")).collect();
        shown.sort_unstable();
        // The recording's end has cut some of the pictures that are shown before the last.
        let whole = &shown[..shown.len() - 5];
        let is_steady = whole.windows(2).all(|two| two[1] - two[0] == ticks);
        assert!(is_steady, "{codec}: each frame is shown once, and none is missing");
    }
    let metrics = http::get(demo.side, "/metrics").text();
    for name in ["restreamer_continuity_errors_total", "restreamer_sync_losses_total"] {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(" 0"), "{line}");
    }
    let losses = metrics.lines().find(|line| line.starts_with("restreamer_upstream_losses_total"));
    assert_eq!(losses, None, "it is one connection, however often the sample is played");

    demo.interrupt();
    let status = eventually("its end", || demo.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let log = demo.log.take().unwrap().join().expect("standard error is the log, line by line");
    assert!(log.iter().all(|entry| entry["event"] != "error"), "{log:?}");
    assert!(log.iter().any(|entry| entry["event"] == "connected"), "{log:?}");
}

fn time(packet: &Value, key: &str) -> i64 {
    packet[key].as_i64().unwrap_or_else(|| panic!("no {key} in {packet}"))
}

/// The running demo.
struct Demo {
    child: Child,
    /// What it says to the person who started it.
    said: Vec<String>,
    /// Its standard error, to the end.
    log: Option<JoinHandle<Vec<Value>>>,
    address: SocketAddr,
    side: SocketAddr,
}

impl Demo {
    /// Starts it on free ports, and reads what it says, to the last line.
    fn start() -> Demo {
        let mut child = Command::new(PROGRAM)
            .args(["demo", "--listen", "127.0.0.1:0", "--side", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = std::thread::spawn(move || {
            let lines = BufReader::new(errors).lines();
            lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        let mut said = Vec::new();
        for line in BufReader::new(output).lines() {
            said.push(line.unwrap());
            if said.last().unwrap().contains("Ctrl-C") {
                break;
            }
        }
        let [address, side] = ["/demo.ts", "/metrics"].map(|path| address_of(&said, path));
        Demo { child, said, log: Some(log), address, side }
    }

    /// Asserts that a person can see what to do.
    fn assert_presented(&self) {
        let (url, side) = (format!("http://{}/demo.ts", self.address), self.side);
        let all = self.said.join("\n");
        for hint in [
            format!("ffplay {url}"),
            format!("vlc {url}"),
            format!("curl -sN {url}"),
            format!("http://{side}/streams"),
            format!("http://{side}/metrics"),
        ] {
            assert!(all.contains(&hint), "{hint} in\n{all}");
        }
        assert!(self.said.iter().any(|line| line.trim() == url), "the bare URL in\n{all}");
    }

    /// What Ctrl-C does.
    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The address in the first URL with this path.
fn address_of(said: &[String], path: &str) -> SocketAddr {
    let mut words = said.iter().flat_map(|line| line.split_whitespace());
    let address = words.find_map(|word| word.strip_prefix("http://")?.strip_suffix(path));
    address.unwrap_or_else(|| panic!("{path} in {said:?}")).parse().unwrap()
}
