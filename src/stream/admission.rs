//! Who may watch: the limits of the node, of a stream and of an address.
//!
//! Counts the viewers of all streams and tells when they cross the soft limit. A lock guards it,
//! held for a few instructions, and only when viewers come and go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

/// The limits of viewers; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// All streams together: more are refused (`maxconnections`).
    pub hard: Option<usize>,
    /// All streams together: from here on the node is full (`fullconnections`).
    pub soft: Option<usize>,
    /// From one address.
    pub per_address: Option<usize>,
}

impl Limits {
    /// Whether so many viewers are as many as there may be.
    pub fn are_reached(&self, viewers: usize) -> bool {
        self.hard.is_some_and(|limit| viewers >= limit)
    }

    /// Whether the node is full with so many: from the soft or the hard limit on.
    pub fn make_full(&self, viewers: usize) -> bool {
        self.are_reached(viewers) || self.soft.is_some_and(|limit| viewers >= limit)
    }
}

/// The viewers have crossed the soft limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// They have reached it from below.
    Hit,
    /// They are fewer again.
    Miss,
}

/// Who is told of crossings. Telling never waits.
#[derive(Debug)]
pub struct Crossings {
    /// Where they go.
    pub queue: SyncSender<Crossing>,
    /// Counts those that found the queue full.
    pub dropped: IntCounter,
}

/// Why a viewer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The node has `maxconnections` viewers.
    Node,
    /// The viewer's address has as many as one may have.
    Address,
}

/// The viewers of all streams.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    present: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    viewers: usize,
    /// Kept only where there is a limit for it.
    of_address: HashMap<IpAddr, usize>,
    crossings: Option<Crossings>,
}

impl Admission {
    /// Nobody is there yet.
    pub fn new(limits: Limits, crossings: Option<Crossings>) -> Admission {
        let present = Present { viewers: 0, of_address: HashMap::new(), crossings };
        Admission { limits, present: Mutex::new(present) }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Lets one more in, unless a limit is reached.
    pub fn enter(&self, address: IpAddr) -> Result<(), Full> {
        let mut present = self.lock();
        self.judge(&present, address)?;
        present.viewers += 1;
        if self.limits.per_address.is_some() {
            *present.of_address.entry(address).or_default() += 1;
        }
        if self.limits.soft == Some(present.viewers) {
            present.tell(Crossing::Hit);
        }
        Ok(())
    }

    /// Whether one more would be let in now.
    pub fn would_enter(&self, address: IpAddr) -> Result<(), Full> {
        self.judge(&self.lock(), address)
    }

    /// One who was let in is gone.
    pub fn leave(&self, address: IpAddr) {
        let mut present = self.lock();
        present.viewers -= 1;
        if let Entry::Occupied(mut of_address) = present.of_address.entry(address) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
        if self.limits.soft == Some(present.viewers + 1) {
            present.tell(Crossing::Miss);
        }
    }

    /// Nobody is told of crossings any more; who waits for them learns that there are no others.
    pub fn close(&self) {
        self.lock().crossings = None;
    }

    /// How many there are.
    pub fn viewers(&self) -> usize {
        self.lock().viewers
    }

    fn judge(&self, present: &Present, address: IpAddr) -> Result<(), Full> {
        let reached = |count: usize, limit: Option<usize>| limit.is_some_and(|most| count >= most);
        if reached(present.viewers, self.limits.hard) {
            return Err(Full::Node);
        }
        let of_address = present.of_address.get(&address).copied().unwrap_or(0);
        if reached(of_address, self.limits.per_address) { Err(Full::Address) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        // Every change is whole before anything could panic.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Under the lock, so that crossings are told in the order in which they happen.
    fn tell(&self, crossing: Crossing) {
        let Some(crossings) = &self.crossings else { return };
        match crossings.queue.try_send(crossing) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => crossings.dropped.inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "in a test").unwrap()
    }

    #[test]
    fn the_limit_holds_and_a_place_is_free_again() {
        let limits = Limits { hard: Some(2), ..Limits::default() };
        let admission = Admission::new(limits, None);
        assert_eq!((admission.enter(HERE), admission.enter(THERE)), (Ok(()), Ok(())));
        assert_eq!(admission.enter(HERE), Err(Full::Node));
        assert_eq!(admission.would_enter(HERE), Err(Full::Node));
        admission.leave(THERE);
        assert_eq!(admission.enter(HERE), Ok(()));
        assert_eq!(admission.viewers(), 2);
    }

    #[test]
    fn full_from_either_limit_on() {
        for (viewers, soft, hard, full, reached) in [
            (1_000_000, None, None, false, false),
            (9, Some(10), None, false, false),
            (10, Some(10), None, true, false),
            (10, Some(20), Some(10), true, true),
            (0, None, Some(1), false, false),
        ] {
            let limits = Limits { hard, soft, per_address: None };
            let judged = (limits.make_full(viewers), limits.are_reached(viewers));
            assert_eq!(judged, (full, reached), "{viewers} {soft:?} {hard:?}");
        }
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let limits = Limits { per_address: Some(1), ..Limits::default() };
        let admission = Admission::new(limits, None);
        assert_eq!(admission.enter(HERE), Ok(()));
        assert_eq!(admission.enter(HERE), Err(Full::Address));
        assert_eq!(admission.enter(THERE), Ok(()));
        admission.leave(HERE);
        assert_eq!(admission.enter(HERE), Ok(()));
        admission.leave(HERE);
        admission.leave(THERE);
        assert!(admission.lock().of_address.is_empty(), "nobody is remembered");
    }

    #[test]
    fn crossings_are_told_once_each_in_order_and_never_wait() {
        let (queue, told) = sync_channel(4);
        let dropped = counter();
        let crossings = Crossings { queue, dropped: dropped.clone() };
        let limits = Limits { soft: Some(2), ..Limits::default() };
        let admission = Admission::new(limits, Some(crossings));
        for _ in 0..3 {
            for _ in 0..3 {
                admission.enter(HERE).unwrap();
            }
            for _ in 0..3 {
                admission.leave(HERE);
            }
        }
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told, [Crossing::Hit, Crossing::Miss, Crossing::Hit, Crossing::Miss]);
        assert_eq!(dropped.get(), 2);
    }
}
