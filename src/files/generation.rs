//! Generations: while the one of a file or a directory stays, so does what was learned of it.

use std::sync::atomic::{AtomicU32, Ordering};

/// A state of a file or directory, told apart from those before. The number says nothing of another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(u32);

impl Generation {
    /// That of what was not looked at yet.
    pub(super) const NONE: Self = Self(0);

    /// That of what an earlier process knew.
    pub(super) const RECALLED: Self = Self(1);
}

/// The present generation of a file or directory.
#[derive(Debug)]
pub(super) struct GenerationCounter(AtomicU32);

impl GenerationCounter {
    pub(super) const fn new(first: Generation) -> Self {
        Self(AtomicU32::new(first.0))
    }

    pub(super) fn current(&self) -> Generation {
        Generation(self.0.load(Ordering::Acquire))
    }

    /// Begins the next generation.
    pub(super) fn advance(&self) -> Generation {
        Generation(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }
}
