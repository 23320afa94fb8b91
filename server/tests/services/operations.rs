//! Operations by name: looked at, listed, cancelled, deleted.

use crate::support::*;
use prost::Message as _;
use pumphouse_proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, WaitOperationRequest,
    operation,
};
use pumphouse_proto::reapi::{
    ExecuteOperationMetadata, ExecuteResponse, ExecutedActionMetadata, execution_stage::Value as Stage,
};
use tonic::Code;

#[tokio::test]
async fn operations_are_looked_at_listed_cancelled_and_deleted() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let name = stream.message().await.unwrap().unwrap().name;
    let mut operations = server.operations();
    let get = GetOperationRequest { name: name.clone() };
    assert!(!operations.get_operation(get.clone()).await.unwrap().into_inner().done);
    let list = ListOperationsRequest { name: "operations".into(), ..Default::default() };
    let listed = operations.list_operations(list).await.unwrap().into_inner().operations;
    assert_eq!(listed.iter().map(|operation| &operation.name).collect::<Vec<_>>(), [&name]);
    let elsewhere = ListOperationsRequest { name: "other/operations".into(), ..Default::default() };
    assert!(operations.list_operations(elsewhere).await.unwrap().into_inner().operations.is_empty());
    let delete = DeleteOperationRequest { name: name.clone() };
    assert_eq!(operations.delete_operation(delete.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let wait = WaitOperationRequest { name: name.clone(), timeout };
    assert!(!operations.wait_operation(wait.clone()).await.unwrap().into_inner().done);
    let assignment = worker.until_desired(1).await.remove(0);
    worker.hold(vec![executing(&assignment)]).await;
    operations.cancel_operation(CancelOperationRequest { name: name.clone() }).await.unwrap();
    worker.until_desired(0).await;
    assert_eq!(finish(&mut stream).await.status.unwrap().code, i32::from(Code::Cancelled));
    assert!(operations.wait_operation(wait).await.unwrap().into_inner().done);
    operations.delete_operation(delete).await.unwrap();
    assert_eq!(operations.get_operation(get).await.unwrap_err().code(), Code::NotFound);
    let bad = operations.get_operation(GetOperationRequest { name: "x".into() }).await.unwrap_err();
    assert_eq!(bad.code(), Code::NotFound, "it may be another server's");
    server.stop().await;
}

#[tokio::test]
async fn a_list_says_how_operations_ended_without_what_they_made() {
    let server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    let mut response = exit(3);
    let result = response.result.as_mut().unwrap();
    result.stdout_raw = vec![b'x'; 100_000].into();
    result.execution_metadata = Some(ExecutedActionMetadata { worker: "w".into(), ..Default::default() });
    worker.complete(&assignment, response).await;
    finish(&mut stream).await;
    let list = ListOperationsRequest { name: "operations".into(), ..Default::default() };
    let listed = server.operations().list_operations(list).await.unwrap().into_inner().operations.remove(0);
    assert!(listed.done && listed.encoded_len() < 2000, "{} bytes", listed.encoded_len());
    let metadata: ExecuteOperationMetadata = listed.metadata.as_ref().unwrap().to_msg().unwrap();
    assert_eq!(metadata.stage(), Stage::Completed);
    let Some(operation::Result::Response(response)) = listed.result else { panic!("no response: {listed:?}") };
    let result = response.to_msg::<ExecuteResponse>().unwrap().result.unwrap();
    assert_eq!((result.exit_code, result.execution_metadata.unwrap().worker.as_str()), (3, "w"));
    server.stop().await;
}
