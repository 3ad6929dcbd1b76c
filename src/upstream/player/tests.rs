use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Seek;
use std::time::Duration;

use super::*;
use crate::limits::{PACE_BYTES_PER_SECOND_DEFAULT, PACE_LATE_MAX, PLAYER_BARREN_BYTES_MAX};
use crate::ts::pes::{PesHeader, Timestamp};
use crate::ts::{Continuity, Counters, Pcr, Pid, Probe, Ticks};

/// A clock on which sleeping takes no time.
struct FakeClock {
    start: Instant,
    now: Cell<Instant>,
}

impl FakeClock {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, now: Cell::new(start) }
    }

    fn elapsed(&self) -> Duration {
        self.now.get() - self.start
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn sleep_until(&self, deadline: Instant) {
        self.now.set(self.now.get().max(deadline));
    }
}

/// Keeps what is written, and when. Takes its time for some writes; closes at a number of bytes.
struct Sink<'a> {
    clock: &'a FakeClock,
    writes: &'a RefCell<Vec<(Duration, Vec<u8>)>>,
    /// At which byte it does not read, and for how long.
    stall: Option<(usize, Duration)>,
    close: usize,
    taken: usize,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.taken >= self.close {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !bytes.is_empty() {
            self.writes.borrow_mut().push((self.clock.elapsed(), bytes.to_vec()));
        }
        self.taken += bytes.len();
        if let Some((_, time)) = self.stall.take_if(|(byte, _)| *byte <= self.taken) {
            self.clock.sleep_until(self.clock.now() + time);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came of playing something.
struct Played {
    result: Result<(), PlayError>,
    time: Duration,
    writes: Vec<(Duration, Vec<u8>)>,
}

impl Played {
    fn bytes(&self) -> Vec<u8> {
        self.writes.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

fn played(source: Source, stall: Option<(usize, Duration)>, close: usize) -> Played {
    let clock = FakeClock::new();
    let writes = RefCell::new(Vec::new());
    let mut sink = Sink { clock: &clock, writes: &writes, stall, close, taken: 0 };
    let result = play(source, &mut sink, &clock);
    Played { result, time: clock.elapsed(), writes: writes.into_inner() }
}

fn file(bytes: &[u8]) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Source::File(file)
}

fn play_bytes(bytes: &[u8]) -> Played {
    let played = played(file(bytes), None, usize::MAX);
    assert!(played.result.is_ok(), "{:?}", played.result);
    played
}

const MILLISECOND: u64 = 27_000;

/// `count` packets of one PID; those for which `pcr` has a value (in ticks) carry it.
fn stream(count: u64, pcr: impl Fn(u64) -> Option<u64>) -> Vec<u8> {
    let packet = |number: u64| {
        let mut bytes = [0xAA; PACKET_BYTES];
        let counter = number.to_be_bytes()[7] & 0x0F;
        bytes[..4].copy_from_slice(&[0x47, 1, 0, 0x10 | counter]);
        if let Some(ticks) = pcr(number) {
            bytes[3] |= 0x20;
            bytes[4..6].copy_from_slice(&[7, 0x10]);
            bytes[6..12].copy_from_slice(&Pcr::new(ticks).to_bytes());
        }
        bytes
    };
    (0..count).flat_map(packet).collect()
}

/// A PCR every 20 packets, one packet a millisecond, from `base` on.
fn regular(base: u64) -> impl Fn(u64) -> Option<u64> {
    move |number| (number % 20 == 0).then_some(base + number * MILLISECOND)
}

#[test]
fn a_file_takes_its_time() {
    let bytes = stream(3000, regular(0));
    let played = play_bytes(&bytes);
    assert_eq!(played.time, Duration::from_secs(3));
    assert_eq!(played.bytes(), bytes);
    // Never early, a step late at most.
    let mut sent = 0;
    for (time, bytes) in &played.writes {
        let last = (sent + bytes.len()) / PACKET_BYTES - 1;
        let (first, last) = (millis(sent / PACKET_BYTES), millis(last));
        assert!(last <= *time && *time <= first + PACE_STEP, "{first:?} to {last:?} at {time:?}");
        sent += bytes.len();
        assert!(sent.is_multiple_of(PACKET_BYTES));
    }
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

#[test]
fn uneven_rates_are_followed() {
    // 10 ms, 30 ms, 10 ms … for the same 20 packets; packets before the first PCR.
    let bytes = stream(2010, |number| {
        let pcr = number.checked_sub(10).filter(|number| number % 20 == 0)? / 20;
        Some((pcr / 2 * 40 + pcr % 2 * 10) * MILLISECOND)
    });
    let played = play_bytes(&bytes);
    // 5 ms before the first PCR, 99 segments, the last one at the average rate.
    let last = 20 * (49 * 40 + 10) * MILLISECOND / (99 * 20);
    let expected = Ticks::new((5 + 49 * 40 + 10) * MILLISECOND + last);
    assert_eq!((played.time, played.bytes() == bytes), (expected.duration(), true));
}

#[test]
fn the_clock_may_wrap_and_jump() {
    let wrap = (1 << 33) * 300;
    let played = play_bytes(&stream(1000, regular(wrap - 500 * MILLISECOND)));
    assert_eq!(played.time, Duration::from_secs(1), "wrap");
    for (name, other) in [("back", 0), ("ahead", 10_000), ("to little ahead", 1_001_000)] {
        let jump = |number: u64| {
            let base = if number < 500 { 1_000_000 } else { other };
            regular(base * MILLISECOND)(number)
        };
        assert_eq!(play_bytes(&stream(1000, jump)).time, Duration::from_secs(1), "{name}");
    }
}

#[test]
fn an_announced_jump_is_one_even_if_small() {
    let jump = |number| regular(if number < 500 { 0 } else { 600 * MILLISECOND })(number);
    let mut bytes = stream(1000, jump);
    let believed = play_bytes(&bytes).time;
    assert!(believed > Duration::from_millis(1600), "{believed:?}");
    bytes[500 * PACKET_BYTES + 5] |= 0x80;
    assert_eq!(play_bytes(&bytes).time, Duration::from_secs(1));
}

#[test]
fn a_clock_that_stands_still_is_none() {
    let bytes = stream(5000, |number| (number % 20 == 0).then_some(7));
    let rate = PACE_BYTES_PER_SECOND_DEFAULT;
    let expected = Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate);
    let time = play_bytes(&bytes).time;
    assert!(time.abs_diff(expected) < Duration::from_millis(1), "{time:?}");
}

#[test]
fn without_pcr_the_default_rate_holds() {
    // Beyond the bound of a gap, and of what is kept in memory.
    let bytes = stream(60_000, |_| None);
    let played = play_bytes(&bytes);
    let expected = Duration::from_micros(bytes.len() as u64);
    assert!(played.time.abs_diff(expected) < Duration::from_millis(1), "{:?}", played.time);
    assert!(played.bytes() == bytes);
    assert!(played.writes.iter().all(|(_, bytes)| bytes.len() <= 20_000));
}

#[test]
fn a_slow_sink_is_caught_up_with_or_forgiven() {
    let bytes = stream(10_000, regular(0));
    let stalled = |time| {
        let played = played(file(&bytes), Some((bytes.len() / 2, time)), usize::MAX);
        assert!(played.bytes() == bytes);
        played
    };
    assert_eq!(stalled(PACE_LATE_MAX / 2).time, Duration::from_secs(10), "caught up with");
    let suspended = stalled(Duration::from_hours(1));
    let difference = suspended.time.abs_diff(Duration::from_secs(3610));
    assert!(difference <= PACE_STEP, "{difference:?}");
    let most = suspended.writes.iter().map(|(_, bytes)| bytes.len()).max();
    assert!(most <= Some(20 * PACKET_BYTES), "no burst: {most:?}");
}

#[test]
fn a_closed_sink_ends_it() {
    let played = played(file(&stream(3000, regular(0))), None, 188 * 1000);
    assert!(played.result.is_ok());
    assert!(played.time < Duration::from_millis(1100));
}

#[test]
fn what_is_between_packets_is_left_out() {
    let bytes = stream(1000, regular(0));
    let mut dirty = bytes[100..200 * PACKET_BYTES].to_vec();
    dirty.extend_from_slice(&[7; 5000]);
    dirty.extend_from_slice(&bytes[200 * PACKET_BYTES..]);
    dirty.extend_from_slice(&bytes[..50]);
    assert!(play_bytes(&dirty).bytes() == bytes[PACKET_BYTES..]);
}

#[test]
fn a_file_that_is_no_stream_is_refused() {
    let read = |length: usize| match played(file(&vec![7; length]), None, usize::MAX).result {
        Err(PlayError::Barren { bytes }) => bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(1000), 1000);
    let bytes = read(PLAYER_BARREN_BYTES_MAX * 2);
    assert!((PLAYER_BARREN_BYTES_MAX..PLAYER_BARREN_BYTES_MAX + 100_000).contains(&bytes));
    assert_eq!(read(0), 0);
}

#[test]
fn a_directory_cannot_be_read() {
    let directory = Source::File(File::open("/").unwrap());
    assert!(matches!(played(directory, None, 1).result, Err(PlayError::Read(_))));
}

/// The time stamps of one PID's PES packets.
#[derive(Default)]
struct Stamps {
    dts: Vec<u64>,
    pts: Vec<u64>,
}

#[test]
fn the_sample_is_one_continuous_stream() {
    let passes = 3;
    let length = built_in::SAMPLE.len() * passes;
    let played = played(Source::Sample, None, length);
    assert!(played.result.is_ok());
    let bytes = &played.bytes()[..length];
    assert_eq!(bytes[..built_in::SAMPLE.len()], *built_in::SAMPLE, "the first pass");

    let mut counters = Counters::new();
    let mut pcrs = Vec::new();
    let mut stamps = HashMap::<Pid, Stamps>::new();
    for (number, bytes) in bytes.as_chunks::<PACKET_BYTES>().0.iter().enumerate() {
        let packet = Packet::new(bytes).unwrap();
        assert_eq!(counters.check(&packet), Continuity::Fits, "packet {number}");
        let pcr = packet.adaptation().and_then(|field| field.pcr());
        pcrs.extend(pcr.map(|pcr| (number as u64, pcr)));
        if let Some(header) = PesHeader::of(&packet) {
            let pts = header.pts().unwrap();
            let stamps = stamps.entry(packet.pid()).or_default();
            stamps.pts.push(pts.ticks());
            stamps.dts.push(header.dts().unwrap_or(pts).ticks());
        }
    }

    // Constant bitrate, seams included: every packet has its 2.5 ms.
    let (first, start) = pcrs[0];
    assert_eq!(pcrs.len(), passes * 320);
    for (number, pcr) in pcrs {
        assert_eq!(pcr.since(start).count(), (number - first) * 67_500, "packet {number}");
    }
    assert_eq!(length as u64 / 188 * 67_500, passes as u64 * 720_000 * 300);

    let video = &stamps[&Pid::new(0x100)];
    assert_eq!(video.dts.len(), passes * 200);
    assert!(video.dts.is_sorted_by(|a, b| b - a == 3600), "a frame every 40 ms");
    let mut shown = video.pts.clone();
    shown.sort_unstable();
    assert!(shown.is_sorted_by(|a, b| b - a == 3600), "a picture every 40 ms");
    let audio = &stamps[&Pid::new(0x101)];
    assert_eq!(audio.pts.len(), passes * 125);
    assert!(audio.pts.is_sorted_by(|a, b| b - a == 3 * 1920), "three frames every 64 ms");

    let expected = Duration::from_secs(8 * passes as u64);
    assert!(played.time.abs_diff(expected) < Duration::from_millis(100), "{:?}", played.time);
}

/// The tables of the sample.
fn tables_of_the_sample() -> Arc<Tables> {
    let mut probe = Probe::with_content(Instant::now());
    let mut bytes = built_in::SAMPLE.to_vec();
    probe.align(&mut bytes);
    Arc::clone(probe.content().unwrap().tables())
}

#[test]
fn the_slate_is_one_continuous_stream_with_the_numbers_of_the_one_that_it_stands_for() {
    let passes = 4;
    let length = built_in::SLATE.len() * passes;
    let like = tables_of_the_sample();
    let played = played(Source::Slate { file: None, like: Arc::clone(&like) }, None, length);
    assert!(played.result.is_ok());
    let seconds = played.time.as_secs_f64() / f64::from(u8::try_from(passes).unwrap());
    assert!((3.1..3.3).contains(&seconds), "{seconds} s a pass");
    let mut probe = Probe::with_content(Instant::now());
    let mut bytes = played.bytes()[..length].to_vec();
    let counts = probe.align(&mut bytes).counts;
    assert_eq!((counts.continuity_errors, counts.sync_losses, counts.table_changes), (0, 0, 0));

    let tables = probe.content().unwrap().tables();
    let pids = |tables: &Tables| {
        let program = &tables.programs()[0];
        let pmt = program.pmt.as_ref().unwrap();
        let elementary: Vec<_> = pmt.elementary.iter().map(|one| (one.pid, one.codec)).collect();
        (program.number, program.pid, pmt.pcr, elementary)
    };
    assert_eq!(pids(tables), pids(&like));
    let version = |tables: &Tables| tables.programs()[0].pmt.as_ref().unwrap().head.version;
    assert_eq!(version(tables), version(&like) + 1);

    let mut stamps = HashMap::<Pid, Vec<u64>>::new();
    let mut pcrs = Vec::new();
    for (number, bytes) in bytes.as_chunks::<PACKET_BYTES>().0.iter().enumerate() {
        let packet = Packet::new(bytes).unwrap();
        let pcr = packet.adaptation().and_then(|field| field.pcr());
        pcrs.extend(pcr.map(|pcr| (number as u64, pcr)));
        if let Some(header) = PesHeader::of(&packet) {
            let stamp = header.dts().or(header.pts()).unwrap();
            stamps.entry(packet.pid()).or_default().push(stamp.ticks());
        }
    }
    let (first, start) = pcrs[0];
    for (number, pcr) in pcrs {
        assert_eq!(pcr.since(start).count(), (number - first) * 135_000, "packet {number}");
    }
    let (video, sound) = (&stamps[&Pid::new(0x100)], &stamps[&Pid::new(0x101)]);
    assert_eq!((video.len(), sound.len()), (passes * 80, passes * 50));
    assert!(video.is_sorted_by(|a, b| b - a == 3600), "a frame every 40 ms");
    assert!(sound.is_sorted_by(|a, b| b - a == 5760), "three frames of 1024 samples each");
}

#[test]
fn a_file_is_looped_if_its_stamps_tell_how_long_it_is() {
    let slate = |bytes: &[u8], close| {
        let Source::File(file) = file(bytes) else { unreachable!() };
        let source = Source::Slate { file: Some(file), like: Arc::default() };
        played(source, None, close)
    };
    // Cut anywhere: whole packets, and no stream that another one's numbers are given to.
    let cut = &built_in::SAMPLE[188 * 700 + 33..188 * 1900 + 20];
    let played = slate(cut, 3 * cut.len());
    assert!(played.result.is_ok(), "{:?}", played.result);
    let mut bytes = played.bytes();
    let counts = Probe::new().align(&mut bytes).counts;
    assert_eq!((counts.continuity_errors, counts.sync_losses), (0, 0), "the seams do not show");
    let mut stamps: Vec<u64> = Vec::new();
    for packet in bytes.as_chunks().0.iter().filter_map(Packet::new) {
        let header = PesHeader::of(&packet).filter(|_| packet.pid() == Pid::new(0x100));
        let stamp = header.and_then(|header| header.dts().or(header.pts()));
        stamps.extend(stamp.map(Timestamp::ticks));
    }
    assert!(stamps.len() > 150 && stamps.is_sorted(), "{stamps:?}");

    let stampless = vec![built_in::SAMPLE[..188].to_vec(); 100].concat();
    assert!(matches!(slate(&stampless, usize::MAX).result, Err(PlayError::Timeless)));
    assert!(matches!(slate(&[0; 5000], usize::MAX).result, Err(PlayError::Barren { .. })));
}
