//! Where the data is: a claim that exists, one of a StorageClass, or a directory on a tier's NFS export.

use std::sync::Arc;

use atsign_crds::{AtSign, quantity};
use atsign_protocol::at_sign;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use super::Error;
use super::tier::Tier;
use crate::condition::Because;
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
        let Some(found) = &observed.claim else { return Err(Error::ClaimNotFound(claim)) };
        // One that was made for an atSign, and may be in use. Its server would refuse another's data, but only by ending.
        same_at_sign(found.annotations().get(names::AT_SIGN), &claim, identity)?;
        return Ok(Storage::Existing { claim });
    }
    let wanted = wanted(&own, tier);
    if let Some(claim) = &observed.claim {
        belongs(claim, &name, identity)?;
    }
    if let Some(volume) = observed.static_volume.as_ref().filter(|volume| is_of(volume, at_sign)) {
        same_at_sign(volume.annotations().get(names::AT_SIGN), &volume.name_any(), identity)?;
        // Nobody enforces the size on an export, and Kubernetes resizes only claims of a class.
        return on_export(volume, observed.claim.as_ref().and_then(requested).unwrap_or(wanted));
    }
    match (&observed.claim, own.storage_class_name.or_else(|| tier.storage_class.clone()), &tier.nfs) {
        (Some(claim), _, _) if class_of(claim).is_some_and(|class| !class.is_empty()) => {
            Ok(grown(claim, wanted, observed))
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
fn grown(claim: &PersistentVolumeClaim, wanted: u64, observed: &Observed) -> Storage {
    let has = requested(claim).unwrap_or(wanted);
    let size = if expands(claim, observed) { wanted.max(has) } else { has };
    let spec = claim.spec.clone().unwrap_or_default();
    let class = spec.storage_class_name.unwrap_or_default();
    let access_mode = spec.access_modes.and_then(|modes| modes.first().cloned()).unwrap_or_default();
    Storage::Class { size, class, access_mode }
}

/// Why the claim that is there has another size than the one that is wanted. The server goes on with what it has.
pub(super) fn size_differs(at_sign: &AtSign, tier: &Tier, observed: &Observed) -> Option<Because> {
    let claim = observed.claim.as_ref()?;
    let own = at_sign.spec.storage.clone().unwrap_or_default();
    if own.existing_claim.is_some() || class_of(claim).is_none_or(str::is_empty) {
        return None;
    }
    let (wanted, has) = (wanted(&own, tier), requested(claim)?);
    let (name, class) = (claim.name_any(), class_of(claim).unwrap_or_default());
    let (display_has, display_wanted) = (quantity::display(has), quantity::display(wanted));
    if wanted < has {
        return Some(Because::new(
            "CannotShrink",
            format!(
                "PersistentVolumeClaim {name} has {display_has} and {display_wanted} is wanted: Kubernetes cannot shrink a volume, so it stays as it is"
            ),
        ));
    }
    if wanted > has && !expands(claim, observed) {
        return Some(Because::new(
            "ClassDoesNotExpand",
            format!(
                "PersistentVolumeClaim {name} has {display_has} and cannot grow to {display_wanted}: StorageClass {class} does not allow expansion; have allowVolumeExpansion set there if its provisioner can, or copy the data to a larger claim and name it in spec.storage.existingClaim; until then the server goes on with {display_has}"
            ),
        ));
    }
    let capacity = capacity(claim)?;
    (capacity < wanted).then(|| growing(claim, capacity, wanted))
}

/// How far a claim has come that grows.
fn growing(claim: &PersistentVolumeClaim, capacity: u64, wanted: u64) -> Because {
    let sizes = format!("from {} to {}", quantity::display(capacity), quantity::display(wanted));
    let conditions =
        claim.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is = |type_: &str| {
        conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let said =
        |message: &Option<String>| message.as_deref().map_or(String::new(), |text| format!(": {text}"));
    for type_ in ["ControllerResizeError", "NodeResizeError"] {
        if let Some(error) = is(type_) {
            return Because::new(
                "ResizeFailed",
                format!("the volume does not grow {sizes}{}", said(&error.message)),
            );
        }
    }
    if is("FileSystemResizePending").is_some() {
        return Because::new(
            "FileSystemResizePending",
            format!(
                "the volume has grown {sizes}, its file system grows when the node does so; if that needs a pod to start anew: kubectl atsign restart {}",
                claim.name_any()
            ),
        );
    }
    Because::new("Resizing", format!("the volume grows {sizes}"))
}

/// The bytes that are wanted: the AtSign's own, else the tier's.
fn wanted(own: &atsign_crds::Storage, tier: &Tier) -> u64 {
    own.size.as_deref().and_then(quantity::bytes).unwrap_or(tier.storage)
}

/// The bytes that a claim asks for.
fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    quantity::bytes(&requests.get("storage")?.0)
}

/// The bytes that a claim has, once it is bound.
pub(super) fn capacity(claim: &PersistentVolumeClaim) -> Option<u64> {
    quantity::bytes(&claim.status.as_ref()?.capacity.as_ref()?.get("storage")?.0)
}

fn expands(claim: &PersistentVolumeClaim, observed: &Observed) -> bool {
    observed.storage_classes.iter().any(|known| {
        Some(known.name_any().as_str()) == class_of(claim) && known.allow_volume_expansion == Some(true)
    })
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

fn class_named(name: Option<String>, classes: &[Arc<StorageClass>]) -> Result<&StorageClass, Error> {
    let mut classes = classes.iter().map(Arc::as_ref);
    if let Some(name) = name {
        let named = classes.find(|class| class.name_any() == name);
        return named.ok_or(Error::StorageClassNotFound(name));
    }
    let is_default =
        |class: &&StorageClass| class.annotations().get(DEFAULT_CLASS).is_some_and(|is| is == "true");
    // Of several defaults Kubernetes takes the newest.
    classes.filter(is_default).max_by_key(|class| class.creation_timestamp()).ok_or(Error::NoStorageClass)
}
