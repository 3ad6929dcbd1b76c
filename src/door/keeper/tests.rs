use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

use restreamer_sys::door::LoadError;
use socket2::{Domain, SockAddr, Socket, Type};

use super::super::tests::{allow, config, deny, net, remove};
use super::super::{Admission, By, Door};
use super::*;
use crate::config::DoorRate;
use crate::log::silent;

/// How long one who gets no answer waits for it.
const PATIENCE: Duration = Duration::from_millis(150);
const BOUND: Duration = Duration::from_secs(20);

fn later(then: Moment, seconds: u64) -> Moment {
    let passed = Duration::from_secs(seconds);
    Moment { instant: then.instant + passed, unix: then.unix + passed }
}

/// A door with somebody who listens behind it, and a worker.
struct Gate {
    keeper: Arc<Keeper>,
    listener: TcpListener,
    at_accept: AtAccept,
}

impl Gate {
    fn new(
        config: &config::Door,
        kernel: Result<sys::Door, LoadError>,
        state: Option<&Path>,
        now: Moment,
    ) -> Gate {
        let door = Door::with(config, kernel, state.map(Path::to_owned), silent(), now).unwrap();
        let listener = TcpListener::bind("[::]:0").unwrap();
        door.attach(listener.as_fd()).unwrap();
        let keeper = door.keeper;
        let mut at_accept = keeper.at_accept();
        at_accept.early_are_in();
        Gate { keeper, listener, at_accept }
    }

    /// Whether a connection from this address is made, and taken by the worker.
    fn takes(&mut self, from: &str) -> bool {
        let from: IpAddr = from.parse().unwrap();
        if !self.at_accept.in_kernel() {
            return self.at_accept.judge(from, Instant::now()) == Admission::Admitted;
        }
        let port = self.listener.local_addr().unwrap().port();
        let (domain, to) = match from {
            IpAddr::V4(_) => (Domain::IPV4, SocketAddr::new([127, 0, 0, 1].into(), port)),
            IpAddr::V6(_) => (Domain::IPV6, SocketAddr::new("::1".parse().unwrap(), port)),
        };
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).unwrap();
        match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => {
                drop((TcpStream::from(socket), self.listener.accept().unwrap()));
                let admission = self.at_accept.judge(from, Instant::now());
                assert_eq!(admission, Admission::Admitted, "the kernel has judged");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "there is no answer");
                false
            }
        }
    }

    /// Each rule as `network verdict hits`.
    fn rules(&self) -> Vec<String> {
        let rules = self.keeper.list().rules;
        let line =
            |rule: &RuleListing| format!("{} {} {}", rule.network, rule.verdict.word(), rule.hits);
        rules.iter().map(line).collect()
    }
}

/// Those who can keep a door here: the worker, and the kernel with the capability.
fn keepers(config: &config::Door) -> Vec<Result<sys::Door, LoadError>> {
    let kernel = super::super::kernel::load(config, 4);
    if let Err(LoadError::Capability) = kernel {
        eprintln!("NOT TESTED: the door in the kernel, since CAP_BPF is missing");
        return vec![Err(LoadError::Capability)];
    }
    vec![Err(LoadError::Capability), Ok(kernel.unwrap())]
}

/// The same, each with what it keeps.
fn gates(config: &config::Door) -> Vec<Gate> {
    let now = Moment::now();
    keepers(config).into_iter().map(|kernel| Gate::new(config, kernel, None, now)).collect()
}

#[test]
fn the_longest_prefix_decides_whichever_list_it_is_in() {
    let lists = config(&["127.1.0.0/16", "127.1.2.3", "::1"], &["127.1.2.0/24", "2001:db8::/32"]);
    for mut gate in gates(&lists) {
        for (from, taken) in [
            ("127.1.1.1", false),
            ("127.1.2.1", true),
            ("127.1.2.3", false),
            ("127.2.1.1", true),
            ("::1", false),
        ] {
            assert_eq!(gate.takes(from), taken, "{from}");
        }
        assert_eq!(
            gate.rules(),
            [
                "127.1.0.0/16 deny 1",
                "127.1.2.0/24 allow 1",
                "127.1.2.3/32 deny 1",
                "::1/128 deny 1",
                "2001:db8::/32 allow 0",
            ]
        );
        let Listing { admitted, dropped, .. } = gate.keeper.list();
        assert_eq!((admitted, dropped), (2, Dropped { denied: 3, rate: 0 }));
    }
}

#[test]
fn addresses_of_ipv4_are_in_no_network_of_ipv6() {
    for mut gate in gates(&config(&["::/0"], &[])) {
        assert!(gate.takes("127.0.0.1") && !gate.takes("::1"));
        gate.keeper.change(&deny("0.0.0.0/0", None)).unwrap();
        gate.keeper.change(&allow("::ffff:127.0.0.2")).unwrap();
        assert!(!gate.takes("127.0.0.1") && gate.takes("127.0.0.2") && !gate.takes("::1"));
        gate.keeper.change(&remove("::ffff:0.0.0.0/96")).unwrap();
        assert!(gate.takes("127.0.0.1") && !gate.takes("::1"));
        assert_eq!(gate.rules(), ["127.0.0.2/32 allow 1", "::/0 deny 3"]);
    }
    // A listening socket of both has those of IPv4 in this form.
    let mut gate =
        Gate::new(&config(&["192.0.2.0/24"], &[]), Err(LoadError::Capability), None, Moment::now());
    assert!(!gate.takes("::ffff:192.0.2.7") && gate.takes("::192.0.2.7"));
}

#[test]
fn a_change_holds_at_once_and_keeps_the_hits() {
    for mut gate in gates(&config(&["127.1.0.0/16"], &[])) {
        assert!(!gate.takes("127.1.0.1"));
        let changed = gate.keeper.change(&allow("127.1.0.0/16")).unwrap();
        assert_eq!((changed.network, changed.verdict), (net("127.1.0.0/16"), Some(Verdict::Allow)));
        assert!(gate.takes("127.1.0.1"));
        // The same again, which is the kernel's to know already.
        gate.keeper.change(&allow("127.1.0.0/16")).unwrap();
        assert_eq!(gate.rules(), ["127.1.0.0/16 allow 2"]);
        let changed = gate.keeper.change(&remove("127.1.0.0/16")).unwrap();
        assert_eq!(changed.verdict, Some(Verdict::Deny));
        assert!(!gate.takes("127.1.0.1"));
        assert_eq!(gate.rules(), ["127.1.0.0/16 deny 3"]);
        gate.keeper.change(&deny("127.2.0.0/16", None)).unwrap();
        assert!(!gate.takes("127.2.0.1"));
        assert_eq!(gate.keeper.change(&remove("127.2.0.0/16")).unwrap().verdict, None);
        assert!(gate.takes("127.2.0.1"));
        gate.keeper.change(&deny("127.2.0.0/16", None)).unwrap();
        assert_eq!(gate.rules(), ["127.1.0.0/16 deny 3", "127.2.0.0/16 deny 0"], "anew");
    }
}

#[test]
fn a_source_gets_its_burst_and_another_its_own() {
    let slow = DoorRate { per_second: 0.001, burst: 5 };
    let config = config::Door { rate: Some(slow), ..config(&[], &["127.9.9.9"]) };
    for mut gate in gates(&config) {
        let taken = (0..7).filter(|_| gate.takes("127.3.0.1")).count();
        assert_eq!(taken, 5);
        assert!(gate.takes("127.3.0.2") && gate.takes("::1"));
        assert!((0..10).all(|_| gate.takes("127.9.9.9")), "at whatever rate");
        let listing = gate.keeper.list();
        assert_eq!((listing.admitted, listing.sources), (17, 3));
        assert_eq!(listing.dropped, Dropped { denied: 0, rate: 2 });
        let counts = gate.keeper.counts();
        assert_eq!((counts.admitted, counts.over_rate, counts.sources, counts.rules), {
            (17, 2, 3, 1)
        });
        // None of them has been within its rate for long.
        let now = Moment::now();
        let mut book = gate.keeper.book();
        gate.keeper.sweep(&mut book, now);
        assert_eq!(gate.keeper.count(&mut book).sources, 3);
    }
}

#[test]
fn a_ban_ends_and_what_it_was_instead_of_holds_again() {
    let start = Moment::now();
    for kernel in keepers(&config::Door::default()) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("door.json");
        let mut gate = Gate::new(&config(&[], &["127.1.0.1"]), kernel, Some(&state), start);
        let keeper = Arc::clone(&gate.keeper);
        keeper.change_at(&deny("127.1.0.1", Some(10)), start).unwrap();
        keeper.change_at(&deny("127.1.0.2", Some(20)), start).unwrap();
        assert!(!gate.takes("127.1.0.1") && !gate.takes("127.1.0.2"));
        let left = |at: Moment| {
            let rules = keeper.list_at(at.instant).rules;
            rules.iter().map(|rule| rule.expires_in_seconds).collect::<Vec<_>>()
        };
        assert_eq!(left(start), [Some(10), Some(20)]);
        // However the wall clock is set.
        let set = Moment { unix: Duration::ZERO, ..later(start, 9) };
        assert!(keeper.expire(&mut keeper.book(), set));
        let set = Moment { unix: start.unix * 2, ..later(start, 9) };
        assert!(keeper.expire(&mut keeper.book(), set));
        assert_eq!(left(set), [Some(1), Some(11)]);
        assert!(keeper.expire(&mut keeper.book(), later(start, 10)));
        assert_eq!(left(later(start, 10)), [None, Some(10)]);
        assert!(gate.takes("127.1.0.1") && !gate.takes("127.1.0.2"));
        assert!(keeper.expire(&mut keeper.book(), later(start, 20)));
        assert!(gate.takes("127.1.0.2"));
        assert_eq!(gate.rules(), ["127.1.0.1/32 allow 2"]);
        let text = std::fs::read_to_string(&state).unwrap();
        assert_eq!(text, "{\"version\":1,\"rules\":[]}");
    }
}

/// A table is made of all rules: were there one for each that ends, ten thousand that end at once
/// would keep who asks waiting for ten seconds.
#[test]
fn workers_are_told_once_of_all_that_has_expired() {
    let start = Moment::now();
    let missing = Err(LoadError::Capability);
    let mut gate = Gate::new(&config(&[], &[]), missing, None, start);
    let shared = gate.keeper.accept.clone().unwrap();
    for number in 0..10 {
        let change = deny(&format!("127.1.0.{number}"), Some(10));
        gate.keeper.change_at(&change, start).unwrap();
    }
    assert!(!gate.takes("127.1.0.9"));
    let before = shared.changes();
    assert!(gate.keeper.expire(&mut gate.keeper.book(), later(start, 10)));
    assert_eq!(shared.changes(), before + 1);
    assert!(gate.takes("127.1.0.9") && gate.rules().is_empty());
}

#[test]
fn a_restart_keeps_rules_with_their_time_age_and_hits() {
    let start = Moment::now();
    for (kernel, again) in keepers(&config(&[], &[])).into_iter().zip(keepers(&config(&[], &[]))) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("door.json");
        let lists = config(&["127.1.0.0/16"], &[]);
        let mut gate = Gate::new(&lists, kernel, Some(&state), start);
        for change in [deny("127.2.0.0/16", Some(600)), allow("127.1.2.0/24")] {
            assert!(gate.keeper.change_at(&change, start).unwrap().saved);
        }
        assert!(!gate.takes("127.2.0.1") && !gate.takes("127.2.0.2") && gate.takes("127.1.2.1"));
        gate.keeper.stop();
        drop(gate);
        let mut gate = Gate::new(&lists, again, Some(&state), later(start, 100));
        assert!(!gate.takes("127.2.0.1") && gate.takes("127.1.2.1") && !gate.takes("127.1.1.1"));
        let listing = gate.keeper.list_at(later(start, 101).instant);
        assert!(listing.saved);
        assert_eq!(listing.state, Some(state));
        let [configured, allowed, banned] = &listing.rules[..] else { panic!("{listing:?}") };
        assert_eq!((configured.by, configured.age_seconds, configured.hits), {
            (By::Configuration, 1, 1)
        });
        assert_eq!((allowed.by, allowed.expires_in_seconds, allowed.hits), (By::Command, None, 2));
        assert_eq!(banned.hits, 3);
        // The file has whole seconds, and rounds up.
        assert!(matches!(banned.expires_in_seconds, Some(499 | 500)), "{banned:?}");
        assert!((100..=102).contains(&banned.age_seconds), "{banned:?}");
    }
}

#[test]
fn what_the_kernel_refuses_changes_nothing() {
    let settings = |rules| sys::Settings {
        rate: None,
        source_bits_v4: 32,
        source_bits_v6: 64,
        rules,
        sources: 16,
        workers: 1,
    };
    let kernel = match sys::Door::load(&settings(2)) {
        Err(LoadError::Capability) => {
            eprintln!("NOT TESTED: the door in the kernel, since CAP_BPF is missing");
            return;
        }
        kernel => kernel,
    };
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("door.json");
    let mut gate =
        Gate::new(&config(&["127.1.0.1", "127.1.0.2"], &[]), kernel, Some(&state), Moment::now());
    let before = std::fs::read_to_string(&state).unwrap();
    let error = gate.keeper.change(&deny("127.1.0.3", None)).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "the kernel refuses the rule about 127.1.0.3/32, nothing has changed: No space left"
        ),
        "{error}"
    );
    assert_eq!(gate.rules(), ["127.1.0.1/32 deny 0", "127.1.0.2/32 deny 0"]);
    assert_eq!(std::fs::read_to_string(&state).unwrap(), before);
    assert!(gate.takes("127.1.0.3") && !gate.takes("127.1.0.1"));
    // As for the configuration's, the kernel cannot keep the door then.
    let lists = config(&["127.1.0.1", "127.1.0.2", "127.1.0.3"], &[]);
    let kernel = sys::Door::load(&settings(2));
    let mut gate = Gate::new(&lists, kernel, None, Moment::now());
    assert!(!gate.at_accept.in_kernel() && !gate.takes("127.1.0.3"));
    let missing = gate.keeper.list().missing.unwrap();
    assert!(missing.starts_with("the kernel does not take the rules: No space left"), "{missing}");
}

#[test]
fn what_cannot_be_written_holds_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("later/door.json");
    let now = Moment::now();
    let none = || Err(LoadError::Capability);
    let mut gate = Gate::new(&config(&[], &[]), none(), Some(&state), now);
    assert!(!gate.keeper.list().saved);
    assert!(!gate.keeper.change(&deny("127.1.0.1", None)).unwrap().saved);
    assert!(!gate.takes("127.1.0.1") && !gate.keeper.list().saved);
    std::fs::create_dir(state.parent().unwrap()).unwrap();
    gate.keeper.sweep(&mut gate.keeper.book(), now);
    assert!(gate.keeper.list().saved);
    let gate = Gate::new(&config(&[], &[]), none(), Some(&state), now);
    assert_eq!(gate.rules(), ["127.1.0.1/32 deny 1"]);
    // Without a file nothing is, as soon as there is something.
    let gate = Gate::new(&config(&["127.1.0.1"], &[]), none(), None, now);
    assert!(gate.keeper.list().saved);
    assert!(!gate.keeper.change(&deny("127.1.0.2", None)).unwrap().saved);
    assert!(!gate.keeper.list().saved);
    gate.keeper.change(&remove("127.1.0.2")).unwrap();
    assert!(gate.keeper.list().saved);
}

#[test]
fn a_set_wall_clock_has_the_file_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("door.json");
    let now = Moment { instant: Instant::now(), unix: Duration::from_secs(1_000_000) };
    let gate = Gate::new(&config(&[], &[]), Err(LoadError::Capability), Some(&state), now);
    gate.keeper.change_at(&deny("127.1.0.1", Some(600)), now).unwrap();
    let text = || std::fs::read_to_string(&state).unwrap();
    assert!(text().contains("\"since\":1000000,\"expires\":1000600"));
    let set = Moment { unix: Duration::from_secs(2_000_000), ..later(now, 100) };
    gate.keeper.sweep(&mut gate.keeper.book(), set);
    assert!(text().contains("\"since\":1999900,\"expires\":2000500"), "{}", text());
}

#[test]
fn the_thread_ends_what_has_expired_and_itself() {
    let gate = Gate::new(&config(&[], &[]), Err(LoadError::Capability), None, Moment::now());
    gate.keeper.start().unwrap();
    assert_eq!(Arc::strong_count(&gate.keeper), 2);
    let instant = Instant::now().checked_sub(Duration::from_millis(950)).unwrap();
    let past = Moment { instant, ..Moment::now() };
    // Its time is over in 50 ms, long before the sweep that the thread was to wake for.
    gate.keeper.change_at(&deny("127.1.0.1", Some(1)), past).unwrap();
    let begun = Instant::now();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(8), "{what}");
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    until("the rule is gone", &|| gate.keeper.list().rules.is_empty());
    gate.keeper.stop();
    until("the thread is gone", &|| Arc::strong_count(&gate.keeper) == 1);
}

/// Whatever takes long here takes the book: a disk that does not answer, thousands of rules.
#[test]
fn a_worker_waits_for_nothing_that_is_done_here() {
    let rate = DoorRate { per_second: 1.0, burst: 1 };
    let config = config::Door { rate: Some(rate), ..config(&["127.1.0.1"], &[]) };
    let gate = Gate::new(&config, Err(LoadError::Capability), None, Moment::now());
    gate.keeper.change(&deny("127.1.0.2", None)).unwrap();
    let mut at_accept = gate.at_accept.clone();
    let book = gate.keeper.book();
    let (done, judged) = channel();
    let worker = thread::spawn(move || {
        let now = Instant::now();
        let of = |from: &str| at_accept.judge(from.parse().unwrap(), now);
        done.send(["127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.3"].map(of)).unwrap();
    });
    let judged = judged.recv_timeout(BOUND).expect("it does not wait");
    drop(book);
    worker.join().unwrap();
    assert_eq!(judged[..2], [Admission::Denied; 2]);
    assert_eq!(judged[2..], [Admission::Admitted, Admission::OverRate]);
}

#[test]
fn the_listing_is_what_the_side_port_answers() {
    let rate = DoorRate { per_second: 5.0, burst: 20 };
    let config = config::Door { rate: Some(rate), ..config(&["203.0.113.0/24"], &[]) };
    let start = Moment::now();
    let gate = Gate::new(&config, Err(LoadError::Capability), None, start);
    gate.keeper.change_at(&deny("10.0.0.0/8", Some(600)), later(start, 10)).unwrap();
    let listing = gate.keeper.list_at(later(start, 22).instant);
    let expected = serde_json::json!({
        "place": "accept", "missing": "CAP_BPF is missing",
        "rate": { "per_second": 5.0, "burst": 20 }, "source": { "v4": 32, "v6": 64 },
        "admitted": 0, "dropped": { "denied": 0, "rate": 0 },
        "sources": 0, "sources_max": 65536, "rules_max": 65536, "state": null, "saved": false,
        "rules": [
            { "network": "10.0.0.0/8", "verdict": "deny", "by": "command", "age_seconds": 12,
              "expires_in_seconds": 588, "hits": 0 },
            { "network": "203.0.113.0/24", "verdict": "deny", "by": "configuration",
              "age_seconds": 22, "expires_in_seconds": null, "hits": 0 },
        ],
    });
    assert_eq!(serde_json::to_value(&listing).unwrap(), expected);
    for gate in gates(&config) {
        let (place, missing) = if gate.at_accept.in_kernel() {
            ("kernel", None)
        } else {
            ("accept", Some("CAP_BPF is missing".to_owned()))
        };
        let listing = gate.keeper.list();
        assert_eq!((serde_json::to_value(listing.place).unwrap(), listing.missing), {
            (place.into(), missing)
        });
    }
}
