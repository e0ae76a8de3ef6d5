//! `PersistentVolumeClaim` `<name>`: the data. It has no owner reference, so it outlives its AtSign and is found again by
//! the next of that name; with deletionPolicy Delete the finalizer removes it.

use std::collections::BTreeMap;

use atsign_crds::quantity;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::metadata_that_stays;
use crate::names;
use crate::validate::Server;

/// A claim of a StorageClass.
pub fn of_class(
    server: &Server,
    size: u64,
    class: &str,
    access_mode: &str,
    live: Option<&PersistentVolumeClaim>,
) -> PersistentVolumeClaim {
    let spec =
        PersistentVolumeClaimSpec { storage_class_name: Some(class.to_owned()), ..spec(size, access_mode) };
    build(server, spec, live)
}

/// A claim of the volume that the operator makes on a tier's export.
pub fn of_volume(server: &Server, size: u64) -> PersistentVolumeClaim {
    let spec = PersistentVolumeClaimSpec {
        // Not "the default class": none.
        storage_class_name: Some(String::new()),
        volume_name: Some(names::volume(&server.namespace, &server.name)),
        ..spec(size, "ReadWriteMany")
    };
    build(server, spec, None)
}

fn spec(size: u64, access_mode: &str) -> PersistentVolumeClaimSpec {
    PersistentVolumeClaimSpec {
        access_modes: Some(vec![access_mode.to_owned()]),
        resources: Some(VolumeResourceRequirements { requests: Some(storage(size)), limits: None }),
        ..PersistentVolumeClaimSpec::default()
    }
}

fn build(
    server: &Server,
    mut spec: PersistentVolumeClaimSpec,
    live: Option<&PersistentVolumeClaim>,
) -> PersistentVolumeClaim {
    // A claim that was made in other words for the same size (1024Mi) stays as it is.
    let requests = live.and_then(|live| live.spec.as_ref()?.resources.as_ref()?.requests.clone());
    if let (Some(resources), Some(requests)) = (&mut spec.resources, requests)
        && bytes(Some(&requests)) == bytes(resources.requests.as_ref())
    {
        resources.requests = Some(requests);
    }
    let mut metadata = metadata_that_stays(server, &server.name);
    metadata.annotations = Some([(names::AT_SIGN.to_owned(), server.at_sign.to_string())].into());
    PersistentVolumeClaim { metadata, spec: Some(spec), status: None }
}

fn bytes(requests: Option<&BTreeMap<String, Quantity>>) -> Option<u64> {
    quantity::bytes(&requests?.get("storage")?.0)
}

/// A capacity of `size` bytes.
pub(super) fn storage(size: u64) -> BTreeMap<String, Quantity> {
    [("storage".to_owned(), Quantity(quantity::display(size)))].into()
}
