use proptest::prelude::*;

use super::*;
use crate::worker::board::StreamLoad;
use crate::worker::load::Work;

const SECOND: Duration = Duration::from_secs(1);

fn percent(of_a_core: u64) -> Duration {
    SECOND * u32::try_from(of_a_core).unwrap() / 100
}

/// Streams as (owner, percent of a core); a worker does nothing else.
fn loads(workers: usize, streams: &[(usize, u64)]) -> Loads {
    let mut loads = Loads { workers: vec![Duration::ZERO; workers], streams: Vec::new() };
    for &(owner, cost) in streams {
        loads.workers[owner] += percent(cost);
        loads.streams.push(StreamLoad { owner, cost: percent(cost), fixed: false });
    }
    loads
}

fn spread(loads: &Loads) -> Duration {
    loads.workers.iter().max().unwrap().saturating_sub(*loads.workers.iter().min().unwrap())
}

#[test]
fn the_stream_moves_that_helps_most() {
    for (streams, moves) in [
        // Nothing to do.
        (&[(0, 40), (1, 38)][..], &[][..]),
        (&[(0, 45), (0, 5), (1, 38)], &[]),
        // One heavy stream cannot be halved by moving it.
        (&[(0, 90)], &[]),
        (&[(0, 90), (0, 1), (1, 1)], &[]),
        // Two heavy ones that met.
        (&[(0, 40), (1, 0), (0, 40)], &[(0, 0, 1)]),
        // The one that comes nearest to half of the gap.
        (&[(0, 10), (0, 30), (0, 20), (1, 0)], &[(1, 0, 1)]),
    ] {
        let moves: Vec<_> =
            moves.iter().map(|&(stream, from, to)| Move { stream, from, to }).collect();
        assert_eq!(plan(&loads(2, streams), SECOND), moves, "{streams:?}");
    }
}

#[test]
fn what_may_not_move_stays() {
    let mut loads = loads(2, &[(0, 40), (0, 40)]);
    for stream in &mut loads.streams {
        stream.fixed = true;
    }
    assert_eq!(plan(&loads, SECOND), []);
}

#[test]
fn work_that_is_no_streams_counts() {
    let mut loads = loads(2, &[(0, 30), (0, 10)]);
    loads.workers[1] = percent(50);
    assert_eq!(plan(&loads, SECOND), []);
}

proptest! {
    #[test]
    fn moves_bring_loads_together_and_come_to_rest(
        workers in 2_usize..8,
        costs in proptest::collection::vec((0_usize..8, 0_u64..60), 0..40),
    ) {
        let streams: Vec<_> =
            costs.into_iter().map(|(owner, cost)| (owner % workers, cost)).collect();
        let mut loads = loads(workers, &streams);
        let mut before = spread(&loads);
        for _round in 0..streams.len() {
            let moves = plan(&loads, SECOND);
            for Move { stream, from, to } in &moves {
                prop_assert_eq!(loads.streams[*stream].owner, *from);
                let cost = loads.streams[*stream].cost;
                loads.streams[*stream].owner = *to;
                loads.workers[*from] -= cost;
                loads.workers[*to] += cost;
            }
            prop_assert!(spread(&loads) <= before);
            before = spread(&loads);
        }
        prop_assert_eq!(plan(&loads, SECOND), []);
    }
}

/// What a machine takes for a chunk to a viewer, in microseconds, and for a KiB of it.
#[derive(Clone, Copy, Debug)]
struct Machine {
    chunk: f64,
    kib: f64,
}

/// The machine that `VIEWER_CHUNK_BYTES` was measured on.
const THIS: Machine = Machine { chunk: 4.0, kib: 0.08 };

/// One that is three times as slow.
const SLOW: Machine = Machine { chunk: 3.0 * THIS.chunk, kib: 3.0 * THIS.kib };

/// How long a worker with so many viewers of so many Mbit/s makes its turns, and how long each
/// takes, in milliseconds: as [`crate::worker::turn`] does.
fn settled(viewers: u32, mbits: f64, machine: Machine) -> (f64, f64) {
    let mut period = 5.0;
    let mut took = 0.0;
    for _ in 0..1000 {
        let kib = mbits * period / 8.192;
        took = f64::from(viewers) * (machine.chunk + machine.kib * kib) / 1000.0;
        period = (4.0 * took).clamp(5.0, 60.0_f64).max(took);
    }
    (period, took)
}

/// The whole part of a positive number.
fn whole(number: f64) -> u64 {
    Duration::from_secs_f64(number).as_secs()
}

/// What is measured of two workers in a second, with streams as (owner, viewers).
fn measured(streams: &[(usize, u32)], mbits: f64, machine: Machine) -> (Vec<Work>, Loads) {
    let (mut work, mut factor) = (Vec::new(), Vec::new());
    for worker in 0..2 {
        let viewers = streams.iter().filter(|of| of.0 == worker).map(|of| of.1).sum::<u32>();
        let (period, took) = settled(viewers, mbits, machine);
        let turns = 1000.0 / period;
        work.push(Work {
            busy: SECOND.mul_f64(took / period),
            turns: whole(turns),
            chunks: whole(turns * f64::from(viewers)),
            bytes: whole(mbits * 125_000.0 * f64::from(viewers)),
        });
        factor.push(took / period / f64::from(viewers.max(1)));
    }
    let cost = |&(owner, viewers): &(usize, u32)| {
        (owner, SECOND.mul_f64(factor[owner] * f64::from(viewers)), false)
    };
    let loads = Loads::of(&work, streams.iter().map(cost), SECOND);
    (work, loads)
}

#[test]
fn a_worker_with_more_viewers_has_more_to_do_though_it_is_as_busy() {
    let mut streams = [(0, 60), (0, 60), (0, 60), (0, 60), (0, 60), (1, 60), (1, 60)];
    let (work, loads) = measured(&streams, 4.0, SLOW);
    let busy = |worker: usize| work[worker].busy.as_secs_f64();
    assert!((busy(0) / busy(1) - 1.0).abs() < 0.05, "{work:?}: time tells nothing");
    let load = |worker: usize| loads.workers[worker].as_secs_f64();
    assert!((load(0) / load(1) / 2.5 - 1.0).abs() < 0.1, "{loads:?}");
    let moves = plan(&loads, SECOND);
    assert!(matches!(moves[..], [Move { from: 0, to: 1, .. }]), "{moves:?}");
    streams[moves[0].stream].0 = 1;
    assert_eq!(plan(&measured(&streams, 4.0, SLOW).1, SECOND), [], "240 and 180");
}

proptest! {
    #[test]
    fn nothing_moves_to_and_fro_on_any_machine(
        streams in proptest::collection::vec((0_usize..2, 1_u32..80), 1..30),
        mbits in 1.0..20.0,
        slowness in 0.5..4.0,
        chunk in 0.7..3.0,
    ) {
        let machine = Machine { chunk: THIS.chunk * slowness * chunk, kib: THIS.kib * slowness };
        // As much as one of them could do: what a worker does beyond that is no measure.
        let viewers = streams.iter().map(|of| of.1).sum();
        prop_assume!(settled(viewers, mbits, machine).1 < 60.0);
        let mut streams = streams;
        let mut moves = plan(&measured(&streams, mbits, machine).1, SECOND);
        for _round in 0..10 {
            for Move { stream, to, .. } in &moves {
                streams[*stream].0 = *to;
            }
            moves = plan(&measured(&streams, mbits, machine).1, SECOND);
        }
        prop_assert_eq!(moves, []);
    }
}
