use super::*;

/// Proxies of an environment that has these variables.
fn of(variables: &[(&'static str, &str)]) -> (Proxies, Vec<String>) {
    let (proxies, errors) = Proxies::from_variables(|name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    });
    (proxies, errors.iter().map(ToString::to_string).collect())
}

fn proxy_for(proxies: &Proxies, url: &str) -> Option<String> {
    proxies.of(&Url::parse(url).unwrap()).map(ToString::to_string)
}

#[test]
fn each_scheme_has_its_proxy() {
    let (proxies, errors) = of(&[("HTTP_PROXY", "http://p:1"), ("https_proxy", "q:2")]);
    assert_eq!(errors, [""; 0]);
    assert_eq!(proxy_for(&proxies, "http://h/"), Some("http://p:1".to_owned()));
    assert_eq!(proxy_for(&proxies, "https://h/"), Some("http://q:2".to_owned()));
    let said: Vec<_> = proxies.in_use().map(|(s, p)| format!("{s} {p}")).collect();
    assert_eq!(said, ["http http://p:1", "https http://q:2"]);
    assert_eq!(of(&[("HTTP_PROXY", ""), ("http_proxy", " ")]).0.in_use().count(), 0);
}

#[test]
fn the_capital_variable_goes_first() {
    let (proxies, _) = of(&[("http_proxy", "small:1"), ("HTTP_PROXY", "capital:1")]);
    assert_eq!(proxy_for(&proxies, "http://h/"), Some("http://capital:1".to_owned()));
    let (proxies, _) = of(&[("http_proxy", "small:1"), ("HTTP_PROXY", "")]);
    assert_eq!(proxy_for(&proxies, "http://h/"), Some("http://small:1".to_owned()));
}

#[test]
fn values_and_what_becomes_of_them() {
    for (value, shown, host, port) in [
        ("p", "http://p:80", "p", 80),
        ("P.Example:3128", "http://p.example:3128", "p.example", 3128),
        ("http://p:3128/", "http://p:3128", "p", 3128),
        ("HTTP://p", "http://p:80", "p", 80),
        ("[::1]:3128", "http://[::1]:3128", "::1", 3128),
        ("me:s3cret@p:1", "http://me:***@p:1", "p", 1),
        ("http://me@p:1", "http://me@p:1", "p", 1),
    ] {
        let (proxies, errors) = of(&[("HTTP_PROXY", value)]);
        let proxy = proxies.http.unwrap_or_else(|| panic!("{value}: {errors:?}"));
        assert_eq!((proxy.to_string().as_str(), proxy.host(), proxy.port()), (shown, host, port));
        assert!(!format!("{proxy:?}").contains("s3cret"), "{proxy:?}");
    }
    let (proxies, _) = of(&[("HTTP_PROXY", "me:p%40ss@p:1")]);
    let authorization = proxies.http.as_ref().unwrap().authorization().unwrap();
    assert_eq!(authorization.expose(), "Basic bWU6cEBzcw==");
}

#[test]
fn what_is_not_heeded_is_said_without_the_password() {
    for (value, said) in [
        ("https://me:s3cret@p", "https:// proxies are not supported, only http://"),
        ("socks5://me:s3cret@p:1080", "socks5:// proxies are not supported, only http://"),
        ("http://me:s3cret@p:99999", "it is no address of a proxy: invalid port number"),
        ("http://me:s3cret@p:0", "it is no address of a proxy: invalid port number"),
        ("http://", "it is no address of a proxy: empty host"),
        ("me:s3cret@", "it is no address of a proxy: empty host"),
        ("s3cret x://p", "it is no address of a proxy: relative URL without a base"),
    ] {
        let (proxies, errors) = of(&[("HTTPS_PROXY", value)]);
        assert_eq!(errors, [format!("HTTPS_PROXY is not used: {said}")], "{value}");
        assert_eq!(proxy_for(&proxies, "https://h/"), None);
    }
}

#[test]
fn the_machine_itself_is_never_reached_by_a_proxy() {
    let (proxies, _) = of(&[("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "p:1")]);
    for local in [
        "http://localhost/",
        "https://LOCALHOST:81/",
        "http://127.0.0.1/",
        "http://127.9.9.9:81/",
        "https://[::1]/",
        "http://[::ffff:127.0.0.1]/",
    ] {
        assert_eq!(proxy_for(&proxies, local), None, "{local}");
    }
    for other in ["http://localhost.example/", "http://128.0.0.1/", "http://0.0.0.0/"] {
        assert!(proxy_for(&proxies, other).is_some(), "{other}");
    }
}

#[test]
fn exceptions() {
    for (list, straight, proxied) in [
        ("*", vec!["http://h/", "http://192.0.2.1/"], vec![]),
        ("a, *", vec!["http://h/"], vec![]),
        (
            "Example.org",
            vec!["http://example.org/", "http://a.b.EXAMPLE.org:8080/"],
            vec!["http://anexample.org/", "http://example.org.net/", "http://192.0.2.1/"],
        ),
        (".example.org", vec!["http://a.example.org/"], vec!["http://example.org/"]),
        ("*.example.org", vec!["http://a.example.org/"], vec!["http://example.org/"]),
        (
            "example.org:8080",
            vec!["http://example.org:8080/", "http://a.example.org:8080/"],
            vec!["http://example.org/"],
        ),
        ("example.org:80", vec!["http://example.org/"], vec!["http://example.org:8080/"]),
        ("bücher.example", vec!["http://xn--bcher-kva.example/"], vec!["http://example/"]),
        ("192.0.2.1", vec!["http://192.0.2.1:81/"], vec!["http://192.0.2.10/", "http://h/"]),
        ("192.0.2.1:81", vec!["http://192.0.2.1:81/"], vec!["http://192.0.2.1/"]),
        ("192.0.2.0/24", vec!["http://192.0.2.255/"], vec!["http://192.0.3.0/"]),
        ("2001:db8::/32", vec!["http://[2001:db8::1]/"], vec!["http://[2001:db9::1]/"]),
        ("2001:db8::1", vec!["http://[2001:db8:0::1]:81/"], vec!["http://[2001:db8::2]/"]),
        ("[2001:db8::1]", vec!["http://[2001:db8::1]/"], vec![]),
        ("[2001:db8::1]:81", vec!["http://[2001:db8::1]:81/"], vec!["http://[2001:db8::1]/"]),
        (" a ,, b ,", vec!["http://a/", "http://b/"], vec!["http://c/"]),
    ] {
        let (proxies, errors) = of(&[("http_proxy", "p:1"), ("no_proxy", list)]);
        assert_eq!(errors, [""; 0], "{list}");
        for url in straight {
            assert_eq!(proxy_for(&proxies, url), None, "{list}: {url}");
        }
        for url in proxied {
            assert!(proxy_for(&proxies, url).is_some(), "{list}: {url}");
        }
    }
}

#[test]
fn exceptions_that_fit_nothing_are_told() {
    for entry in ["10.0.0.0/33", "a b", ":80", "h:x", "http://me:s3cret@h/", ".", "*.", "1.2"] {
        let (_, errors) = of(&[("NO_PROXY", &format!("a,{entry}"))]);
        let said = "NO_PROXY: entry 2 is neither a name, nor an IP address, nor a network";
        assert_eq!(errors, [said], "{entry}");
    }
}
