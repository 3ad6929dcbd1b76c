//! The manifests for Kubernetes: as the schemas want them, and true of this program.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use restreamer_appliance::engine::{Beside, Engine};
use restreamer_appliance::python::{programs, python};
use restreamer_appliance::{eventually, kept, output, repository, run, said};
use serde_json::Value;

/// The oldest version that is still cared for, about, and the newest whose schema is known.
const VERSIONS: [&str; 2] = ["1.31", "1.37"];
/// The side port of all configurations.
const SIDE: u16 = 9470;

/// A document of a manifest.
struct Document {
    file: PathBuf,
    value: Value,
}

impl Document {
    fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or("none")
    }

    /// The container that a Deployment or `DaemonSet` runs.
    fn container(&self) -> &Value {
        let containers = &self.value["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers.as_array().map(Vec::len), Some(1), "{}", self.file.display());
        &containers[0]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["edge", "node", "monitoring"] {
        let folder = repository().join("image/kubernetes").join(folder);
        files.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    files.push(repository().join("image/kubernetes/adapter-values.yaml"));
    files.sort();
    files
}

/// Whether Kubernetes itself knows the kinds in a file.
fn is_clusters_own(file: &Path) -> bool {
    ["edge", "node"].iter().any(|folder| file.parent().is_some_and(|of| of.ends_with(folder)))
}

/// All documents of all files.
fn documents() -> &'static [Document] {
    const TO_JSON: &str = "
import json, sys, yaml
print(json.dumps([[f, d] for f in sys.argv[1:] for d in yaml.safe_load_all(open(f))]))
";
    static READ: OnceLock<Vec<Document>> = OnceLock::new();
    READ.get_or_init(|| {
        let files = files();
        let names: Vec<_> = files.iter().map(|file| text(file)).collect();
        let answer = python(TO_JSON, &names);
        assert!(answer.status.success(), "{}", said(&answer));
        let all: Vec<(PathBuf, Value)> = serde_json::from_slice(&answer.stdout).unwrap();
        all.into_iter().map(|(file, value)| Document { file, value }).collect()
    })
}

/// The documents of a kind, at least one.
fn of_kind(kind: &str) -> Vec<&'static Document> {
    let found: Vec<_> = documents().iter().filter(|one| one.kind() == kind).collect();
    assert!(!found.is_empty(), "no {kind}");
    found
}

/// What runs pods.
fn workloads() -> Vec<&'static Document> {
    [of_kind("Deployment"), of_kind("DaemonSet")].concat()
}

/// Whether all labels that are asked for are there.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().expect("a selector");
    assert!(!wanted.is_empty(), "a selector of everything");
    wanted.iter().all(|(key, value)| labels[key] == *value)
}

/// Whose pods a Service selects: those beside it, and no others.
fn behind(service: &Document) -> &'static Document {
    let selector = &service.value["spec"]["selector"];
    let found = workloads().into_iter().filter(|one| selects(selector, pod_labels(one)));
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{selector}");
    assert_eq!(found[0].file.parent(), service.file.parent(), "{selector}");
    found[0]
}

fn pod_labels(workload: &Document) -> &Value {
    &workload.value["spec"]["template"]["metadata"]["labels"]
}

/// What the schemas say of a file, and whether that is nothing but praise: a kind that they do not
/// know is a mere warning.
fn validate(file: &Path, version: &str) -> (bool, String) {
    let validator = programs().join("kubernetes-validate");
    let arguments = ["60", text(&validator), "-k", version, "--strict", text(file)];
    let answer = output("timeout", &arguments);
    let said = said(&answer);
    (answer.status.success() && !said.contains("WARN"), said)
}

#[test]
fn the_schemas_know_every_key() {
    for version in VERSIONS {
        let mut validated = 0;
        for file in files().iter().filter(|file| is_clusters_own(file)) {
            let (is_valid, said) = validate(file, version);
            assert!(is_valid, "{version}: {said}");
            validated += said.matches(" passed for resource ").count();
        }
        let known = documents().iter().filter(|one| is_clusters_own(&one.file));
        assert_eq!(validated, known.count(), "{version}");
    }
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    std::fs::create_dir_all(kept()).unwrap();
    let dir = tempfile::tempdir_in(kept()).unwrap();
    for (file, from, to) in [
        ("edge/deployment.yaml", "readinessProbe:", "readynessProbe:"),
        ("edge/deployment.yaml", "failureThreshold: 30", "failureThreshold: often"),
        ("edge/autoscaler.yaml", "averageValue: \"700\"", "average: \"700\""),
        ("edge/budget.yaml", "policy/v1", "policy/v7"),
        ("node/daemonset.yaml", "hostNetwork: true", "hostNetwork: 10G"),
    ] {
        let whole =
            std::fs::read_to_string(repository().join("image/kubernetes").join(file)).unwrap();
        assert!(whole.contains(from), "{from} in {file}");
        let broken = dir.path().join("broken.yaml");
        std::fs::write(&broken, whole.replacen(from, to, 1)).unwrap();
        let (is_valid, said) = validate(&broken, VERSIONS[0]);
        assert!(!is_valid, "{file} with {to}: {said}");
    }
}

/// A line of a manifest as it is without its `#`, where that leaves a key or an item.
fn uncommented(line: &str) -> String {
    let Some((indent, offered)) = line.split_once("# ") else { return line.to_owned() };
    let of_key = |(key, _): (&str, &str)| {
        key.starts_with(char::is_lowercase) && key.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let begun = offered.trim_start();
    let is_key = begun.starts_with("- ") || begun.split_once(':').is_some_and(of_key);
    let is_offer = is_key && indent.trim().is_empty();
    if is_offer { format!("{indent}{offered}") } else { line.to_owned() }
}

#[test]
fn what_comments_offer_is_known_as_well() {
    std::fs::create_dir_all(kept()).unwrap();
    let dir = tempfile::tempdir_in(kept()).unwrap();
    for (file, offers) in [
        ("edge/deployment.yaml", &["mountPath: /etc/ssl/certs"][..]),
        ("node/daemonset.yaml", &["mountPath: /etc/ssl/certs", "- BPF", "runAsUser: 0"]),
    ] {
        let whole = repository().join("image/kubernetes").join(file);
        let whole = std::fs::read_to_string(whole).unwrap();
        let lines: Vec<_> = whole.lines().map(uncommented).collect();
        for offer in offers {
            assert!(lines.iter().any(|line| line.trim() == *offer), "{offer} in {file}");
        }
        let taken = dir.path().join("taken.yaml");
        std::fs::write(&taken, lines.join("\n")).unwrap();
        let (is_valid, said) = validate(&taken, VERSIONS[0]);
        assert!(is_valid, "{file}: {said}");
    }
}

#[test]
fn what_belongs_together_finds_each_other() {
    for workload in workloads() {
        let selector = &workload.value["spec"]["selector"]["matchLabels"];
        assert!(selects(selector, pod_labels(workload)), "{}", workload.file.display());
    }
    let deployment = of_kind("Deployment")[0];
    for service in of_kind("Service") {
        let ports = behind(service).container()["ports"].as_array().unwrap();
        for port in service.value["spec"]["ports"].as_array().unwrap() {
            assert!(ports.iter().any(|one| one["name"] == port["targetPort"]), "{port}");
        }
    }
    let budget = &of_kind("PodDisruptionBudget")[0].value["spec"];
    assert!(selects(&budget["selector"]["matchLabels"], pod_labels(deployment)));
    let target = &of_kind("HorizontalPodAutoscaler")[0].value["spec"]["scaleTargetRef"];
    for key in ["kind", "apiVersion"] {
        assert_eq!(target[key], deployment.value[key]);
    }
    assert_eq!(target["name"], deployment.value["metadata"]["name"]);
}

/// No package at hand brings the operator's schema: the few keys that there are are known here.
#[test]
fn the_service_monitor_finds_the_side_ports_and_them_alone() {
    let monitor = &of_kind("ServiceMonitor")[0].value;
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    let spec = monitor["spec"].as_object().unwrap();
    assert_eq!(spec.keys().collect::<Vec<_>>(), ["endpoints", "jobLabel", "selector"]);
    let services = of_kind("Service");
    let labels = |one: &Document| one.value["metadata"]["labels"].clone();
    let found =
        services.iter().filter(|one| selects(&spec["selector"]["matchLabels"], &labels(one)));
    let found: Vec<_> = found.collect();
    let mut of: Vec<_> = found.iter().map(|service| behind(service).kind()).collect();
    of.sort_unstable();
    assert_eq!(of, ["DaemonSet", "Deployment"], "every node is scraped");
    let endpoints = spec["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    let keys: Vec<_> = endpoints[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["interval", "path", "port", "scrapeTimeout"]);
    // The name of the job is the value of that label (jobLabel in the operator's reference).
    let rules = repository().join("image/prometheus/restreamer.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let job_label = spec["jobLabel"].as_str().unwrap();
    for service in found {
        let ports = &service.value["spec"]["ports"];
        assert_eq!(endpoints[0]["port"], ports[0]["name"]);
        assert_eq!(ports[0]["port"], SIDE);
        assert_eq!(service.value["spec"]["publishNotReadyAddresses"], true);
        let job = labels(service)[job_label].as_str().expect("a job").to_owned();
        assert!(rules.contains(&format!("absent(up{{job=\"{job}\"}})")), "no rule knows {job}");
        let others =
            rules.matches("job=\"").count() - rules.matches(&format!("job=\"{job}\"")).count();
        assert_eq!(others, 0, "rules of other jobs");
    }
}

#[test]
fn pods_are_confined() {
    for workload in workloads() {
        let spec = &workload.value["spec"]["template"]["spec"];
        let at = workload.file.display();
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{at}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{at}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{at}");
        let own = &workload.container()["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false, "{at}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{at}");
        assert_eq!(own["capabilities"], serde_json::json!({ "drop": ["ALL"] }), "{at}");
    }
}

/// The program of these sources.
fn program() -> PathBuf {
    let build = ["build", "--quiet", "--profile", "checked", "--locked", "--bin", "restreamer"];
    run("cargo", &build);
    kept().parent().unwrap().join("checked/restreamer")
}

/// The configurations, each in a file.
fn configurations(dir: &Path) -> BTreeMap<String, PathBuf> {
    let write = |map: &Document| {
        let name = map.value["metadata"]["name"].as_str().unwrap().to_owned();
        let file = dir.join(format!("{name}.json"));
        std::fs::write(&file, map.value["data"]["restreamer.json"].as_str().unwrap()).unwrap();
        (name, file)
    };
    of_kind("ConfigMap").into_iter().map(write).collect()
}

/// Status and body of an answer of the side port.
fn ask(engine: &Engine, path: &str) -> std::io::Result<(u16, String)> {
    let mut socket = engine.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, SIDE)))?;
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, answer))
}

#[test]
fn the_program_does_what_the_manifests_ask_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (program, configurations) = (program(), configurations(dir.path()));
    for workload in workloads() {
        let at = workload.file.display();
        let container = workload.container();
        let volume = &workload.value["spec"]["template"]["spec"]["volumes"][0];
        let file = &configurations[volume["configMap"]["name"].as_str().unwrap()];
        assert_eq!(container["volumeMounts"][0]["name"], volume["name"], "{at}");
        assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/restreamer", "{at}");
        let checked = output(text(&program), &["--check", text(file)]);
        assert!(checked.status.success(), "{at}: {}", said(&checked));

        let engine = Engine::start();
        let node = Beside::start(&mut engine.command(&[text(&program), text(file)]));
        eventually("the side port", || ask(&engine, "/metrics").ok());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], "side", "{at}");
            let (status, answer) = ask(&engine, get["path"].as_str().unwrap()).unwrap();
            assert_eq!(status, 200, "{at}: {probe}: {answer}");
        }
        assert_metrics(&ask(&engine, "/metrics").unwrap().1);
        assert_drains(&engine, workload, &program, file);
        let ready = container["readinessProbe"]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(ask(&engine, ready).unwrap().0, 503, "{at}: it drains");
        let live = container["livenessProbe"]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(ask(&engine, live).unwrap().0, 200, "{at}: it drains and lives");
        drop(node);
    }
}

/// Runs what is to be run before a pod goes; there is time enough for it.
fn assert_drains(engine: &Engine, workload: &Document, program: &Path, file: &Path) {
    let command = &workload.container()["lifecycle"]["preStop"]["exec"]["command"];
    let command: Vec<_> = command.as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    let [name, drain, wait, seconds, configuration] = command[..] else { panic!("{command:?}") };
    assert_eq!((name, drain, wait), ("/usr/bin/restreamer", "drain", "--wait"));
    assert_eq!(configuration, "/etc/restreamer/restreamer.json");
    let grace = &workload.value["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let seconds_of_it: u64 = seconds.parse().unwrap();
    assert!(grace.as_u64().unwrap() >= seconds_of_it + 20, "{grace} s for {seconds} s and an end");
    let all = ["timeout", "60", text(program), drain, wait, seconds, text(file)];
    let drained = engine.command(&all).output().unwrap();
    assert!(drained.status.success(), "{}", said(&drained));
}

/// What the autoscaler goes by is made of metrics that there are.
fn assert_metrics(exposed: &str) {
    let adapter = documents().iter().find(|one| one.file.ends_with("adapter-values.yaml")).unwrap();
    let rules = adapter.value["rules"]["custom"].as_array().unwrap();
    let mut made = Vec::new();
    for rule in rules {
        let (series, labels) = rule["seriesQuery"].as_str().unwrap().split_once('{').unwrap();
        assert!(labels.contains("pod!=") && labels.contains("namespace!="));
        let sample =
            |line: &str| line.strip_prefix(series).is_some_and(|rest| rest.starts_with('{'));
        assert!(exposed.lines().any(sample), "no {series} in\n{exposed}");
        made.push(&rule["name"]["as"]);
    }
    let autoscaler = &of_kind("HorizontalPodAutoscaler")[0].value["spec"]["metrics"];
    let wanted = autoscaler.as_array().unwrap().iter().map(|one| &one["pods"]["metric"]["name"]);
    assert_eq!(wanted.collect::<Vec<_>>(), made);
}

/// The queries of the adapter's rules, as Prometheus would run them.
#[test]
fn the_adapters_queries_are_queries() {
    let adapter = documents().iter().find(|one| one.file.ends_with("adapter-values.yaml")).unwrap();
    for rule in adapter.value["rules"]["custom"].as_array().unwrap() {
        let series = rule["seriesQuery"].as_str().unwrap().split('{').next().unwrap();
        let query = rule["metricsQuery"].as_str().unwrap();
        let query = query.replace("<<.Series>>", series).replace("<<.GroupBy>>", "pod");
        let query = query.replace("<<.LabelMatchers>>", "namespace=\"a\",pod=~\"b|c\"");
        assert!(!query.contains("<<"), "{query}");
        let rules = format!("groups: [{{name: a, rules: [{{record: a, expr: '{query}'}}]}}]");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        let mut promtool = Command::new("timeout");
        let checked = promtool.args(["60", "promtool", "check", "rules"]).arg(file.path()).output();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{query}: {}", said(&checked));
    }
}
