use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::limits::{
    BODIES_BYTES_MAX, GUESTS_FOR_DESCRIPTORS, GUESTS_MAX, SLOW_GUESTS_MAX, STATIC_BODY_BYTES_MAX,
    STOP_ASKING_TIMEOUT, WORKERS_MAX,
};

/// That of an only worker.
const ROOM: Room =
    Room { guests: GUESTS_MAX, slow_guests: SLOW_GUESTS_MAX, bodies_bytes: BODIES_BYTES_MAX };

struct House {
    listener: TcpListener,
    guests: Guests,
    now: Instant,
}

impl House {
    fn new() -> House {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        House { listener, guests: Guests::new(ROOM), now: Instant::now() }
    }

    fn enter(&mut self) -> (ViewerKey, TcpStream) {
        self.enter_by(false)
    }

    /// Enters by a balancer, or not.
    fn enter_by(&mut self, balancer: bool) -> (ViewerKey, TcpStream) {
        let far = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (near, peer) = self.listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let key = self.guests.reserve();
        let asking = Asking::new(Connection::new(near, peer), balancer);
        self.guests.enter(key, asking, self.now);
        (key, far)
    }

    /// A turn; the paths that were asked for. Everybody who asks is sent "answer".
    fn turn(&mut self) -> Vec<String> {
        let mut asked_for = Vec::new();
        self.guests.turn(self.now, |_, asked| match asked {
            Asked::Request(connection, request, rest) => {
                let asker = Asker::new(connection, &request, rest);
                asked_for.push(request.path);
                match asked_for.last().unwrap().as_str() {
                    "/later" => Next::Wait(asker),
                    "/largest" => {
                        let body = vec![b'x'; STATIC_BODY_BYTES_MAX];
                        Next::Send(asker.answer(Response::with_body(200, "a/b", body)))
                    }
                    "/large" => {
                        let body = vec![b'x'; GUESTS_BYTES_PER_TURN_MAX];
                        Next::Send(asker.answer(Response::with_body(200, "a/b", body)))
                    }
                    _ => Next::Send(asker.answer(Response::with_body(200, "a/b", *b"answer"))),
                }
            }
            _ => Next::Gone,
        });
        asked_for
    }
}

impl House {
    /// Turns until everybody has read to the end; how many asked meanwhile, and what each got.
    fn read_all(&mut self, fars: Vec<(ViewerKey, TcpStream)>) -> (usize, Vec<usize>) {
        let read = |mut far: TcpStream| {
            let mut got = Vec::new();
            // Who is turned out in the middle may get a reset: what it has tells.
            let _reset = far.read_to_end(&mut got);
            got.len()
        };
        let readers: Vec<_> =
            fars.into_iter().map(|(_, far)| std::thread::spawn(move || read(far))).collect();
        let mut asked = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            // What the kernel would tell: there is room again.
            let all: Vec<_> = self.guests.places.iter().map(|(i, p)| (i, p.generation)).collect();
            for (index, generation) in all {
                self.guests.mark(ViewerKey { index, generation });
            }
            asked += self.turn().len();
            std::thread::yield_now();
        }
        (asked, readers.into_iter().map(|reader| reader.join().unwrap()).collect())
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
    assert!(got.ends_with("\r\n\r\nanswer"), "{got}");
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
        let connection = Connection::new(copy, near);
        house.guests.enter(key, Asking::new(connection, false), house.now);
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
fn who_is_not_introduced_in_time_is_told_nothing() {
    for (said, told) in [("", ""), ("PROXY TCP4 192.", ""), ("PROXY UNKNOWN\r\nGE", "HTTP/1.1 408")]
    {
        let mut house = House::new();
        let (_, mut far) = house.enter_by(true);
        far.write_all(said.as_bytes()).unwrap();
        house.turn();
        house.now = house.guests.deadline().unwrap();
        house.guests.on_deadline(house.now, &Metrics::new());
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got.get(..12).unwrap_or_default(), told, "{said:?}");
    }
}

/// All that somebody gets, whose connection is then closed in good order.
fn read_to_end(mut far: TcpStream) -> String {
    let mut got = String::new();
    far.read_to_string(&mut got).unwrap();
    got
}

#[test]
fn told_to_stop_nobody_goes_without_an_answer() {
    let (mut house, metrics) = (House::new(), Metrics::new());
    let again = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (_, mut idle) = house.enter();
    idle.write_all(again("/idle").as_bytes()).unwrap();
    let (waits, mut waiting) = house.enter();
    waiting.write_all(again("/later").as_bytes()).unwrap();
    assert_eq!(house.turn(), ["/idle", "/later"]);
    read_answer(&mut idle);
    house.turn();
    let (_, mut has_asked) = house.enter();
    has_asked.write_all(again("/asked").as_bytes()).unwrap();
    let (late, mut asks_late) = house.enter();
    let (_, mut half) = house.enter();
    half.write_all(b"GET /ha").unwrap();
    let (_, silent) = house.enter();
    let (_, balancer) = house.enter_by(true);

    house.guests.close(house.now, &metrics);
    // What was in a socket is heard in the next turn, and what comes later by its event.
    assert_eq!(house.turn(), ["/asked"]);
    assert_eq!(read_to_end(idle), "", "it has had its answer, and asks for nothing");
    assert!(!house.guests.answered(waits, Response::text(200), house.now), "answered already");
    asks_late.write_all(again("/late").as_bytes()).unwrap();
    house.guests.mark(late);
    assert_eq!(house.turn(), ["/late"]);
    for far in [&mut has_asked, &mut asks_late] {
        read_answer(far);
    }
    house.now += STOP_ASKING_TIMEOUT;
    assert_eq!(house.guests.deadline(), Some(house.now));
    house.guests.on_deadline(house.now, &metrics);
    for far in [waiting, half, silent] {
        let got = read_to_end(far);
        assert!(got.starts_with("HTTP/1.1 503 "), "{got}");
        assert!(got.contains("\r\nRetry-After: 1\r\n"), "{got}");
        assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
    }
    // It owed a header, not a request: nothing that we could say would be understood.
    assert_eq!(read_to_end(balancer), "");
}

/// Reads one answer with "answer" for its body.
fn read_answer(far: &mut TcpStream) -> String {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(b"\r\n\r\nanswer") {
        far.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    String::from_utf8(got).unwrap()
}

#[test]
fn one_connection_asks_again_and_again() {
    let mut house = House::new();
    let (_, mut far) = house.enter();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    far.write_all(format!("{}{}", one("/1"), &one("/2")[..9]).as_bytes()).unwrap();
    assert_eq!(house.turn(), ["/1"]);
    assert!(read_answer(&mut far).contains("\r\nConnection: keep-alive\r\n"));
    assert!(house.guests.have_work(), "it is looked at again without an event");
    let (before, later) = (house.guests.deadline().unwrap(), Duration::from_secs(5));
    house.now += later;
    assert!(house.turn().is_empty());
    assert_eq!(
        house.guests.deadline(),
        Some(before),
        "asking has one time, however often looked at"
    );
    far.write_all(&one("/2").as_bytes()[9..]).unwrap();
    house.guests.mark(ViewerKey { index: 0, generation: 0 });
    assert_eq!(house.turn(), ["/2"]);
    assert_eq!(house.guests.deadline(), Some(before + later), "and another after each answer");
    read_answer(&mut far);
    // Idle for too long: closed without a word.
    house.now = house.guests.deadline().unwrap();
    house.guests.on_deadline(house.now, &Metrics::new());
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() && house.guests.is_empty());
}

#[test]
fn an_answer_that_comes_later_is_delivered_and_one_that_does_not_is_504() {
    let mut house = House::new();
    let metrics = Metrics::new();
    let later = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    let ((first, mut near), (_, mut other)) = (house.enter(), house.enter());
    for far in [&mut near, &mut other] {
        far.write_all(later).unwrap();
    }
    assert_eq!(house.turn(), ["/later", "/later"]);
    house.guests.answered(first, Response::with_body(200, "a/b", *b"answer"), house.now);
    house.turn();
    assert!(read_answer(&mut near).starts_with("HTTP/1.1 200 OK\r\n"));
    house.guests.answered(first, Response::text(500), house.now);
    house.now += ANSWER_TIMEOUT;
    house.guests.on_deadline(house.now, &metrics);
    let mut got = String::new();
    other.read_to_string(&mut got).unwrap();
    assert!(got.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{got}");
}

#[test]
fn large_answers_share_what_may_be_sent_in_a_turn() {
    let mut house = House::new();
    let mut fars: Vec<_> = (0..12).map(|_| house.enter()).collect();
    for (_, far) in &mut fars {
        far.write_all(b"GET /large HTTP/1.0\r\n\r\n").unwrap();
    }
    let mut asked = house.turn().len();
    assert!(house.guests.budget < GUESTS_BYTES_PER_TURN_MAX, "something was sent");
    assert!(house.guests.have_work(), "who had no share has one in the next turn");
    let (later, lengths) = house.read_all(fars);
    asked += later;
    assert_eq!(asked, 12);
    assert!(lengths.iter().all(|&got| got > GUESTS_BYTES_PER_TURN_MAX), "head and body");
}

#[test]
fn the_largest_answers_are_sent_whole_by_one_of_many_workers() {
    let mut house = House::new();
    house.guests = Guests::new(Room::of(WORKERS_MAX, u64::MAX));
    let mut fars: Vec<_> = (0..2).map(|_| house.enter()).collect();
    for (_, far) in &mut fars {
        far.write_all(b"GET /largest HTTP/1.0\r\n\r\n").unwrap();
    }
    let (_, lengths) = house.read_all(fars);
    assert!(lengths.iter().all(|&got| got > STATIC_BODY_BYTES_MAX), "{lengths:?}");
    assert_eq!(house.guests.take_turned_out(), 0);
}

#[test]
fn for_want_of_descriptors_the_eldest_go_and_those_with_an_answer_last() {
    let mut house = House::new();
    let (waiting, mut far) = house.enter();
    far.write_all(b"GET /later HTTP/1.0\r\n\r\n").unwrap();
    house.turn();
    let mut idle = Vec::new();
    for _ in 0..GUESTS_FOR_DESCRIPTORS + 5 {
        house.now += Duration::from_millis(1);
        idle.push(house.enter());
    }
    assert!(house.guests.free_descriptors(GUESTS_FOR_DESCRIPTORS));
    assert_eq!(house.guests.take_turned_out(), GUESTS_FOR_DESCRIPTORS as u64);
    assert_eq!(house.guests.len(), 1 + 5);
    for (key, far) in &mut idle[..GUESTS_FOR_DESCRIPTORS] {
        assert!(house.guests.take(*key).is_none());
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "its connection is closed");
    }
    assert!(house.guests.take(waiting).is_some());
    house.guests = Guests::new(ROOM);
    assert!(!house.guests.free_descriptors(GUESTS_FOR_DESCRIPTORS), "there is nobody");
}

#[test]
fn a_turn_serves_so_many_and_the_next_one_those_who_had_nothing() {
    let mut house = House::new();
    let mut fars: Vec<_> = (0..GUESTS_PER_TURN_MAX + 3).map(|_| house.enter().1).collect();
    for far in &mut fars {
        far.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    assert_eq!(house.turn(), vec!["/a"; GUESTS_PER_TURN_MAX]);
    let next = house.turn();
    assert_eq!(next[..3], ["/a"; 3], "before those who ask again");
    assert_eq!(next[3..], vec!["/b"; GUESTS_PER_TURN_MAX - 3]);
    assert_eq!(house.turn(), ["/b"; 6]);
}

#[test]
fn who_waits_or_is_sent_something_has_a_part_of_the_house_only() {
    let mut house = House::new();
    let (first, far) = house.enter();
    // Descriptors are scarce in a test: all sockets are copies.
    let near = house.listener.local_addr().unwrap();
    let head = b"GET / HTTP/1.0\r\n\r\n";
    let crate::http::request::Parsed::Whole(request, _) = crate::http::request::parse(head) else {
        panic!("a whole head");
    };
    for _ in 0..SLOW_GUESTS_MAX + 5 {
        let key = house.guests.reserve();
        let connection = Connection::new(far.try_clone().unwrap(), near);
        let asker = Asker::new(connection, &request, Vec::new());
        let idle = Connection::new(far.try_clone().unwrap(), near);
        house.guests.enter(key, Asking::new(idle, false), house.now);
        house.guests.take(key).unwrap();
        house.guests.put_back(key, Some(Guest::Waiting(asker)), house.now);
        house.now += Duration::from_millis(1);
    }
    assert_eq!(house.guests.len(), SLOW_GUESTS_MAX + 1, "the eldest of them went");
    assert!(house.guests.take(first).is_some(), "who asks stays");
}

#[test]
fn who_was_turned_out_takes_nobodys_turn() {
    let mut house = House::new();
    for _ in 0..GUESTS_PER_TURN_MAX + 10 {
        let (key, _far) = house.enter();
        house.guests.remove(key.index);
    }
    let (_, mut far) = house.enter();
    far.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(house.turn(), ["/a"]);
}
