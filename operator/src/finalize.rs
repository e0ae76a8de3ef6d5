//! What takes the place of the five steps once an AtSign is being deleted: with deletionPolicy Delete its data goes, in an
//! order in which every step can be the last one before a crash. Pods first, so that nothing writes; then what is on the
//! volume; then the volume and its claim; the finalizer last.

use atsign_crds::{AtSign, DeletionPolicy};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use crate::apply::{self, failed};
use crate::build::{reclaim_policy, storage_job};
use crate::condition::{Because, Progress};
use crate::context::Context;
use crate::dereference;
use crate::names;
use crate::validate;

/// Annotation of a volume that a provisioner made, and will remove.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Why the deletion cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error(transparent)]
    Dereference(#[from] dereference::Error),
    /// Something could not be written.
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

/// One pass. `None`: done, the AtSign may go.
pub async fn finalize(context: &Context, at_sign: &AtSign) -> Result<Option<Progress>, Error> {
    let held = at_sign.finalizers().iter().any(|finalizer| finalizer == atsign_crds::name::STORAGE_FINALIZER);
    if !held {
        return Ok(None);
    }
    if at_sign.spec.deletion_policy == Some(DeletionPolicy::Delete)
        && let Some(progress) = Box::pin(remove(context, at_sign)).await?
    {
        return Ok(Some(progress));
    }
    apply::finalizer(&context.client, at_sign, false).await?;
    Ok(None)
}

async fn remove(context: &Context, at_sign: &AtSign) -> Result<Option<Progress>, Error> {
    let client = &context.client;
    let (namespace, name) = (at_sign.namespace().unwrap_or_default(), at_sign.name_any());
    let uid = at_sign.uid().unwrap_or_default();
    let waiting = |message: &str| Ok(Some(Progress::Reconciling(Because::new("Deleting", message))));

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployment =
        deployments.get_opt(&name).await.map_err(|source| failed::<Deployment>(&name, source))?;
    if let Some(deployment) = deployment.filter(|deployment| is_owned(deployment.owner_references(), &uid)) {
        if deployment.metadata.deletion_timestamp.is_none() {
            apply::delete(&deployments, &name).await?;
        }
        return waiting("waiting until the server's Deployment is removed");
    }
    if !dereference::pods(client, &namespace, &name).await?.is_empty() {
        return waiting("waiting until the server's pod has ended");
    }

    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let claim =
        claims.get_opt(&name).await.map_err(|source| failed::<PersistentVolumeClaim>(&name, source))?;
    let claim = claim.filter(|claim| is_of(claim, at_sign));
    if let Some(progress) = Box::pin(remove_directory(context, at_sign, &namespace, &name)).await? {
        return Ok(Some(progress));
    }
    if let Some(claim) = claim {
        if claim.metadata.deletion_timestamp.is_none() {
            hand_back(context, &claim).await?;
            apply::delete(&claims, &name).await?;
        }
        return waiting("waiting until the PersistentVolumeClaim is removed");
    }
    let jobs: Api<Job> = Api::namespaced(client.clone(), &context.options.namespace);
    for job in [names::wipe_job(&uid), names::init_job(&uid)] {
        let live = jobs.get_opt(&job).await.map_err(|source| failed::<Job>(&job, source))?;
        if live.is_some_and(|live| live.metadata.deletion_timestamp.is_none()) {
            apply::delete(&jobs, &job).await?;
        }
    }
    Ok(None)
}

/// Lets a provisioned volume go with its claim, also where it was kept while the policy was Retain.
async fn hand_back(context: &Context, claim: &PersistentVolumeClaim) -> Result<(), Error> {
    let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) else { return Ok(()) };
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let live =
        volumes.get_opt(&volume).await.map_err(|source| failed::<PersistentVolume>(&volume, source))?;
    let Some(live) = live else { return Ok(()) };
    let provisioned = live.annotations().contains_key(PROVISIONED_BY);
    let Some(spec) = live.spec else { return Ok(()) };
    let bound_to = spec.claim_ref.and_then(|claim| claim.uid);
    let wanted = reclaim_policy(DeletionPolicy::Delete);
    // A volume that no provisioner made has no deleter: it would only be marked as failed.
    if bound_to == claim.uid()
        && provisioned
        && spec.persistent_volume_reclaim_policy.as_deref() != Some(wanted)
    {
        apply::reclaim(&context.client, &volume, wanted).await?;
    }
    Ok(())
}

/// Removes the directory on a tier's export by a Job, then the volume that named it.
async fn remove_directory(
    context: &Context,
    at_sign: &AtSign,
    namespace: &str,
    name: &str,
) -> Result<Option<Progress>, Error> {
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let volume_name = names::volume(namespace, name);
    let volume = volumes
        .get_opt(&volume_name)
        .await
        .map_err(|source| failed::<PersistentVolume>(&volume_name, source))?;
    let Some(volume) = volume.filter(|volume| volume.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let nfs = volume.spec.as_ref().and_then(|spec| spec.nfs.as_ref());
    let Some((nfs, (root, directory))) = nfs.and_then(|nfs| Some((nfs, nfs.path.rsplit_once('/')?))) else {
        return Ok(None);
    };
    let root = if root.is_empty() { "/" } else { root };
    let uid = at_sign.uid().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &context.options.namespace);
    let job_name = names::wipe_job(&uid);
    let job = jobs.get_opt(&job_name).await.map_err(|source| failed::<Job>(&job_name, source))?;
    if storage_job::succeeded(job.as_ref()) {
        apply::delete(&volumes, &volume_name).await?;
        return Ok(None);
    }
    if let Some(why) = storage_job::failure(job.as_ref()) {
        return Ok(Some(Progress::Troubled(Because::new(
            "DeletionBlocked",
            format!(
                "the data on the NFS export could not be removed ({why}); it is tried again in two minutes, see the log of Job {job_name} in the operator's namespace; to keep the data instead, set deletionPolicy to Retain"
            ),
        ))));
    }
    if job.is_none() {
        apply::export_root(context, &nfs.server, root).await?;
        let wipe = storage_job::wipe(&uid, (namespace, name), &nfs.server, root, directory, &context.options);
        let params =
            PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        jobs.create(&params, &wipe).await.map_err(|source| failed::<Job>(&job_name, source))?;
    }
    Ok(Some(Progress::Reconciling(Because::new(
        "Deleting",
        "waiting until the data on the NFS export is removed",
    ))))
}

fn is_owned(owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference], uid: &str) -> bool {
    owners.iter().any(|owner| owner.uid == uid)
}

/// Whether a claim was made for this AtSign: what a user keeps is never deleted.
fn is_of(claim: &PersistentVolumeClaim, at_sign: &AtSign) -> bool {
    let labels = claim.labels();
    let identity = validate::identity(at_sign).map(|identity| identity.to_string());
    labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == names::MANAGED_BY)
        && labels.get(names::INSTANCE) == Some(&at_sign.name_any())
        && claim.annotations().get(names::AT_SIGN) == identity.as_ref()
}
