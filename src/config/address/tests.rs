use proptest::prelude::*;

use super::*;

fn services(name: &str) -> Option<u16> {
    (name == "rtsp").then_some(554)
}

fn show(text: &str) -> Result<(Option<String>, u16), String> {
    match parse(text, &services) {
        Ok(Listen { host, port }) => Ok((host, port)),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn good_addresses() {
    let table = [
        ("localhost:http", Some("localhost"), 80, "localhost:80"),
        (":8000", None, 8000, ":8000"),
        (":HTTPS", None, 443, ":443"),
        (":http-alt", None, 8080, ":8080"),
        (":rtsp", None, 554, ":554"),
        ("[::1]:80", Some("::1"), 80, "[::1]:80"),
        ("[::]:0", Some("::"), 0, "[::]:0"),
        ("[fe80::1%eth0.7]:80", Some("fe80::1%eth0.7"), 80, "[fe80::1%eth0.7]:80"),
        ("[::ffff:1.2.3.4]:80", Some("::ffff:1.2.3.4"), 80, "[::ffff:1.2.3.4]:80"),
        ("0.0.0.0:65535", Some("0.0.0.0"), 65535, "0.0.0.0:65535"),
        ("node-1.tv.example.:080", Some("node-1.tv.example."), 80, "node-1.tv.example.:80"),
        ("my_host:1", Some("my_host"), 1, "my_host:1"),
    ];
    for (text, host, port, display) in table {
        assert_eq!(show(text), Ok((host.map(str::to_owned), port)), "{text}");
        assert_eq!(parse(text, &services).expect("parsed").to_string(), display);
    }
}

#[test]
fn bad_addresses() {
    let table = [
        ("", "is empty, expected host:port or :port"),
        ("localhost", "needs a port, as in localhost:8000"),
        ("8000", "needs a port, as in localhost:8000"),
        ("localhost:", "needs a port, as in localhost:8000"),
        (":", "needs a port, as in localhost:8000"),
        ("[::1]", "needs a port, as in localhost:8000"),
        ("[::1]80", "needs a port, as in localhost:8000"),
        ("::1:80", "an IPv6 address needs brackets, as in [::1]:8000"),
        ("[::1:80", "an IPv6 address needs brackets, as in [::1]:8000"),
        ("http://localhost:80", "an IPv6 address needs brackets, as in [::1]:8000"),
        ("[localhost]:80", "`localhost` is neither a host name nor an IP address"),
        ("[::1%]0]:80", "needs a port, as in localhost:8000"),
        ("[::1%e h]:80", "`::1%e h` is neither a host name nor an IP address"),
        ("300.1.1.1:80", "`300.1.1.1` is neither a host name nor an IP address"),
        ("10.0.0:80", "`10.0.0` is neither a host name nor an IP address"),
        ("*:80", "`*` is neither a host name nor an IP address"),
        (" localhost:80", "` localhost` is neither a host name nor an IP address"),
        ("h\n:80", "`h\\n` is neither a host name nor an IP address"),
        (":65536", "port 65536 is not within 0 and 65535"),
        (":-1", "unknown service name `-1`"),
        (":+80", "unknown service name `+80`"),
        (":80 ", "unknown service name `80 `"),
        (":web", "unknown service name `web`"),
    ];
    for (text, expected) in table {
        assert_eq!(show(text), Err(expected.to_owned()), "{text:?}");
    }
    let long = format!("{}:80", "a".repeat(HOST_BYTES_MAX + 1));
    let shown = "a".repeat(64);
    assert_eq!(show(&long), Err(format!("`{shown}…` is neither a host name nor an IP address")));
    assert!(show(&format!("{}:80", "a".repeat(HOST_BYTES_MAX))).is_ok());
}

#[test]
fn clashes_are_found_without_resolving() {
    let listen = |text| parse(text, &services).expect(text);
    let table = [
        ("localhost:80", "LOCALHOST:80", true),
        ("localhost:80", "localhost:81", false),
        (":80", "127.0.0.1:80", true),
        ("[::]:80", ":80", true),
        ("10.0.0.1:80", "0.0.0.0:80", true),
        ("10.0.0.1:80", "10.0.0.2:80", false),
        ("localhost:80", "127.0.0.1:80", false),
        (":0", ":0", false),
    ];
    for (left, right, expected) in table {
        assert_eq!(listen(left).clashes(&listen(right)), expected, "{left} {right}");
        assert_eq!(listen(right).clashes(&listen(left)), expected, "{right} {left}");
    }
}

#[test]
fn services_are_tcp_lines_by_name_or_alias() {
    let text = "# comment 1/tcp\n\
        ftp\t\t21/tcp\n\
        tftp 69/udp\n\
        domain 53/udp\n\
        domain 53/tcp nameserver # dns\n\
        broken\n\
        bad x/tcp\n\
        bad 70000/tcp\n\
        bad 7/tcp\n\
        \n\
        kerberos 88/tcp kerberos5 krb5 # http\n";
    let table = [
        ("ftp", Some(21)),
        ("FTP", Some(21)),
        ("tftp", None),
        ("domain", Some(53)),
        ("nameserver", Some(53)),
        ("dns", None),
        ("krb5", Some(88)),
        ("broken", None),
        ("bad", Some(7)),
        ("comment", None),
        ("#", None),
    ];
    for (name, port) in table {
        assert_eq!(find_service(text, name), port, "{name}");
    }
}

#[test]
fn the_systems_table_is_optional() {
    assert_eq!(system_service("no-such-service-at-all"), None);
    let there = std::path::Path::new("/etc/services").exists();
    assert!(!there || matches!(system_service("ssh"), Some(22) | None));
}

proptest! {
    #[test]
    fn what_is_parsed_is_shown_the_same(text in "[\\[\\]a-z0-9:.%-]{0,24}") {
        if let Ok(listen) = parse(&text, &|_| None) {
            prop_assert_eq!(parse(&listen.to_string(), &|_| None), Ok(listen));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,64}") {
        let _ = parse(&text, &|_| Some(1));
        let _ = find_service(&text, "http");
    }
}
