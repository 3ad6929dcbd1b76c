use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;

struct House {
    listener: TcpListener,
    guests: Guests,
    now: Instant,
}

impl House {
    fn new() -> House {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        House { listener, guests: Guests::default(), now: Instant::now() }
    }

    fn enter(&mut self) -> (ViewerKey, TcpStream) {
        let far = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (near, peer) = self.listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let key = self.guests.reserve();
        self.guests.enter(key, Connection::new(near, peer, self.now), self.now);
        (key, far)
    }

    /// A turn; the paths that were asked for. Everybody who asks is sent "answer".
    fn turn(&mut self) -> Vec<String> {
        let mut asked_for = Vec::new();
        self.guests.turn(self.now, |asked| match asked {
            Asked::Request(connection, request) => {
                asked_for.push(request.path);
                Some((connection, Outgoing { head: b"answer".to_vec(), body: None }))
            }
            _ => None,
        });
        asked_for
    }
}

#[test]
fn one_who_asks_late_is_heard_by_its_key() {
    let mut house = House::new();
    let (key, mut far) = house.enter();
    assert!(house.turn().is_empty());
    assert!(!house.guests.have_work());
    far.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    house.guests.mark(key);
    assert_eq!(house.turn(), ["/a"]);
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    assert_eq!(got, "answer");
    drop(far);
    house.guests.mark(key);
    house.turn();
    assert!(house.guests.is_empty());
}

#[test]
fn a_full_house_turns_out_the_eldest_and_hears_the_newest() {
    let mut house = House::new();
    // Descriptors are scarce in a test: nearly all places are kept by one generation of guests
    // whose sockets are copies.
    let (_, far) = house.enter();
    while house.guests.len() < GUESTS_MAX {
        let near = house.listener.local_addr().unwrap();
        let key = house.guests.reserve();
        let copy = far.try_clone();
        let Ok(copy) = copy else { panic!("{} descriptors are too few", house.guests.len()) };
        house.guests.enter(key, Connection::new(copy, near, house.now), house.now);
    }
    house.guests.marked.clear();
    let (key, mut newest) = house.enter();
    assert_eq!(house.guests.len(), GUESTS_MAX);
    newest.write_all(b"GET /newest HTTP/1.0\r\n\r\n").unwrap();
    house.guests.marked.clear();
    house.guests.places[key.index].marked = false;
    house.guests.mark(key);
    assert_eq!(house.turn(), ["/newest"]);
}

#[test]
fn who_asks_for_nothing_gets_408_and_who_stays_is_let_go() {
    let mut house = House::new();
    let metrics = Metrics::new();
    let (key, mut far) = house.enter();
    house.turn();
    house.now = house.guests.deadline().unwrap();
    house.guests.on_deadline(house.now, &metrics);
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    assert!(got.starts_with("HTTP/1.1 408 "), "{got}");
    assert_eq!(house.guests.len(), 1, "it has its time to hang up");
    house.now = house.guests.deadline().unwrap();
    house.guests.on_deadline(house.now, &metrics);
    assert!(house.guests.is_empty() && house.guests.deadline().is_none());
    house.guests.mark(key);
    assert!(!house.guests.have_work(), "an event of the past is silence");
}

#[test]
fn told_to_stop_only_those_with_an_answer_stay() {
    let mut house = House::new();
    let (_, _silent) = house.enter();
    let (_, mut asking) = house.enter();
    asking.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    house.turn();
    house.guests.dismiss();
    assert_eq!(house.guests.len(), 1);
}
