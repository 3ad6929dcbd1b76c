use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::http::request::{Parsed, parse};
use crate::http::response::Outgoing;
use crate::ring::Position;
use crate::viewer::Connection;
use crate::viewer::catching_up::CatchingUp;
use crate::viewer::live::Live;
use crate::viewer::visit::Visit;

fn catching_up() -> State {
    State::CatchingUp(CatchingUp::joining(Outgoing::default(), Position::START))
}

/// Viewers who have just joined; the port of each is its number.
fn joined(count: u16) -> Members {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut members = Members::default();
    for number in 0..count {
        let peer = ([127, 0, 0, 1], number).into();
        let connection = Connection::new(socket.try_clone().unwrap(), peer);
        let Parsed::Whole(request, _) = parse(b"GET / HTTP/1.0\r\n\r\n") else { panic!("whole") };
        let visit = Visit::new(*request, Instant::now());
        members.insert(Viewer { connection, state: catching_up(), visit });
    }
    members
}

fn number(viewer: &Viewer) -> u16 {
    viewer.connection.peer.port()
}

/// Who is served by a turn that has something for so many, in order. Nobody catches up by it.
fn turn(members: &mut Members, mut enough_for: usize) -> Vec<u16> {
    let mut served = Vec::new();
    let gone = members.each_waiting(|viewer| {
        if enough_for == 0 {
            return Served::Starved;
        }
        enough_for -= 1;
        served.push(number(viewer));
        Served::Share
    });
    assert!(gone.is_empty());
    served
}

#[test]
fn who_had_nothing_is_first_in_the_next_turn() {
    let mut members = joined(5);
    let turns: Vec<_> = (0..5).map(|_| turn(&mut members, 2)).collect();
    assert_eq!(turns, [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]);
    assert_eq!(turn(&mut members, 9), [0, 1, 2, 3, 4], "with enough for all it stays as it is");
    assert_eq!(turn(&mut members, 9), [0, 1, 2, 3, 4]);
}

#[test]
fn who_comes_or_falls_behind_waits_behind_the_others() {
    let mut members = joined(4);
    // 0 catches up, 1 and 2 get a share, 3 nothing.
    members.each_waiting(|viewer| match number(viewer) {
        0 => {
            viewer.state = State::Live(Live);
            Served::Share
        }
        3 => Served::Starved,
        _ => Served::Share,
    });
    assert_eq!((members.live(), members.waiting().count()), (1, 3));
    let gone = members.each_live(|viewer| {
        assert_eq!(number(viewer), 0);
        viewer.state = catching_up();
        None
    });
    assert!(gone.is_empty());
    assert_eq!((members.live(), members.waiting().count()), (0, 4));
    assert_eq!(turn(&mut members, 9), [3, 1, 2, 0]);
}

#[test]
fn who_is_gone_is_served_no_more_whoever_has_its_place() {
    let mut members = joined(3);
    let gone = members.each_waiting(|viewer| match number(viewer) {
        1 => Served::Gone(Departure::Left),
        _ => Served::Share,
    });
    assert_eq!(gone, [(1, Departure::Left)]);
    members.remove(1);
    let key = ViewerKey { index: 0, generation: 0 };
    assert!(members.get_mut(key).is_some());
    members.remove(0);
    assert!(members.get_mut(key).is_none());
    // Another one in the place of who went.
    let next = members.next_key();
    assert_eq!((next.index, next.generation), (0, 3));
    let mut others = joined(1);
    members.insert(others.remove(0));
    assert!(members.get_mut(key).is_none() && members.get_mut(next).is_some());
    assert_eq!(members.waiting().map(number).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(turn(&mut members, 9), [2, 0]);
    assert_eq!((members.len(), members.places()), (2, vec![0, 2]));
}

proptest! {
    /// Whatever a turn has: after as many turns as it takes, everybody has had something, and
    /// nobody twice as often as another, and once more.
    #[test]
    fn nobody_starves(count in 1_u16..40, shares in prop::collection::vec(1_usize..20, 40..80)) {
        let mut members = joined(count);
        let mut had = vec![0_usize; count.into()];
        for share in shares {
            for number in turn(&mut members, share) {
                had[usize::from(number)] += 1;
            }
        }
        let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
        prop_assert!(*least > 0);
        prop_assert!(most - least <= 1, "{:?}", had);
    }
}
