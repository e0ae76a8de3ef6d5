//! The volume behind the claim: on a tier's export the operator makes it, else it says what becomes of it.

use k8s_openapi::api::core::v1::{
    NFSVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::claim::storage;
use super::reclaim_policy;
use crate::dereference::Observed;
use crate::names;
use crate::validate::Server;

/// How volumes on an export are mounted: a server that is away is waited for, never answered with an error in the middle
/// of a write; and no lock daemon is needed, for the store relies on no lock that crosses nodes.
pub(super) const MOUNT_OPTIONS: [&str; 2] = ["hard", "nolock"];

/// The volume of one directory, for one claim; `None` until that claim has a UID.
pub fn of_directory(
    server: &Server,
    size: u64,
    nfs: &str,
    root: &str,
    directory: &str,
    claim: Option<&PersistentVolumeClaim>,
) -> Option<PersistentVolume> {
    let uid = claim?.uid()?;
    Some(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(names::volume(&server.namespace, &server.name)),
            labels: Some(names::labels_elsewhere(&server.namespace, &server.name)),
            annotations: Some([(names::AT_SIGN.to_owned(), server.at_sign.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(server.namespace.clone()),
                name: Some(server.name.clone()),
                uid: Some(uid),
                ..ObjectReference::default()
            }),
            ..on_export(size, nfs, &format!("{}/{directory}", root.trim_end_matches('/')))
        }),
        status: None,
    })
}

/// A static volume on an export. Always Retain: the in-tree NFS plugin cannot delete, a Job of ours does.
pub(super) fn on_export(size: u64, server: &str, path: &str) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: Some(vec!["ReadWriteMany".to_owned()]),
        capacity: Some(storage(size)),
        mount_options: Some(MOUNT_OPTIONS.map(str::to_owned).into()),
        nfs: Some(NFSVolumeSource { server: server.to_owned(), path: path.to_owned(), read_only: None }),
        persistent_volume_reclaim_policy: Some("Retain".to_owned()),
        ..PersistentVolumeSpec::default()
    }
}

/// A provisioned volume whose policy is not the AtSign's, and what it should be. A volume that is bound to another claim
/// is none of ours, whatever our claim says.
pub fn reclaim(server: &Server, observed: &Observed) -> Option<(String, &'static str)> {
    let volume = observed.volume.as_ref()?;
    let spec = volume.spec.as_ref()?;
    let bound_to = spec.claim_ref.as_ref()?.uid.clone();
    let wanted = reclaim_policy(server.deletion_policy);
    let differs = spec.persistent_volume_reclaim_policy.as_deref() != Some(wanted);
    (differs && bound_to == observed.claim.as_ref()?.uid()).then(|| (volume.name_any(), wanted))
}
