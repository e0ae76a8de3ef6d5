//! First step: reads everything that one AtSign speaks of and everything that was made for it, as it is now.

pub mod extension;

use std::collections::BTreeMap;
use std::sync::Arc;

use atsign_crds::condition::QUOTA_EXCEEDED;
use atsign_crds::{AtSign, AtSignTier};
use atsign_protocol::Usage;
use extension::Extension;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};

use crate::context::{Context, GuardedAtSign, Stores};
use crate::memory::moving::Move;
use crate::names;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("read {what}: {source}")]
    Read {
        /// What was asked for.
        what: &'static str,
        /// Why it did not come.
        source: kube::Error,
    },
}

/// Another AtSign that claims the same atSign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its namespace and name.
    pub object: String,
    /// When it was made.
    pub created: Option<Time>,
    /// Its UID.
    pub uid: String,
}

/// What was made for an AtSign, and what it names, as far as it exists.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The other AtSigns that claim this atSign.
    pub rivals: Vec<Rival>,
    /// All tiers.
    pub tiers: Vec<AtSignTier>,
    /// The labels of the AtSign's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// The Deployment.
    pub deployment: Option<Deployment>,
    /// The Service.
    pub service: Option<Service>,
    /// The NetworkPolicy.
    pub network_policy: Option<NetworkPolicy>,
    /// Limits and trusted certificates.
    pub config_map: Option<ConfigMap>,
    /// The activation Secret: generated, or the one that `spec.activation` names.
    pub activation: Option<Secret>,
    /// The admin port's token.
    pub admin: Option<Secret>,
    /// The certificate: signed here, or by cert-manager, or the Secret that `spec.tls` names.
    pub tls: Option<Secret>,
    /// The claim: made here, or the one that `spec.storage` names.
    pub claim: Option<PersistentVolumeClaim>,
    /// The volume that the claim is bound to.
    pub volume: Option<PersistentVolume>,
    /// The volume on a tier's export.
    pub static_volume: Option<PersistentVolume>,
    /// All `StorageClass`es.
    pub storage_classes: Vec<Arc<StorageClass>>,
    /// The Job that makes the directory on a tier's export.
    pub storage_job: Option<Job>,
    /// The server's pods.
    pub pods: Vec<Pod>,
    /// What the server says of itself.
    pub usage: Option<Usage>,
    /// The rollout that the server's memory asks for.
    pub asked_to_move: Option<Move>,
    /// Whether the cluster has cert-manager's Certificates.
    pub certificate_api: Extension,
    /// The Certificate that was asked from cert-manager.
    pub certificate: Option<DynamicObject>,
    /// What cert-manager asked its issuer for, while the Certificate is not ready.
    pub certificate_request: Option<DynamicObject>,
    /// Whether the cluster has `TLSRoute`s.
    pub route_api: Extension,
    /// The `TLSRoute`.
    pub route: Option<DynamicObject>,
    /// The Gateway that `spec.expose` names.
    pub gateway: Option<DynamicObject>,
}

/// Reads the AtSign itself. The watch's copy may be older than what this operator wrote last, and then the same would be
/// written again.
pub async fn at_sign(client: &Client, namespace: &str, name: &str) -> Result<Option<AtSign>, Error> {
    let api: Api<AtSign> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| Error::Read { what: "the AtSign", source })
}

/// Reads everything else.
pub async fn dereference(context: &Context, at_sign: &AtSign) -> Result<Observed, Error> {
    let client = &context.client;
    let namespace = at_sign.namespace().unwrap_or_default();
    let name = at_sign.name_any();
    let spec = &at_sign.spec;
    let activation = spec.activation.as_ref().and_then(|activation| activation.secret_name.clone());
    let issued = names::issued(&name);
    let tls = spec
        .tls
        .as_ref()
        .and_then(|tls| tls.secret_name.clone().or_else(|| tls.issuer_ref.as_ref().map(|_| issued.clone())));
    let claim = spec.storage.as_ref().and_then(|storage| storage.existing_claim.clone());

    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = async |name: String| read("a Secret", secrets.get_opt(&name).await);
    let claim: Option<PersistentVolumeClaim> = {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        read("the PersistentVolumeClaim", api.get_opt(&claim.unwrap_or_else(|| name.clone())).await)?
    };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let bound = claim.as_ref().and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
    let volume = match bound {
        Some(bound) => read("the PersistentVolume", volumes.get_opt(&bound).await)?,
        None => None,
    };
    let tiers = context.stores.tiers(&namespace);
    let static_volume = if tiers.iter().any(has_export) || volume.as_ref().is_some_and(is_on_export) {
        read("the PersistentVolume", volumes.get_opt(&names::volume(&namespace, &name)).await)?
    } else {
        None
    };
    let pods = pods(client, &namespace, &name).await?;
    let route_api = read("what the Gateway API serves", context.routes.look(client).await)?;
    let certificate_api = read("what cert-manager serves", context.certificates.look(client).await)?;
    let certificate = dynamic("the Certificate", client, &namespace, &issued, &certificate_api).await?;
    Ok(Observed {
        certificate_request: certificate_request(client, certificate.as_ref(), &certificate_api).await?,
        certificate,
        certificate_api,
        route: dynamic("the TLSRoute", client, &namespace, &name, &route_api).await?,
        gateway: gateway(context, at_sign, &route_api).await?,
        route_api,
        rivals: rivals(&context.stores, at_sign),
        namespace_labels: namespace_labels(client, &namespace, &tiers).await?,
        deployment: one("the Deployment", client, &namespace, &name).await?,
        service: one("the Service", client, &namespace, &name).await?,
        network_policy: one("the NetworkPolicy", client, &namespace, &name).await?,
        config_map: one("the ConfigMap", client, &namespace, &names::config(&name)).await?,
        activation: secret(activation.unwrap_or_else(|| names::activation(&name))).await?,
        admin: secret(names::admin(&name)).await?,
        tls: secret(tls.unwrap_or_else(|| names::tls(&name))).await?,
        storage_classes: context.stores.storage_classes(&namespace),
        storage_job: if tiers.iter().any(has_export) {
            let uid = at_sign.uid().unwrap_or_default();
            one("the storage Job", client, &context.options.namespace, &names::init_job(&uid)).await?
        } else {
            None
        },
        usage: context.usage.of(&pods, limits_in_force(at_sign, &tiers), is_over_limit(at_sign)).await,
        asked_to_move: context.fleet.asked_to_move(&namespace, &name),
        claim,
        volume,
        static_volume,
        tiers,
        pods,
    })
}

/// The pods of an AtSign's server.
pub async fn pods(client: &Client, namespace: &str, name: &str) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = names::selector(name).into_iter().map(|(key, value)| format!("{key}={value}"));
    let selector = ListParams::default().labels(&selector.collect::<Vec<_>>().join(","));
    Ok(read("the pods", api.list(&selector).await)?.items)
}

/// What of the AtSigns that claim the same atSign decides who keeps it.
fn rivals(stores: &Stores, at_sign: &AtSign) -> Vec<Rival> {
    let rival = |other: Arc<GuardedAtSign>| Rival {
        object: format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()),
        created: other.creation_timestamp(),
        uid: other.uid().unwrap_or_default(),
    };
    stores.rivals_of(at_sign).map(rival).collect()
}

/// Names the limits that may be in force: they change with the AtSign and with its tier.
fn limits_in_force(at_sign: &AtSign, tiers: &[AtSignTier]) -> String {
    let concerned = tiers.iter().filter(|tier| match &at_sign.spec.tier {
        Some(named) => tier.name_any() == *named,
        None => tier.spec.default == Some(true),
    });
    let generation = |tier: &AtSignTier| tier.metadata.generation.unwrap_or_default();
    let tiers: Vec<_> = concerned.map(|tier| format!("{}={}", tier.name_any(), generation(tier))).collect();
    format!("{} {}", at_sign.metadata.generation.unwrap_or_default(), tiers.join(" "))
}

fn is_over_limit(at_sign: &AtSign) -> bool {
    let conditions = at_sign.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == QUOTA_EXCEEDED && condition.status == "True")
}

async fn namespace_labels(
    client: &Client,
    namespace: &str,
    tiers: &[AtSignTier],
) -> Result<BTreeMap<String, String>, Error> {
    if tiers.iter().all(|tier| tier.spec.namespace_selector.is_none()) {
        return Ok(BTreeMap::new());
    }
    let api: Api<Namespace> = Api::all(client.clone());
    Ok(read("the namespace", api.get(namespace).await)?.metadata.labels.unwrap_or_default())
}

fn has_export(tier: &AtSignTier) -> bool {
    tier.spec.storage.as_ref().is_some_and(|storage| storage.nfs.is_some())
}

fn is_on_export(volume: &PersistentVolume) -> bool {
    volume.labels().contains_key(names::NAMESPACE)
}

async fn one<K>(what: &'static str, client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    read(what, api.get_opt(name).await)
}

/// An object of a kind that the cluster may not have.
async fn dynamic(
    what: &'static str,
    client: &Client,
    namespace: &str,
    name: &str,
    api: &Extension,
) -> Result<Option<DynamicObject>, Error> {
    let Some(api) = api.served() else { return Ok(None) };
    read(what, Api::<DynamicObject>::namespaced_with(client.clone(), namespace, api).get_opt(name).await)
}

/// The request of the revision that a Certificate waits for: of an issuer that is missing or not ready, only it tells.
async fn certificate_request(
    client: &Client,
    certificate: Option<&DynamicObject>,
    certificates: &Extension,
) -> Result<Option<DynamicObject>, Error> {
    let (Some(certificate), Some(served)) = (certificate, certificates.served()) else { return Ok(None) };
    let status = &certificate.data["status"];
    if extension::ready_of(certificate).is_some_and(|ready| ready["status"] == "True") {
        return Ok(None);
    }
    let name = format!("{}-{}", certificate.name_any(), status["revision"].as_u64().unwrap_or_default() + 1);
    let namespace = certificate.namespace().unwrap_or_default();
    let kind = GroupVersionKind::gvk(&served.group, &served.version, "CertificateRequest");
    let api = Extension::Served(ApiResource::from_gvk_with_plural(&kind, "certificaterequests"));
    dynamic("the CertificateRequest", client, &namespace, &name, &api).await
}

/// The Gateway that a `TLSRoute` is to be attached to.
async fn gateway(
    context: &Context,
    at_sign: &AtSign,
    routes: &Extension,
) -> Result<Option<DynamicObject>, Error> {
    let named = at_sign.spec.expose.as_ref().and_then(|expose| expose.gateway_ref.clone());
    let (Some(named), Some(_)) = (named, routes.served()) else { return Ok(None) };
    let namespace = named.namespace.or_else(|| at_sign.namespace()).unwrap_or_default();
    let api = read("what the Gateway API serves", context.gateways.look(&context.client).await)?;
    dynamic("the Gateway", &context.client, &namespace, &named.name, &api).await
}

fn read<T>(what: &'static str, answer: kube::Result<T>) -> Result<T, Error> {
    answer.map_err(|source| Error::Read { what, source })
}
