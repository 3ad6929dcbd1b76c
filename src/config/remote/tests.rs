use proptest::prelude::*;

use super::*;

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
    let no_scheme = "is not a URL, expected http://, tcp://, unix://, file:// or fork://";
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
        ("origin:80/x", "unknown scheme `origin`, expected http, tcp, unix, file or fork"),
        ("srt://h:1", "unknown scheme `srt`, expected http, tcp, unix, file or fork"),
        ("https://h/", "https upstreams are not supported yet by this version"),
        ("UDP://h:1", "udp upstreams are not supported yet by this version"),
        ("rtp://h:1", "rtp upstreams are not supported yet by this version"),
        ("unixgram:///x", "unixgram upstreams are not supported yet by this version"),
        ("unixpacket:///x", "unixpacket upstreams are not supported yet by this version"),
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
        scheme in "(http|tcp|unix|file|fork|https|udp):/{0,3}",
        rest in "[a-z0-9:/@?#%+\\[\\]. é-]{0,40}",
    ) {
        let _ = Remote::parse(&format!("{scheme}{rest}"));
    }

    /// Whatever else is in the URL, and whether it is accepted or not.
    #[test]
    fn no_password_is_ever_shown(
        scheme in "(http|HTTP|tcp|udp|fork|x)://",
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
