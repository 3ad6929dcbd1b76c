//! The whole format, in one file.

use super::*;

fn basic_of_both(realm: &str, token_query: bool) -> Authentication {
    Authentication::Basic {
        realm: realm.to_owned(),
        users: vec![
            ("alice".to_owned(), Secret::new("s3cret")),
            ("bob".to_owned(), Secret::new("s3cret too")),
        ],
        token_query,
    }
}

fn web(text: &str) -> WebAddress {
    WebAddress::parse(text).expect(text)
}

fn streams() -> Vec<StreamConfig> {
    vec![
        StreamConfig {
            path: "/one.ts".to_owned(),
            remotes: vec![
                remote("http://alice:s3cret@origin:8080/live"),
                remote("tcp://10.0.0.1:1234"),
                remote("unix:///run/x.sock"),
                remote("udp://@239.0.0.1:5000"),
            ],
            reception: Reception {
                datagram_bytes: 1316,
                interface: Some("eth0".to_owned()),
                rejoin: Some(Duration::from_millis(2500)),
            },
            preamble: Some(PathBuf::from("/srv/preamble.ts")),
            max_connections: Some(100),
            hot: true,
            on_demand: None,
            join: Join::Seconds(Duration::from_millis(1500)),
            keep: Keep::Bytes(4_000_000),
            slow: Slow::Disconnect,
            pacing_percent: Some(250),
            order: Order::Preference { return_after: Duration::from_secs(10) },
            on_loss: OnLoss::Hold(Duration::from_millis(4500)),
            health: Health {
                times: [Some(4.5), Some(10.0), Some(20.0), None, Some(30.0), Some(60.0)]
                    .map(|seconds: Option<f64>| seconds.map(Duration::from_secs_f64)),
                floor: Some(900_000),
                tables_asked: true,
            },
            slate: Some(Slate::File(PathBuf::from("/srv/slate.ts"))),
            congestion: Some("bbr".to_owned()),
            authentication: basic_of_both("tv", true),
        },
        StreamConfig {
            on_demand: Some(OnDemand {
                linger: Duration::ZERO,
                start_timeout: Duration::from_millis(2500),
            }),
            ..StreamConfig::new(
                "/two.ts",
                vec![remote("file:///srv/a%20b.ts"), remote("fork://x?a+b")],
            )
        },
    ]
}

fn statics() -> Vec<StaticConfig> {
    vec![
        StaticConfig {
            path: "/logo/".to_owned(),
            remote: StaticRemote::Web(web("https://alice:s3cret@www/logo.png")),
            cache: Duration::from_mins(1),
            authentication: Authentication::Open,
        },
        StaticConfig {
            path: "/motd".to_owned(),
            remote: StaticRemote::File(PathBuf::from("/etc/motd")),
            cache: Duration::ZERO,
            authentication: Authentication::Open,
        },
    ]
}

fn apis() -> Vec<ApiConfig> {
    let api =
        |path: &str, api, authentication| ApiConfig { path: path.to_owned(), api, authentication };
    let bearer =
        Authentication::Bearer { tokens: vec![Secret::new("s3cret too")], token_query: false };
    vec![
        api("/two", Api::Check(Some(1)), Authentication::Open),
        api("/two/switch", Api::Control(Some(1)), bearer),
        api("/health", Api::Health, Authentication::Open),
        api("/statistics", Api::Statistics, Authentication::Open),
        api("/metrics", Api::Prometheus, Authentication::Open),
    ]
}

fn door() -> Door {
    let networks =
        |networks: [&str; 2]| networks.map(|text| parse_network(text).expect(text)).to_vec();
    Door {
        deny: networks(["203.0.113.0/24", "2001:db8::/32"]),
        allow: networks(["203.0.113.16/28", "192.0.2.7/32"]),
        rate: Some(DoorRate { per_second: 0.5, burst: 20 }),
        source_v4: 24,
        source_v6: 56,
        required: true,
        steer: false,
        state: Some(PathBuf::from("/var/lib/ours/door.json")),
        authentication: Authentication::Bearer {
            tokens: vec![Secret::new("s3cret too")],
            token_query: false,
        },
    }
}

fn notifications() -> Vec<NotificationConfig> {
    vec![
        NotificationConfig {
            event: NotificationEvent::LimitHit,
            target: web("http://tell/full?token=x"),
            // alice:s3cret
            authorization: Some(Secret::new("Basic YWxpY2U6czNjcmV0")),
        },
        NotificationConfig {
            event: NotificationEvent::LimitMiss,
            target: web("https://u:s3cret@tell:8443/free"),
            authorization: Some(Secret::new("Bearer s3cret too")),
        },
        NotificationConfig {
            event: NotificationEvent::Heartbeat,
            target: web("http://tell/alive"),
            authorization: None,
        },
    ]
}

#[test]
fn the_whole_format_is_read() {
    let parsed = parse(WHOLE);
    assert_eq!(lines(&parsed.errors), "");
    assert_eq!(lines(&parsed.warnings), "");
    let expected = Config {
        listen: Listen { host: None, port: 8000 },
        side: Some(Listen { host: Some("::1".to_owned()), port: 9000 }),
        side_given: true,
        timeout: Some(Duration::from_secs(10)),
        reconnect: Some(Duration::from_millis(2500)),
        read_timeout: Some(Duration::from_secs(5)),
        input_buffer_packets: 2000,
        output_buffer_packets: 800,
        max_connections: Some(300),
        full_connections: Some(250),
        log: Some(PathBuf::from("/var/log/restreamer.json")),
        turn: TurnPeriod::Fixed(Duration::from_millis(20)),
        workers: Some(3),
        pin_workers: true,
        max_per_address: Some(4),
        refuse_with: RefuseWith::Unavailable { retry_after: Duration::from_secs(7) },
        trusted_proxies: ["10.0.0.0/8", "2001:db8::1/128"]
            .map(|network| network.parse().expect(network))
            .to_vec(),
        proxy_protocol: true,
        door: Some(door()),
        ca_file: Some(PathBuf::from("/etc/ssl/ours.pem")),
        confine: false,
        statistics: false,
        heartbeat_interval: Some(Duration::from_secs(30)),
        streams: streams(),
        statics: statics(),
        apis: apis(),
        notifications: notifications(),
    };
    assert_eq!(parsed.config, Some(expected));
}

/// `profile` has no field, and an unknown key no effect; neither takes anything away.
#[test]
fn what_is_warned_of_changes_nothing() {
    let text = WHOLE.replace("\"profile\": false", "\"profile\": true, \"colour\": 1");
    assert_eq!(config(&text), config(WHOLE));
    assert_eq!(warnings(&text).lines().count(), 2);
}

/// Streams, users and whom they are for may be in any order.
#[test]
fn the_order_of_the_file_does_not_matter() {
    let (before, users) = WHOLE.split_once("\"userlist\"").expect("it is there");
    let users = users.strip_suffix('}').expect("the end");
    let before = before.trim_end().strip_suffix(',').expect("more follows");
    let before = before.strip_prefix('{').expect("the beginning");
    let text = format!("{{\"userlist\" {users}, {before}}}");
    assert_eq!(config(&text), config(WHOLE));
}
