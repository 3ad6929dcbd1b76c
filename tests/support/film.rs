//! Real films, upstreams that play them in real time and may be killed, and viewers who record.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::PATIENCE;
use super::packets::PACKET_BYTES;

/// Of all films.
pub const BITS_PER_SECOND: u64 = 3_000_000;

/// Half a second between key frames, 3 Mbit/s, B pictures, and a service description now and then.
pub fn film(path: &Path, picture: &str, more: &[&str]) -> Vec<u8> {
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
pub struct Fate {
    pub kills: AtomicUsize,
    stop: AtomicBool,
}

impl Fate {
    pub fn left(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }
}

/// An upstream that sends a film in real time, from anywhere in it on.
pub struct Upstream {
    address: SocketAddr,
    fate: Arc<Fate>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub fn start(film: Vec<u8>, fate: &Arc<Fate>, seed: u64) -> Upstream {
        Upstream::start_at("127.0.0.1:0".parse().unwrap(), film, fate, seed)
    }

    pub fn start_at(address: SocketAddr, film: Vec<u8>, fate: &Arc<Fate>, seed: u64) -> Upstream {
        let listener = TcpListener::bind(address).unwrap();
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

    pub fn url(&self) -> String {
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
pub struct Viewer {
    paused: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl Viewer {
    pub fn start(mut socket: TcpStream) -> Viewer {
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

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub fn recording(self) -> Vec<u8> {
        self.thread.join().unwrap()
    }
}

/// The checksums of the frames of a file, as ffmpeg decodes them, to its end.
pub fn frames(path: &Path, more: &[&str]) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.args(["60", "ffmpeg", "-v", "fatal", "-nostdin"]).args(more).arg("-i").arg(path);
    command.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}
