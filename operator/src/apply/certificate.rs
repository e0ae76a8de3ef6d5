//! What is asked from cert-manager, and the Secret in which it answers.

use atsign_crds::AtSign;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{Resource as _, ResourceExt as _};

use super::{Error, delete, dynamic, object};
use crate::context::Context;
use crate::dereference::Observed;
use crate::validate::{exposure, service_host};
use crate::{build, names};

/// Asks for a certificate where `spec.tls.issuerRef` wants one, and takes away what was asked for before where not. The
/// Secret is cert-manager's, but it goes with the AtSign: there is a key in it.
pub async fn certificate(context: &Context, at_sign: &AtSign, observed: &Observed) -> Result<(), Error> {
    let Some(api) = observed.certificate_api.served() else { return Ok(()) };
    let client = &context.client;
    let (namespace, uid) = (at_sign.namespace().unwrap_or_default(), at_sign.uid().unwrap_or_default());
    let service = service_host(at_sign, &context.options.cluster_domain);
    let host = exposure::choose(at_sign, observed, &service).ok().and_then(|exposure| exposure.host);
    let wanted = build::certificate::build(at_sign, api, host.as_deref(), &service);
    let is_wanted = wanted.is_some();
    let live = observed.certificate.as_ref();
    dynamic::settle(client, Some(api), &namespace, &uid, wanted, live).await?;

    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let name = names::issued(&at_sign.name_any());
    if !is_wanted {
        return match live {
            Some(live) if dynamic::is_of(live, &uid) => delete(&secrets, &name).await,
            _ => Ok(()),
        };
    }
    if let Some(secret) = &observed.tls {
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(names::labels(&at_sign.name_any())),
            owner_references: at_sign.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        object(&secrets, Secret { metadata, ..Secret::default() }, Some(secret)).await?;
    }
    Ok(())
}
