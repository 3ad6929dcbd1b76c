//! Prometheus reads all that a node tells, and its own tool finds no fault with that.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::broadcast;
use support::crowd::{Crowd, Pace};
use support::datagram::{PACKETS, rtp};
use support::node::{Node, repository, stream};
use support::packets::{PACKET_BYTES, packets};
use support::tool::Tool;
use support::upstream::{Kind, Peer, Upstream, accept, read_head};
use support::{eventually, http};

/// What the original counts, and the labels. Dashboards know these names, though a counter's name
/// should end in `_total`.
const COUNTERS: [(&str, &[&str]); 7] = [
    ("streaming_packets_sent", &["stream"]),
    ("streaming_bytes_sent", &["stream"]),
    ("streaming_packets_dropped", &["stream"]),
    ("streaming_bytes_dropped", &["stream"]),
    ("streaming_duration", &["stream"]),
    ("streaming_packets_received", &["stream", "url"]),
    ("streaming_bytes_received", &["stream", "url"]),
];
/// What else it shows.
const GAUGES: [(&str, &[&str]); 2] =
    [("streaming_connections", &["stream"]), ("streaming_source_connected", &["stream", "url"])];
/// The standard metrics of a process.
const PROCESS: [&str; 6] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
];

#[test]
fn prometheus_reads_every_metric_on_both_ports() {
    let eventful = Eventful::start();
    let node = &eventful.node;
    let prometheus = Prometheus::scraping(node);
    let before = Told::by(node);
    assert_eq!(before.names_of_ours(), names_in_the_source(), "what is counted is told");
    for name in PROCESS {
        assert!(before.kinds.contains_key(name), "{name}");
    }

    prometheus.await_scrapes();
    let names: BTreeSet<_> = before.samples.keys().map(|series| &series.name).collect();
    let read: Vec<_> = names.iter().flat_map(|name| prometheus.query(name)).collect();
    let after = Told::by(node);
    for job in ["side", "main"] {
        let read = read.iter().filter(|sample| sample.job == job);
        let read: BTreeMap<_, _> = read.map(|sample| (&sample.series, &sample.value)).collect();
        for (series, value) in &before.samples {
            let found = read.get(series).unwrap_or_else(|| panic!("{job} has no {series:?}"));
            // A counter that is the same later was the same in between.
            if before.is_counter(series) && after.samples[series] == *value {
                assert_eq!(*found, value, "{job}: {series:?}");
            }
        }
        for series in read.keys() {
            assert!(after.samples.contains_key(series), "{job}: {series:?} is not the node's");
        }
        for (name, labels) in COUNTERS.iter().chain(&GAUGES) {
            let of_it = || before.samples.iter().filter(|(series, _)| series.name == *name);
            for (series, value) in of_it() {
                assert!(series.labels.keys().eq(*labels), "{series:?}");
                assert_eq!(after.samples[series], *value, "{series:?} stands still");
                assert_eq!(read[series], value, "{job}: {series:?}");
            }
            assert!(of_it().any(|(_, value)| value != "0"), "{name} has moved");
        }
    }
    let up = prometheus.query("up");
    assert!(up.len() == 2 && up.iter().all(|up| up.value == "1"), "{up:?}");
}

#[test]
fn passwords_are_in_no_label() {
    let eventful = Eventful::start();
    let text = http::get(eventful.node.side, "/metrics").text();
    assert!(text.contains("url=\"http://operator:***@127.0.0.1:"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn promtool_complains_of_nothing_but_names_of_the_contract() {
    let eventful = Eventful::start();
    let node = &eventful.node;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let text = http::get(node.side, "/metrics").body;
    // It reads to the end before it says anything.
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let complaints: BTreeSet<_> = said.iter().flat_map(|text| text.lines()).collect();
    let should_be_total =
        |(name, _)| format!("{name} counter metrics should have \"_total\" suffix");
    let expected = COUNTERS.map(should_be_total);
    assert_eq!(complaints, expected.iter().map(String::as_str).collect());
}

/// Where the alerts are, and what is expected of them.
const RULES: [&str; 2] =
    ["image/prometheus/restreamer.rules.yml", "image/prometheus/restreamer.rules.test.yml"];

#[test]
fn promtool_finds_the_alerts_sound_and_each_fires_and_is_quiet_when_it_should() {
    for (what, file) in ["check", "test"].into_iter().zip(RULES) {
        let mut command = Command::new("timeout");
        command.args(["60", "promtool", what, "rules"]).arg(repository(file));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{what}: {}", said.concat());
    }
    let [rules, tests] = RULES.map(|file| fs::read_to_string(repository(file)).unwrap());
    let lines = rules.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let alerts: Vec<_> = lines.filter_map(|line| line.strip_prefix("alert: ")).collect();
    assert!(alerts.len() > 30, "{alerts:?}");
    for alert in alerts {
        let asked = format!("- expr: 'ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}'\n");
        let asked: Vec<_> = tests.split(&asked).skip(1).collect();
        let answers = asked.iter().map(|test| test.lines().nth(1).unwrap().trim());
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers, ["exp_samples: []", "exp_samples:"], "{alert}: quiet, then firing");
    }
}

#[test]
fn alerts_speak_of_metrics_that_a_node_tells() {
    let told = Told::by(&Eventful::start().node);
    let exposed: BTreeSet<_> = told.samples.keys().map(|series| series.name.as_str()).collect();
    let rules = fs::read_to_string(repository(RULES[0])).unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words: BTreeSet<_> = rules.split(|c| !is_name(c)).collect();
    let recorded = |word: &str| rules.contains(&format!("record: {word}\n"));
    let named: Vec<_> = words
        .into_iter()
        .filter(|word| is_ours(word) || word.starts_with("process_") || word.contains(":restr"))
        .filter(|word| !recorded(word))
        .collect();
    assert!(named.len() > 25, "{named:?}");
    for name in named {
        assert!(exposed.contains(name), "no node tells {name}");
    }
}

/// A node on which everything has happened that moves a metric of the contract, and nothing
/// happens any more. A viewer of `/rtp.ts` has stayed.
struct Eventful {
    node: Node,
    _upstream: Peer,
    _viewer: TcpStream,
}

impl Eventful {
    fn start() -> Eventful {
        let dir = tempfile::tempdir().unwrap();
        let http = Upstream::open(Kind::Http, dir.path());
        let lost = Upstream::open(Kind::Tcp, dir.path());
        let rtp_port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let told = TcpListener::bind("127.0.0.1:0").unwrap();
        let notification = |event: &str| {
            let url = format!("http://{}/{event}", told.local_addr().unwrap());
            json!({ "event": event, "type": "url", "url": url })
        };
        let readme = format!("file://{}", repository("README.md").display());
        let node = Node::with(&json!({
            "reconnect": 0,
            "outputbuffer": 100,
            "fullconnections": 1,
            "maxconnections": 1,
            "door": { "rate": { "per_second": 1000, "burst": 1000 } },
            "notifications": [notification("limit_hit"), notification("limit_miss")],
            "resources": [
                stream("/http.ts", &http.url.replace("//", "//operator:s3cret@")),
                stream("/rtp.ts", &format!("rtp://127.0.0.1:{rtp_port}")),
                stream("/lost.ts", &lost.url),
                { "type": "static", "serve": "/readme", "remote": readme, "cache": 60 },
                { "type": "api", "api": "prometheus", "serve": "/prometheus" },
            ],
        }));
        let mut upstream = http.accept();
        drop(lost.accept());
        for _ in 0..3 {
            node.await_connected();
        }
        node.await_count("restreamer_upstream_losses_total", "/lost.ts", 1);

        upstream.write_all(&broadcast::numbered(&broadcast::clean(0, 3000)).concat()).unwrap();
        node.await_metric("restreamer_gop_seconds", "/http.ts", |seconds| seconds > 0.0);
        skip_a_viewer(&node, &mut upstream, &told);
        assert_eq!(http::ask(node.address, b"GET /readme HTTP/1.0\r\n\r\n").status, 200);
        let mut viewer = http::watch(node.address, "/rtp.ts");
        be_told(&told, "limit_hit");
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..10 {
            sender.send_to(&rtp(number), ("127.0.0.1", rtp_port)).unwrap();
        }
        let bytes = 10 * PACKETS * PACKET_BYTES as u64;
        http::read_bytes(&mut viewer, bytes.try_into().unwrap());
        node.await_count("streaming_bytes_sent", "/rtp.ts", bytes);
        node.await_count("restreamer_notifications_total", "delivered", 3);
        Eventful { node, _upstream: upstream, _viewer: viewer }
    }
}

/// Has a viewer come who reads nothing, until it is skipped; meanwhile another one is refused.
fn skip_a_viewer(node: &Node, upstream: &mut Peer, told: &TcpListener) {
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/http.ts", 1, Pace::Stalled);
    be_told(told, "limit_hit");
    assert_eq!(http::get(node.address, "/rtp.ts").status, 404, "the node is full");
    let burst = packets(0..1000);
    eventually("a viewer who is skipped", || {
        upstream.write_all(&burst).unwrap();
        (node.count("restreamer_skips_total", "/http.ts") > 0).then_some(())
    });
    drop(crowd);
    be_told(told, "limit_miss");
}

/// Takes a notification of this event.
fn be_told(told: &TcpListener, event: &str) {
    let mut peer = accept(told);
    let head = read_head(&mut peer);
    assert!(head.starts_with(&format!("GET /{event} ")), "{head}");
    peer.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
}

/// The names of our metrics, the contract's among them, as they stand in the source.
fn names_in_the_source() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let files = fs::read_dir(repository("src/metrics")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    for file in files.chain([repository("src/metrics.rs")]) {
        let text = fs::read_to_string(file).unwrap();
        // A test may look for a part of a name.
        let text = text.split("#[cfg(test)]").next().unwrap();
        let words = text.split('"').filter(|word| is_ours(word));
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        names.extend(words.filter(is_name).map(str::to_owned));
    }
    names
}

fn is_ours(name: &str) -> bool {
    name.starts_with("restreamer_") || name.starts_with("streaming_")
}

/// A number in the one of its many spellings that we compare.
fn number(text: &str) -> String {
    text.parse::<f64>().unwrap().to_string()
}

/// A name with labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Series {
    fn new(name: &str, mut labels: BTreeMap<String, String>) -> Series {
        if let Some(bound) = labels.get_mut("le") {
            *bound = number(bound);
        }
        Series { name: name.to_owned(), labels }
    }
}

/// What a node tells in the text format.
struct Told {
    /// Of each family.
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<Series, String>,
}

impl Told {
    fn by(node: &Node) -> Told {
        let text = http::get(node.side, "/metrics").text();
        let mut told = Told { kinds: BTreeMap::new(), samples: BTreeMap::new() };
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                told.kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) =
                    series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
                let labels = labels.split_terminator(',').map(|label| {
                    let (key, value) = label.split_once('=').unwrap();
                    (key.to_owned(), value.trim_matches('"').to_owned())
                });
                told.samples.insert(Series::new(name, labels.collect()), number(value));
            }
        }
        told
    }

    fn names_of_ours(&self) -> BTreeSet<String> {
        self.kinds.keys().filter(|name| is_ours(name)).cloned().collect()
    }

    /// Whether it can only grow. A histogram consists of counters.
    fn is_counter(&self, series: &Series) -> bool {
        self.kinds.get(&series.name).is_none_or(|kind| kind == "counter")
    }
}

/// A Prometheus of the test's own.
struct Prometheus {
    address: SocketAddr,
    _tool: Tool,
    /// Its configuration, storage and log.
    _dir: tempfile::TempDir,
}

/// What it has read.
#[derive(Debug)]
struct Scraped {
    job: String,
    series: Series,
    value: String,
}

impl Prometheus {
    /// One that reads from the node every second: from its side port, and from its main port.
    fn scraping(node: &Node) -> Prometheus {
        let dir = tempfile::tempdir().unwrap();
        let job = |name: &str, address: SocketAddr, path: &str| {
            let targets = json!([{ "targets": [address.to_string()] }]);
            json!({ "job_name": name, "metrics_path": path, "static_configs": targets })
        };
        let jobs = [job("side", node.side, "/metrics"), job("main", node.address, "/prometheus")];
        let config = json!({ "global": { "scrape_interval": "1s" }, "scrape_configs": jobs });
        // JSON is YAML.
        fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
        let log = dir.path().join("log");
        let mut command = Command::new("prometheus");
        command.current_dir(dir.path()).stdin(Stdio::null());
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=storage"]);
        command.args(["--web.listen-address=127.0.0.1:0", "--log.level=info"]);
        let tool = Tool::start_logging(&mut command, &log);
        let address = eventually("Prometheus listens", || {
            let text = fs::read_to_string(&log).unwrap();
            let line = text.lines().find(|line| line.contains("msg=\"Listening on\""))?;
            line.split_once("address=")?.1.parse().ok()
        });
        eventually("Prometheus is ready", || {
            (http::ask(address, b"GET /-/ready HTTP/1.0\r\n\r\n").status == 200).then_some(())
        });
        Prometheus { address, _dir: dir, _tool: tool }
    }

    /// The newest value of each series that the query finds.
    fn query(&self, query: &str) -> Vec<Scraped> {
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n");
        let answer = http::ask(self.address, request.as_bytes());
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let found = answer["data"]["result"].as_array().unwrap();
        found.iter().map(Scraped::parse).collect()
    }

    /// Waits until everything has been read that there is to read now.
    fn await_scrapes(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        eventually("two scrapes", || {
            let times = self.query("timestamp(up)");
            (times.len() == 2 && times.iter().all(|time| time.value.parse::<f64>().unwrap() > now))
                .then_some(())
        });
    }
}

impl Scraped {
    fn parse(found: &Value) -> Scraped {
        let labels = serde_json::from_value(found["metric"].clone()).unwrap();
        let mut labels: BTreeMap<String, String> = labels;
        let job = labels.remove("job").unwrap();
        labels.remove("instance").unwrap();
        // A function's result has none.
        let name = labels.remove("__name__").unwrap_or_default();
        let value = number(found["value"][1].as_str().unwrap());
        Scraped { job, series: Series::new(&name, labels), value }
    }
}
