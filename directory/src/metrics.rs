//! What the directory counts. Never a series per atSign.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::address_book::AddressBook;
use crate::connections::Crowd;
use crate::session::Outcome;

use labels::Label;
pub use labels::{Answered, Asked, Limit};

/// The counters, and how they are shown.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lookups: Family<Result, Counter>,
    connections: Gauge,
    accepted: Counter,
    crowded_out: Family<Bound, Counter>,
    slowed: Family<Bound, Counter>,
    elsewhere: Family<Elsewhere, Counter>,
    remembered: Family<Remembered, Counter>,
    handshakes_failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bound {
    limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Elsewhere {
    source: Asked,
    result: Answered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Remembered {
    source: Asked,
}

/// The values of labels, which are written as their variants.
#[expect(non_camel_case_types, reason = "a label's value is written as its variant")]
mod labels {
    use prometheus_client::encoding::EncodeLabelValue;

    /// How a question ended.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
    pub(super) enum Label {
        found,
        unknown,
        blank,
        unavailable,
    }

    /// Which bound was met.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
    pub enum Limit {
        /// That of one connection.
        connection,
        /// That of one address.
        address,
        /// That of all.
        all,
    }

    /// Who else was asked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
    pub enum Asked {
        /// The Redis.
        redis,
        /// The other directory.
        upstream,
    }

    /// What they answered.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
    pub enum Answered {
        /// An address.
        found,
        /// That there is none.
        unknown,
        /// Nothing of use.
        failed,
    }
}

impl Metrics {
    /// Counters at zero; the number of addresses is asked from `book` when they are shown.
    pub fn new(book: &Arc<AddressBook>) -> Self {
        let mut registry = Registry::with_prefix("atsign_directory");
        let lookups = Family::<Result, Counter>::default();
        let connections = Gauge::default();
        let [accepted, handshakes_failed] = [(); 2].map(|()| Counter::default());
        registry.register("lookups", "Questions by what they found", lookups.clone());
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("connections_accepted", "Connections accepted", accepted.clone());
        let crowded_out = Family::<Bound, Counter>::default();
        registry.register(
            "connections_crowded_out",
            "Connections ended to make room, by the limit that was reached",
            crowded_out.clone(),
        );
        let slowed = Family::<Bound, Counter>::default();
        registry.register(
            "lookups_slowed",
            "Questions answered later because of their rate, by the limit that was reached",
            slowed.clone(),
        );
        let elsewhere = Family::<Elsewhere, Counter>::default();
        registry.register(
            "source_requests",
            "Questions to Redis and to the upstream directory",
            elsewhere.clone(),
        );
        let remembered = Family::<Remembered, Counter>::default();
        registry.register(
            "source_remembered",
            "Answers from memory in the place of a question to Redis or upstream",
            remembered.clone(),
        );
        registry.register(
            "handshakes_failed",
            "TLS handshakes that failed or took too long",
            handshakes_failed.clone(),
        );
        registry.register_collector(Box::new(Book(Arc::clone(book))));
        Self {
            registry,
            lookups,
            connections,
            accepted,
            crowded_out,
            slowed,
            elsewhere,
            remembered,
            handshakes_failed,
        }
    }

    /// A question was asked.
    pub fn asked(&self, outcome: Outcome) {
        let result = match outcome {
            Outcome::Found => Label::found,
            Outcome::Unknown => Label::unknown,
            Outcome::Blank => Label::blank,
            Outcome::Unavailable => Label::unavailable,
        };
        self.lookups.get_or_create(&Result { result }).inc();
    }

    /// A connection was accepted; `crowded` where another had to go for it.
    pub fn connected(&self, crowded: Option<Crowd>) {
        self.accepted.inc();
        let limit = match crowded {
            Some(Crowd::All) => Limit::all,
            Some(Crowd::Address) => Limit::address,
            None => return,
        };
        self.crowded_out.get_or_create(&Bound { limit }).inc();
    }

    /// A question had to wait because of its rate.
    pub fn slowed(&self, limit: Limit) {
        self.slowed.get_or_create(&Bound { limit }).inc();
    }

    /// Redis or upstream was asked.
    pub fn asked_elsewhere(&self, source: Asked, result: Answered) {
        self.elsewhere.get_or_create(&Elsewhere { source, result }).inc();
    }

    /// Redis or upstream was not asked, or in vain, and what it said before was given.
    pub fn remembered(&self, source: Asked) {
        self.remembered.get_or_create(&Remembered { source }).inc();
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
