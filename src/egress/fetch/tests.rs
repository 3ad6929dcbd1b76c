use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const MAX: usize = 100_000;
/// Enough for every answer.
const LONG: Patience = Patience { head: PATIENCE, whole: PATIENCE };

/// A stream to a client, whatever is beneath.
trait Peer: Read + Write + Send {}
impl<T: Read + Write + Send> Peer for T {}

/// Answers a request whose head was read.
type Answer = Box<dyn FnOnce(&mut dyn Peer) + Send>;
/// The heads that a server was asked with come back when it is joined.
type Serving = JoinHandle<Vec<String>>;

/// A server that takes one connection after the other, one for each answer.
fn serve(answers: Vec<Answer>) -> (SocketAddr, Serving) {
    serve_as(answers, |socket| Box::new(socket))
}

fn serve_as(
    answers: Vec<Answer>,
    wrap: impl Fn(TcpStream) -> Box<dyn Peer> + Send + 'static,
) -> (SocketAddr, Serving) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let answer_one = |answer: Answer| {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut peer = wrap(socket);
            let head = read_head(&mut *peer);
            answer(&mut *peer);
            head
        };
        answers.into_iter().map(answer_one).collect()
    });
    (address, serving)
}

fn read_head(peer: &mut dyn Peer) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match peer.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            // A client that trusts nobody hangs up.
            _ => return String::from_utf8(head).unwrap(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers with these bytes and ends the connection.
fn bytes(text: impl Into<Vec<u8>>) -> Answer {
    let text = text.into();
    // Who has read enough hangs up early.
    Box::new(move |peer| drop(peer.write_all(&text)))
}

fn client() -> Client {
    Client::new(&Trust::load(None).unwrap(), Proxies::default())
}

fn get(address: SocketAddr, path: &str) -> Result<Fetched, FetchError> {
    client().get(&url(&format!("http://{address}{path}")), None, LONG, MAX)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn an_answer_of_any_status_is_one() {
    for status in [200, 204, 304, 404, 500, 302] {
        let body = if status == 204 || status == 304 { "" } else { "body" };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\n");
        let (address, serving) =
            serve(vec![bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))]);
        let fetched = get(address, "/a?b=c").unwrap();
        assert_eq!((fetched.status, fetched.body.as_slice()), (status, body.as_bytes()));
        assert_eq!(fetched.content_type.as_deref(), Some("text/plain"));
        let asked = serving.join().unwrap().remove(0);
        assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_lowercase().contains("user-agent: restreamer/"), "{asked}");
        assert!(!asked.to_lowercase().contains("gzip"), "it comes as it is: {asked}");
    }
}

#[test]
fn a_body_comes_whole_however_it_is_framed_and_written() {
    let body: Vec<u8> = (0..30_000_u32).map(|n| (n % 251) as u8).collect();
    let in_chunks = body.chunks(777).flat_map(|piece| {
        [format!("{:x};x=y\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
    });
    let in_chunks: Vec<u8> = in_chunks.chain(b"0\r\nTrailer: x\r\n\r\n".to_owned()).collect();
    for (head, sent) in [
        (String::new(), body.clone()),
        (format!("Content-Length: {}\r\n", body.len()), body.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), in_chunks),
    ] {
        let sent = [format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes(), sent].concat();
        for piece in [sent.len(), 999, 10] {
            let sent = sent.clone();
            let answer = move |peer: &mut dyn Peer| {
                for piece in sent.chunks(piece) {
                    peer.write_all(piece).unwrap();
                    peer.flush().unwrap();
                }
            };
            let (address, _) = serve(vec![Box::new(answer)]);
            assert!(get(address, "/").unwrap().body == body, "{head}, {piece} at a time");
        }
    }
}

#[test]
fn the_limit_is_exact() {
    for (length, framing) in [
        (MAX, "Content-Length: 100000\r\n"),
        (MAX, ""),
        (MAX + 1, "Content-Length: 100001\r\n"),
        (MAX + 1, ""),
        (10 * MAX, ""),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        let (address, _) = serve(vec![bytes([head.into_bytes(), vec![7; length]].concat())]);
        match get(address, "/") {
            Ok(fetched) => assert_eq!((fetched.body.len(), length), (MAX, MAX)),
            Err(error) => {
                assert!(length > MAX && matches!(error, FetchError::TooLarge(MAX)), "{error}");
                assert_eq!(error.to_string(), "answered with more than 100000 bytes");
            }
        }
    }
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    let whole = Duration::from_millis(200);
    let soon = Patience { head: PATIENCE, whole };
    for said in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody"] {
        let (done, waits): (_, Receiver<()>) = channel();
        let answer = move |peer: &mut dyn Peer| {
            peer.write_all(said.as_bytes()).unwrap();
            let _ended = waits.recv();
        };
        let (address, serving) = serve(vec![Box::new(answer)]);
        let begun = Instant::now();
        let error = client().get(&url(&format!("http://{address}/")), None, soon, MAX).unwrap_err();
        assert!(matches!(error, FetchError::TimedOut(_)), "{said}: {error}");
        assert_eq!(error.to_string(), "gave no whole answer within 200ms");
        assert!(begun.elapsed() < PATIENCE / 2);
        drop(done);
        serving.join().unwrap();
    }
}

#[test]
fn a_server_that_trickles_is_given_up_in_time() {
    let soon = Patience { head: PATIENCE, whole: Duration::from_millis(300) };
    let answer = move |peer: &mut dyn Peer| {
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while peer.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (address, _) = serve(vec![Box::new(answer)]);
    let error = client().get(&url(&format!("http://{address}/")), None, soon, MAX).unwrap_err();
    assert!(matches!(error, FetchError::TimedOut(_)), "{error}");
}

#[test]
fn a_status_is_there_with_the_head_whatever_the_body_is() {
    for (framing, body) in [("", ""), ("Content-Length: 9\r\n", ""), ("", "long")] {
        let body = body.repeat(MAX);
        let (done, waits): (_, Receiver<()>) = channel();
        let answer = move |peer: &mut dyn Peer| {
            write!(peer, "HTTP/1.1 503 X\r\n{framing}\r\n").unwrap();
            // Nobody reads it.
            let _hung_up = peer.write_all(body.as_bytes());
            let _ended = waits.recv();
        };
        let moved = bytes("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 9\r\n\r\n");
        let (address, serving) = serve(vec![moved, Box::new(answer)]);
        let at = url(&format!("http://{address}/"));
        let begun = Instant::now();
        assert_eq!(client().status(&at, None, PATIENCE).unwrap(), 503, "{framing}");
        assert!(begun.elapsed() < PATIENCE / 2);
        drop(done);
        assert!(serving.join().unwrap()[1].starts_with("GET /next "));
    }
    let (done, waits): (_, Receiver<()>) = channel();
    let answer = move |peer: &mut dyn Peer| {
        peer.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        let _ended = waits.recv();
    };
    let (address, _) = serve(vec![Box::new(answer)]);
    let soon = Duration::from_millis(200);
    let error = client().status(&url(&format!("http://{address}/")), None, soon).unwrap_err();
    assert_eq!(error.to_string(), "did not begin to answer within 200ms");
    drop(done);
}

#[test]
fn a_body_may_take_longer_than_a_head() {
    let head = Duration::from_millis(300);
    let slow = |peer: &mut dyn Peer| {
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").unwrap();
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(50));
            peer.write_all(b"x").unwrap();
        }
    };
    let (address, serving) = serve(vec![Box::new(slow)]);
    let patience = Patience { head, whole: PATIENCE };
    let at = |address| url(&format!("http://{address}/"));
    let fetched = client().get(&at(address), None, patience, MAX).unwrap();
    assert_eq!(fetched.body, b"xxxxxxxxxx");
    serving.join().unwrap();
    let (done, waits): (_, Receiver<()>) = channel();
    let moved = bytes("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
    let never = move |_: &mut dyn Peer| {
        let _ended = waits.recv();
    };
    let (address, _) = serve(vec![moved, Box::new(never)]);
    let begun = Instant::now();
    let error = client().get(&at(address), None, patience, MAX).unwrap_err();
    assert_eq!(error.to_string(), "did not begin to answer within 300ms");
    assert!(begun.elapsed() >= head && begun.elapsed() < PATIENCE / 2);
    drop(done);
}

#[test]
fn a_body_that_breaks_off_is_no_answer() {
    for head in ["Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (address, _) = serve(vec![bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n4\r\nbody"))]);
        let error = get(address, "/").unwrap_err();
        assert!(matches!(error, FetchError::Failed(_)), "{head}: {error}");
    }
}

#[test]
fn every_request_has_its_own_connection() {
    let answer = || bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (address, serving) = serve(vec![answer(), answer(), answer()]);
    let client = client();
    for _ in 0..3 {
        client.get(&url(&format!("http://{address}/")), None, LONG, MAX).unwrap();
    }
    assert_eq!(serving.join().unwrap().len(), 3);
}

#[test]
fn redirects_are_followed_and_the_password_stays_with_its_origin() {
    let (other, elsewhere) = serve(vec![bytes("HTTP/1.1 200 OK\r\n\r\nthere")]);
    let (address, serving) = serve(vec![
        bytes("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 4\r\n\r\nbody"),
        bytes(format!("HTTP/1.1 308 There\r\nLocation: http://{other}/x#y\r\n\r\n")),
    ]);
    let from = url(&format!("http://me:p%40ss@{address}/first"));
    let fetched = client().get(&from, None, LONG, MAX).unwrap();
    assert_eq!((fetched.status, fetched.body.as_slice()), (200, &b"there"[..]));
    let asked = serving.join().unwrap();
    for head in &asked {
        assert!(head.to_lowercase().contains("authorization: basic bwu6cebzcw==\r\n"), "{head}");
    }
    assert!(asked[1].starts_with("GET /next "), "{}", asked[1]);
    let head = elsewhere.join().unwrap().remove(0).to_lowercase();
    assert!(head.starts_with("get /x http") && !head.contains("authorization"), "{head}");
}

#[test]
fn the_given_authorization_goes_before_that_of_the_address() {
    let (address, serving) = serve(vec![bytes("HTTP/1.1 200 OK\r\n\r\n")]);
    let secret = Secret::new("Bearer t0ken");
    let at = url(&format!("http://me:pass@{address}/"));
    client().get(&at, Some(&secret), LONG, MAX).unwrap();
    let head = serving.join().unwrap().remove(0);
    assert!(head.contains(": Bearer t0ken\r\n") && !head.contains("Basic"), "{head}");
}

#[test]
fn redirects_lead_somewhere_and_not_for_ever() {
    let again = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n";
    let answers = (0..REDIRECTS_MAX).map(|_| bytes(again));
    let last = bytes("HTTP/1.1 200 OK\r\n\r\nbody");
    let (address, _) = serve(answers.chain([last]).collect());
    assert_eq!(get(address, "/").unwrap().body, b"body", "ten are followed");
    let (address, _) = serve((0..=REDIRECTS_MAX).map(|_| bytes(again)).collect());
    assert!(get(address, "/").unwrap_err().to_string().contains("too many redirects"));
    for location in ["ftp://u:s3cret@h/", "http://u:s3cret@h:99999/"] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let error = get(serve(vec![bytes(answer)]).0, "/").unwrap_err();
        assert_eq!(error.to_string(), "cannot be fetched: redirect failed");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn no_error_shows_a_password() {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (broken, _) = serve(vec![bytes("SSH-2.0-OpenSSH_9.2\r\n\r\n")]);
    let hosts = [refused.to_string(), broken.to_string(), "no.such.host.invalid".to_owned()];
    for host in hosts {
        for scheme in ["http", "https"] {
            let at = url(&format!("{scheme}://us3r:s3cret@{host}/"));
            let error = client().get(&at, None, LONG, MAX).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, FetchError::Failed(_)), "{error}");
            assert!(!shown.contains("s3cret") && !shown.contains("us3r"), "{shown}");
        }
    }
}

#[test]
fn a_proxy_is_asked_for_names_that_we_do_not_resolve() {
    let tunnel = |peer: &mut dyn Peer| {
        peer.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
        let inner = read_head(peer);
        assert!(inner.starts_with("GET /x HTTP/1.1\r\n"), "{inner}");
        assert!(!inner.contains("Proxy-Authorization"), "{inner}");
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\nproxied").unwrap();
    };
    let refuse = bytes("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    let (address, serving) = serve(vec![Box::new(tunnel), refuse]);
    let variable = format!("me:s3cret@{address}");
    let (proxies, _) =
        Proxies::from_variables(|name| (name == "HTTP_PROXY").then(|| variable.clone().into()));
    let client = Client::new(&Trust::load(None).unwrap(), proxies);
    assert!(!format!("{client:?}").contains("s3cret"), "{client:?}");
    let at = url("http://proxied.test/x");
    assert_eq!(client.get(&at, None, LONG, MAX).unwrap().body, b"proxied");
    let error = client.get(&at, None, LONG, MAX).unwrap_err();
    assert!(error.to_string().contains("proxy server responded 407"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    for head in serving.join().unwrap() {
        assert!(head.starts_with("CONNECT proxied.test:80 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic bWU6czNjcmV0\r\n"), "{head}");
    }
}

/// A root certificate, and what a server needs that it vouches for.
fn certificates(name: &str) -> (String, Arc<ServerConfig>) {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
    (root.pem(), Arc::new(config.unwrap()))
}

fn serve_tls(answers: Vec<Answer>, config: Arc<ServerConfig>) -> (SocketAddr, Serving) {
    serve_as(answers, move |socket| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(StreamOwned::new(connection, socket))
    })
}

#[test]
fn a_server_must_prove_who_it_is() {
    let (root, config) = certificates("127.0.0.1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root).unwrap();
    let fetch = |trusted: Option<&Path>, host: &str, framing: &str| {
        let answer = bytes(format!("HTTP/1.1 200 OK\r\n{framing}\r\n4\r\nbody\r\n0\r\n\r\n"));
        let (address, serving) = serve_tls(vec![answer], Arc::clone(&config));
        let client = Client::new(&Trust::load(trusted).unwrap(), Proxies::default());
        let at = url(&format!("https://{host}:{}/", address.port()));
        let fetched = client.get(&at, None, LONG, MAX);
        serving.join().unwrap();
        fetched.map(|fetched| fetched.body)
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(fetch(Some(file.path()), "127.0.0.1", chunked).unwrap(), b"body");
    // The server hangs up without a word of TLS: of a body without length that is the end,
    let whole = b"4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(fetch(Some(file.path()), "127.0.0.1", "").unwrap(), whole);
    // of one with a length it is not.
    let cut = fetch(Some(file.path()), "127.0.0.1", "Content-Length: 99\r\n").unwrap_err();
    assert!(matches!(cut, FetchError::Failed(_)), "{cut}");
    for (trusted, host, why) in [
        (None, "127.0.0.1", "UnknownIssuer"),
        (Some(file.path()), "localhost", "not valid for name \"localhost\""),
    ] {
        let error = fetch(trusted, host, chunked).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
