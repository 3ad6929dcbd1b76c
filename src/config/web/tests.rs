use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    WebAddress::parse(text).expect_err(text).to_string()
}

#[test]
fn addresses_and_their_labels() {
    let table = [
        ("http://h", "http://h/", "http://h"),
        ("https://h:8443/a?b=c", "https://h:8443/a?b=c", "https://h:8443/a?b=c"),
        ("HTTPS://H:443/", "https://h/", "HTTPS://H:443/"),
        ("http://[::1]:80/x#here", "http://[::1]/x", "http://[::1]:80/x#here"),
        ("http://u@h/a b", "http://u@h/a%20b", "http://u@h/a b"),
        ("http://u:p@h/x#here", "http://u:p@h/x", "http://u:***@h/x"),
        ("https://u:a%40b@h/m?to=a:b@c", "https://u:a%40b@h/m?to=a:b@c", {
            "https://u:***@h/m?to=a:b@c"
        }),
        ("http://h/m?to=a:b@c", "http://h/m?to=a:b@c", "http://h/m?to=a:b@c"),
    ];
    for (text, url, label) in table {
        let address = WebAddress::parse(text).expect(text);
        assert_eq!((address.url.as_str(), address.label.as_str()), (url, label));
        assert_eq!(format!("{address:?}"), format!("WebAddress({label:?})"));
    }
    let host = "http://h/";
    let longest = format!("{host}{}", "x".repeat(REMOTE_BYTES_MAX - host.len()));
    assert!(WebAddress::parse(&longest).is_ok());
    assert_eq!(refused(&format!("{longest}x")), "is longer than 4096 bytes");
}

#[test]
fn what_is_no_address_is_refused() {
    let scheme = "is neither an http:// nor an https:// URL";
    let space = "has white space around it or a control character in it";
    let form = "http is written http://host/path";
    let table = [
        ("", "is empty"),
        (" http://h/", space),
        ("http://h/\n", space),
        ("http://h/a\tb", space),
        ("h", scheme),
        ("/etc/motd", scheme),
        ("file:///x", scheme),
        ("tcp://h:1", scheme),
        ("httpss://h/", scheme),
        ("http:h", form),
        ("http:/h", form),
        ("http:///h", form),
        ("HTTPS:/h", "https is written https://host/path"),
        ("http://", "is not a valid URL: empty host"),
        ("http://u:s3cret@/", "is not a valid URL: empty host"),
        ("http://u:s3cret@h:x/", "is not a valid URL: invalid port number"),
        ("http://u:s3cret@h:65536/", "is not a valid URL: invalid port number"),
        ("http://h:0/", "its port is not a number within 1 and 65535"),
        ("https://[::1/", "is not a valid URL: invalid IPv6 address"),
    ];
    for (text, said) in table {
        assert_eq!(refused(text), said, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_password_is_shown(password in "[!-~]{1,20}", text in "[ -~]{0,30}") {
        let encoded = percent_encoding::utf8_percent_encode(
            &password,
            percent_encoding::NON_ALPHANUMERIC,
        );
        let shown = WebAddress::parse(&format!("https://user:Zq9{encoded}@host/path"));
        let shown = format!("{shown:?}");
        prop_assert!(!shown.contains("Zq9"));
        // Not even in an address that is none.
        if let Err(error) = WebAddress::parse(&format!("{text}:Zq9{password}@{text}")) {
            let shown = format!("{error:?} {error}");
            prop_assert!(!shown.contains("Zq9"));
        }
    }
}
