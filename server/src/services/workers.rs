//! The workers' end of the scheduler: one stream for as long as a worker lives.

use super::request::{check_instance_name, digest, digest_function};
use super::run_seal::{RunKey, SealedRun};
use super::{AnswerStream, Backend, shutting_down};
use crate::access::{Again, Caller, Role};
use crate::blobs::BlobStore;
use crate::scheduler::{self, ActionKey, Desired, Offer, ReportedRun, RunId, WorkerId, WorkerSession, WorkerState};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use prost::Message as _;
use prost_types::Duration;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::entries;
use pumphouse_proto::reapi::{Action, ExecuteResponse};
use pumphouse_proto::status;
use pumphouse_proto::worker::workers_server::Workers;
use pumphouse_proto::worker::{Assignment, CurrentState, DesiredState, Run, run};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The largest blob that is sent along with an assignment.
const FIRST_BLOB_SIZE_BYTES: u64 = 64 * 1024;

/// How much is sent along in one message.
const FIRST_BLOBS_SIZE_BYTES: usize = 4 * 1024 * 1024;

/// How many slots a worker may have.
const SLOTS: u32 = 4096;

/// How many runs a worker may report, ended ones that it still keeps included.
const RUNS: usize = 16_384;

/// The longest name that a worker may give itself or a run.
const NAME_SIZE_BYTES: usize = 256;

#[tonic::async_trait]
impl Workers for Backend {
    type SessionStream = AnswerStream<DesiredState>;

    async fn session(
        &self,
        request: Request<Streaming<CurrentState>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (_, extensions, incoming) = request.into_parts();
        let caller = extensions.get::<Caller>().ok_or_else(|| Status::internal("it is not known who calls"))?;
        caller.check_everywhere()?;
        let session = Session {
            backend: self.clone(),
            caller: caller.to_string(),
            again: extensions.get::<Again>().cloned(),
            worker_id: String::new(),
            worker: self.scheduler.open_session(),
            incoming,
            display_name: None,
            told: HashMap::new(),
            is_over: false,
        };
        let desired = stream::unfold(session, |mut session| async {
            let next = session.next().await?;
            Some((next, session))
        });
        Ok(Response::new(desired.boxed()))
    }
}

struct Session {
    backend: Backend,
    /// Whose credentials the worker has: another's can't speak for it.
    caller: String,
    again: Option<Again>,
    /// Known as soon as the worker has spoken.
    worker_id: String,
    worker: WorkerSession,
    incoming: Streaming<CurrentState>,
    /// Known as soon as the worker has spoken.
    display_name: Option<Arc<str>>,
    /// What the worker was told last to hold, without blobs.
    told: HashMap<RunId, Assignment>,
    is_over: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(worker) = &self.display_name {
            tracing::info!(%worker, "worker disconnected");
        }
    }
}

impl Session {
    /// The next thing to tell the worker.
    async fn next(&mut self) -> Option<Result<DesiredState, Status>> {
        while !self.is_over {
            let next = self.step().await;
            self.is_over |= next.is_err();
            match next {
                Ok(Some(desired)) => return Some(Ok(desired)),
                Ok(None) => {}
                Err(status) => return Some(Err(status)),
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<DesiredState>, Status> {
        tokio::select! {
            // What the worker says first, so that what it is told is about its newest state.
            biased;
            spoken = self.incoming.message() => {
                match spoken? {
                    Some(state) => {
                        self.check_caller()?;
                        self.worker_id = format!("{}/{}", self.caller, state.worker_id);
                        self.heard(worker_state(state, &self.worker_id, &self.backend.run_key)?);
                    }
                    None => self.is_over = true,
                }
                Ok(None)
            }
            changed = self.worker.desired.changed() => {
                changed.map_err(|_| shutting_down())?;
                let desired = self.worker.desired.borrow_and_update().clone();
                self.desired(desired).await
            }
            () = self.backend.closing.cancelled() => Err(shutting_down()),
        }
    }

    /// Whether the worker may still be one: its credentials may have been taken back.
    fn check_caller(&self) -> Result<(), Status> {
        let Some(Again(again)) = &self.again else { return Ok(()) };
        let caller = again()?;
        caller.check_any(&[Role::Worker])?;
        Ok(caller.check_everywhere()?)
    }

    fn heard(&mut self, state: WorkerState) {
        if self.display_name.is_none() {
            tracing::info!(worker = %state.display_name, slots = state.slots, runs = state.runs.len(), "worker connected");
            self.display_name = Some(state.display_name.clone());
        }
        self.worker.spoke(state);
    }

    async fn desired(&mut self, desired: Desired) -> Result<Option<DesiredState>, Status> {
        let runs = match desired {
            Desired::Unknown => return Ok(None),
            Desired::Ended(reason) => return Err(Status::aborted(reason)),
            Desired::Runs(runs) => runs,
        };
        let mut told = std::mem::take(&mut self.told);
        let mut assignments = Vec::with_capacity(runs.len());
        let mut sent = 0;
        for run in runs {
            let (message, blobs) = match told.remove(&run.run) {
                Some(message) => (message, Vec::new()),
                None if sent < FIRST_BLOBS_SIZE_BYTES => {
                    (self.message(&run), first_blobs(self.backend.blobs.as_ref(), run.action.digest).await)
                }
                None => (self.message(&run), Vec::new()),
            };
            sent += blobs.iter().map(Bytes::len).sum::<usize>();
            assignments.push(Assignment { blobs, ..message.clone() });
            self.told.insert(run.run, message);
        }
        let interval = self.backend.scheduler.limits().heartbeat_interval;
        let heartbeat_interval = Duration::try_from(interval).ok();
        Ok(Some(DesiredState { assignments, heartbeat_interval }))
    }

    fn message(&self, assignment: &scheduler::Assignment) -> Assignment {
        Assignment {
            run_id: self.backend.run_key.seal(&SealedRun {
                run: &assignment.run.0,
                worker: &self.worker_id,
                action: &assignment.action,
                do_not_cache: assignment.do_not_cache,
            }),
            instance_name: assignment.action.instance_name.to_string(),
            action_digest: Some(assignment.action.digest.into()),
            digest_function: assignment.action.digest.function().to_field(),
            timeout: Duration::try_from(assignment.timeout).ok(),
            do_not_cache: assignment.do_not_cache,
            default_platform: self.backend.config.default_platform(&assignment.action.instance_name),
            blobs: Vec::new(),
        }
    }
}

/// What a worker reads of an action before anything else, as far as it is small: the Action, its Command, and the Directory of
/// its input root. It was read lately, when the action was to be executed. What isn't there the worker will miss itself.
async fn first_blobs(blobs: &dyn BlobStore, action: Digest) -> Vec<Bytes> {
    let is_small = |digest: &Digest| digest.size_bytes() <= FIRST_BLOB_SIZE_BYTES && !digest.names_nothing();
    let function = action.function();
    if !is_small(&action) {
        return Vec::new();
    }
    let Some(action) = blobs.get_many(&[action]).await.pop().and_then(Result::ok) else { return Vec::new() };
    let decoded = Action::decode(action.clone()).unwrap_or_default();
    let digests = [&decoded.command_digest, &decoded.input_root_digest].map(|digest| function.read_field(digest).ok());
    let digests: Vec<Digest> = digests.into_iter().flatten().filter(is_small).collect();
    std::iter::once(action).chain(blobs.get_many(&digests).await.into_iter().flatten()).collect()
}

fn worker_state(state: CurrentState, worker: &str, key: &RunKey) -> Result<WorkerState, Status> {
    check_name("worker_id", &state.worker_id)?;
    if state.display_name.len() > NAME_SIZE_BYTES {
        return Err(Status::invalid_argument(format!("display_name: has more than {NAME_SIZE_BYTES} bytes")));
    }
    if state.slots > SLOTS {
        return Err(Status::invalid_argument(format!("slots: {} are more than {SLOTS}", state.slots)));
    }
    if state.runs.len() > RUNS {
        return Err(Status::invalid_argument(format!("runs: {} are more than {RUNS}", state.runs.len())));
    }
    let display_name = if state.display_name.is_empty() { &state.worker_id } else { &state.display_name };
    Ok(WorkerState {
        display_name: display_name.as_str().into(),
        offer: state.platform.as_ref().map(Offer::from).unwrap_or_default(),
        slots: state.slots as usize,
        runs: state.runs.into_iter().map(|run| reported_run(run, worker, key)).collect::<Result<_, _>>()?,
        is_draining: state.draining,
        id: WorkerId(worker.into()),
    })
}

/// What a worker says of a run.
fn reported_run(run: Run, worker: &str, key: &RunKey) -> Result<ReportedRun, Status> {
    check_name("runs.run_id", &run.run_id)?;
    check_instance_name(&run.instance_name)?;
    let function = digest_function(run.digest_function)?;
    let digest = digest(function, "runs.action_digest", run.action_digest.as_ref())?;
    let completed = match run.state {
        Some(run::State::Completed(response)) => Some(Arc::new(within_bounds(response))),
        _ => None,
    };
    let action = ActionKey { instance_name: run.instance_name.into(), digest };
    let sealed = SealedRun { run: &run.run_id, worker, action: &action, do_not_cache: run.do_not_cache };
    let opened = key.open_seal(&sealed);
    // What the scheduler knows of needs no seal.
    let name = opened.unwrap_or_else(|| run.run_id.rsplit_once('.').map_or(run.run_id.as_str(), |(name, _)| name));
    let (name, is_vouched_for) = (RunId(name.into()), opened.is_some());
    Ok(ReportedRun { run: name, action, do_not_cache: run.do_not_cache, completed, is_vouched_for })
}

/// What a run ended with; where its result lists too much, the refusal of it, which is the action's end.
fn within_bounds(response: ExecuteResponse) -> ExecuteResponse {
    match response.result.as_ref().map_or(Ok(()), entries::check_result) {
        Ok(()) => response,
        Err(error) => {
            let refusal = Status::invalid_argument(format!("action_result: {error}"));
            ExecuteResponse { status: Some(status::to_message(&refusal)), ..ExecuteResponse::default() }
        }
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Status> {
    if name.is_empty() || name.len() > NAME_SIZE_BYTES {
        return Err(Status::invalid_argument(format!("{field}: must have 1 to {NAME_SIZE_BYTES} bytes")));
    }
    Ok(())
}
