//! Figures for those who watch a server, in the format of `OpenMetrics`: what was counted, and what is at this moment.

use crate::blobs::disk::DiskBlobStore;
use crate::services::{Backend, Watched};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::Ordering;

/// What is, asked for when somebody looks.
struct State(Backend);

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("State")
    }
}

/// All figures, as text.
pub(super) fn text(backend: &Backend) -> String {
    let mut registry = Registry::with_prefix("pumphouse");
    backend.metrics.register(&mut registry);
    registry.register_collector(Box::new(State(backend.clone())));
    let mut text = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
        tracing::error!(%error, "cannot write the metrics");
    }
    text
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(backend) = self;
        let scheduler = backend.scheduler.statistics();
        let (results_bytes, results) = backend.action_cache.size();
        let config = &backend.config;
        let disk = backend.watched.as_ref().map(|watched| &watched.disk);
        let gauges: [(&str, &str, u64); 14] = [
            ("queued_actions", "Actions that wait for a worker", scheduler.queued_tasks as u64),
            ("queued_actions_limit", "How many may", config.scheduler.queued_tasks as u64),
            ("running_actions", "Actions that workers have", scheduler.running_tasks as u64),
            ("operations", "Operations, running or completed", scheduler.operations as u64),
            ("operations_limit", "How many are remembered", config.scheduler.operations as u64),
            ("workers", "Workers that are connected", scheduler.workers as u64),
            ("slots", "Slots of connected workers", scheduler.slots as u64),
            ("cas_bytes", "Bytes of stored blobs", disk.map_or(0, DiskBlobStore::size_bytes)),
            ("cas_bytes_limit", "How many may be stored", config.cas_size_bytes),
            ("cas_blobs", "Stored blobs", disk.map_or(0, DiskBlobStore::len) as u64),
            ("action_cache_bytes", "Bytes of stored results", results_bytes),
            ("action_cache_bytes_limit", "How many may be stored", config.action_cache_size_bytes),
            ("action_cache_results", "Stored results", results as u64),
            ("draining", "Whether no new actions are taken", u64::from(backend.is_draining())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let Some(Watched { traffic, .. }) = &backend.watched else { return Ok(()) };
        for (name, help, value) in [
            ("cas_looked_for", "Digests that were looked for", &traffic.looked_for),
            ("cas_missing", "Those of them that were missing", &traffic.missing),
            ("cas_blobs_read", "Blobs that were given", &traffic.blobs_read),
            ("cas_bytes_read", "Their bytes", &traffic.bytes_read),
            ("cas_blobs_written", "Blobs that were taken", &traffic.blobs_written),
            ("cas_bytes_written", "Their bytes", &traffic.bytes_written),
            ("cas_failures", "Blobs that were refused, or could not be given", &traffic.failures),
        ] {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = text(&Backend::for_test(dir.path()));
        for part in ["pumphouse_queued_actions 0\n", "pumphouse_draining 0\n", "pumphouse_connections 0\n", "# EOF\n"] {
            assert!(text.contains(part), "{part}{text}");
        }
    }
}
