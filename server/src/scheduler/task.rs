//! Work: an action that some operations wait for.

use super::ids::{ActionKey, BuildId, OperationId, RunId, Time, WorkerId};
use super::platform::Requirements;
use pumphouse_proto::reapi::ExecuteResponse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An action that shall be executed.
#[derive(Debug, Clone)]
pub struct ExecuteTask {
    /// Which.
    pub action: ActionKey,
    /// Neither merged with equal actions nor cached.
    pub do_not_cache: bool,
    /// What the worker must offer.
    pub requirements: Requirements,
    /// Lower runs sooner.
    pub priority: i32,
    /// Whose share of the workers it takes.
    pub build: BuildId,
    /// How long the command may run.
    pub timeout: Duration,
    /// When the client asked, for the result's metadata.
    pub queued_at: SystemTime,
}

/// A task, within the core.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) execute: Arc<ExecuteTask>,
    /// What to sort by: that of the execution, or of a later, more urgent one.
    pub(super) priority: i32,
    pub(super) operations: BTreeSet<OperationId>,
    pub(super) state: TaskState,
    /// How many runs were lost or failed for reasons that aren't the action's.
    pub(super) failed_runs: u32,
    /// How many failed on workers that had not shown that they can do anything: these aren't held against the action.
    pub(super) excused_runs: u32,
    /// These runs: their workers may come back with them.
    pub(super) lost_runs: BTreeSet<RunId>,
    /// The workers of these runs.
    pub(super) avoided: BTreeSet<WorkerId>,
    /// Begun by an earlier server: the platform is not known, so it can't be queued.
    pub(super) is_adopted: bool,
}

#[derive(Debug)]
pub(super) enum TaskState {
    /// In the queue since then.
    Queued { since: Time },
    /// A worker has been told to run it, and may have begun.
    Assigned { worker: WorkerId, run: RunId, overdue: Time },
    /// Ended well; the result is being written to the action cache, until when the worker keeps it too.
    Storing { worker: WorkerId, run: RunId, response: Arc<ExecuteResponse> },
}

impl Task {
    /// Whether a further execution of the same action may wait for this one.
    pub(super) fn is_mergeable(&self) -> bool {
        !self.execute.do_not_cache
    }
}
