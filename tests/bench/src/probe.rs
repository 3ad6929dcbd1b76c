//! What the one pass over an upstream's bytes costs for each packet.
//!
//! A typical stream (8 Mbit/s of pictures at 25 a second, two of sound, PAT and PMT ten times a
//! second) goes in chunks of a turn, 20 ms, through the probe of many connections in turns, so that
//! each finds its tables as cold as in a server: copied and not looked at, found in sync alone, and
//! looked at for what the packets hold. Rounds of the three take turns; the medians are told.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use restreamer::ts::Probe;
use restreamer::ts::integrity::Faults;

use crate::packet::PACKET_BYTES;

/// The most that looking may cost beside finding sync, without any other pass.
const RATIO_GOAL: f64 = 1.3;
/// Packets of 20 ms at 8 Mbit/s.
const CHUNK_PACKETS: usize = 106;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connections, each with tables of its own
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// Rounds of each
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Ends with 1 if looking costs more than 1.3 times as much as finding sync
    #[arg(long)]
    check: bool,
}

/// Answers whether the goal was met, if that is asked.
pub(crate) fn run(arguments: &Arguments) -> io::Result<bool> {
    let stream = stream();
    let copied = || (0..arguments.connections).map(|_| None).collect::<Vec<Option<Probe>>>();
    let mut subjects = [
        ("copied", copied(), Vec::new()),
        ("in sync", copied(), Vec::new()),
        ("looked at", copied(), Vec::new()),
    ];
    for _ in 0..arguments.rounds {
        for (number, (_, probes, figures)) in subjects.iter_mut().enumerate() {
            for probe in probes.iter_mut() {
                *probe = match number {
                    0 => None,
                    1 => Some(Probe::new()),
                    _ => Some(Probe::with_content(Instant::now())),
                };
            }
            figures.push(round(&stream, probes));
        }
    }
    let medians = subjects.map(|(what, _, mut figures)| {
        figures.sort_by(f64::total_cmp);
        (what, figures[figures.len() / 2])
    });
    let [_, (_, sync), (_, looked)] = medians;
    let mut text =
        format!("{} connections, ns a packet, the copy included:\n", arguments.connections);
    for (what, nanoseconds) in medians {
        writeln!(text, "{what:>10}  {nanoseconds:6.2}").map_err(io::Error::other)?;
    }
    let ratio = looked / sync;
    writeln!(text, "{ratio:.2} times as much as in sync alone (goal: {RATIO_GOAL})")
        .map_err(io::Error::other)?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(!arguments.check || ratio <= RATIO_GOAL)
}

/// Nanoseconds for a packet.
fn round(stream: &[u8], probes: &mut [Option<Probe>]) -> f64 {
    let mut room = vec![0; CHUNK_PACKETS * PACKET_BYTES];
    let (mut took, mut packets) = (Duration::ZERO, 0u32);
    for chunk in stream.chunks_exact(room.len()) {
        let began = Instant::now();
        for probe in probes.iter_mut() {
            // As if the kernel had put it there.
            room.copy_from_slice(chunk);
            if let Some(probe) = probe {
                probe.at(began);
                let aligned = probe.align(&mut room);
                // A connection's first packets wait for others.
                assert_eq!(aligned.counts.faults, Faults::default(), "the stream is sound");
            }
            black_box(&room);
        }
        took += began.elapsed();
        packets += u32::try_from(CHUNK_PACKETS * probes.len()).unwrap_or(u32::MAX);
    }
    took.as_secs_f64() * 1e9 / f64::from(packets)
}

/// Two seconds.
fn stream() -> Vec<u8> {
    let mut counters = [0u8; 0x2000];
    let mut stream = Vec::new();
    let mut add = |pid: u16, head: &[u8]| {
        let [high, low] = pid.to_be_bytes();
        let counter = &mut counters[usize::from(pid)];
        let mut packet = [0x55; PACKET_BYTES];
        packet[..4].copy_from_slice(&[0x47, high | head[0], low, head[1] | *counter]);
        packet[4..2 + head.len()].copy_from_slice(&head[2..]);
        *counter = (*counter + 1) & 0x0F;
        stream.extend_from_slice(&packet);
    };
    for frame in 0..50u32 {
        if frame % 3 == 0 {
            let pat = [&[0x40, 0x10, 0][..], PAT, &[0xFF; 150]].concat();
            add(0, &pat);
            let pmt = [&[0x40, 0x10, 0][..], PMT, &[0xFF; 150]].concat();
            add(0x1000, &pmt);
        }
        // 3,600 ticks of 90 kHz a picture; a PCR's first four bytes count every second one.
        let pcr = (frame * 1800).to_be_bytes();
        let stamp = [0x21, pcr[1], pcr[2] | 1, pcr[3], 1];
        let picture = if frame % 50 == 0 { 0x65 } else { 0x41 };
        // A PCR with the start, stuffing at the end.
        let start = [
            &[0x40, 0x30, 7, 0x10][..],
            &pcr,
            &[0x7E, 0, 0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5],
            &stamp,
            &[0, 0, 0, 1, 9, 0xF0, 0, 0, 1, picture, 0x9A],
        ];
        add(0x101, &start.concat());
        for number in 0..204 {
            add(0x101, &[0, 0x10]);
            if number % 40 == 0 {
                for pid in [0x102, 0x103] {
                    let head = [&[0x40, 0x10, 0, 0, 1, 0xC0, 0, 0, 0x80, 0x80, 5][..], &stamp];
                    let start = number % 80 == 0;
                    if start {
                        add(pid, &head.concat());
                    } else {
                        add(pid, &[0, 0x30, 60, 0]);
                    }
                }
            }
        }
        add(0x101, &[0, 0x30, 20, 0]);
    }
    stream
}

/// One program, its PMT in 0x1000.
const PAT: &[u8] = &[0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0, 0x2A, 0xB1, 0x04, 0xB2];
/// H.264 with the clock in 0x101, AAC in 0x102 and 0x103.
const PMT: &[u8] = &[
    2, 0xB0, 28, 0, 1, 0xC1, 0, 0, 0xE1, 1, 0xF0, 0, 0x1B, 0xE1, 1, 0xF0, 0, 0x0F, 0xE1, 2, 0xF0,
    0, 0x0F, 0xE1, 3, 0xF0, 0, 0x10, 0x99, 0x21, 0x60,
];
