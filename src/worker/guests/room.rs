//! How much room a worker has for guests.

use crate::limits::{
    BODIES_BYTES_MAX, BODIES_BYTES_PER_WORKER_MIN, GUESTS_DESCRIPTORS_DIVISOR, GUESTS_MAX,
    GUESTS_PER_WORKER_MIN, SLOW_GUESTS_MAX,
};

/// A worker's share of the room that the node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Guests, whatever they do.
    pub(super) guests: usize,
    /// Those who wait for an answer, and those who are sent one.
    pub(super) slow_guests: usize,
    /// What is sent to them.
    pub(super) bodies_bytes: usize,
}

impl Room {
    /// The share of each of so many workers of a process that may have so many descriptors.
    pub fn of(workers: usize, descriptors: u64) -> Room {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let of_all = GUESTS_MAX.min(descriptors / GUESTS_DESCRIPTORS_DIVISOR);
        let guests = (of_all / workers).max(GUESTS_PER_WORKER_MIN);
        Room {
            guests,
            slow_guests: guests * SLOW_GUESTS_MAX / GUESTS_MAX,
            bodies_bytes: (BODIES_BYTES_MAX / workers).max(BODIES_BYTES_PER_WORKER_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{STATIC_BODY_BYTES_MAX, WORKERS_MAX};

    #[test]
    fn all_shares_together_fit_the_node() {
        for (workers, descriptors, guests, slow_guests) in [
            (1, 20_000, 8192, 3072),
            (1, u64::MAX, 8192, 3072),
            (2, 20_000, 4096, 1536),
            (2, 9000, 2250, 843),
            (64, 20_000, 128, 48),
            (1, 1024, 512, 192),
            (16, 1024, 32, 12),
            (WORKERS_MAX, 1024, 32, 12),
            (WORKERS_MAX, 20_000, 32, 12),
            (4, 0, 32, 12),
        ] {
            let room = Room::of(workers, descriptors);
            let told = format!("{workers} workers, {descriptors} descriptors");
            assert_eq!((room.guests, room.slow_guests), (guests, slow_guests), "{told}");
            assert!(guests * workers <= GUESTS_MAX, "{told}");
        }
    }

    #[test]
    fn every_body_that_is_allowed_fits_a_share_twice() {
        for workers in 1..=WORKERS_MAX {
            let room = Room::of(workers, 20_000);
            assert!(room.bodies_bytes >= 2 * STATIC_BODY_BYTES_MAX, "{workers} workers");
        }
        assert_eq!(Room::of(1, 20_000).bodies_bytes, BODIES_BYTES_MAX);
    }
}
