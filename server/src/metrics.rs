//! Figures for those who watch a server, in the format of `OpenMetrics`.
//!
//! What happens is counted as it happens; what is, is asked for when somebody looks.

use crate::blobs::disk::DiskBlobStore;
use crate::blobs::metered::Traffic;
use crate::services::Backend;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The calls whose duration is measured in steps from this on, doubling [`STEPS`] times, in seconds.
const SHORTEST_SECONDS: f64 = 0.000_25;
const STEPS: u16 = 20;

/// How many kinds of calls are told apart; further ones count as `other`.
const KINDS: usize = 128;

/// What happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    kinds: Mutex<Vec<Arc<str>>>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that were closed because their peer had too many.
    pub(crate) refused_connections: Counter,
    /// Connections that said nothing, or could not agree on encryption.
    pub(crate) mute_connections: Counter,
    /// Calls whose caller is not known, or may not.
    pub(crate) denied_calls: Counter,
}

/// What was called, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    method: String,
}

/// What is: for each look.
struct State(Backend);

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("State")
    }
}

/// The stores that are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    pub(crate) disk: DiskBlobStore,
    pub(crate) traffic: Arc<Traffic>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(SHORTEST_SECONDS, 2.0, STEPS));
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            kinds: Mutex::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            mute_connections: Counter::default(),
            denied_calls: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts a call of `method` that was answered with `code`, after that time.
    pub(crate) fn called(&self, method: &str, code: &str, time: Duration) {
        let method = self.kind(method);
        self.seconds.get_or_create(&Kind { method: method.clone() }).observe(time.as_secs_f64());
        self.calls.get_or_create(&Call { method, code: code.to_owned() }).inc();
    }

    /// The name under which a method is counted: clients can make up as many as they like.
    fn kind(&self, method: &str) -> String {
        let mut kinds = self.kinds.lock();
        if kinds.iter().any(|known| **known == *method) {
            return method.to_owned();
        }
        if kinds.len() >= KINDS {
            return "other".to_owned();
        }
        kinds.push(method.into());
        method.to_owned()
    }
}

/// All figures, as text.
pub(crate) fn text(backend: &Backend) -> String {
    let metrics = &backend.metrics;
    let mut registry = Registry::with_prefix("pumphouse");
    registry.register("calls", "Calls by method and code", metrics.calls.clone());
    let seconds = metrics.seconds.clone();
    registry.register_with_unit("call_duration", "Time until the answer began", Unit::Seconds, seconds);
    registry.register("connections", "Open connections", metrics.connections.clone());
    let refused = metrics.refused_connections.clone();
    registry.register("refused_connections", "Connections closed since their peer had too many", refused);
    let mute = metrics.mute_connections.clone();
    registry.register("mute_connections", "Connections closed since they said nothing", mute);
    registry.register("denied_calls", "Calls whose caller may not", metrics.denied_calls.clone());
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
        let disk = backend.stores.as_ref().map(|stores| &stores.disk);
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
        let Some(Stores { traffic, .. }) = &backend.stores else { return Ok(()) };
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
    async fn everything_is_told_and_made_up_methods_are_counted_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Backend::for_test(dir.path());
        for number in 0..2 * KINDS {
            backend.metrics.called(&format!("/made/up{number}"), "OK", Duration::from_millis(3));
        }
        let text = text(&backend);
        for part in [
            "pumphouse_calls_total{method=\"/made/up0\",code=\"OK\"} 1\n",
            "pumphouse_calls_total{method=\"other\",code=\"OK\"} 128\n",
            "pumphouse_call_duration_seconds_bucket{le=\"0.004\",method=\"/made/up1\"} 1\n",
            "pumphouse_queued_actions 0\n",
            "pumphouse_draining 0\n",
            "# EOF\n",
        ] {
            assert!(text.contains(part), "{part}{text}");
        }
    }
}
