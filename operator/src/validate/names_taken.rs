//! Whether something that is not this AtSign's stands where its objects go.

use atsign_crds::{AtSign, ExposeType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::Error;
use crate::dereference::Observed;

/// Refuses names that are taken: applying over them would destroy what somebody else made.
pub(super) fn check(at_sign: &AtSign, observed: &Observed) -> Result<(), Error> {
    let spec = &at_sign.spec;
    let kept_activation = spec.activation.as_ref().is_some_and(|activation| activation.secret_name.is_some());
    let kept_tls = spec.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some() || tls.issuer_ref.is_some());
    let routed = spec.expose.as_ref().is_some_and(|expose| expose.type_ == Some(ExposeType::TlsRoute));
    let issued = spec.tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some());
    let children: [(&str, Option<&ObjectMeta>); 9] = [
        ("Deployment", observed.deployment.as_ref().map(|child| &child.metadata)),
        ("Service", observed.service.as_ref().map(|child| &child.metadata)),
        ("TLSRoute", observed.route.as_ref().map(|child| &child.metadata).filter(|_| routed)),
        ("Certificate", observed.certificate.as_ref().map(|child| &child.metadata).filter(|_| issued)),
        ("NetworkPolicy", observed.network_policy.as_ref().map(|child| &child.metadata)),
        ("ConfigMap", observed.config_map.as_ref().map(|child| &child.metadata)),
        ("Secret", observed.admin.as_ref().map(|child| &child.metadata)),
        ("Secret", observed.activation.as_ref().map(|child| &child.metadata).filter(|_| !kept_activation)),
        ("Secret", observed.tls.as_ref().map(|child| &child.metadata).filter(|_| !kept_tls)),
    ];
    for (kind, metadata) in children {
        if let Some(metadata) = metadata {
            belongs(at_sign, kind, metadata)?;
        }
    }
    Ok(())
}

fn belongs(at_sign: &AtSign, kind: &'static str, child: &ObjectMeta) -> Result<(), Error> {
    let name = child.name.clone().unwrap_or_default();
    let owners = child.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| Some(&owner.uid) == at_sign.uid().as_ref()) {
        return Ok(());
    }
    // The garbage collector has not come yet, or a finalizer holds the object.
    let earlier = owners.iter().any(|owner| owner.kind == "AtSign" && owner.name == at_sign.name_any());
    if earlier || child.deletion_timestamp.is_some() {
        return Err(Error::CleanupPending { kind, name });
    }
    Err(Error::NameTaken { kind, name })
}
