//! A compile on a server: its action cache first, then its workers.

use super::Compiler;
use super::prepare::Prepared;
use crate::ipc::Completed;
use crate::local::{INLINE_OUTPUT_SIZE_BYTES, LargeOutput};
use crate::outputs::Places;
use crate::remote::{Caller, Executed, Fetched, Remote, RemoteError, Session, check_result};
use crate::stats::{Outcome, Stage, StageTimes};
use bytes::Bytes;
use pumphouse_proto::cas_client::{CasClient, Source, Upload};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::ActionResult;
use std::path::PathBuf;

/// How often an action is executed again because the server lost inputs.
const MISSING_INPUT_ROUNDS: usize = 3;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The compile itself failed; the local one decides.
    Compile,
    /// The server has no result and does not execute.
    CacheOnly,
    /// The server could not be used.
    Server(RemoteError),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Server(error)
    }
}

impl Compiler {
    /// Gets the result from the server, puts the outputs in place and the result into the local cache.
    pub(super) async fn run_remotely(
        &self,
        remote: &Remote,
        session: &Session,
        prepared: &mut Prepared,
        times: &mut StageTimes,
    ) -> Result<(Completed, Outcome), Failure> {
        let action = prepared.action.digest;
        let caller = Caller::new(&self.notices.build(), action, &prepared.command.source.to_string_lossy());
        let cas = session.cas(&caller);
        let names: Vec<String> = prepared.places.iter().map(|place| place.name.clone()).collect();
        let cached =
            times.time_async(Stage::ActionCache, session.action_result(&caller, action, names.clone())).await?;
        if let Some(result) = cached.filter(|result| result.exit_code == 0) {
            match self.finish(&cas, result, prepared, times).await {
                Ok(completed) => return Ok((completed, Outcome::RemoteHit)),
                // A server that dropped an output after it promised the result has the action run again.
                Err(error @ RemoteError::Wrong(_)) => {
                    let message = format!("the server {} {error}; its cached result is not used", remote.address());
                    prepared.notice.extend(self.notices.once("wrong cached result", &message));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !session.executes() {
            return Err(Failure::CacheOnly);
        }
        for _ in 0..MISSING_INPUT_ROUNDS {
            self.upload(remote, &cas, prepared, times).await?;
            let executed = times.time_async(Stage::Execute, session.execute(&caller, action, &names)).await?;
            match executed {
                Executed::Missing(digests) => {
                    tracing::debug!(%action, count = digests.len(), "the server lacks inputs");
                    remote.blobs.forget(&digests);
                }
                Executed::Result { result, .. } if result.exit_code != 0 => {
                    let stderr = String::from_utf8_lossy(&result.stderr_raw);
                    tracing::debug!(%action, exit_code = result.exit_code, %stderr, "the remote compile failed");
                    return Err(Failure::Compile);
                }
                Executed::Result { result, from_cache } => {
                    let completed = self.finish(&cas, *result, prepared, times).await?;
                    return Ok((completed, if from_cache { Outcome::RemoteHit } else { Outcome::RemoteRun }));
                }
            }
        }
        Err(RemoteError::Wrong("inputs that were just uploaded are missing".to_owned()).into())
    }

    /// Makes the server have the action and all of its inputs.
    async fn upload(
        &self,
        remote: &Remote,
        cas: &CasClient,
        prepared: &Prepared,
        times: &mut StageTimes,
    ) -> Result<(), RemoteError> {
        let work = async {
            let uploads = self.uploads(remote, prepared)?;
            remote.blobs.ensure(cas, uploads).await
        };
        let sent = times.time_async(Stage::Upload, work).await?;
        self.statistics.update(|counters| counters.bytes_uploaded += sent);
        Ok(())
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

    /// Fetches the outputs of a result, puts them in place, and keeps the result.
    async fn finish(
        &self,
        cas: &CasClient,
        result: ActionResult,
        prepared: &Prepared,
        times: &mut StageTimes,
    ) -> Result<Completed, RemoteError> {
        check_result(&result, &prepared.places)?;
        let fetching = Fetched::fetch(cas, result, &prepared.places);
        let fetched = times.time_async(Stage::Download, fetching).await?;
        self.statistics.update(|counters| counters.bytes_downloaded += fetched.bytes_downloaded);
        times.time(Stage::Outputs, || fetched.staging.commit())?;
        times.time(Stage::LocalCache, || self.keep(&prepared.action.digest, &fetched.result, &prepared.places));
        Ok(Completed {
            wait_status: 0,
            stdout: fetched.result.stdout_raw.to_vec(),
            stderr: fetched.result.stderr_raw.to_vec(),
            notice: prepared.notice.clone(),
        })
    }

    /// Stores a result whose outputs are in place. That it can't be stored is no reason to fail.
    pub(super) fn keep(&self, action: &Digest, result: &ActionResult, places: &Places) {
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
