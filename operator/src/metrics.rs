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

/// A tier.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTier {
    tier: String,
}

/// A change of memory.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Resized {
    tier: String,
    direction: &'static str,
    cause: &'static str,
}

/// A move to another node.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Moved {
    tier: String,
    outcome: &'static str,
}

/// Sums over the servers of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryOfTier {
    /// Servers that run.
    pub servers: u64,
    /// Bytes of their limits.
    pub limit: u64,
    /// Bytes that they need.
    pub needed: u64,
    /// Those that need more than their cap.
    pub at_cap: u64,
    /// Those whose size cannot be had.
    pub blocked: u64,
}

/// What is counted of memory.
#[derive(Debug, Default)]
struct Memory {
    kept: Gauge<i64, std::sync::atomic::AtomicI64>,
    servers: Family<OfTier, Gauge>,
    limit: Family<OfTier, Gauge>,
    needed: Family<OfTier, Gauge>,
    at_cap: Family<OfTier, Gauge>,
    blocked: Family<OfTier, Gauge>,
    resizes: Family<Resized, Counter>,
    moves: Family<Moved, Counter>,
    requests: Counter,
}

impl Memory {
    fn register(&self, registry: &mut Registry) {
        registry.register("memory_keepers", "AtSigns whose memory is kept", self.kept.clone());
        registry.register("memory_servers", "Servers that run, by tier", self.servers.clone());
        registry.register_with_unit(
            "memory_limit",
            "Memory that servers have, by tier",
            Unit::Bytes,
            self.limit.clone(),
        );
        registry.register_with_unit(
            "memory_needed",
            "Memory that servers need, by tier",
            Unit::Bytes,
            self.needed.clone(),
        );
        registry.register(
            "memory_cap_reached",
            "Servers that need more than their cap, by tier",
            self.at_cap.clone(),
        );
        registry.register(
            "memory_resize_blocked",
            "Servers whose size cannot be had, by tier",
            self.blocked.clone(),
        );
        registry.register("memory_resizes", "Changes of memory that were made", self.resizes.clone());
        registry.register(
            "memory_moves",
            "Replacements of servers whose node had no room, by outcome",
            self.moves.clone(),
        );
        registry.register(
            "usage_requests",
            "Requests to servers' admin ports about their memory",
            self.requests.clone(),
        );
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Counter,
    errors: Family<Reason, Counter>,
    duration: Histogram,
    reads: Counter,
    writes: Family<Write, Counter>,
    at_signs: Family<InCondition, Gauge>,
    leader: Gauge<i64, std::sync::atomic::AtomicI64>,
    backoff: Gauge<i64, std::sync::atomic::AtomicI64>,
    malformed: Gauge<i64, std::sync::atomic::AtomicI64>,
    memory: Memory,
    resize_delay: Histogram,
    resize_duration: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("atsign_operator");
        let metrics = Self {
            reconciles: Counter::<u64, AtomicU64>::default(),
            errors: Family::default(),
            // From one millisecond to half a minute.
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            reads: Counter::default(),
            writes: Family::default(),
            at_signs: Family::default(),
            leader: Gauge::default(),
            backoff: Gauge::default(),
            malformed: Gauge::default(),
            memory: Memory::default(),
            resize_delay: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            resize_duration: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
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
            "api_reads",
            "Requests to the API server that change nothing",
            metrics.reads.clone(),
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
        metrics.memory.register(&mut registry);
        registry.register_with_unit(
            "memory_resize_delay",
            "From a server's report to the answer of the API server that was asked to resize its pod",
            Unit::Seconds,
            metrics.resize_delay.clone(),
        );
        registry.register_with_unit(
            "memory_resize_duration",
            "From that answer to the limit that the node reports",
            Unit::Seconds,
            metrics.resize_duration.clone(),
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

    /// A request that changes nothing was sent.
    pub fn read(&self) {
        self.reads.inc();
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

    /// A server was asked what it needs.
    pub fn asked_for_usage(&self) {
        self.memory.requests.inc();
    }

    /// The API server took a resize, this long after the report that asked for it.
    pub fn resize_sent(&self, after: Duration) {
        self.resize_delay.observe(after.as_secs_f64());
    }

    /// A server has another limit, this long after the API server was asked.
    pub fn resized(&self, tier: &str, grown: bool, cause: &'static str, after: Duration) {
        let direction = if grown { "up" } else { "down" };
        let series = Resized { tier: tier.to_owned(), direction, cause };
        self.memory.resizes.get_or_create(&series).inc();
        self.resize_duration.observe(after.as_secs_f64());
    }

    /// A server is replaced where its node has no room: `begun`, `arrived`, or `returned` with the memory that it had.
    pub fn moved(&self, tier: &str, outcome: &'static str) {
        self.memory.moves.get_or_create(&Moved { tier: tier.to_owned(), outcome }).inc();
    }

    /// Whose memory is kept, and sums by tier.
    pub fn memory(&self, kept: usize, tiers: impl IntoIterator<Item = (String, MemoryOfTier)>) {
        let memory = &self.memory;
        memory.kept.set(i64::try_from(kept).unwrap_or(i64::MAX));
        let families = [&memory.servers, &memory.limit, &memory.needed, &memory.at_cap, &memory.blocked];
        for family in families {
            family.clear();
        }
        for (tier, sums) in tiers {
            let values = [sums.servers, sums.limit, sums.needed, sums.at_cap, sums.blocked];
            for (family, value) in families.into_iter().zip(values) {
                let series = OfTier { tier: tier.clone() };
                family.get_or_create(&series).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
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
