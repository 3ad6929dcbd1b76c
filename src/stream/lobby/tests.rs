use std::net::TcpListener;

use super::*;
use crate::http::request::{Parsed, parse};

const PATIENCE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const READABLE: Readiness = Readiness { readable: true, writable: false, closed: false };

/// One who has asked with these header lines, and its far end.
fn waiting(lines: &str, since: Instant) -> (Waiting, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, peer) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let Parsed::Whole(request, _) = parse(head.as_bytes()) else { panic!("a whole head") };
    (Waiting { connection: Connection::new(near, peer), request: *request, since }, far)
}

#[test]
fn who_would_wait_in_vain_does_not() {
    let now = Instant::now();
    let lobby = Lobby::new(PATIENCE);
    for (outlook, viewer, node) in [
        (Outlook::Connected, true, true),
        (Outlook::Trying, true, true),
        (Outlook::Later(now + SECOND), true, false),
        (Outlook::Later(now + PATIENCE), false, false),
        (Outlook::Never, false, false),
    ] {
        let may = |of_node| lobby.may_wait(now, of_node, outlook);
        assert_eq!((may(false), may(true)), (viewer, node), "{outlook:?}");
    }
}

#[test]
fn everybody_is_called_once_when_the_waiting_is_over() {
    let now = Instant::now();
    let away = |why| Called::Away(why);
    for (outlook, open, after, viewer, node) in [
        (Outlook::Connected, true, 0, Some(Called::In), Some(Called::In)),
        (Outlook::Trying, true, 9, None, None),
        (Outlook::Later(now + SECOND), true, 9, None, Some(away(Refused::NoUpstream))),
        (
            Outlook::Later(now + PATIENCE),
            true,
            0,
            Some(away(Refused::NoUpstream)),
            Some(away(Refused::NoUpstream)),
        ),
        (
            Outlook::Trying,
            true,
            10,
            Some(away(Refused::StartTimeout)),
            Some(away(Refused::StartTimeout)),
        ),
        (
            Outlook::Connected,
            false,
            0,
            Some(away(Refused::SwitchedOff)),
            Some(away(Refused::SwitchedOff)),
        ),
        (Outlook::Never, true, 0, Some(away(Refused::NoUpstream)), Some(away(Refused::NoUpstream))),
    ] {
        let mut lobby = Lobby::new(PATIENCE);
        let mut called = [None; 2];
        let (one, _far) = waiting("", now);
        let (other, _too) = waiting("Via: 1.1 restreamer-1\r\n", now);
        lobby.enter(one);
        lobby.enter(other);
        assert!(lobby.call(Outlook::Trying, true, now).is_empty());
        assert_eq!(lobby.deadline(), Some(now + PATIENCE));
        for _ in 0..2 {
            for (who, what) in lobby.call(outlook, open, now + SECOND * after) {
                let of = usize::from(!who.request.headers.via.is_empty());
                assert_eq!(called[of].replace(what), None, "called twice");
            }
        }
        assert_eq!(called, [viewer, node], "{outlook:?} {open} after {after} s");
        assert_eq!(lobby.len(), called.iter().filter(|called| called.is_none()).count());
    }
}

#[test]
fn who_ends_his_side_or_talks_too_much_is_gone_and_others_stay() {
    let now = Instant::now();
    let mut lobby = Lobby::new(PATIENCE);
    let (mut keys, mut fars) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (one, far) = waiting("", now);
        keys.push(lobby.next_key());
        lobby.enter(one);
        fars.push(far);
    }
    assert!(keys.iter().all(|&key| lobby.on_event(key, READABLE).is_none()));
    drop(fars.remove(1));
    let why = lobby.on_event(keys[1], READABLE).map(|(_, why)| why);
    assert_eq!(why, Some(Departure::Left));
    assert!(lobby.on_event(keys[1], READABLE).is_none(), "an event of the past");
    let closed = Readiness { closed: true, ..READABLE };
    assert!(lobby.on_event(keys[0], closed).is_some());
    let left: Vec<_> = lobby.sockets().map(|(key, _)| key).collect();
    assert_eq!(left, keys[2..]);
    assert!(lobby.remove(keys[2]).is_some() && lobby.is_empty());
    assert_eq!(lobby.deadline(), None);
}

#[test]
fn a_key_is_not_given_twice() {
    for number in [0, 1, (1 << 24) - 1, 1 << 24, (1 << 44) - 1] {
        assert_eq!(super::number(key(number)), number);
    }
}
