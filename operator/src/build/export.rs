//! The root of a tier's NFS export, in the operator's namespace: where Jobs make and remove the atSigns' directories.

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{claim, volume};
use crate::names;

/// Nobody enforces it, but a claim must say one.
const SIZE: u64 = 1 << 20;

/// Volume and claim.
pub fn build(server: &str, root: &str, namespace: &str) -> (PersistentVolume, PersistentVolumeClaim) {
    let name = names::export(namespace, server, root);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(names::labels_of_operator("storage")),
        ..ObjectMeta::default()
    };
    let reserved_for = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.clone()),
        ..ObjectReference::default()
    };
    let volume = PersistentVolume {
        metadata: metadata.clone(),
        spec: Some(PersistentVolumeSpec {
            claim_ref: Some(reserved_for),
            ..volume::on_export(SIZE, server, root)
        }),
        status: None,
    };
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta { namespace: Some(namespace.to_owned()), ..metadata },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(claim::storage(SIZE)),
                limits: None,
            }),
            storage_class_name: Some(String::new()),
            volume_name: Some(name),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    (volume, claim)
}
