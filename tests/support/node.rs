//! The program as a process.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, eventually, http};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_restreamer");

/// A running node; it is killed when the test is done with it.
pub struct Node {
    child: Child,
    log: Receiver<Value>,
    /// Lines that came before it told its addresses: a worker may be faster than that.
    early: RefCell<VecDeque<Value>>,
    /// Where viewers are served.
    pub address: SocketAddr,
    /// Where metrics, health and status are served.
    pub side: SocketAddr,
    /// Its working directory, gone with it.
    pub dir: tempfile::TempDir,
}

impl Node {
    /// A node with one stream, `/a.ts`, from `remote`; reconnects every second.
    pub fn of(remote: &str) -> Node {
        Node::with(&json!({ "resources": [stream("/a.ts", remote)] }))
    }

    /// The same, where viewers go with the upstream.
    pub fn cutting(remote: &str) -> Node {
        Node::with(&json!({ "resources": [cut(stream("/a.ts", remote))] }))
    }

    /// A node with this configuration; addresses and `reconnect` are filled in.
    pub fn with(config: &Value) -> Node {
        Node::with_env(config, &[])
    }

    /// The same, with these variables in its environment.
    pub fn with_env(config: &Value, variables: &[(&str, &str)]) -> Node {
        let (file, dir) = Node::write(config);
        let mut command = command(PROGRAM);
        command.envs(variables.iter().copied()).arg(file);
        Node::await_addresses(Node::spawn_by(command, dir))
    }

    /// The same, that may have so many descriptors.
    pub fn with_descriptors(config: &Value, descriptors: usize) -> Node {
        Node::after(&format!("ulimit -n {descriptors}"), config)
    }

    /// The same, started by a shell that has run `preparation` before.
    pub fn after(preparation: &str, config: &Value) -> Node {
        let (file, dir) = Node::write(config);
        let mut command = command("sh");
        command.args(["-c", &format!("{preparation} && exec \"$@\""), "sh", PROGRAM]).arg(file);
        Node::await_addresses(Node::spawn_by(command, dir))
    }

    /// The same in a root of its own, a directory where the program is `restreamer`.
    pub fn in_root(root: tempfile::TempDir, config: &Value) -> Node {
        let (file, _elsewhere) = Node::write(config);
        std::fs::copy(file, root.path().join("restreamer.json")).unwrap();
        let mut command = command("chroot");
        command.arg(root.path()).args(["/restreamer", "/restreamer.json"]);
        Node::await_addresses(Node::spawn_by(command, root))
    }

    /// A configuration in a file, and the directory of its own that it is in.
    pub fn write(config: &Value) -> (PathBuf, tempfile::TempDir) {
        let mut all = json!({ "listen": "127.0.0.1:0", "side": "127.0.0.1:0", "reconnect": 1 });
        for (key, value) in config.as_object().unwrap() {
            all[key] = value.clone();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("restreamer.json");
        std::fs::write(&file, all.to_string()).unwrap();
        (file, dir)
    }

    /// A node started with these arguments, that logs to standard output and serves both ports.
    pub fn start(arguments: &[&str], dir: tempfile::TempDir) -> Node {
        Node::await_addresses(Node::spawn(arguments, dir))
    }

    /// Waits until the node says where it serves.
    pub fn await_addresses(mut node: Node) -> Node {
        let mut early = Vec::new();
        let mut told = |key: &str| {
            let entry = node.await_log(|entry| {
                let found = entry["event"] == "listen" && entry[key].is_string();
                early.extend((!found).then(|| entry.clone()));
                found
            });
            entry[key].as_str().unwrap().parse().unwrap()
        };
        let (address, side) = (told("address"), told("side"));
        (node.address, node.side) = (address, side);
        node.early = RefCell::new(early.into());
        node
    }

    /// A node started with these arguments, whatever it logs and serves: its addresses are not
    /// known yet.
    pub fn spawn(arguments: &[&str], dir: tempfile::TempDir) -> Node {
        let mut command = command(PROGRAM);
        command.args(arguments);
        Node::spawn_by(command, dir)
    }

    /// A node by a command of one's own, likewise.
    pub fn spawn_by(mut command: Command, dir: tempfile::TempDir) -> Node {
        let mut child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let entry = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("{error} in the log: {line}"));
                if lines.send(entry).is_err() {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let early = RefCell::default();
        Node { child, log, early, address: nowhere, side: nowhere, dir }
    }

    /// Waits for the next line of the log that `is_it` knows; lines before it are passed over.
    pub fn await_log(&self, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let early = self.early.borrow_mut().pop_front();
            match early.map_or_else(|| self.log.recv_timeout(left), Ok) {
                Ok(entry) if is_it(&entry) => return entry,
                Ok(entry) => seen.push(entry.to_string()),
                Err(error) => panic!("{error}; the log said\n{}", seen.join("\n")),
            }
        }
    }

    /// The lines of the log so far that were not waited for.
    pub fn rest_of_log(&self) -> Vec<Value> {
        self.early.take().into_iter().chain(self.log.try_iter()).collect()
    }

    /// The lines of the log that were not waited for, up to the end of the process.
    pub fn log_to_the_end(&self) -> Vec<Value> {
        self.early.take().into_iter().chain(self.log.iter()).collect()
    }

    /// Waits until the log says that an upstream is connected.
    pub fn await_connected(&self) {
        self.await_log(|entry| entry["event"] == "connected");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a stream is served.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The sum of all samples of a metric whose line contains `having`; 0 if there is none.
    pub fn metric(&self, name: &str, having: &str) -> f64 {
        self.samples(name, having).iter().map(|sample| sample.parse::<f64>().unwrap()).sum()
    }

    /// The same of a metric that counts whole things.
    pub fn count(&self, name: &str, having: &str) -> u64 {
        self.samples(name, having).iter().map(|sample| sample.parse::<u64>().unwrap()).sum()
    }

    /// The values of all samples of a metric whose line contains `having`.
    pub fn samples(&self, name: &str, having: &str) -> Vec<String> {
        let text = http::get(self.side, "/metrics").text();
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of_name).filter(|line| line.contains(having));
        lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    }

    /// Waits until a metric is as `is_it` wants it.
    pub fn await_metric(&self, name: &str, having: &str, is_it: impl Fn(f64) -> bool) -> f64 {
        let what = format!("{name} {having}");
        eventually(&what, || Some(self.metric(name, having)).filter(|&value| is_it(value)))
    }

    /// Waits until a metric that counts whole things has a value.
    pub fn await_count(&self, name: &str, having: &str, value: u64) {
        let what = format!("{name} {having} to be {value}");
        eventually(&what, || (self.count(name, having) == value).then_some(()));
    }

    /// `/streams`, of the only stream.
    pub fn status(&self) -> Value {
        let all: Value = serde_json::from_str(&http::get(self.side, "/streams").text()).unwrap();
        all[0].clone()
    }

    /// Waits until `/streams` says that the only stream is in this state; answers all it says.
    pub fn await_state(&self, state: &str) -> Value {
        eventually(state, || Some(self.status()).filter(|status| status["state"] == state))
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Threads of the process.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    /// Resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Tells it to stop and answers how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    /// Waits for its end.
    pub fn await_end(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The metrics that the contract names: name, type, and the labels of whichever kind it has.
pub fn contract_metrics<'a>(
    of_stream: &'a str,
    of_upstream: &'a str,
) -> [(&'static str, &'static str, &'a str); 15] {
    [
        ("streaming_packets_sent", "counter", of_stream),
        ("streaming_bytes_sent", "counter", of_stream),
        ("streaming_packets_dropped", "counter", of_stream),
        ("streaming_bytes_dropped", "counter", of_stream),
        ("streaming_duration", "counter", of_stream),
        ("streaming_connections", "gauge", of_stream),
        ("streaming_source_connected", "gauge", of_upstream),
        ("streaming_packets_received", "counter", of_upstream),
        ("streaming_bytes_received", "counter", of_upstream),
        ("process_cpu_seconds_total", "counter", ""),
        ("process_open_fds", "gauge", ""),
        ("process_max_fds", "gauge", ""),
        ("process_resident_memory_bytes", "gauge", ""),
        ("process_virtual_memory_bytes", "gauge", ""),
        ("process_start_time_seconds", "gauge", ""),
    ]
}

/// A program to start, without the proxies of whoever runs the tests: they are no business of ours.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

/// A resource of a configuration: a stream at `path` from `remote`.
pub fn stream(path: &str, remote: &str) -> Value {
    json!({ "type": "stream", "serve": path, "remote": remote })
}

/// The same stream, whose viewers go when an upstream is lost.
pub fn cut(mut stream: Value) -> Value {
    stream["on_loss"] = "cut".into();
    stream
}

/// A resource that tells of the node, or of the stream at `remote`.
pub fn api(path: &str, api: &str, remote: Option<&str>) -> Value {
    json!({ "type": "api", "serve": path, "api": api, "remote": remote })
}

/// The program run to its end: (exit code, standard output, standard error). One that does not end
/// is killed: its output must not be long.
pub fn run(arguments: &[&str], dir: &Path) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // It has ended already, unless it serves what it should have refused.
    let _ended = child.kill();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or_else(|| panic!("{arguments:?} runs on: {out}{err}"));
    (code, out, err)
}

/// A file in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
