//! The scheduler as a state machine: calls with the present time in, effects out. No clock, no I/O, no randomness.
//!
//! What clients do is in [`clients`], what workers do in [`workers`], what time does in [`expiry`]; this file holds
//! the state and what these share: assigning, completing and dropping tasks.
//!
//! Invariants, checked after every step of the simulation: a task is queued, or exactly one worker's; no task waits
//! while a worker that may take it has a free slot; each operation either waits for a live task or is completed; what
//! nobody waits for ends, and leaves nothing behind.

#[cfg(test)]
mod check;
mod clients;
mod expiry;
mod workers;

use super::Limits;
use super::effect::{Assignment, Effect};
use super::ids::{ActionKey, OperationId, RunId, SessionId, TaskId, Time, WorkerId};
use super::operation::{Operation, OperationState, OperationView, Stage};
use super::queue::Queue;
use super::roster::Roster;
use super::task::{ExecuteTask, Task, TaskState};
pub(crate) use clients::Refused;
use expiry::Timer;
use pumphouse_proto::reapi::ExecuteResponse;
use pumphouse_proto::status;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tonic::{Code, Status};

/// All that the scheduler knows.
#[derive(Debug)]
pub(crate) struct Core {
    limits: Limits,
    /// Tells this scheduler's runs from those of earlier ones.
    incarnation: String,
    tasks: BTreeMap<TaskId, Task>,
    /// The task that a further execution of an action joins. Never iterated.
    by_action: HashMap<ActionKey, TaskId>,
    operations: BTreeMap<OperationId, Operation>,
    workers: Roster,
    /// Since when a task could have noticed that there is no worker; none while there are some.
    deserted_since: Option<Time>,
    sessions: BTreeMap<SessionId, WorkerId>,
    queue: Queue,
    timers: BTreeSet<(Time, Timer)>,
    next_task: u64,
    next_run: u64,
    /// Nothing is given to workers any more.
    is_draining: bool,
    effects: Vec<Effect>,
    /// The workers that must be told anew what to hold.
    changed_workers: BTreeSet<WorkerId>,
    /// The operations whose clients must be told anew.
    changed_operations: BTreeSet<OperationId>,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Tasks that wait for a worker.
    pub queued_tasks: usize,
    /// Tasks that workers have.
    pub running_tasks: usize,
    /// Operations, running or completed.
    pub operations: usize,
    /// Workers that are connected.
    pub workers: usize,
    /// The slots of connected workers.
    pub slots: usize,
}

impl Core {
    /// A scheduler that knows of nothing. `incarnation` is unlike that of any other scheduler, ever.
    pub(crate) fn new(limits: Limits, incarnation: String) -> Self {
        Self {
            limits,
            incarnation,
            tasks: BTreeMap::new(),
            by_action: HashMap::new(),
            operations: BTreeMap::new(),
            workers: Roster::default(),
            deserted_since: None,
            sessions: BTreeMap::new(),
            queue: Queue::default(),
            timers: BTreeSet::new(),
            next_task: 0,
            next_run: 0,
            is_draining: false,
            effects: Vec::new(),
            changed_workers: BTreeSet::new(),
            changed_operations: BTreeSet::new(),
        }
    }

    /// What has to be done since the last call, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        for id in std::mem::take(&mut self.changed_operations) {
            if let Some(view) = self.view(id) {
                self.effects.push(Effect::Publish { operation: id, view });
            }
        }
        for id in std::mem::take(&mut self.changed_workers) {
            let Some(worker) = self.workers.get(&id) else { continue };
            let Some(session) = worker.session else { continue };
            let assignments = worker.runs.iter().map(|(run, task)| self.assignment(run, *task)).collect();
            self.effects.push(Effect::Desire { session, assignments });
        }
        std::mem::take(&mut self.effects)
    }

    /// Gives no more tasks to workers: those that they have may end.
    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Counts.
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            queued_tasks: self.queue.len(),
            running_tasks: self.tasks.len() - self.queue.len(),
            operations: self.operations.len(),
            workers: self.workers.connected(),
            slots: self.workers.slots(),
        }
    }

    fn assignment(&self, run: &RunId, task: TaskId) -> Assignment {
        let execute = &self.task(task).execute;
        Assignment {
            run: run.clone(),
            action: execute.action.clone(),
            timeout: execute.timeout,
            do_not_cache: execute.do_not_cache,
        }
    }

    /// The present state of an operation, if it is known.
    pub(crate) fn view(&self, id: OperationId) -> Option<OperationView> {
        let task = match &self.operations.get(&id)?.state {
            OperationState::Completed(response) => {
                return Some(OperationView {
                    stage: Stage::Completed,
                    worker: None,
                    response: Some(Arc::clone(response)),
                });
            }
            OperationState::Waiting(task) => self.task(*task),
        };
        let (stage, worker) = match &task.state {
            TaskState::Queued { .. } => (Stage::Queued, None),
            TaskState::Assigned { worker, .. } | TaskState::Storing { worker, .. } => (Stage::Executing, Some(worker)),
        };
        let name = worker.and_then(|id| self.workers.get(id)).map(|worker| Arc::clone(&worker.display_name));
        Some(OperationView { stage, worker: name, response: None })
    }

    fn task(&self, id: TaskId) -> &Task {
        self.tasks.get(&id).expect("an operation's or a run's task is known")
    }

    fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.tasks.get_mut(&id).expect("an operation's or a run's task is known")
    }

    fn operations_of_task_changed(&mut self, id: TaskId) {
        let operations = self.task(id).operations.clone();
        self.changed_operations.extend(operations);
    }

    /// Makes a task that is nowhere yet.
    fn insert_task(&mut self, execute: ExecuteTask, state: TaskState) -> TaskId {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        let task = Task {
            priority: execute.priority,
            execute: Arc::new(execute),
            operations: BTreeSet::new(),
            state,
            failed_runs: 0,
            excused_runs: 0,
            lost_runs: BTreeSet::new(),
            avoided: BTreeSet::new(),
            is_adopted: false,
        };
        if task.is_mergeable() {
            self.by_action.insert(task.execute.action.clone(), id);
        }
        self.tasks.insert(id, task);
        id
    }

    // Queued => (Assigned | Queued)

    /// Gives a task to a worker, or has it wait for one.
    fn enqueue(&mut self, now: Time, id: TaskId) {
        let task = self.task_mut(id);
        task.state = TaskState::Queued { since: now };
        let (execute, priority) = (Arc::clone(&task.execute), task.priority);
        self.queue.push(id, &execute, priority);
        self.timers.insert((now + self.limits.aging, Timer::Aged(id)));
        if let Some(worker) = self.best_worker(id) {
            self.assign(now, id, &worker);
        } else {
            self.expect_match(now, &execute.requirements);
        }
        self.operations_of_task_changed(id);
    }

    /// The worker with a free slot that shall take the task: the one that is used least.
    fn best_worker(&self, id: TaskId) -> Option<WorkerId> {
        if self.is_draining {
            return None;
        }
        let task = self.task(id);
        let nobody = BTreeSet::new();
        let avoided = if self.has_untried(id) { &task.avoided } else { &nobody };
        self.workers.least_used(&task.execute.requirements, avoided)
    }

    /// Whether the worker isn't to be avoided for the task, or there is no other.
    fn may_take(&self, worker: &WorkerId, id: TaskId) -> bool {
        !self.task(id).avoided.contains(worker) || !self.has_untried(id)
    }

    /// Whether a worker is connected that could run the task and has not failed to.
    fn has_untried(&self, id: TaskId) -> bool {
        let task = self.task(id);
        self.workers.has_other_than(&task.avoided, &task.execute.requirements)
    }

    /// Gives waiting tasks to a worker for as long as it has free slots.
    fn fill(&mut self, now: Time, id: &WorkerId) {
        while let Some(worker) = self.workers.get(id).filter(|worker| worker.free_slots() > 0 && !self.is_draining) {
            if worker.health.rests() && !self.workers.all_rest() {
                return;
            }
            let satisfies = |requirements: &_| worker.offer.satisfies(requirements);
            let Some(task) = self.queue.next(satisfies, |task| self.may_take(id, task)) else { return };
            self.assign(now, task, id);
        }
    }

    // Queued => Assigned

    /// Begins a new run of a queued task on a worker.
    fn assign(&mut self, now: Time, id: TaskId, worker: &WorkerId) {
        let run = RunId(format!("{}-{}", self.incarnation, self.next_run).into());
        self.next_run += 1;
        self.begin_run(now, id, worker, run);
    }

    /// Has a queued task be run by a worker under that name.
    fn begin_run(&mut self, now: Time, id: TaskId, worker: &WorkerId, run: RunId) {
        self.leave_queue(id);
        self.hold_run(now, id, worker, run);
        self.operations_of_task_changed(id);
    }

    /// Takes a queued task out of the queue.
    fn leave_queue(&mut self, id: TaskId) {
        let task = self.task(id);
        if let TaskState::Queued { since } = task.state {
            let (execute, priority) = (Arc::clone(&task.execute), task.priority);
            self.timers.remove(&(since + self.limits.aging, Timer::Aged(id)));
            self.queue.remove(id, &execute, priority);
        }
    }

    /// Makes a run of a task that isn't queued a worker's.
    fn hold_run(&mut self, now: Time, id: TaskId, worker: &WorkerId, run: RunId) {
        let timeout = self.task(id).execute.timeout;
        let overdue = now + timeout + self.limits.overdue_slack;
        self.timers.insert((overdue, Timer::Overdue(id)));
        self.task_mut(id).state = TaskState::Assigned { worker: worker.clone(), run: run.clone(), overdue };
        let build = self.task(id).execute.build.clone();
        self.queue.begin(&build);
        let held = self.workers.change(worker, |state| {
            state.runs.insert(run, id);
            state.busy += 1;
        });
        held.expect("tasks are given to known workers");
        self.changed_workers.insert(worker.clone());
    }

    // Assigned => (Queued | gone)

    /// Takes a task from its worker because the run was lost, or failed for a reason that isn't the action's.
    fn run_failed(&mut self, now: Time, id: TaskId, mut response: ExecuteResponse, fault: Fault) {
        let Some((worker, run)) = self.detach(id) else { return };
        let attempts = self.limits.attempts;
        let task = self.task_mut(id);
        match fault {
            Fault::Worker if task.excused_runs < EXCUSED_RUNS => task.excused_runs += 1,
            Fault::Worker | Fault::Unknown => task.failed_runs += 1,
        }
        task.avoided.insert(worker.clone());
        task.lost_runs.insert(run);
        if task.is_adopted || task.failed_runs >= attempts {
            let failed_runs = task.failed_runs;
            if let Some(status) = response.status.as_mut().filter(|_| failed_runs > 1) {
                status.message =
                    format!("given up after {failed_runs} attempts, the last of which: {}", status.message);
            }
            self.finish(now, id, &Arc::new(response));
        } else {
            self.enqueue(now, id);
        }
        self.fill(now, &worker);
    }

    /// Takes a task from its worker: the run is not wanted any more.
    fn detach(&mut self, id: TaskId) -> Option<(WorkerId, RunId)> {
        self.free_slot(id);
        let (worker, run) = match &self.task(id).state {
            TaskState::Queued { .. } => return None,
            TaskState::Assigned { worker, run, .. } | TaskState::Storing { worker, run, .. } => {
                (worker.clone(), run.clone())
            }
        };
        if self.workers.change(&worker, |state| state.runs.remove(&run)).is_some() {
            self.changed_workers.insert(worker.clone());
        }
        Some((worker, run))
    }

    /// The run of an assigned task takes no slot any more; for other tasks, nothing.
    fn free_slot(&mut self, id: TaskId) {
        let task = self.task(id);
        let TaskState::Assigned { worker, overdue, .. } = &task.state else { return };
        let (worker, overdue, build) = (worker.clone(), *overdue, task.execute.build.clone());
        self.timers.remove(&(overdue, Timer::Overdue(id)));
        self.queue.end(&build);
        self.workers.change(&worker, |state| state.busy -= 1);
    }

    /// A run failed on a worker that is there, for a reason that isn't the action's.
    fn worker_failed(&mut self, now: Time, id: TaskId, worker: &WorkerId, response: ExecuteResponse) {
        let failed = self.workers.change(worker, |state| (state.health.is_proven(), state.health.failed(now)));
        let (is_proven, rest) = failed.unwrap_or((true, None));
        if let Some(until) = rest {
            self.timers.insert((until, Timer::Rested(worker.clone())));
        }
        self.task_mut(id).avoided.insert(worker.clone());
        let fault = if is_proven || !self.has_untried(id) { Fault::Unknown } else { Fault::Worker };
        self.run_failed(now, id, response, fault);
        // Where all rest now, none does.
        self.fill_all(now);
    }

    // Assigned => (Storing | Queued | gone)

    /// A run ended.
    fn run_completed(&mut self, now: Time, id: TaskId, mut response: Arc<ExecuteResponse>) {
        let TaskState::Assigned { worker, run, .. } = &self.task(id).state else { return };
        let (worker, run) = (worker.clone(), run.clone());
        if is_worker_failure(&response) {
            return self.worker_failed(now, id, &worker, Arc::unwrap_or_clone(response));
        }
        self.workers.change(&worker, |state| state.health.succeeded());
        let execute = Arc::clone(&self.task(id).execute);
        annotate(Arc::make_mut(&mut response), &execute);
        if !is_cacheable(&response) || execute.do_not_cache {
            self.detach(id);
            self.finish(now, id, &response);
            return self.fill(now, &worker);
        }
        self.free_slot(id);
        let action = execute.action.clone();
        self.effects.push(Effect::Store { task: id, action, response: Arc::clone(&response) });
        self.task_mut(id).state = TaskState::Storing { worker: worker.clone(), run, response };
        self.fill(now, &worker);
    }

    // Storing => gone

    /// The action cache has the result, or can't have it.
    pub(crate) fn stored(&mut self, now: Time, id: TaskId) {
        let Some(Task { state: TaskState::Storing { response, .. }, .. }) = self.tasks.get(&id) else { return };
        let response = Arc::clone(response);
        self.detach(id);
        self.finish(now, id, &response);
    }

    /// Completes all operations of a task that no worker has, and forgets it.
    fn finish(&mut self, now: Time, id: TaskId, response: &Arc<ExecuteResponse>) {
        let operations = self.remove_task(id);
        for operation in operations {
            self.complete_operation(now, operation, Arc::clone(response));
        }
    }

    /// Forgets a task that is neither queued nor a worker's; gives the operations that waited for it.
    fn remove_task(&mut self, id: TaskId) -> BTreeSet<OperationId> {
        let task = self.tasks.remove(&id).expect("only known tasks end");
        if self.by_action.get(&task.execute.action) == Some(&id) {
            self.by_action.remove(&task.execute.action);
        }
        task.operations
    }

    fn complete_operation(&mut self, now: Time, id: OperationId, response: Arc<ExecuteResponse>) {
        let operation = self.operations.get_mut(&id).expect("a task's operations are known");
        operation.state = OperationState::Completed(response);
        self.changed_operations.insert(id);
        self.timers.insert((now + self.limits.operation_retention, Timer::Forget(id)));
    }

    /// Drops a task that nobody wants any more.
    fn drop_task(&mut self, now: Time, id: TaskId) {
        let task = self.task(id);
        if matches!(task.state, TaskState::Storing { .. }) {
            return;
        }
        if let Some((worker, _)) = self.detach(id) {
            self.remove_task(id);
            self.fill(now, &worker);
        } else {
            self.leave_queue(id);
            self.remove_task(id);
        }
    }
}

/// Whose fault it was that a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The worker's, which has not shown that it can do better.
    Worker,
    /// Perhaps the action's.
    Unknown,
}

/// How many runs of a task may fail by the fault of their workers.
const EXCUSED_RUNS: u32 = 16;

/// An end without a result.
pub(super) fn failure(status: &Status) -> ExecuteResponse {
    ExecuteResponse { status: Some(status::to_message(status)), ..ExecuteResponse::default() }
}

fn code_of(response: &ExecuteResponse) -> Code {
    response.status.as_ref().map_or(Code::Ok, |status| Code::from(status.code))
}

/// Adds what only the scheduler knows to a result's metadata.
fn annotate(response: &mut ExecuteResponse, execute: &ExecuteTask) {
    if let Some(result) = &mut response.result {
        let metadata = result.execution_metadata.get_or_insert_default();
        metadata.queued_timestamp.get_or_insert(execute.queued_at.into());
    }
}

/// Whether it says that the worker, not the action, is at fault, so that another worker may do better.
fn is_worker_failure(response: &ExecuteResponse) -> bool {
    matches!(
        code_of(response),
        Code::Unavailable | Code::Internal | Code::Unknown | Code::Aborted | Code::Cancelled | Code::ResourceExhausted
    )
}

/// Whether the result may answer later executions.
fn is_cacheable(response: &ExecuteResponse) -> bool {
    code_of(response) == Code::Ok && response.result.as_ref().is_some_and(|result| result.exit_code == 0)
}
