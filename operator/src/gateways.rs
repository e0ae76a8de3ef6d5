//! Gateways that came, went, or were written anew, and who is behind them. A Gateway's status changes with every route that
//! is attached to it, and is left aside: a thousand AtSigns behind one would wake each other.

use std::collections::{HashMap, HashSet};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};

use crate::context::GuardedAtSign;

/// The namespace and the name of a Gateway.
type Key = (String, String);

/// The generation of each Gateway, by which a change of its spec is told from one of its status.
#[derive(Debug, Default)]
pub struct Gateways {
    known: HashMap<Key, Option<i64>>,
    listed: HashSet<Key>,
}

impl Gateways {
    /// Takes an event of the watch, and returns the Gateways that it changes.
    pub fn take<K: Resource>(&mut self, event: &Event<K>) -> Vec<Key> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(gateway) => {
                self.listed.insert(key(gateway));
                self.news(gateway)
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.known.extract_if(|key, _| !listed.contains(key)).map(|(key, _)| key).collect()
            }
            Event::Apply(gateway) => self.news(gateway),
            Event::Delete(gateway) => {
                self.known.remove(&key(gateway));
                vec![key(gateway)]
            }
        }
    }

    fn news<K: Resource>(&mut self, gateway: &K) -> Vec<Key> {
        let generation = gateway.meta().generation;
        let before = self.known.insert(key(gateway), generation);
        if before == Some(generation) { Vec::new() } else { vec![key(gateway)] }
    }
}

fn key<K: Resource>(gateway: &K) -> Key {
    (gateway.namespace().unwrap_or_default(), gateway.name_any())
}

/// The AtSigns that name a Gateway.
pub fn behind(at_signs: &Store<GuardedAtSign>, (namespace, name): &Key) -> Vec<ObjectRef<GuardedAtSign>> {
    let names_it = |at_sign: &GuardedAtSign| {
        let expose = at_sign.0.as_ref().ok().and_then(|at_sign| at_sign.spec.expose.as_ref());
        let named = expose.and_then(|expose| expose.gateway_ref.as_ref());
        let own = at_sign.namespace();
        named.is_some_and(|named| {
            named.name == *name && named.namespace.as_ref().or(own.as_ref()) == Some(namespace)
        })
    };
    let concerned = at_signs.state().into_iter().filter(|at_sign| names_it(at_sign));
    concerned.map(|at_sign| ObjectRef::from_obj(at_sign.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use kube::core::PartialObjectMeta;
    use serde_json::json;

    use super::*;

    type Gateway = PartialObjectMeta<k8s_openapi::api::core::v1::Service>;

    fn gateway(name: &str, generation: i64) -> Gateway {
        let meta = json!({"metadata": {"name": name, "namespace": "gateways", "generation": generation}});
        serde_json::from_value(meta).expect("metadata")
    }

    fn named(name: &str) -> Vec<Key> {
        vec![("gateways".to_owned(), name.to_owned())]
    }

    #[test]
    fn a_gateway_is_news_when_it_comes_goes_or_is_written_and_not_when_a_route_is_attached() {
        let mut gateways = Gateways::default();
        assert_eq!(gateways.take(&Event::Apply(gateway("a", 1))), named("a"));
        assert_eq!(gateways.take(&Event::Apply(gateway("a", 1))), vec![], "its status changed");
        assert_eq!(gateways.take(&Event::Apply(gateway("a", 2))), named("a"));
        assert_eq!(gateways.take(&Event::Delete(gateway("a", 2))), named("a"));
        assert_eq!(gateways.take(&Event::Apply(gateway("a", 2))), named("a"), "it was made again");
    }

    #[test]
    fn what_changed_while_nobody_watched_is_news_with_the_next_list() {
        let mut gateways = Gateways::default();
        for name in ["a", "b", "c"] {
            gateways.take(&Event::Apply(gateway(name, 1)));
        }
        assert_eq!(gateways.take(&Event::<Gateway>::Init), vec![]);
        assert_eq!(gateways.take(&Event::InitApply(gateway("a", 1))), vec![]);
        assert_eq!(gateways.take(&Event::InitApply(gateway("b", 2))), named("b"));
        assert_eq!(gateways.take(&Event::<Gateway>::InitDone), named("c"));
    }
}
