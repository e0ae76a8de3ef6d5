//! cert-manager's Certificate `<name>-issued`, where `spec.tls.issuerRef` names who is to sign. It is asked for before
//! anything else is there: a pod cannot start without its certificate.

use std::net::IpAddr;

use atsign_crds::AtSign;
use kube::core::{ApiResource, DynamicObject};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::names;
use crate::validate::certified;

/// Builds it, where one is wanted.
pub fn build(
    at_sign: &AtSign,
    api: &ApiResource,
    host: Option<&str>,
    service: &str,
) -> Option<DynamicObject> {
    let issuer = at_sign.spec.tls.as_ref()?.issuer_ref.as_ref()?;
    let name = names::issued(&at_sign.name_any());
    let labels = names::labels(&at_sign.name_any());
    let (addresses, hosts): (Vec<_>, Vec<_>) =
        certified(at_sign, host, service).into_iter().partition(|name| name.parse::<IpAddr>().is_ok());
    let mut certificate = DynamicObject::new(&name, api);
    certificate.metadata.namespace = at_sign.namespace();
    certificate.metadata.labels = Some(labels);
    certificate.metadata.owner_references = Some(at_sign.controller_owner_ref(&()).into_iter().collect());
    certificate.data = json!({"spec": {
        "secretName": name,
        "issuerRef": {
            "name": issuer.name,
            "kind": issuer.kind.as_deref().unwrap_or(names::ISSUER_KIND),
            "group": issuer.group.as_deref().unwrap_or(names::ISSUER_GROUP),
        },
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        // Servers are each other's clients.
        "usages": ["digital signature", "server auth", "client auth"],
    }});
    for (field, names) in [("dnsNames", hosts), ("ipAddresses", addresses)] {
        if !names.is_empty() {
            certificate.data["spec"][field] = json!(names);
        }
    }
    Some(certificate)
}
