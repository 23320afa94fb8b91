//! What the server says of itself, which decides how clients behave.

use anyhow::{Context, Result, ensure};
use pumphouse_proto::reapi::{GetCapabilitiesRequest, compressor, digest_function};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::Remote;

#[tokio::test]
async fn old_and_new_clients_find_what_they_ask_for() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let capabilities =
        remote.capabilities.clone().get_capabilities(GetCapabilitiesRequest::default()).await?.into_inner();
    let low = capabilities.low_api_version.clone().context("no low version")?;
    let high = capabilities.high_api_version.clone().context("no high version")?;
    ensure!((low.major, low.minor) == (2, 0) && high.major == 2 && high.minor >= 3, "{low:?} {high:?}");

    let cache = capabilities.cache_capabilities.context("no cache capabilities")?;
    ensure!(cache.digest_functions().any(|function| function == digest_function::Value::Sha256), "{cache:?}");
    ensure!(cache.action_cache_update_capabilities.is_some_and(|update| update.update_enabled), "no updates");
    let batch = cache.max_batch_total_size_bytes;
    ensure!((1 << 20..4 << 20).contains(&batch), "a batch of {batch} bytes is too small, or overflows a message");
    ensure!(cache.supported_compressors().any(|compressor| compressor == compressor::Value::Zstd), "no zstd");

    let execution = capabilities.execution_capabilities.context("no execution capabilities")?;
    ensure!(execution.exec_enabled, "no execution");
    ensure!(execution.digest_function() == digest_function::Value::Sha256, "the singular field is for old clients");
    ensure!(execution.digest_functions().any(|function| function == digest_function::Value::Sha256), "{execution:?}");
    Ok(())
}
