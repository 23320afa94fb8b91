//! What clients do: execute, wait, leave, cancel.

use super::super::ids::{ActionKey, OperationId, TaskId, Time};
use super::super::operation::{Operation, OperationState};
use super::super::task::{ExecuteTask, TaskState};
use super::expiry::Timer;
use super::{Core, failure};
use std::sync::Arc;
use tonic::Status;

/// Why an execution isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// So many tasks wait already.
    QueueFull(usize),
    /// So many operations are known already.
    OperationsFull(usize),
}

impl Core {
    /// Begins an operation under a new name, with one client: for a task of its own, or for one that is under way.
    ///
    /// # Errors
    /// There is too much to do already.
    pub(crate) fn execute(&mut self, now: Time, operation: OperationId, execute: ExecuteTask) -> Result<(), Refused> {
        if self.operations.len() >= self.limits.operations {
            return Err(Refused::OperationsFull(self.operations.len()));
        }
        let equal = if execute.do_not_cache { None } else { self.by_action.get(&execute.action).copied() };
        if equal.is_none() && self.queue.len() >= self.limits.queued_tasks {
            return Err(Refused::QueueFull(self.queue.len()));
        }
        let action = execute.action.clone();
        let task = if let Some(task) = equal {
            self.merge(task, execute);
            task
        } else {
            self.insert_task(execute, TaskState::Queued { since: now })
        };
        self.add_operation(operation, action, task);
        if equal.is_none() {
            self.enqueue(now, task);
        }
        Ok(())
    }

    /// Begins an operation under a known name for the task of its action that is under way, if there is one.
    pub(crate) fn join(&mut self, operation: OperationId, action: &ActionKey) -> bool {
        let Some(task) = self.by_action.get(action).copied() else { return false };
        if self.operations.len() >= self.limits.operations || self.operations.contains_key(&operation) {
            return false;
        }
        self.add_operation(operation, action.clone(), task);
        true
    }

    /// One more client watches an operation; `false` where it is not known.
    pub(crate) fn client_joined(&mut self, operation: OperationId) -> bool {
        let Some(operation) = self.operations.get_mut(&operation) else { return false };
        operation.clients += 1;
        operation.deserted = None;
        true
    }

    /// One client less watches an operation.
    pub(crate) fn client_left(&mut self, now: Time, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.clients = operation.clients.saturating_sub(1);
        if operation.clients == 0 && matches!(operation.state, OperationState::Waiting(_)) {
            operation.deserted = Some(now);
            self.timers.insert((now + self.limits.client_grace, Timer::Abandoned(id)));
        }
    }

    /// Ends an operation; its task goes on only if others wait for it. `false` where it is not known.
    pub(crate) fn cancel(&mut self, now: Time, id: OperationId) -> bool {
        let Some(operation) = self.operations.get(&id) else { return false };
        let OperationState::Waiting(task) = operation.state else { return true };
        let is_last = {
            let task = self.task_mut(task);
            task.operations.remove(&id);
            task.operations.is_empty()
        };
        let cancelled = failure(&Status::cancelled("the operation was cancelled"));
        self.complete_operation(now, id, Arc::new(cancelled));
        if is_last {
            self.drop_task(now, task);
        }
        true
    }

    /// Forgets a completed operation; `None` where it is not known, `false` where it isn't completed.
    pub(crate) fn delete(&mut self, id: OperationId) -> Option<bool> {
        let is_completed = matches!(self.operations.get(&id)?.state, OperationState::Completed(_));
        if is_completed {
            self.operations.remove(&id);
            self.changed_operations.remove(&id);
            self.effects.push(super::Effect::Forget(id));
        }
        Some(is_completed)
    }

    /// The operations of an instance behind `after`, in the order of their names.
    pub(crate) fn list(
        &self,
        instance_name: &str,
        after: Option<OperationId>,
        limit: usize,
    ) -> Vec<(OperationId, ActionKey)> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let operations = self.operations.range((from, std::ops::Bound::Unbounded));
        let operations = operations.filter(|(_, operation)| &*operation.action.instance_name == instance_name);
        operations.take(limit).map(|(id, operation)| (*id, operation.action.clone())).collect()
    }

    /// The action of an operation.
    pub(crate) fn action_of(&self, id: OperationId) -> Option<&ActionKey> {
        self.operations.get(&id).map(|operation| &operation.action)
    }

    fn add_operation(&mut self, id: OperationId, action: ActionKey, task: TaskId) {
        self.task_mut(task).operations.insert(id);
        self.operations
            .insert(id, Operation { action, state: OperationState::Waiting(task), clients: 1, deserted: None });
        self.changed_operations.insert(id);
    }

    /// A further execution of a task's action: the task is as urgent as the most urgent of them.
    fn merge(&mut self, id: TaskId, execute: ExecuteTask) {
        let task = self.task_mut(id);
        if task.is_adopted {
            let build = task.execute.build.clone();
            let is_running = matches!(task.state, TaskState::Assigned { .. });
            task.priority = execute.priority;
            task.is_adopted = false;
            let joined = execute.build.clone();
            task.execute = Arc::new(execute);
            if is_running {
                self.queue.begin(&joined);
                self.queue.end(&build);
            }
            return;
        }
        if execute.priority >= task.priority {
            return;
        }
        let old = std::mem::replace(&mut task.priority, execute.priority);
        if matches!(task.state, TaskState::Queued { .. }) {
            let queued = Arc::clone(&task.execute);
            self.queue.push(id, &queued, execute.priority);
            self.queue.remove(id, &queued, old);
        }
    }
}
