//! The tasks that a worker holds: what each is doing, and how the scheduler's wishes change them.

use crate::executor::{Executor, Stage, Task};
use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::ExecuteResponse;
use pumphouse_proto::status;
use pumphouse_proto::worker::{Assignment, Executing, Preparing, Run, Uploading, run};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a command may run where the assignment fails to say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The worker's runs by task.
#[derive(Debug)]
pub(super) struct Runs {
    executor: Arc<Executor>,
    by_task: Mutex<BTreeMap<String, Entry>>,
    changed: Notify,
    unsaid: Mutex<Unsaid>,
}

/// What the scheduler has yet to hear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Unsaid {
    #[default]
    Nothing,
    /// Something that can wait, since then.
    Small(Instant),
    /// Something that can't.
    Urgent,
}

#[derive(Debug)]
struct Entry {
    run: Run,
    cancelled: CancellationToken,
}

impl Runs {
    pub(super) fn new(executor: Arc<Executor>) -> Self {
        Self { executor, by_task: Mutex::default(), changed: Notify::new(), unsaid: Mutex::default() }
    }

    /// Starts what is new, kills or forgets what is no longer wanted.
    pub(super) fn reconcile(self: &Arc<Self>, assignments: &[Assignment]) {
        let wanted: HashSet<&str> = assignments.iter().map(|assignment| assignment.run_id.as_str()).collect();
        let mut runs = self.lock();
        let before = runs.len();
        runs.retain(|run_id, entry| {
            let stays = wanted.contains(run_id.as_str());
            if !stays {
                entry.cancelled.cancel();
            }
            stays
        });
        let mut is_changed = runs.len() != before;
        for assignment in assignments {
            if !runs.contains_key(&assignment.run_id) {
                runs.insert(assignment.run_id.clone(), self.start(assignment));
                is_changed = true;
            }
        }
        drop(runs);
        // The scheduler knows what it wanted; it need not hear at once that it is so.
        if is_changed {
            self.touch_lazily();
        }
    }

    /// The runs, as the scheduler hears of them.
    pub(super) fn state(&self) -> Vec<Run> {
        self.lock().values().map(|entry| entry.run.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits for a change that the scheduler shall hear of at once, or for one that has waited for long enough.
    pub(super) async fn changed(&self) {
        loop {
            let unsaid = *self.unsaid();
            match unsaid {
                Unsaid::Urgent => return,
                Unsaid::Small(since) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(since + super::LAZY_INTERVAL) => return,
                },
                Unsaid::Nothing => self.changed.notified().await,
            }
        }
    }

    /// Notes that the state is about to be said.
    pub(super) fn say(&self) {
        *self.unsaid() = Unsaid::Nothing;
    }

    /// Makes the state be said again at once.
    fn touch(&self) {
        *self.unsaid() = Unsaid::Urgent;
        self.changed.notify_one();
    }

    /// Makes the state be said again soon.
    fn touch_lazily(&self) {
        let mut unsaid = self.unsaid();
        if *unsaid == Unsaid::Nothing {
            *unsaid = Unsaid::Small(Instant::now());
            self.changed.notify_one();
        }
    }

    fn unsaid(&self) -> MutexGuard<'_, Unsaid> {
        self.unsaid.lock()
    }

    pub(super) fn cancel_all(&self) {
        for entry in self.lock().values() {
            entry.cancelled.cancel();
        }
    }

    fn start(self: &Arc<Self>, assignment: &Assignment) -> Entry {
        let cancelled = CancellationToken::new();
        let run = Run {
            run_id: assignment.run_id.clone(),
            instance_name: assignment.instance_name.clone(),
            action_digest: assignment.action_digest.clone(),
            do_not_cache: assignment.do_not_cache,
            digest_function: assignment.digest_function,
            state: Some(run::State::Preparing(Preparing {})),
        };
        let runs = Arc::clone(self);
        let (token, run_id) = (cancelled.clone(), run.run_id.clone());
        let assignment = assignment.clone();
        tokio::spawn(async move {
            let response = runs.execute(&assignment, &token).await;
            runs.set(&run_id, &token, run::State::Completed(response));
        });
        Entry { run, cancelled }
    }

    async fn execute(&self, assignment: &Assignment, cancelled: &CancellationToken) -> ExecuteResponse {
        let action = match action_of(assignment) {
            Ok(action) => action,
            Err(status) => {
                return ExecuteResponse { status: Some(status::to_message(&status)), ..ExecuteResponse::default() };
            }
        };
        let timeout = assignment.timeout.and_then(|timeout| Duration::try_from(timeout).ok());
        let task = Task {
            instance_name: assignment.instance_name.clone(),
            default_platform: assignment.default_platform.clone(),
            action,
            given: assignment.blobs.iter().map(|blob| (action.function().digest(blob), blob.clone())).collect(),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        };
        let progress = |stage| {
            let state = match stage {
                Stage::Preparing => return, // That is how a run begins.
                Stage::Executing => run::State::Executing(Executing {}),
                Stage::Uploading => run::State::Uploading(Uploading {}),
            };
            self.set(&assignment.run_id, cancelled, state);
        };
        self.executor.execute(&task, cancelled, progress).await
    }

    /// Notes a run's new state, unless it is no longer wanted: then its entry is gone, or another run's.
    fn set(&self, run_id: &str, cancelled: &CancellationToken, state: run::State) {
        if cancelled.is_cancelled() {
            return;
        }
        let is_completed = matches!(state, run::State::Completed(_));
        if let Some(entry) = self.lock().get_mut(run_id) {
            entry.run.state = Some(state);
        }
        if is_completed {
            self.touch();
        } else {
            self.touch_lazily();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.by_task.lock()
    }
}

/// The action that is to run, by the function that the assignment names.
fn action_of(assignment: &Assignment) -> Result<Digest, tonic::Status> {
    let value = assignment.digest_function;
    let unknown = || tonic::Status::invalid_argument(format!("digest_function: {value} is not supported"));
    let function = DigestFunction::of_field(value).ok_or_else(unknown)?;
    Ok(function.read_field(&assignment.action_digest)?)
}
