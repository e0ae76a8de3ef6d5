//! What the operator counts. Never a series per atSign: a provider has a million of them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The reason of an outcome.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: String,
}

/// A request that may change something.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Write {
    verb: String,
    resource: String,
}

/// A condition and its status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InCondition {
    condition: &'static str,
    reason: String,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Counter,
    errors: Family<Reason, Counter>,
    duration: Histogram,
    writes: Family<Write, Counter>,
    at_signs: Family<InCondition, Gauge>,
    leader: Gauge<i64, std::sync::atomic::AtomicI64>,
    backoff: Gauge<i64, std::sync::atomic::AtomicI64>,
    malformed: Gauge<i64, std::sync::atomic::AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("atsign_operator");
        let metrics = Self {
            reconciles: Counter::<u64, AtomicU64>::default(),
            errors: Family::default(),
            // From one millisecond to half a minute.
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            writes: Family::default(),
            at_signs: Family::default(),
            leader: Gauge::default(),
            backoff: Gauge::default(),
            malformed: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("reconcile", "Reconciles of AtSigns that were started", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by reason", metrics.errors.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "How long a reconcile took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "api_writes",
            "Requests to the API server that may change something",
            metrics.writes.clone(),
        );
        registry.register(
            "atsigns",
            "AtSigns by the reason of their Ready condition",
            metrics.at_signs.clone(),
        );
        registry.register("lease_holder", "1 while this process holds the lease", metrics.leader.clone());
        registry.register("backoff_objects", "AtSigns that wait after a failure", metrics.backoff.clone());
        registry.register(
            "malformed_objects",
            "Objects that are not as their schema says",
            metrics.malformed.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// One reconcile ended.
    pub fn reconciled(&self, took: Duration) {
        self.reconciles.inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// It failed.
    pub fn failed(&self, reason: &str, waiting: usize) {
        self.errors.get_or_create(&Reason { reason: reason.to_owned() }).inc();
        self.backoff.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// A request that may change something was sent.
    pub fn wrote(&self, verb: &str, resource: &str) {
        self.writes.get_or_create(&Write { verb: verb.to_lowercase(), resource: resource.to_owned() }).inc();
    }

    /// How many such requests were sent about `resource`.
    pub fn writes_of(&self, verb: &str, resource: &str) -> u64 {
        self.writes.get_or_create(&Write { verb: verb.to_owned(), resource: resource.to_owned() }).get()
    }

    /// Whether this process holds the lease.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// How many AtSigns there are by the reason of their Ready condition, and how many objects cannot be read.
    pub fn counted(&self, by_reason: impl IntoIterator<Item = (String, usize)>, malformed: usize) {
        self.at_signs.clear();
        for (reason, count) in by_reason {
            let series = InCondition { condition: atsign_crds::condition::READY, reason };
            self.at_signs.get_or_create(&series).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.malformed.set(i64::try_from(malformed).unwrap_or(i64::MAX));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_exposed_under_our_prefix() {
        let metrics = Metrics::default();
        metrics.wrote("PATCH", "services");
        metrics.failed("ApplyFailed", 1);
        metrics.reconciled(Duration::from_millis(3));
        metrics.counted([("ServerReady".to_owned(), 2)], 0);
        metrics.leads(true);
        let text = metrics.text();
        for line in [
            "atsign_operator_api_writes_total{verb=\"patch\",resource=\"services\"} 1",
            "atsign_operator_reconcile_errors_total{reason=\"ApplyFailed\"} 1",
            "atsign_operator_reconcile_total 1",
            "atsign_operator_reconcile_duration_seconds_count 1",
            "atsign_operator_atsigns{condition=\"Ready\",reason=\"ServerReady\"} 2",
            "atsign_operator_lease_holder 1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
