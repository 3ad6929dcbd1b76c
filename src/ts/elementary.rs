//! One elementary stream: its random access points, its time stamps, its packets.
//!
//! Owns what is known of it from its PMT on. It never looks into a scrambled packet.
//! [`super::content`] drives it with the packets that may tell something.

use std::time::Instant;

use super::continuity::Continuity;
use super::integrity::{Faults, Indicator, PERIOD_LIMIT, PTS_LIMIT, Tick, Watch};
use super::packet::{Packet, Pid};
use super::pcr::Ticks;
use super::pes::{PesHeader, Timestamp};
use super::pmt::{Elementary, Kind};
use super::random_access::{Finder, Search};

/// A random access point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Access {
    /// Where its first packet begins, in bytes that were delivered.
    pub(super) place: u64,
    pub(super) pid: Pid,
    pub(super) program: u16,
}

/// What is known of an elementary stream.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// The number of the program that lists it first.
    pub program: u16,
    /// What the PMT says.
    pub elementary: &'a Elementary,
    /// Packets in the clear, and scrambled ones, since it is followed.
    pub packets: [u64; 2],
    /// Its random access points are the program's.
    pub leads: bool,
    /// When the last one came.
    pub accessed: Option<Instant>,
    /// Since when it is followed.
    pub since: Instant,
    /// From the last but one to the last, in ticks of 90 kHz, where both have a PTS.
    pub group_ticks: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    program: u16,
    elementary: Elementary,
    /// Its random access points are the program's.
    leads: bool,
    /// The encoder has set the indicator once.
    indicated: bool,
    /// The indicator was in a packet without a start: it is about the next one (2.4.3.5).
    announced: bool,
    search: Option<(Finder, Start)>,
    /// By arrival.
    since: Instant,
    accessed: Option<Accessed>,
    group_ticks: Option<u64>,
    /// Packets up to the last tick.
    packets: [u64; 2],
    came: Watch,
    /// From the first PTS on.
    stamped: Option<Watch>,
}

/// The last random access point.
#[derive(Clone, Copy, Debug)]
struct Accessed {
    at: Instant,
    pts: Option<Timestamp>,
    /// The next unit has started since.
    whole: bool,
}

/// The start of a PES packet.
#[derive(Clone, Copy, Debug)]
struct Start {
    place: u64,
    pts: Option<Timestamp>,
}

impl Follow {
    pub(super) fn new(
        program: u16,
        elementary: Elementary,
        leads: bool,
        at: Ticks,
        now: Instant,
    ) -> Follow {
        Follow {
            since: now,
            program,
            elementary,
            leads,
            indicated: false,
            announced: false,
            search: None,
            accessed: None,
            group_ticks: None,
            packets: [0; 2],
            came: Watch::new(at),
            stamped: None,
        }
    }

    /// Whether it is this stream, so that what is known of it holds.
    pub(super) fn is_of(&self, program: u16, elementary: &Elementary, leads: bool) -> bool {
        (self.program, &self.elementary, self.leads) == (program, elementary, leads)
    }

    pub(super) fn show(&self, packets: [u64; 2]) -> Followed<'_> {
        Followed {
            program: self.program,
            elementary: &self.elementary,
            packets,
            leads: self.leads,
            accessed: self.accessed.map(|accessed| accessed.at),
            since: self.since,
            group_ticks: self.group_ticks,
        }
    }

    /// What it is a stream of.
    pub(super) fn kind(&self) -> Kind {
        self.elementary.codec.kind()
    }

    /// Whether it has to see every packet now.
    pub(super) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Where the unit began that may yet turn out to be a random access point of its program.
    pub(super) fn searched(&self) -> Option<u64> {
        self.search.filter(|_| self.leads).map(|(_, start)| start.place)
    }

    /// Whether the unit that begins at the last random access point has come to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.accessed.is_some_and(|accessed| accessed.whole)
    }

    /// Looks into a packet, which is at `place`.
    pub(super) fn look(
        &mut self,
        packet: &Packet<'_>,
        continuity: Continuity,
        place: u64,
        now: Instant,
    ) -> Option<Access> {
        if continuity == Continuity::Broken || packet.scrambled() {
            self.search = None;
        }
        if packet.scrambled() {
            return None;
        }
        let indicated = packet.adaptation().is_some_and(|field| field.random_access());
        self.indicated |= indicated;
        let found = if packet.unit_start() {
            self.start(packet, indicated, place)
        } else {
            self.announced |= indicated;
            self.go_on(packet)
        };
        found.filter(|_| self.leads).map(|start| self.access(start, now))
    }

    /// A PES packet starts. Answers it if it is a random access point for certain.
    fn start(&mut self, packet: &Packet<'_>, indicated: bool, place: u64) -> Option<Start> {
        let pts = PesHeader::of(packet).and_then(|header| header.pts());
        if pts.is_some() {
            self.stamped.get_or_insert(Watch::new(Ticks::default())).came();
        }
        self.search = None;
        if let Some(accessed) = &mut self.accessed {
            accessed.whole = true;
        }
        let start = Start { place, pts };
        let announced = std::mem::take(&mut self.announced) | indicated;
        if self.indicated || !self.leads {
            return announced.then_some(start);
        }
        let codec = self.elementary.codec;
        let Some(pictures) = codec.pictures() else {
            return (codec.kind() == Kind::Audio).then_some(start);
        };
        let (finder, search) = Finder::begin(pictures, packet);
        self.told(search, finder, start)
    }

    /// A PES packet goes on.
    fn go_on(&mut self, packet: &Packet<'_>) -> Option<Start> {
        let (mut finder, start) = self.search.take()?;
        let search = finder.go_on(packet);
        self.told(search, finder, start)
    }

    fn told(&mut self, search: Search, finder: Finder, start: Start) -> Option<Start> {
        self.search = (search == Search::More).then_some((finder, start));
        (search == Search::Found).then_some(start)
    }

    fn access(&mut self, start: Start, now: Instant) -> Access {
        let accessed = Accessed { at: now, pts: start.pts, whole: false };
        let before = self.accessed.replace(accessed).and_then(|before| before.pts);
        if let (Some(before), Some(pts)) = (before, start.pts) {
            self.group_ticks = Some(pts.since(before));
        }
        Access { place: start.place, pid: self.elementary.pid, program: self.program }
    }

    /// What is missing at this tick; `packets` as of now.
    pub(super) fn tick(&mut self, tick: Tick, packets: [u64; 2], faults: &mut Faults) {
        let before = std::mem::replace(&mut self.packets, packets);
        if before != packets {
            self.came.came();
        }
        if !matches!(self.elementary.codec.kind(), Kind::Video | Kind::Audio) {
            return;
        }
        if self.came.is_missing(tick, PERIOD_LIMIT) {
            faults.count(Indicator::Pid);
        }
        // Scrambled ones may have a PTS, and where nothing comes, that is told already.
        let (here, hidden) = (before[0] != packets[0], before[1] != packets[1]);
        if let Some(stamped) = self.stamped.as_mut().filter(|_| here || hidden || tick.jumped) {
            if hidden {
                stamped.came();
            }
            if stamped.is_missing(tick, PTS_LIMIT) {
                faults.count(Indicator::Pts);
            }
        }
    }
}
