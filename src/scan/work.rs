//! How much work scans were: what shows that only what changed is worked again.

use serde::Serialize;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of work done since a scanner was made, by all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Compiles whose answer was not the remembered one as a whole. Those that were refused are not counted.
    pub replayed_units: u64,
    /// Files whose directives were replayed for those, sources included, each as often as it was.
    pub replayed_files: u64,
    /// Files whose text was searched for directives, once for each way to read it.
    pub lexed_files: u64,
}

impl Sub for Work {
    type Output = Self;

    /// The work between two counts. None of its counts is below zero.
    fn sub(self, earlier: Self) -> Self {
        Self {
            replayed_units: self.replayed_units.saturating_sub(earlier.replayed_units),
            replayed_files: self.replayed_files.saturating_sub(earlier.replayed_files),
            lexed_files: self.lexed_files.saturating_sub(earlier.lexed_files),
        }
    }
}

/// Counts [`Work`] as it is done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    replayed_units: AtomicU64,
    replayed_files: AtomicU64,
    lexed_files: AtomicU64,
}

impl Counters {
    pub(crate) fn count_replay(&self, files: u64) {
        self.replayed_units.fetch_add(1, Ordering::Relaxed);
        self.replayed_files.fetch_add(files, Ordering::Relaxed);
    }

    pub(crate) fn count_lexed_file(&self) {
        self.lexed_files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn work(&self) -> Work {
        Work {
            replayed_units: self.replayed_units.load(Ordering::Relaxed),
            replayed_files: self.replayed_files.load(Ordering::Relaxed),
            lexed_files: self.lexed_files.load(Ordering::Relaxed),
        }
    }
}
