use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use object::{Object, ObjectSection, ObjectSymbol};

use super::*;
use crate::socket::{listen_again, listen_shared, stop_listening};
use crate::tcp_info::tcp_info;

const SETTINGS: Settings = Settings {
    rate: None,
    source_bits_v4: 32,
    source_bits_v6: 64,
    rules: 16,
    sources: 1024,
    workers: 4,
};

/// Connects from another address of this host; a door that is closed is waited at for so long.
fn connect_from(source: [u8; 4], to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let patience = TimeVal::new(0, patience.as_micros().try_into().unwrap());
    setsockopt(&fd, sockopt::SendTimeout, &patience)?;
    let source: SocketAddr = (Ipv4Addr::from(source), 0).into();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(source))?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => Ok(TcpStream::from(fd)),
        // How a send timeout shows while connecting (socket(7)).
        Err(Errno::EINPROGRESS) => Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => Err(errno.into()),
    }
}

const PATIENCE: Duration = Duration::from_millis(150);

fn v4(address: [u8; 4], bits: u8) -> Network {
    Network { address: Ipv4Addr::from(address).to_ipv6_mapped(), bits: 96 + bits }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn the_longest_prefix_decides_and_counts() {
    let mut door = Door::load(&SETTINGS).unwrap();
    let (listener, address) = listener();
    door.attach(listener.as_fd()).unwrap();
    door.set(v4([127, 1, 0, 0], 16), Verdict::Deny).unwrap();
    door.set(v4([127, 1, 2, 0], 24), Verdict::Allow).unwrap();
    let denied = connect_from([127, 1, 1, 1], address, PATIENCE).unwrap_err();
    assert_eq!(denied.kind(), io::ErrorKind::TimedOut);
    let _allowed = connect_from([127, 1, 2, 1], address, PATIENCE).unwrap();
    let _of_no_rule = connect_from([127, 0, 0, 1], address, PATIENCE).unwrap();
    assert_eq!(door.hits(v4([127, 1, 0, 0], 16)).unwrap(), 1);
    assert_eq!(door.hits(v4([127, 1, 2, 0], 24)).unwrap(), 1);
    let counts = Counts { admitted: 2, denied: 1, ..Counts::default() };
    assert_eq!(door.counts().unwrap(), counts);
    door.remove(v4([127, 1, 0, 0], 16)).unwrap();
    door.remove(v4([127, 1, 0, 0], 16)).unwrap();
    let _not_denied = connect_from([127, 1, 1, 1], address, PATIENCE).unwrap();
}

#[test]
fn a_network_of_ipv6_holds_no_address_of_ipv4() {
    let rate = Rate { interval: Duration::from_mins(1), burst: 2 };
    let mut door = Door::load(&Settings { rate: Some(rate), rules: 2, ..SETTINGS }).unwrap();
    let (listener, address) = listener();
    door.attach(listener.as_fd()).unwrap();
    let everybody = Network { address: Ipv6Addr::UNSPECIFIED, bits: 0 };
    door.set(everybody, Verdict::Deny).unwrap();
    let _of_no_rule = connect_from([127, 0, 0, 1], address, PATIENCE).unwrap();
    door.set(v4([0, 0, 0, 0], 0), Verdict::Deny).unwrap();
    assert!(connect_from([127, 0, 0, 1], address, PATIENCE).is_err());
    door.remove(v4([0, 0, 0, 0], 0)).unwrap();
    let _again = connect_from([127, 0, 0, 1], address, PATIENCE).unwrap();
    assert!(connect_from([127, 0, 0, 1], address, PATIENCE).is_err(), "beyond its rate");
    assert_eq!(door.hits(everybody).unwrap(), 0);
    let counts = Counts { admitted: 2, denied: 1, over_rate: 1, sources: 1, ..Counts::default() };
    assert_eq!(door.counts().unwrap(), counts);
}

#[test]
fn a_burst_comes_in_and_no_more() {
    // So slow that the test sees the burst alone.
    let rate = Rate { interval: Duration::from_mins(1), burst: 5 };
    let mut door = Door::load(&Settings { rate: Some(rate), ..SETTINGS }).unwrap();
    let (listener, address) = listener();
    door.attach(listener.as_fd()).unwrap();
    let from = |last| connect_from([127, 9, 9, last], address, PATIENCE);
    let first: Vec<_> = (0..5).map(|_| from(1).unwrap()).collect();
    assert_eq!(from(1).unwrap_err().kind(), io::ErrorKind::TimedOut);
    let _another_source = from(2).unwrap();
    let counts = Counts { admitted: 6, over_rate: 1, sources: 2, ..Counts::default() };
    assert_eq!(door.counts().unwrap(), counts);
    door.set(v4([127, 9, 9, 1], 32), Verdict::Allow).unwrap();
    let _not_limited = from(1).unwrap();
    assert_eq!(door.forget_idle(Duration::ZERO).unwrap(), 2);
    drop(first);
}

#[test]
fn connections_go_to_the_worker_with_the_least_load() {
    let mut door = Door::load(&SETTINGS).unwrap();
    let any: SocketAddr = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0).into();
    let sockets = listen_shared(any, 128, NonZeroUsize::new(4).unwrap()).unwrap();
    let address = sockets[0].local_addr().unwrap();
    let shares: Vec<_> = sockets.iter().map(|socket| vec![socket.as_fd()]).collect();
    let mut steering = Steering::start(&mut door, &shares).unwrap();
    steering.publish(&[30, 0, 20, NOBODY], 10).unwrap();
    let _clients: Vec<_> =
        (0..7).map(|_| connect_from([127, 0, 0, 1], address, PATIENCE).unwrap()).collect();
    let waiting = |socket: &TcpListener| {
        socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| socket.accept().ok()).count()
    };
    // Each connection makes its worker's load 10 more: all of them are 40 at the end.
    assert_eq!(sockets.iter().map(waiting).collect::<Vec<_>>(), [1, 4, 2, 0]);
    assert_eq!(door.counts().unwrap().steered, 7);
}

/// The object with another instruction in [`ADMIT`]: that many from the front, or from the end.
fn spoiled(number: isize, instruction: [u8; 8]) -> Vec<u8> {
    let file = object::File::parse(PROGRAMS).unwrap();
    let symbol = file.symbol_by_name(ADMIT).unwrap();
    let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
    let (begin, _length) = section.file_range().unwrap();
    let program = usize::try_from(begin + symbol.address()).unwrap();
    let mut object = PROGRAMS.to_vec();
    let program = &mut object[program..][..usize::try_from(symbol.size()).unwrap()];
    let (instructions, _rest) = program.as_chunks_mut();
    let number = number.rem_euclid(instructions.len().try_into().unwrap());
    instructions[usize::try_from(number).unwrap()] = instruction;
    object
}

#[test]
fn a_program_that_is_refused_is_told_with_the_words_of_the_verifier() {
    // r0 = *(u64 *)(r10 - 1024): the stack has 512 bytes (RFC 9669, section 5.1).
    let [low, high] = (-1024_i16).to_le_bytes();
    let beyond_the_stack = [0x79, 0xa0, low, high, 0, 0, 0, 0];
    // With a rate every instruction counts.
    let rate = Some(Rate { interval: Duration::from_secs(1), burst: 1 });
    let settings = Settings { rate, ..SETTINGS };
    // At the beginning; and before the last instruction, when the verifier has said much.
    for (number, looked_at) in [(0, "Verifier output"), (-2, "…")] {
        let refused = load(&spoiled(number, beyond_the_stack), &settings).err().unwrap();
        assert!(matches!(refused, LoadError::Program { program: ADMIT, .. }), "{refused:?}");
        let told = refused.to_string();
        assert!(told.starts_with("admit: ") && told.contains("os error 13"), "{told}");
        for said in [looked_at, "invalid read from stack", "processed "] {
            assert!(told.contains(said), "no {said:?}: {told}");
        }
        assert!(told.len() < 4096, "{} bytes: {told}", told.len());
    }
}

/// The names in an `enum` of the programs' source, in their order.
fn enumerators(of: &str) -> Vec<&'static str> {
    let (_, rest) =
        include_str!("../../bpf/door.bpf.c").split_once(&format!("enum {of} {{")).unwrap();
    let (names, _) = rest.split_once('}').unwrap();
    names.split(',').map(str::trim).collect()
}

#[test]
fn the_kernels_order_of_counters_and_verdicts_is_ours() {
    let mut door = Door::load(&SETTINGS).unwrap();
    let names = enumerators("count");
    assert_eq!(names.len(), size_of::<CountWords>() / size_of::<u64>() + 1, "{names:?}");
    door.counts.set(0, [0, 1, 2, 3, 4, 5], 0).unwrap();
    let place = |name| names.iter().position(|one| *one == name).unwrap() as u64;
    let counts = Counts {
        admitted: place("ADMITTED"),
        denied: place("DENIED"),
        over_rate: place("OVER_RATE"),
        sources: place("SOURCES"),
        steered: place("STEERED"),
        migrated: place("MIGRATED"),
    };
    assert_eq!(door.counts().unwrap(), counts);
    let verdicts = enumerators("verdict");
    assert_eq!(verdicts[usize::try_from(Verdict::Allow.word()).unwrap()], "ALLOW");
    assert_eq!(verdicts[usize::try_from(Verdict::Deny.word()).unwrap()], "DENY");
}

/// How the workers listen whose queues go elsewhere.
const WORKERS_HERE: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// Who gets everybody, and then no longer listens.
const STUCK: usize = 2;
/// Room for all clients in one queue.
const QUEUE: i32 = 128;

/// Clients whose connections wait in one worker's queue, with the group that it belongs to. Each
/// has said its number.
fn queued(
    door: &mut Door,
    address: &str,
    clients: u8,
) -> (Vec<TcpListener>, Steering, Vec<TcpStream>) {
    let sockets = listen_shared(address.parse().unwrap(), QUEUE, WORKERS_HERE).unwrap();
    let address = sockets[0].local_addr().unwrap();
    let shares: Vec<_> = sockets.iter().map(|socket| vec![socket.as_fd()]).collect();
    let mut steering = Steering::start(door, &shares).unwrap();
    let loads: Vec<_> =
        (0..sockets.len()).map(|worker| if worker == STUCK { 0 } else { NOBODY }).collect();
    steering.publish(&loads, 1).unwrap();
    let clients: Vec<_> = (0..clients).map(|number| say(address, number)).collect();
    await_waiting(&sockets[STUCK], clients.len());
    (sockets, steering, clients)
}

/// A client that says its number.
fn say(address: SocketAddr, number: u8) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(&[number]).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// How many wait to be accepted: what the kernel counts as unacknowledged where somebody listens
/// (`tcp_get_info` in `net/ipv4/tcp.c`).
fn waiting(listener: &TcpListener) -> usize {
    tcp_info(listener.as_fd()).unwrap().unacknowledged.try_into().unwrap()
}

/// Waits until so many wait: that a client is connected is a moment before it does.
fn await_waiting(listener: &TcpListener, clients: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while waiting(listener) != clients {
        assert!(Instant::now() < deadline, "{} of {clients}", waiting(listener));
        std::thread::yield_now();
    }
}

/// Accepts whom the listening sockets have, answers each what it has said, and sees that each
/// client gets its own; answers how many there were at each socket.
///
/// It waits for all: a child that another test has made at this moment may have what is closed here
/// open as well, until it ends.
fn served(sockets: &[TcpListener], clients: &mut [TcpStream]) -> Vec<usize> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut accepted = Vec::new();
    let mut counts = vec![0; sockets.len()];
    while accepted.len() < clients.len() {
        assert!(Instant::now() < deadline, "{counts:?}");
        for (socket, count) in sockets.iter().zip(&mut counts) {
            socket.set_nonblocking(true).unwrap();
            let before = accepted.len();
            accepted.extend(std::iter::from_fn(|| socket.accept().ok()));
            *count += accepted.len() - before;
        }
        std::thread::yield_now();
    }
    for (socket, _) in &mut accepted {
        let mut said = [0];
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.read_exact(&mut said).unwrap();
        socket.write_all(&said).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut heard = [0];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(usize::from(heard[0]), number);
    }
    counts
}

#[test]
fn those_who_wait_at_a_listener_that_closes_are_served_by_the_others() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let mut door = Door::load(&SETTINGS).unwrap();
        let (mut sockets, mut steering, mut clients) = queued(&mut door, address, 60);
        steering.publish(&[0, 30, NOBODY, 20], 1).unwrap();
        drop(sockets.remove(STUCK));
        assert_eq!(served(&sockets, &mut clients), [37, 7, 16], "{address}, by their loads");
        assert_eq!(door.counts().unwrap().migrated, 60);
    }
}

#[test]
fn loads_that_are_told_late_lose_nobody() {
    let mut door = Door::load(&SETTINGS).unwrap();
    let (mut sockets, _steering, mut clients) = queued(&mut door, "127.0.0.1:0", 60);
    // By its load it would still get them.
    drop(sockets.remove(STUCK));
    served(&sockets, &mut clients);
}

#[test]
fn a_listener_that_is_shut_gives_its_queue_away_and_may_listen_again() {
    let mut door = Door::load(&SETTINGS).unwrap();
    let (sockets, mut steering, mut clients) = queued(&mut door, "127.0.0.1:0", 60);
    steering.publish(&[0, 0, NOBODY, 0], 1).unwrap();
    stop_listening(sockets[STUCK].as_fd()).unwrap();
    let not_ours = sockets[STUCK].accept().unwrap_err();
    assert_eq!(not_ours.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(served(&sockets, &mut clients), [20, 20, 0, 20]);
    // From now on it is a listener like the others, once it is told of.
    listen_again(sockets[STUCK].as_fd(), QUEUE).unwrap();
    steering.listens(STUCK, 0, sockets[STUCK].as_fd()).unwrap();
    steering.listens(STUCK, 0, sockets[STUCK].as_fd()).unwrap();
    steering.publish(&[NOBODY, NOBODY, 0, NOBODY], 0).unwrap();
    let address = sockets[STUCK].local_addr().unwrap();
    let mut again: Vec<_> = (0..9).map(|number| say(address, number)).collect();
    await_waiting(&sockets[STUCK], again.len());
    assert_eq!(served(&sockets, &mut again), [0, 0, 9, 0]);
}
