//! An operation as its clients see it: the stream of its states, the last of which has the response.

use super::super::operation_name::OperationName;
use super::super::{AnswerStream, Backend, shutting_down};
use crate::action_cache::{self, InlineRequest};
use crate::scheduler::{ActionKey, OperationView, OperationWatch, Stage};
use futures::stream::{self, StreamExt as _};
use prost_types::Any;
use pumphouse_proto::longrunning::{Operation, operation};
use pumphouse_proto::reapi::{ExecuteOperationMetadata, ExecuteResponse, ExecutedActionMetadata, execution_stage};
use std::time::Duration;
use tonic::Status;

/// An operation whose state doesn't change is repeated this often, so that nobody takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The stream of an operation that is answered at once.
pub(super) fn completed(
    backend: &Backend,
    name: OperationName,
    inline: InlineRequest,
    response: ExecuteResponse,
) -> AnswerStream<Operation> {
    let backend = backend.clone();
    let operation = async move { Ok(completed_operation(&backend, &name, &inline, response).await) };
    stream::once(operation).boxed()
}

/// The stream of an operation that the scheduler has: its present state at once, every later one, and the end.
pub(super) fn stream(
    backend: &Backend,
    action: ActionKey,
    inline: InlineRequest,
    watch: OperationWatch,
) -> AnswerStream<Operation> {
    let name = OperationName { action, id: watch.id };
    let updates = Updates { backend: backend.clone(), name, inline, watch, is_first: true, is_done: false };
    stream::unfold(updates, |mut updates| async {
        let next = updates.next().await?;
        Some((next, updates))
    })
    .boxed()
}

struct Updates {
    backend: Backend,
    name: OperationName,
    inline: InlineRequest,
    watch: OperationWatch,
    is_first: bool,
    is_done: bool,
}

impl Updates {
    async fn next(&mut self) -> Option<Result<Operation, Status>> {
        if self.is_done {
            return None;
        }
        if !std::mem::take(&mut self.is_first) {
            tokio::select! {
                // The end of an operation comes before the end of the server.
                biased;
                changed = self.watch.view.changed() => if changed.is_err() {
                    self.is_done = true;
                    return Some(Err(Status::not_found(format!("operation {} was forgotten", self.name))));
                },
                () = tokio::time::sleep(HEARTBEAT) => {}
                () = self.backend.closing.cancelled() => {
                    self.is_done = true;
                    return Some(Err(shutting_down()));
                }
            }
        }
        let view = self.watch.view.borrow_and_update().clone();
        self.is_done = view.response.is_some();
        Some(Ok(operation(&self.backend, &self.name, &self.inline, view).await))
    }
}

/// The message for a state.
pub(in super::super) async fn operation(
    backend: &Backend,
    name: &OperationName,
    inline: &InlineRequest,
    view: OperationView,
) -> Operation {
    let stage = match (view.stage, view.response) {
        (_, Some(response)) => {
            let response = std::sync::Arc::unwrap_or_clone(response);
            return completed_operation(backend, name, inline, response).await;
        }
        (Stage::Queued, None) => execution_stage::Value::Queued,
        (Stage::Executing | Stage::Completed, None) => execution_stage::Value::Executing,
    };
    let worker = view.worker.map(|worker| worker.to_string()).unwrap_or_default();
    let metadata = metadata(name, stage, ExecutedActionMetadata { worker, ..ExecutedActionMetadata::default() });
    Operation { name: name.to_string(), metadata: Some(metadata), done: false, result: None }
}

async fn completed_operation(
    backend: &Backend,
    name: &OperationName,
    inline: &InlineRequest,
    mut response: ExecuteResponse,
) -> Operation {
    let mut partial = ExecutedActionMetadata::default();
    if let Some(result) = &mut response.result {
        action_cache::shrink(result);
        inline.apply(name.action.digest.function(), result, backend.blobs.as_ref()).await;
        partial = result.execution_metadata.clone().unwrap_or_default();
    }
    let metadata = metadata(name, execution_stage::Value::Completed, partial);
    let result = Some(operation::Result::Response(any(&response)));
    Operation { name: name.to_string(), metadata: Some(metadata), done: true, result }
}

fn metadata(name: &OperationName, stage: execution_stage::Value, partial: ExecutedActionMetadata) -> Any {
    any(&ExecuteOperationMetadata {
        stage: stage.into(),
        action_digest: Some(name.action.digest.into()),
        partial_execution_metadata: Some(partial),
        digest_function: name.action.digest.function().to_field(),
        ..ExecuteOperationMetadata::default()
    })
}

fn any<T: prost::Name>(message: &T) -> Any {
    Any::from_msg(message).expect("a message encodes into a vector")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{BuildId, ExecuteTask, Requirements};
    use pumphouse_proto::digest::Digest;
    use std::time::SystemTime;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_does_not_change_is_repeated_within_a_minute() {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Backend::for_test(dir.path());
        let action = ActionKey { instance_name: "".into(), digest: Digest::of(b"action") };
        let task = ExecuteTask {
            action: action.clone(),
            do_not_cache: false,
            requirements: Requirements::default(),
            priority: 0,
            build: BuildId::default(),
            timeout: Duration::from_secs(1),
            queued_at: SystemTime::UNIX_EPOCH,
        };
        let watch = backend.scheduler.execute(task).expect("there is room");
        let mut updates = stream(&backend, action, InlineRequest::default(), watch);
        let started = Instant::now();
        let first = updates.next().await.expect("goes on").expect("an operation");
        assert_eq!(started.elapsed(), Duration::ZERO, "the first state comes at once");
        for _ in 0..3 {
            let before = Instant::now();
            assert_eq!(updates.next().await.expect("goes on").expect("an operation"), first);
            assert!(before.elapsed() < Duration::from_secs(60));
        }
    }
}
