//! How long is a recording that will be looped?
//!
//! Owns the first and last time stamps of each PID. It never keeps a packet. The player's input
//! drives it.
//!
//! A pass ends when the last unit of each elementary stream has had as much time as its units have
//! on average, and when the last packet has been sent at the rate between the first PCR and the
//! last. So the clocks of the next pass begin no earlier than this one's end.

use std::collections::BTreeMap;

use crate::limits::{LOOP_LENGTH_MAX, PACKET_BYTES};
use crate::ts::pcr::{Pcr, TICKS_PER_BASE};
use crate::ts::pes::{PesHeader, Timestamp};
use crate::ts::{Packet, Pid};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Measure {
    packets: u64,
    stamps: BTreeMap<Pid, Stamps>,
    clock: Option<Clock>,
}

/// Of an elementary stream, in the order of decoding.
#[derive(Debug)]
struct Stamps {
    first: Timestamp,
    /// Ticks of 90 kHz from the first to the latest.
    span: u64,
    units: u64,
}

/// Of the first PID with a PCR: the first one, how far the last is from it, and which packets had
/// them.
#[derive(Debug)]
struct Clock {
    pid: Pid,
    first: (u64, Pcr),
    last: (u64, u64),
}

impl Measure {
    /// Takes note of the next packets.
    pub(super) fn add(&mut self, packets: &[[u8; PACKET_BYTES]]) {
        for packet in packets.iter().filter_map(Packet::new) {
            self.stamp(&packet);
            if let Some(pcr) = packet.adaptation().and_then(|field| field.pcr()) {
                self.tick(packet.pid(), pcr);
            }
            self.packets += 1;
        }
    }

    fn stamp(&mut self, packet: &Packet<'_>) {
        let Some(header) = PesHeader::of(packet) else { return };
        let Some(stamp) = header.dts().or(header.pts()) else { return };
        let new = || Stamps { first: stamp, span: 0, units: 0 };
        let stamps = self.stamps.entry(packet.pid()).or_insert_with(new);
        stamps.span = stamps.span.max(stamp.since(stamps.first));
        stamps.units += 1;
    }

    fn tick(&mut self, pid: Pid, pcr: Pcr) {
        let at = self.packets;
        let clock = self.clock.get_or_insert(Clock { pid, first: (at, pcr), last: (at, 0) });
        if clock.pid == pid {
            clock.last = (at, pcr.since(clock.first.1).count() / TICKS_PER_BASE);
        }
    }

    /// The length in ticks of 90 kHz, if there is one: the stamps do not jump, and it is within
    /// [`LOOP_LENGTH_MAX`].
    pub(super) fn length(&self) -> Option<u64> {
        let of_units = self.stamps.values().filter(|stamps| stamps.units > 1);
        let of_units = of_units.map(|stamps| part(stamps.span, stamps.units, stamps.units - 1));
        let of_clock = self.clock.iter().filter(|clock| clock.last.0 > clock.first.0);
        let of_clock =
            of_clock.map(|clock| part(clock.last.1, self.packets, clock.last.0 - clock.first.0));
        let length = of_units.chain(of_clock).max()?;
        let most = LOOP_LENGTH_MAX.as_secs() * 90_000;
        (1..=most).contains(&length).then_some(length)
    }
}

/// `whole` is to `known` as what is answered to `span`.
fn part(span: u64, whole: u64, known: u64) -> u64 {
    let length = u128::from(span) * u128::from(whole) / u128::from(known);
    u64::try_from(length).unwrap_or(u64::MAX)
}
