//! The knobs there are, and the values that each is measured at. The first value is the default:
//! what the server and the kernel do by themselves.

use std::time::Duration;

use crate::options::{Congestion, Options};
use crate::scenario::{Audience, FAN_OUT, NOBODY, Scenario};
use crate::subject::Subject;

const KIB: usize = 1024;
/// Milliseconds, of every measurement that does not say another: a period that is chosen by load
/// would hide what a knob costs.
const TURN: u32 = 40;

/// One knob, and who is measured.
pub(crate) struct Knob {
    pub(crate) name: &'static str,
    pub(crate) subject: Subject,
    pub(crate) values: Vec<Value>,
}

/// A value, and what it is measured with.
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) sysctls: Sysctls,
}

const LIVE: Scenario = Scenario {
    name: "1,000 viewers",
    audience: Audience { whole: 1000, ..NOBODY },
    turn: Some(TURN),
    ..FAN_OUT
};
const STALLED: Scenario = Scenario {
    name: "100 of 1,100 stalled",
    audience: Audience { whole: 1000, stalled: 100, ..NOBODY },
    ..LIVE
};
/// 300 KB a turn.
const LARGE: Scenario = Scenario {
    name: "200 viewers",
    audience: Audience { whole: 200, ..NOBODY },
    bits_per_second: 40_000_000,
    turn: Some(60),
    ..FAN_OUT
};
const STREAMS: Scenario = Scenario {
    name: "500 streams",
    streams: 500,
    audience: Audience { whole: 100, spots: 900, ..NOBODY },
    ..LIVE
};
const MANY: Scenario = Scenario {
    name: "5,000 viewers",
    audience: Audience { whole: 250, spots: 4750, ..NOBODY },
    ..LIVE
};
/// Its turns are the server's own: a fixed period would bound how soon connections are accepted.
const JOINS: Scenario =
    Scenario { name: "joins", audience: Audience { whole: 500, joins: 5000, ..NOBODY }, ..FAN_OUT };

/// The same connections, as fast as they can be made.
const RUSH: Scenario = Scenario {
    name: "joins at once",
    audience: Audience { storm: Duration::from_millis(200), ..JOINS.audience },
    ..JOINS
};

/// Files below `/proc/sys`, and what is written there.
type Sysctls = &'static [(&'static str, &'static str)];

/// The server asks for more; this is what it is granted.
const BACKLOGS: [(&str, Sysctls); 3] = [
    ("4096", &[("net/core/somaxconn", "4096")]),
    ("1024", &[("net/core/somaxconn", "1024")]),
    ("128", &[("net/core/somaxconn", "128")]),
];

/// All there are.
pub(crate) fn all() -> Vec<Knob> {
    let none = Options::NONE;
    let send = |kib: usize| Options { send_bytes: Some(kib * KIB), ..none };
    let receive = |kib: usize| Options { receive_bytes: Some(kib * KIB), ..none };
    let pipe = |kib: usize| Options { pipe_bytes: Some(kib * KIB), ..none };
    let unsent = |bytes| Options { unsent_bytes: Some(bytes), ..none };
    let woken = Options { woken: true, ..none };
    let polls = Options { busy_poll_micros: Some(50), ..woken };
    let sends = [
        ("tuned by the kernel", none),
        ("128 KiB", send(128)),
        ("256 KiB", send(256)),
        ("1 MiB", send(1024)),
    ];
    let pipes = [("256 KiB", pipe(256)), ("64 KiB", pipe(64)), ("1 MiB", pipe(1024))];
    let receives =
        [("tuned by the kernel", none), ("64 KiB", receive(64)), ("256 KiB", receive(256))];
    // A turn of 300 KB is more than a viewer's socket takes with the server's bound.
    let unbounded = |options| Options { unsent_bytes: Some(0), ..options };
    let control = |control| Options { congestion: Some(control), ..none };
    let controls = [
        ("bbr", control(Congestion::Bbr)),
        ("cubic", control(Congestion::Cubic)),
        ("reno", control(Congestion::Reno)),
    ];
    vec![
        by_option("sndbuf", STALLED, &sends),
        by_option(
            "notsent-lowat",
            STALLED,
            &[("256 KiB", none), ("none", unsent(0)), ("64 KiB", unsent(64 * 1024))],
        ),
        by_option("pipes-40kb", LIVE, &pipes),
        by_option("pipes-300kb", LARGE, &pipes.map(|(name, pipe)| (name, unbounded(pipe)))),
        by_option("congestion", LIVE, &controls),
        by_option("rcvbuf", STREAMS, &receives),
        by_option("wakes", STREAMS, &[("not woken", none), ("woken", woken)]),
        by_option("busy-poll", STREAMS, &[("none", woken), ("50 us", polls)]),
        by_sysctl("backlog-2s", JOINS, &BACKLOGS),
        by_sysctl("backlog-rush", RUSH, &BACKLOGS),
        Knob {
            name: "viewers",
            subject: Subject::Server,
            values: vec![value("1,000", LIVE, &[]), value("5,000", MANY, &[])],
        },
    ]
}

fn by_option(name: &'static str, scenario: Scenario, values: &[(&'static str, Options)]) -> Knob {
    let of = |&(name, options)| value(name, Scenario { options, ..scenario }, &[]);
    Knob { name, subject: Subject::Bare, values: values.iter().map(of).collect() }
}

fn by_sysctl(name: &'static str, scenario: Scenario, values: &[(&'static str, Sysctls)]) -> Knob {
    let of = |&(name, sysctls)| value(name, scenario, sysctls);
    Knob { name, subject: Subject::Server, values: values.iter().map(of).collect() }
}

fn value(name: &'static str, scenario: Scenario, sysctls: Sysctls) -> Value {
    Value { name, scenario, sysctls }
}

/// Those with these names; all if there are none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Knob>, String> {
    let mut all = all();
    if let Some(name) = names.iter().find(|name| all.iter().all(|knob| knob.name != **name)) {
        let known: Vec<_> = all.iter().map(|knob| knob.name).collect();
        return Err(format!("knob {name} is unknown; there are {}", known.join(", ")));
    }
    all.retain(|knob| names.is_empty() || names.iter().any(|name| name == knob.name));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_has_a_name_of_its_own_and_a_default() {
        let knobs = all();
        for (at, knob) in knobs.iter().enumerate() {
            assert!(knob.values.len() > 1, "{}", knob.name);
            assert!(knobs[..at].iter().all(|other| other.name != knob.name), "{}", knob.name);
        }
    }

    #[test]
    fn knobs_are_chosen_by_name() {
        let some = chosen(&["sndbuf".to_owned()]).unwrap();
        assert_eq!((some.len(), some[0].name, some[0].values.len()), (1, "sndbuf", 4));
        assert_eq!(chosen(&[]).unwrap().len(), all().len());
        let error = chosen(&["x".to_owned()]).map(|_| ()).unwrap_err();
        assert!(error.starts_with("knob x is unknown; there are sndbuf, "), "{error}");
    }
}
