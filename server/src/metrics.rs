//! What happens, counted as it happens.

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
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

    /// Adds all of it to what is shown.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Calls by method and code", self.calls.clone());
        let seconds = self.seconds.clone();
        registry.register_with_unit("call_duration", "Time until the answer began", Unit::Seconds, seconds);
        registry.register("connections", "Open connections", self.connections.clone());
        let refused = self.refused_connections.clone();
        registry.register("refused_connections", "Connections closed since their peer had too many", refused);
        let mute = self.mute_connections.clone();
        registry.register("mute_connections", "Connections closed since they said nothing", mute);
        registry.register("denied_calls", "Calls whose caller may not", self.denied_calls.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_are_made_up_are_counted_together() {
        let metrics = Metrics::default();
        for number in 0..2 * KINDS {
            metrics.called(&format!("/made/up{number}"), "OK", Duration::from_millis(3));
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string grows");
        for part in [
            "calls_total{method=\"/made/up0\",code=\"OK\"} 1\n",
            "calls_total{method=\"other\",code=\"OK\"} 128\n",
            "call_duration_seconds_bucket{le=\"0.004\",method=\"/made/up1\"} 1\n",
        ] {
            assert!(text.contains(part), "{part}{text}");
        }
    }
}
