//! What is measured: so many streams, viewers of several kinds, and who serves them.

use std::time::Duration;

use crate::options::Options;
use crate::subject::Subject;
use crate::target::{
    DROPPED_PACKETS, JOINERS_MISSING, LOST_PACKETS, Target, UNCOUNTED_SYNS, added_p50_turns,
    added_p99_turns, core_share, cpu_ratio, median_join_ms, p50_ms, p50_ratio, p99_growth_ms,
    p99_ms, p99_ratio, resident_mib, slowest_join_ms, worker_growth,
};
use crate::tiers::TIERS;

/// Streams, their viewers, and what is to come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) streams: usize,
    pub(crate) audience: Audience,
    /// Of each stream; 0: the upstreams are connected and send nothing.
    pub(crate) bits_per_second: u64,
    /// From one random access point to the next; joiners have come once they have a whole picture.
    /// Without it there are neither tables nor pictures.
    pub(crate) group: Option<Duration>,
    /// Milliseconds, if the turn is not to be adaptive.
    pub(crate) turn: Option<u32>,
    /// SYNs a second from addresses that are nobody's, every other second of the window.
    pub(crate) flood: Option<u32>,
    /// Measured in this order: the first is judged, the second is what it is compared with.
    pub(crate) subjects: &'static [Subject],
    pub(crate) targets: &'static [Target],
    /// What the bare loop does otherwise than the server.
    pub(crate) options: Options,
    /// Measured unless others are named.
    pub(crate) usual: bool,
}

/// Viewers of all streams together; the first of any kind is of the first stream, and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience {
    /// Every packet of theirs is read and checked.
    pub(crate) whole: usize,
    /// Every byte of theirs is counted, and the packets of one read in sixteen are checked: to be
    /// right they must be just those that the count says, so that nothing between is missing.
    pub(crate) spots: usize,
    /// Read the response head, and nothing ever after.
    pub(crate) stalled: usize,
    /// Come within `storm` of the window's beginning, and are then as `spots`, or as `whole` where
    /// there are pictures.
    pub(crate) joins: usize,
    /// The time in which all joiners connect.
    pub(crate) storm: Duration,
}

/// What it is unless something else is said.
const STORM: Duration = Duration::from_secs(2);
/// As encoders of television have it.
const GROUP: Duration = Duration::from_secs(2);
/// What a window with joiners lasts at least beyond the storm: the last may take three seconds.
const AFTER_STORM: Duration = Duration::from_secs(4);

pub(crate) const NOBODY: Audience =
    Audience { whole: 0, spots: 0, stalled: 0, joins: 0, storm: STORM };

impl Audience {
    /// Those that are there before the window begins.
    pub(crate) fn seated(self) -> usize {
        self.whole + self.spots + self.stalled
    }
}

impl Scenario {
    /// Without those that are not live.
    pub(crate) fn live_alone(self) -> Scenario {
        Scenario { audience: Audience { stalled: 0, joins: 0, ..self.audience }, ..self }
    }

    /// With every fourth viewer.
    pub(crate) fn quarter(self) -> Scenario {
        let Audience { whole, spots, stalled, joins, storm } = self.audience;
        let audience = Audience {
            whole: whole / 4,
            spots: spots / 4,
            stalled: stalled / 4,
            joins: joins / 4,
            storm,
        };
        Scenario { audience, ..self }
    }

    /// How long to measure, if so long is asked for.
    pub(crate) fn window(&self, asked: Duration) -> Duration {
        if self.audience.joins > 0 { asked.max(self.audience.storm + AFTER_STORM) } else { asked }
    }
}

pub(crate) const FAN_OUT: Scenario = Scenario {
    name: "",
    streams: 1,
    audience: NOBODY,
    bits_per_second: 8_000_000,
    group: None,
    turn: None,
    flood: None,
    subjects: &[Subject::Server, Subject::Bare],
    targets: &[],
    options: Options::NONE,
    usual: true,
};

/// All there are. The targets are those that the product was given.
const SCENARIOS: [Scenario; 22] = [
    Scenario {
        name: "1000",
        audience: Audience { whole: 1000, ..NOBODY },
        targets: &[LOST_PACKETS, DROPPED_PACKETS, cpu_ratio(1.15), p50_ms(35.0), p99_ms(70.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "1000-60ms",
        audience: Audience { whole: 1000, ..NOBODY },
        turn: Some(60),
        // 0.15 s/GB where the bare loop takes 0.13.
        targets: &[LOST_PACKETS, DROPPED_PACKETS, cpu_ratio(0.15 / 0.13)],
        ..FAN_OUT
    },
    Scenario {
        name: "100",
        audience: Audience { whole: 100, ..NOBODY },
        subjects: &[Subject::Server, Subject::Bare, Subject::Icecast],
        targets: &[LOST_PACKETS, DROPPED_PACKETS, p50_ms(6.0), p99_ms(12.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "5000",
        audience: Audience { whole: 250, spots: 4750, ..NOBODY },
        targets: &[LOST_PACKETS, DROPPED_PACKETS, p99_ms(200.0), resident_mib(60.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "streams",
        streams: 500,
        audience: Audience { whole: 100, spots: 900, ..NOBODY },
        subjects: &[
            Subject::Server,
            Subject::Haproxy,
            Subject::HaproxySplicing,
            Subject::Nginx,
            Subject::Bare,
        ],
        targets: &[LOST_PACKETS, DROPPED_PACKETS, cpu_ratio(0.5)],
        ..FAN_OUT
    },
    Scenario {
        name: "stalled",
        audience: Audience { whole: 1000, stalled: 1000, ..NOBODY },
        subjects: &[Subject::Server, Subject::Alone],
        targets: &[LOST_PACKETS, cpu_ratio(1.1), p50_ratio(1.1), p99_ratio(1.1)],
        ..FAN_OUT
    },
    Scenario {
        name: "joins",
        audience: Audience { whole: 500, joins: 5000, ..NOBODY },
        subjects: &[Subject::Server],
        targets: &[LOST_PACKETS, JOINERS_MISSING, slowest_join_ms(3000.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "join-50",
        // One every 106 ms: at fifty different places of a group of pictures.
        audience: Audience { whole: 200, joins: 50, storm: Duration::from_millis(5300), ..NOBODY },
        group: Some(GROUP),
        subjects: &[Subject::Server],
        targets: &[LOST_PACKETS, JOINERS_MISSING, median_join_ms(50.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "join-200",
        audience: Audience { whole: 200, joins: 200, storm: Duration::from_secs(1), ..NOBODY },
        group: Some(GROUP),
        subjects: &[Subject::Server],
        targets: &[LOST_PACKETS, DROPPED_PACKETS, JOINERS_MISSING, p99_growth_ms(50.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "tiers",
        audience: Audience { whole: 100, ..NOBODY },
        subjects: &[TIERS[2]],
        targets: &[LOST_PACKETS, DROPPED_PACKETS, added_p50_turns(1.0), added_p99_turns(1.0)],
        ..FAN_OUT
    },
    Scenario {
        name: "idle",
        streams: 1000,
        bits_per_second: 0,
        subjects: &[Subject::Server],
        // No figure was given for "nothing".
        targets: &[core_share(0.01)],
        ..FAN_OUT
    },
    Scenario {
        name: "flood",
        audience: Audience { whole: 200, ..NOBODY },
        flood: Some(20_000),
        subjects: &[Subject::Door, Subject::DoorAtAccept, Subject::NoDoor],
        targets: &[LOST_PACKETS, DROPPED_PACKETS, UNCOUNTED_SYNS, worker_growth(0.05)],
        // It takes root, and two hosts.
        usual: false,
        ..FAN_OUT
    },
    relay("relay-1-20ms", 500, 500, 20),
    relay("relay-2-20ms", 500, 1000, 20),
    relay("relay-5-20ms", 200, 1000, 20),
    relay("relay-10-20ms", 100, 1000, 20),
    relay("relay-100-20ms", 10, 1000, 20),
    relay("relay-1-60ms", 500, 500, 60),
    relay("relay-2-60ms", 500, 1000, 60),
    relay("relay-5-60ms", 200, 1000, 60),
    relay("relay-10-60ms", 100, 1000, 60),
    relay("relay-100-60ms", 10, 1000, 60),
];

/// Bare loops: upstreams spliced into the pipe, and chunks written to each viewer, beside chunks
/// written into the pipe and duplicated from there.
/// Which is cheaper turns with the fragments of a chunk: 60 KB that came in three pieces leave as
/// two network packets where 60 KB of full pages may leave as one, and each wakes its viewer.
const fn relay(name: &'static str, streams: usize, viewers: usize, turn: u32) -> Scenario {
    Scenario {
        name,
        streams,
        audience: Audience { whole: viewers / 10, spots: viewers - viewers / 10, ..NOBODY },
        turn: Some(turn),
        subjects: &[Subject::Written, Subject::Bare, Subject::Through],
        usual: false,
        ..FAN_OUT
    }
}

/// Those with these names, or names that go on after such a one (`relay`); by default the usual.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Scenario>, String> {
    if names.is_empty() {
        return Ok(SCENARIOS.into_iter().filter(|scenario| scenario.usual).collect());
    }
    let mut found = Vec::new();
    for name in names {
        let exact = |scenario: &Scenario| scenario.name == name;
        let family = |scenario: &Scenario| {
            scenario.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        let mut these: Vec<_> = SCENARIOS.into_iter().filter(exact).collect();
        if these.is_empty() {
            these = SCENARIOS.into_iter().filter(family).collect();
        }
        if these.is_empty() {
            let known = SCENARIOS.map(|scenario| scenario.name).join(", ");
            return Err(format!("scenario {name} is unknown; there are {known}"));
        }
        found.extend(these);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str]) -> Result<Vec<&'static str>, String> {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        Ok(chosen(&asked)?.into_iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn names_and_families_are_chosen() {
        let usual = ["1000", "1000-60ms", "100", "5000", "streams", "stalled", "joins"];
        let usual = [&usual[..], &["join-50", "join-200", "tiers", "idle"]].concat();
        assert_eq!(names(&[]).unwrap(), usual);
        assert_eq!(names(&["join"]).unwrap(), ["join-50", "join-200"]);
        assert_eq!(names(&["joins", "1000"]).unwrap(), ["joins", "1000"], "in this order");
        let relays = names(&["relay-2"]).unwrap();
        assert_eq!(relays, ["relay-2-20ms", "relay-2-60ms"]);
        assert_eq!(names(&["relay"]).unwrap().len(), 10);
        let error = names(&["100", "10"]).unwrap_err();
        assert!(error.starts_with("scenario 10 is unknown; there are 1000, "), "{error}");
    }

    #[test]
    fn every_scenario_has_a_stream_and_a_subject_and_a_name_of_its_own() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(scenario.streams > 0 && !scenario.subjects.is_empty(), "{}", scenario.name);
            assert!(SCENARIOS[..at].iter().all(|other| other.name != scenario.name));
        }
    }

    #[test]
    fn a_window_is_long_enough_for_a_storm() {
        let of = |name: &str| chosen(&[name.to_owned()]).unwrap()[0];
        let second = Duration::from_secs(1);
        assert_eq!((of("joins").window(second), of("100").window(second)), (6 * second, second));
        assert!(of("join-50").window(second) > 9 * second);
        assert_eq!(of("stalled").live_alone().audience.seated(), 1000);
    }
}
