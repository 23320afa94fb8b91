//! What the core wants to happen outside of it.

use super::ids::{ActionKey, OperationId, RunId, SessionId, TaskId};
use super::operation::OperationView;
use pumphouse_proto::reapi::ExecuteResponse;
use std::sync::Arc;
use std::time::Duration;

/// One thing to be done by the shell, in order.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// The clients of an operation shall see this.
    Publish {
        /// Which.
        operation: OperationId,
        /// Its present state.
        view: OperationView,
    },
    /// The operation is no longer known.
    Forget(OperationId),
    /// The worker at the other end shall hold exactly these runs.
    Desire {
        /// Which stream.
        session: SessionId,
        /// All of them.
        assignments: Vec<Assignment>,
    },
    /// The stream shall end, for this reason.
    EndSession(SessionId, &'static str),
    /// The result shall be written to the action cache; then the core wants to hear
    /// [`stored`](super::core::Core::stored).
    Store {
        /// Which task waits for that.
        task: TaskId,
        /// The key.
        action: ActionKey,
        /// Holds the result.
        response: Arc<ExecuteResponse>,
    },
}

/// A run that a worker shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) run: RunId,
    pub(crate) action: ActionKey,
    pub(crate) timeout: Duration,
    pub(crate) do_not_cache: bool,
}
