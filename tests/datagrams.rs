//! Datagram upstreams on one host: whole packets in order, and everything that is missing counted.

mod support;

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use serde_json::json;
use support::crowd::{Crowd, Pace, Watcher};
use support::datagram::{PACKETS, paced, payload, rtp};
use support::node::{Node, stream};
use support::{PATIENCE, eventually};

const DATAGRAMS: u64 = 4000;

/// A port on which nobody receives now.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sender(to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(if to.contains('[') { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// A node that receives at `url`, and two viewers.
fn watched(url: &str) -> (Node, Crowd) {
    let node = Node::of(url);
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 2, Pace::Fast);
    (node, crowd)
}

fn until_packet(crowd: &mut Crowd, next: u64) {
    crowd.watch_until(|all| all.iter().all(|w| w.verifier.next == next), PATIENCE);
}

#[test]
fn udp_arrives_on_both_families() {
    for host in ["127.0.0.1", "[::1]"] {
        let to = format!("{host}:{}", free_port());
        let (node, mut crowd) = watched(&format!("udp://{to}"));
        let socket = sender(&to);
        let sending = std::thread::spawn(move || {
            paced(0..DATAGRAMS, |number| {
                socket.send(&payload(number)).unwrap();
            });
        });
        until_packet(&mut crowd, DATAGRAMS * PACKETS);
        sending.join().unwrap();
        for watcher in &crowd.watchers {
            watcher.verifier.assert_perfect(host);
            assert_eq!(watcher.verifier.first, Some(0));
        }
        node.await_count("restreamer_datagrams_total", "/a.ts", DATAGRAMS);
        assert_eq!(node.count("restreamer_datagrams_odd_total", "/a.ts"), 0);
        node.await_count("streaming_packets_received", "/a.ts", DATAGRAMS * PACKETS);
    }
}

#[test]
fn odd_and_overlong_datagrams_are_counted_and_tear_nothing() {
    let to = format!("127.0.0.1:{}", free_port());
    let (node, mut crowd) = watched(&format!("udp://{to}"));
    let socket = sender(&to);
    // Every tenth is followed by one that is no number of packets, or by none at all.
    paced(0..200, |number| {
        socket.send(&payload(number)).unwrap();
        if number % 10 == 9 {
            socket.send(&[0xFF; 100]).unwrap();
            socket.send(&[]).unwrap();
        }
    });
    socket.send(&[0xFF; 3000]).unwrap();
    until_packet(&mut crowd, 200 * PACKETS);
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("viewer");
    }
    node.await_count("restreamer_datagrams_total", "/a.ts", 200 + 2 * 20 + 1);
    node.await_count("restreamer_datagrams_cut_total", "/a.ts", 1);
    // Those of 100 bytes, and what was kept of the long one (1500 bytes).
    node.await_count("restreamer_datagrams_odd_total", "/a.ts", 21);
    node.await_count("restreamer_sync_losses_total", "/a.ts", 20);
}

#[test]
fn rtp_out_of_order_and_repeated_arrives_clean() {
    let to = format!("127.0.0.1:{}", free_port());
    let (node, mut crowd) = watched(&format!("rtp://{to}"));
    let socket = sender(&to);
    // 2 % come a few places too late, 1 % twice; the numbers wrap on the way.
    let first = (1 << 16) - 1000;
    let mut order: Vec<u64> = (first..first + DATAGRAMS).collect();
    for at in (20..order.len() - 10).step_by(50) {
        order[at..=at + 1 + at / 50 % 5].rotate_left(1);
    }
    let mut numbers = Vec::new();
    for (at, &number) in order.iter().enumerate() {
        numbers.push(number);
        if at % 100 == 7 {
            numbers.push(number);
        }
    }
    let repeated = numbers.len() as u64 - DATAGRAMS;
    let sending = std::thread::spawn(move || {
        paced(numbers, |number| {
            socket.send(&rtp(number)).unwrap();
        });
    });
    until_packet(&mut crowd, (first + DATAGRAMS) * PACKETS);
    sending.join().unwrap();
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("viewer");
        assert_eq!(watcher.verifier.packets, DATAGRAMS * PACKETS);
    }
    assert_eq!(node.count("restreamer_rtp_lost_total", "/a.ts"), 0);
    node.await_count("restreamer_rtp_repeated_total", "/a.ts", repeated);
    assert!(node.count("restreamer_rtp_reordered_total", "/a.ts") > 0);
    assert_eq!(node.count("restreamer_continuity_errors_total", "/a.ts"), 0);
}

#[test]
fn lost_rtp_datagrams_are_counted_exactly() {
    let to = format!("127.0.0.1:{}", free_port());
    let (node, mut crowd) = watched(&format!("rtp://{to}"));
    let socket = sender(&to);
    let is_lost = |number: u64| matches!(number, 100 | 200..205 | 300 | 302 | 1000..1100);
    let lost = (0..DATAGRAMS).filter(|&number| is_lost(number)).count() as u64;
    let sending = std::thread::spawn(move || {
        paced((0..DATAGRAMS).filter(|&number| !is_lost(number)), |number| {
            socket.send(&rtp(number)).unwrap();
        });
        socket.send(b"no RTP").unwrap();
    });
    until_packet(&mut crowd, DATAGRAMS * PACKETS);
    sending.join().unwrap();
    for Watcher { verifier, .. } in &crowd.watchers {
        verifier.assert_whole("viewer");
        assert_eq!(verifier.lost, lost * PACKETS);
    }
    node.await_count("restreamer_rtp_lost_total", "/a.ts", lost);
    assert_eq!(node.count("restreamer_rtp_late_total", "/a.ts"), 0);
    node.await_count("restreamer_datagrams_malformed_total", "/a.ts", 1);
}

#[test]
fn unix_datagrams_arrive_and_the_sockets_file_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    // Left behind by a process before us.
    drop(UnixDatagram::bind(&path).unwrap());
    let (node, mut crowd) = watched(&format!("unixgram://{}", path.display()));
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(&path).unwrap();
    let sending = std::thread::spawn(move || {
        paced(0..500, |number| {
            socket.send(&payload(number)).unwrap();
        });
    });
    until_packet(&mut crowd, 500 * PACKETS);
    sending.join().unwrap();
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("viewer");
    }
    assert!(node.stop().success());
    assert!(!path.exists(), "the socket's file goes with the node");
}

#[test]
fn a_file_that_is_anothers_by_now_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let node = Node::of(&format!("unixgram://{}", path.display()));
    node.await_connected();
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixDatagram::bind(&path).unwrap();
    assert!(node.stop().success());
    assert!(path.exists());
}

#[test]
fn a_socket_in_use_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let theirs = UnixDatagram::bind(&path).unwrap();
    let node = Node::of(&format!("unixgram://{}", path.display()));
    node.await_log(|entry| entry["error"] == "bind");
    assert!(path.exists());
    drop(theirs);
    node.await_connected();
}

#[test]
fn seqpacket_arrives_and_its_end_is_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let kind = socket2::Type::SEQPACKET;
    let listener = socket2::Socket::new(socket2::Domain::UNIX, kind, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(4).unwrap();
    let config = json!({ "reconnect": 0,
        "resources": [stream("/a.ts", &format!("unixpacket://{}", path.display()))] });
    let node = Node::with(&config);
    let (peer, _) = listener.accept().unwrap();
    node.await_connected();
    let mut crowd = Crowd::new();
    crowd.join(node.address, "/a.ts", 2, Pace::Fast);
    let sending = std::thread::spawn(move || {
        paced(0..500, |number| {
            assert_eq!(peer.send(&payload(number)).unwrap(), payload(number).len());
        });
        peer
    });
    until_packet(&mut crowd, 500 * PACKETS);
    drop(sending.join().unwrap());
    crowd.watch_until(|all| all.iter().all(|w| w.ended), PATIENCE);
    for watcher in &crowd.watchers {
        watcher.verifier.assert_perfect("viewer");
        assert_eq!(watcher.verifier.unfinished(), 0);
    }
    node.await_count("restreamer_upstream_losses_total", "reason=\"ended\"", 1);
    eventually("it is off", || (node.status()["state"] == "off").then_some(()));
}
