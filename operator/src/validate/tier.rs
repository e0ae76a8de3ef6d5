//! Which tier is in force, and whether the AtSign stays inside it.

use atsign_crds::{AtSign, AtSignTier, PodSettings, WhenNodeFull, quantity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt;
use std::collections::BTreeMap;

use super::Error;
use crate::dereference::Observed;
use crate::memory::ladder::Limits;

/// Memory of the built-in tier: what a server starts with, and the most that it may have.
const BUILT_IN_MEMORY: (u64, u64) = (6 << 20, 24 << 20);
/// Storage of the built-in tier.
const BUILT_IN_STORAGE: u64 = 1 << 30;

/// What a tier gives to one AtSign.
pub(super) struct Tier {
    /// Its name; `None` for the built-in one.
    pub(super) name: Option<String>,
    /// What memory a server starts with, and the most that it may have.
    pub(super) memory: Limits,
    /// Whether a server is replaced where its node has no room for it to grow.
    pub(super) moves: bool,
    /// Bytes of storage.
    pub(super) storage: u64,
    /// The StorageClass, if the tier names one.
    pub(super) storage_class: Option<String>,
    /// The NFS export, if the tier has one.
    pub(super) nfs: Option<atsign_crds::Nfs>,
    /// Settings of pods.
    pub(super) pod: PodSettings,
    /// What the server enforces.
    pub(super) limits: atsign_crds::Limits,
}

impl Tier {
    /// The tier in words.
    pub(super) fn words(&self) -> String {
        words(self.name.as_deref())
    }
}

fn words(name: Option<&str>) -> String {
    name.map_or_else(|| "the built-in tier".to_owned(), |name| format!("AtSignTier {name}"))
}

/// Chooses the tier: the one that is named, the default one, or the built-in one.
pub(super) fn choose(at_sign: &AtSign, observed: &Observed) -> Result<Tier, Error> {
    let tier = match &at_sign.spec.tier {
        Some(name) => {
            let named = observed.tiers.iter().find(|tier| tier.name_any() == *name);
            Some(named.ok_or_else(|| Error::TierNotFound(name.clone()))?)
        }
        None => default(&observed.tiers),
    };
    if let Some(tier) = tier {
        is_served(tier)?;
        is_allowed(tier, at_sign, observed)?;
    }
    let spec = tier.map(|tier| tier.spec.clone()).unwrap_or_default();
    let name = tier.map(ResourceExt::name_any);
    let words = words(name.as_deref());
    if at_sign.spec.image.is_some() && spec.allow_custom_image != Some(true) {
        return Err(Error::ImageNotAllowed(words));
    }
    let storage = spec.storage.clone().unwrap_or_default();
    let of_memory = spec.memory.unwrap_or_default();
    Ok(Tier {
        memory: memory(at_sign, &of_memory, &words)?,
        moves: of_memory.when_node_full == Some(WhenNodeFull::Move),
        storage: storage.size.as_deref().and_then(quantity::bytes).unwrap_or(BUILT_IN_STORAGE),
        storage_class: storage.storage_class_name,
        nfs: storage.nfs,
        pod: spec.pod.unwrap_or_default(),
        limits: spec.limits.unwrap_or_default(),
        name,
    })
}

/// The default tier; of several the oldest.
fn default(tiers: &[AtSignTier]) -> Option<&AtSignTier> {
    let defaults = tiers.iter().filter(|tier| tier.spec.default == Some(true));
    defaults.min_by_key(|tier| (tier.creation_timestamp(), tier.name_any()))
}

/// Where memory starts and how far it grows, if both are inside the tier's range.
fn memory(at_sign: &AtSign, tier: &atsign_crds::TierMemory, words: &str) -> Result<Limits, Error> {
    let read = |text: &Option<String>| text.as_deref().and_then(quantity::bytes);
    let cap =
        read(&tier.cap).unwrap_or_else(|| BUILT_IN_MEMORY.1.max(read(&tier.default).unwrap_or_default()));
    let least = read(&tier.default).unwrap_or_else(|| BUILT_IN_MEMORY.0.min(cap));
    let own = at_sign.spec.memory.clone().unwrap_or_default();
    for (field, value) in [("spec.memory.default", &own.default), ("spec.memory.cap", &own.cap)] {
        if let Some(bytes) = read(value)
            && !(least..=cap).contains(&bytes)
        {
            return Err(Error::OutsideTier {
                field,
                value: value.clone().unwrap_or_default(),
                tier: words.to_owned(),
                range: format!("{} to {}", quantity::display(least), quantity::display(cap)),
            });
        }
    }
    let default = read(&own.default);
    let cap = read(&own.cap).unwrap_or(cap);
    // A cap of its own below the tier's default is refused above; a default of its own may be above no cap of its own.
    Ok(Limits { default: default.unwrap_or(least).min(cap), cap })
}

/// Refuses what a later version serves.
fn is_served(tier: &AtSignTier) -> Result<(), Error> {
    let spec = &tier.spec;
    let later = [("backup", spec.backup.is_some())];
    match later.into_iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((field, _)) => {
            Err(Error::NotYetSupported(format!("spec.{field} of AtSignTier {}", tier.name_any())))
        }
    }
}

fn is_allowed(tier: &AtSignTier, at_sign: &AtSign, observed: &Observed) -> Result<(), Error> {
    match &tier.spec.namespace_selector {
        Some(selector) if !selects(selector, &observed.namespace_labels) => Err(Error::TierNotAllowed {
            tier: tier.name_any(),
            namespace: at_sign.namespace().unwrap_or_default(),
        }),
        _ => Ok(()),
    }
}

/// Whether a label selector matches, as Kubernetes defines it; an operator that nobody knows matches nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact && selector.match_expressions.iter().flatten().all(|requirement| meets(requirement, labels))
}

fn meets(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let among = |value: &String| requirement.values.iter().flatten().any(|allowed| allowed == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: serde_json::Value) -> LabelSelector {
        serde_json::from_value(json).expect("a selector")
    }

    #[test]
    fn a_selector_matches_as_kubernetes_says() {
        let labels: BTreeMap<_, _> = [("plan".to_owned(), "pro".to_owned())].into();
        for (json, expected) in [
            (serde_json::json!({}), true),
            (serde_json::json!({"matchLabels": {"plan": "pro"}}), true),
            (serde_json::json!({"matchLabels": {"plan": "free"}}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "plan", "operator": "In", "values": ["pro"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "plan", "operator": "NotIn", "values": ["pro"]}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["x"]}]}),
                true,
            ),
            (serde_json::json!({"matchExpressions": [{"key": "plan", "operator": "Exists"}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "plan", "operator": "DoesNotExist"}]}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "plan", "operator": "Gt", "values": ["1"]}]}),
                false,
            ),
        ] {
            assert_eq!(selects(&selector(json.clone()), &labels), expected, "{json}");
        }
    }
}
