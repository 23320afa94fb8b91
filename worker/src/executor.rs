//! An action from its digest to its result: [`Executor::execute`] is the table of contents.
//!
//! When it returns a result, every blob that the result names is in the CAS.
//!
//! **Source:** Remote Execution API v2, messages `ExecuteResponse`, `ActionResult`, `ExecutedActionMetadata`.

use crate::action::{Action, Defaults};
use crate::blob_cache::BlobCache;
use crate::blob_source::{BlobSource, Storage};
use crate::directories::DirectoryCache;
use crate::error::ExecutionError;
use crate::memory_pressure::MemoryPressure;
use crate::outputs::Outputs;
use crate::replica::Difference;
use crate::sandbox::{Finished, Outcome};
use crate::slots::{Lease, Slots};
use anyhow::Context as _;
use bytes::Bytes;
use prost_types::Timestamp;
use pumphouse_proto::cas_client::Upload;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, ExecutedActionMetadata, Platform};
use pumphouse_proto::status;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Outputs up to this size in all are uploaded without asking whether they are there: they are almost always new, and
/// the question costs a round trip.
const UNASKED_SIZE_BYTES: u64 = 1024 * 1024;

/// A killed process's exit code is this plus the signal's number, as shells say it.
const SIGNAL_EXIT_CODE: i32 = 128;

/// Where an action is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its inputs are being fetched and laid out.
    Preparing,
    /// Its command runs.
    Executing,
    /// Its outputs are being uploaded.
    Uploading,
}

/// What is to be executed.
#[derive(Debug, Clone)]
pub struct Task {
    /// The CAS instance.
    pub instance_name: String,
    /// The action.
    pub action: Digest,
    /// Blobs that came along, by their digests.
    pub given: HashMap<Digest, Bytes>,
    /// What holds for actions of the instance that don't say it.
    pub default_platform: Option<Platform>,
    /// How long the command may run.
    pub timeout: Duration,
}

/// Executes actions. Shared by all runs of a worker.
#[derive(Debug)]
pub struct Executor {
    /// Where blobs come from and go to.
    pub storage: Storage,
    /// The worker's slots.
    pub slots: Arc<Slots>,
    /// The worker's blobs.
    pub blobs: Arc<BlobCache>,
    /// The worker's directories.
    pub directories: DirectoryCache,
    /// Where input roots stand that nobody else places.
    pub exec_root: PathBuf,
    /// The worker's name for people.
    pub display_name: String,
    /// The machine's kills for want of memory.
    pub memory_pressure: MemoryPressure,
}

impl Executor {
    /// Executes `task`, saying at each stage that it has come to it. Ends soon after `cancelled`.
    pub async fn execute(
        &self,
        task: &Task,
        cancelled: &CancellationToken,
        progress: impl Fn(Stage),
    ) -> ExecuteResponse {
        let mut metadata = ExecutedActionMetadata {
            worker: self.display_name.clone(),
            worker_start_timestamp: Some(now()),
            ..ExecutedActionMetadata::default()
        };
        let (outcome, partial) = match self.try_execute(task, cancelled, progress, &mut metadata).await {
            Ok((result, None)) => (Ok(()), Some(result)),
            Ok((partial, Some(error))) => (Err(error), Some(partial)),
            Err(error) => (Err(error), None),
        };
        metadata.worker_completed_timestamp = Some(now());
        let result = partial.map(|result| ActionResult { execution_metadata: Some(metadata), ..result });
        let status = match outcome {
            Ok(()) => status::ok(),
            Err(error) => {
                tracing::info!(action = %task.action, %error, "action has no result");
                status::to_message(&error.status())
            }
        };
        ExecuteResponse { result, status: Some(status), ..ExecuteResponse::default() }
    }

    /// Gives a result; with an error beside it where the command was killed and this is what it left.
    async fn try_execute(
        &self,
        task: &Task,
        cancelled: &CancellationToken,
        progress: impl Fn(Stage),
        metadata: &mut ExecutedActionMetadata,
    ) -> Result<(ActionResult, Option<ExecutionError>), ExecutionError> {
        let source = self.storage.of_instance(&task.instance_name);

        progress(Stage::Preparing);
        metadata.input_fetch_start_timestamp = Some(now());
        let (action, mut lease) = or_cancelled(cancelled, self.prepare(&source, task)).await?;
        metadata.input_fetch_completed_timestamp = Some(now());

        progress(Stage::Executing);
        metadata.execution_start_timestamp = Some(now());
        let finished = self.run(&mut lease, &action, task.timeout, cancelled).await?;
        metadata.execution_completed_timestamp = Some(now());
        metadata.virtual_execution_duration =
            prost_types::Duration::try_from(finished.user_time + finished.system_time).ok();

        progress(Stage::Uploading);
        metadata.output_upload_start_timestamp = Some(now());
        let (outputs, error) = collect(&action, finished, task.timeout).await?;
        // What is not in memory by now is held open by the outputs: the slot is free for the next action.
        drop(lease);
        let result = or_cancelled(cancelled, upload(&source, outputs)).await?;
        metadata.output_upload_completed_timestamp = Some(now());
        Ok((result, error))
    }

    /// Reads the action and lays its inputs out in a slot.
    async fn prepare(&self, source: &BlobSource, task: &Task) -> Result<(Action, Lease), ExecutionError> {
        let cas = source.cas();
        let defaults = Defaults { platform: task.default_platform.as_ref(), exec_root: &self.exec_root };
        let action = Action::fetch(cas, task.action, &task.given, &defaults).await?;
        if let Some(root) = task.given.get(&action.input_root) {
            self.directories.take(action.input_root, root)?;
        }
        let mut lease = self.slots.lease(action.input_root, &self.directories).await;
        self.blobs.heed_corruption(source.corrupt_files());
        let slot = lease.slot();
        slot.replica.heed_corruption();
        if slot.replica.root() != Some(action.input_root) {
            let difference = Difference::find(&slot.replica, action.input_root, &self.directories, cas).await?;
            let pins = self.blobs.fetch(source, difference.added()).await?;
            lease.with_replica(move |replica| replica.apply(&difference, pins)).await?;
        }
        Ok((action, lease))
    }

    /// Runs the command in the slot's sandbox.
    async fn run(
        &self,
        lease: &mut Lease,
        action: &Action,
        timeout: Duration,
        cancelled: &CancellationToken,
    ) -> Result<Finished, ExecutionError> {
        let refusals = lease.refusals();
        lease.slot().replica.spend();
        let finished = lease.sandbox().await?.run(&action.command, timeout, cancelled).await;
        if finished.is_err() {
            lease.discard_sandbox();
        }
        let finished = finished?;
        match &finished.outcome {
            Outcome::Refused(why) => return Err(ExecutionError::Refused(why.clone())),
            Outcome::Cancelled => return Err(ExecutionError::Cancelled),
            Outcome::Exited(0) | Outcome::TimedOut | Outcome::OutputTooLarge(_) => return Ok(finished),
            Outcome::Exited(_) | Outcome::Signaled(_) => {}
        }
        // What failed for want of something that other machines may have more of is no result of the command's.
        let since = lease.refusals();
        let was_killed = self.memory_pressure.has_killed();
        if was_killed || since.killed_for_memory > refusals.killed_for_memory {
            return Err(ExecutionError::TooLarge("command ran out of memory".to_owned()));
        }
        if since.too_many_processes > refusals.too_many_processes {
            return Err(ExecutionError::TooLarge("command had more processes than an action may have".to_owned()));
        }
        if is_out_of_space(&finished) {
            return Err(ExecutionError::TooLarge("command filled the space that an action may write to".to_owned()));
        }
        Ok(finished)
    }
}

/// Whether a command that failed may have failed for want of space: there is none left, or it says so itself.
fn is_out_of_space(finished: &Finished) -> bool {
    const COMPLAINT: &[u8] = b"No space left on device";
    let is_full = finished
        .exec_root
        .as_ref()
        .and_then(|exec_root| rustix::fs::fstatvfs(exec_root).ok())
        .is_some_and(|stat| stat.f_bavail == 0 || stat.f_ffree == 0);
    is_full || finished.stderr.windows(COMPLAINT.len()).any(|window| window == COMPLAINT)
}

/// Reads what the command has made, and says with what error it was killed if it was.
async fn collect(
    action: &Action,
    finished: Finished,
    timeout: Duration,
) -> Result<(Outputs, Option<ExecutionError>), ExecutionError> {
    let (exit_code, error) = match finished.outcome {
        Outcome::Exited(code) => (code, None),
        Outcome::Signaled(signal) => (SIGNAL_EXIT_CODE + signal, None),
        Outcome::OutputTooLarge(stream) => {
            (0, Some(ExecutionError::TooLarge(format!("{stream} is larger than an action's may be"))))
        }
        _ => (0, Some(ExecutionError::TimedOut(timeout))),
    };
    let function = action.input_root.function();
    let exec_root = finished.exec_root.context("the sandbox gave no exec root")?;
    let promises = action.promises.clone();
    let is_partial = error.is_some();
    let (sender, collected) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let collected =
            if is_partial { Ok(Outputs::new(function)) } else { promises.collect(exec_root.as_fd(), function) };
        let _ = sender.send(collected);
        // Takes the action's mounts down, for which nobody has to wait.
        drop(exec_root);
    });
    let mut outputs = collected.await.context("collecting outputs")??;
    outputs.result.exit_code = exit_code;
    outputs.add_streams(&finished.stdout, &finished.stderr);
    Ok((outputs, error))
}

/// Stores the outputs in the CAS.
async fn upload(source: &BlobSource, outputs: Outputs) -> Result<ActionResult, ExecutionError> {
    let Outputs { result, uploads, held, .. } = outputs;
    if uploads.is_empty() {
        return Ok(result);
    }
    let uploads = without_stored(source, uploads).await?;
    source.cas().upload(uploads).await.map_err(|status| source.refusal(status))?;
    drop(held);
    Ok(result)
}

/// Those of `uploads` that are not known to be stored.
async fn without_stored(source: &BlobSource, uploads: Vec<Upload>) -> Result<Vec<Upload>, ExecutionError> {
    let size_bytes: u64 = uploads.iter().map(|upload| upload.digest.size_bytes()).sum();
    if size_bytes <= UNASKED_SIZE_BYTES {
        return Ok(uploads);
    }
    let digests: Vec<Digest> = uploads.iter().map(|upload| upload.digest).collect();
    let missing: HashSet<Digest> = source.cas().find_missing(&digests).await?.into_iter().collect();
    Ok(uploads.into_iter().filter(|upload| missing.contains(&upload.digest)).collect())
}

async fn or_cancelled<T>(
    cancelled: &CancellationToken,
    work: impl Future<Output = Result<T, ExecutionError>>,
) -> Result<T, ExecutionError> {
    tokio::select! {
        outcome = work => outcome,
        () = cancelled.cancelled() => Err(ExecutionError::Cancelled),
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
