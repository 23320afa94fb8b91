//! A client's wait for a task.

use super::ids::{ActionKey, TaskId, Time};
use pumphouse_proto::reapi::ExecuteResponse;
use std::sync::Arc;

/// How far an operation is: the API's execution stages that a server with a scheduler passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Executing,
    /// Ended; there is a response.
    Completed,
}

/// What clients may see of an operation.
#[derive(Debug, Clone)]
pub struct OperationView {
    /// How far it is.
    pub stage: Stage,
    /// Which worker has it, for people.
    pub worker: Option<Arc<str>>,
    /// How it ended: present exactly when `stage` is [`Stage::Completed`].
    pub response: Option<Arc<ExecuteResponse>>,
}

impl OperationView {
    /// Not begun.
    pub(crate) const QUEUED: Self = Self { stage: Stage::Queued, worker: None, response: None };
}

/// An operation, within the core.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) action: ActionKey,
    pub(super) state: OperationState,
    /// How many streams watch it.
    pub(super) clients: usize,
    /// Since when none does.
    pub(super) deserted: Option<Time>,
}

#[derive(Debug)]
pub(super) enum OperationState {
    /// Waits for this task.
    Waiting(TaskId),
    /// Ended; kept for those who ask again.
    Completed(Arc<ExecuteResponse>),
}
