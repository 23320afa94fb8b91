//! How well a server serves, stage by stage: a circuit breaker that knows neither clocks nor networks.
//!
//! A stage that nobody has got through while a compile ran out of patience in it is *on hold*: the next compiles run here
//! at once where there is room. The work that was given up goes on in the background now and then, as a *trial*; whatever
//! gets through the stage, a trial or a compile that had no room here, ends the hold.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long after a trial the next one begins; each further one waits twice as long.
const FIRST_TRIAL_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between trials: a server that serves again is used again within this.
const LONGEST_TRIAL_PAUSE: Duration = Duration::from_secs(8);

/// How many failures in a row, without anybody getting through, put a stage on hold: one may be the compile's own.
const FAILURE_LIMIT: u32 = 3;

/// What a server does for a compile, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// It looks into its action cache.
    LookUp,
    /// It takes inputs in.
    Upload,
    /// It has a worker run the action.
    Execute,
    /// It gives outputs.
    Download,
}

impl Service {
    const COUNT: usize = 4;

    /// What the server did not do, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LookUp => "looking up a result",
            Self::Upload => "taking in inputs",
            Self::Execute => "running an action",
            Self::Download => "giving outputs",
        }
    }
}

/// Whether work that is given up goes on in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It does: its end says whether the server serves again.
    Now,
    /// It is dropped: another trial was just made, or is under way.
    Later,
}

/// What is known of one server.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<[Record; Service::COUNT]>);

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    succeeded: Option<Instant>,
    failures: u32,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    next_trial: Instant,
    pause: Duration,
}

impl Health {
    /// Notes that somebody got through `service` at `now`.
    pub(crate) fn succeeded(&self, service: Service, now: Instant) {
        self.change(service, |record| *record = Record { succeeded: Some(now), ..Record::default() });
    }

    /// Notes that `service` failed a compile.
    pub(crate) fn failed(&self, service: Service, now: Instant) {
        self.change(service, |record| {
            record.failures += 1;
            if record.failures >= FAILURE_LIMIT {
                record.hold.get_or_insert(Hold { next_trial: now, pause: FIRST_TRIAL_PAUSE });
            }
        });
    }

    /// Notes that a compile that was in `service` since `since` has no more patience, and says whether its work goes on.
    pub(crate) fn overdue(&self, service: Service, since: Instant, now: Instant) -> Trial {
        self.change(service, |record| {
            if record.succeeded.is_some_and(|succeeded| succeeded >= since) {
                // Others are served, so it is the compile's own matter.
                return Trial::Later;
            }
            let hold = record.hold.get_or_insert(Hold { next_trial: now, pause: FIRST_TRIAL_PAUSE });
            if now < hold.next_trial {
                return Trial::Later;
            }
            hold.next_trial = now + hold.pause;
            hold.pause = (hold.pause * 2).min(LONGEST_TRIAL_PAUSE);
            Trial::Now
        })
    }

    /// Whether a compile that is to enter `service` had better run here: that, or something that must follow, is on hold.
    pub(crate) fn is_on_hold(&self, service: Service) -> bool {
        let records = self.0.lock();
        // A result that is found may need no more, so looking up is worth its while whatever else is on hold.
        let end = if service == Service::LookUp { 1 } else { Service::COUNT };
        records[service as usize..end].iter().any(|record| record.hold.is_some())
    }

    /// Forgets everything: the server was away and is back.
    pub(crate) fn forget(&self) {
        *self.0.lock() = Default::default();
    }

    fn change<T>(&self, service: Service, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.0.lock()[service as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stage_that_serves_nobody_is_on_hold_until_somebody_gets_through() {
        let health = Health::default();
        let start = Instant::now();
        assert!(!health.is_on_hold(Service::Execute));
        assert_eq!(health.overdue(Service::Execute, start, start + SECOND), Trial::Now);
        for service in [Service::Upload, Service::Execute] {
            assert!(health.is_on_hold(service), "{service:?}");
        }
        for service in [Service::LookUp, Service::Download] {
            assert!(!health.is_on_hold(service), "{service:?}");
        }
        health.succeeded(Service::Execute, start + SECOND * 2);
        assert!(!health.is_on_hold(Service::Upload));
    }

    #[test]
    fn one_slow_compile_on_a_server_that_serves_others_is_no_hold() {
        let health = Health::default();
        let start = Instant::now();
        health.succeeded(Service::Execute, start + SECOND);
        assert_eq!(health.overdue(Service::Execute, start, start + SECOND * 9), Trial::Later);
        assert!(!health.is_on_hold(Service::Execute));
    }

    #[test]
    fn trials_become_rarer_but_never_stop() {
        let health = Health::default();
        let start = Instant::now();
        let mut trials = Vec::new();
        for tenth in 0..400 {
            let now = start + Duration::from_millis(100) * tenth;
            if health.overdue(Service::Execute, now, now) == Trial::Now {
                trials.push(tenth / 10);
            }
        }
        assert_eq!(trials, [0, 1, 3, 7, 15, 23, 31, 39]);
    }

    #[test]
    fn failures_hold_only_in_a_row() {
        let health = Health::default();
        let now = Instant::now();
        for _ in 0..10 {
            health.failed(Service::Execute, now);
            health.failed(Service::Execute, now);
            assert!(!health.is_on_hold(Service::Execute));
            health.succeeded(Service::Execute, now);
        }
        for _ in 0..FAILURE_LIMIT {
            health.failed(Service::Execute, now);
        }
        assert!(health.is_on_hold(Service::Execute));
        health.forget();
        assert!(!health.is_on_hold(Service::Execute));
    }
}
