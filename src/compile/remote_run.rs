//! A compile on a server: its action cache first, then its workers.
//!
//! The work is a value of its own, so that it can go on without the compile that began it. It puts no output in place: the
//! compile does, if the work ends before the compile runs here (see [`race`](super::race)).

use super::Handler;
use super::patience::Stage as Waiting;
use super::prepare::Prepared;
use super::wanted::Wanted;
use crate::fallback::Fallback;
use crate::ipc::{CompileRequest, Completed};
use crate::local::{INLINE_OUTPUT_SIZE_BYTES, LargeOutput};
use crate::outputs::OutputPaths;
use crate::remote::{
    Caller, Executed, Fetched, InUse, Progress, Remote, RemoteError, Service, check_result, must_fetch_bytes,
};
use crate::stats::{Outcome, Stage, StageTimes};
use bytes::Bytes;
use pumphouse_proto::cas_client::{CasClient, Source, Upload};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often an action is executed again because the server lost inputs.
const MISSING_INPUT_ROUNDS: usize = 3;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The compile itself failed; the local one decides.
    Compile,
    /// The server has no result and does not execute.
    CacheOnly,
    /// The outputs did not get to their places.
    Unplaced(Fallback),
    /// The server could not be used.
    Server(RemoteError),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Server(error)
    }
}

/// What a compile wants of a server, and all that is needed to get it.
pub(super) struct Work {
    pub(super) handler: Arc<Handler>,
    pub(super) remote: Arc<Remote>,
    pub(super) session: InUse,
    pub(super) prepared: Arc<Prepared>,
    /// Where the work is, and since when.
    pub(super) progress: watch::Sender<(Waiting, Instant)>,
    /// Whether nobody wants the outputs any more: they are then fetched for a look alone.
    pub(super) is_trial: Arc<AtomicBool>,
    pub(super) report: Report,
}

/// What there is to say about work that has ended, however it has.
#[derive(Default)]
pub(super) struct Report {
    /// What each stage took.
    pub(super) times: StageTimes,
    /// What the user is told.
    pub(super) notice: Vec<u8>,
}

/// A result that is here, but for its outputs' places.
pub(super) struct Finished {
    fetched: Fetched,
    outcome: Outcome,
}

impl Work {
    /// Gets the result from the server.
    pub(super) async fn run(mut self) -> (Report, Result<Finished, Failure>) {
        let result = self.result().await;
        if let Err(Failure::Server(error)) = &result
            && !error.is_our_own()
        {
            self.remote.health.failed(self.progress.borrow().0.service(), Instant::now());
        }
        (self.report, result)
    }

    async fn result(&mut self) -> Result<Finished, Failure> {
        let handler = Arc::clone(&self.handler);
        let action = self.prepared.action.digest;
        let caller = Caller::new(&handler.notices.build(), action, &self.prepared.command.source.to_string_lossy());
        let cas = self.session.cas(&caller);
        let names: Vec<String> = self.prepared.places.iter().map(|place| place.name.clone()).collect();
        let looking_up = self.session.action_result(&caller, action, names.clone());
        let cached = self.report.times.time_async(Stage::ActionCache, looking_up).await?;
        self.succeeded(Service::LookUp);
        if let Some(result) = cached.filter(|result| result.exit_code == 0) {
            match self.fetch(&cas, result).await {
                Ok(fetched) => return Ok(Finished { fetched, outcome: Outcome::RemoteHit }),
                // A server that dropped an output after it promised the result has the action run again.
                Err(error @ RemoteError::Wrong(_)) => {
                    let message =
                        format!("the server {} {error}; its cached result is not used", self.remote.address());
                    self.report.notice.extend(handler.notices.once("wrong cached result", &message));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !self.session.executes() {
            return Err(Failure::CacheOnly);
        }
        for _ in 0..MISSING_INPUT_ROUNDS {
            self.upload(&cas).await?;
            match self.execute(&caller, &names).await? {
                Executed::Missing(digests) => {
                    tracing::debug!(%action, count = digests.len(), "the server lacks inputs");
                    self.remote.blobs.forget(&digests);
                }
                Executed::Result { result, .. } if result.exit_code != 0 => {
                    let stderr = String::from_utf8_lossy(&result.stderr_raw);
                    tracing::debug!(%action, exit_code = result.exit_code, %stderr, "the remote compile failed");
                    return Err(Failure::Compile);
                }
                Executed::Result { result, from_cache } => {
                    let fetched = self.fetch(&cas, *result).await?;
                    let outcome = if from_cache { Outcome::RemoteHit } else { Outcome::RemoteRun };
                    return Ok(Finished { fetched, outcome });
                }
            }
        }
        Err(RemoteError::Wrong("inputs that were just uploaded are missing".to_owned()).into())
    }

    fn succeeded(&self, service: Service) {
        self.remote.health.succeeded(service, Instant::now());
    }

    /// Makes the server have the action and all of its inputs.
    async fn upload(&mut self, cas: &CasClient) -> Result<(), RemoteError> {
        let uploads = self.report.times.time(Stage::Upload, || self.handler.uploads(&self.remote, &self.prepared))?;
        if uploads.is_empty() {
            return Ok(());
        }
        enter(&self.progress, Waiting::Upload(0));
        let announce = |size_bytes| enter(&self.progress, Waiting::Upload(size_bytes));
        let sending = self.remote.blobs.ensure(cas, uploads, &announce);
        let sent = self.report.times.time_async(Stage::Upload, sending).await?;
        self.succeeded(Service::Upload);
        self.remote.cold_bytes.fetch_add(sent, Ordering::Relaxed);
        self.handler.statistics.update(|counters| counters.bytes_uploaded += sent);
        Ok(())
    }

    async fn execute(&mut self, caller: &Caller, names: &[String]) -> Result<Executed, RemoteError> {
        let cold_bytes = self.remote.cold_bytes.load(Ordering::Relaxed);
        let tell = |progress| match progress {
            Progress::Queued => enter(&self.progress, Waiting::Queued),
            Progress::Executing => enter(&self.progress, Waiting::Executing(cold_bytes)),
        };
        tell(Progress::Queued);
        let executing = self.session.execute(caller, self.prepared.action.digest, names, &tell);
        let executed = self.report.times.time_async(Stage::Execute, executing).await?;
        if let Executed::Result { result, .. } = &executed {
            self.succeeded(Service::Execute);
            self.remote.cold_bytes.store(0, Ordering::Relaxed);
            if let Some(time) = execution_time(result) {
                let unit = self.handler.expectations.unit(&self.prepared);
                self.handler.expectations.measured_elsewhere(unit, time);
            }
        }
        Ok(executed)
    }

    /// Fetches the outputs of a result beside their places, or out of everybody's way where nobody wants them.
    async fn fetch(&mut self, cas: &CasClient, result: ActionResult) -> Result<Fetched, RemoteError> {
        check_result(&result, &self.prepared.places)?;
        let size_bytes = must_fetch_bytes(&result);
        if size_bytes > 0 {
            enter(&self.progress, Waiting::Download(size_bytes));
        }
        let scratch = if self.is_trial.load(Ordering::Relaxed) { Some(tempfile::tempdir()?) } else { None };
        let moved = scratch.as_ref().map(|scratch| self.prepared.places.moved_to(scratch.path()));
        let fetching = Fetched::fetch(cas, result, moved.as_ref().unwrap_or(&self.prepared.places));
        let fetched = self.report.times.time_async(Stage::Download, fetching).await?;
        if size_bytes > 0 {
            self.succeeded(Service::Download);
        }
        self.handler.statistics.update(|counters| counters.bytes_downloaded += fetched.bytes_downloaded);
        Ok(fetched)
    }
}

/// Notes that a stage begins. None begins twice, and nothing leads back: what was waited for long is not waited for anew.
fn enter(progress: &watch::Sender<(Waiting, Instant)>, stage: Waiting) {
    progress.send_if_modified(|now| {
        let is_later = stage.order() > now.0.order();
        if is_later {
            *now = (stage, Instant::now());
        }
        is_later
    });
}

/// How long the worker says that the command ran.
fn execution_time(result: &ActionResult) -> Option<Duration> {
    let metadata = result.execution_metadata.as_ref()?;
    let time = |stamp: &Option<prost_types::Timestamp>| {
        let stamp = stamp.as_ref()?;
        Some(Duration::new(u64::try_from(stamp.seconds).ok()?, u32::try_from(stamp.nanos).ok()?))
    };
    time(&metadata.execution_completed_timestamp)?.checked_sub(time(&metadata.execution_start_timestamp)?)
}

impl Handler {
    /// Puts the outputs of what was fetched in place, and keeps the result.
    pub(super) async fn finish(
        self: &Arc<Self>,
        request: &CompileRequest,
        finished: Finished,
        prepared: &Arc<Prepared>,
        wanted: &Arc<Wanted>,
        times: &mut StageTimes,
    ) -> Result<(Completed, Outcome), Failure> {
        let Finished { mut fetched, outcome } = finished;
        let (handler, same, asking) = (Arc::clone(self), Arc::clone(prepared), Arc::clone(wanted));
        let work = move || {
            let mut times = StageTimes::default();
            let staging = std::mem::take(&mut fetched.staging);
            let result = std::mem::take(&mut fetched.result);
            let committed = times.time(Stage::Outputs, || asking.place(|| staging.commit()));
            if matches!(committed, Some(Ok(()))) {
                let places = &same.places;
                times.time(Stage::LocalCache, || handler.keep(&same.action.digest, &result, places));
            }
            (committed, result, times)
        };
        let turn = self.turns.take(&request.working_directory, || wanted.give_up(), work);
        let (committed, result, own_times) =
            turn.await.map_err(|unfinished| Failure::Unplaced(unfinished.fallback()))?;
        times.add_all(&own_times);
        committed
            .unwrap_or_else(|| Err(std::io::Error::other("the launcher has ended")))
            .map_err(|error| Failure::Server(error.into()))?;
        let completed = Completed {
            wait_status: 0,
            stdout: result.stdout_raw.to_vec(),
            stderr: result.stderr_raw.to_vec(),
            notice: prepared.notice.clone(),
        };
        Ok((completed, outcome))
    }

    /// Everything that the server is not known to have.
    fn uploads(&self, remote: &Remote, prepared: &Prepared) -> Result<Vec<Upload>, RemoteError> {
        let (root, entries) = self
            .roots
            .build(&prepared.closure, &prepared.toolchain, &prepared.places)
            .map_err(|fallback| RemoteError::Changed(fallback.to_string()))?;
        let action = &prepared.action;
        let mut uploads = Vec::new();
        let mut add = |digest: Digest, source: &dyn Fn() -> Source| {
            if !remote.blobs.is_known(&digest) {
                uploads.push(Upload { digest, source: source() });
            }
        };
        for (path, digest) in entries.files() {
            add(digest, &|| Source::File(path.to_path_buf()));
        }
        for (digest, message) in &root.directories {
            add(*digest, &|| Source::Bytes(message.clone()));
        }
        add(action.command_digest, &|| Source::Bytes(action.command_message.clone()));
        add(action.digest, &|| Source::Bytes(action.message.clone()));
        uploads.sort_by_key(|upload| upload.digest);
        uploads.dedup_by_key(|upload| upload.digest);
        Ok(uploads)
    }

    /// Stores a result whose outputs are in place. That it can't be stored is no reason to fail.
    pub(super) fn keep(&self, action: &Digest, result: &ActionResult, places: &OutputPaths) {
        let mut large: Vec<(Digest, PathBuf)> = Vec::new();
        for file in &result.output_files {
            let (Ok(digest), Some(place)) = (Digest::try_from(&file.digest), places.get(&file.path)) else { return };
            if digest.size_bytes() > INLINE_OUTPUT_SIZE_BYTES {
                large.push((digest, place.path.clone()));
            }
        }
        let large: Vec<LargeOutput<'_>> =
            large.iter().map(|(digest, path)| LargeOutput { digest: *digest, path }).collect();
        if let Err(error) = self.cache.store(action, result, &large) {
            tracing::warn!(%action, %error, "storing a result in the local cache");
        }
    }
}

/// What a stream of a compiler carries, for a result.
pub(super) fn stream(content: &[u8]) -> Bytes {
    Bytes::copy_from_slice(content)
}
