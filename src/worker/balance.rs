//! Spreads streams over workers by what they cost.
//!
//! What a stream costs shows only when it is watched, so that streams are dealt out at start, and
//! moved when one worker has much more to do than another: whole, with upstream and viewers, from
//! one turn to the next. Owns nothing but its thread; the workers do the moving, by
//! [`super::transfer`].

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::board::{Board, Loads};
use super::handoff::{Command, Sender};
use crate::limits::{
    BALANCE_GAIN_DIVISOR, BALANCE_INTERVAL, BALANCE_MOVES_MAX, BALANCE_RELIEF_DIVISOR, BALANCE_REST,
};

/// A stream is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The stream.
    pub stream: usize,
    /// The worker that has it.
    pub from: usize,
    /// The worker that is to have it.
    pub to: usize,
}

/// Starts to keep the workers' loads alike, for as long as the process lives.
pub fn start(board: Arc<Board>, workers: Arc<[Sender]>) -> io::Result<()> {
    let keep = move || {
        let mut since = Instant::now();
        let mut moved: HashMap<usize, Instant> = HashMap::new();
        loop {
            thread::sleep(BALANCE_INTERVAL);
            let now = Instant::now();
            let interval = now.duration_since(since);
            let mut loads = board.take_loads(interval);
            moved.retain(|_, at| now.duration_since(*at) < BALANCE_REST);
            for &stream in moved.keys() {
                loads.streams[stream].fixed = true;
            }
            for Move { stream, from, to } in plan(&loads, interval) {
                // A worker that has no room for an order has other troubles; the next round will
                // see to it.
                if workers[from].hand_over(Command::Give { stream, to }).is_ok() {
                    moved.insert(stream, now);
                }
            }
            since = now;
        }
    };
    thread::Builder::new().name("balance".to_owned()).spawn(keep).map(drop)
}

/// The moves that make loads over an interval more alike: each takes the stream that does most for
/// it from the busiest worker to the idlest. One that would do little is not worth a viewer's
/// missing turn.
pub fn plan(loads: &Loads, interval: Duration) -> Vec<Move> {
    let mut workers = loads.workers.clone();
    let mut streams = loads.streams.clone();
    let mut moves = Vec::new();
    while moves.len() < BALANCE_MOVES_MAX {
        let by_load = || (0..workers.len()).map(|worker| (workers[worker], worker));
        let (Some((most, from)), Some((least, to))) = (by_load().max(), by_load().min()) else {
            break;
        };
        // What the busier of the two has to do afterwards.
        let after = |cost: Duration| most.saturating_sub(cost).max(least + cost);
        let of_busiest = streams.iter().enumerate().filter(|(_, stream)| stream.may_move(from));
        let best = of_busiest.min_by_key(|(_, stream)| after(stream.cost));
        let Some((stream, cost)) = best.map(|(number, stream)| (number, stream.cost)) else {
            break;
        };
        let least_gain = (interval / BALANCE_GAIN_DIVISOR).max(most / BALANCE_RELIEF_DIVISOR);
        if most.saturating_sub(after(cost)) < least_gain {
            break;
        }
        moves.push(Move { stream, from, to });
        streams[stream].owner = to;
        workers[from] = most.saturating_sub(cost);
        workers[to] = least + cost;
    }
    moves
}

#[cfg(test)]
mod tests;
