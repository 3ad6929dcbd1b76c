//! Whether the workers answer when they are asked.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Which workers do not answer: written by who asks them, read by whom it concerns.
#[derive(Debug, Default)]
pub struct Liveness {
    stuck: Vec<AtomicBool>,
}

/// `/live`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Live {
    /// `ok` or `stuck`.
    status: &'static str,
    /// The workers that do not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    workers: Vec<usize>,
}

impl Live {
    /// 200 if all is well, 503 otherwise.
    pub fn status(&self) -> u16 {
        if self.workers.is_empty() { 200 } else { 503 }
    }
}

impl Liveness {
    /// So many workers, all of them well.
    pub fn new(workers: usize) -> Liveness {
        Liveness { stuck: (0..workers).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Notes how a worker is; answers whether that is new.
    pub fn note(&self, worker: usize, stuck: bool) -> bool {
        self.stuck[worker].swap(stuck, Ordering::Relaxed) != stuck
    }

    /// Of each worker, whether it does not answer.
    pub fn stuck(&self) -> Vec<bool> {
        self.stuck.iter().map(|stuck| stuck.load(Ordering::Relaxed)).collect()
    }

    /// What there is to tell.
    pub fn get(&self) -> Live {
        let numbered = self.stuck.iter().enumerate();
        let stuck = numbered.filter(|(_, stuck)| stuck.load(Ordering::Relaxed));
        let workers: Vec<_> = stuck.map(|(number, _)| number).collect();
        Live { status: if workers.is_empty() { "ok" } else { "stuck" }, workers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_stuck_is_named_until_it_is_not() {
        let liveness = Liveness::new(3);
        let text = || serde_json::to_string(&liveness.get()).unwrap();
        assert_eq!((liveness.get().status(), text().as_str()), (200, r#"{"status":"ok"}"#));
        assert!(liveness.note(1, true) && !liveness.note(1, true));
        assert_eq!(text(), r#"{"status":"stuck","workers":[1]}"#);
        assert_eq!(liveness.get().status(), 503);
        assert!(liveness.note(1, false));
        assert_eq!(liveness.get().status(), 200);
    }
}
