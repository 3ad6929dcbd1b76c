use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

fn whole(length: usize, client: &str) -> Header {
    Header::Whole { length, client: Some(client.parse().unwrap()) }
}

fn nobodys(length: usize) -> Header {
    Header::Whole { length, client: None }
}

/// A binary header: version and command, family and protocol, what follows the length.
fn binary_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

/// The addresses and ports of a header over IPv4, 192.0.2.1:4711 to 198.51.100.1:80.
const OVER_4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];

fn over_6(source: Ipv6Addr) -> Vec<u8> {
    [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0x12, 0x67, 0, 80]].concat()
}

/// Every beginning of `header` is one, and what comes after it changes nothing.
fn assert_read(header: &[u8], expected: Header) {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Header::Part, "{end} of {}", header.escape_ascii());
    }
    for after in [&b""[..], b"GET / HTTP/1.0\r\n\r\n", b"\0", b"\r\n", b"PROXY"] {
        let bytes = [header, after].concat();
        assert_eq!(parse(&bytes), expected, "{}", bytes.escape_ascii());
    }
}

/// `bytes` is refused, and was not before its last byte.
fn assert_refused(bytes: &[u8], error: ProxyError) {
    let last = bytes.len() - 1;
    assert_eq!(parse(&bytes[..last]), Header::Part, "{}", bytes[..last].escape_ascii());
    assert_eq!(parse(bytes), Header::Refused(error), "{}", bytes.escape_ascii());
}

#[test]
fn lines() {
    for (line, client) in [
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", "[2001:db8::1]:4711"),
        ("PROXY TCP6 :: ::1 1 2\r\n", "[::]:1"),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "192.0.2.1:1"),
        ("PROXY TCP6 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:8 1 2\r\n", "[1:2:3:4:5:6:7:8]:1"),
        ("PROXY TCP6 1:2:3:4:5:6:7.8.9.10 1:2:3:4:5:6:7:: 1 2\r\n", "[1:2:3:4:5:6:708:90a]:1"),
    ] {
        assert_read(line.as_bytes(), whole(line.len(), client));
    }
    let all = ["ffff"; 8].join(":");
    let longest = format!("PROXY TCP6 {all} {all} 65535 65535\r\n");
    assert_eq!(longest.len(), 104);
    assert_read(longest.as_bytes(), whole(longest.len(), &format!("[{all}]:65535")));
    let longest = format!("PROXY UNKNOWN {all} {all} 65535 65535\r\n");
    assert_eq!(longest.len(), PROXY_TEXT_BYTES_MAX);
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN a b \r c \n d e f g\r\n", &longest] {
        assert_read(line.as_bytes(), nobodys(line.len()));
    }
    assert_read(b"PROXY UNKNOWN \xff\r\n", nobodys(17));
}

#[test]
fn binary_headers() {
    let tlvs = [&OVER_4[..], &[0x04, 0, 3, 1, 2, 3], &[0x02, 0, 1, b'x'], &[0xee, 0xff]].concat();
    let six = over_6("2001:db8::1".parse().unwrap());
    let mapped = over_6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
    for (command, family, rest, client) in [
        (0x21, 0x11, &OVER_4[..], Some("192.0.2.1:4711")),
        (0x21, 0x12, &OVER_4, Some("192.0.2.1:4711")),
        (0x21, 0x11, &tlvs, Some("192.0.2.1:4711")),
        (0x21, 0x21, &six, Some("[2001:db8::1]:4711")),
        (0x21, 0x22, &six, Some("[2001:db8::1]:4711")),
        (0x21, 0x21, &mapped, Some("192.0.2.1:4711")),
        (0x21, 0x31, &[b'/'; 216], None),
        (0x21, 0x32, &[0; 300], None),
        (0x21, 0x00, &[], None),
        (0x21, 0x00, &[1; 9], None),
        (0x21, 0x10, &OVER_4, None),
        (0x21, 0x01, &[], None),
        // A health check: the rest is not looked at.
        (0x20, 0x00, &[], None),
        (0x20, 0x11, &[], None),
        (0x20, 0x11, &OVER_4, None),
        (0x20, 0xff, &[9; 7], None),
        (0x20, 0x00, &[0; PROXY_BINARY_BYTES_MAX - 16], None),
    ] {
        let header = binary_header(command, family, rest);
        let client = client.map(|client| client.parse().unwrap());
        assert_read(&header, Header::Whole { length: header.len(), client });
    }
    // As HAProxy sends it, from 10.1.2.3:61 to 10.1.2.4:8000.
    let header =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x01\x02\x04\0\x3d\x1f\x40";
    assert_read(header, whole(28, "10.1.2.3:61"));
}

#[test]
fn lines_are_refused_at_the_first_wrong_byte() {
    for line in [
        "PROXY  ",
        "PROXY t",
        "PROXY TCP5",
        "PROXY TCP4\r",
        "PROXY TCP4  ",
        "PROXY TCP4 a",
        "PROXY TCP4 :",
        "PROXY TCP4 256",
        "PROXY TCP4 01",
        "PROXY TCP4 1..",
        "PROXY TCP4 1.2.3.4.",
        "PROXY TCP4 1.2.3.4\r",
        "PROXY TCP4 1.2.3 ",
        "PROXY TCP4 1.2.3.4 2001",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 +",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
        "PROXY TCP6 1.",
        "PROXY TCP6 g",
        "PROXY TCP6 12345",
        "PROXY TCP6 1::2::",
        "PROXY TCP6 1:2:3:4:5:6:7:8:",
        "PROXY TCP6 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7 ",
        "PROXY TCP6 fe80::1%",
        "PROXY UNKNOWNS",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rX",
    ] {
        assert_refused(line.as_bytes(), ProxyError::Line);
    }
    let endless = format!("PROXY UNKNOWN {:93}", "");
    assert_refused(endless.as_bytes(), ProxyError::TooLong);
    let too_late = format!("{endless}\r\n");
    assert_eq!(parse(too_late.as_bytes()), Header::Refused(ProxyError::TooLong));
}

#[test]
fn binary_headers_are_refused_at_the_first_wrong_byte() {
    for (tail, error) in [
        (&[0x11][..], ProxyError::Version(1)),
        (&[0x31], ProxyError::Version(3)),
        (&[0x22], ProxyError::Command(2)),
        (&[0x2f], ProxyError::Command(15)),
        (&[0x21, 0x13], ProxyError::Family(0x13)),
        (&[0x21, 0x41], ProxyError::Family(0x41)),
        (&[0x21, 0x11, 0, 11], ProxyError::TooShort),
        (&[0x21, 0x21, 0, 35], ProxyError::TooShort),
        (&[0x21, 0x31, 0, 215], ProxyError::TooShort),
        (&[0x21, 0x11, 8], ProxyError::TooLong),
        (&[0x20, 0x00, 7, 0xf1], ProxyError::TooLong),
    ] {
        assert_refused(&[&SIGNATURE[..], tail].concat(), error);
    }
}

#[test]
fn what_is_no_header_is_refused_at_once() {
    for bytes in [&b"G"[..], b"\n", b"\0", b"\x16\x03\x01", b"proxy"] {
        assert_eq!(parse(bytes), Header::Refused(ProxyError::Missing), "{bytes:?}");
    }
    for bytes in [&b"PROXX"[..], b"PROXY\r", b"\r\n\r\n\r", b"\r\nG", b"\r\n\r\n\0\r\nQUIT\r"] {
        assert_refused(bytes, ProxyError::Missing);
    }
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    // With zeros in all places: `::` may stand anywhere.
    let six = prop::array::uniform8(prop_oneof![Just(0_u16), any::<u16>()]);
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        six.prop_map(|groups| IpAddr::V6(Ipv6Addr::from(groups))),
        any::<Ipv4Addr>().prop_map(|four| IpAddr::V6(four.to_ipv6_mapped())),
    ]
}

/// A valid header of either version, and whose it is.
fn headers() -> impl Strategy<Value = (Vec<u8>, SocketAddr)> {
    let tlvs = prop::collection::vec(any::<u8>(), 0..50);
    let all = (addresses(), addresses(), any::<u16>(), any::<u16>(), any::<bool>(), tlvs);
    all.prop_map(|(source, to, port, other, binary, tlvs)| {
        let to = match (source, to) {
            (IpAddr::V4(_), IpAddr::V6(_)) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (IpAddr::V6(_), IpAddr::V4(four)) => IpAddr::V6(four.to_ipv6_compatible()),
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => to,
        };
        let ports = [port.to_be_bytes(), other.to_be_bytes()].concat();
        let header = match (source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) if binary => {
                let rest = [&source.octets()[..], &to.octets(), &ports, &tlvs].concat();
                binary_header(0x21, 0x11, &rest)
            }
            (IpAddr::V6(source), IpAddr::V6(to)) if binary => {
                let rest = [&source.octets()[..], &to.octets(), &ports, &tlvs].concat();
                binary_header(0x21, 0x21, &rest)
            }
            (source, to) => {
                let family = if source.is_ipv4() { 4 } else { 6 };
                format!("PROXY TCP{family} {source} {to} {port} {other}\r\n").into_bytes()
            }
        };
        (header, client(source, port))
    })
}

proptest! {
    #[test]
    fn every_beginning_of_a_header_is_a_part((header, client) in headers()) {
        assert_read(&header, Header::Whole { length: header.len(), client: Some(client) });
    }

    #[test]
    fn nothing_panics(
        prefix in prop_oneof![
            Just(&b""[..]), Just(TCP4), Just(TCP6), Just(UNKNOWN), Just(&SIGNATURE[..])
        ],
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _any = parse(&[prefix, &bytes].concat());
    }

    /// What is decided stays so, however many bytes follow.
    #[test]
    fn an_answer_is_final(
        (mut header, _) in headers(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789abf:. \r\n"[..])],
    ) {
        let at = at.index(header.len());
        header[at] = byte;
        let mut before = Header::Part;
        for end in 0..=header.len() {
            let now = parse(&header[..end]);
            if before == Header::Part {
                before = now;
            }
            prop_assert_eq!(now, before);
            if let Header::Whole { length, .. } = now {
                prop_assert!(length <= end);
            }
        }
        prop_assert!(before != Header::Part || header.len() < PROXY_BINARY_BYTES_MAX);
    }
}
