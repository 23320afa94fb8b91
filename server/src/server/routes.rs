//! All services under their names.

use crate::services::Backend;
use crate::services::bytestream::ByteStreams;
use pumphouse_proto::FILE_DESCRIPTOR_SET;
use pumphouse_proto::asset::fetch_server::FetchServer;
use pumphouse_proto::asset::push_server::PushServer;
use pumphouse_proto::limits::{ANSWER_SIZE_BYTES, DECODED_MESSAGE_SIZE_BYTES};
use pumphouse_proto::longrunning::operations_server::OperationsServer;
use pumphouse_proto::reapi::action_cache_server::ActionCacheServer;
use pumphouse_proto::reapi::capabilities_server::CapabilitiesServer;
use pumphouse_proto::reapi::content_addressable_storage_server::ContentAddressableStorageServer;
use pumphouse_proto::reapi::execution_server::ExecutionServer;
use pumphouse_proto::worker::workers_server::WorkersServer;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The largest message about a result: one of twice the size that is taken is still refused by name.
const RESULT_MESSAGE_SIZE_BYTES: usize = 2 * ANSWER_SIZE_BYTES;

/// Tells those who ask whether the server serves.
pub(super) struct Health(HealthReporter);

/// The services by name, and the server as a whole, which has none.
const SERVICES: [&str; 10] = [
    "",
    "build.bazel.remote.asset.v1.Fetch",
    "build.bazel.remote.asset.v1.Push",
    "build.bazel.remote.execution.v2.ActionCache",
    "build.bazel.remote.execution.v2.Capabilities",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "build.bazel.remote.execution.v2.Execution",
    "google.bytestream.ByteStream",
    "google.longrunning.Operations",
    "pumphouse.worker.v1.Workers",
];

/// The service that takes no new work once the server drains, besides the server as a whole.
const EXECUTION: &str = "build.bazel.remote.execution.v2.Execution";

impl Health {
    /// New work should go elsewhere.
    pub(super) async fn draining(&self) {
        for service in ["", EXECUTION] {
            self.0.set_service_status(service, ServingStatus::NotServing).await;
        }
    }
}

/// The services of a backend, with health and reflection.
pub(super) async fn routes(backend: &Backend) -> anyhow::Result<(Routes, Health)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let size = DECODED_MESSAGE_SIZE_BYTES;
    let routes = Routes::new(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(CapabilitiesServer::new(backend.clone()))
        .add_service(ContentAddressableStorageServer::new(backend.clone()).max_decoding_message_size(size))
        .add_service(ByteStreams::new(backend))
        .add_service(ActionCacheServer::new(backend.clone()).max_decoding_message_size(RESULT_MESSAGE_SIZE_BYTES))
        .add_service(ExecutionServer::new(backend.clone()).max_decoding_message_size(size))
        .add_service(FetchServer::new(backend.clone()))
        .add_service(PushServer::new(backend.clone()))
        .add_service(OperationsServer::new(backend.clone()))
        .add_service(WorkersServer::new(backend.clone()).max_decoding_message_size(size))
        .prepare();
    Ok((routes, Health(reporter)))
}
