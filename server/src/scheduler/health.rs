//! How far a worker is trusted with work: one that fails at once is always free, and would take the whole queue.
//!
//! After a failure that isn't the action's a worker gets one run at a time, until one ends well. One that never ended a run well,
//! or fails again, rests before that, each time twice as long. While all workers rest, none does: there is nobody to leave the
//! work to.

use super::ids::Time;
use std::time::Duration;

/// How long the first rest is, and the longest one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What a worker's last runs say of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// How often it failed since a run ended well.
    failures: u32,
    has_succeeded: bool,
    rests_until: Option<Time>,
}

impl Health {
    /// A run ended, and the worker was not at fault.
    pub(super) fn succeeded(&mut self) {
        *self = Self { failures: 0, has_succeeded: true, rests_until: None };
    }

    /// A run failed for a reason that isn't the action's. Gives until when the worker rests, if it does from now on.
    pub(super) fn failed(&mut self, now: Time) -> Option<Time> {
        if self.rests_until.is_some() {
            // It was begun before the rest.
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let rests = self.failures - u32::from(self.has_succeeded);
        let doublings = rests.checked_sub(1)?.min(16);
        let until = now + (FIRST_REST * (1 << doublings)).min(LONGEST_REST);
        self.rests_until = Some(until);
        Some(until)
    }

    /// Ends a rest that is over.
    pub(super) fn wake(&mut self, now: Time) {
        self.rests_until = self.rests_until.filter(|until| *until > now);
    }

    /// Whether it gets nothing as long as there are others.
    pub(super) fn rests(&self) -> bool {
        self.rests_until.is_some()
    }

    /// Whether its last run ended well, so that a failure may be the action's after all.
    pub(super) fn is_proven(&self) -> bool {
        self.has_succeeded && self.failures == 0
    }

    /// How many of its slots are used.
    pub(super) fn usable(&self, slots: usize) -> usize {
        if self.failures == 0 { slots } else { slots.min(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_with_each_failure_and_end_with_a_success() {
        let mut health = Health::default();
        let mut now = Time::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let until = health.failed(now).expect("a rest");
            assert_eq!(until, now + Duration::from_secs(seconds));
            assert_eq!(health.failed(now), None, "others that were begun before say nothing new");
            health.wake(now);
            assert!(health.rests() && !health.is_proven());
            now = until;
            health.wake(now);
            assert!(!health.rests());
            assert_eq!(health.usable(8), 1, "one run is its trial");
        }
        health.succeeded();
        assert!(health.is_proven());
        assert_eq!(health.usable(8), 8);
        assert_eq!(health.failed(now), None, "once is no reason to rest");
        assert_eq!(health.usable(8), 1);
        assert_eq!(health.failed(now), Some(now + FIRST_REST));
    }
}
