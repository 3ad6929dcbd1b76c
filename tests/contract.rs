//! The compatibility contract: what an operator who swaps the binary relies on, row by row, and the
//! tests that prove the row. What has none elsewhere has it here.
//!
//! ```text
//! Command line
//!   restreamer [FILE]      process: without_arguments_the_file_*
//!   keys named ""          contract_config: a_file_with_every_key_*
//!   unknown keys           process: an_unknown_key_fails_the_check_*
//!   each mistake           contract_config: each_*, all_*; process: a_file_that_is_no_*
//!   exit codes             process: a_good_file_passes_*, options_*, a_port_in_use_*,
//!                          sigterm_ends_*
//! Top level
//!   listen                 serving: an_ipv6_address_*, no_host_is_*, a_host_is_listened_on_*;
//!                          contract: a_port_may_be_the_name_of_a_service
//!   timeout                upstreams: *_ends_with_the_timeout;
//!                          contract_statics: an_upstream_that_*
//!   reconnect              reconnect: the_deadline_counts_*, without_reconnect_*
//!   readtimeout            upstreams: an_upstream_that_falls_silent_*
//!   inputbuffer            contract: the_kernel_holds_*
//!   outputbuffer           contract_access: a_viewer_may_lag_*
//!   maxconnections         serving: beyond_maxconnections_*
//!   fullconnections        contract_api: health_is_full_*; notifications: ten_crossings_*
//!   nostats                contract_api: nostats_*
//!   heartbeatinterval      notifications: heartbeats_*
//!   log, SIGUSR1           process: sigusr1_*, a_log_that_cannot_be_opened_*
//!   profile                contract_config: what_is_only_warned_of_*
//!   userlist               contract_access: every_kind_of_resource_*
//!   no usable stream       contract_config: a_file_without_a_stream_*
//! Resources
//!   order of resources     contract_api: check_follows_*, check_of_what_is_not_there_*
//!   serve, all below /     serving: a_target_leads_*; contract_statics: a_folder_*;
//!                          contract: an_api_resource_may_be_a_folder
//!   remote, remotes        reconnect: several_upstreams_are_tried_in_turn
//!   mru                    datagrams: odd_and_overlong_*
//!   clientinterface        multicast: what_comes_on_another_interface_*
//!   preamble               contract: viewers_get_the_preamble_*, a_preamble_*
//! Upstreams
//!   http://                upstreams: a_file_arrives_by_http*, redirects_*, user_and_password_*
//!   any status but 200     upstreams: an_answer_that_is_not_200_*
//!   https://, proxies      https: names_and_addresses_*, a_proxy_*, no_proxy_*
//!   tcp://, unix://        upstreams: a_file_arrives_by_tcp, a_file_arrives_by_unix_socket
//!   udp://, multicast      datagrams: udp_arrives_*; multicast: groups_of_both_families_*
//!   unixgram, unixpacket   datagrams: unix_datagrams_*, seqpacket_arrives_*
//!   file:// of a FIFO      upstreams: a_file_arrives_by_fifo, writers_of_a_fifo_*
//!   file:// of a file      upstreams: a_regular_file_plays_*
//!   fork://, both forms    upstreams: a_command_*; contract_config: a_file_with_every_key_*
//!   whole packets, sync    sync: garbage_*, a_connection_may_begin_*; fan_out: three_hundred_*
//! Serving a stream
//!   200 and its headers    serving: a_stream_is_answered_*, head_of_a_live_stream_*
//!   404 and its headers    serving: an_offline_stream_*, a_stream_whose_upstream_has_ended_*
//!   503 by choice          contract_access: who_is_refused_may_be_told_*
//!   a slow client          contract_access: a_viewer_may_lag_*, the_line_of_a_slow_viewer_*
//! Static resources
//!   bodies, 10 MiB         contract_statics: a_body_comes_*, ten_mebibytes_*
//!   types                  contract_statics: files_have_the_type_*, a_type_that_nobody_says_*
//!   ETag, 304, HEAD        contract_statics: who_has_it_already_*
//!   cache                  contract_statics: cache_says_*, many_who_ask_*
//!   statuses               contract_statics: what_others_answer_*, what_cannot_be_fetched_*
//! API
//!   health                 contract_api: health_*, bandwidth_*
//!   statistics             contract_api: statistics_*
//!   check                  contract_api: check_*; process: a_check_of_no_stream_*
//!   control                contract_api: control_*, offline_*, switching_*
//!   prometheus             contract_api: prometheus_*; serving: metrics_count_exactly_*
//!   kept connections       contract_connections: a_*, pipelined_*, answers_*, an_*, what_*
//! Authentication
//!   types, lists, 401, 403 contract_access: every_kind_of_resource_*, a_realm_*, who_may_*
//!   token_query            contract_access: a_token_in_the_query_*
//!   secrets                contract_access: no_secret_*; process: a_password_*, the_check_shows_*
//! Notifications
//!   events, order, login   notifications: ten_crossings_*, heartbeats_*
//! Log
//!   keys of each line      process: every_line_of_the_log_*
//!   viewers, refusals      contract_access: the_log_has_a_line_*
//! ```

mod support;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};
use support::crowd::{Crowd, Pace};
use support::http;
use support::node::{Node, api, repository, run, stream};
use support::packets::{PACKET_BYTES, Verifier, packets};
use support::source::{Source, Speech};
use support::{PATIENCE, datagram, nobody};

const BITS_PER_SECOND: u64 = 2_000_000;
/// Fast enough to fill what the kernel buffers for a viewer in a moment.
const FLOOD_BITS_PER_SECOND: u64 = 40_000_000;
/// The number of a preamble's first packet: no source gets there.
const PREAMBLE: u64 = 1 << 40;

/// The table above cannot name what is not there.
#[test]
fn the_tests_of_the_table_exist() {
    const COLUMN: usize = 25;
    let mut tests = 0;
    let mut file = String::new();
    let rows = include_str!("contract.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let rows = rows.skip_while(|row| *row != " ```text").skip(1);
    for row in rows.map(|row| row.get(1..).unwrap_or_default()) {
        let named = row.get(COLUMN..).filter(|_| row.starts_with("  ")).unwrap_or_default();
        for name in named.split([',', ';']).map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.split_once(": ").map_or(name, |(of, name)| {
                let path = repository(&format!("tests/{of}.rs"));
                file = std::fs::read_to_string(path).expect(of);
                name
            });
            let is_it = |found: &str| match name.split_once('*') {
                Some((begin, end)) => found.starts_with(begin) && found.ends_with(end),
                None => found == name,
            };
            let mut found = file.split("#[test]\nfn ").skip(1).filter_map(|f| f.split('(').next());
            assert!(found.any(is_it), "{name}, of {row}");
            tests += 1;
        }
    }
    assert!(tests > 90, "only {tests} are named");
}

// ---- preamble --------------------------------------------------------------------------------

#[test]
fn viewers_get_the_preamble_first_whole_and_then_the_stream() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    // As short as can be, and much more than a socket takes at once.
    for count in [1, 16_000] {
        let preamble = packets(PREAMBLE..PREAMBLE + count);
        let (node, dir) = with_preamble(&source, &preamble);
        // It was read at start.
        drop(dir);
        for _ in 0..3 {
            let mut viewer = http::watch(node.address, "/a.ts");
            assert!(http::read_bytes(&mut viewer, preamble.len()) == preamble, "other bytes");
            let mut verifier = Verifier::default();
            verifier.feed(&http::read_bytes(&mut viewer, 300 * PACKET_BYTES));
            verifier.assert_perfect("behind the preamble");
            assert!(verifier.first.is_some_and(|first| first < PREAMBLE));
        }
        let head = http::request(node.address, "HEAD", "/a.ts");
        assert_eq!((head.status, head.body.len()), (200, 0));
        let mut other = http::watch(node.address, "/b.ts");
        let mut verifier = Verifier::default();
        verifier.feed(&http::read_bytes(&mut other, 10 * PACKET_BYTES));
        assert!(verifier.first.is_some_and(|first| first < PREAMBLE), "it is of one stream");
    }
}

#[test]
fn a_preamble_is_whole_for_one_who_takes_it_too_slowly() {
    let source = Source::start(Speech::Raw, FLOOD_BITS_PER_SECOND);
    let preamble = packets(PREAMBLE..PREAMBLE + 20_000);
    let (node, _dir) = with_preamble(&source, &preamble);
    let mut viewer = http::watch(node.address, "/a.ts");
    // The stream goes on without it, far beyond what a viewer may lag; it has missed nothing of it.
    node.await_metric("streaming_packets_received", "/a.ts", |packets| packets > 40_000.0);
    assert_eq!(node.count("streaming_packets_dropped", "/a.ts"), 0);
    assert!(http::read_bytes(&mut viewer, preamble.len()) == preamble, "other bytes");
    let mut verifier = Verifier::default();
    verifier.feed(&http::read_bytes(&mut viewer, 20_000 * PACKET_BYTES));
    verifier.assert_whole("behind the preamble");
}

#[test]
fn a_preamble_that_cannot_be_had_is_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("long");
    std::fs::write(&long, vec![0x47; 4 * 1024 * 1024 + 1]).unwrap();
    for (preamble, why) in [
        (dir.path().join("missing.ts").as_path(), "No such file"),
        (dir.path(), "directory"),
        (&long, "larger than"),
    ] {
        let mut resource = stream("/a.ts", &format!("tcp://{}", nobody()));
        resource["preamble"] = json!(preamble);
        let config = json!({ "listen": "127.0.0.1:0", "side": "", "resources": [resource] });
        let file = dir.path().join("restreamer.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let (code, _, err) = run(&[file.to_str().unwrap()], dir.path());
        assert_eq!((code, err.lines().count()), (1, 1), "{err}");
        assert!(err.starts_with("restreamer: preamble of /a.ts: "), "{err}");
        assert!(err.contains(preamble.to_str().unwrap()) && err.contains(why), "{err}");
    }
}

#[test]
fn a_preamble_that_is_no_stream_is_warned_of_and_sent() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let text = b"no packets, and no whole number of them";
    let dir = tempfile::tempdir().unwrap();
    let node = Node::with(&preambled(&source, dir.path(), text));
    let warning = node.await_log(|entry| entry["level"] == "warning");
    assert_eq!(warning["event"], "config");
    assert!(warning["message"].as_str().unwrap().contains("preamble.ts"), "{warning}");
    node.await_connected();
    node.await_connected();
    let mut viewer = http::watch(node.address, "/a.ts");
    assert_eq!(http::read_bytes(&mut viewer, text.len()), text);
    let mut verifier = Verifier::default();
    verifier.feed(&http::read_bytes(&mut viewer, 100 * PACKET_BYTES));
    verifier.assert_perfect("behind it");
}

/// A node with a preamble before `/a.ts`, and none before `/b.ts`.
fn with_preamble(source: &Source, preamble: &[u8]) -> (Node, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::with(&preambled(source, dir.path(), preamble));
    node.await_connected();
    node.await_connected();
    (node, dir)
}

fn preambled(source: &Source, dir: &Path, preamble: &[u8]) -> Value {
    let file = dir.join("preamble.ts");
    std::fs::write(&file, preamble).unwrap();
    let url = source.url(Speech::Raw);
    let mut first = stream("/a.ts", &url);
    first["preamble"] = json!(file);
    json!({ "resources": [first, stream("/b.ts", &url)] })
}

// ---- listen ----------------------------------------------------------------------------------

#[test]
fn a_port_may_be_the_name_of_a_service() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    for host in ["127.0.0.1", "[::1]", ""] {
        let (name, port) = free_service();
        let resources = [stream("/a.ts", &source.url(Speech::Raw))];
        let listen = format!("{host}:{name}");
        let node = Node::with(&json!({ "listen": listen, "resources": resources }));
        assert_eq!(node.address.port(), port, "{host}:{name}");
        node.await_connected();
        for client in ["127.0.0.1", "::1"] {
            if host.is_empty() || host.contains(client) {
                let mut viewer =
                    http::watch(SocketAddr::new(client.parse().unwrap(), port), "/a.ts");
                http::read_bytes(&mut viewer, 10 * PACKET_BYTES);
            }
        }
    }
}

/// A service of this machine whose port nobody has at the moment, nor gets by chance.
fn free_service() -> (String, u16) {
    const BY_CHANCE: u16 = 32_768;
    let table = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let named = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| !name.starts_with('#'))?;
        let port = words.next()?.strip_suffix("/tcp")?.parse().ok()?;
        Some((name.to_owned(), port))
    });
    // Machines without a table know this one.
    let mut all = named.chain([("http-alt".to_owned(), 8080)]);
    all.find(|&(_, port)| {
        (1024..BY_CHANCE).contains(&port) && TcpListener::bind(("::", port)).is_ok()
    })
    .expect("a free port that has a name")
}

// ---- inputbuffer -----------------------------------------------------------------------------

/// While the node does not come to read, the kernel holds what arrives.
#[test]
fn the_kernel_holds_as_many_packets_as_the_file_says() {
    // 5 MB: more than is asked for without the key, and what 40,000 packets have room for.
    const DATAGRAMS: u64 = 4000;
    let to = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resources = [stream("/a.ts", &format!("udp://{to}"))];
    let node = Node::with(&json!({ "inputbuffer": 40_000, "resources": resources }));
    node.await_connected();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    node.signal("STOP");
    for number in 0..DATAGRAMS {
        socket.send_to(&datagram::payload(number), to).unwrap();
    }
    node.signal("CONT");
    node.await_count("restreamer_datagrams_total", "/a.ts", DATAGRAMS);
    node.await_count("streaming_packets_received", "/a.ts", DATAGRAMS * datagram::PACKETS);
    assert_eq!(node.count("restreamer_datagrams_dropped_total", "/a.ts"), 0);
    assert_eq!(node.count("restreamer_continuity_errors_total", "/a.ts"), 0);
}

// ---- serve -----------------------------------------------------------------------------------

#[test]
fn an_api_resource_may_be_a_folder() {
    let source = Source::start(Speech::Raw, BITS_PER_SECOND);
    let node = Node::with(&json!({ "resources": [
        api("/api/", "check", Some("/")), api("/api/health", "health", None),
        stream("/", &source.url(Speech::Raw)),
    ]}));
    node.await_connected();
    for (path, begins) in [
        ("/api/", "200 ok"),
        ("/api/x", "200 ok"),
        ("/api/health/", "200 ok"),
        ("/api/health", "{\"status\":"),
        ("/api/health?x", "{\"status\":"),
    ] {
        let answer = http::fetch(node.address, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().starts_with(begins), "{path}");
    }
    // All the rest is the stream's, and what is longer wins.
    let mut crowd = Crowd::new();
    for path in ["/", "/api", "/x/y.ts"] {
        crowd.join(node.address, path, 1, Pace::Fast);
    }
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.packets > 100), PATIENCE);
}
