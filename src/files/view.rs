//! Views, and the moments at which things were checked last.

use std::sync::atomic::{AtomicU64, Ordering};

/// One compile's look at the file system: what was checked since it was opened is believed.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The moment from which on a check is believed, in nanoseconds of the store's life; never zero.
    pub(super) since: u64,
}

/// The moment at which something was found to be as it was, for the latest view.
#[derive(Debug, Default)]
pub(crate) struct Checked(AtomicU64);

impl Checked {
    /// That of what was made for `view`.
    pub(crate) const fn in_view(view: View) -> Self {
        Self(AtomicU64::new(view.since))
    }

    /// Whether `view` believes the last check.
    pub(crate) fn suffices(&self, view: View) -> bool {
        self.0.load(Ordering::Acquire) >= view.since
    }

    /// Notes a check that `view` asked for.
    pub(crate) fn note(&self, view: View) {
        self.0.fetch_max(view.since, Ordering::AcqRel);
    }

    /// Whether `view` believes the last check, or else `check` finds now that all is as it was.
    pub(crate) fn or_check(&self, view: View, check: impl FnOnce() -> bool) -> bool {
        if self.suffices(view) {
            return true;
        }
        let is_current = check();
        if is_current {
            self.note(view);
        }
        is_current
    }
}
