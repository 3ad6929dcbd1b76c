use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::limits::REMOTE_BYTES_MAX;

fn kind(text: &str) -> RemoteKind {
    Remote::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).kind().clone()
}

fn error(text: &str) -> String {
    Remote::parse(text).expect_err(text).to_string()
}

fn command_of(program: &str, arguments: &[&str]) -> RemoteKind {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    RemoteKind::Command { program: PathBuf::from(program), arguments }
}

#[test]
fn http_is_a_url_with_a_host() {
    for (text, url) in [
        ("http://origin:8080/live.ts", "http://origin:8080/live.ts"),
        ("HTTP://Origin", "http://origin/"),
        ("http://[::1]:80/a%20b?c=d", "http://[::1]/a%20b?c=d"),
        ("https://Origin:443/x", "https://origin/x"),
        ("http://h/a b#fragment", "http://h/a%20b"),
    ] {
        assert_eq!(kind(text), RemoteKind::Http(Url::parse(url).expect(url)), "{text}");
        assert_eq!(Remote::parse(text).expect(text).label(), text, "the label is as written");
    }
    let RemoteKind::Http(url) = kind("http://alice:s3cret%40@h/x") else { panic!("not http") };
    assert_eq!((url.username(), url.password()), ("alice", Some("s3cret%40")));
}

#[test]
fn tcp_is_a_host_and_a_port() {
    let table = [
        ("tcp://origin:1234", "origin", 1234, "origin:1234"),
        ("TCP://10.0.0.1:1/", "10.0.0.1", 1, "10.0.0.1:1"),
        ("tcp://[fe80::1%eth0]:65535", "fe80::1%eth0", 65535, "[fe80::1%eth0]:65535"),
    ];
    for (text, host, port, display) in table {
        let address = HostPort { host: host.to_owned(), port };
        assert_eq!(address.to_string(), display);
        assert_eq!(kind(text), RemoteKind::Tcp(address));
    }
}

#[test]
fn datagrams_have_an_address_and_may_have_a_source() {
    let table = [
        ("udp://239.0.0.1:5000", "239.0.0.1", 5000, None),
        ("UDP://239.0.0.1:5000/", "239.0.0.1", 5000, None),
        ("udp://@239.0.0.1:5000", "239.0.0.1", 5000, None),
        ("udp://10.0.0.1:1", "10.0.0.1", 1, None),
        ("udp://@10.0.0.1:1/", "10.0.0.1", 1, None),
        ("udp://0.0.0.0:65535", "0.0.0.0", 65535, None),
        ("udp://Node-1.tv.example:5000", "Node-1.tv.example", 5000, None),
        ("udp://:5000", "::", 5000, None),
        ("udp://@:5000", "::", 5000, None),
        ("udp://@:05000/", "::", 5000, None),
        ("udp://[::]:5000", "::", 5000, None),
        ("udp://[ff15::1]:5000", "ff15::1", 5000, None),
        ("udp://@[ff02::1%eth0]:5000", "ff02::1%eth0", 5000, None),
        ("udp://192.0.2.1@232.0.0.1:5000", "232.0.0.1", 5000, Some("192.0.2.1")),
        ("udp://192.0.2.1@239.255.255.255:1/", "239.255.255.255", 1, Some("192.0.2.1")),
        ("udp://[2001:db8::1]@[ff35::1]:5000", "ff35::1", 5000, Some("2001:db8::1")),
        ("udp://[2001:DB8::0:1]@[FF35::1%2]:5000", "FF35::1%2", 5000, Some("2001:db8::1")),
    ];
    for (text, host, port, source) in table {
        let address = HostPort { host: host.to_owned(), port };
        let expected = Datagrams { address, source: source.map(str::to_owned) };
        assert_eq!(kind(text), RemoteKind::Udp(expected.clone()), "{text}");
        assert_eq!(Remote::parse(text).expect(text).label(), text);
        let text = text.to_ascii_lowercase().replace("udp:", "rtp:");
        let expected =
            Datagrams { address: HostPort { host: host.to_ascii_lowercase(), port }, ..expected };
        assert_eq!(kind(&text), RemoteKind::Rtp(expected), "{text}");
        assert_eq!(Remote::parse(&text).expect(&text).label(), text);
    }
}

#[test]
fn bad_datagram_addresses_are_refused_with_a_reason() {
    let form = "SCHEME is written SCHEME://host:port or SCHEME://source@group:port";
    let no_port = "SCHEME needs a port";
    let port = "its port is not a number within 1 and 65535";
    let brackets = "an IPv6 address needs brackets, as in SCHEME://[::1]:8000";
    let host = "its host is neither a name nor an IP address";
    let password = "SCHEME takes no password";
    let options = "SCHEME takes no options behind a ?, use `mru`, `clientinterface` and `rejoin`";
    let source = "what is in front of the @ must be the IP address of a sender, \
        as in SCHEME://192.0.2.1@232.0.0.1:5000";
    let group = "what is behind a source's @ must be the IP address of a multicast group, \
        as in SCHEME://192.0.2.1@232.0.0.1:5000";
    let families = "source and group must be both IPv4 or both IPv6 addresses";
    let table = [
        ("", form),
        ("239.0.0.1:5000", form),
        ("/239.0.0.1:5000", form),
        ("///239.0.0.1:5000", form),
        ("//", no_port),
        ("///", no_port),
        ("//@", no_port),
        ("//239.0.0.1", no_port),
        ("//239.0.0.1:", no_port),
        ("//@239.0.0.1", no_port),
        ("//[ff15::1]", no_port),
        ("//:", no_port),
        ("//:0", port),
        ("//239.0.0.1:0", port),
        ("//239.0.0.1:65536", port),
        ("//239.0.0.1:+1", port),
        ("//239.0.0.1:http", port),
        ("//ff15::1:5000", brackets),
        ("//@ff15::1:5000", brackets),
        ("//2001:db8::1@[ff35::1]:5000", brackets),
        ("//[2001:db8::1]@ff35::1:5000", brackets),
        ("//239.0.0:5000", host),
        ("//h_!:5000", host),
        ("//239.0.0.1:5000:1", brackets),
        ("//[239.0.0.1]:5000", host),
        ("//239.0.0.1:5000/x", form),
        ("//239.0.0.1:5000//", form),
        ("//239.0.0.1:5000#x", form),
        ("//239.0.0.1:5000/#x", form),
        ("//239.0.0.1:5000/x?y", form),
        ("//@239.0.0.1:5000?pkt_size=1316", options),
        ("//@239.0.0.1:5000/?localaddr=10.0.0.1", options),
        ("//239.0.0.1:5000?", options),
        ("//a:b@239.0.0.1:5000", password),
        ("//:b@239.0.0.1:5000", password),
        ("//a:@239.0.0.1:5000", password),
        ("//192.0.2.1:b@232.0.0.1:5000", password),
        ("//[2001:db8::1]:b@[ff35::1]:5000", password),
        ("//alice@239.0.0.1:5000", source),
        ("//192.0.2@232.0.0.1:5000", source),
        ("//@@232.0.0.1:5000", source),
        ("//192.0.2.1@192.0.2.2@232.0.0.1:5000", source),
        ("//[192.0.2.1]@232.0.0.1:5000", source),
        ("//[]@232.0.0.1:5000", source),
        ("//[fe80::1%eth0]@[ff35::1]:5000", source),
        ("//232.0.0.2@232.0.0.1:5000", source),
        ("//0.0.0.0@232.0.0.1:5000", source),
        ("//255.255.255.255@232.0.0.1:5000", source),
        ("//[::]@[ff35::1]:5000", source),
        ("//[ff35::2]@[ff35::1]:5000", source),
        ("//192.0.2.1@192.0.2.2:5000", group),
        ("//192.0.2.1@group.example:5000", group),
        ("//192.0.2.1@:5000", group),
        ("//[2001:db8::1]@[2001:db8::2]:5000", group),
        ("//[2001:db8::1]@[::ffff:232.0.0.1]:5000", group),
        ("//[2001:db8::1]@232.0.0.1:5000", families),
        ("//192.0.2.1@[ff35::1]:5000", families),
        ("//192.0.2.1@232.0.0.1", no_port),
        ("//192.0.2.1@232.0.0.1:0", port),
    ];
    for scheme in ["udp", "rtp"] {
        for (rest, expected) in table {
            let text = format!("{scheme}:{rest}");
            assert_eq!(error(&text), expected.replace("SCHEME", scheme), "{text}");
        }
    }
}

#[test]
fn paths_are_absolute_and_decoded() {
    for (text, path) in [
        ("file:///srv/a.ts", "/srv/a.ts"),
        ("file:/srv/a.ts", "/srv/a.ts"),
        ("file://localhost/srv/a.ts", "/srv/a.ts"),
        ("file:///srv/a%20b%3F.ts", "/srv/a b?.ts"),
        ("file:///srv/a b+c.ts", "/srv/a b+c.ts"),
        ("file:///srv/%C3%A9", "/srv/é"),
    ] {
        assert_eq!(kind(text), RemoteKind::File(PathBuf::from(path)), "{text}");
    }
    let latin = PathBuf::from(OsString::from_vec(b"/\xe9".to_vec()));
    assert_eq!(kind("file:///%E9"), RemoteKind::File(latin), "a name need not be UTF-8");
    assert_eq!(kind("unix:///run/x.sock"), RemoteKind::Unix(PathBuf::from("/run/x.sock")));
    let longest = format!("/{}", "x".repeat(106));
    assert_eq!(kind(&format!("unix://{longest}")), RemoteKind::Unix(PathBuf::from(&longest)));
    assert_eq!(error(&format!("unix://{longest}x")), "a socket's path has at most 107 bytes");
    for (scheme, kind_of) in [
        ("unixgram", RemoteKind::UnixDatagram as fn(PathBuf) -> RemoteKind),
        ("unixpacket", RemoteKind::UnixPacket),
        ("UnixPacket", RemoteKind::UnixPacket),
    ] {
        for (rest, path) in [
            ("///run/x.sock", "/run/x.sock"),
            ("/run/x.sock", "/run/x.sock"),
            ("//localhost/run/x.sock", "/run/x.sock"),
            ("///run/a%20b", "/run/a b"),
            (&format!("//{longest}"), &longest),
        ] {
            let text = format!("{scheme}:{rest}");
            assert_eq!(kind(&text), kind_of(PathBuf::from(path)), "{text}");
            assert_eq!(Remote::parse(&text).expect(&text).label(), text);
        }
        let said = "a socket's path has at most 107 bytes";
        assert_eq!(error(&format!("{scheme}://{longest}x")), said);
    }
}

#[test]
fn commands_take_both_forms_and_keep_their_case() {
    let table = [
        ("fork://Command_x?a+b", command_of("Command_x", &["a", "b"])),
        ("fork://ffmpeg", command_of("ffmpeg", &[])),
        ("fork://ffmpeg?", command_of("ffmpeg", &[])),
        ("fork://ffmpeg/?-i", command_of("ffmpeg", &["-i"])),
        ("fork:///usr/bin/cat?/tmp/a", command_of("/usr/bin/cat", &["/tmp/a"])),
        ("fork://%2Fbin%2Fcat", command_of("/bin/cat", &[])),
        ("fork:///opt/my%20tool?a%2Bb+c%20d+%25", command_of("/opt/my tool", &["a+b", "c d", "%"])),
        ("fork://x?a++b+", command_of("x", &["a", "", "b", ""])),
        ("fork://x?-i+http://h/?q=1+-f", command_of("x", &["-i", "http://h/?q=1", "-f"])),
        ("FORK://x?%C3%A9", command_of("x", &["é"])),
    ];
    for (text, expected) in table {
        assert_eq!(kind(text), expected, "{text}");
        assert_eq!(Remote::parse(text).expect(text).label(), text);
    }
}

#[test]
fn bad_addresses_are_refused_with_a_reason() {
    let no_scheme = "is not a URL, expected http://, https://, tcp://, udp://, rtp://, unix://, \
        unixgram://, unixpacket://, file:// or fork://";
    let schemes = "expected http, https, tcp, udp, rtp, unix, unixgram, unixpacket, file or fork";
    let space = "has white space around it or a control character in it";
    let port = "its port is not a number within 1 and 65535";
    let table = [
        ("", "is empty"),
        ("live.ts", no_scheme),
        ("/srv/live.ts", no_scheme),
        ("://x", no_scheme),
        ("1http://x", no_scheme),
        (" http://x", space),
        ("http://x\n", space),
        ("http://x/\ty", space),
        ("origin:80/x", &format!("unknown scheme `origin`, {schemes}")),
        ("srt://h:1", &format!("unknown scheme `srt`, {schemes}")),
        ("https:h/x", "https is written https://host/path"),
        ("HTTPS:///h/x", "https is written https://host/path"),
        ("https://h:0/", port),
        ("http:", "http is written http://host/path"),
        ("http:h/x", "http is written http://host/path"),
        ("http:\\\\u:p@h/x", "http is written http://host/path"),
        ("http:///h/x", "http is written http://host/path"),
        ("http://", "is not a valid URL: empty host"),
        ("http://:80/", "is not a valid URL: empty host"),
        ("http://h:99999/", "is not a valid URL: invalid port number"),
        ("http://h:0/", port),
        ("http://a b/", "is not a valid URL: invalid international domain name"),
        ("http://u:pa/ss@h/", "is not a valid URL: invalid port number"),
        ("tcp:h:1", "tcp is written tcp://host:port"),
        ("tcp://", "tcp needs a host"),
        ("tcp://:1", "tcp needs a host"),
        ("tcp://h", "tcp needs a port"),
        ("tcp://h:", "tcp needs a port"),
        ("tcp://h:0", port),
        ("tcp://h:+1", port),
        ("tcp://h:http", port),
        ("tcp://h:65536", port),
        ("tcp://::1:5", "an IPv6 address needs brackets, as in tcp://[::1]:8000"),
        ("tcp://h_!:5", "its host is neither a name nor an IP address"),
        ("tcp://h:1/x", "tcp is written tcp://host:port"),
        ("tcp://h:1?x", "tcp is written tcp://host:port"),
        ("tcp://u:p@h:1", "tcp takes neither user nor password"),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text:?}");
    }
    let long = |bytes: usize| format!("http://h/{}", "x".repeat(bytes - "http://h/".len()));
    assert_eq!(error(&long(REMOTE_BYTES_MAX + 1)), "is longer than 4096 bytes");
    assert!(Remote::parse(&long(REMOTE_BYTES_MAX)).is_ok());
}

#[test]
fn bad_names_are_refused_with_a_reason() {
    let command = "a command is a name or an absolute path: fork://name?a+b, fork:///path?a+b";
    let query = "has a ? or # in a name, write %3F or %23";
    let table = [
        ("file:", "file is written file:///path"),
        ("file:x.ts", "file is written file:///path"),
        ("file://x.ts", "file is written file:///path"),
        ("file://host/x.ts", "file is written file:///path"),
        ("file://localhosts/x.ts", "file is written file:///path"),
        ("file:///x?y", query),
        ("file:///x#y", query),
        ("file:///100%", "has a % without two hexadecimal digits behind it, write %25"),
        ("file:///%zz", "has a % without two hexadecimal digits behind it, write %25"),
        ("file:///%é", "has a % without two hexadecimal digits behind it, write %25"),
        ("file:///a%00b", "has a NUL character (%00)"),
        ("unix://x", "unix is written unix:///path"),
        ("unixgram://x", "unixgram is written unixgram:///path"),
        ("unixgram:x", "unixgram is written unixgram:///path"),
        ("unixgram:///x?y", query),
        ("unixgram:///a%00b", "has a NUL character (%00)"),
        ("unixpacket://host/x", "unixpacket is written unixpacket:///path"),
        ("unixpacket://u:p@h/x", "unixpacket is written unixpacket:///path"),
        ("unixpacket:///x#y", query),
        ("unixpacket:///100%", "has a % without two hexadecimal digits behind it, write %25"),
        ("fork:x", "fork is written fork://command?argument+argument"),
        ("fork://", command),
        ("fork:///", command),
        ("fork:///bin/", command),
        ("fork://?a", command),
        ("fork://bin/cat", command),
        ("fork://bin%2Fcat", command),
        ("fork://u:p@x", "fork takes neither user nor password"),
        ("fork://x?a#b", query),
        ("fork://x?%FF", "has an argument that is not UTF-8"),
        ("fork://x?%00", "has a NUL character (%00)"),
        ("fork://x?50%", "has a % without two hexadecimal digits behind it, write %25"),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text:?}");
    }
}

#[test]
fn passwords_are_masked() {
    let table = [
        ("http://u:s3cret@h/x", "http://u:***@h/x"),
        ("https://u:s3cret@h/x", "https://u:***@h/x"),
        ("http://u:s3cret@h", "http://u:***@h/"),
        ("http://:s3cret@h:81/x?y", "http://:***@h:81/x?y"),
        ("http://u:s3@cret@h/x", "http://u:***@h/x"),
        ("http://u@h/x", "http://u@h/x"),
        ("http://u:@h/x", "http://u:@h/x"),
        ("fork://ffmpeg?-i+http://u:s3cret@h/x+-", "fork://ffmpeg?-i+http://u:***@h/x+-"),
        ("fork://x?http://u:s3%2Fcret@h", "fork://x?http://u:***@h"),
        ("fork://x?http%3A%2F%2Fu:s3cret@h%2F%20+%2B", "fork://x?http://u:***@h/%20+%2B"),
        (
            "fork://x?-i%20rtmp://a:s3cret@h%20ftp://b:s3cret@h",
            "fork://x?-i%20rtmp://a:***@h%20ftp://b:***@h",
        ),
    ];
    for (text, label) in table {
        let remote = Remote::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(remote.label(), label);
        for shown in [format!("{remote:?}"), format!("{:?}", remote.kind())] {
            assert!(!shown.contains("cret"), "{shown}");
            assert!(!shown.contains("s3"), "{shown}");
        }
    }
}

#[test]
fn debug_shows_what_it_is() {
    assert_eq!(format!("{:?}", Remote::sample()), "Remote(\"sample\")");
    assert_eq!(format!("{:?}", Remote::sample().kind()), "Sample");
    assert_eq!(format!("{:?}", kind("http://h/x")), "Http(\"http://h/x\")");
    assert_eq!(format!("{:?}", kind("file:///x")), "File(\"/x\")");
    assert_eq!(format!("{:?}", kind("unixgram:///x")), "UnixDatagram(\"/x\")");
    assert_eq!(format!("{:?}", kind("unixpacket:///x")), "UnixPacket(\"/x\")");
    for (scheme, name) in [("udp", "Udp"), ("rtp", "Rtp")] {
        assert_eq!(
            format!("{:?}", kind(&format!("{scheme}://192.0.2.1@232.0.0.1:5"))),
            format!(
                "{name}(Datagrams {{ address: HostPort {{ host: \"232.0.0.1\", port: 5 }}, \
                source: Some(\"192.0.2.1\") }})"
            )
        );
    }
    assert_eq!(
        format!("{:?}", kind("fork://x?a")),
        "Command { program: \"x\", arguments: [\"a\"] }"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = Remote::parse(&text);
    }

    #[test]
    fn no_url_panics(
        scheme in "(http|tcp|udp|rtp|unix|unixgram|unixpacket|file|fork|https):/{0,3}",
        rest in "[a-z0-9:/@?#%+\\[\\]. é-]{0,40}",
    ) {
        let _ = Remote::parse(&format!("{scheme}{rest}"));
    }

    /// Who receives need not look again: the group is one, of the source's family.
    #[test]
    fn a_source_comes_with_a_group(
        source in "(|@|[0-9.]{1,15}@|192.0.2.[0-9]{1,3}@|\\[[0-9a-f:]{2,9}\\]@|\\[fe80::[0-9]\\]@)",
        group in "([a-z0-9.]{0,9}|2[0-9]{2}.0.0.1|\\[ff[0-9]5::1(%[a-z0-9]{1,4})?\\])",
        port in "(:[0-9]{1,5})?/?",
    ) {
        let text = format!("udp://{source}{group}{port}");
        if let Ok(remote) = Remote::parse(&text) {
            let RemoteKind::Udp(datagrams) = remote.kind() else { panic!("{text}: not udp") };
            prop_assert!(!datagrams.address.host.is_empty() && datagrams.address.port != 0);
            if let Some(source) = &datagrams.source {
                let source: IpAddr = source.parse().expect("an address");
                let host = datagrams.address.host.split('%').next().expect("one");
                let group: IpAddr = host.parse().expect("an address");
                prop_assert!(group.is_multicast() && !source.is_multicast());
                prop_assert_eq!(group.is_ipv4(), source.is_ipv4());
            }
        }
    }

    /// Whatever else is in the URL, and whether it is accepted or not.
    #[test]
    fn no_password_is_ever_shown(
        scheme in "(http|HTTP|tcp|udp|rtp|unixgram|unixpacket|fork|https|x)://",
        fork in "(|x\\?http://|x\\?-i\\+x=tcp://)",
        user in "[a-z]{0,3}",
        password in "[A-Za-z0-9!$&'*,;=%]{0,4}SESAME[A-Za-z0-9!$@:]{0,4}",
        host in "[a-z.]{1,8}(:[0-9]{1,5})?",
        path in "(/[a-z?#@:]{0,8})?",
    ) {
        let fork = if scheme.starts_with("fork") { fork } else { String::new() };
        let text = format!("{scheme}{fork}{user}:{password}@{host}{path}");
        let shown = match Remote::parse(&text) {
            Ok(remote) => format!("{remote:?} {:?} {}", remote.kind(), remote.label()),
            Err(error) => format!("{error:?} {error}"),
        };
        prop_assert!(!shown.contains("SESAME"), "{}", shown);
    }
}
