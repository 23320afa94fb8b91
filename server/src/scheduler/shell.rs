//! The scheduler with a clock, a lock and channels: what the services talk to.
//!
//! Every call takes the lock for as long as the core needs, which does no I/O; results are written to the action
//! cache by tasks of their own. Dropping a watch or a session is how the core learns that a client or a worker left.

use super::Limits;
use super::core::{Core, Refused, Statistics};
use super::effect::{Assignment, Effect};
use super::ids::{ActionKey, OperationId, SessionId, Time};
use super::operation::OperationView;
use super::task::ExecuteTask;
use super::worker::WorkerState;
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::reapi::ExecuteResponse;
use pumphouse_proto::status;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tonic::Status;

/// Where the results of actions go. The scheduler never asks for one, and no execution fails for want of room: so it is no store.
#[async_trait]
pub(crate) trait ResultSink: Send + Sync + 'static {
    /// Writes a result that may answer later executions. What goes wrong is logged: the execution succeeded all the
    /// same.
    async fn store(&self, action: &ActionKey, response: &ExecuteResponse);
}

/// Executes actions on workers. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The core's next deadline is nearer than it was.
    nearer: Arc<Notify>,
    /// Something happened while draining.
    progressed: Notify,
    started: Instant,
    limits: Limits,
    results: Arc<dyn ResultSink>,
}

struct State {
    core: Core,
    operations: HashMap<OperationId, watch::Sender<OperationView>>,
    sessions: HashMap<SessionId, watch::Sender<Desired>>,
    next_session: u64,
    is_draining: bool,
}

/// What a worker's session shall say.
#[derive(Debug, Clone, Default)]
pub(crate) enum Desired {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The worker shall hold exactly these.
    Runs(Vec<Assignment>),
    /// The session is over.
    Ended(&'static str),
}

/// A client's view of an operation; dropping it tells the scheduler that the client left.
pub struct OperationWatch {
    /// The operation.
    pub id: OperationId,
    /// Its present state, and every later one.
    pub view: watch::Receiver<OperationView>,
    shared: Arc<Shared>,
}

impl Drop for OperationWatch {
    fn drop(&mut self) {
        self.shared.call(|core, now| core.client_left(now, self.id));
    }
}

/// A worker's stream; dropping it tells the scheduler that the stream ended.
pub struct WorkerSession {
    id: SessionId,
    pub(crate) desired: watch::Receiver<Desired>,
    shared: Arc<Shared>,
}

impl WorkerSession {
    /// The worker spoke. What comes on a session that was ended counts no more.
    pub(crate) fn spoke(&self, spoken: WorkerState) {
        let mut state = self.shared.lock();
        if state.sessions.contains_key(&self.id) {
            self.shared.call_locked(&mut state, |core, now| core.worker_spoke(now, self.id, spoken));
        }
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.sessions.remove(&self.id);
        self.shared.call_locked(&mut state, |core, now| core.session_ended(now, self.id));
    }
}

impl Scheduler {
    /// Starts a scheduler without workers, and the task that wakes it. Must be called within a runtime.
    pub(crate) fn start(limits: Limits, results: Arc<dyn ResultSink>) -> Self {
        let state = State {
            core: Core::new(limits.clone(), random_name()),
            operations: HashMap::new(),
            sessions: HashMap::new(),
            next_session: 0,
            is_draining: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            nearer: Arc::new(Notify::new()),
            progressed: Notify::new(),
            started: Instant::now(),
            limits,
            results,
        });
        tokio::spawn(wake(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// The limits that it was started with.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Counts of everything.
    pub fn statistics(&self) -> Statistics {
        self.shared.lock().core.statistics()
    }

    /// Begins to execute an action.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with a hint to retry where there is too much to do; `UNAVAILABLE` while draining.
    pub fn execute(&self, task: ExecuteTask) -> Result<OperationWatch, Status> {
        let id = OperationId(random_number());
        let mut state = self.shared.lock();
        if state.is_draining {
            return Err(Status::unavailable("the server is shutting down"));
        }
        let view = state.watch(id);
        let executed = self.shared.call_locked(&mut state, |core, now| core.execute(now, id, task));
        if let Err(refused) = executed {
            state.operations.remove(&id);
            let message = match refused {
                Refused::QueueFull(tasks) => format!("{tasks} actions wait for workers already"),
                Refused::OperationsFull(operations) => format!("{operations} operations are known already"),
            };
            return Err(status::overloaded(message, self.shared.limits.retry_after));
        }
        Ok(OperationWatch { id, view, shared: Arc::clone(&self.shared) })
    }

    /// Waits for an operation, or, where only its action is known, for that action under the operation's name.
    pub fn wait(&self, id: OperationId, action: &ActionKey) -> Option<OperationWatch> {
        let mut state = self.shared.lock();
        if state.core.action_of(id).is_some_and(|known| known != action) {
            return None;
        }
        let view = if self.shared.call_locked(&mut state, |core, _| core.client_joined(id)) {
            state.operations.get(&id)?.subscribe()
        } else {
            let view = state.watch(id);
            if !self.shared.call_locked(&mut state, |core, _| core.join(id, action)) {
                state.operations.remove(&id);
                return None;
            }
            view
        };
        Some(OperationWatch { id, view, shared: Arc::clone(&self.shared) })
    }

    /// The present state of an operation.
    pub fn view(&self, id: OperationId) -> Option<(ActionKey, OperationView)> {
        let state = self.shared.lock();
        Some((state.core.action_of(id)?.clone(), state.core.view(id)?))
    }

    /// Cancels an operation; `false` where it is not known.
    pub fn cancel(&self, id: OperationId) -> bool {
        self.shared.call(|core, now| core.cancel(now, id))
    }

    /// Forgets a completed operation; `None` where it is not known, `false` where it isn't completed.
    pub fn delete(&self, id: OperationId) -> Option<bool> {
        self.shared.call(|core, _| core.delete(id))
    }

    /// Up to `limit` operations of an instance behind `after`.
    pub fn list(&self, instance_name: &str, after: Option<OperationId>, limit: usize) -> Vec<(OperationId, ActionKey)> {
        self.shared.lock().core.list(instance_name, after, limit)
    }

    /// Begins a worker's session.
    pub fn open_session(&self) -> WorkerSession {
        let mut state = self.shared.lock();
        let id = SessionId(state.next_session);
        state.next_session += 1;
        let (sender, desired) = watch::channel(Desired::Unknown);
        state.sessions.insert(id, sender);
        WorkerSession { id, desired, shared: Arc::clone(&self.shared) }
    }

    /// Takes no more executions, and gives no more tasks to workers.
    pub fn start_draining(&self) {
        let mut state = self.shared.lock();
        state.is_draining = true;
        state.core.drain();
    }

    /// Waits until nothing is running.
    pub async fn drained(&self) {
        loop {
            let progressed = self.shared.progressed.notified();
            if self.statistics().running_tasks == 0 {
                return;
            }
            progressed.await;
        }
    }
}

impl State {
    fn watch(&mut self, id: OperationId) -> watch::Receiver<OperationView> {
        let (sender, receiver) = watch::channel(OperationView::QUEUED);
        self.operations.insert(id, sender);
        receiver
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed())
    }

    fn call<T>(self: &Arc<Self>, call: impl FnOnce(&mut Core, Time) -> T) -> T {
        let mut state = self.lock();
        self.call_locked(&mut state, call)
    }

    /// Calls the core and carries out what comes of it.
    fn call_locked<T>(self: &Arc<Self>, state: &mut State, call: impl FnOnce(&mut Core, Time) -> T) -> T {
        let before = state.core.next_deadline();
        let value = call(&mut state.core, self.now());
        for effect in state.core.take_effects() {
            self.carry_out(state, effect);
        }
        let after = state.core.next_deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.nearer.notify_one();
        }
        if state.is_draining {
            self.progressed.notify_waiters();
        }
        value
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, effect: Effect) {
        match effect {
            Effect::Publish { operation, view } => {
                if let Some(sender) = state.operations.get(&operation) {
                    sender.send_replace(view);
                }
            }
            Effect::Forget(operation) => drop(state.operations.remove(&operation)),
            Effect::Desire { session, assignments } => {
                if let Some(sender) = state.sessions.get(&session) {
                    sender.send_replace(Desired::Runs(assignments));
                }
            }
            Effect::EndSession(session, reason) => {
                if let Some(sender) = state.sessions.remove(&session) {
                    sender.send_replace(Desired::Ended(reason));
                }
            }
            Effect::Store { task, action, response } => {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    shared.results.store(&action, &response).await;
                    shared.call(|core, now| core.stored(now, task));
                });
            }
        }
    }
}

/// Wakes the core whenever something is due, until the scheduler is gone.
async fn wake(shared: Weak<Shared>) {
    /// How long to sleep where nothing is due: so that this ends soon after the scheduler.
    const IDLE: Duration = Duration::from_secs(1);
    loop {
        let Some(strong) = shared.upgrade() else { return };
        strong.call(Core::tick);
        let due = strong.lock().core.next_deadline();
        let rest = due.map_or(IDLE, |due| due.0.saturating_sub(strong.now().0).min(IDLE));
        let nearer = Arc::clone(&strong.nearer);
        drop(strong);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = nearer.notified() => {}
        }
    }
}

/// A name that no other scheduler has.
fn random_name() -> String {
    format!("{:032x}", random_number())
}

fn random_number() -> u128 {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    filled.expect("the kernel gives random numbers");
    u128::from_le_bytes(bytes)
}
