//! What must hold after every step: for the simulation.

use super::super::ids::TaskId;
use super::super::operation::OperationState;
use super::super::task::TaskState;
use super::Core;

impl Core {
    /// Panics where an invariant doesn't hold.
    pub(crate) fn check(&self) {
        let mut queued = 0;
        for (id, task) in &self.tasks {
            match &task.state {
                TaskState::Queued { .. } => {
                    queued += 1;
                    assert!(!task.is_adopted, "an adopted task is never queued");
                    assert!(!task.operations.is_empty(), "somebody waits for each queued task");
                    assert_eq!(self.best_worker(*id), None, "no task waits while a worker is free for it");
                }
                TaskState::Assigned { worker, run, .. } => {
                    assert_eq!(self.workers[worker].runs.get(run), Some(id), "the worker has the run");
                }
                TaskState::Storing { .. } => {}
            }
            for operation in &task.operations {
                let waits = matches!(self.operations[operation].state, OperationState::Waiting(task) if task == *id);
                assert!(waits, "a task's operations wait for it");
            }
            if task.is_mergeable() {
                assert_eq!(self.by_action.get(&task.execute.action), Some(id), "equal actions are one task");
            }
        }
        assert_eq!(self.queue.len(), queued);
        assert!(self.by_action.values().all(|task| self.tasks.contains_key(task)));
        for (id, operation) in &self.operations {
            if let OperationState::Waiting(task) = &operation.state {
                assert!(self.tasks[task].operations.contains(id), "an operation's task knows it");
            }
        }
        self.workers.check();
        for (id, worker) in self.workers.iter() {
            let assigned = |task: &TaskId| matches!(self.tasks[task].state, TaskState::Assigned { .. });
            assert_eq!(worker.busy, worker.runs.values().filter(|task| assigned(task)).count());
            if let Some(session) = worker.session {
                assert_eq!(self.sessions.get(&session), Some(id));
            }
        }
        assert!(self.sessions.iter().all(|(session, worker)| self.workers[worker].session == Some(*session)));
    }

    /// Whether nothing is remembered but workers.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.by_action.is_empty() && self.operations.is_empty() && self.queue.is_forgotten()
    }

    /// Whether nothing is remembered at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_idle() && self.workers.is_empty() && self.sessions.is_empty() && self.timers.is_empty()
    }
}
