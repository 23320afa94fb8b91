//! Operations by name, for clients that poll, look or cancel.
//!
//! **Source:** `google.longrunning`.

use super::Backend;
use super::execution::updates;
use super::operation_name::{OperationName, parse_collection};
use super::request::admit;
use crate::access::EXECUTORS;
use crate::action_cache::InlineRequest;
use crate::scheduler::{ActionKey, OperationId, OperationView};
use pumphouse_proto::longrunning::operations_server::Operations;
use pumphouse_proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    Operation, WaitOperationRequest,
};
use pumphouse_proto::reapi::{ActionResult, ExecuteResponse, ExecutedActionMetadata};
use pumphouse_proto::rpc;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How many operations a page has where the client doesn't say, and at most.
const OPERATIONS_PER_PAGE: usize = 500;

/// How much of what an execution failed for stands in a list.
const LISTED_MESSAGE_CHARACTERS: usize = 256;

/// How long `WaitOperation` waits at most; clients that wait longer ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

#[tonic::async_trait]
impl Operations for Backend {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let instance_name = parse_collection(&request.name)?;
        admit(&extensions, EXECUTORS, instance_name)?;
        let size = usize::try_from(request.page_size)
            .map_err(|_| Status::invalid_argument("page_size: must not be negative"))?;
        let size = if size == 0 { OPERATIONS_PER_PAGE } else { size.min(OPERATIONS_PER_PAGE) };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(OperationId(
                u128::from_str_radix(token, 16)
                    .map_err(|_| Status::invalid_argument(format!("page_token: {token:?} is not one of ours")))?,
            )),
        };
        let listed = self.scheduler.list(instance_name, after, size);
        let next_page_token = match listed.last() {
            Some((id, _)) if listed.len() == size => id.to_string(),
            _ => String::new(),
        };
        let mut operations = Vec::with_capacity(listed.len());
        for (id, _) in listed {
            if let Some((action, view)) = self.scheduler.view(id) {
                let response = view.response.map(|response| Arc::new(ending(&response)));
                operations.push(self.operation(id, action, OperationView { response, ..view }).await);
            }
        }
        Ok(Response::new(ListOperationsResponse { operations, next_page_token }))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        let name = OperationName::parse(&request.get_ref().name)?;
        admit(request.extensions(), EXECUTORS, &name.action.instance_name)?;
        let view = self.known(&name)?;
        Ok(Response::new(self.operation(name.id, name.action, view).await))
    }

    async fn delete_operation(&self, request: Request<DeleteOperationRequest>) -> Result<Response<()>, Status> {
        let name = OperationName::parse(&request.get_ref().name)?;
        admit(request.extensions(), EXECUTORS, &name.action.instance_name)?;
        self.known(&name)?;
        match self.scheduler.delete(name.id) {
            Some(true) => Ok(Response::new(())),
            Some(false) => Err(Status::failed_precondition(format!("operation {name} is not completed; cancel it"))),
            None => Err(not_known(&name)),
        }
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<()>, Status> {
        let name = OperationName::parse(&request.get_ref().name)?;
        admit(request.extensions(), EXECUTORS, &name.action.instance_name)?;
        self.known(&name)?;
        if self.scheduler.cancel(name.id) { Ok(Response::new(())) } else { Err(not_known(&name)) }
    }

    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Result<Response<Operation>, Status> {
        let (_, extensions, request) = request.into_parts();
        let name = OperationName::parse(&request.name)?;
        admit(&extensions, EXECUTORS, &name.action.instance_name)?;
        let timeout = request.timeout.map(Duration::try_from).transpose();
        let timeout = timeout.map_err(|error| Status::invalid_argument(format!("timeout: {error}")))?;
        let timeout = timeout.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let mut watch = self.scheduler.wait(name.id, &name.action).ok_or_else(|| not_known(&name))?;
        let completed = watch.view.wait_for(|view| view.response.is_some());
        let view = tokio::time::timeout(timeout, completed).await.ok().and_then(Result::ok).map(|view| view.clone());
        let view = view.unwrap_or_else(|| watch.view.borrow().clone());
        Ok(Response::new(self.operation(name.id, name.action, view).await))
    }
}

impl Backend {
    /// The operation of that name, whose action has to be the one that is named: the caller has a role for that instance.
    fn known(&self, name: &OperationName) -> Result<OperationView, Status> {
        let known = self.scheduler.view(name.id).filter(|(action, _)| *action == name.action);
        known.map(|(_, view)| view).ok_or_else(|| not_known(name))
    }

    async fn operation(&self, id: OperationId, action: ActionKey, view: OperationView) -> Operation {
        updates::operation(self, &OperationName { action, id }, &InlineRequest::default(), view).await
    }
}

/// How an execution ended, without what it made: a page of whole responses would be larger than a message.
fn ending(response: &ExecuteResponse) -> ExecuteResponse {
    let result = response.result.as_ref().map(|result| ActionResult {
        exit_code: result.exit_code,
        execution_metadata: result
            .execution_metadata
            .clone()
            .map(|metadata| ExecutedActionMetadata { auxiliary_metadata: Vec::new(), ..metadata }),
        ..ActionResult::default()
    });
    let status = response.status.as_ref().map(|status| rpc::Status {
        code: status.code,
        message: status.message.chars().take(LISTED_MESSAGE_CHARACTERS).collect(),
        details: Vec::new(),
    });
    ExecuteResponse { result, status, cached_result: response.cached_result, ..ExecuteResponse::default() }
}

fn not_known(name: &OperationName) -> Status {
    Status::not_found(format!("operation {name} is not known"))
}
