//! The units, under a real systemd: readiness, watchdog, activation, draining, confinement.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use restreamer_appliance::client::{Client, Upstream, whole_packets};
use restreamer_appliance::machine::Machine;
use restreamer_appliance::{debian, eventually, program, repository, run, said};
use serde_json::{Value, json};

const UNITS: [&str; 3] = ["restreamer.service", "restreamer@.service", "restreamer.socket"];
/// What `systemd-analyze security` may say.
const EXPOSURE: f64 = 1.5;
/// The same with the drop-in for the door: a capability, and no user namespace.
const EXPOSURE_WITH_DOOR: f64 = 1.7;
/// Where systemd has the drop-ins of a unit.
const DROP_INS: &str = "etc/systemd/system";

/// A machine with the program and its units.
struct House {
    machine: Machine,
    root: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        House::with(&[])
    }

    /// One whose container is given more.
    fn with(options: &[&str]) -> House {
        let dir = debian();
        let root = dir.path().join("root");
        let ours = repository().join("systemd");
        let copy = |from: &Path, to: &str| {
            let to = root.join(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        copy(&program(), "usr/bin/restreamer");
        for unit in UNITS {
            copy(&ours.join(unit), &format!("usr/lib/systemd/system/{unit}"));
        }
        for file in ["sysusers.d/restreamer.conf", "tmpfiles.d/restreamer.conf"] {
            copy(&ours.join(file), &format!("usr/lib/{file}"));
        }
        let machine = Machine::boot_with(&root, options);
        machine.ok(&["systemd-sysusers"]);
        machine.ok(&["systemd-tmpfiles", "--create", "restreamer.conf"]);
        House { machine, root, _dir: dir }
    }

    /// Writes a configuration, which nobody but the service may read.
    fn configure(&self, name: &str, config: &Value) {
        self.write(&format!("etc/restreamer/{name}.json"), &config.to_string());
        self.machine.ok(&["systemd-tmpfiles", "--create", "restreamer.conf"]);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Brings a program from this system along, with its libraries: it is a Debian as well.
    fn bring(&self, program: &str) {
        let path = run("which", &[program]);
        let libraries = run("ldd", &[path.trim()]);
        let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for from in paths.chain([path.trim()]) {
            let to = self.root.join(from.trim_start_matches('/'));
            if !to.exists() {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(from, to).unwrap();
            }
        }
        self.machine.ok(&["ldconfig"]);
    }

    /// A line to a drop-in.
    fn drop_in(&self, unit: &str, text: &str) {
        self.write(&format!("{DROP_INS}/{unit}.d/test.conf"), text);
        self.machine.ok(&["systemctl", "daemon-reload"]);
    }

    fn systemctl(&self, arguments: &[&str]) {
        self.machine.ok(&[&["systemctl"], arguments].concat());
    }

    fn show(&self, unit: &str, property: &str) -> String {
        self.machine.ok(&["systemctl", "show", "-P", property, unit]).trim().to_owned()
    }

    /// The process of a service, as it is named outside.
    fn process(&self, unit: &str) -> u32 {
        self.machine.outside(self.show(unit, "MainPID").parse().unwrap())
    }

    /// What its log says of something; the journal has it as the program wrote it.
    fn log(&self, unit: &str) -> Vec<Value> {
        let lines = self.machine.ok(&["journalctl", "-u", unit, "-o", "cat", "_COMM=restreamer"]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        lines.lines().map(parse).collect()
    }
}

/// `/a.ts` from an upstream, at this port.
fn config(port: u16, upstream: &Upstream) -> Value {
    let remote = format!("tcp://{}", upstream.address);
    json!({
        "listen": format!(":{port}"), "workers": 2, "reconnect": 1,
        "resources": [
            { "type": "stream", "serve": "/a.ts", "remote": remote },
            { "type": "stream", "serve": "/b.ts", "remote": remote },
        ],
    })
}

#[test]
fn a_service_is_active_only_when_it_serves() {
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    // Every time that systemctl returns, the node serves: nobody is refused.
    house.configure("restreamer", &config(8000, &upstream));
    for _ in 0..5 {
        house.systemctl(&["restart", "restreamer"]);
        let mut client = Client::connect(&house.machine, 8000).unwrap();
        assert_eq!(client.ask("/none").unwrap(), 404);
    }
    let status = || house.show("restreamer", "StatusText");
    let connected = "2 streams, 2 of them connected; 0 viewers";
    eventually("a status", || (status() == connected).then_some(()));

    // One that cannot serve is never active, however often it is tried.
    house.configure("taken", &config(8000, &upstream));
    house.systemctl(&["start", "--no-block", "restreamer@taken"]);
    let tried = || house.show("restreamer@taken", "NRestarts").parse::<u32>().unwrap();
    eventually("three tries", || (tried() >= 3).then_some(()));
    assert_eq!(house.show("restreamer@taken", "ActiveEnterTimestampMonotonic"), "0");

    // One that is not ready yet is not active, though its process runs and its port is open.
    let mut late = config(8001, &upstream);
    late["resources"][0]["preamble"] = json!("/etc/restreamer/late.json");
    late["side"] = json!("127.0.0.1:9471");
    house.machine.ok(&["mkfifo", "-m", "644", "/etc/restreamer/late.json"]);
    house.configure("slow", &late);
    house.systemctl(&["start", "--no-block", "restreamer@slow"]);
    eventually("an open port", || Client::connect(&house.machine, 8001).ok());
    assert_eq!(house.show("restreamer@slow", "ActiveState"), "activating");
    house.machine.ok(&["sh", "-c", "printf x > /etc/restreamer/late.json"]);
    let active = || house.show("restreamer@slow", "ActiveState") == "active";
    eventually("an active service", || active().then_some(()));
}

#[test]
fn the_watchdog_restarts_a_node_that_hangs() {
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    house.configure("restreamer", &config(8000, &upstream));
    house.systemctl(&["start", "restreamer"]);
    let before = house.show("restreamer", "MainPID");
    // Nothing happens to one that is well, though it has nothing to do.
    let fed = || house.show("restreamer", "WatchdogTimestampMonotonic");
    let first = fed();
    eventually("a watchdog that is fed", || (fed() != first).then_some(()));
    assert_eq!(house.show("restreamer", "MainPID"), before);
    house.machine.ok(&["kill", "-STOP", &before]);
    let restarted = || {
        let again = house.show("restreamer", "MainPID");
        (again != before && house.show("restreamer", "ActiveState") == "active").then_some(())
    };
    eventually("a new process", restarted);
    let journal = house.machine.ok(&["journalctl", "-u", "restreamer", "-o", "cat"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(Client::connect(&house.machine, 8000).unwrap().ask("/none").unwrap(), 404);
}

#[test]
fn activation_loses_no_connection_over_restarts() {
    const CLIENTS: usize = 8;
    const RESTARTS: usize = 5;
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    house.configure("restreamer", &config(8000, &upstream));
    let own_queues = "[Socket]\nListenStream=\nReusePort=yes\n\
                      ListenStream=[::]:8000\nListenStream=[::]:8000\n";
    for (queues, drop_in) in [("one queue", "[Socket]\n"), ("a queue each", own_queues)] {
        house.drop_in("restreamer.socket", drop_in);
        house.systemctl(&["restart", "restreamer.socket"]);
        assert_eq!(house.show("restreamer", "ActiveState"), "inactive");
        let answer = Client::connect(&house.machine, 8000).unwrap().ask("/none").unwrap();
        assert_eq!(answer, 404, "{queues}: the first who comes has it started");
        let (over, asked, refused) =
            (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let keep_asking = |number: usize| {
            while !over.load(Ordering::Relaxed) {
                let mut client = Client::connect_here(8000).expect("nobody is refused");
                // Some have connected, and not asked yet, when the node is told to stop.
                std::thread::sleep(Duration::from_millis(if number < CLIENTS / 2 {
                    0
                } else {
                    50
                }));
                let status = client.ask(["/a.ts", "/b.ts"][number % 2]);
                let status = status.unwrap_or_else(|why| panic!("{queues}: no answer: {why}"));
                // 404: the upstream is not connected yet.
                assert!(matches!(status, 200 | 404 | 503), "{queues}: {status}");
                asked.fetch_add(1, Ordering::Relaxed);
                refused.fetch_add(usize::from(status == 503), Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let (machine, keep_asking) = (&house.machine, &keep_asking);
            let asking: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || machine.inside(|| keep_asking(number))))
                .collect();
            for _ in 0..RESTARTS {
                let before = asked.load(Ordering::Relaxed);
                house.systemctl(&["restart", "restreamer.service"]);
                let more = || asked.load(Ordering::Relaxed) > before + 10 * CLIENTS;
                // A client that has failed has ended.
                let failed = || asking.iter().any(ScopedJoinHandle::is_finished);
                eventually("answers", || (more() || failed()).then_some(()));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(asked.load(Ordering::Relaxed) > 10 * CLIENTS * RESTARTS, "{queues}");
        assert!(refused.load(Ordering::Relaxed) > 0, "{queues}: nobody met a node that stops");
        house.systemctl(&["stop", "restreamer.socket", "restreamer.service"]);
    }
    let log = house.log("restreamer");
    let remark = |line: &Value| line["message"].as_str().unwrap().contains("LISTEN_FDS");
    assert!(!log.iter().any(remark), "the sockets are where the configuration has them");
}

/// What README.md has an operator do, with a node that runs already.
#[test]
fn a_node_that_runs_gets_its_socket_and_is_stopped_for_good() {
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    house.configure("restreamer", &config(8000, &upstream));
    house.systemctl(&["enable", "--now", "restreamer.service"]);
    // A service that runs has its own socket, and takes no other.
    assert!(!house.machine.run(&["systemctl", "start", "restreamer.socket"]).status.success());
    house.systemctl(&["stop", "restreamer.service"]);
    house.systemctl(&["enable", "--now", "restreamer.socket", "restreamer.service"]);
    let ask = || Client::connect(&house.machine, 8000).unwrap().ask("/none").unwrap();
    assert_eq!(ask(), 404);
    for unit in ["restreamer.socket", "restreamer.service"] {
        assert_eq!(house.show(unit, "ActiveState"), "active", "{unit}");
    }

    // Without its socket's end, the next who connects starts it again.
    house.systemctl(&["stop", "restreamer.service"]);
    assert_eq!(ask(), 404);
    house.systemctl(&["stop", "restreamer.socket", "restreamer.service"]);
    assert!(Client::connect(&house.machine, 8000).is_err());
    assert_eq!(house.show("restreamer", "ActiveState"), "inactive");
}

#[test]
fn a_stop_ends_viewers_between_packets() {
    const VIEWERS: usize = 20;
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    house.configure("restreamer", &config(8000, &upstream));
    house.systemctl(&["start", "restreamer"]);
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        let path = ["/a.ts", "/b.ts"][number % 2];
        viewers.push(eventually("a stream", || {
            let mut viewer = Client::connect(&house.machine, 8000).unwrap();
            (viewer.ask(path).unwrap() == 200).then_some(viewer)
        }));
    }
    for viewer in &mut viewers {
        viewer.await_bytes(100 * 188);
    }
    let reading: Vec<_> = viewers
        .into_iter()
        .map(|viewer| std::thread::spawn(move || viewer.read_to_end().expect("no reset")))
        .collect();
    house.systemctl(&["stop", "restreamer"]);
    for viewer in reading {
        let packets = whole_packets(&viewer.join().unwrap());
        assert!(packets >= 100, "{packets} packets");
    }
    for (property, value) in
        [("Result", "success"), ("ExecMainStatus", "0"), ("ActiveState", "inactive")]
    {
        assert_eq!(house.show("restreamer", property), value, "{property}");
    }
    let log = house.log("restreamer");
    assert_eq!(log.last().unwrap()["message"], "stopped");
    let viewers =
        log.iter().filter(|line| line["module"] == "access" && line["reason"] == "stopped");
    assert_eq!(viewers.count(), VIEWERS);
}

#[test]
fn the_sandbox_holds_and_commands_run_in_it() {
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    let mut config = config(8000, &upstream);
    // A command that tells what it has been given.
    let script = "#!/bin/sh\n\
        env >/run/restreamer/environment\n\
        exec ffmpeg -v error -re -f lavfi -i testsrc2=size=320x240:rate=25 -c:v libx264 \
        -preset veryfast -g 25 -f mpegts -\n";
    house.write("usr/local/bin/packets", script);
    let path = house.root.join("usr/local/bin/packets");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    house.bring("ffmpeg");
    config["resources"][1]["remote"] = json!("fork:///usr/local/bin/packets");
    config["log"] = json!("/var/log/restreamer/log");
    house.configure("restreamer", &config);
    house.systemctl(&["start", "restreamer"]);
    let mut viewer = eventually("the command's stream", || {
        let mut viewer = Client::connect(&house.machine, 8000).unwrap();
        (viewer.ask("/b.ts").unwrap() == 200).then_some(viewer)
    });
    viewer.await_bytes(1000 * 188);
    let environment = house.machine.ok(&["cat", "/run/restreamer/environment"]);
    assert!(environment.contains("INVOCATION_ID="), "{environment}");
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"] {
        assert!(!environment.contains(ours), "{environment}");
    }

    let process = house.process("restreamer");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().to_owned()
    };
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2", "a filter");
    assert_ne!(field("Uid"), "0");
    let open_files = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let open_files = open_files.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = open_files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft >= 12_000, "{open_files}");

    // Even root cannot write where it lives, but where it is to.
    let inside = |script: &str| {
        let pid = house.show("restreamer", "MainPID");
        house.machine.run(&["nsenter", "--target", &pid, "--mount", "--", "sh", "-c", script])
    };
    for place in ["/usr", "/etc", "/etc/restreamer", "/var/lib", "/opt", "/root", "/", "/home"] {
        let tried = inside(&format!("echo x > {place}/written"));
        assert!(!tried.status.success(), "{place} can be written");
        let told = said(&tried);
        assert!(told.contains("Read-only") || told.contains("denied"), "{told}");
    }
    for place in ["/var/log/restreamer", "/var/lib/restreamer", "/run/restreamer", "/tmp"] {
        assert!(inside(&format!("echo x > {place}/written")).status.success(), "{place}");
    }
    assert!(!inside("cat /dev/sda").status.success());
    assert!(!house.machine.run(&["test", "-e", "/tmp/written"]).status.success(), "its own /tmp");
    let log = house.machine.ok(&["cat", "/var/log/restreamer/log"]);
    assert!(log.contains(r#""event":"listen""#), "{log}");
}

#[test]
fn several_nodes_run_side_by_side() {
    let house = House::new();
    let upstream = Upstream::start(&house.machine);
    for (name, port) in [("one", 8001_u16), ("two", 8002)] {
        let mut config = config(port, &upstream);
        config["side"] = json!(format!("127.0.0.1:{}", port + 1000));
        house.configure(name, &config);
    }
    house.systemctl(&["start", "restreamer@one", "restreamer@two"]);
    for (name, port) in [("one", 8001), ("two", 8002)] {
        let ask =
            |port, path: &str| Client::connect(&house.machine, port).unwrap().ask(path).unwrap();
        assert_eq!(ask(port, "/none"), 404);
        assert_eq!(ask(port + 1000, "/live"), 200);
        let unit = format!("restreamer@{name}");
        assert!(!house.log(&unit).is_empty());
        let tag = format!("restreamer-{name}");
        let tagged = house.machine.ok(&["journalctl", "-t", &tag, "-o", "cat"]);
        assert!(tagged.contains(&format!(":{port}")), "{tagged}");
    }
    house.systemctl(&["stop", "restreamer@one"]);
    assert!(Client::connect(&house.machine, 8001).is_err());
    assert_eq!(Client::connect(&house.machine, 8002).unwrap().ask("/none").unwrap(), 404);
}

/// The drop-in for the door, as it is installed.
fn door_drop_in() -> String {
    std::fs::read_to_string(repository().join("systemd/door.conf")).unwrap()
}

/// What curl says of a connection from another address of this host (curl(1), exit codes).
#[derive(Debug, PartialEq)]
enum Met {
    Answer,
    Reset,
    Silence,
}

impl House {
    fn from(&self, source: &str) -> Met {
        let url = "http://127.0.0.1:8000/none";
        let curl = ["curl", "--silent", "--max-time", "2", "--interface", source, url];
        let asked = self.machine.run(&curl);
        match asked.status.code() {
            Some(0) => Met::Answer,
            Some(56) => Met::Reset,
            Some(28) => Met::Silence,
            _ => panic!("{}", said(&asked)),
        }
    }

    fn side(&self, method: &str, path: &str) -> String {
        let url = format!("http://127.0.0.1:9470{path}");
        self.machine.ok(&["curl", "--silent", "--fail", "--request", method, &url])
    }
}

#[test]
fn the_door_is_in_the_kernel_with_its_drop_in_and_at_accept_without() {
    let house = House::with(&["--capability=CAP_BPF", "--system-call-filter=bpf"]);
    let upstream = Upstream::start(&house.machine);
    let mut config = config(8000, &upstream);
    config["door"] = json!({ "deny": ["127.9.0.0/16"] });
    house.configure("restreamer", &config);
    let whole = door_drop_in();
    let with = |line: &str, instead: &str| {
        assert!(whole.contains(&format!("\n{line}\n")), "{line}");
        whole.replace(line, instead)
    };
    for (drop_in, in_kernel, told) in [
        ("[Service]\n".to_owned(), 0, "CAP_BPF is missing"),
        (with("PrivateUsers=no", ""), 0, "user namespace"),
        (
            with("SystemCallFilter=bpf capset", "SystemCallFilter=capset"),
            0,
            "filter of system calls",
        ),
        (whole.clone(), 1, "the kernel keeps the door"),
    ] {
        house.drop_in("restreamer.service", &drop_in);
        let before = house.log("restreamer").len();
        house.systemctl(&["restart", "restreamer"]);
        let log = house.log("restreamer");
        let of_door = log[before..].iter().filter(|line| line["event"] == "door");
        let messages: Vec<_> = of_door.map(|line| line["message"].as_str().unwrap()).collect();
        let about = messages.iter().filter(|message| message.contains(told)).count();
        assert_eq!(about, 1, "{told}, once: {messages:?}");
        let metrics = house.side("GET", "/metrics");
        assert!(metrics.contains(&format!("restreamer_door_in_kernel {in_kernel}\n")), "{metrics}");
        let met = if in_kernel == 1 { Met::Silence } else { Met::Reset };
        assert_eq!(house.from("127.9.0.1"), met, "{told}");
        assert_eq!(house.from("127.0.0.1"), Met::Answer, "{told}");
        // It is given up, whether it was of use or not.
        let status = format!("/proc/{}/status", house.process("restreamer"));
        let status = std::fs::read_to_string(status).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let none = format!("{set}:\t0000000000000000\n");
            assert!(status.contains(&none), "{told}: {status}");
        }
    }
    // What is changed holds at once, and after a restart.
    assert_eq!(house.from("127.8.0.1"), Met::Answer);
    house.side("POST", "/door/deny?network=127.8.0.0/16");
    assert_eq!(house.from("127.8.0.1"), Met::Silence);
    let state = house.machine.ok(&["cat", "/var/lib/restreamer/door.json"]);
    assert!(state.contains("127.8.0.0/16"), "{state}");
    house.systemctl(&["restart", "restreamer"]);
    assert_eq!(house.from("127.8.0.1"), Met::Silence);
    house.side("POST", "/door/remove?network=127.8.0.0/16");
    assert_eq!(house.from("127.8.0.1"), Met::Answer);
    let log = house.log("restreamer");
    assert!(!log.iter().any(|line| line["error"] == "violation"), "{log:?}");
}

#[test]
fn systemd_has_nothing_against_the_units() {
    let house = House::new();
    // An instance stands for the template.
    let instances = ["restreamer.service", "restreamer@one.service", "restreamer.socket"];
    let verify = || {
        let verify = [&["systemd-analyze", "verify"], &instances[..]].concat();
        let verified = house.machine.run(&verify);
        assert!(verified.status.success(), "{}", said(&verified));
        assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    };
    let assert_exposed = |at_most: f64| {
        for service in &instances[..2] {
            let told = house.machine.ok(&["systemd-analyze", "security", "--no-pager", service]);
            let level =
                told.lines().find_map(|line| line.split_once("Overall exposure level for "));
            let (_, level) = level.unwrap_or_else(|| panic!("no level in {told}"));
            let number = level.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
            assert!(number.parse::<f64>().unwrap() <= at_most, "{told}");
        }
    };
    verify();
    assert_exposed(EXPOSURE);
    for service in &instances[..2] {
        house.drop_in(service, &door_drop_in());
    }
    verify();
    assert_eq!(house.show("restreamer@one", "AmbientCapabilities"), "cap_bpf");
    assert_exposed(EXPOSURE_WITH_DOOR);
    let configuration = std::fs::metadata(house.root.join("etc/restreamer")).unwrap();
    assert_eq!(configuration.permissions().mode() & 0o777, 0o750);
    let settings = repository().join("systemd/sysctl.d/60-restreamer.conf");
    for line in std::fs::read_to_string(settings).unwrap().lines() {
        let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") else { continue };
        let path = Path::new("/proc/sys").join(key.trim().replace('.', "/"));
        assert!(path.exists(), "the kernel has no {key}");
    }
}
