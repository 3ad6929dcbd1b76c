//! The door and the steering, from before anybody can connect until they stand beside the workers.
//!
//! Owns the order: programs are loaded before a socket listens, attached before anybody is told
//! that it does, and minded once the node is confined. A node without a `door` in its configuration
//! makes none of these calls. Driven by `start`.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::Arc;

use restreamer_sys::door::Steering;
use slog::{Logger, info, o, warn};

use super::listen::Listening;
use super::{BootError, NO_THREAD, kernel};
use crate::config::Config;
use crate::door::{AtAccept, Door, Keeper};
use crate::metrics::Metrics;
use crate::resource::Node;
use crate::side::Porter;
use crate::worker::board::Board;
use crate::worker::steer;

/// A door that is open, and what steers.
#[derive(Debug)]
pub(super) struct Doorway {
    door: Door,
    steered: Option<Steered>,
    log: Logger,
}

/// What connections are steered by: the kernel's part, and the listening sockets once more.
#[derive(Debug)]
struct Steered {
    steering: Steering,
    listeners: Vec<Vec<TcpListener>>,
}

/// A door that is minded.
#[derive(Debug)]
pub(super) struct Minded {
    pub(super) keeper: Arc<Keeper>,
    steered: Option<Steered>,
    log: Logger,
}

/// Opens the door, where there is one.
pub(super) fn open(
    config: &Config,
    workers: NonZeroUsize,
    metrics: &Metrics,
    root: &Logger,
) -> Result<Option<Doorway>, BootError> {
    let Some(of_door) = &config.door else { return Ok(None) };
    let door = Door::open(of_door, workers.get(), metrics, root)?;
    Ok(Some(Doorway { door, steered: None, log: root.new(o!("module" => "door")) }))
}

/// Has it stand before the listening sockets. Passed sockets may have one of an earlier run, which
/// is taken away whether there is a door now or not.
pub(super) fn attach(
    doorway: &mut Option<Doorway>,
    listening: &Listening,
    log: &Logger,
) -> Result<(), BootError> {
    for listener in listening.viewers.iter().flatten() {
        if !listening.ours
            && let Err(why) = Door::detach_leftover(listener.as_fd())
        {
            // Whoever has passed it may have locked a filter of his own to it (SO_LOCK_FILTER).
            warn!(log, "the filter of a socket that was passed stays: {why}"; "event" => "door");
        }
        if let Some(doorway) = doorway {
            let attached = doorway.door.attach(listener.as_fd());
            attached.map_err(kernel("the door cannot be attached to a listening socket"))?;
        }
    }
    if let Some(doorway) = doorway {
        doorway.steer(listening);
    }
    Ok(())
}

impl Doorway {
    /// Has connections steered, if there is more than one worker to choose from. Without it the
    /// kernel chooses by the addresses of both ends, which is no reason not to serve.
    fn steer(&mut self, listening: &Listening) {
        if listening.viewers.len() < 2 {
            return;
        }
        if !listening.ours {
            info!(self.log, "connections are not steered: the listening sockets were passed \
                (LISTEN_FDS)"; "event" => "door");
            return;
        }
        let shares: Vec<Vec<_>> =
            listening.viewers.iter().map(|all| all.iter().map(AsFd::as_fd).collect()).collect();
        let again = |all: &Vec<TcpListener>| all.iter().map(TcpListener::try_clone).collect();
        let copies: io::Result<Vec<Vec<_>>> = listening.viewers.iter().map(again).collect();
        match (self.door.to_steer(|door| Steering::start(door, &shares)), copies) {
            (Some(Ok(steering)), Ok(listeners)) => {
                info!(self.log, "connections go to the worker with the least load";
                    "event" => "door");
                self.steered = Some(Steered { steering, listeners });
            }
            (Some(Err(why)), _) => {
                warn!(self.log, "connections are not steered: {why}";
                    "event" => "error", "error" => "steer");
            }
            (Some(Ok(_)), Err(why)) => {
                warn!(self.log, "connections are not steered: {why}";
                    "event" => "error", "error" => "steer");
            }
            // It is not to be, or the kernel does not keep the door, which has been told.
            (None, _) => {}
        }
    }
}

/// Has it minded.
pub(super) fn mind(doorway: Option<Doorway>) -> Result<Option<Minded>, BootError> {
    let Some(Doorway { door, steered, log }) = doorway else { return Ok(None) };
    let keeper = door.start().map_err(kernel(NO_THREAD))?;
    Ok(Some(Minded { keeper, steered, log }))
}

impl Minded {
    /// What a worker judges by when it accepts.
    pub(super) fn at_accept(&self) -> AtAccept {
        self.keeper.at_accept()
    }
}

/// Who speaks for it at the side port.
pub(super) fn porter(config: &Config, minded: Option<&Minded>) -> Option<Porter> {
    let of_door = config.door.as_ref()?;
    Some(Porter::new(Arc::clone(&minded?.keeper), &of_door.authentication))
}

/// Steers from now on by what the workers tell, where there is anything to steer.
pub(super) fn start_steering(
    minded: &mut Option<Minded>,
    board: &Arc<Board>,
    node: &Arc<Node>,
) -> Result<(), BootError> {
    let Some(Minded { steered, log, .. }) = minded else { return Ok(()) };
    let Some(Steered { steering, listeners }) = steered.take() else { return Ok(()) };
    let (board, node, log) = (Arc::clone(board), Arc::clone(node), log.clone());
    steer::start(steer::Parts { steering, listeners, board, node, log }).map_err(kernel(NO_THREAD))
}
