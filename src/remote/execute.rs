//! Running an action on the server, and holding on to it over broken connections.
//!
//! A broken stream is taken up again with `WaitExecution`; where the operation is unknown by then, the action is executed
//! again. An operation whose compile is no longer wanted is cancelled.

use super::RemoteError;
use super::session::{Caller, Session};
use prost::Message as _;
use pumphouse_proto::connection::Connection;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::longrunning::operations_client::OperationsClient;
use pumphouse_proto::longrunning::{CancelOperationRequest, Operation, operation};
use pumphouse_proto::reapi::{
    ActionResult, ExecuteOperationMetadata, ExecuteRequest, ExecuteResponse, WaitExecutionRequest, execution_stage,
};
use pumphouse_proto::retry::{delay, is_transient};
use pumphouse_proto::{rpc, status};
use std::time::Duration;
use tonic::{Code, Status, Streaming};

/// How often a stream that broke is taken up again, without anything having arrived in between.
const ATTEMPTS: u32 = 5;

/// How often an action is run whose worker was in trouble.
const WORKER_ATTEMPTS: u32 = 3;

/// How long a stream may be silent: servers speak at least once a minute.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);

/// How long cancelling may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an execution is, as the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Executing,
}

/// What an execution came to.
#[derive(Debug)]
pub(crate) enum Executed {
    /// A result, whose exit code may be anything.
    Result {
        /// What was made.
        result: Box<ActionResult>,
        /// Whether the server had it already.
        from_cache: bool,
    },
    /// Inputs that the server lacks.
    Missing(Vec<Digest>),
}

impl Session {
    /// Runs `action`, whose inputs the server has, and awaits its end. Dropped before, it cancels the operation. What the
    /// server says meanwhile goes to `tell`.
    ///
    /// # Errors
    /// The server failed, or is gone for longer than the attempts last.
    pub(crate) async fn execute(
        &self,
        caller: &Caller,
        action: Digest,
        inline_output_files: &[String],
        tell: &(impl Fn(Progress) + Sync),
    ) -> Result<Executed, RemoteError> {
        let (mut client, operations) = self.execution();
        let mut running = Running { name: String::new(), operations };
        let mut failures = 0;
        let mut trouble = 0;
        loop {
            let opened = if running.name.is_empty() {
                let request = ExecuteRequest {
                    instance_name: self.instance_name().to_owned(),
                    action_digest: Some(action.into()),
                    inline_stdout: true,
                    inline_stderr: true,
                    inline_output_files: inline_output_files.to_vec(),
                    ..ExecuteRequest::default()
                };
                answered(client.execute(caller.request(request, None))).await
            } else {
                let request = WaitExecutionRequest { name: running.name.clone() };
                answered(client.wait_execution(caller.request(request, None))).await
            };
            let outcome = match opened {
                Ok(stream) => {
                    let heard = |operation: &Operation| {
                        self.heard();
                        tell(progress(operation));
                    };
                    running.follow(stream.into_inner(), &mut failures, &heard).await
                }
                Err(status) => Err(status),
            };
            let (status, may_pass) = match outcome {
                Ok(response) => {
                    // It is over, so there is nothing to cancel, and nothing to take up again.
                    running.name.clear();
                    match ended(response)? {
                        Ended::Executed(executed) => return Ok(executed),
                        // The operation's own word that a worker was in trouble; others may do better.
                        Ended::Failed(status) => {
                            trouble += 1;
                            let may_pass = status.code() == Code::Unavailable && trouble < WORKER_ATTEMPTS;
                            (status, may_pass)
                        }
                    }
                }
                Err(status) => {
                    failures += 1;
                    let is_forgotten = status.code() == Code::NotFound && !running.name.is_empty();
                    if is_forgotten {
                        running.name.clear();
                    }
                    let may_pass = failures <= ATTEMPTS && (is_forgotten || is_transient(&status));
                    (status, may_pass)
                }
            };
            if let Some(missing) = status::missing_blobs_in(&status) {
                running.name.clear();
                return Ok(Executed::Missing(missing));
            }
            if !may_pass {
                return Err(RemoteError::call("Execute")(status));
            }
            tracing::debug!(%action, %status, failures, trouble, "an execution is taken up again");
            tokio::time::sleep(delay(failures.max(trouble))).await;
        }
    }
}

/// What `call` comes to within [`SILENCE_LIMIT`].
async fn answered<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silence = || Err(Status::unavailable("the server says nothing"));
    tokio::time::timeout(SILENCE_LIMIT, call).await.unwrap_or_else(|_| silence())
}

/// Where an operation that is not done is. A server that says nothing of it has not begun.
fn progress(operation: &Operation) -> Progress {
    let metadata = operation.metadata.as_ref();
    let metadata = metadata.and_then(|any| ExecuteOperationMetadata::decode(any.value.as_slice()).ok());
    match metadata.map(|metadata| metadata.stage()) {
        Some(execution_stage::Value::Executing | execution_stage::Value::Completed) => Progress::Executing,
        _ => Progress::Queued,
    }
}

/// An operation that somebody waits for; cancelled when dropped with its name.
struct Running {
    name: String,
    operations: OperationsClient<Connection>,
}

impl Running {
    /// Reads the stream up to the operation's end. Whatever arrives makes `failures` zero.
    async fn follow(
        &mut self,
        mut stream: Streaming<Operation>,
        failures: &mut u32,
        heard: &(impl Fn(&Operation) + Sync),
    ) -> Result<ExecuteResponse, Status> {
        loop {
            let message = answered(stream.message()).await?;
            let Some(operation) = message else { return Err(Status::unavailable("the stream ended early")) };
            heard(&operation);
            *failures = 0;
            self.name = operation.name;
            if !operation.done {
                continue;
            }
            return match operation.result {
                Some(operation::Result::Response(response)) => ExecuteResponse::decode(response.value.as_ref())
                    .map_err(|error| Status::data_loss(format!("the response can't be decoded: {error}"))),
                Some(operation::Result::Error(error)) => Err(failed(&error)),
                None => Err(Status::data_loss("the operation is done and has no response")),
            };
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        let mut operations = self.operations.clone();
        let mut request = tonic::Request::new(CancelOperationRequest { name: std::mem::take(&mut self.name) });
        request.set_timeout(CANCEL_TIMEOUT);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A server without this call notices the closed stream.
            runtime.spawn(async move { operations.cancel_operation(request).await.err() });
        }
    }
}

/// How an operation ended.
enum Ended {
    Executed(Executed),
    Failed(Status),
}

fn ended(response: ExecuteResponse) -> Result<Ended, RemoteError> {
    if let Some(error) = response.status.filter(|status| status.code != i32::from(Code::Ok)) {
        return Ok(Ended::Failed(failed(&error)));
    }
    match response.result {
        Some(result) => {
            Ok(Ended::Executed(Executed::Result { result: Box::new(result), from_cache: response.cached_result }))
        }
        None => Err(RemoteError::Wrong("an execution that succeeded has no result".to_owned())),
    }
}

/// The status that a message carries; one that claims success here is a failure all the same.
fn failed(message: &rpc::Status) -> Status {
    match status::from_message(message) {
        status if status.code() == Code::Ok => Status::data_loss("a failure that is no failure"),
        status => status,
    }
}
