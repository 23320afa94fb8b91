//! `Capabilities`.

use super::suite::{Outcome, Suite, check, same};
use super::target::Target;
use pumphouse_proto::reapi::{CacheCapabilities, ExecutionCapabilities, compressor, digest_function};

fn cache(target: &Target) -> Result<CacheCapabilities, Outcome> {
    let cache = target.capabilities.cache_capabilities.clone();
    cache.ok_or_else(|| Outcome::Wrong("there are no cache_capabilities".to_owned()))
}

fn execution(target: &Target) -> Result<ExecutionCapabilities, Outcome> {
    let execution = target.capabilities.execution_capabilities.clone();
    let execution = execution.filter(|execution| execution.exec_enabled);
    execution.ok_or_else(|| Outcome::Absent("the server executes nothing".to_owned()))
}

pub(super) fn add(suite: &mut Suite) {
    let sha256: i32 = digest_function::Value::Sha256.into();
    suite.case("capabilities/sha256", "SHA-256 is among the digest functions", move |target| async move {
        check(cache(&target)?.digest_functions.contains(&sha256), || "it is not".to_owned())
    });
    suite.case("capabilities/versions", "versions are said, the low one not above the high one", |target| async move {
        let low = target.capabilities.low_api_version.clone().unwrap_or_default();
        let high = target.capabilities.high_api_version.clone().unwrap_or_default();
        check((low.major, low.minor) <= (high.major, high.minor) && high.major >= 2, || format!("{low:?} to {high:?}"))
    });
    suite.case("capabilities/version-2.0", "clients of version 2.0 are served", |target| async move {
        let low = target.capabilities.low_api_version.clone().unwrap_or_default();
        same("low_api_version", &(low.major, low.minor), &(2, 0))
    });
    suite.case(
        "capabilities/batch-size",
        "batches are smaller than a message, and large enough to matter",
        |target| async move {
            let size = cache(&target)?.max_batch_total_size_bytes;
            check((1 << 20..=4 << 20).contains(&size), || format!("max_batch_total_size_bytes is {size}"))
        },
    );
    suite.case("capabilities/action-cache-updates", "it is said whether the action cache may be written", |target| async move {
        check(cache(&target)?.action_cache_update_capabilities.is_some(), || "it is not".to_owned())
    });
    suite.case("capabilities/identity", "compressors aren't lists of nonsense", |target| async move {
        let all = cache(&target)?;
        let known = |value: &i32| compressor::Value::try_from(*value).is_ok();
        check(all.supported_compressors.iter().all(known), || format!("{:?}", all.supported_compressors))
    });
    suite.case("capabilities/batch-compressors", "what batches take, streams take as well", |target| async move {
        let all = cache(&target)?;
        let streams = &all.supported_compressors;
        let identity = i32::from(compressor::Value::Identity);
        let is_known = |value: &i32| *value == identity || streams.contains(value);
        check(all.supported_batch_update_compressors.iter().all(is_known), || format!("{all:?}"))
    });
    suite.case(
        "capabilities/execution-function",
        "old clients read the singular digest_function",
        move |target| async move { same("digest_function", &execution(&target)?.digest_function, &sha256) },
    );
    suite.case("capabilities/execution-functions", "new clients read the list", move |target| async move {
        check(execution(&target)?.digest_functions.contains(&sha256), || "SHA-256 is not in it".to_owned())
    });
    suite.case("capabilities/priorities", "ranges of priorities are in order", |target| async move {
        let ranges = execution(&target)?.execution_priority_capabilities.unwrap_or_default().priorities;
        check(ranges.iter().all(|range| range.min_priority <= range.max_priority), || format!("{ranges:?}"))
    });
    suite.case("capabilities/chunks", "parameters of FastCDC are within the API's bounds", |target| async move {
        let all = cache(&target)?;
        let Some(params) = all.fast_cdc_2020_params else {
            let none = Outcome::Absent("FastCDC is not offered".to_owned());
            return if all.split_blob_support {
                Err(Outcome::Wrong("blobs are cut, by nothing".to_owned()))
            } else {
                Err(none)
            };
        };
        check((1 << 10..=1 << 20).contains(&params.avg_chunk_size_bytes), || format!("{params:?}"))
    });
}
