//! What the directory counts. Never a series per atSign.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::address_book::AddressBook;
use crate::session::Outcome;

/// The counters, and how they are shown.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lookups: Family<Result, Counter>,
    connections: Gauge,
    accepted: Counter,
    crowded_out: Counter,
    handshakes_failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Label {
    #[expect(non_camel_case_types, reason = "a label's value is written as its variant")]
    found,
    #[expect(non_camel_case_types, reason = "a label's value is written as its variant")]
    unknown,
    #[expect(non_camel_case_types, reason = "a label's value is written as its variant")]
    blank,
}

impl Metrics {
    /// Counters at zero; the number of addresses is asked from `book` when they are shown.
    pub fn new(book: &Arc<AddressBook>) -> Self {
        let mut registry = Registry::with_prefix("atsign_directory");
        let lookups = Family::<Result, Counter>::default();
        let connections = Gauge::default();
        let [accepted, crowded_out, handshakes_failed] = [(); 3].map(|()| Counter::default());
        registry.register("lookups", "Questions by what they found", lookups.clone());
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("connections_accepted", "Connections accepted", accepted.clone());
        registry.register("connections_crowded_out", "Connections ended to make room", crowded_out.clone());
        registry.register(
            "handshakes_failed",
            "TLS handshakes that failed or took too long",
            handshakes_failed.clone(),
        );
        registry.register_collector(Box::new(Book(Arc::clone(book))));
        Self { registry, lookups, connections, accepted, crowded_out, handshakes_failed }
    }

    /// A question was asked.
    pub fn asked(&self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Found => Label::found,
            Outcome::Unknown => Label::unknown,
            Outcome::Blank => Label::blank,
        };
        self.lookups.get_or_create(&Result { result }).inc();
    }

    /// A connection was accepted; `crowded` where another had to go for it.
    pub fn connected(&self, crowded: bool) {
        self.accepted.inc();
        if crowded {
            self.crowded_out.inc();
        }
    }

    /// So many connections are open.
    pub fn set_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// A TLS handshake failed or took too long.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// All of them in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }
}

/// The book as a metric, so that its size is counted once, where it is.
#[derive(Debug)]
struct Book(Arc<AddressBook>);

impl Collector for Book {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let addresses = ConstGauge::new(i64::try_from(self.0.len()).unwrap_or(i64::MAX));
        let descriptor = encoder.encode_descriptor(
            "addresses",
            "atSigns that have an address",
            None,
            addresses.metric_type(),
        )?;
        addresses.encode(descriptor)
    }
}
