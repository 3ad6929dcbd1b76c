//! An upstream goes, the next one comes, and viewers stay: real H.264, and ffmpeg as the judge.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::SockRef;
use support::PATIENCE;
use support::http::watch;
use support::media::{Packet, assert_continuous, packets_of};
use support::node::{Node, stream};
use support::packets::{PACKET_BYTES, is_signal};

const KILLS: usize = 20;
const BITS_PER_SECOND: u64 = 3_000_000;

/// Half a second between key frames, 3 Mbit/s, B pictures, and a service description now and then.
fn film(path: &Path, picture: &str, more: &[&str]) -> Vec<u8> {
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "error", "-y", "-f", "lavfi"]);
    command.args(["-i", &format!("{picture}=size=320x180:rate=25"), "-f", "lavfi", "-i", "sine"]);
    command.args(["-t", "12", "-g", "12", "-c:a", "aac", "-c:v", "libx264"]);
    command.args(["-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p", "-b:v", "2500k"]);
    command.args(["-maxrate", "2500k", "-bufsize", "1M", "-sc_threshold", "0"]);
    command.args(more).args(["-f", "mpegts", "-muxrate", "3M", "-pat_period", "0.2"]).arg(path);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
    std::fs::read(path).unwrap()
}

/// What upstreams have in common: so often one of them is yet to be killed.
#[derive(Default)]
struct Fate {
    kills: AtomicUsize,
    stop: AtomicBool,
}

impl Fate {
    fn left(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }
}

/// An upstream that sends a film in real time, from anywhere in it on.
struct Upstream {
    address: SocketAddr,
    fate: Arc<Fate>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    fn start(film: Vec<u8>, fate: &Arc<Fate>, seed: u64) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::clone(fate);
        let thread = std::thread::spawn(move || {
            let mut dice = fastrand::Rng::with_seed(seed);
            while !told.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((peer, _)) => play(&peer, &film, &told, &mut dice),
                    Err(_) => std::thread::sleep(Duration::from_millis(4)),
                }
            }
        });
        Upstream { address, fate: Arc::clone(fate), thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.fate.stop.store(true, Ordering::Relaxed);
        // It says what is wrong itself.
        let _told = self.thread.take().unwrap().join();
    }
}

/// Plays until it is killed, in the middle of a packet, by an end or by a reset.
fn play(peer: &TcpStream, film: &[u8], fate: &Fate, dice: &mut fastrand::Rng) {
    peer.set_nonblocking(false).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let life = Duration::from_millis(dice.u64(150..1200));
    let from = dice.usize(..film.len() / PACKET_BYTES / 3) * PACKET_BYTES;
    let (start, mut sent) = (Instant::now(), from);
    while !fate.stop.load(Ordering::Relaxed) {
        if start.elapsed() >= life && fate.left() > 0 {
            fate.kills.fetch_sub(1, Ordering::Relaxed);
            if dice.bool() {
                SockRef::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
            }
            return;
        }
        let due = start.elapsed().as_micros() * u128::from(BITS_PER_SECOND) / 8_000_000;
        let due = (from + usize::try_from(due).unwrap()).min(film.len());
        if { peer }.write_all(&film[sent..due]).is_err() {
            return; // The node is gone.
        }
        sent = due;
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A viewer who records everything to the end, but not while it is paused.
struct Viewer {
    paused: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl Viewer {
    fn start(mut socket: TcpStream) -> Viewer {
        let paused = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&paused);
        let thread = std::thread::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
            loop {
                while told.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(4));
                }
                match socket.read(&mut buffer).unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&buffer[..n]),
                }
            }
        });
        Viewer { paused, thread }
    }

    fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    fn recording(self) -> Vec<u8> {
        self.thread.join().unwrap()
    }
}

/// One who begins with a small receive buffer, and so lags soon when it is paused.
fn narrow(address: SocketAddr, path: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    support::http::open_on(socket, request.as_bytes()).1
}

fn pid_of(packet: &[u8]) -> u16 {
    packets_of(packet)[0].pid()
}

/// A part of a recording that is of one connection.
struct Section {
    /// PIDs that were said not to go on, before anything else of it.
    signalled: Vec<u16>,
    /// PIDs of the tables that were put in.
    tables: Vec<u16>,
    /// The connection's bytes.
    bytes: Vec<u8>,
    /// PIDs that were said not to go on later.
    late: Vec<u16>,
}

/// Takes a recording apart, which begins with tables.
fn sections(recording: &[u8]) -> Vec<Section> {
    let mut packets = recording.chunks(PACKET_BYTES).peekable();
    let mut sections = Vec::new();
    while packets.peek().is_some() {
        let mut signalled = Vec::new();
        while let Some(packet) = packets.next_if(|packet| is_signal(packet)) {
            signalled.push(pid_of(packet));
        }
        // The PAT and the PMT of one program.
        let tables: Vec<u16> = packets.by_ref().take(2).map(pid_of).collect();
        let mut section = Section { signalled, tables, bytes: Vec::new(), late: Vec::new() };
        while let Some(packet) =
            packets.next_if(|packet| !(is_signal(packet) && pid_of(packet) == 0))
        {
            if is_signal(packet) {
                section.late.push(pid_of(packet));
            } else {
                section.bytes.extend_from_slice(packet);
            }
        }
        sections.push(section);
    }
    sections
}

/// Asserts what must hold of each part, and answers where in which film it is.
fn assert_section(section: &Section, films: &[&[u8]]) -> (usize, usize) {
    let places = films.iter().enumerate().flat_map(|(number, film)| {
        let places = (0..film.len()).step_by(PACKET_BYTES);
        places.filter(|&at| film[at..].starts_with(&section.bytes)).map(move |at| (number, at))
    });
    let place: Vec<_> = places.take(1).collect();
    // So none is torn, repeated or missing.
    let place = *place.first().expect("a contiguous part of a film");
    let first = packets_of(&section.bytes)[0];
    assert!(first.starts_unit() && first.is_random_access_point(), "{place:?}");
    assert_eq!(section.tables[0], 0, "PAT, then PMT");
    let mut said = [&section.signalled[..], &section.late].concat();
    said.sort_unstable();
    let once = said.len();
    said.dedup();
    assert_eq!(said.len(), once, "each PID is told of once");
    place
}

/// The checksums of the frames of a file, as ffmpeg decodes them, to its end.
fn frames(path: &Path, more: &[&str]) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "fatal", "-nostdin"]).args(more).arg("-i").arg(path);
    command.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

fn node(upstreams: &[&Upstream], more: &Value) -> Node {
    let mut stream = stream("/a.ts", &upstreams[0].url());
    stream["remotes"] = upstreams[1..].iter().map(|one| one.url()).collect();
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    let config = json!({ "reconnect": 0.1, "outputbuffer": 40_000, "resources": [stream] });
    let node = Node::with(&config);
    node.await_connected();
    node
}

fn switches(node: &Node, kind: &str) -> u64 {
    node.count("restreamer_switches_total", &format!("kind=\"{kind}\""))
}

/// Lets upstreams be killed as often as they are to be, with viewers who are live and one who
/// catches up; answers what each has recorded, and how many switches there were.
fn kill_them_all(node: Node, fate: &Fate) -> (Vec<Vec<u8>>, u64) {
    let received = || node.count("streaming_bytes_received", "");
    let more = |seconds| {
        let enough = received() + BITS_PER_SECOND / 8 * seconds;
        support::eventually("more", || (received() >= enough).then_some(()));
    };
    // Two key frames.
    more(1);
    let mut viewers: Vec<_> = (0..3).map(|_| Viewer::start(watch(node.address, "/a.ts"))).collect();
    viewers.push(Viewer::start(narrow(node.address, "/a.ts")));
    let slow = &viewers[3];
    node.await_metric("restreamer_viewers", "live", |sum| sum >= 4.0);
    fate.kills.store(KILLS, Ordering::Relaxed);
    while fate.left() > 0 {
        slow.pause(true);
        node.await_metric("restreamer_viewers", "catching_up", |sum| sum >= 1.0);
        let before = switches(&node, "random_access");
        support::eventually("a switch that it is told of later", || {
            let over = switches(&node, "random_access") > before || fate.left() == 0;
            over.then_some(())
        });
        slow.pause(false);
        node.await_metric("restreamer_viewers", "catching_up", |sum| sum < 1.0);
    }
    // A good part of the last one.
    more(3);
    assert_eq!(node.count("restreamer_stream_held", ""), 0);
    node.await_metric("restreamer_viewers", "live", |sum| sum >= 4.0);
    assert_eq!(node.count("restreamer_viewers_ended_total", ""), 0, "nobody was cut");
    assert_eq!(node.count("restreamer_skips_total", ""), 0);
    assert_eq!(switches(&node, "packet"), 0);
    let switches = switches(&node, "random_access");
    assert!(node.stop().success());
    (viewers.into_iter().map(Viewer::recording).collect(), switches)
}

/// Asserts what must hold of a recording with so many switches, and what ffmpeg makes of it.
fn assert_goes_on(recording: &[u8], switches: u64, films: &[&[u8]], demuxer: &[&str]) {
    assert_continuous(recording);
    let sections = sections(recording);
    assert_eq!(sections.len() as u64, switches + 1);
    let places: Vec<_> = sections.iter().map(|section| assert_section(section, films)).collect();
    assert!(sections[0].signalled.is_empty() && sections[0].late.is_empty());
    let seen = |packets: &[u8]| packets_of(packets).iter().map(|p| Packet::pid(*p)).collect();
    let mut before: std::collections::BTreeSet<u16> = seen(&sections[0].bytes);
    before.extend(&sections[0].tables);
    for section in &sections[1..] {
        let here: std::collections::BTreeSet<u16> = seen(&section.bytes);
        // Each PID that there was before and has come again, and those of the tables.
        let mut due: Vec<u16> = here.intersection(&before).copied().collect();
        due.extend(section.tables.iter().filter(|pid| before.contains(pid) && !here.contains(pid)));
        due.retain(|pid| *pid != 0x1FFF);
        due.sort_unstable();
        let mut said = [&section.signalled[..], &section.late].concat();
        // One of which nothing comes any more may be told of, for its next packet would have been.
        said.retain(|pid| due.contains(pid));
        said.sort_unstable();
        assert_eq!(said, due);
        before.extend(here);
        before.extend(&section.tables);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording.ts");
    std::fs::write(&path, recording).unwrap();
    let all = frames(&path, demuxer);
    // The last part alone, from its random access point to the end of the recording.
    let (film, place) = *places.last().unwrap();
    let last = &sections.last().unwrap().bytes;
    let alone = dir.path().join("last.ts");
    let tail = recording.len() - last.len() - sections.last().unwrap().late.len() * PACKET_BYTES;
    std::fs::write(&alone, &recording[tail - 2 * PACKET_BYTES..]).unwrap();
    let of_last = frames(&alone, &[]);
    assert!(of_last.len() > 25, "{} frames of film {film} from {place}", of_last.len());
    assert!(all.ends_with(&of_last), "the last part is decoded to its end");
}

#[test]
fn an_upstream_killed_twenty_times_cuts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let films = [
        film(&dir.path().join("one.ts"), "testsrc2", &[]),
        film(&dir.path().join("two.ts"), "testsrc", &[]),
    ];
    let fate = Arc::new(Fate::default());
    let upstreams = [0, 1].map(|n| Upstream::start(films[n].clone(), &fate, n as u64));
    let node = node(&[&upstreams[0], &upstreams[1]], &json!({}));
    let (recordings, switches) = kill_them_all(node, &fate);
    assert!(switches >= KILLS as u64 / 2, "{switches} of {KILLS}");
    for recording in &recordings {
        assert_goes_on(recording, switches, &[&films[0], &films[1]], &[]);
    }
}
