//! The Action and the Command, read from the CAS and checked before anything is scheduled.
//!
//! The rest of the input root is the worker's to read; only when something near the top is missing already is the
//! whole tree walked, so that the client is told of every missing blob at once.

use super::super::Backend;
use super::super::request::digest;
use crate::blobs::tree::missing_below;
use crate::blobs::{BlobStore, StoreError};
use crate::scheduler::{ActionKey, BuildId, ExecuteTask, Requirements};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::METADATA_BLOB_SIZE_BYTES;
use pumphouse_proto::reapi::{Action, Command, Platform};
use pumphouse_proto::{status, tree};
use std::time::{Duration, SystemTime};
use tonic::Status;

/// What the scheduler needs to know of an action.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) do_not_cache: bool,
    requirements: Requirements,
    timeout: Duration,
}

impl Inputs {
    /// Reads and checks the action.
    pub(super) async fn load(backend: &Backend, key: &ActionKey) -> Result<Self, Status> {
        let blobs = backend.blobs.as_ref();
        let function = key.digest.function();
        let Some(action) = read(blobs, "action_digest", key.digest).await? else {
            return Err(status::missing_blobs(&[key.digest]));
        };
        let action = decode::<Action>("action_digest", key.digest, action)?;
        let command_digest = digest(function, "action.command_digest", action.command_digest.as_ref())?;
        let root = digest(function, "action.input_root_digest", action.input_root_digest.as_ref())?;
        let timeout = timeout(backend, action.timeout.as_ref())?;
        let command = read(blobs, "action.command_digest", command_digest).await?;
        let is_root_there = blobs.find_missing(&[root]).await?.is_empty();
        let Some(command) = command.filter(|_| is_root_there) else {
            return Err(missing(blobs, command_digest, root).await?);
        };
        let command = decode::<Command>("action.command_digest", command_digest, command)?;
        if command.arguments.is_empty() {
            return Err(Status::invalid_argument("command.arguments is empty"));
        }
        if let Some(property) = command.output_node_properties.first() {
            let message = format!("command.output_node_properties: {property:?} is not supported, nor is any other");
            return Err(Status::invalid_argument(message));
        }
        let root_directory = read(blobs, "action.input_root_digest", root).await?;
        tree::decode(root, root_directory.ok_or_else(|| status::missing_blobs(&[root]))?)?;
        let defaults = backend.config.default_platform(&key.instance_name);
        let requirements = requirements(&action, &command).with_defaults(defaults.as_ref());
        Ok(Self { do_not_cache: action.do_not_cache, requirements, timeout })
    }

    /// What the scheduler takes.
    pub(super) fn into_task(
        self,
        action: ActionKey,
        priority: i32,
        build: BuildId,
        queued_at: SystemTime,
    ) -> ExecuteTask {
        let Self { do_not_cache, requirements, timeout } = self;
        ExecuteTask { action, do_not_cache, requirements, priority, build, timeout, queued_at }
    }
}

/// The action's platform beats the command's, which is where clients of API 2.0 have it.
fn requirements(action: &Action, command: &Command) -> Requirements {
    #[expect(deprecated, reason = "older clients set nothing else")]
    let platform: Option<&Platform> = action.platform.as_ref().or(command.platform.as_ref());
    platform.map(Requirements::from).unwrap_or_default()
}

fn timeout(backend: &Backend, timeout: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let Some(timeout) = timeout else { return Ok(backend.config.default_action_timeout) };
    let refused = |problem: String| Status::invalid_argument(format!("action.timeout: {problem}"));
    let timeout = Duration::try_from(*timeout).map_err(|error| refused(error.to_string()))?;
    let longest = backend.config.max_action_timeout;
    if timeout > longest {
        return Err(refused(format!("{timeout:?} is longer than {longest:?}, the longest possible")));
    }
    Ok(if timeout.is_zero() { backend.config.default_action_timeout } else { timeout })
}

/// A blob that is to be decoded; `None` where it is missing.
async fn read(blobs: &dyn BlobStore, field: &str, digest: Digest) -> Result<Option<Bytes>, Status> {
    if digest.size_bytes() > METADATA_BLOB_SIZE_BYTES {
        return Err(Status::invalid_argument(format!("{field}: {digest} is too large")));
    }
    match blobs.get(digest).await {
        Ok(blob) => Ok(Some(blob)),
        Err(StoreError::NotFound(_) | StoreError::Corrupt(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn decode<T: prost::Message + Default>(field: &str, digest: Digest, blob: Bytes) -> Result<T, Status> {
    T::decode(blob).map_err(|error| Status::invalid_argument(format!("{field}: {digest} can't be decoded: {error}")))
}

/// Every blob that an action lacks: its command, and what can be found to be missing of its input root.
async fn missing(blobs: &dyn BlobStore, command: Digest, root: Digest) -> Result<Status, Status> {
    let mut missing = missing_below(blobs, root).await?;
    missing.extend(blobs.find_missing(&[command]).await?);
    let missing: Vec<Digest> = missing.into_iter().collect();
    Ok(status::missing_blobs(&missing))
}
