//! Where the data is: a claim that exists, one of a StorageClass, or a directory on a tier's NFS export.

use atsign_crds::{AtSign, quantity};
use atsign_protocol::at_sign;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use super::Error;
use super::tier::Tier;
use crate::dereference::Observed;
use crate::names;

/// Provisioners whose volumes one node alone can write: they refuse a claim for several.
const ONE_NODE_PROVISIONERS: [&str; 4] =
    ["rancher.io/local-path", "k8s.io/minikube-hostpath", "docker.io/hostpath", "microk8s.io/hostpath"];
/// Marks the default class.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A claim that a user keeps; never changed, never deleted.
    Existing {
        /// Its name.
        claim: String,
    },
    /// A claim of a StorageClass.
    Class {
        /// Bytes.
        size: u64,
        /// The class.
        class: String,
        /// `ReadWriteMany`, so that another node can take over, or `ReadWriteOnce` where the class has nothing else.
        access_mode: String,
    },
    /// A directory on an NFS export.
    Nfs {
        /// Bytes, as the claim says them; nobody enforces them but the server.
        size: u64,
        /// The NFS server.
        server: String,
        /// The export's root.
        root: String,
        /// The name of the directory there.
        directory: String,
    },
}

impl Storage {
    /// The claim that the pod mounts.
    pub fn claim<'a>(&'a self, name: &'a str) -> &'a str {
        match self {
            Self::Existing { claim } => claim,
            Self::Class { .. } | Self::Nfs { .. } => name,
        }
    }

    /// Whether the data is the operator's to delete.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Existing { .. })
    }
}

/// Decides. What exists stays what it is: the data is there, wherever the tier would put new data.
pub(super) fn choose(
    at_sign: &AtSign,
    identity: &at_sign::AtSign,
    tier: &Tier,
    observed: &Observed,
) -> Result<Storage, Error> {
    let name = at_sign.name_any();
    let own = at_sign.spec.storage.clone().unwrap_or_default();
    if let Some(claim) = own.existing_claim {
        return match &observed.claim {
            Some(_) => Ok(Storage::Existing { claim }),
            None => Err(Error::ClaimNotFound(claim)),
        };
    }
    let wanted = own.size.as_deref().and_then(quantity::bytes).unwrap_or(tier.storage);
    if let Some(claim) = &observed.claim {
        belongs(claim, &name, identity)?;
    }
    if let Some(volume) = observed.static_volume.as_ref().filter(|volume| is_of(volume, at_sign)) {
        same_at_sign(volume.annotations().get(names::AT_SIGN), &volume.name_any(), identity)?;
        return on_export(volume, wanted);
    }
    match (&observed.claim, own.storage_class_name.or_else(|| tier.storage_class.clone()), &tier.nfs) {
        (Some(claim), _, _) if class_of(claim).is_some_and(|class| !class.is_empty()) => {
            grown(claim, wanted, observed)
        }
        (_, None, Some(nfs)) => Ok(Storage::Nfs {
            size: wanted,
            server: nfs.server.clone(),
            root: nfs.path.clone(),
            directory: names::directory(
                &at_sign.namespace().unwrap_or_default(),
                &name,
                &at_sign.uid().unwrap_or_default(),
            ),
        }),
        (_, class, _) => {
            let class = class_named(class, &observed.storage_classes)?;
            let one_node = ONE_NODE_PROVISIONERS.contains(&class.provisioner.as_str());
            Ok(Storage::Class {
                size: wanted,
                class: class.name_any(),
                access_mode: if one_node { "ReadWriteOnce" } else { "ReadWriteMany" }.to_owned(),
            })
        }
    }
}

/// A claim of this name must have been made for this atSign, by an AtSign of this name that may be gone.
fn belongs(claim: &PersistentVolumeClaim, name: &str, identity: &at_sign::AtSign) -> Result<(), Error> {
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Error::CleanupPending { kind: "PersistentVolumeClaim", name: name.to_owned() });
    }
    let labels = claim.labels();
    let managed = labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == names::MANAGED_BY);
    if !managed || labels.get(names::INSTANCE).is_none_or(|instance| instance != name) {
        return Err(Error::NameTaken { kind: "PersistentVolumeClaim", name: name.to_owned() });
    }
    same_at_sign(claim.annotations().get(names::AT_SIGN), name, identity)
}

fn same_at_sign(found: Option<&String>, claim: &str, identity: &at_sign::AtSign) -> Result<(), Error> {
    match found {
        Some(found) if found != identity.as_str() => {
            Err(Error::ClaimOfAnother { claim: claim.to_owned(), at_sign: found.clone() })
        }
        _ => Ok(()),
    }
}

/// A volume's labels are written by the operator alone; a claim's can be written by whoever may write claims.
fn is_of(volume: &PersistentVolume, at_sign: &AtSign) -> bool {
    let labels = volume.labels();
    labels.get(names::NAMESPACE) == at_sign.namespace().as_ref()
        && labels.get(names::INSTANCE) == Some(&at_sign.name_any())
}

fn on_export(volume: &PersistentVolume, size: u64) -> Result<Storage, Error> {
    let nfs = volume.spec.as_ref().and_then(|spec| spec.nfs.as_ref());
    let split = nfs.and_then(|nfs| Some((nfs, nfs.path.rsplit_once('/')?)));
    match split {
        Some((nfs, (root, directory))) => Ok(Storage::Nfs {
            size,
            server: nfs.server.clone(),
            root: if root.is_empty() { "/" } else { root }.to_owned(),
            directory: directory.to_owned(),
        }),
        None => Err(Error::NameTaken { kind: "PersistentVolume", name: volume.name_any() }),
    }
}

/// What a claim of a StorageClass is, and how large it is to be: it never shrinks, and grows where its class allows.
fn grown(claim: &PersistentVolumeClaim, wanted: u64, observed: &Observed) -> Result<Storage, Error> {
    let spec = claim.spec.clone().unwrap_or_default();
    let class = spec.storage_class_name.unwrap_or_default();
    let has = spec.resources.and_then(|resources| resources.requests?.get("storage").cloned());
    let has = has.and_then(|has| quantity::bytes(&has.0)).unwrap_or(wanted);
    let grows = observed
        .storage_classes
        .iter()
        .any(|known| known.name_any() == class && known.allow_volume_expansion == Some(true));
    if wanted > has && !grows {
        return Err(Error::StorageCannotGrow {
            claim: claim.name_any(),
            has: quantity::display(has),
            wanted: quantity::display(wanted),
        });
    }
    let access_mode = spec.access_modes.and_then(|modes| modes.first().cloned()).unwrap_or_default();
    Ok(Storage::Class { size: wanted.max(has), class, access_mode })
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

fn class_named(name: Option<String>, classes: &[StorageClass]) -> Result<&StorageClass, Error> {
    if let Some(name) = name {
        let named = classes.iter().find(|class| class.name_any() == name);
        return named.ok_or(Error::StorageClassNotFound(name));
    }
    let is_default =
        |class: &&StorageClass| class.annotations().get(DEFAULT_CLASS).is_some_and(|is| is == "true");
    // Of several defaults Kubernetes takes the newest.
    classes
        .iter()
        .filter(is_default)
        .max_by_key(|class| class.creation_timestamp())
        .ok_or(Error::NoStorageClass)
}
