use proptest::prelude::*;

use super::*;
use crate::worker::board::StreamLoad;

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
        (&[(0, 3), (0, 3)], &[]),
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
