//! Fourth step: makes the cluster hold what was built, and writes nothing that is there already.

mod certificate;
mod dynamic;

use std::fmt::Debug;
use std::marker::PhantomData;

use atsign_crds::name::STORAGE_FINALIZER;
use atsign_crds::{AtSign, DeletionPolicy};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use certificate::certificate;

use crate::build::{Applied, Prepared, Resources};
use crate::context::Context;
use crate::dereference::Observed;
use crate::validate::Server;
use crate::{drift, names};

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("write {kind} {name}: {source}")]
    Write {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why it was not written.
        source: kube::Error,
    },
    /// An object cannot be expressed as JSON.
    #[error("express an object as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What the API server said, where it refused for a reason that a person must remove: a quota, a policy, a right.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Write { source: kube::Error::Api(status), .. }
                if matches!(status.code, 400 | 403 | 422) =>
            {
                Some(&status.message)
            }
            _ => None,
        }
    }
}

/// Applies everything, the Deployment last: a pod that starts finds what it mounts.
pub async fn apply(
    context: &Context,
    at_sign: &AtSign,
    server: &Server,
    observed: &Observed,
    prepared: Resources<Prepared>,
) -> Result<Resources<Applied>, Error> {
    let client = &context.client;
    let namespace = &server.namespace;
    // Before anything is there that only the finalizer would remove.
    finalizer(client, at_sign, server.storage.is_ours() && server.deletion_policy == DeletionPolicy::Delete)
        .await?;

    let config_map: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);

    let applied_config = object(&config_map, prepared.config_map, observed.config_map.as_ref()).await?;
    let activation = match prepared.activation {
        Some(secret) => Some(create_or_keep(&secrets, secret, observed.activation.as_ref()).await?),
        None => None,
    };
    let admin = create_or_keep(&secrets, prepared.admin, observed.admin.as_ref()).await?;
    let tls = match prepared.tls {
        Some(secret) => Some(object(&secrets, secret, observed.tls.as_ref()).await?),
        None => None,
    };
    let network_policy = object(&policies, prepared.network_policy, observed.network_policy.as_ref()).await?;
    let service = object(&services, prepared.service, observed.service.as_ref()).await?;
    let (routes, uid) = (observed.route_api.served(), &server.uid);
    let route =
        dynamic::settle(client, routes, namespace, uid, prepared.route, observed.route.as_ref()).await?;
    let claim = match prepared.claim {
        Some(claim) => Some(object(&claims, claim, observed.claim.as_ref()).await?),
        None => None,
    };
    if let Some((volume, policy)) = &prepared.reclaim {
        reclaim(client, volume, policy).await?;
    }
    let export = match prepared.export {
        Some((volume, claim)) => Some(Box::pin(export(context, volume, claim)).await?),
        None => None,
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), &context.options.namespace);
    let storage_job = match prepared.storage_job {
        Some(job) => Some(create_or_keep(&jobs, job, observed.storage_job.as_ref()).await?),
        None => None,
    };
    let volume = match prepared.volume {
        Some(volume) => Some(object(&volumes, volume, observed.static_volume.as_ref()).await?),
        None => None,
    };
    if volume.is_some() && observed.static_volume.is_some() && observed.storage_job.is_some() {
        delete(&jobs, &names::init_job(&server.uid)).await?;
    }
    let deployment = object(&deployments, prepared.deployment, observed.deployment.as_ref()).await?;
    Ok(Resources {
        config_map: applied_config,
        activation,
        admin,
        tls,
        network_policy,
        service,
        route,
        claim,
        export,
        storage_job,
        volume,
        reclaim: prepared.reclaim,
        deployment,
        pod_settings_pending: prepared.pod_settings_pending,
        stage: PhantomData,
    })
}

/// Applies one object, if the live one is not what is wanted already. Force: these objects are ours, and who edited one by
/// hand edited the wrong place.
pub async fn object<K>(api: &Api<K>, wanted: K, live: Option<&K>) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let wanted = stamped(&wanted)?;
    if let Some(live) = live
        && drift::covers(&wanted, &serde_json::to_value(live)?)
    {
        return Ok(live.clone());
    }
    let name = name_of(&wanted);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&wanted)).await.map_err(|source| failed::<K>(&name, source))
}

/// Makes an object that is not there; one that is there stays as it is. Not applied: what somebody else made in the
/// meantime must not be written over.
async fn create_or_keep<K>(api: &Api<K>, wanted: K, live: Option<&K>) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    match live {
        Some(live) if has_data(&wanted, live)? => Ok(live.clone()),
        Some(live) => object(api, wanted, Some(live)).await,
        None => {
            let params =
                PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
            api.create(&params, &wanted).await.map_err(|source| failed::<K>(&wanted.name_any(), source))
        }
    }
}

/// Whether what matters of a Secret that is made once is there. Jobs have no data, and cannot change.
fn has_data<K: Serialize>(wanted: &K, live: &K) -> Result<bool, Error> {
    Ok(drift::covers(&serde_json::to_value(wanted)?["data"], &serde_json::to_value(live)?["data"]))
}

/// As JSON, with a digest of itself: so a field that was applied once and is not wanted any more is noticed, too.
fn stamped<K: Serialize>(wanted: &K) -> Result<Value, Error> {
    let mut wanted = serde_json::to_value(wanted)?;
    let mut digested = wanted.clone();
    // A digest says something of what is digested, so secrets are not.
    if let Some(data) =
        digested["kind"].as_str().filter(|kind| *kind == "Secret").and(digested.get("data").cloned())
    {
        let keys = data.as_object().map(|data| data.keys().cloned().collect::<Vec<_>>());
        digested["data"] = json!(keys);
    }
    wanted["metadata"]["annotations"][names::APPLIED] = json!(names::digest(digested.to_string().as_bytes()));
    Ok(wanted)
}

async fn export(
    context: &Context,
    volume: PersistentVolume,
    claim: PersistentVolumeClaim,
) -> Result<(PersistentVolume, PersistentVolumeClaim), Error> {
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &context.options.namespace);
    let name = volume.name_any();
    let live = volumes.get_opt(&name).await.map_err(|source| failed::<PersistentVolume>(&name, source))?;
    let volume = object(&volumes, volume, live.as_ref()).await?;
    let live =
        claims.get_opt(&name).await.map_err(|source| failed::<PersistentVolumeClaim>(&name, source))?;
    let claim = object(&claims, claim, live.as_ref()).await?;
    Ok((volume, claim))
}

/// Makes sure that the root of an export can be mounted by a Job in the operator's namespace.
pub async fn export_root(context: &Context, server: &str, root: &str) -> Result<(), Error> {
    let (volume, claim) = crate::build::export::build(server, root, &context.options.namespace);
    Box::pin(export(context, volume, claim)).await.map(|_| ())
}

/// Says what becomes of a provisioned volume when its claim goes.
pub async fn reclaim(client: &Client, volume: &str, policy: &str) -> Result<(), Error> {
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": policy}}));
    let params =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(volume, &params, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failed::<PersistentVolume>(volume, source)),
    }
}

/// Sets or removes the finalizer. At the version that was read: a list is replaced as a whole.
pub async fn finalizer(client: &Client, at_sign: &AtSign, wanted: bool) -> Result<(), Error> {
    let present = at_sign.finalizers().iter().any(|finalizer| finalizer == STORAGE_FINALIZER);
    if present == wanted {
        return Ok(());
    }
    let mut finalizers = at_sign.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != STORAGE_FINALIZER);
    if wanted {
        finalizers.push(STORAGE_FINALIZER.to_owned());
    }
    let name = at_sign.name_any();
    let api: Api<AtSign> = Api::namespaced(client.clone(), &at_sign.namespace().unwrap_or_default());
    let metadata =
        json!({"metadata": {"resourceVersion": at_sign.resource_version(), "finalizers": finalizers}});
    let params =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(&name, &params, &Patch::Merge(metadata))
        .await
        .map(|_| ())
        .map_err(|source| failed::<AtSign>(&name, source))
}

/// Deletes an object, if it is there. Its own dependents go after it.
pub async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failed::<K>(name, source)),
    }
}

/// Deletes what was made for an AtSign that turned out to be the younger of two: it gets no objects. A claim stays, for it
/// may hold data.
pub async fn withdraw(context: &Context, at_sign: &AtSign, observed: &Observed) -> Result<(), Error> {
    let owner = at_sign.uid().unwrap_or_default();
    let (client, namespace) = (&context.client, at_sign.namespace().unwrap_or_default());
    withdraw_one(client, &namespace, &owner, observed.deployment.as_ref()).await?;
    let (routes, certificates) = (observed.route_api.served(), observed.certificate_api.served());
    dynamic::settle(client, routes, &namespace, &owner, None, observed.route.as_ref()).await?;
    dynamic::settle(client, certificates, &namespace, &owner, None, observed.certificate.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.service.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.network_policy.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.config_map.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.activation.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.admin.as_ref()).await?;
    withdraw_one(client, &namespace, &owner, observed.tls.as_ref()).await
}

async fn withdraw_one<K>(client: &Client, namespace: &str, owner: &str, live: Option<&K>) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
{
    match live {
        Some(live) if live.owner_references().iter().any(|reference| reference.uid == owner) => {
            delete(&Api::<K>::namespaced(client.clone(), namespace), &live.name_any()).await
        }
        _ => Ok(()),
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn failed<K: Resource<DynamicType = ()>>(name: &str, source: kube::Error) -> Error {
    Error::Write { kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(cram: &str) -> Secret {
        Secret { data: Some([("cram".to_owned(), ByteString(cram.into()))].into()), ..Secret::default() }
    }

    #[test]
    fn the_digest_on_a_secret_says_nothing_of_what_it_holds() {
        let stamp = |secret: &Secret| {
            stamped(secret).expect("JSON")["metadata"]["annotations"][names::APPLIED].clone()
        };
        assert_eq!(stamp(&secret("one")), stamp(&secret("two")));
        assert_ne!(stamp(&secret("one")), stamp(&Secret::default()));
    }

    #[test]
    fn a_field_that_is_not_wanted_any_more_is_noticed() {
        let mut service = Service::default();
        service.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        let live = stamped(&service).expect("JSON");
        assert!(drift::covers(&live, &live));
        service.metadata.annotations = None;
        assert!(!drift::covers(&stamped(&service).expect("JSON"), &live));
    }
}
