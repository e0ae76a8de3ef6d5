//! `AtSignTier`: what a provider sells.

#![expect(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]
#![expect(unreachable_pub, reason = "KubeSchema derives on a copy of each type that nothing can reach")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::Backup;

/// What atSigns of this tier get. Every field is optional; what is not set is as in the built-in tier: 6Mi that may
/// grow to 24Mi, 1Gi of the cluster's default StorageClass, open to every namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "atsign.dev",
    version = "v1",
    kind = "AtSignTier",
    plural = "atsigntiers",
    singular = "atsigntier",
    shortname = "atst",
    category = "atplatform",
    derive = "PartialEq",
    derive = "Default",
    cel,
    doc = "What a provider sells: the memory, storage, limits and pod settings of the atSigns that name this tier.",
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.memory.default"),
    printcolumn(name = "Cap", type_ = "string", json_path = ".spec.memory.cap"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".spec.storage.size"),
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
        .message("a tier's name becomes the label atsign.dev/tier, so it must be 1 to 63 of a-z, 0-9 and '-', and begin and end with a letter or digit")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.limits) || !has(self.limits.storageBytes) || !has(self.storage) || !has(self.storage.size) || self.limits.storageBytes <= quantity(self.storage.size).asInteger() / 100 * 45"
)
.message("limits.storageBytes must be at most 45 % of storage.size: taking over from a lost node needs room for a second copy"))]
pub struct AtSignTierSpec {
    /// Where memory starts and how far it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<TierMemory>,

    /// The size and kind of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<TierStorage>,

    /// When the data is copied and where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,

    /// What the server enforces. A change reaches running servers without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// The namespaces whose AtSigns may use this tier, by their labels. Where it is not set: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Whether an AtSign of this tier may name another server's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_custom_image: Option<bool>,

    /// Whether AtSigns that name no tier get this one. Where several tiers say so, the oldest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,

    /// Settings of the pods. They reach a running server with its next rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
}

/// Where memory starts and how far it grows.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.default) || !has(self.cap) || quantity(self.default).compareTo(quantity(self.cap)) <= 0"
)
.message("memory.default is where the server starts and memory.cap how far it may grow: default must not be above cap"))]
pub struct TierMemory {
    /// What a server starts with. At least 6Mi: less does not start on every container runtime. Where it is not set:
    /// 6Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('6Mi')) >= 0")
        .message("a secondary server needs at least 6Mi of memory"))]
    pub default: Option<String>,

    /// The most that it may grow to. Where it is not set: 24Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('6Mi')) >= 0")
        .message("a secondary server needs at least 6Mi of memory"))]
    pub cap: Option<String>,

    /// What happens when the node has no room to grow. Stay: the server goes on at its size, and the AtSign says
    /// ResizeBlocked. Move: it is replaced on a node that has room, which drops its connections. Where it is not set:
    /// Stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_node_full: Option<WhenNodeFull>,
}

/// What happens when a node has no room for a server to grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenNodeFull {
    /// The server goes on at its present size.
    #[default]
    Stay,
    /// The server is replaced on a node that has room.
    Move,
}

/// The size and kind of the volume.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.storageClassName) || !has(self.nfs)")
    .message("a tier's storage is either storageClassName (a provisioner makes volumes) or nfs (the operator makes them on an export), not both"))]
pub struct TierStorage {
    /// The size of the claim, such as 1Gi. Where it is not set: 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    pub size: Option<String>,

    /// The StorageClass of the claim: the recommended way. Where it is not set, the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// An NFS export in which the operator makes a directory for each atSign, where no provisioner exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<Nfs>,
}

/// An NFS export. It stands only in a tier: who may write an AtSign must not be able to mount any export.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nfs {
    /// The server's name or address, as the nodes see it.
    #[schemars(length(min = 1, max = 253))]
    pub server: String,
    /// The exported path. Users other than root (uid 65532) must be able to write there.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/') && !self.contains('..')")
        .message("storage.nfs.path is the exported path: absolute, without '..'"))]
    pub path: String,
}

/// What the server enforces for one atSign.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub connections: Option<i32>,
    /// Keys in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub keys: Option<i64>,
    /// Bytes of one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub value_bytes: Option<i64>,
    /// Bytes of the whole store; at most 45 % of storage.size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub storage_bytes: Option<i64>,
    /// Notifications sent in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub notifications_per_day: Option<i64>,
}

/// Settings of the pods of a tier, as in a pod's own spec.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('atsign.dev/'))"
)
.message("pod.labels must not begin with app.kubernetes.io/ or atsign.dev/: the operator finds its pods by those"))]
pub struct PodSettings {
    /// The RuntimeClass: crun starts a server in less memory than runc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints of nodes that the pods accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Which nodes are preferred or required, and which pods go together or apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets, in the AtSign's namespace, with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// More labels for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// More annotations for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}
