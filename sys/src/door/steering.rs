//! Which worker's listening socket gets a new connection: that of the worker with the least load.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::maps::{Array, MapData, ReusePortSockArray};
use aya::programs::SkReuseport;

use super::{Door, LoadError, no_part, of_map, take, told, unfit};

/// The program that chooses.
const STEER: &str = "steer";
/// So many workers it knows; `WORKERS_MAX` in the source.
pub const WORKERS: usize = 256;
/// So many addresses of each; `ADDRESSES_MAX` in the source.
pub const ADDRESSES: usize = 16;
/// The load of a worker that gets nobody.
pub const NOBODY: u64 = u64::MAX;

/// What the program knows of the workers: on how many addresses they listen, what a connection adds
/// to a load until loads are told again, and the loads.
type LoadWords = [u64; 2 + WORKERS];

/// Room for the listening sockets of so many workers.
pub(super) fn places(workers: u32) -> u32 {
    workers.max(1).saturating_mul(u32::try_from(ADDRESSES).unwrap_or(u32::MAX))
}

/// Connections are steered; see the module.
pub struct Steering {
    loads: Array<MapData, LoadWords>,
    listeners: ReusePortSockArray<MapData>,
    words: Box<LoadWords>,
}

// The loader's maps say nothing of themselves.
impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads what steers, and attaches it. `listeners` are each worker's listening sockets, for the
    /// same addresses in the same order, each address shared by `SO_REUSEPORT`; addresses beyond
    /// [`ADDRESSES`] are left to the kernel.
    ///
    /// The program stays with the sockets for as long as one of them is open.
    pub fn start(
        door: &mut Door,
        listeners: &[Vec<BorrowedFd<'_>>],
    ) -> Result<Steering, LoadError> {
        let loads =
            Array::try_from(take(&mut door.programs, "loads")?).map_err(|error| unfit(&error))?;
        let sockets = take(&mut door.programs, "listeners")?;
        let sockets = ReusePortSockArray::try_from(sockets).map_err(|error| unfit(&error))?;
        let addresses = listeners.first().map_or(0, |sockets| sockets.len().min(ADDRESSES));
        let mut words: Box<LoadWords> = Box::new([0; 2 + WORKERS]);
        words[0] = addresses as u64;
        words[1] = 1;
        let mut steering = Steering { loads, listeners: sockets, words };
        let refused = |error| LoadError::Program { program: STEER, error: told(&error) };
        let steer = door.programs.program_mut(STEER).ok_or_else(|| no_part(STEER))?;
        let steer: &mut SkReuseport = steer.try_into().map_err(refused)?;
        steer.load().map_err(refused)?;
        steering.tell().map_err(LoadError::Kernel)?;
        for (worker, sockets) in listeners.iter().enumerate() {
            for (address, socket) in sockets.iter().enumerate() {
                steering.listens(worker, address, *socket).map_err(LoadError::Kernel)?;
                // One stands for all who share its address.
                if worker == 0 {
                    steer.attach(socket).map_err(refused)?;
                }
            }
        }
        Ok(steering)
    }

    /// A worker's listening socket for an address; what is beyond [`ADDRESSES`] is not taken. The
    /// kernel forgets one that listens no more: when it does again, it is to be told again.
    pub fn listens(
        &mut self,
        worker: usize,
        address: usize,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        if address >= ADDRESSES {
            return Ok(());
        }
        let place = u32::try_from(worker * ADDRESSES + address).map_err(io::Error::other)?;
        match self.listeners.set(place, &socket.as_raw_fd(), 0).map_err(of_map) {
            // It is there: a socket is in one place of one map (`reuseport_array_update_check` in
            // `kernel/bpf/reuseport_array.c`).
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            told => told,
        }
    }

    /// Tells the workers' loads, of which that of one who is to get nobody is [`NOBODY`], and what
    /// a connection more is expected to add; all in one unit.
    pub fn publish(&mut self, loads: &[u64], connection: u64) -> io::Result<()> {
        self.words[1] = connection;
        let of = loads.iter().chain(std::iter::repeat(&NOBODY));
        self.words[2..].iter_mut().zip(of).for_each(|(word, load)| *word = *load);
        self.tell()
    }

    fn tell(&mut self) -> io::Result<()> {
        self.loads.set(0, *self.words, 0).map_err(of_map)
    }
}
