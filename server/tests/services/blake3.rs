//! Every call with digests of BLAKE3.

use crate::support::*;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::asset::fetch_client::FetchClient;
use pumphouse_proto::asset::push_client::PushClient;
use pumphouse_proto::asset::{FetchBlobRequest, PushBlobRequest};
use pumphouse_proto::bytestream::{ReadRequest, WriteRequest};
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::{
    Action, ActionResult, BatchReadBlobsRequest, BatchUpdateBlobsRequest, Command, Directory, DirectoryNode,
    ExecuteOperationMetadata, ExecuteRequest, FileNode, FindMissingBlobsRequest, GetActionResultRequest,
    GetTreeRequest, OutputFile, SpliceBlobRequest, SplitBlobRequest, UpdateActionResultRequest, WaitExecutionRequest,
    batch_update_blobs_request,
};
use pumphouse_proto::status::missing_blobs_in;
use tonic::{Code, Status};

const BLAKE3: DigestFunction = DigestFunction::Blake3;

async fn upload(server: &TestServer, blobs: &[&[u8]]) -> Vec<Digest> {
    let digests: Vec<Digest> = blobs.iter().map(|blob| BLAKE3.digest(blob)).collect();
    let requests = digests.iter().zip(blobs).map(|(digest, blob)| batch_update_blobs_request::Request {
        digest: Some(digest.into()),
        data: Bytes::copy_from_slice(blob),
        compressor: 0,
    });
    let digest_function = BLAKE3.to_field();
    let request = BatchUpdateBlobsRequest { requests: requests.collect(), digest_function, ..Default::default() };
    let answer = server.cas().batch_update_blobs(request).await.unwrap().into_inner();
    assert!(answer.responses.iter().all(|response| response.status.as_ref().unwrap().code == 0), "{answer:?}");
    digests
}

async fn missing(server: &TestServer, digests: &[Digest]) -> Vec<Digest> {
    let blob_digests = digests.iter().map(Into::into).collect();
    let request = FindMissingBlobsRequest { blob_digests, digest_function: BLAKE3.to_field(), ..Default::default() };
    let missing = server.cas().find_missing_blobs(request).await.unwrap().into_inner().missing_blob_digests;
    missing.iter().map(|digest| BLAKE3.read(digest).unwrap()).collect()
}

async fn read(server: &TestServer, name: String) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { resource_name: name, read_offset: 0, read_limit: 0 };
    let mut messages = server.bytestream().read(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(message) = messages.message().await? {
        content.extend(message.data);
    }
    Ok(content)
}

async fn write(server: &TestServer, digest: Digest, content: &[u8]) -> Result<i64, Status> {
    let message = WriteRequest {
        resource_name: format!("uploads/one/blobs/{digest}"),
        write_offset: 0,
        finish_write: true,
        data: Bytes::copy_from_slice(content),
    };
    Ok(server.bytestream().write(tokio_stream::iter([message])).await?.into_inner().committed_size)
}

#[tokio::test]
async fn blobs_come_and_go_by_either_function() {
    let server = TestServer::start().await;
    let large = vec![7; 200_000];
    let [small, absent] = [&b"small"[..], b"absent"].map(|content| BLAKE3.digest(content));
    assert_eq!(upload(&server, &[b"small"]).await, [small]);
    let streamed = BLAKE3.digest(&large);
    assert_eq!(streamed.to_string().split('/').next(), Some("blake3"));
    assert_eq!(write(&server, streamed, &large).await.unwrap(), 200_000);
    assert_eq!(missing(&server, &[small, absent, streamed, BLAKE3.empty()]).await, [absent]);
    assert_eq!(read(&server, format!("blobs/{streamed}")).await.unwrap(), large);
    assert_eq!(read(&server, format!("blobs/{}", BLAKE3.empty())).await.unwrap(), b"");
    let batch = BatchReadBlobsRequest {
        digests: vec![small.into(), absent.into()],
        digest_function: BLAKE3.to_field(),
        ..Default::default()
    };
    let answer = server.cas().batch_read_blobs(batch).await.unwrap().into_inner();
    let codes: Vec<i32> = answer.responses.iter().map(|response| response.status.as_ref().unwrap().code).collect();
    assert_eq!((codes, &answer.responses[0].data[..]), (vec![0, Code::NotFound.into()], &b"small"[..]));

    // The same content has another name by the other function, and is not there by it.
    assert_eq!(server.missing(&[Digest::of(b"small")]).await, [Digest::of(b"small")]);
    // A hash of the one function is none of the other's.
    for wrong in [Digest::of(b"new").by(BLAKE3), BLAKE3.digest(b"new").by(DigestFunction::Sha256)] {
        assert_eq!(write(&server, wrong, b"new").await.unwrap_err().code(), Code::InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test]
async fn trees_and_chunks_are_named_by_the_function_of_their_root() {
    let server = TestServer::start().await;
    let file = FileNode { name: "f".into(), digest: Some(BLAKE3.digest(b"file").into()), ..Default::default() };
    let below = Directory { files: vec![file], ..Default::default() }.encode_to_vec();
    let node = DirectoryNode { name: "d".into(), digest: Some(BLAKE3.digest(&below).into()) };
    let root = Directory { directories: vec![node], ..Default::default() }.encode_to_vec();
    let [_, root] = upload(&server, &[&below, &root]).await[..] else { panic!("two") };
    let digest_function = BLAKE3.to_field();
    let request = GetTreeRequest { root_digest: Some(root.into()), digest_function, ..Default::default() };
    let page = server.cas().get_tree(request).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(page.directories.len(), 2);

    let parts = upload(&server, &[b"one ", b"two"]).await;
    let splice = |blob_digest: Option<Digest>| SpliceBlobRequest {
        blob_digest: blob_digest.map(Into::into),
        chunk_digests: parts.iter().map(Into::into).collect(),
        digest_function,
        ..Default::default()
    };
    let whole = BLAKE3.digest(b"one two");
    for expected in [None, Some(whole)] {
        let made = server.cas().splice_blob(splice(expected)).await.unwrap().into_inner();
        assert_eq!(made.blob_digest, Some(whole.into()));
    }
    let long: Vec<u8> = (0..5_000_000_u64).map(|number| ((number * number) >> 7) as u8).collect();
    let blob = BLAKE3.digest(&long);
    let mut halves = upload(&server, &[&long[..2_500_000]]).await;
    halves.extend(upload(&server, &[&long[2_500_000..]]).await);
    let request = SpliceBlobRequest { chunk_digests: halves.iter().map(Into::into).collect(), ..splice(Some(blob)) };
    server.cas().splice_blob(request).await.unwrap();
    let split = SplitBlobRequest { blob_digest: Some(blob.into()), digest_function, ..Default::default() };
    let chunks = server.cas().split_blob(split).await.unwrap().into_inner().chunk_digests;
    assert_eq!(chunks, halves.iter().map(Into::into).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn results_of_actions_are_told_apart_by_function() {
    let server = TestServer::start().await;
    let [output] = upload(&server, &[b"output"]).await[..] else { panic!("one") };
    let action = BLAKE3.digest(b"action");
    let result = ActionResult {
        output_files: vec![OutputFile { path: "o".into(), digest: Some(output.into()), ..Default::default() }],
        ..Default::default()
    };
    let update = UpdateActionResultRequest {
        action_digest: Some(action.into()),
        action_result: Some(result),
        digest_function: BLAKE3.to_field(),
        ..Default::default()
    };
    server.action_cache().update_action_result(update).await.unwrap();
    let get = |digest_function| GetActionResultRequest {
        action_digest: Some(action.into()),
        inline_output_files: vec!["o".into()],
        digest_function,
        ..Default::default()
    };
    let found = server.action_cache().get_action_result(get(BLAKE3.to_field())).await.unwrap().into_inner();
    assert_eq!(found.output_files[0].contents, &b"output"[..]);
    assert_eq!(server.action_cache().get_action_result(get(0)).await.unwrap_err().code(), Code::NotFound);

    let uris = vec!["urn:x".to_owned()];
    let push = PushBlobRequest {
        uris: uris.clone(),
        blob_digest: Some(output.into()),
        digest_function: BLAKE3.to_field(),
        ..Default::default()
    };
    PushClient::new(server.channel.clone()).push_blob(push).await.unwrap();
    let mut fetch = FetchClient::new(server.channel.clone());
    let mut fetched = async |digest_function| {
        let request = FetchBlobRequest { uris: uris.clone(), digest_function, ..Default::default() };
        fetch.fetch_blob(request).await.unwrap().into_inner()
    };
    let found = fetched(BLAKE3.to_field()).await;
    assert_eq!((found.blob_digest, found.digest_function), (Some(output.into()), BLAKE3.to_field()));
    assert_eq!(fetched(0).await.status.unwrap().code, i32::from(Code::NotFound), "its name by SHA-256 is not known");
    server.stop().await;
}

#[tokio::test]
async fn actions_are_run_waited_for_and_begun_again_by_their_function() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let command = Command { arguments: vec!["run".into()], ..Default::default() }.encode_to_vec();
    let action = Action {
        command_digest: Some(BLAKE3.digest(&command).into()),
        input_root_digest: Some(BLAKE3.empty().into()),
        ..Default::default()
    };
    let action = action.encode_to_vec();
    let [action] = upload(&server, &[&action]).await[..] else { panic!("one") };
    let request =
        ExecuteRequest { action_digest: Some(action.into()), digest_function: BLAKE3.to_field(), ..Default::default() };
    let refused = server.try_execute(request.clone()).await.unwrap_err();
    assert_eq!(missing_blobs_in(&refused), Some(vec![BLAKE3.digest(&command)]));
    upload(&server, &[&command]).await;
    let mut stream = server.try_execute(request).await.unwrap();
    let operation = stream.message().await.unwrap().unwrap();
    let metadata: ExecuteOperationMetadata = operation.metadata.as_ref().unwrap().to_msg().unwrap();
    assert_eq!(metadata.digest_function, BLAKE3.to_field());
    server.kill().await;

    // The name says the function, so another server knows what is waited for.
    let server = TestServer::start_from(config(dir.path())).await;
    let request = WaitExecutionRequest { name: operation.name };
    let mut stream = server.execution().wait_execution(request).await.unwrap().into_inner();
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let assignment = worker.until_desired(1).await.remove(0);
    assert_eq!(assignment.digest_function, BLAKE3.to_field());
    assert_eq!(BLAKE3.read_field(&assignment.action_digest), Ok(action));
    assert_eq!(assignment.blobs.len(), 2, "the action and its command come along");
    worker.complete(&assignment, exit(0)).await;
    assert_eq!(finish(&mut stream).await.result.unwrap().exit_code, 0);
    let get = GetActionResultRequest {
        action_digest: Some(action.into()),
        digest_function: BLAKE3.to_field(),
        ..Default::default()
    };
    server.action_cache().get_action_result(get).await.unwrap();
    server.stop().await;
}
