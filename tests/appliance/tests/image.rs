//! The container image: the same bytes each time, nothing in it but what is needed, and with that
//! alone it does what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use restreamer_appliance::engine::{Beside, Engine};
use restreamer_appliance::python::python;
use restreamer_appliance::{PATIENCE, debian, eventually, kept, output, repository, run, said};
use serde_json::{Value, json};

/// What an image may weigh, compressed.
const IMAGE_BYTES_MAX: u64 = 8_000_000;
/// A build takes two minutes of a core, and the first one compiles what lists the contents.
const BUILD_SECONDS: &str = "1500";
const PROGRAM: &str = "/usr/bin/restreamer";
const CONFIGURATION: &str = "/etc/restreamer/restreamer.json";
/// How the image is to run: what an operator is told to write.
const CONFINED: [&str; 10] = [
    // Should the test be killed, its containers do not outlive it for long.
    "--timeout=600",
    "--network=host",
    "--log-driver=k8s-file",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--ulimit=nofile=20000:20000",
    "--ulimit=nproc=1024:1024",
    "--env=HTTP_PROXY=",
    "--env=HTTPS_PROXY=",
];

/// A built image.
struct Image {
    dir: tempfile::TempDir,
    /// What the build has said: the digest of its manifest.
    digest: String,
}

impl Image {
    /// Builds the sources in a folder.
    fn build(sources: &Path) -> Image {
        std::fs::create_dir_all(kept()).unwrap();
        let dir = tempfile::tempdir_in(kept()).unwrap();
        let archive = dir.path().join("restreamer.oci.tar");
        let build = sources.join("image/build");
        let said = run("timeout", &[BUILD_SECONDS, "env", &path(), text(&build), text(&archive)]);
        let image = Image { dir, digest: said.trim_end().to_owned() };
        run("tar", &["-x", "-f", text(&archive), "-C", text(image.dir.path())]);
        image
    }

    /// The image of these sources; built once for all tests.
    fn of_ours() -> &'static Image {
        static BUILT: OnceLock<Image> = OnceLock::new();
        BUILT.get_or_init(|| Image::build(repository()))
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let path = self.dir.path().join(name);
        std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("restreamer.oci.tar")
    }

    fn contents(&self) -> PathBuf {
        self.dir.path().join("restreamer.cdx.json")
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        self.dir.path().join("blobs/sha256").join(digest)
    }

    /// A document that a descriptor leads to.
    fn document(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&std::fs::read(self.blob(&descriptor["digest"])).unwrap()).unwrap()
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&self.file("index.json")).unwrap()
    }

    fn manifest(&self) -> Value {
        self.document(&self.index()["manifests"][0])
    }

    fn layer(&self) -> PathBuf {
        self.blob(&self.manifest()["layers"][0]["digest"])
    }

    /// The layer's files, in a folder.
    fn unpack(&self) -> tempfile::TempDir {
        let root = tempfile::tempdir_in(kept()).unwrap();
        run("tar", &["-x", "-z", "-f", text(&self.layer()), "-C", text(root.path())]);
        root
    }
}

/// Where programs are, for an environment: what the first build has installed serves the others.
fn path() -> String {
    let tools = repository().join("target/image/tools/bin");
    format!("PATH={}:{}", std::env::var("PATH").unwrap(), text(&tools))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn sha256(path: &Path) -> String {
    run("sha256sum", &[text(path)]).split(' ').next().unwrap().to_owned()
}

/// The working tree as it is, as a checkout in another folder.
fn another_checkout() -> tempfile::TempDir {
    std::fs::create_dir_all(kept()).unwrap();
    let dir = tempfile::Builder::new().prefix("a folder elsewhere").tempdir_in(kept()).unwrap();
    let copy = format!(
        "git clone --quiet . '{0}' && git ls-files -z --cached --others --exclude-standard \
         | tar --null --no-recursion -T - -c | tar -x -C '{0}'",
        text(dir.path())
    );
    run("timeout", &["60", "sh", "-c", &copy]);
    dir
}

#[test]
fn two_folders_give_the_same_bytes() {
    let ours = Image::of_ours();
    let elsewhere = another_checkout();
    let theirs = Image::build(elsewhere.path());
    assert_eq!(ours.digest, theirs.digest, "the digests of the manifests");
    assert_eq!(sha256(&ours.archive()), sha256(&theirs.archive()), "the archives");
    assert_eq!(sha256(&ours.contents()), sha256(&theirs.contents()), "the lists of contents");
    assert_eq!(ours.index()["manifests"][0]["digest"], ours.digest.as_str());
}

#[test]
fn the_layout_is_sound_and_small() {
    let image = Image::of_ours();
    let (index, manifest) = (image.index(), image.manifest());
    let config = image.document(&manifest["config"]);
    let descriptors = [&index["manifests"][0], &manifest["config"], &manifest["layers"][0]];
    for descriptor in descriptors {
        let blob = image.blob(&descriptor["digest"]);
        assert_eq!(format!("sha256:{}", sha256(&blob)), descriptor["digest"].as_str().unwrap());
        assert_eq!(std::fs::metadata(&blob).unwrap().len(), descriptor["size"].as_u64().unwrap());
    }
    let blobs = std::fs::read_dir(image.dir.path().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, descriptors.len(), "and no blob beside them");
    assert_eq!(
        serde_json::from_slice::<Value>(&image.file("oci-layout")).unwrap(),
        json!({ "imageLayoutVersion": "1.0.0" })
    );

    let unpacked = Command::new("gzip").args(["-d", "-c", text(&image.layer())]).output().unwrap();
    let tar = image.dir.path().join("layer.tar");
    std::fs::write(&tar, unpacked.stdout).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&tar))]));
    let bytes = std::fs::metadata(image.archive()).unwrap().len();
    eprintln!("the image is {bytes} bytes, compressed");
    assert!(bytes <= IMAGE_BYTES_MAX, "{bytes} bytes");

    let run = &config["config"];
    assert_eq!(run["User"], "65532:65532");
    assert_eq!(run["Entrypoint"], json!([PROGRAM]));
    assert_eq!(run["Cmd"], json!([CONFIGURATION]));
    assert_eq!(run["StopSignal"], "SIGTERM");
    for key in ["title", "description", "licenses", "version", "revision", "created"] {
        let name = format!("org.opencontainers.image.{key}");
        let label = run["Labels"][&name].as_str().unwrap_or_else(|| panic!("no {name}"));
        assert!(!label.is_empty());
        assert_eq!(manifest["annotations"][&name], label);
    }
}

#[test]
fn the_program_a_configuration_and_nothing_else() {
    let image = Image::of_ours();
    let layer = image.layer();
    let listed = run("tar", &["--numeric-owner", "-t", "-v", "-z", "-f", text(&layer)]);
    let entries: Vec<_> = listed
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[1], words[5])
        })
        .collect();
    let expected = [
        "drwxr-xr-x 0/0 etc/",
        "drwxr-xr-x 0/0 etc/restreamer/",
        "-rw-r--r-- 0/0 etc/restreamer/restreamer.json",
        "drwxr-xr-x 0/0 usr/",
        "drwxr-xr-x 0/0 usr/bin/",
        "-rwxr-xr-x 0/0 usr/bin/restreamer",
    ];
    assert_eq!(entries, expected);

    let root = image.unpack();
    let program = root.path().join("usr/bin/restreamer");
    let sections = run("readelf", &["--sections", "--program-headers", "--wide", text(&program)]);
    for absent in [".symtab", ".debug_", "INTERP"] {
        assert!(!sections.contains(absent), "{absent} in {sections}");
    }
    let bytes = std::fs::read(&program).unwrap();
    let home = std::env::var("HOME").unwrap();
    for place in [text(repository()), &format!("{home}/")] {
        let found = bytes.windows(place.len()).any(|window| window == place.as_bytes());
        assert!(!found, "{place} is in the program");
    }
    let checked =
        output(text(&program), &["--check", text(&root.path().join(&CONFIGURATION[1..]))]);
    assert!(checked.status.success(), "{}", said(&checked));
}

/// `name version` of all that is linked in, the program itself excluded, as cargo says.
fn linked_in() -> BTreeSet<String> {
    let host = run("rustc", &["-vV"]);
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let tree = [
        "tree",
        "--locked",
        "--package",
        "restreamer",
        "--edges",
        "normal,no-proc-macro",
        "--target",
        host,
    ];
    let listed = run("cargo", &[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let named = listed.lines().skip(1).map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        format!("{name} {}", version.trim_start_matches('v'))
    });
    named.collect()
}

/// The checksums of `Cargo.lock`, by `name version`.
fn locked() -> BTreeMap<String, String> {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let of = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        let name = format!("{} {}", of(package, "name")?, of(package, "version")?);
        Some((name, of(package, "checksum")?))
    });
    packages.collect()
}

#[test]
fn all_that_is_linked_in_is_listed() {
    let image = Image::of_ours();
    let list: Value = serde_json::from_slice(&image.file("restreamer.cdx.json")).unwrap();
    assert_eq!(list["metadata"]["component"]["name"], "restreamer");
    assert_eq!(list["serialNumber"], Value::Null, "nothing by chance");
    let components = list["components"].as_array().unwrap();
    let name = |component: &Value| {
        let word = |key: &str| component[key].as_str().unwrap().to_owned();
        format!("{} {}", word("name"), word("version"))
    };
    let listed: BTreeSet<String> = components.iter().map(name).collect();
    assert_eq!(listed, linked_in());
    let has = |name: &str| listed.iter().any(|one| one.split(' ').next() == Some(name));
    for (name, is_linked_in) in [
        ("restreamer-sys", true),
        ("ring", true),
        ("serde_json", true),
        ("serde_derive", false), // runs in the compiler
        ("cc", false),           // builds ring
        ("proptest", false),     // of tests
        ("windows-sys", false),
    ] {
        assert_eq!(has(name), is_linked_in, "{name}");
    }

    let checksums = locked();
    let mut refs: BTreeSet<_> =
        components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
    refs.insert(list["metadata"]["component"]["bom-ref"].as_str().unwrap());
    for component in components {
        let of = name(component);
        assert!(component["licenses"].as_array().is_some_and(|all| !all.is_empty()), "{of}");
        assert!(component["purl"].as_str().unwrap().starts_with("pkg:cargo/"), "{of}");
        let hash = component["hashes"][0]["content"].as_str();
        assert_eq!(hash, checksums.get(&of).map(String::as_str), "{of}");
    }
    let dependencies = list["dependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), refs.len());
    for one in dependencies {
        let on = one["dependsOn"].as_array().into_iter().flatten().chain([&one["ref"]]);
        for reference in on {
            assert!(refs.contains(reference.as_str().unwrap()), "{reference} is nobody");
        }
    }
}

/// Says what the format's own schema has against a file.
const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(error and str(error.data.message))
";

#[test]
fn the_list_is_as_its_schema_wants_it() {
    let image = Image::of_ours();
    let answer = python(VALIDATE, &[text(&image.contents())]);
    assert!(answer.status.success(), "{}", said(&answer));
    let mut broken: Value = serde_json::from_slice(&image.file("restreamer.cdx.json")).unwrap();
    broken["components"][0]["colour"] = json!("green");
    let path = image.dir.path().join("broken.cdx.json");
    std::fs::write(&path, broken.to_string()).unwrap();
    let answer = python(VALIDATE, &[text(&path)]);
    assert!(said(&answer).contains("colour"), "{}", said(&answer));
}

/// Answers questions for addresses: one name is this host, no other exists.
struct Names {
    asked: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    fn start(socket: UdpSocket, known: &'static str) -> Names {
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (asked, stop) =
            (Arc::<Mutex<BTreeSet<String>>>::default(), Arc::<AtomicBool>::default());
        let shared = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !shared.1.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut question) else { continue };
                let (name, answer) = answer(&question[..length], known);
                shared.0.lock().unwrap().insert(name);
                socket.send_to(&answer, peer).unwrap();
            }
        });
        Names { asked, stop, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// The name that a question asks for, and the answer (RFC 1035, section 4).
fn answer(question: &[u8], known: &str) -> (String, Vec<u8>) {
    const HEAD_BYTES: usize = 12;
    const TYPE_A: u8 = 1;
    const NO_SUCH_NAME: u8 = 3;
    let (mut labels, mut at) = (Vec::new(), HEAD_BYTES);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    // The root's empty label, type and class.
    let (end, kind) = (at + 5, question[at + 2]);
    let name = labels.join(".");
    let is_address = name == known && kind == TYPE_A;
    let code = if name == known { 0 } else { NO_SUCH_NAME };
    let mut message = question[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    message.extend_from_slice(&question[HEAD_BYTES..end]);
    if is_address {
        // The question's name, type A, class IN, a second to live, four bytes.
        message.extend([0xc0, 0x0c, 0, TYPE_A, 0, 1, 0, 0, 0, 1, 0, 4]);
        message.extend(Ipv4Addr::LOCALHOST.octets());
    }
    (name, message)
}

/// A viewer who reads on until there is no more. Answers the body, once the first bytes of which
/// have come `begun` is called.
fn watch(mut socket: TcpStream, path: &str, begun: impl FnOnce()) -> std::io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
    let (mut all, mut buffer, mut begun) = (Vec::new(), vec![0; 65_536], Some(begun));
    let mut body = None;
    loop {
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..n]);
        body =
            body.or_else(|| all.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4));
        if body.is_some_and(|at| all.len() > at + 100_000)
            && let Some(begun) = begun.take()
        {
            begun();
        }
    }
    assert!(
        all.starts_with(b"HTTP/1.0 200 "),
        "{}",
        String::from_utf8_lossy(&all[..all.len().min(400)])
    );
    assert!(begun.is_none(), "only {} bytes came", all.len());
    Ok(all.split_off(body.unwrap()))
}

/// Asserts that a container is as confined as it was asked to be: by what the kernel says of it.
fn assert_confined(engine: &Engine, container: &str) {
    let pid = engine.inspect(container)["State"]["Pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        "Uid:\t65532\t65532\t65532\t65532",
        "Gid:\t65532\t65532\t65532\t65532",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.lines().any(|one| one == line), "no {line} in\n{status}");
    }
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.rfind(|words| words[4] == "/").expect("a root");
    assert!(root[5].split(',').any(|option| option == "ro"), "{root:?}");
}

fn profile() -> String {
    format!("--security-opt=seccomp={}", text(&repository().join("image/seccomp.json")))
}

/// Loads the image and answers its name.
fn load(engine: &Engine, image: &Image) -> String {
    let said = engine.ok(&["load", "--input", text(&image.archive())]);
    let name = said.lines().find_map(|line| line.strip_prefix("Loaded image: "));
    name.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn confined_it_serves_resolves_names_tells_its_health_and_drains() {
    const BY_DNS: &str = "origin.by-dns.test";
    const BY_HOSTS: &str = "origin.by-hosts.test";
    let image = Image::of_ours();
    let engine = Engine::start();
    let name = load(&engine, image);
    let names = engine.inside(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
    let names = Names::start(names, BY_DNS);
    // The origin is another node, of the same program, outside of any container.
    let root = image.unpack();
    let program = root.path().join(&PROGRAM[1..]);
    let listen = ["--listen", "127.0.0.1:7000", "--side", "127.0.0.1:7001"];
    let origin = [&["setpriv", "--reuid", "65533", text(&program), "demo"], &listen[..]].concat();
    let origin = Beside::start(&mut engine.command(&origin));

    let stream = |path: &str, host: &str| {
        let remote = format!("http://{host}:7000/demo.ts");
        json!({ "type": "stream", "serve": path, "remote": remote })
    };
    let config = json!({
        "listen": ":8000", "side": ":9470", "timeout": 2, "reconnect": 1, "refuse_with": 503,
        "resources": [stream("/dns.ts", BY_DNS), stream("/hosts.ts", BY_HOSTS)],
    });
    let file = root.path().join("mounted.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mount = format!("--volume={}:{CONFIGURATION}:ro", text(&file));
    let hosts = format!("--add-host={BY_HOSTS}:127.0.0.1");
    let more = ["--name=node", "--dns=127.0.0.1", &hosts, &mount, &profile(), &name];
    engine.ok(&[&["run", "--detach"], &CONFINED[..], &more].concat());
    eprintln!("run with podman");
    assert_confined(&engine, "node");

    let health = || engine.podman(&["exec", "node", PROGRAM, "health", "--all", CONFIGURATION]);
    eventually("both streams", || (health().status.code() == Some(0)).then_some(()));
    assert!(names.asked.lock().unwrap().contains(BY_DNS));
    for path in ["/dns.ts", "/hosts.ts"] {
        let url = format!("http://127.0.0.1:8000{path}");
        let probe =
            ["timeout", "30", "ffprobe", "-v", "error", "-of", "json", "-show_streams", &url];
        let probed = engine.command(&probe).output().unwrap();
        let shown: Value = serde_json::from_slice(&probed.stdout)
            .unwrap_or_else(|why| panic!("{why}: {}", said(&probed)));
        let codecs: BTreeSet<_> = shown["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["codec_name"].as_str().unwrap())
            .collect();
        assert_eq!(codecs, BTreeSet::from(["aac", "h264"]), "{shown}");
    }

    let viewer = engine.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 8000)).unwrap());
    let signalled = || {
        engine.ok(&["kill", "--signal", "TERM", "node"]);
    };
    let body = watch(viewer, "/dns.ts", signalled).expect("an orderly end");
    assert_eq!(body.len() % 188, 0, "whole packets");
    assert!(body.chunks(188).all(|packet| packet[0] == 0x47));
    assert_eq!(engine.ok(&["wait", "node"]), "0", "the exit code");
    let log = engine.podman(&["logs", "node"]);
    assert!(said(&log).contains("\"message\":\"stopped\""), "{}", said(&log));

    engine.ok(&["start", "node"]);
    eventually("both streams again", || (health().status.code() == Some(0)).then_some(()));
    drop(origin);
    let ill = eventually("illness", || Some(health()).filter(|one| !one.status.success()));
    assert_eq!(ill.status.code(), Some(1), "{}", said(&ill));
    let default = engine.podman(&["exec", "node", PROGRAM, "health", CONFIGURATION]);
    assert_eq!(default.status.code(), Some(1), "{}", said(&default));
    assert!(said(&default).contains("none of 2 streams is connected"), "{}", said(&default));
}

#[test]
fn with_nothing_mounted_what_is_sent_to_it_is_served() {
    let image = Image::of_ours();
    let engine = Engine::start();
    let name = load(&engine, image);
    engine.ok(&[&["run", "--detach", "--name=node"], &CONFINED[..], &[&profile(), &name]].concat());
    assert_confined(&engine, "node");
    let health = ["exec", "node", PROGRAM, "health", CONFIGURATION];
    eventually("health", || engine.podman(&health).status.success().then_some(()));
    let sample = repository().join("src/upstream/sample.ts");
    let to = "udp://127.0.0.1:5000?pkt_size=1316";
    let read = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", text(&sample)];
    let send = [&read[..], &["-c", "copy", "-f", "mpegts", to]].concat();
    let _encoder = Beside::start(&mut engine.command(&send));
    let viewer = engine.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 8000)).unwrap());
    let signalled = || {
        engine.ok(&["stop", "--time", "30", "node"]);
    };
    let body = watch(viewer, "/live.ts", signalled).expect("an orderly end");
    assert_eq!(body.len() % 188, 0, "whole packets");
    assert_eq!(engine.inspect("node")["State"]["ExitCode"], 0);
}

/// What the side port answers.
fn side(engine: &Engine, method: &str, path: &str) -> String {
    let mut socket = engine.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 9470)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "{method} {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    answer
}

/// What becomes of a connection: bytes, or an error.
fn met(engine: &Engine, address: IpAddr) -> std::io::Result<usize> {
    let to = (address, 8000).into();
    let mut socket =
        engine.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(500)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET /none HTTP/1.0\r\n\r\n")?;
    socket.read(&mut [0; 64])
}

#[test]
fn the_door_is_in_the_kernel_where_the_capability_is_given() {
    let image = Image::of_ours();
    let engine = Engine::start();
    let name = load(&engine, image);
    let dir = tempfile::tempdir_in(kept()).unwrap();
    let config = json!({
        "listen": ":8000", "side": ":9470",
        "resources": [{ "type": "stream", "serve": "/live.ts", "remote": "udp://:5000" }],
        "door": { "deny": ["127.0.0.0/8"], "state": "/var/lib/restreamer/door.json" },
    });
    let file = dir.path().join("mounted.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mount = format!("--volume={}:{CONFIGURATION}:ro", text(&file));
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    for (given, in_kernel, told, denied) in [
        (&[][..], 0, "CAP_BPF is missing", ErrorKind::ConnectionReset),
        (&["--cap-add=BPF"], 1, "the kernel keeps the door", ErrorKind::TimedOut),
        (&["--cap-add=BPF", "--user=0:0"], 1, "the kernel keeps the door", ErrorKind::TimedOut),
    ] {
        let run = ["run", "--detach", "--name=node", "--volume=door:/var/lib/restreamer:U", &mount];
        engine.ok(&[&run, &CONFINED[..], given, &[&profile(), &name]].concat());
        let log = || said(&engine.podman(&["logs", "node"]));
        eventually("a start", || log().contains("\"event\":\"listen\"").then_some(()));
        assert!(log().contains(told), "{told}: {}", log());
        let pid = engine.inspect("node")["State"]["Pid"].as_u64().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
        let metrics = side(&engine, "GET", "/metrics");
        assert!(metrics.contains(&format!("restreamer_door_in_kernel {in_kernel}\n")), "{metrics}");
        assert_eq!(met(&engine, v4).unwrap_err().kind(), denied, "{given:?}");
        assert!(met(&engine, v6).unwrap() > 0, "{given:?}");
        // The state is on a volume, which the next container has as well.
        let listed = side(&engine, "GET", "/door");
        let before = listed.contains("2001:db8::/32");
        assert_eq!(before, !given.is_empty(), "{listed}");
        let changed = side(&engine, "POST", "/door/deny?network=2001:db8::/32");
        assert!(changed.contains("\"saved\":true"), "{changed}");
        engine.ok(&["rm", "--force", "--time", "30", "node"]);
    }
}

/// An authority, and by it a certificate for this host: `ca.pem`, `leaf.pem` and `leaf.key`.
const CERTIFY: &str = "cd \"$1\"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
openssl req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=localhost
echo subjectAltName=DNS:localhost >names
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \\
    -out leaf.pem";

#[test]
fn https_takes_certificates_that_are_mounted() {
    const CONNECTED: &str = "\"event\":\"connected\"";
    let image = Image::of_ours();
    let dir = tempfile::tempdir_in(kept()).unwrap();
    run("sh", &["-e", "-c", CERTIFY, "sh", text(dir.path())]);
    let sample = repository().join("src/upstream/sample.ts");
    std::fs::copy(sample, dir.path().join("sample.ts")).unwrap();
    let engine = Engine::start();
    let name = load(&engine, image);
    let serve = "cd \"$1\" && exec openssl s_server -accept 4433 -key leaf.key -cert leaf.pem -WWW";
    let server = ["sh", "-c", serve, "sh", text(dir.path())];
    let _server = Beside::start(&mut engine.command(&server));
    let remote = "https://localhost:4433/sample.ts";
    let config = json!({
        "listen": ":8000", "side": ":9470", "reconnect": 1,
        "resources": [{ "type": "stream", "serve": "/a.ts", "remote": remote }],
    });
    let file = dir.path().join("mounted.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let file = format!("--volume={}:{CONFIGURATION}:ro", text(&file));
    let roots = dir.path().join("ca.pem");
    let roots = format!("--volume={}:/etc/ssl/certs/ca-certificates.crt:ro", text(&roots));
    let log_with = |mounts: &[&str], expected: &str| {
        let begin = ["run", "--detach", "--name=node"];
        engine.ok(&[&begin, &CONFINED[..], mounts, &[&profile(), &name]].concat());
        let log = || Some(said(&engine.podman(&["logs", "node"])));
        let log = eventually(expected, || log().filter(|log| log.contains(expected)));
        engine.ok(&["rm", "--force", "--time", "30", "node"]);
        log
    };
    let without = log_with(&[&file], "by nobody who is trusted");
    assert!(!without.contains(CONNECTED), "{without}");
    log_with(&[&file, &roots], CONNECTED);
}

/// Kind, mode, owner and hash of all below a folder.
fn described(engine: &Engine, folder: &str) -> String {
    let script = "cd \"$1\" && find . -mindepth 1 -printf '%P %y %m %U:%G\n' | sort && \
                  find . -type f -exec sha256sum {} + | sort";
    let output = engine.command(&["sh", "-c", script, "sh", folder]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_containerfile_gives_the_same_and_asks_for_health() {
    let image = Image::of_ours();
    let dir = tempfile::tempdir_in(kept()).unwrap();
    let root = dir.path().join("root");
    let build = repository().join("image/build");
    run("timeout", &[BUILD_SECONDS, text(&build), "--root", text(&root)]);
    let engine = Engine::start();
    let file = repository().join("image/Containerfile");
    let build = ["build", "--quiet", "--format=docker", "--network=none", "--tag=by-file"];
    engine.ok(&[&build[..], &["--file", text(&file), text(&root)]].concat());
    let name = load(&engine, image);
    let [ours, theirs] = [&name, "by-file"].map(|image| engine.ok(&["image", "mount", image]));
    let listed = described(&engine, &ours);
    assert!(listed.contains("usr/bin/restreamer f 755 0:0"), "{listed}");
    assert_eq!(listed, described(&engine, &theirs));
    let [ours, theirs] = [&name, "by-file"].map(|image| engine.inspect(image)["Config"].clone());
    for key in ["User", "ExposedPorts", "Entrypoint", "Cmd", "WorkingDir", "StopSignal"] {
        assert!(ours[key] != Value::Null, "{key}");
        assert_eq!(ours[key], theirs[key], "{key}");
    }

    engine.ok(&[&["run", "--detach", "--name=node"], &CONFINED[..], &["by-file"]].concat());
    eventually("health", || {
        engine.podman(&["healthcheck", "run", "node"]).status.success().then_some(())
    });
    engine.ok(&["stop", "--time", "30", "node"]);
    assert!(!engine.podman(&["healthcheck", "run", "node"]).status.success());
}

/// Tries system calls and says how each went. Their numbers are its arguments: Debian's smallest
/// Perl has no header of them.
const TRY: &str = r#"
my ($bpf, $mount, $keyctl, $getpid) = map { $_ + 0 } @ARGV;
my $map = pack("LLLLx100", 2, 4, 4, 1); # bpf(2): an array of one value
my ($from, $to, $kind) = ("a", "/mnt", "tmpfs");
my %tries = (
    bpf => sub { syscall($bpf, 0, $map, length $map) },
    mount => sub { syscall($mount, $from, $to, $kind, 0, 0) },
    keyctl => sub { syscall($keyctl, 0, -3, 0) },
    getpid => sub { syscall($getpid) },
);
for (sort keys %tries) { $! = 0; printf "%s %s\n", $_, $tries{$_}->() < 0 ? $! + 0 : "ok"; }
"#;

#[test]
fn the_profile_allows_bpf_to_whom_it_is_given_and_nothing_strange() {
    const EPERM: &str = "1";
    let debian = debian();
    let script = debian.path().join("root/try.pl");
    std::fs::write(&script, TRY).unwrap();
    // As asm/unistd.h has them.
    let numbers = if cfg!(target_arch = "aarch64") {
        ["280", "40", "219", "172"]
    } else {
        ["321", "165", "250", "39"]
    };
    let engine = Engine::start();
    let root = debian.path().join("root");
    let tried = |more: &[&str]| -> BTreeMap<String, String> {
        let limits = ["--ulimit=nofile=20000:20000", "--ulimit=nproc=1024:1024"];
        let run = [
            "run",
            "--detach",
            "--name=try",
            "--network=host",
            "--log-driver=k8s-file",
            "--timeout=600",
        ];
        let all = [&run[..], &["--cap-drop=all"], &limits, more, &["--rootfs", text(&root)]];
        engine.ok(&[&all.concat()[..], &["perl", "/try.pl"], &numbers].concat());
        let code = engine.ok(&["wait", "try"]);
        let said = engine.ok(&["logs", "try"]);
        assert_eq!(code, "0", "{said}");
        engine.ok(&["rm", "try"]);
        let pairs = said.lines().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(call, answer)| (call.into(), answer.into())).collect()
    };
    let profile = profile();
    let plain = tried(&[&profile]);
    for (call, answer) in [("getpid", "ok"), ("bpf", EPERM), ("mount", EPERM), ("keyctl", EPERM)] {
        assert_eq!(plain[call], answer, "{call}: {plain:?}");
    }
    let given = tried(&[&profile, "--cap-add=BPF"]);
    assert_eq!((given["bpf"].as_str(), given["keyctl"].as_str()), ("ok", EPERM), "{given:?}");
    let unconfined = tried(&["--security-opt=seccomp=unconfined"]);
    assert_eq!(unconfined["keyctl"], "ok", "it is the profile that refuses: {unconfined:?}");
}
