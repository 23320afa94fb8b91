//! Results, read and written by clients.
//!
//! The key is any digest: clients exist whose keys name no stored Action, so it is never looked into.
//!
//! **Source:** Remote Execution API v2, service `ActionCache`.

use super::Backend;
use super::request::{action_key, audit, digest_function};
use crate::access::{JUDGES, READERS};
use crate::action_cache::InlineRequest;
use prost::Message as _;
use pumphouse_proto::digest::DigestFunction;
use pumphouse_proto::entries;
use pumphouse_proto::limits::BATCH_SIZE_BYTES;
use pumphouse_proto::reapi::action_cache_server::ActionCache;
use pumphouse_proto::reapi::{ActionResult, GetActionResultRequest, UpdateActionResultRequest};
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ActionCache for Backend {
    async fn get_action_result(
        &self,
        request: Request<GetActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        let (_, extensions, request) = request.into_parts();
        let function = digest_function(request.digest_function)?;
        let action =
            action_key(&extensions, READERS, &request.instance_name, function, request.action_digest.as_ref())?;
        let Some(result) = self.action_cache.get(&action).await? else {
            return Err(Status::not_found(format!("no result of action {} is cached", action.digest)));
        };
        let mut result = Arc::unwrap_or_clone(result);
        InlineRequest::from(&request).apply(function, &mut result, self.blobs.as_ref()).await;
        Ok(Response::new(result))
    }

    async fn update_action_result(
        &self,
        request: Request<UpdateActionResultRequest>,
    ) -> Result<Response<ActionResult>, Status> {
        let (_, extensions, request) = request.into_parts();
        let function = digest_function(request.digest_function)?;
        let action = action_key(&extensions, JUDGES, &request.instance_name, function, request.action_digest.as_ref())?;
        let result = request.action_result.ok_or_else(|| Status::invalid_argument("action_result is missing"))?;
        check_result(&result)?;
        self.action_cache.put(&action, result.clone()).await?;
        let instance_name = &*action.instance_name;
        audit(&extensions, |caller| {
            tracing::info!(target: "audit", caller, instance_name, action = %action.digest, "put a result");
        });
        Ok(Response::new(result))
    }
}

/// Whether the result can be given to clients, and is worth it.
///
/// # Errors
/// It is too large, lists too much, is malformed, or one of an action that failed; names the field.
pub(crate) fn check_result(result: &ActionResult) -> Result<(), Status> {
    if result.exit_code != 0 {
        let message = format!("action_result.exit_code: {} is a failure, which is not cached", result.exit_code);
        return Err(Status::invalid_argument(message));
    }
    entries::check_result(result).map_err(|error| Status::invalid_argument(format!("action_result: {error}")))?;
    let size = result.encoded_len();
    if size > BATCH_SIZE_BYTES {
        let message =
            format!("action_result: {size} bytes are more than the {BATCH_SIZE_BYTES} that fit into an answer");
        return Err(Status::invalid_argument(message));
    }
    // Both functions have hashes of one form.
    let digest = |field: &str, message| super::request::digest(DigestFunction::Sha256, field, message);
    for file in &result.output_files {
        digest("action_result.output_files.digest", file.digest.as_ref())?;
    }
    for directory in &result.output_directories {
        if directory.tree_digest.is_none() && directory.root_directory_digest.is_none() {
            return Err(Status::invalid_argument("action_result.output_directories.tree_digest is missing"));
        }
        for message in [&directory.tree_digest, &directory.root_directory_digest].into_iter().flatten() {
            digest("action_result.output_directories", Some(message))?;
        }
    }
    for (field, message) in [("stdout_digest", &result.stdout_digest), ("stderr_digest", &result.stderr_digest)] {
        if message.is_some() {
            digest(&format!("action_result.{field}"), message.as_ref())?;
        }
    }
    Ok(())
}
