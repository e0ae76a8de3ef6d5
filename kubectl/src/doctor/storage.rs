//! Where the data is to go.

use atsign_crds::AtSignTier;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::Check;

/// Marks the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Whether every tier's volumes can be had: from a class that is there, or on an NFS export.
pub fn storage(classes: &[StorageClass], tiers: &[AtSignTier]) -> Check {
    let what = "storage";
    let names: Vec<_> = classes.iter().map(ResourceExt::name_any).collect();
    let default = classes
        .iter()
        .find(|class| class.annotations().get(DEFAULT).is_some_and(|is_default| is_default == "true"));
    let of = |tier: &AtSignTier| tier.spec.storage.clone().unwrap_or_default();
    for tier in tiers {
        if let Some(class) = of(tier).storage_class_name.filter(|class| !names.contains(class)) {
            return Check::problem(
                what,
                format!("AtSignTier {} names StorageClass {class}, which is not there", tier.name_any()),
                format!("create it, or name one of: {}", names.join(", ")),
            );
        }
    }
    let needs_default = |tier: &&AtSignTier| of(tier).storage_class_name.is_none() && of(tier).nfs.is_none();
    if default.is_none() && (tiers.is_empty() || tiers.iter().any(|tier| needs_default(&tier))) {
        let whose = tiers
            .iter()
            .find(needs_default)
            .map_or_else(|| "the built-in tier".to_owned(), |tier| format!("AtSignTier {}", tier.name_any()));
        return Check::problem(
            what,
            format!("no StorageClass is the default, and {whose} names none"),
            format!(
                "kubectl annotate storageclass NAME {DEFAULT}=true, or name a class or an NFS export in the tier"
            ),
        );
    }
    let exports = tiers
        .iter()
        .filter_map(|tier| Some((tier.name_any(), of(tier).nfs?)))
        .map(|(tier, nfs)| format!("; AtSignTier {tier} is on NFS, {}:{}", nfs.server, nfs.path))
        .collect::<Vec<_>>()
        .concat();
    let Some(class) = default else {
        return Check::ok(what, format!("every tier names a class that is there, or an export{exports}"));
    };
    let (name, provisioner) = (class.name_any(), &class.provisioner);
    if class.allow_volume_expansion == Some(true) {
        return Check::ok(
            what,
            format!("the default StorageClass is {name} ({provisioner}); its volumes can grow{exports}"),
        );
    }
    Check::warning(
        what,
        format!("the default StorageClass is {name} ({provisioner}); its volumes cannot grow{exports}"),
        format!(
            "if its provisioner can: kubectl patch storageclass {name} -p '{{\"allowVolumeExpansion\": true}}'"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use serde_json::json;

    fn class(name: &str, default: &str, grows: bool) -> StorageClass {
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": {DEFAULT: default}},
            "provisioner": "example.com/nfs", "allowVolumeExpansion": grows}))
        .unwrap()
    }

    fn tier(storage: &serde_json::Value) -> AtSignTier {
        serde_json::from_value(
            json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": "pro"},
            "spec": {"storage": storage}}),
        )
        .unwrap()
    }

    #[test]
    fn claims_that_name_no_class_need_a_default_one() {
        assert_eq!(storage(&[], &[]).verdict, Verdict::Problem);
        assert_eq!(storage(&[class("a", "false", true)], &[]).verdict, Verdict::Problem);
        assert_eq!(storage(&[class("a", "true", true)], &[]).verdict, Verdict::Ok);
        assert_eq!(storage(&[class("a", "true", false)], &[]).verdict, Verdict::Warning);
    }

    #[test]
    fn a_tier_names_a_class_that_is_there_or_an_export() {
        let classes = [class("a", "false", true)];
        assert_eq!(storage(&classes, &[tier(&json!({"storageClassName": "a"}))]).verdict, Verdict::Ok);
        assert_eq!(
            storage(&classes, &[tier(&json!({"nfs": {"server": "s", "path": "/p"}}))]).verdict,
            Verdict::Ok
        );
        let exported = storage(&classes, &[tier(&json!({"nfs": {"server": "nas", "path": "/p"}}))]);
        assert!(exported.found.ends_with("AtSignTier pro is on NFS, nas:/p"), "{exported:?}");
        let missing = storage(&classes, &[tier(&json!({"storageClassName": "b"}))]);
        assert_eq!(missing.verdict, Verdict::Problem);
        assert!(missing.found.contains("StorageClass b"), "{missing:?}");
    }
}
