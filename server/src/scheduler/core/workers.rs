//! What workers do: come, tell what they hold, go.
//!
//! A worker says its whole state, so messages that are repeated or late do no harm: what it reports is compared with
//! what it shall hold. A run that it shall not hold is used where that saves work (its result, or its being under way,
//! for a task that has none), adopted where an earlier scheduler began it, and otherwise dropped.

use super::super::ids::{BuildId, RunId, SessionId, TaskId, Time, WorkerId};
use super::super::platform::Requirements;
use super::super::task::{ExecuteTask, TaskState};
use super::super::worker::{ReportedRun, Worker, WorkerState};
use super::expiry::Timer;
use super::{Core, Effect, is_cacheable};
use std::time::SystemTime;

impl Core {
    /// A worker spoke on a session, perhaps for the first time.
    pub(crate) fn worker_spoke(&mut self, now: Time, session: SessionId, state: WorkerState) {
        let is_known = match self.sessions.get(&session) {
            Some(id) if *id == state.id => true,
            Some(_) => {
                self.effects.push(Effect::EndSession(session, "a session's worker_id can't change"));
                return self.session_ended(now, session);
            }
            None => false,
        };
        let WorkerState { id, display_name, offer, slots, runs, is_draining } = state;
        if !is_known {
            self.begin_session(now, session, &id);
        }
        let has_changed = self.workers.change(&id, |worker| {
            let has_changed = (&worker.offer, worker.is_draining, worker.slots) != (&offer, is_draining, slots);
            worker.offer = offer;
            worker.display_name = display_name;
            worker.slots = slots;
            worker.is_draining = is_draining;
            worker.heard = now;
            has_changed
        });
        let has_changed = has_changed.expect("a session's worker is known");
        for run in runs {
            if let Some(stray) = self.run_reported(now, &id, run).filter(|_| !is_known) {
                self.use_stray(now, &id, stray);
            }
        }
        self.fill(now, &id);
        if !is_known || has_changed {
            self.match_platforms(now);
            self.fill_all(now);
        }
    }

    /// A session's stream ended: the worker may come back.
    pub(crate) fn session_ended(&mut self, now: Time, session: SessionId) {
        let Some(id) = self.sessions.remove(&session) else { return };
        let left = self.workers.change(&id, |worker| {
            worker.session = None;
            worker.heard = now;
        });
        left.expect("a session's worker is known");
        self.timers.insert((now + self.limits.worker_grace, Timer::Lost(id)));
        self.fill_all(now);
    }

    fn begin_session(&mut self, now: Time, session: SessionId, id: &WorkerId) {
        self.sessions.insert(session, id.clone());
        self.deserted_since = None;
        self.workers.add(id, || Worker {
            display_name: id.0.clone(),
            offer: super::super::platform::Offer::default(),
            slots: 0,
            is_draining: false,
            session: None,
            heard: now,
            runs: std::collections::BTreeMap::new(),
            busy: 0,
            health: super::super::health::Health::default(),
        });
        if let Some(old) = self.workers.change(id, |worker| worker.session.replace(session)).flatten() {
            self.sessions.remove(&old);
            self.effects.push(Effect::EndSession(old, "the worker began another session"));
        }
        self.changed_workers.insert(id.clone());
        self.timers.insert((now + self.silence(), Timer::Silent(id.clone())));
    }

    /// Notes how a run is that the worker shall hold; gives one that it shall not hold.
    fn run_reported(&mut self, now: Time, worker: &WorkerId, reported: ReportedRun) -> Option<ReportedRun> {
        let run = self.workers.get(worker).and_then(|state| state.runs.get(&reported.run));
        let Some(task) = run.copied() else {
            self.changed_workers.insert(worker.clone());
            return Some(reported);
        };
        if let Some(response) = reported.completed {
            self.run_completed(now, task, response);
        }
        None
    }

    /// Makes use of a run that a worker brings along as it comes (back). Only then: later on it has been told already
    /// to drop the run, and would begin it anew.
    fn use_stray(&mut self, now: Time, worker: &WorkerId, reported: ReportedRun) {
        if reported.do_not_cache || !reported.is_vouched_for {
            return;
        }
        match self.by_action.get(&reported.action).copied() {
            Some(task) => self.offer_run(now, worker, task, reported),
            None => self.adopt(now, worker, reported),
        }
    }

    /// A worker has a run that it shall not hold, but whose action is a task's: one that an earlier scheduler began, or
    /// one that was given up for lost.
    fn offer_run(&mut self, now: Time, worker: &WorkerId, id: TaskId, reported: ReportedRun) {
        let task = self.task(id);
        let is_stale = self.is_own(&reported.run) && !task.lost_runs.contains(&reported.run);
        let is_queued = matches!(task.state, TaskState::Queued { .. });
        if is_stale || matches!(task.state, TaskState::Storing { .. }) {
            return;
        }
        match reported.completed {
            None if is_queued && self.has_room(worker) => self.begin_run(now, id, worker, reported.run),
            Some(response) if is_cacheable(&response) => {
                if is_queued {
                    self.begin_run(now, id, worker, reported.run);
                    return self.run_completed(now, id, response);
                }
                let former = self.detach(id);
                self.hold_run(now, id, worker, reported.run);
                self.run_completed(now, id, response);
                if let Some((former, _)) = former {
                    self.fill(now, &former);
                }
            }
            _ => {}
        }
    }

    /// Whether a run that the worker has under way takes a slot that is nobody else's.
    fn has_room(&self, worker: &WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|state| state.busy < state.slots)
    }

    /// Whether this scheduler gave the run its name.
    fn is_own(&self, run: &RunId) -> bool {
        run.0.strip_prefix(self.incarnation.as_str()).is_some_and(|rest| rest.starts_with('-'))
    }

    /// A worker has a run whose action nobody asked this scheduler for.
    fn adopt(&mut self, now: Time, worker: &WorkerId, reported: ReportedRun) {
        let is_useless = reported.completed.as_ref().is_some_and(|response| !is_cacheable(response));
        if is_useless || self.is_own(&reported.run) || (reported.completed.is_none() && !self.has_room(worker)) {
            return;
        }
        let execute = ExecuteTask {
            action: reported.action,
            do_not_cache: false,
            requirements: Requirements::default(),
            priority: 0,
            build: BuildId::default(),
            timeout: self.limits.adopted_timeout,
            queued_at: SystemTime::UNIX_EPOCH,
        };
        let task = self.insert_task(execute, TaskState::Queued { since: now });
        self.task_mut(task).is_adopted = true;
        self.hold_run(now, task, worker, reported.run);
        match reported.completed {
            Some(response) => self.run_completed(now, task, response),
            None => drop(self.timers.insert((now + self.limits.adoption_grace, Timer::Unclaimed(task)))),
        }
    }

    /// Gives waiting tasks to all workers: after one changed, what others have to leave to it may have changed too.
    pub(super) fn fill_all(&mut self, now: Time) {
        if self.queue.is_empty() {
            return;
        }
        let workers: Vec<WorkerId> = self.workers.free().cloned().collect();
        for worker in workers {
            self.fill(now, &worker);
        }
    }
}
