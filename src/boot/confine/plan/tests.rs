use std::collections::BTreeSet;

use super::*;
use crate::config;

/// A host where nothing stands in the way, with a few files.
fn host() -> Host<'static> {
    Host {
        look: &|path| match path.to_str().unwrap() {
            "/srv/fifo" | "/srv/link" => Place::Fifo,
            "/srv/film.ts" | "/srv/log" | "/srv/made" | "/dev/out" => Place::File,
            "/dev/dvr0" | "/dev/stderr" => Place::Special,
            "." | "/" | "/srv" | "/srv/../run" | "/dev" | "/run" | "/run/elsewhere"
            | "/run/names" => Place::Directory,
            _ => Place::Nothing,
        },
        follow: &|path| match path.to_str().unwrap() {
            "/srv/link" => Some("/run/elsewhere/fifo".into()),
            "/srv/dangling" => Some("/srv/../run/late/fifo".into()),
            "/etc/resolv.conf" => Some("/run/names/resolv.conf".into()),
            "/dev/stderr" => Some("/dev/pts/0".into()),
            "/srv/fifo" | "/srv/film.ts" | "/srv/log" | "/dev/dvr0" | "/srv/made" => {
                Some(path.to_owned())
            }
            _ => None,
        },
        points: &|path| match path.to_str().unwrap() {
            "/srv/current" => Some("/run/elsewhere/5".into()),
            "/lib" => Some("/srv/lib".into()),
            _ => None,
        },
        devices: ["null", "sda", "video0", "blackmagic", "mem", "kmsg"].map(str::to_owned).to_vec(),
        scratch: "/tmp".into(),
        door_state: None,
        receive_buffer: Some(4 << 20),
        free_port: Some(1024),
        congestion_controls: "reno cubic\n".to_owned(),
        pipe_pages: Some(16_384),
    }
}

/// What every plan has.
const ALWAYS: [(&str, May); 2] = [("/dev/null", May::ReadWrite), ("/proc", May::Read)];

fn always() -> impl Iterator<Item = (PathBuf, May)> {
    ALWAYS.iter().map(|&(path, may)| (path.into(), may))
}

fn plan_of(resource: &str, rest: &str, host: &Host<'_>) -> Plan {
    let text = format!(r#"{{ "resources": [{resource}]{rest} }}"#);
    let parsed = config::parse(&text);
    plan(&parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors)), 2, host)
}

fn of_stream(remote: &str) -> Plan {
    let stream = format!(r#"{{ "type": "stream", "serve": "/a", "remote": "{remote}" }}"#);
    plan_of(&stream, "", &host())
}

fn allows(plan: &Plan, path: &str) -> Vec<May> {
    let of_path = |(of, _): &&(PathBuf, May)| of == Path::new(path);
    plan.rules.paths.iter().filter(of_path).map(|&(_, may)| may).collect()
}

#[test]
fn files_of_upstreams_are_allowed_with_what_is_beside_them() {
    for (remote, expected) in [
        ("file:///srv/film.ts", &[("/srv", May::Read)][..]),
        ("file:///srv/fifo", &[("/srv", May::ReadWrite)]),
        ("file:///srv/link", &[("/run/elsewhere", May::ReadWrite), ("/srv", May::ReadWrite)]),
        ("file:///srv/later/fifo", &[("/srv", May::ReadWrite)]),
        ("file:///srv/dangling", &[("/srv", May::ReadWrite), ("/srv/../run", May::ReadWrite)]),
        ("file:///late/fifo", &[]),
        ("unixgram:///late/made", &[]),
        ("file:///fifo", &[("/", May::ReadWrite)]),
        ("file:///dev/dvr0", &[("/dev", May::Read)]),
        ("unixgram:///srv/made", &[("/srv", May::MakeSockets)]),
        ("unix:///srv/socket", &[]),
        ("unixpacket:///srv/socket", &[]),
        ("tcp://10.0.0.1:1", &[]),
        ("udp://@239.0.0.1:5000", &[]),
    ] {
        let mut expected: Vec<_> =
            ALWAYS.iter().chain(expected).map(|&(path, may)| (path.into(), may)).collect();
        expected.sort();
        let rules = of_stream(remote).rules;
        assert_eq!(rules.paths, expected, "{remote}");
        assert_eq!((rules.binds_tcp, rules.abstract_sockets), (false, false), "{remote}");
    }
}

#[test]
fn a_static_file_is_read_where_it_is_and_will_be() {
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    let file = r#"{ "type": "static", "serve": "/f", "remote": "file:///srv/film.ts" }"#;
    let plan = plan_of(&format!("{stream}, {file}"), "", &host());
    assert_eq!(allows(&plan, "/srv"), [May::Read]);
    // By a link on the way, beside which the next release will be.
    for (path, places) in [
        ("/srv/current/deep/page", &["/run/elsewhere", "/srv"][..]),
        ("/lib/page", &["/srv"]),
        ("/run/page", &["/run"]),
    ] {
        let file = file.replace("/srv/film.ts", path);
        let plan = plan_of(&format!("{stream}, {file}"), "", &host());
        let places = places.iter().map(|place| (PathBuf::from(place), May::Read));
        let expected: BTreeSet<_> = always().chain(places).collect();
        assert_eq!(plan.rules.paths.into_iter().collect::<BTreeSet<_>>(), expected, "{path}");
    }
}

#[test]
fn names_are_read_up_if_there_may_be_any() {
    for (remote, names) in [
        ("http://10.0.0.1/a", true),
        ("https://host/a", true),
        ("tcp://host:1", true),
        ("tcp://10.0.0.1:1", false),
        ("tcp://[::1]:1", false),
        ("udp://host:1", true),
        ("udp://:5000", false),
        ("rtp://@[ff15::1]:5000", false),
        ("file:///srv/film.ts", false),
    ] {
        let plan = of_stream(remote);
        for path in ["/etc", "/usr/lib", "/run/names"] {
            let expected: &[May] = if names { &[May::Read] } else { &[] };
            assert_eq!(allows(&plan, path), expected, "{remote} {path}");
        }
    }
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    let web = r#"{ "type": "static", "serve": "/f", "remote": "http://10.0.0.1/f" }"#;
    assert_eq!(allows(&plan_of(&format!("{stream}, {web}"), "", &host()), "/etc"), [May::Read]);
    let told =
        r#", "notifications": [{ "event": "heartbeat", "type": "url", "url": "http://h/" }]"#;
    assert_eq!(allows(&plan_of(stream, told, &host()), "/etc"), [May::Read]);
    assert_eq!(allows(&plan_of(stream, "", &host()), "/etc"), []);
}

#[test]
fn names_are_read_up_though_who_keeps_the_servers_addresses_starts_later() {
    let mut host = host();
    let (look, follow) = (host.look, host.follow);
    let looked =
        |path: &Path| if path.starts_with("/run/names") { Place::Nothing } else { look(path) };
    (host.look, host.follow) = (&looked, follow);
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://host:1" }"#;
    let plan = plan_of(stream, "", &host);
    assert_eq!((allows(&plan, "/run"), allows(&plan, "/run/names")), (vec![May::Read], vec![]));
}

#[test]
fn a_log_file_is_made_again_but_a_terminal_is_not() {
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    let with = |log: &str| plan_of(stream, &format!(r#", "log": "{log}""#), &host());
    assert_eq!(allows(&with("/srv/log"), "/srv"), [May::Append]);
    let plan = with("/dev/stderr");
    assert_eq!((allows(&plan, "/dev"), allows(&plan, "/dev/pts/0")), (vec![], vec![May::Append]));
    assert_eq!(with("/dev/out").rules.paths, of_stream("tcp://10.0.0.1:1").rules.paths);
}

#[test]
fn commands_may_execute_everything_and_write_where_nothing_is_kept() {
    let plan = of_stream("fork://ffmpeg?-i+x");
    assert!(plan.commands && plan.rules.binds_tcp && plan.rules.abstract_sockets);
    assert_eq!(allows(&plan, "/"), [May::Execute]);
    for path in ["/tmp", "/var/tmp", "/dev/shm"] {
        assert_eq!(allows(&plan, path), [May::Everything], "{path}");
    }
    for (path, expected) in [
        ("/dev/null", true),
        ("/dev/video0", true),
        ("/dev/blackmagic", true),
        ("/dev/sda", false),
        ("/dev/mem", false),
    ] {
        assert_eq!(allows(&plan, path).contains(&May::Device), expected, "{path}");
    }
    assert!(!of_stream("file:///srv/film.ts").commands);
}

#[test]
fn calls_are_those_in_use() {
    assert_eq!(of_stream("unixgram:///srv/made").uses, [Use::SocketFiles]);
    assert_eq!(of_stream("file:///srv/film.ts").uses, []);
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    assert_eq!(plan_of(stream, r#", "pin_workers": true"#, &host()).uses, [Use::Pinning]);
}

#[test]
fn what_is_changed_at_the_door_is_kept_where_the_state_file_is_and_nowhere_else() {
    let stream = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    let rate = r#", "door": { "rate": { "per_second": 5 }, "steer": false }"#;
    let plan = plan_of(stream, rate, &host());
    assert_eq!((plan.uses, plan.kept), (vec![Use::Maps], vec![]));
    let steers = plan_of(stream, r#", "door": {}"#, &host());
    assert_eq!(steers.uses, [Use::Maps, Use::ListeningAgain]);
    assert_eq!(plan.rules, of_stream("tcp://10.0.0.1:1").rules, "no file, no folder");
    for (path, folder) in [
        ("/srv/door.json", Some("/srv")),
        // Its target is left alone.
        ("/srv/link", Some("/srv")),
        ("/late/door.json", None),
        ("/srv/late/door.json", None),
        ("/door.json", Some("/")),
        ("door.json", Some(".")),
    ] {
        let host = Host { door_state: Some(path.into()), ..host() };
        let plan = plan_of(stream, rate, &host);
        assert_eq!(plan.uses, [Use::Maps, Use::ReplacedFiles], "{path}");
        let folder = folder.map(|folder| (PathBuf::from(folder), May::Replace));
        let expected: BTreeSet<_> = always().chain(folder).collect();
        assert_eq!(plan.rules.paths.into_iter().collect::<BTreeSet<_>>(), expected, "{path}");
    }
    let commands = stream.replace("tcp://10.0.0.1:1", "fork://ffmpeg?-i+x");
    let plan = plan_of(&commands, rate, &host());
    assert!(plan.commands && plan.uses == [Use::Maps]);
}

#[test]
fn capabilities_are_kept_only_for_what_needs_them() {
    let udp = r#"{ "type": "stream", "serve": "/a", "remote": "udp://:5000" }"#;
    let tcp = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1" }"#;
    let bbr = r#"{ "type": "stream", "serve": "/a", "remote": "tcp://10.0.0.1:1",
        "congestion": "bbr" }"#;
    let cubic = bbr.replace("bbr", "cubic");
    let many: Vec<_> = (0..40)
        .map(|n| format!(r#"{{ "type": "stream", "serve": "/{n}", "remote": "file:///f{n}" }}"#))
        .collect();
    let small = Host { receive_buffer: Some(212_992), ..host() };
    let unknown = Host { receive_buffer: None, ..host() };
    let endless = Host { pipe_pages: Some(0), ..host() };
    let (low, rtp) = (udp.replace(":5000", "@239.0.0.1:1023"), udp.replace("udp://", "rtp://"));
    let free = Host { free_port: Some(0), ..host() };
    let taken = Host { free_port: Some(5001), ..host() };
    let old = Host { free_port: None, ..host() };
    let (net, pipes) = (&[Capability::NetAdmin][..], &[Capability::SysResource][..]);
    let port = &[Capability::NetBindService][..];
    for (resources, rest, host, kept) in [
        (udp, "", &host(), &[][..]),
        (udp, "", &small, net),
        (&low, "", &host(), port),
        (&low, "", &old, port),
        (&low, "", &free, &[]),
        (&rtp, "", &taken, port),
        (&rtp, "", &old, &[]),
        (udp, "", &unknown, net),
        (udp, r#", "inputbuffer": 100000"#, &host(), net),
        (tcp, r#", "inputbuffer": 100000"#, &small, &[]),
        (bbr, "", &host(), net),
        (&cubic, "", &host(), &[]),
        (&many.join(","), "", &host(), pipes),
        (&many[..20].join(","), "", &host(), &[]),
        (&many.join(","), "", &endless, &[]),
    ] {
        assert_eq!(plan_of(resources, rest, host).kept, kept, "{resources} {rest}");
    }
}
