//! Moments of this process's life, as numbers that fit into an atomic.
//!
//! It does not know the time of day, and no clock that jumps moves it.

use std::sync::LazyLock;
use std::time::Instant;

/// A moment, in nanoseconds of this process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since(u64);

impl Since {
    /// The moment `asked`.
    pub(crate) fn at(asked: Instant) -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self(asked.saturating_duration_since(*START).as_nanos() as u64 + 1)
    }

    /// This moment.
    pub(crate) fn now() -> Self {
        Self::at(Instant::now())
    }

    /// It as a number that grows with time, from 1 on: 0 is before all moments.
    pub(crate) const fn nanoseconds(self) -> u64 {
        self.0
    }
}
