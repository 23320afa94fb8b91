//! What time does: workers are lost, tasks wait in vain, operations are forgotten.
//!
//! A timer is only a reminder to look: what it is about may have changed since it was set, so each looks again and
//! is set again where it came too early.

use super::super::ids::{OperationId, TaskId, Time, WorkerId};
use super::super::operation::OperationState;
use super::super::platform::{self, Requirements};
use super::super::task::TaskState;
use super::super::worker::Worker;
use super::{Core, Effect, Fault, failure};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// A reminder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The worker's session ended, and it may not have come back.
    Lost(WorkerId),
    /// The worker may not have spoken for too long.
    Silent(WorkerId),
    /// The worker's rest is over.
    Rested(WorkerId),
    /// The task has waited for long enough to come first.
    Aged(TaskId),
    /// The task's run took too long.
    Overdue(TaskId),
    /// Tasks with these requirements may be waiting in vain.
    Unmatched(Requirements),
    /// The operation may have no clients.
    Abandoned(OperationId),
    /// Nobody may have asked for an earlier server's run.
    Unclaimed(TaskId),
    /// The operation is completed and was kept long enough.
    Forget(OperationId),
}

/// The priority of what has waited for too long: clients' are greater.
const FIRST_PRIORITY: i32 = i32::MIN;

impl Core {
    /// When [`Core::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Time) {
        while self.timers.first().is_some_and(|(time, _)| *time <= now) {
            let Some((_, timer)) = self.timers.pop_first() else { return };
            self.expire(now, timer);
        }
    }

    fn expire(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::Lost(worker) => self.lost(now, &worker),
            Timer::Silent(worker) => self.silent(now, worker),
            Timer::Rested(id) => {
                if self.workers.change(&id, |worker| worker.health.wake(now)).is_some() {
                    self.fill_all(now);
                }
            }
            Timer::Aged(task) => self.aged(task),
            Timer::Overdue(task) => self.overdue(now, task),
            Timer::Unmatched(requirements) => self.unmatched(now, &requirements),
            Timer::Abandoned(operation) => {
                let since = self.operations.get(&operation).and_then(|operation| operation.deserted);
                if since.is_some_and(|since| since + self.limits.client_grace <= now) {
                    self.cancel(now, operation);
                }
            }
            Timer::Unclaimed(task) => {
                if self.tasks.get(&task).is_some_and(|task| task.operations.is_empty()) {
                    self.drop_task(now, task);
                }
            }
            Timer::Forget(operation) => {
                let is_completed = |state: &OperationState| matches!(state, OperationState::Completed(_));
                if self.operations.get(&operation).is_some_and(|operation| is_completed(&operation.state)) {
                    self.operations.remove(&operation);
                    self.changed_operations.remove(&operation);
                    self.effects.push(Effect::Forget(operation));
                }
            }
        }
    }

    /// Has a task that waits come before all that wait less long.
    fn aged(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.priority == FIRST_PRIORITY || !matches!(task.state, TaskState::Queued { .. }) {
            return;
        }
        let (execute, old) = (Arc::clone(&task.execute), std::mem::replace(&mut task.priority, FIRST_PRIORITY));
        self.queue.push(id, &execute, FIRST_PRIORITY);
        self.queue.remove(id, &execute, old);
    }

    /// How long a worker may be silent.
    pub(super) fn silence(&self) -> Duration {
        self.limits.heartbeat_interval * self.limits.missed_heartbeats
    }

    fn lost(&mut self, now: Time, id: &WorkerId) {
        let Some(worker) = self.workers.get(id) else { return };
        if worker.session.is_some() {
            return;
        }
        if worker.heard + self.limits.worker_grace > now {
            self.timers.insert((worker.heard + self.limits.worker_grace, Timer::Lost(id.clone())));
            return;
        }
        let name = Arc::clone(&worker.display_name);
        let tasks: Vec<TaskId> = worker.runs.values().copied().collect();
        let lost = failure(&Status::unavailable(format!("worker {name} was lost while it ran this action")));
        for task in tasks {
            if matches!(self.task(task).state, TaskState::Assigned { .. }) {
                self.run_failed(now, task, lost.clone(), Fault::Unknown);
            }
        }
        self.workers.remove(id);
        self.changed_workers.remove(id);
        if self.workers.is_empty() {
            self.deserted_since = Some(now);
        }
        self.match_platforms(now);
        self.fill_all(now);
    }

    fn silent(&mut self, now: Time, id: WorkerId) {
        let Some(Worker { session: Some(session), heard, .. }) = self.workers.get(&id) else { return };
        let (session, due) = (*session, *heard + self.silence());
        if due > now {
            self.timers.insert((due, Timer::Silent(id)));
            return;
        }
        self.effects.push(Effect::EndSession(session, "the worker was silent for too long"));
        self.session_ended(now, session);
    }

    fn overdue(&mut self, now: Time, id: TaskId) {
        let Some(TaskState::Assigned { worker, .. }) = self.tasks.get(&id).map(|task| &task.state) else { return };
        let name = self.workers.get(worker).map_or("", |worker| &*worker.display_name);
        let slack = self.limits.overdue_slack;
        let message = format!("worker {name} did not end this action within its timeout and {slack:?}");
        self.run_failed(now, id, failure(&Status::unavailable(message)), Fault::Unknown);
    }

    /// A task begins to wait: sees to it that it doesn't do so in vain for ever.
    pub(super) fn expect_match(&mut self, now: Time, requirements: &Requirements) {
        if self.workers.is_empty() {
            self.deserted_since.get_or_insert(now);
        }
        if self.queue.unmatched_since(requirements).is_none() && !self.has_match(requirements) {
            self.queue.set_unmatched_since(requirements, Some(now));
            let due = self.unmatched_due(now, now);
            self.timers.insert((due, Timer::Unmatched(requirements.clone())));
        }
    }

    /// Workers have come, gone or changed: looks which waiting tasks have a worker now.
    pub(super) fn match_platforms(&mut self, now: Time) {
        let platforms: Vec<Requirements> = self.queue.platforms().cloned().collect();
        for requirements in platforms {
            if self.has_match(&requirements) {
                self.queue.set_unmatched_since(&requirements, None);
                continue;
            }
            let since = self.queue.unmatched_since(&requirements).unwrap_or(now);
            self.queue.set_unmatched_since(&requirements, Some(since));
            self.timers.insert((now + self.match_wait(), Timer::Unmatched(requirements)));
        }
    }

    /// Until when a task waits that has waited since `since` for a platform that has been missing since `unmatched_since`.
    ///
    /// Without any worker the wait counts from when the last one was lost: tasks that come later don't wait once more.
    fn unmatched_due(&self, since: Time, unmatched_since: Time) -> Time {
        match self.deserted_since {
            Some(deserted_since) if self.workers.is_empty() => since.max(deserted_since + self.limits.no_worker_wait),
            _ => since.max(unmatched_since) + self.match_wait(),
        }
    }

    fn has_match(&self, requirements: &Requirements) -> bool {
        self.workers.has_match(requirements)
    }

    fn match_wait(&self) -> Duration {
        if self.workers.is_empty() { self.limits.no_worker_wait } else { self.limits.platform_wait }
    }

    /// Fails the tasks that have waited long enough for a platform that no worker has.
    fn unmatched(&mut self, now: Time, requirements: &Requirements) {
        let Some(unmatched_since) = self.queue.unmatched_since(requirements) else { return };
        let response = Arc::new(failure(&self.no_match(requirements)));
        let mut next_due: Option<Time> = None;
        for id in self.queue.tasks_of(requirements) {
            let task = self.task(id);
            let TaskState::Queued { since } = task.state else { continue };
            let due = self.unmatched_due(since, unmatched_since);
            if due > now {
                next_due = Some(next_due.map_or(due, |other| other.min(due)));
                continue;
            }
            self.leave_queue(id);
            self.finish(now, id, &response);
        }
        if let Some(due) = next_due {
            self.timers.insert((due, Timer::Unmatched(requirements.clone())));
        }
    }

    fn no_match(&self, requirements: &Requirements) -> Status {
        if self.workers.is_empty() {
            let wait = self.limits.no_worker_wait;
            return Status::unavailable(format!("no worker has been connected for {wait:?}"));
        }
        let workers = self.workers.iter().map(|(_, worker)| (&*worker.display_name, &worker.offer));
        Status::failed_precondition(platform::explain(requirements, workers))
    }
}
