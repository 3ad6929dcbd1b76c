//! What a scenario is to show, and whether it did.

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, float};

/// A figure of who is judged (and who it is compared with), and what it is not to exceed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    what: &'static str,
    /// `None`: it was not measured.
    of: fn(&Figures, Option<&Figures>) -> Option<f64>,
    at_most: f64,
}

/// A target and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    /// `None`: it was not measured.
    pub(crate) figure: Option<f64>,
    pub(crate) at_most: f64,
}

impl Verdict {
    /// Whether the target was reached; what was not measured was not.
    pub(crate) fn is_pass(&self) -> bool {
        self.figure.is_some_and(|figure| figure <= self.at_most)
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.figure {
            None => "UNMEASURED",
            Some(_) if self.is_pass() => "PASS",
            Some(_) => "FAIL",
        }
    }
}

impl Target {
    pub(crate) fn judge(&self, judged: &Figures, beside: Option<&Figures>) -> Verdict {
        // A percentile of nothing, or a share of nothing, is no figure.
        let figure = (self.of)(judged, beside).filter(|figure| figure.is_finite());
        Verdict { what: self.what.to_owned(), figure, at_most: self.at_most }
    }
}

pub(crate) const LOST_PACKETS: Target = Target {
    what: "faults that live viewers saw",
    of: |judged, _| Some(float(judged.faults())),
    at_most: 0.0,
};

pub(crate) const DROPPED_PACKETS: Target = Target {
    what: "packets that the server says it has dropped",
    of: |judged, _| judged.dropped_packets,
    at_most: 0.0,
};

pub(crate) const JOINERS_MISSING: Target = Target {
    what: "joiners without data",
    of: |judged, _| Some(float(judged.joins.as_ref()?.missing)),
    at_most: 0.0,
};

pub(crate) const fn cpu_ratio(at_most: f64) -> Target {
    let of = |judged: &Figures, beside: Option<&Figures>| {
        Some(judged.cpu_seconds_per_gb / beside?.cpu_seconds_per_gb)
    };
    Target { what: "CPU per GB, by what it is compared with", of, at_most }
}

pub(crate) const fn p50_ratio(at_most: f64) -> Target {
    let of = |judged: &Figures, beside: Option<&Figures>| {
        Some(judged.delay_p50_ms / beside?.delay_p50_ms)
    };
    Target { what: "p50 delay, by what it is compared with", of, at_most }
}

pub(crate) const fn p99_ratio(at_most: f64) -> Target {
    let of = |judged: &Figures, beside: Option<&Figures>| {
        Some(judged.delay_p99_ms / beside?.delay_p99_ms)
    };
    Target { what: "p99 delay, by what it is compared with", of, at_most }
}

pub(crate) const fn p50_ms(at_most: f64) -> Target {
    Target { what: "p50 delay, ms", of: |judged, _| Some(judged.delay_p50_ms), at_most }
}

pub(crate) const fn p99_ms(at_most: f64) -> Target {
    Target { what: "p99 delay, ms", of: |judged, _| Some(judged.delay_p99_ms), at_most }
}

pub(crate) const fn resident_mib(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| Some(judged.resident_mb * 1e6 / 1_048_576.0);
    Target { what: "resident memory, MiB", of, at_most }
}

pub(crate) const fn slowest_join_ms(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| Some(judged.joins.as_ref()?.slowest_ms);
    Target { what: "slowest joiner, ms", of, at_most }
}

pub(crate) const fn median_join_ms(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| Some(judged.joins.as_ref()?.p50_ms);
    Target { what: "median joiner, ms", of, at_most }
}

/// By how much those who were there before get it later while others join.
pub(crate) const fn p99_growth_ms(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| {
        Some(judged.delay_p99_ms - judged.joins.as_ref()?.before_p99_ms)
    };
    Target { what: "growth of the p99 delay by those who join, ms", of, at_most }
}

pub(crate) const fn core_share(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| Some(judged.cpu_seconds / judged.seconds);
    Target { what: "CPU seconds per second", of, at_most }
}

/// By how much of a core the worker's thread may take more while there is a flood.
pub(crate) const fn worker_growth(at_most: f64) -> Target {
    let of = |judged: &Figures, _: Option<&Figures>| Some(judged.flooded.as_ref()?.growth());
    Target { what: "growth of the worker's share of a core by the flood", of, at_most }
}

pub(crate) const UNCOUNTED_SYNS: Target = Target {
    what: "SYNs of the flood that were not counted as denied",
    of: |judged, _| Some(judged.flooded.as_ref()?.uncounted?.abs()),
    at_most: 0.0,
};

/// What each tier adds to the median delay, in its turns: the third is judged, beside the first.
pub(crate) const fn added_p50_turns(at_most: f64) -> Target {
    let of = |third: &Figures, first: Option<&Figures>| {
        Some((third.delay_p50_ms - first?.delay_p50_ms) / 2.0 / third.turn_ms)
    };
    Target { what: "p50 delay that each tier adds, turns", of, at_most }
}

/// The same of the delay that one packet in a hundred exceeds.
pub(crate) const fn added_p99_turns(at_most: f64) -> Target {
    let of = |third: &Figures, first: Option<&Figures>| {
        Some((third.delay_p99_ms - first?.delay_p99_ms) / 2.0 / third.turn_ms)
    };
    Target { what: "p99 delay that each tier adds, turns", of, at_most }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Joins;
    use crate::flood::Flooded;

    fn judge(target: Target, judged: &Figures, beside: Option<&Figures>) -> (&'static str, bool) {
        let verdict = target.judge(judged, beside);
        (verdict.word(), verdict.is_pass())
    }

    #[test]
    fn figures_at_their_bounds_pass() {
        let judged = Figures { cpu_seconds_per_gb: 0.5, resident_mb: 62.9, ..Figures::default() };
        let beside = Figures { cpu_seconds_per_gb: 1.0, ..Figures::default() };
        for (target, passes) in [
            (cpu_ratio(0.5), true),
            (cpu_ratio(0.49), false),
            (resident_mib(60.0), true),
            (resident_mib(59.0), false),
            (LOST_PACKETS, true),
        ] {
            let word = if passes { "PASS" } else { "FAIL" };
            assert_eq!(judge(target, &judged, Some(&beside)), (word, passes), "{target:?}");
        }
    }

    #[test]
    fn two_tiers_add_to_the_third() {
        let delays = |p50, p99| Figures {
            delay_p50_ms: p50,
            delay_p99_ms: p99,
            turn_ms: 5.0,
            ..Figures::default()
        };
        let (third, first) = (delays(8.0, 16.0), delays(3.0, 6.0));
        for (target, figure) in [(added_p50_turns(0.5), 0.5), (added_p99_turns(0.9), 1.0)] {
            let verdict = target.judge(&third, Some(&first));
            assert!((verdict.figure.unwrap() - figure).abs() < 1e-9, "{verdict:?}");
            assert_eq!(verdict.is_pass(), figure < 0.9);
        }
        assert_eq!(judge(added_p50_turns(1.0), &third, None), ("UNMEASURED", false));
    }

    #[test]
    fn a_flood_grows_the_worker_and_is_counted() {
        let flooded = |uncounted| Figures {
            flooded: Some(Flooded { worker: [0.25, 0.3125], uncounted, ..Flooded::default() }),
            ..Figures::default()
        };
        for (target, uncounted, word) in [
            (worker_growth(0.0625), None, "PASS"),
            (worker_growth(0.0624), None, "FAIL"),
            (UNCOUNTED_SYNS, Some(0.0), "PASS"),
            (UNCOUNTED_SYNS, Some(-1.0), "FAIL"),
            (UNCOUNTED_SYNS, None, "UNMEASURED"),
        ] {
            assert_eq!(judge(target, &flooded(uncounted), None).0, word, "{target:?}");
        }
        assert_eq!(judge(worker_growth(1.0), &Figures::default(), None).0, "UNMEASURED");
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        let nothing = Figures::default();
        for target in [cpu_ratio(1.0), DROPPED_PACKETS, JOINERS_MISSING, slowest_join_ms(1.0)] {
            assert_eq!(judge(target, &nothing, None), ("UNMEASURED", false), "{target:?}");
        }
        let of_nothing = judge(p50_ratio(1.0), &nothing, Some(&nothing));
        assert_eq!(of_nothing, ("UNMEASURED", false), "0 / 0 is no ratio");
    }

    #[test]
    fn every_fault_counts() {
        let joins = Joins {
            missing: 1,
            slowest_ms: 10.0,
            p50_ms: 5.0,
            before_p99_ms: 8.0,
            ..Joins::default()
        };
        let joins = Some(joins);
        let judged = Figures { ended_viewers: 1, joins, delay_p99_ms: 10.0, ..Figures::default() };
        assert_eq!(judge(LOST_PACKETS, &judged, None).0, "FAIL");
        assert_eq!(judge(JOINERS_MISSING, &judged, None).0, "FAIL");
        assert_eq!(judge(slowest_join_ms(10.0), &judged, None).0, "PASS");
        for (target, word) in [
            (median_join_ms(5.0), "PASS"),
            (median_join_ms(4.9), "FAIL"),
            (p99_growth_ms(2.0), "PASS"),
            (p99_growth_ms(1.9), "FAIL"),
        ] {
            assert_eq!(judge(target, &judged, None).0, word, "{target:?}");
        }
    }
}
