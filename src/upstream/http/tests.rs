use std::hash::RandomState;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::egress::{Proxies, Trust};
use crate::limits::{UPSTREAM_HEAD_BYTES_MAX, VIA_MEMBERS_MAX};
use crate::upstream::{Body, Dialed, Framing};

/// A server that answers one connection after the other with the given bytes, `{port}` replaced by
/// its own; what it was asked comes back when it is joined.
fn serve(answers: Vec<&'static str>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let answer_one = |answer: &str| {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            socket.write_all(answer.replace("{port}", &port.to_string()).as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        };
        answers.into_iter().map(answer_one).collect()
    });
    (port, serving)
}

fn own() -> Pseudonym {
    static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Pseudonym::new(&RANDOM, "/own.ts")
}

fn dial_path(port: u16, path: &str) -> Result<Dialed, DialError> {
    let url = Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap();
    dial_by(Proxies::default(), &url, Duration::from_secs(20))
}

fn dial_by(proxies: Proxies, url: &Url, patience: Duration) -> Result<Dialed, DialError> {
    let egress = Egress { trust: Trust::load(None).unwrap(), proxies };
    match dial(url, &own(), &egress, Some(Instant::now() + patience))? {
        Opened::Ready(dialed) => Ok(dialed),
        Opened::ToDecrypt(..) => panic!("{url} is not encrypted"),
    }
}

#[test]
fn the_request_and_the_beginning_of_the_body() {
    let (port, serving) = serve(vec!["HTTP/1.1 200 OK\r\nContent-Type: video/mpeg\r\n\r\nGG"]);
    let dialed = dial_path(port, "/a%20b.ts?x=1").unwrap();
    assert_eq!(dialed.early, b"GG");
    assert!(matches!(dialed.body, Body::Stream(Framing::Raw)));
    let asked = serving.join().unwrap().remove(0);
    assert!(asked.starts_with("GET /a%20b.ts?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{asked}");
    assert!(!asked.contains("Authorization"));
}

#[test]
fn framing_by_header() {
    for (headers, expected) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "Chunked"),
        ("Content-Length: 3\r\n", "Length"),
        ("", "Raw"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").leak();
        let dialed = dial_path(serve(vec![answer]).0, "/").unwrap();
        let body = format!("{:?}", dialed.body);
        assert!(body.starts_with(&format!("Stream({expected}")), "{body}");
    }
}

#[test]
fn informational_answers_are_passed_over() {
    let (port, _) = serve(vec!["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]);
    assert!(dial_path(port, "/").is_ok());
}

#[test]
fn redirects_keep_the_password_on_the_same_host_only() {
    let (port, serving) = serve(vec![
        "HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n",
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:{port}/last\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ]);
    let url = Url::parse(&format!("http://me:p%40ss@127.0.0.1:{port}/first")).unwrap();
    dial_by(Proxies::default(), &url, Duration::from_secs(20)).unwrap();
    let asked = serving.join().unwrap();
    let basic = "Authorization: Basic bWU6cEBzcw==\r\n";
    assert!(asked[0].contains(basic) && asked[1].contains(basic));
    assert!(asked[1].starts_with("GET /next "), "{}", asked[1]);
    assert!(asked[2].starts_with("GET /last ") && !asked[2].contains("Authorization"));
}

#[test]
fn failures_say_what_happened() {
    for (answer, kind, text) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "status", "answered 404, expected 200"),
        ("HTTP/1.1 206 Partial Content\r\n\r\n", "status", "answered 206, expected 200"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "protocol", "does not answer in HTTP"),
        ("HTTP/1.1 200 OK\r\nX:", "head", "broke off before its response head was whole"),
        ("HTTP/1.1 301 Moved\r\n\r\n", "redirect", "location that is missing"),
        ("HTTP/1.1 301 Moved\r\nLocation: ftp://x/\r\n\r\n", "redirect", "redirected to ftp://"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n", "protocol", "\"br\""),
    ] {
        let error = dial_path(serve(vec![answer]).0, "/").unwrap_err();
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn the_way_is_asked_and_told() {
    let told = "HTTP/1.1 100 Go on\r\nVia: 1.1 early\r\n\r\nHTTP/1.1 200 OK\r\n\
                via: 1.1 a (x)\r\nVia: 1.1 b\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (port, serving) = serve(vec!["HTTP/1.1 302 F\r\nLocation: /b\r\n\r\n", told]);
    let dialed = dial_path(port, "/a").unwrap();
    assert_eq!(dialed.via.to_string(), "1.1 a, 1.1 b");
    for asked in serving.join().unwrap() {
        assert!(asked.contains(&format!("\r\nVia: {}\r\n", own())), "{asked}");
    }
}

#[test]
fn what_comes_by_way_of_us_is_refused() {
    let own = own();
    let long = "1.1 x, ".repeat(VIA_MEMBERS_MAX);
    for (status, via, kind, text) in [
        ("200 OK", format!("1.1 a, {own} (we), 1.1 b"), "loop", format!("1.1 a, {own}, 1.1 b")),
        // Our own refusal of our own request, as a proxy in between may change it.
        ("508 Loop Detected", own.to_string(), "loop", "way of this stream itself".to_owned()),
        ("502 Bad Gateway", own.to_string(), "loop", own.to_string()),
        ("508 Loop Detected", "1.1 other".to_owned(), "status", "answered 508".to_owned()),
        (
            "200 OK",
            format!("{long}1.1 y"),
            "too_far",
            "too long to be meant: Via: 1.1 x".to_owned(),
        ),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nVia: {via}\r\n\r\n").leak();
        let error = dial_path(serve(vec![answer]).0, "/").unwrap_err();
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
        assert!(error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn a_loop_of_redirects_ends() {
    let again = "HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n";
    let error = dial_path(serve(vec![again; REDIRECTS_MAX + 1]).0, "/").unwrap_err();
    assert!(matches!(error, DialError::TooManyRedirects), "{error}");
}

#[test]
fn an_endless_head_is_cut() {
    let answer = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * UPSTREAM_HEAD_BYTES_MAX));
    let error = dial_path(serve(vec![answer.leak()]).0, "/").unwrap_err();
    assert!(matches!(error, DialError::HeadTooLong), "{error}");
}

#[test]
fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let soon = Duration::from_millis(50);
    let error = dial_by(Proxies::default(), &url, soon).unwrap_err();
    assert!(matches!(error, DialError::TimedOut), "{error}");
}
