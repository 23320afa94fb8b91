//! What the server can do, and what of it the caller may.
//!
//! **Source:** Remote Execution API v2, service `Capabilities`.

use super::Backend;
use super::chunks::AVERAGE_SIZE_BYTES;
use super::execution::PRIORITY_LIMIT;
use super::request::admit;
use crate::access::{ANYONE, EXECUTORS, JUDGES};
use pumphouse_proto::digest::DigestFunction;
use pumphouse_proto::limits::BATCH_SIZE_BYTES;
use pumphouse_proto::reapi::capabilities_server::Capabilities;
use pumphouse_proto::reapi::{
    ActionCacheUpdateCapabilities, CacheCapabilities, ExecutionCapabilities, FastCdc2020Params, GetCapabilitiesRequest,
    PriorityCapabilities, ServerCapabilities, compressor, priority_capabilities::PriorityRange,
    symlink_absolute_path_strategy,
};
use pumphouse_proto::semver::SemVer;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Capabilities for Backend {
    async fn get_capabilities(
        &self,
        request: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<ServerCapabilities>, Status> {
        let (extensions, instance_name) = (request.extensions(), &request.get_ref().instance_name);
        admit(extensions, ANYONE, instance_name)?;
        // So a client knows before its first action, and says so, where it would be refused.
        let may = |roles| admit(extensions, roles, instance_name).is_ok();
        let version = |minor| Some(SemVer { major: 2, minor, ..SemVer::default() });
        Ok(Response::new(ServerCapabilities {
            cache_capabilities: Some(cache_capabilities(
                self.config.blob_size_bytes,
                ActionCacheUpdateCapabilities { update_enabled: may(JUDGES) },
            )),
            execution_capabilities: Some(ExecutionCapabilities {
                exec_enabled: may(EXECUTORS),
                ..execution_capabilities()
            }),
            deprecated_api_version: None,
            low_api_version: version(0),
            high_api_version: version(3),
        }))
    }
}

fn cache_capabilities(blob_size_bytes: u64, updates: ActionCacheUpdateCapabilities) -> CacheCapabilities {
    CacheCapabilities {
        digest_functions: DigestFunction::ALL.map(DigestFunction::to_field).to_vec(),
        action_cache_update_capabilities: Some(updates),
        cache_priority_capabilities: None,
        max_batch_total_size_bytes: BATCH_SIZE_BYTES as i64,
        symlink_absolute_path_strategy: symlink_absolute_path_strategy::Value::Allowed.into(),
        supported_compressors: vec![compressor::Value::Identity.into(), compressor::Value::Zstd.into()],
        supported_batch_update_compressors: vec![compressor::Value::Identity.into(), compressor::Value::Zstd.into()],
        max_cas_blob_size_bytes: i64::try_from(blob_size_bytes).unwrap_or(i64::MAX),
        split_blob_support: true,
        splice_blob_support: true,
        fast_cdc_2020_params: Some(FastCdc2020Params { avg_chunk_size_bytes: AVERAGE_SIZE_BYTES as u64, seed: 0 }),
        rep_max_cdc_params: None,
    }
}

fn execution_capabilities() -> ExecutionCapabilities {
    let every_priority = PriorityRange { min_priority: -PRIORITY_LIMIT, max_priority: PRIORITY_LIMIT };
    ExecutionCapabilities {
        digest_function: DigestFunction::Sha256.to_field(),
        exec_enabled: true,
        execution_priority_capabilities: Some(PriorityCapabilities { priorities: vec![every_priority] }),
        supported_node_properties: Vec::new(),
        digest_functions: DigestFunction::ALL.map(DigestFunction::to_field).to_vec(),
    }
}
