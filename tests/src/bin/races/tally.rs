//! What was counted over all cases.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts, which cases in flight share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    cases: AtomicU64,
    checks: AtomicU64,
    noisy: AtomicU64,
    wrong: AtomicU64,
}

impl Tally {
    /// A result was compared with the compiler's.
    pub(crate) fn checked(&self) {
        self.checks.fetch_add(1, Ordering::Relaxed);
    }

    /// A compiler gave something else when it was asked again.
    pub(crate) fn differed_plainly(&self) {
        self.noisy.fetch_add(1, Ordering::Relaxed);
    }

    /// A case has ended: gives how many have by now.
    pub(crate) fn ended(&self, failures: &str) -> u64 {
        if !failures.is_empty() {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.cases.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many cases were wrong.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            formatter,
            "{} cases, {} checks, {} wrong ({} that differ plainly as well)",
            count(&self.cases),
            count(&self.checks),
            count(&self.wrong),
            count(&self.noisy)
        )
    }
}
