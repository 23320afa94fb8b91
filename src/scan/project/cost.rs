//! What a piece of work costs: elapsed time, and processor time of this process and of the compilers that it has run.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::time::{Duration, Instant};

/// The cost of a piece of work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Elapsed time.
    pub(super) wall: Duration,
    /// Processor time, user and system, of all threads.
    pub(super) own: Duration,
    /// Processor time of the child processes that ended meanwhile.
    pub(super) children: Duration,
}

/// Measures the cost of what happens between `start` and `stop`.
#[derive(Debug)]
pub(super) struct Stopwatch {
    started: Instant,
    before: (Duration, Duration),
}

impl Stopwatch {
    /// Starts to measure. Costs two system calls.
    pub(super) fn start() -> Self {
        Self { before: processor_times(), started: Instant::now() }
    }

    /// The cost since the start.
    pub(super) fn stop(&self) -> Cost {
        let wall = self.started.elapsed();
        let (own, children) = processor_times();
        Cost { wall, own: own.saturating_sub(self.before.0), children: children.saturating_sub(self.before.1) }
    }
}

fn processor_times() -> (Duration, Duration) {
    let time = |who| {
        let total = |usage: Usage| (usage.user_time() + usage.system_time()).num_microseconds();
        Duration::from_micros(getrusage(who).map_or(0, total).unsigned_abs())
    };
    (time(UsageWho::RUSAGE_SELF), time(UsageWho::RUSAGE_CHILDREN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_and_of_children_is_counted_apart() {
        let stopwatch = Stopwatch::start();
        let status =
            std::process::Command::new("sh").args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]).status();
        assert!(status.unwrap().success());
        let cost = stopwatch.stop();
        assert!(cost.children > Duration::from_millis(1), "{cost:?}");
        assert!(cost.wall >= cost.children / 2, "{cost:?}");
    }
}
