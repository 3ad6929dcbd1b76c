//! Whose request a proxy has passed on (`Forwarded`, RFC 7239, and `X-Forwarded-For`).
//!
//! Owns the rule whom to believe. Each proxy adds at the right whom it was asked by, so that an
//! entry is worth what the hop right of it is worth; from a stranger these headers mean nothing.
//! Driven by whoever has a request head.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::limits::FORWARDED_ELEMENTS_MAX;

/// The address of the client, canonical: an IPv4 address mapped into IPv6 is an IPv4 address.
///
/// `peer` is who is connected to us; `forwarded` and `x_forwarded_for` are the values of all
/// header lines of that name, in their order. While the client known so far, at first `peer`, is in
/// a `trusted` network (canonical as well), the next entry from the right is the client instead.
/// The walk ends before an entry that is no address, and after [`FORWARDED_ELEMENTS_MAX`] entries.
///
/// Where there is an `X-Forwarded-For` line, `Forwarded` does not count: the former is what nearly
/// every proxy writes, and one that writes it lets the client's own `Forwarded` pass. A trusted
/// proxy that writes only the latter has therefore to remove the former, or its clients choose
/// their address.
pub fn client(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded: &[&str],
    x_forwarded_for: &[&str],
) -> IpAddr {
    if x_forwarded_for.is_empty() {
        let elements =
            forwarded.iter().rev().flat_map(|line| last_elements(line).into_iter().rev());
        walk(peer, trusted, elements.map(hop))
    } else {
        let entries = x_forwarded_for.iter().rev().flat_map(|line| line.rsplit(','));
        let entries = entries.map(trimmed).filter(|entry| !entry.is_empty());
        walk(peer, trusted, entries.map(address))
    }
}

fn walk(peer: IpAddr, trusted: &[IpNet], hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let is_trusted = |client| trusted.iter().any(|network| network.contains(&client));
    let mut client = peer.to_canonical();
    for hop in hops.take(FORWARDED_ELEMENTS_MAX) {
        match hop {
            Some(address) if is_trusted(client) => client = address,
            Some(_) | None => break,
        }
    }
    client
}

/// The last elements of a line of `Forwarded`, not more than are looked at. Quotes are paired from
/// the left: a client that leaves one open spoils what its proxy adds to that line, and no more is
/// known of it than its proxy.
fn last_elements(line: &str) -> VecDeque<&str> {
    let mut last = VecDeque::new();
    for element in split(line, ',').filter(|element| !element.is_empty()) {
        if last.len() == FORWARDED_ELEMENTS_MAX {
            last.pop_front();
        }
        last.push_back(element);
    }
    last
}

/// The pieces between `separator`s that are not quoted, without the space around them.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = move |character| {
        let separates = !quoted && character == separator;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    };
    text.split(separates).map(trimmed)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The `for` of a forwarded-element, if that is an address and the element well-formed.
///
/// Nothing less strict will do: behind a quote left open, the quotes of what a proxy has added are
/// taken the wrong way round, and what it repeats of the request, such as `host`, is read as if the
/// proxy had said it. What is then the last element has an open quote as well, or the backslash
/// of an escaped one outside of quotes.
fn hop(element: &str) -> Option<IpAddr> {
    let mut node = None;
    for pair in split(element, ';').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').filter(|(name, _)| is_token(name))?;
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
    }
    address(&node?)
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(belongs)
}

/// The value of a token or quoted string (RFC 9110, 5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return is_token(value).then(|| value.to_owned());
    };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

/// `v4`, `v4:port`, `v6`, `[v6]` or `[v6]:port`.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (six, rest) = rest.split_once(']')?;
        let six: Ipv6Addr = six.parse().ok()?;
        let well = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return well.then(|| IpAddr::V6(six).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (four, port) = text.split_once(':')?;
    four.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

/// A port, or what hides one (RFC 7239, 6.2 and 6.3).
fn is_port(text: &str) -> bool {
    let hiding = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(hiding),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The proxies.
    fn trusted() -> [IpNet; 3] {
        ["10.0.0.0/8", "2001:db8:aa::/48", "172.16.0.0/12"].map(|net| net.parse().unwrap())
    }

    fn client_of(peer: &str, forwarded: &[&str], x_forwarded_for: &[&str]) -> String {
        client(peer.parse().unwrap(), &trusted(), forwarded, x_forwarded_for).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        for peer in ["192.0.2.1", "::ffff:192.0.2.1"] {
            for forwarded in [&["for=198.51.100.7"][..], &[]] {
                let client = client_of(peer, forwarded, &["198.51.100.7, 10.0.0.1"]);
                assert_eq!(client, "192.0.2.1");
            }
        }
        let nobody = client("10.0.0.1".parse().unwrap(), &[], &["for=1.2.3.4"], &["1.2.3.4"]);
        assert_eq!(nobody.to_string(), "10.0.0.1");
    }

    #[test]
    fn the_first_that_is_not_trusted_from_the_right() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("172.31.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("172.32.0.1", &["192.0.2.7"], "172.32.0.1"),
            ("2001:db8:aa::1", &["2001:db8:bb::1"], "2001:db8:bb::1"),
            // What the client itself has claimed stands left of it.
            ("10.0.0.1", &["8.8.8.8, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["8.8.8.8", "192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["8.8.8.8, 10.0.0.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["8.8.8.8, 192.0.2.7", "10.0.0.3", "10.0.0.2"], "192.0.2.7"),
            // All are trusted: the farthest.
            ("10.0.0.1", &["10.0.0.3, 172.16.0.1,2001:db8:aa::2"], "10.0.0.3"),
            // Ports, brackets, empty entries, spaces; mapped addresses.
            ("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:80,\t, ,[2001:db8:aa::7]:80, "], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7, [::ffff:10.0.0.2]:80"], "192.0.2.7"),
            // What is no address ends the walk at the last that is one.
            ("10.0.0.1", &["8.8.8.8, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["8.8.8.8, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["8.8.8.8 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7:"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7:123456"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.07"], "10.0.0.1"),
            ("10.0.0.1", &["[192.0.2.7]"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::7"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::7]x"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            // Quotes are no part of this header, and hide nothing.
            ("10.0.0.1", &["\"8.8.8.8\", \", 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["\"192.0.2.7\""], "10.0.0.1"),
        ] {
            assert_eq!(client_of(peer, &[], lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn elements_of_forwarded() {
        for (lines, expected) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (&["For=192.0.2.7;Proto=https;By=10.0.0.1"], "192.0.2.7"),
            (&["proto=https; by=_edge ; FOR=\"192.0.2.7:80\";;host=\"a,b;c\""], "192.0.2.7"),
            (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]:_hidden.1\""], "2001:db8::7"),
            (&["for=\"[::ffff:192.0.2.7]:1\""], "192.0.2.7"),
            (&["for=\"2001:db8::7\""], "2001:db8::7"),
            (&["for=\"192.0.2\\.7\""], "192.0.2.7"),
            (&["for=8.8.8.8, for=192.0.2.7, for=10.0.0.2"], "192.0.2.7"),
            (&["for=8.8.8.8", "for=192.0.2.7,,", "for=10.0.0.2 , for=10.0.0.3"], "192.0.2.7"),
            (&["for=10.0.0.9,for=10.0.0.2"], "10.0.0.9"),
            // Nobody is named, or not in a way that can be followed.
            (&[""], "10.0.0.1"),
            (&["for=unknown"], "10.0.0.1"),
            (&["for=8.8.8.8, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=8.8.8.8, proto=https, for=10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.7"], "10.0.0.1"),
            (&["for"], "10.0.0.1"),
            (&["for="], "10.0.0.1"),
            (&["for=\""], "10.0.0.1"),
            (&["for=\"192.0.2.7"], "10.0.0.1"),
            (&["for=\"192.0.2.7\"x"], "10.0.0.1"),
            (&["for=\"192.0.2.7\\"], "10.0.0.1"),
            (&["for=192.0.2.7 for=8.8.8.8"], "10.0.0.1"),
            (&["for=192.0.2.7;for=8.8.8.8"], "10.0.0.1"),
            (&["for=192.0.2.7;proto"], "10.0.0.1"),
            // Neither a token nor in quotes, all the way.
            (&["for=192.0.2.7:4711"], "10.0.0.1"),
            (&["for=[2001:db8::7]"], "10.0.0.1"),
            (&["for=192.0.2.7;host=a:80"], "10.0.0.1"),
            (&["for=192.0.2.7;host="], "10.0.0.1"),
            (&["for=192.0.2.7;=a"], "10.0.0.1"),
            (&["for=192.0.2.7;a b=c"], "10.0.0.1"),
            (&["for=192.0.2.7;host=\\\"a"], "10.0.0.1"),
            (&["for=192.0.2.7;x\";y=z"], "10.0.0.1"),
            (&["for=192.0.2.7;\"x\"=z"], "10.0.0.1"),
        ] {
            assert_eq!(client_of("10.0.0.1", lines, &[]), expected, "{lines:?}");
        }
    }

    /// What the client sends, and to the right of it what its proxy adds: in no way can it choose
    /// its address.
    #[test]
    fn an_open_quote_wins_nothing() {
        for claimed in [
            "for=8.8.8.8;x=\"",
            "for=8.8.8.8;x=\"\\",
            "for=8.8.8.8,\"",
            "for=8.8.8.8;\"",
            "for=\"8.8.8.8",
            "\"",
            "for=8.8.8.8;x=\",for=8.8.8.8;x=\"",
        ] {
            for added in [
                "for=192.0.2.7",
                "for=\"192.0.2.7\"",
                "for=192.0.2.7;host=\"\"",
                "by=\"10.0.0.1\";for=\"192.0.2.7\"",
            ] {
                let client = client_of("10.0.0.1", &[&format!("{claimed}, {added}")], &[]);
                assert_ne!(client, "8.8.8.8", "{claimed} {added}");
                let client = client_of("10.0.0.1", &[claimed, added], &[]);
                assert_eq!(client, "192.0.2.7", "{claimed} {added}");
            }
        }
        // Nor with what the proxy quotes of its request.
        for host in ["a,for=8.8.8.8;x", "a,for=8.8.8.8;x=", ",for=8.8.8.8;x=\\\"", ",for=8.8.8.8"] {
            let added = format!("for=\"[2001:db8::7]\";host=\"{host}\";proto=http");
            let client = client_of("10.0.0.1", &[&format!("for=1;x=\", {added}")], &[]);
            assert_eq!(client, "10.0.0.1", "{host}");
            let client = client_of("10.0.0.1", &[&added], &[]);
            assert_eq!(client, "2001:db8::7", "{host}");
        }
    }

    #[test]
    fn what_nearly_every_proxy_writes_wins() {
        let client = client_of("10.0.0.1", &["for=192.0.2.7"], &["192.0.2.8"]);
        assert_eq!(client, "192.0.2.8", "a client's own Forwarded is no way to another address");
        assert_eq!(client_of("10.0.0.1", &["for=192.0.2.7"], &["unknown"]), "10.0.0.1");
    }

    #[test]
    fn no_more_entries_are_looked_at_than_the_limit() {
        let many = |n: usize, entry: &str| vec![entry; n].join(",");
        for (n, expected) in
            [(FORWARDED_ELEMENTS_MAX - 1, "8.8.8.8"), (FORWARDED_ELEMENTS_MAX, "10.0.0.2")]
        {
            let plain = format!("8.8.8.8,{}", many(n, "10.0.0.2"));
            assert_eq!(client_of("10.0.0.1", &[], &[&plain]), expected, "{n}");
            let elements = format!("for=8.8.8.8,{}", many(n, "for=10.0.0.2"));
            assert_eq!(client_of("10.0.0.1", &[&elements], &[]), expected, "{n}");
        }
    }

    fn lines(pieces: &'static str) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(pieces, 0..4)
    }

    const PIECES: &str =
        r#"([fF]or=|by=|10\.0\.0\.2|[;,"\\= \t\[\]:]|8\.8\.8\.8|::1|_x|unknown|\PC){0,12}"#;

    /// What a client says to choose its address.
    fn claims() -> impl Strategy<Value = String> {
        const PIECES: [&str; 12] = [
            "a",
            "b=c",
            ",",
            ";",
            "\"",
            "\\",
            "=",
            " ",
            ",for=8.8.8.8",
            ";for=8.8.8.8;",
            ";x=",
            ";x=\"",
        ];
        prop::collection::vec(prop::sample::select(&PIECES), 0..7).prop_map(|all| all.concat())
    }

    /// A well-formed element, and whom it names. What is quoted in it is the client's.
    fn elements() -> impl Strategy<Value = (String, IpAddr)> {
        let escaped = |claim: String| claim.replace('\\', r"\\").replace('"', "\\\"");
        let quoted = claims().prop_map(move |claim| format!("\"{}\"", escaped(claim)));
        let value = prop_oneof![3 => quoted, 1 => "[!#-'*+.^_`|~a-z0-9-]{1,4}"];
        let name = prop::sample::select(&["host", "by", "proto", "x"]);
        let parameter = (name, value).prop_map(|(name, value)| format!("{name}={value}"));
        let parameters = prop::collection::vec(parameter, 0..3);
        let all = (parameters.clone(), any::<IpAddr>(), any::<bool>(), parameters);
        all.prop_map(|(before, address, quoted, after)| {
            let named = match address {
                IpAddr::V4(four) if quoted => format!("for=\"{four}:80\""),
                IpAddr::V4(four) => format!("for={four}"),
                IpAddr::V6(six) => format!("for=\"[{six}]\""),
            };
            ([before, vec![named], after].concat().join(";"), address.to_canonical())
        })
    }

    proptest! {
        #[test]
        fn nothing_panics(f in lines(PIECES), x in lines(PIECES)) {
            let f: Vec<&str> = f.iter().map(String::as_str).collect();
            let x: Vec<&str> = x.iter().map(String::as_str).collect();
            for peer in ["10.0.0.1", "192.0.2.1"] {
                let client = client(peer.parse().unwrap(), &trusted(), &f, &x);
                prop_assert_eq!(client, client.to_canonical());
                prop_assert!(peer == "10.0.0.1" || client.to_string() == peer);
            }
        }

        /// Whatever a client claims, in lines of its own or left of the proxy's in the same line.
        #[test]
        fn claims_win_nothing(claimed in lines(PIECES), honest in any::<[u8; 4]>()) {
            let honest = IpAddr::from(honest);
            prop_assume!(!trusted().iter().any(|network| network.contains(&honest)));
            let proxy: IpAddr = "10.0.0.1".parse().unwrap();
            let added = format!("for={honest}");
            let mut all: Vec<&str> = claimed.iter().map(String::as_str).collect();
            all.push(&added);
            prop_assert_eq!(client(proxy, &trusted(), &all, &[]), honest);
            let joined = all.join(", ");
            let client_of_one_line = client(proxy, &trusted(), &[&joined], &[]);
            prop_assert!([honest, proxy].contains(&client_of_one_line), "{client_of_one_line}");

            let plain = honest.to_string();
            *all.last_mut().unwrap() = &plain;
            prop_assert_eq!(client(proxy, &trusted(), &[], &all), honest);
            let joined = all.join(", ");
            prop_assert_eq!(client(proxy, &trusted(), &[], &[&joined]), honest);
        }

        #[test]
        fn addresses_of_all_shapes(address in any::<IpAddr>(), port in any::<u16>()) {
            let proxy: IpAddr = "10.0.0.1".parse().unwrap();
            let trusted = ["10.0.0.1/32".parse().unwrap()];
            let with_port = std::net::SocketAddr::new(address, port).to_string();
            for shape in [address.to_string(), with_port] {
                let expected = address.to_canonical();
                prop_assert_eq!(client(proxy, &trusted, &[], &[&shape]), expected);
                let element = format!("proto=http;for=\"{shape}\"");
                prop_assert_eq!(client(proxy, &trusted, &[&element], &[]), expected);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever a client claims, also in what its proxy repeats of the request, in quotes.
        #[test]
        fn claims_in_a_proxys_quotes_win_nothing(
            claimed in claims(),
            comma in prop::sample::select(vec![",", ", ", " ,\t"]),
            (element, honest) in elements(),
        ) {
            let proxy: IpAddr = "10.0.0.1".parse().unwrap();
            prop_assume!(!trusted().iter().any(|network| network.contains(&honest)));
            let answer = |lines: &[&str]| client(proxy, &trusted(), lines, &[]);
            prop_assert_eq!(answer(&[&claimed, &element]), honest);
            let line = format!("{claimed}{comma}{element}");
            prop_assert!([honest, proxy].contains(&answer(&[&line])), "{line}");
        }
    }
}
