//! All that is wrong with a file.
//!
//! Owns how many problems are kept. Driven by whoever finds one.

use super::{At, Problem, ProblemKind};
use crate::limits::PROBLEMS_MAX;

/// Collects what is wrong, so that one run of `--check` shows everything.
#[derive(Default)]
pub(in crate::config) struct Problems {
    errors: Bounded,
    warnings: Bounded,
}

impl Problems {
    /// Refuses the file for what is at `at`.
    pub(in crate::config) fn error(&mut self, at: At, kind: impl Into<ProblemKind>) {
        self.add_error(at.problem(kind));
    }

    /// Refuses the file.
    pub(in crate::config) fn add_error(&mut self, problem: Problem) {
        self.errors.add(problem);
    }

    /// Accepts the file, but says so.
    pub(in crate::config) fn warn(&mut self, at: At, kind: impl Into<ProblemKind>) {
        self.warnings.add(at.problem(kind));
    }

    /// Whether there is an error at `at` (among those that are shown).
    pub(in crate::config) fn refused(&self, at: &At) -> bool {
        self.errors.kept.iter().any(|problem| problem.path == at.path)
    }

    /// Errors and warnings, each by line, those of the whole file last.
    pub(in crate::config) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.errors.finish(), self.warnings.finish())
    }
}

#[derive(Default)]
struct Bounded {
    kept: Vec<Problem>,
    more: usize,
    more_refused: usize,
}

impl Bounded {
    fn add(&mut self, problem: Problem) {
        if self.kept.len() < PROBLEMS_MAX {
            self.kept.push(problem);
        } else {
            self.more += 1;
            self.more_refused += usize::from(problem.is_refused_by_check());
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        if self.more > 0 {
            let kind = ProblemKind::More { count: self.more, refused_by_check: self.more_refused };
            self.kept.push(At::whole_file().problem(kind));
        }
        self.kept
    }
}
