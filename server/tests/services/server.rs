//! Capabilities, health, reflection, HTTP, and how a server ends.

use crate::support::*;
use pumphouse_proto::reapi::capabilities_client::CapabilitiesClient;
use pumphouse_proto::reapi::{GetCapabilitiesRequest, compressor, digest_function};
use pumphouse_server::Server;
use std::time::Duration;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn capabilities_suit_old_and_new_clients() {
    let server = TestServer::start().await;
    let request = GetCapabilitiesRequest { instance_name: "any/name".into() };
    let capabilities =
        CapabilitiesClient::new(server.channel.clone()).get_capabilities(request).await.unwrap().into_inner();
    let low = capabilities.low_api_version.unwrap();
    let high = capabilities.high_api_version.unwrap();
    assert_eq!((low.major, low.minor, high.major), (2, 0, 2));
    let cache = capabilities.cache_capabilities.unwrap();
    assert!(cache.max_batch_total_size_bytes > 3_900_000 && cache.max_batch_total_size_bytes < 4 << 20);
    let zstd: i32 = compressor::Value::Zstd.into();
    assert!(cache.supported_compressors.contains(&zstd) && cache.supported_batch_update_compressors.contains(&zstd));
    assert!(cache.action_cache_update_capabilities.unwrap().update_enabled);
    assert!(cache.split_blob_support && cache.splice_blob_support);
    assert_eq!(cache.fast_cdc_2020_params.map(|params| (params.avg_chunk_size_bytes, params.seed)), Some((524_288, 0)));
    let [sha256, blake3] = [digest_function::Value::Sha256, digest_function::Value::Blake3].map(i32::from);
    assert_eq!(cache.digest_functions, [sha256, blake3]);
    let execution = capabilities.execution_capabilities.unwrap();
    assert!(execution.exec_enabled);
    assert_eq!((execution.digest_function, execution.digest_functions), (sha256, vec![sha256, blake3]));
    let range = execution.execution_priority_capabilities.unwrap().priorities[0];
    assert!(range.min_priority < 0 && range.max_priority > 0);
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let server = TestServer::start().await;
    let health = HealthClient::new(server.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("a list of services");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["build.bazel.remote.execution.v2.Execution", "google.bytestream.ByteStream", "grpc.health.v1.Health"] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_lets_runs_end() {
    let mut server = TestServer::start().await;
    let mut worker = TestWorker::connect(&server, "w", 2, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let late = server.upload_action("late", |_| {}).await;
    let mut stream = server.execute(action).await;
    let assignment = worker.until_desired(1).await.remove(0);
    server.begin_stop();
    let refused = loop {
        match server.try_execute(execute_request(late)).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    for run in worker.desired.clone() {
        assert!(run.run_id == assignment.run_id || run.action_digest == Some(late.into()));
    }
    worker.hold(vec![completed(&assignment, exit(0))]).await;
    assert_eq!(finish(&mut stream).await.result.unwrap().exit_code, 0);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_told_to_come_back() {
    let mut server = TestServer::start_with(|config| config.drain_timeout = Duration::from_millis(100)).await;
    let mut worker = TestWorker::connect(&server, "w", 1, &[]).await;
    let action = server.upload_action("a", |_| {}).await;
    let mut stream = server.execute(action).await;
    worker.until_desired(1).await;
    server.begin_stop();
    let status = loop {
        match stream.message().await {
            Ok(Some(operation)) => assert!(!operation.done),
            Ok(None) => panic!("a stream ends only with the operation"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(worker.until_ended().await.unwrap().code(), Code::Unavailable);
    server.stop().await;
}

#[tokio::test]
async fn two_servers_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let error = Server::bind(config(dir.path())).await.err().unwrap();
    assert!(format!("{error:#}").contains("another server uses this directory"), "{error:#}");
    server.stop().await;
    TestServer::start_from(config(dir.path())).await.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_leaves_journals_that_the_next_one_believes() {
    let dir = tempfile::tempdir().unwrap();
    let marks = || ["cas", "action-cache"].map(|name| dir.path().join(name).join("ended").exists());
    let server = TestServer::start_from(config(dir.path())).await;
    let digests = server.upload(&[b"one", b"two"]).await;
    assert_eq!(marks(), [false, false]);
    server.stop().await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while marks() != [true, true] {
        assert!(std::time::Instant::now() < deadline, "ended in order");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let server = TestServer::start_from(config(dir.path())).await;
    assert_eq!(marks(), [false, false], "from here on it may not");
    assert!(server.missing(&digests).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_blob_that_has_rotted_is_data_loss_and_repaired_by_the_next_upload() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    // Too large for the memory before the disk.
    let blob = vec![7; 300_000];
    let digest = server.upload(&[&blob]).await[0];
    let hash = digest.hash_hex();
    let path = dir.path().join("cas").join(&hash[..2]).join(&hash);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 150_000).unwrap();
    file.set_modified(modified).unwrap();
    let request = pumphouse_proto::reapi::BatchReadBlobsRequest { digests: vec![digest.into()], ..Default::default() };
    let answer = server.cas().batch_read_blobs(request).await.unwrap().into_inner();
    assert_eq!(answer.responses[0].status.as_ref().unwrap().code, Code::DataLoss as i32, "{answer:?}");
    assert_eq!(server.missing(&[digest]).await, [digest]);
    server.upload(&[&blob]).await;
    assert!(server.missing(&[digest]).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.listen = server.address;
    let error = Server::bind(config).await.err().unwrap();
    assert!(error.to_string().contains(&format!("cannot listen on {}", server.address)), "{error:#}");
    server.stop().await;
}
