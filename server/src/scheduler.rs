//! Which worker runs which action when: a deterministic core, and an asynchronous shell around it.
//!
//! The core ([`core`]) has no clock, no I/O and no randomness: the present time and new names are passed in, and what
//! shall happen comes out as [`effect::Effect`] values. So every interleaving can be simulated from a seed. The shell
//! ([`shell`]) holds the core behind a lock, carries out its effects and wakes it when time has passed.
//!
//! A *task* is work, an *operation* is a client's wait for it: equal actions in flight are one task with many
//! operations. A *run* is one attempt of a task on one worker, and the only thing that workers know of.

mod core;
mod effect;
mod health;
mod ids;
mod operation;
mod platform;
mod queue;
mod roster;
mod shell;
mod task;
mod worker;

#[cfg(test)]
mod load;
#[cfg(test)]
mod simulation;

pub use core::Statistics;
pub(crate) use effect::Assignment;
pub use ids::{ActionKey, BuildId, OperationId};
pub(crate) use ids::{RunId, WorkerId};
pub use operation::{OperationView, Stage};
pub(crate) use platform::Offer;
pub use platform::Requirements;
pub(crate) use shell::{Desired, ResultSink};
pub use shell::{OperationWatch, Scheduler, WorkerSession};
pub use task::ExecuteTask;
pub(crate) use worker::{ReportedRun, WorkerState};

use std::time::Duration;

/// What the scheduler waits for, and how long; how much it holds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many tasks wait for workers; further ones are refused with a hint to retry.
    pub queued_tasks: usize,
    /// How many operations are remembered, running or completed.
    pub operations: usize,
    /// After how long a client that was refused shall try again.
    pub retry_after: Duration,
    /// How long a worker whose stream ended may take to come back before its runs are given to others.
    pub worker_grace: Duration,
    /// How often a worker speaks at least.
    pub heartbeat_interval: Duration,
    /// How many heartbeats a worker may miss before its stream counts as broken.
    pub missed_heartbeats: u32,
    /// How often a task is tried on workers that get lost or fail.
    pub attempts: u32,
    /// How long an operation without clients goes on.
    pub client_grace: Duration,
    /// How long a run that an earlier server began goes on without a client asking for its action.
    pub adoption_grace: Duration,
    /// How long such a run may take: its own timeout is not known.
    pub adopted_timeout: Duration,
    /// How long a completed operation can be waited for again.
    pub operation_retention: Duration,
    /// How long a task waits for a worker with its platform while there are only others.
    pub platform_wait: Duration,
    /// How long tasks wait once there is no worker at all.
    pub no_worker_wait: Duration,
    /// How long a task waits until it comes before all that wait less long, whatever their priorities.
    pub aging: Duration,
    /// How much longer than its timeout a run may take on a worker, for inputs and outputs.
    pub overdue_slack: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_tasks: 100_000,
            operations: 200_000,
            retry_after: Duration::from_secs(5),
            worker_grace: Duration::from_secs(3),
            heartbeat_interval: Duration::from_secs(5),
            missed_heartbeats: 3,
            attempts: 4,
            client_grace: Duration::from_secs(10),
            adoption_grace: Duration::from_secs(60),
            adopted_timeout: Duration::from_secs(24 * 3600),
            operation_retention: Duration::from_secs(60),
            platform_wait: Duration::from_secs(10),
            no_worker_wait: Duration::from_secs(30),
            aging: Duration::from_secs(600),
            overdue_slack: Duration::from_secs(900),
        }
    }
}
