//! Executing actions, and waiting for them.
//!
//! **Source:** Remote Execution API v2, service `Execution`.

mod inputs;
pub(super) mod updates;

use super::operation_name::OperationName;
use super::request::{action_key, admit, audit, build_id, digest_function};
use super::{AnswerStream, Backend};
use crate::access::EXECUTORS;
use crate::action_cache::InlineRequest;
use crate::scheduler::OperationId;
use inputs::Inputs;
use pumphouse_proto::longrunning::Operation;
use pumphouse_proto::reapi::execution_server::Execution;
use pumphouse_proto::reapi::{ActionResult, ExecuteRequest, ExecuteResponse, WaitExecutionRequest};
use pumphouse_proto::status;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::{Code, Request, Response, Status};

/// The least and the most urgent priorities that clients can give; further ones count as these.
pub(super) const PRIORITY_LIMIT: i32 = 1000;

#[tonic::async_trait]
impl Execution for Backend {
    type ExecuteStream = AnswerStream<Operation>;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        let build = build_id(request.metadata(), request.extensions());
        let (_, extensions, request) = request.into_parts();
        let function = digest_function(request.digest_function)?;
        let action =
            action_key(&extensions, EXECUTORS, &request.instance_name, function, request.action_digest.as_ref())?;
        let inline = InlineRequest::from(&request);
        let priority = request.execution_policy.as_ref().map_or(0, |policy| policy.priority);
        let priority = priority.clamp(-PRIORITY_LIMIT, PRIORITY_LIMIT);
        let inputs = Inputs::load(self, &action).await?;
        let may_be_cached = !request.skip_cache_lookup && !inputs.do_not_cache;
        let cached = if may_be_cached { self.action_cache.get(&action).await? } else { None };
        if let Some(result) = cached {
            let name = OperationName { action, id: OperationId::NONE };
            return Ok(Response::new(updates::completed(self, name, inline, cached_response(result))));
        }
        let task = inputs.into_task(action.clone(), priority, build, SystemTime::now());
        let watch = self.scheduler.execute(task)?;
        let instance_name = &*action.instance_name;
        audit(&extensions, |caller| {
            tracing::info!(target: "audit", caller, instance_name, action = %action.digest, "had an action run");
        });
        Ok(Response::new(updates::stream(self, action, inline, watch)))
    }

    type WaitExecutionStream = AnswerStream<Operation>;

    async fn wait_execution(
        &self,
        request: Request<WaitExecutionRequest>,
    ) -> Result<Response<Self::WaitExecutionStream>, Status> {
        let build = build_id(request.metadata(), request.extensions());
        let name = OperationName::parse(&request.get_ref().name)?;
        admit(request.extensions(), EXECUTORS, &name.action.instance_name)?;
        let inline = InlineRequest::default();
        if let Some(watch) = self.scheduler.wait(name.id, &name.action) {
            return Ok(Response::new(updates::stream(self, name.action, inline, watch)));
        }
        // An operation of an earlier server, or one that was forgotten: its result may be known all the same.
        if let Some(result) = self.action_cache.get(&name.action).await? {
            return Ok(Response::new(updates::completed(self, name, inline, cached_response(result))));
        }
        // Or it did not come to its end there. Some clients give up where they are told to execute again, so that is done here.
        let inputs = Inputs::load(self, &name.action).await.map_err(|status| match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument => Status::not_found(format!(
                "operation {name} is not known, and can't be begun again: {}",
                status.message()
            )),
            _ => status,
        })?;
        let task = inputs.into_task(name.action.clone(), 0, build, SystemTime::now());
        let watch = self.scheduler.execute(task)?;
        Ok(Response::new(updates::stream(self, name.action, inline, watch)))
    }
}

fn cached_response(result: Arc<ActionResult>) -> ExecuteResponse {
    ExecuteResponse {
        result: Some(Arc::unwrap_or_clone(result)),
        cached_result: true,
        status: Some(status::ok()),
        ..ExecuteResponse::default()
    }
}
