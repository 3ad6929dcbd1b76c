//! Has new connections go to the worker whose viewers ask for least.
//!
//! The kernel chooses, connection by connection (see [`Steering`]); what it has to know of the
//! workers it is told here once a second. A worker that does not answer any more gets nobody: its
//! listening sockets are shut, so that who waits there to be accepted goes to the others, and are
//! opened again when it answers. Owns the thread that does so. Where connections cannot be steered
//! there is none, and the kernel spreads them by their addresses.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use restreamer_sys::door::{NOBODY, Steering};
use restreamer_sys::socket;
use slog::{Logger, error, info};

use super::board::{Board, Demand};
use crate::limits::{BACKLOG_MAX, STEER_INTERVAL};
use crate::resource::Node;

/// What is steered.
#[derive(Debug)]
pub struct Parts {
    /// The kernel's part.
    pub steering: Steering,
    /// Each worker's listening sockets, once more, in the order in which the kernel's part has
    /// them; none where they are not ours to shut.
    pub listeners: Vec<Vec<TcpListener>>,
    /// What the workers' viewers ask for.
    pub board: Arc<Board>,
    /// Which workers do not answer.
    pub node: Arc<Node>,
    /// The log.
    pub log: Logger,
}

/// Starts to steer, for as long as the process lives.
pub fn start(parts: Parts) -> io::Result<()> {
    let shut = vec![false; parts.board.workers()];
    let mut keeper = Keeper { shut, failing: false, parts };
    let keep = move || {
        loop {
            keeper.look();
            thread::sleep(STEER_INTERVAL);
        }
    };
    thread::Builder::new().name("steer".to_owned()).spawn(keep).map(drop)
}

/// The thread's own.
#[derive(Debug)]
struct Keeper {
    parts: Parts,
    /// Whose listening sockets are shut.
    shut: Vec<bool>,
    /// Telling the kernel has failed, and the log says so.
    failing: bool,
}

impl Keeper {
    fn look(&mut self) {
        let stuck = self.parts.node.liveness.stuck();
        let (loads, connection) = loads(&self.parts.board.take_demands(), &stuck);
        // First, so that nobody is sent to a socket that is about to be shut.
        let told = self.parts.steering.publish(&loads, connection);
        self.note(told);
        let (to_shut, to_open) = changes(&stuck, &self.shut);
        for worker in to_shut {
            self.shut(worker);
        }
        for worker in to_open {
            self.open(worker);
        }
    }

    fn note(&mut self, told: io::Result<()>) {
        match told {
            Ok(()) => self.failing = false,
            // As it was told last, the kernel goes on.
            Err(why) if !self.failing => {
                self.failing = true;
                error!(self.parts.log, "the kernel cannot be told the workers' loads: {why}";
                    "event" => "error", "error" => "steer");
            }
            Err(_as_before) => {}
        }
    }

    fn shut(&mut self, worker: usize) {
        self.shut[worker] = true;
        let Some(sockets) = self.parts.listeners.get(worker).filter(|all| !all.is_empty()) else {
            return;
        };
        let shut: io::Result<()> =
            sockets.iter().try_for_each(|listener| socket::stop_listening(listener.as_fd()));
        match shut {
            Ok(()) => info!(self.parts.log, "who waits for worker {worker} goes to the others";
                "event" => "migrate", "worker" => worker),
            Err(why) => error!(self.parts.log, "who waits for worker {worker} goes on to wait: \
                {why}"; "event" => "error", "error" => "migrate", "worker" => worker),
        }
    }

    fn open(&mut self, worker: usize) {
        self.shut[worker] = false;
        let Parts { listeners, steering, log, .. } = &mut self.parts;
        for (address, listener) in listeners.get(worker).into_iter().flatten().enumerate() {
            let open = socket::listen_again(listener.as_fd(), BACKLOG_MAX);
            let open = open.and_then(|()| steering.listens(worker, address, listener.as_fd()));
            if let Err(why) = open {
                // The next look tries again.
                self.shut[worker] = true;
                error!(log, "worker {worker} gets no new connections: {why}";
                    "event" => "error", "error" => "migrate", "worker" => worker);
            }
        }
    }
}

/// What the kernel is to know: each worker's load, and what a connection more adds to one, which is
/// what a viewer asks for on the average.
fn loads(demands: &[Demand], stuck: &[bool]) -> (Vec<u64>, u64) {
    let load = |(demand, stuck): (&Demand, &bool)| {
        // Even a worker with more than that is not one that gets nobody.
        if *stuck { NOBODY } else { demand.bytes_per_second.min(NOBODY - 1) }
    };
    let all = demands.iter().fold(0_u64, |sum, of| sum.saturating_add(of.bytes_per_second));
    let viewers = demands.iter().map(|demand| demand.viewers as u64).sum::<u64>();
    (demands.iter().zip(stuck).map(load).collect(), (all / viewers.max(1)).max(1))
}

/// Whose sockets are to be shut, and whose to be opened. The last one that answers keeps its own:
/// there is nobody else to go to.
fn changes(stuck: &[bool], shut: &[bool]) -> (Vec<usize>, Vec<usize>) {
    let all = || stuck.iter().zip(shut).enumerate();
    let open = all().filter(|(_, (stuck, shut))| !**stuck && **shut).map(|(number, _)| number);
    let close = all().filter(|(_, (stuck, shut))| **stuck && !**shut).map(|(number, _)| number);
    let someone_answers = stuck.contains(&false);
    (close.filter(|_| someone_answers).collect(), open.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(bytes_per_second: u64, viewers: usize) -> Demand {
        Demand { bytes_per_second, viewers }
    }

    #[test]
    fn a_connection_is_expected_to_be_a_viewer_like_the_others() {
        let of = |demands: &[Demand]| loads(demands, &vec![false; demands.len()]);
        assert_eq!(of(&[demand(0, 0), demand(0, 0)]), (vec![0, 0], 1));
        assert_eq!(of(&[demand(900, 9), demand(300, 3)]), (vec![900, 300], 100));
        // Viewers of streams that send nothing.
        assert_eq!(of(&[demand(5, 5), demand(2, 2)]), (vec![5, 2], 1));
        assert_eq!(of(&[demand(u64::MAX, 1), demand(1, 1)]).0, [NOBODY - 1, 1]);
    }

    #[test]
    fn a_stuck_worker_gets_nobody() {
        let demands = [demand(900, 9), demand(0, 0)];
        assert_eq!(loads(&demands, &[false, true]), (vec![900, NOBODY], 100));
    }

    #[test]
    fn sockets_are_shut_and_opened_once_each_while_somebody_answers() {
        for (stuck, shut, close, open) in [
            ([false, false], [false, false], vec![], vec![]),
            ([true, false], [false, false], vec![0], vec![]),
            ([true, false], [true, false], vec![], vec![]),
            ([false, false], [true, false], vec![], vec![0]),
            ([false, true], [true, false], vec![1], vec![0]),
            // There is nobody to go to.
            ([true, true], [true, false], vec![], vec![]),
        ] {
            assert_eq!(changes(&stuck, &shut), (close, open), "{stuck:?} {shut:?}");
        }
    }
}
