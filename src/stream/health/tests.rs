use proptest::prelude::*;

use super::*;

/// What comes in each half second.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    data: bool,
    packets: u64,
    pats: u64,
    pmts: u64,
    video: u64,
    clear: u64,
    scrambled: u64,
}

const NOTHING: Half =
    Half { data: false, packets: 0, pats: 0, pmts: 0, video: 0, clear: 0, scrambled: 0 };
const GARBAGE: Half = Half { data: true, ..NOTHING };
const BARE: Half = Half { packets: 100, ..GARBAGE };
const RADIO: Half = Half { pats: 5, pmts: 5, clear: 20, ..BARE };
const GOOD: Half = Half { video: 12, clear: 32, ..RADIO };
const SCRAMBLED: Half = Half { clear: 0, scrambled: 32, ..GOOD };

/// A watch that is shown one half second after the other.
struct Bench {
    watch: Watch,
    start: Instant,
    now: Instant,
    seen: Seen,
}

impl Bench {
    fn new(limits: Health) -> Bench {
        let start = Instant::now();
        let seen = Seen { tables: true, video: true, ..Seen::default() };
        Bench { watch: Watch::new(limits, start), start, now: start, seen }
    }

    /// So many halves alike. Answers what changed, each with its half from now on.
    fn see(&mut self, half: Half, times: u32) -> Vec<(u32, Condition, bool)> {
        let mut changes = Vec::new();
        for number in 1..=times {
            self.seen.data = half.data;
            self.seen.packets += half.packets;
            let vitals = &mut self.seen.vitals;
            vitals.pats += half.pats;
            vitals.pmts += half.pmts;
            vitals.video += half.video;
            vitals.clear += half.clear;
            vitals.scrambled += half.scrambled;
            self.now += HEALTH_INTERVAL;
            let told = self.watch.look(&self.seen, self.now);
            changes.extend(told.into_iter().map(|(condition, holds)| (number, condition, holds)));
        }
        changes
    }

    fn held(&self) -> Vec<Condition> {
        self.watch.held().map(|(condition, _)| condition).collect()
    }
}

/// Every condition is left for after so many seconds.
fn limits(seconds: u64) -> Health {
    Health {
        times: [Some(Duration::from_secs(seconds)); 6],
        floor: Some(100 * 1504),
        tables_asked: true,
    }
}

const LULL: u32 = 20;

/// What a stream lacks, and the condition that it has then: none other hides behind it.
const ILL: [(Half, Condition); 6] = [
    (NOTHING, Condition::NoData),
    (GARBAGE, Condition::NoSync),
    (Half { video: 12, clear: 32, ..BARE }, Condition::NoTables),
    (RADIO, Condition::NoVideo),
    (SCRAMBLED, Condition::Scrambled),
    (Half { packets: 49, ..GOOD }, Condition::Bitrate),
];

#[test]
fn each_condition_begins_after_a_lull_and_is_over_after_three_looks() {
    for (half, condition) in ILL {
        let floor = (condition == Condition::Bitrate).then_some(100 * 1504);
        let mut bench = Bench::new(Health { floor, ..Health::default() });
        assert_eq!(bench.see(GOOD, 40), [], "{condition:?}");
        let begun = bench.now;
        assert_eq!(bench.see(half, 100), [(LULL, condition, true)], "{condition:?}");
        assert_eq!(bench.watch.since(condition), Some(begun));
        assert_eq!(bench.watch.left_for(true), None, "never, unless configured");
        // A bitrate is that of ten seconds.
        let looks = if condition == Condition::Bitrate { LULL } else { HEALTH_LOOKS };
        assert_eq!(bench.see(GOOD, 100), [(looks, condition, false)], "{condition:?}");
        assert!(bench.watch.was_well(condition));
    }
}

#[test]
fn each_condition_is_left_for_after_its_own_time() {
    for (half, condition) in ILL {
        for seconds in [1, 3, 10, 20, 60] {
            let mut limits = Health { floor: Some(100 * 1504), ..Health::default() };
            limits.times[condition.index()] = Some(Duration::from_secs(seconds));
            let mut bench = Bench::new(limits);
            let halves = u32::try_from(2 * seconds).unwrap();
            bench.see(GOOD, 10 * halves);
            bench.see(half, halves - 1);
            assert_eq!(bench.watch.left_for(true), None, "{condition:?} after {seconds} s");
            bench.see(half, 1);
            let left_for = Some((condition, Duration::from_secs(seconds)));
            assert_eq!(bench.watch.left_for(true), left_for, "{condition:?} after {seconds} s");
        }
    }
}

#[test]
fn what_was_ill_from_the_beginning_was_never_well() {
    for (half, condition) in ILL {
        let mut bench = Bench::new(limits(5));
        bench.see(half, 10);
        assert_eq!(bench.watch.left_for(true).map(|(of, _)| of), Some(condition));
        assert!(!bench.watch.was_well(condition), "{condition:?}");
        assert_eq!(bench.watch.since(condition), Some(bench.start));
    }
}

#[test]
fn one_picture_a_minute_is_no_video() {
    let mut times = Health::default();
    times.times[Condition::NoVideo.index()] = Some(Duration::from_mins(2));
    let mut bench = Bench::new(times);
    bench.see(GOOD, 20);
    bench.see(RADIO, 119);
    for minute in 1.. {
        assert_eq!(bench.see(Half { video: 1, ..RADIO }, 1), []);
        assert_eq!(bench.held(), [Condition::NoVideo]);
        assert_eq!(bench.watch.left_for(true), None, "not while there is a picture");
        let changes = bench.see(RADIO, 119);
        assert_eq!(changes, [], "it is one condition all the time");
        if bench.watch.left_for(true).is_some() {
            assert_eq!(minute, 2);
            return;
        }
    }
}

#[test]
fn what_comes_in_bursts_is_there() {
    // Segments of 9 s, and video that shows a slide in 9 s.
    for (burst, rest) in [(GOOD, NOTHING), (GOOD, RADIO), (GOOD, BARE)] {
        let mut bench = Bench::new(Health { floor: None, ..limits(10) });
        for _ in 0..20 {
            assert_eq!(bench.see(burst, 1), []);
            assert_eq!(bench.see(rest, 18), []);
        }
        assert!(Condition::ALL[..4].iter().all(|&of| bench.watch.was_well(of)));
    }
    // The same as a bitrate: one within the other.
    let mut bench = Bench::new(limits(60));
    let burst = Half { packets: 100 * 10, ..GOOD };
    for _ in 0..20 {
        assert_eq!(bench.see(burst, 1), []);
        assert_eq!(bench.see(NOTHING, 9), []);
    }
}

#[test]
fn a_bitrate_is_measured_exactly() {
    for (packets, holds) in [(99, true), (100, false), (101, false)] {
        // Of a second each.
        let mut bench = Bench::new(Health { floor: Some(200 * 1504), ..limits(1) });
        bench.see(Half { packets, ..GOOD }, 2);
        assert_eq!(bench.held().contains(&Condition::Bitrate), holds, "{packets}");
    }
    for (seconds, parts) in [(1, 1), (10, 10), (11, 5), (25, 8), (86_400, 10)] {
        let period = period(Some(Duration::from_secs(seconds)));
        assert_eq!(period.as_secs(), parts, "{seconds}");
    }
}

#[test]
fn a_stream_without_video_has_none_to_miss() {
    let mut bench = Bench::new(limits(5));
    bench.seen.video = false;
    assert_eq!(bench.see(RADIO, 100), []);
    // The tables name some from now on, and none again.
    bench.seen.video = true;
    assert_eq!(bench.see(RADIO, 20), [(10, Condition::NoVideo, true)]);
    bench.seen.video = false;
    assert_eq!(bench.see(RADIO, 20), [(3, Condition::NoVideo, false)]);
}

#[test]
fn one_table_alone_is_as_good_as_none() {
    for half in [Half { pats: 0, ..GOOD }, Half { pmts: 0, ..GOOD }] {
        let mut bench = Bench::new(limits(5));
        assert_eq!(bench.see(half, 20), [(10, Condition::NoTables, true)]);
    }
    // Not both in the same half second.
    let mut bench = Bench::new(limits(2));
    for _ in 0..100 {
        assert_eq!(bench.see(Half { pats: 0, ..GOOD }, 1), []);
        assert_eq!(bench.see(Half { pmts: 0, ..GOOD }, 1), []);
    }
    // Sections come, but none of a program of the PAT.
    let mut bench = Bench::new(limits(5));
    bench.seen.tables = false;
    assert_eq!(bench.see(GOOD, 20), [(10, Condition::NoTables, true)]);
}

#[test]
fn a_stream_that_never_had_tables_is_not_left_for_them_by_default() {
    let mut bench = Bench::new(Health::of_upstreams(2));
    bench.seen.tables = false;
    bench.see(BARE, 100);
    assert_eq!(bench.held(), [Condition::NoTables], "it is told all the same");
    assert_eq!(bench.watch.left_for(false), None);
    assert_eq!(bench.watch.left_for(true).map(|(of, _)| of), Some(Condition::NoTables));
    let mut asked = Bench::new(Health { tables_asked: true, ..Health::of_upstreams(2) });
    asked.seen.tables = false;
    asked.see(BARE, 20);
    assert_eq!(asked.watch.left_for(false).map(|(of, _)| of), Some(Condition::NoTables));
}

#[test]
fn what_cannot_be_judged_stays_as_it_was() {
    let mut bench = Bench::new(limits(5));
    bench.see(GOOD, 20);
    assert_eq!(bench.see(RADIO, 9), []);
    // Half a minute in which nobody can say whether there is video.
    let silent = bench.see(NOTHING, 60);
    assert_eq!(silent, [(10, Condition::NoData, true), (11, Condition::Bitrate, true)]);
    assert_eq!(bench.see(RADIO, 1), [(1, Condition::NoVideo, true)]);
}

#[test]
fn a_process_that_was_stopped_has_missed_nothing() {
    let mut bench = Bench::new(Health { floor: None, ..limits(10) });
    bench.see(GOOD, 20);
    bench.now += Duration::from_hours(1);
    assert_eq!(bench.see(NOTHING, 18), []);
    assert_eq!(bench.see(NOTHING, 1).len(), 1, "a second is counted of the hour");
}

fn half() -> impl Strategy<Value = Half> {
    prop_oneof![Just(NOTHING), Just(GARBAGE), Just(BARE), Just(RADIO), Just(GOOD), Just(SCRAMBLED)]
}

proptest! {
    /// Nobody is left who has not lacked the same for its time, and each change is told.
    #[test]
    fn an_upstream_is_left_for_what_it_has_lacked_for_so_long(
        seconds in 1_u64..30,
        row in prop::collection::vec((half(), 1_u32..40), 1..30),
    ) {
        let limit = Duration::from_secs(seconds);
        let mut bench = Bench::new(limits(seconds));
        let mut told = Vec::new();
        for (half, times) in row {
            for _ in 0..times {
                for (_, condition, holds) in bench.see(half, 1) {
                    prop_assert_eq!(told.contains(&condition), !holds);
                    told.retain(|of| *of != condition);
                    told.extend(holds.then_some(condition));
                }
                prop_assert_eq!(told.len(), bench.held().len());
                if let Some((condition, time)) = bench.watch.left_for(true) {
                    let since = bench.watch.since(condition).unwrap();
                    prop_assert!(time >= limit && bench.now - since >= limit);
                    prop_assert!(told.contains(&condition));
                }
            }
        }
    }

    /// A good stream is never ill, however late looks are.
    #[test]
    fn a_good_stream_is_well(
        seconds in 1_u64..30,
        late in prop::collection::vec(0_u64..3000, 1..200),
    ) {
        let mut bench = Bench::new(limits(seconds));
        for late in late {
            bench.now += Duration::from_millis(late);
            prop_assert_eq!(bench.see(Half { packets: 100 * (late / 500 + 1), ..GOOD }, 1), []);
        }
        prop_assert_eq!(bench.watch.left_for(true), None);
    }
}
