//! What this project installs: its resources, the operator, the directory, the authority.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use x509_parser::pem::Pem;

use super::Check;
use crate::time;

/// An authority that ends sooner than this should have been renewed by now.
const SOON: i64 = 30 * 24 * 3600;

/// Whether the cluster serves AtSigns and tiers.
pub fn definitions(all: &[CustomResourceDefinition]) -> Check {
    let what = "resources";
    let is_served = |name: &str| {
        let found = all.iter().find(|definition| definition.name_any() == name);
        found.is_some_and(|definition| {
            let conditions = definition
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_deref())
                .unwrap_or_default();
            let established = conditions
                .iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            established
                && definition.spec.versions.iter().any(|version| version.name == "v1" && version.served)
        })
    };
    let missing: Vec<_> = ["atsigns.atsign.dev", "atsigntiers.atsign.dev"]
        .into_iter()
        .filter(|name| !is_served(name))
        .collect();
    if missing.is_empty() {
        Check::ok(what, "AtSign and AtSignTier v1 are served")
    } else {
        Check::problem(
            what,
            format!("not served as v1: {}", missing.join(", ")),
            "install the chart charts/atsign-operator, or apply the files in crds/",
        )
    }
}

/// Whether a Deployment of ours runs.
pub fn available(what: &'static str, name: &str, namespace: &str, found: Option<&Deployment>) -> Check {
    let Some(deployment) = found else {
        return Check::problem(
            what,
            format!("there is no Deployment {name} in namespace {namespace}"),
            "install the chart charts/atsign-operator; if it is in another namespace: --operator-namespace",
        );
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available =
        deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    let found = format!("{available} of {wanted} available");
    let remedy = format!("kubectl -n {namespace} describe pods -l app.kubernetes.io/name={name}");
    match available {
        0 => Check::problem(what, found, remedy),
        _ if available < wanted => Check::warning(what, found, remedy),
        _ => Check::ok(what, found),
    }
}

/// Whether the operator's authority is published and lasts.
pub fn authority(found: Option<&ConfigMap>, now: Timestamp) -> Check {
    let what = "authority";
    let pem = found.and_then(|map| map.data.as_ref()?.get("ca.crt"));
    let Some(pem) = pem else {
        return Check::problem(
            what,
            "ConfigMap atsign-ca with the certificates to trust is not there",
            "the operator makes it: see its log",
        );
    };
    // Old and new stand together while it rotates: the one that lasts longest counts.
    let ends = Pem::iter_from_buffer(pem.as_bytes())
        .filter_map(|pem| Some(pem.ok()?.parse_x509().ok()?.validity().not_after.timestamp()))
        .max();
    let left = ends.map(|ends| ends - now.as_second());
    let shown = |left: i64| time::duration(jiff::SignedDuration::from_secs(left));
    match left {
        None => Check::problem(
            what,
            "ConfigMap atsign-ca holds no certificate",
            "delete it: the operator writes it again",
        ),
        Some(..=0) => Check::problem(
            what,
            "the operator's authority has ended: nobody trusts the servers",
            "see the operator's log: it renews it long before",
        ),
        Some(left @ ..SOON) => Check::warning(
            what,
            format!("the operator's authority ends in {}", shown(left)),
            "see the operator's log: it should have renewed it",
        ),
        Some(left) => {
            Check::ok(what, format!("the operator's certificates lead to one that lasts {}", shown(left)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use serde_json::json;

    #[test]
    fn a_resource_counts_only_once_it_is_established() {
        let served = |established: &str| {
            let definition = |name: &str| {
                serde_json::from_value::<CustomResourceDefinition>(json!({"metadata": {"name": name},
                    "spec": {"group": "atsign.dev", "names": {"kind": "K", "plural": "ks"}, "scope": "Namespaced",
                        "versions": [{"name": "v1", "served": true, "storage": true}]},
                    "status": {"conditions": [{"type": "Established", "status": established}]}}))
                .unwrap()
            };
            definitions(&[definition("atsigns.atsign.dev"), definition("atsigntiers.atsign.dev")]).verdict
        };
        assert_eq!((served("True"), served("False")), (Verdict::Ok, Verdict::Problem));
        assert_eq!(definitions(&[]).verdict, Verdict::Problem);
    }

    #[test]
    fn a_deployment_is_there_whole_in_part_or_not_at_all() {
        let verdict = |available: i32| {
            let deployment =
                serde_json::from_value(json!({"spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {"availableReplicas": available}}))
                .unwrap();
            super::available("directory", "d", "n", Some(&deployment)).verdict
        };
        assert_eq!([2, 1, 0].map(verdict), [Verdict::Ok, Verdict::Warning, Verdict::Problem]);
        assert_eq!(super::available("directory", "d", "n", None).verdict, Verdict::Problem);
    }

    #[test]
    fn an_authority_without_a_certificate_is_a_problem() {
        let map: ConfigMap = serde_json::from_value(json!({"data": {"ca.crt": "nothing"}})).unwrap();
        assert_eq!(authority(Some(&map), Timestamp::UNIX_EPOCH).verdict, Verdict::Problem);
        assert_eq!(authority(None, Timestamp::UNIX_EPOCH).verdict, Verdict::Problem);
    }
}
