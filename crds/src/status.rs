//! What the operator says of an AtSign.

#![expect(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]
#![expect(unreachable_pub, reason = "KubeSchema derives on a copy of each type that nothing can reach")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did. Figures are rounded, and written when they change notably.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AtSignStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The atSign that is served, with its @ and in its normal form (lower case, without dots).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_sign: Option<String>,

    /// The tier in force; built-in (6Mi to 24Mi) where the cluster has no AtSignTier for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,

    /// Where clients reach the server, host or host:port (6464 where no port stands): what the directory answers. It
    /// is set once the server presents a certificate with this name, and stays while a pod restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Whether the owner has logged in for the first time and brought keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<bool>,

    /// The server's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatus>,

    /// The server's storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,

    /// What the tier limits, and how much of it is used; the limit of the store stands in storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsStatus>,

    /// Ready, Reconciling and Stalled say how it goes; MemoryPressure, MemoryCapReached, ResizeBlocked, QuotaExceeded,
    /// StorageSizeDiffers, PodSettingsPending and Suspended say what is special. Each has a reason, and a message with the next step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The server's memory.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// The limit that the server runs with now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The limit that its need asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
    /// What it uses that cannot be evicted (anonymous, kernel, socket and dirty memory), to an eighth of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// Where the recommended size stands: OnPod (the pod has it), Pending (it gets it soon), Blocked (ResizeBlocked
    /// says why not), Moving (the server is replaced on a node that has room).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Why the limit changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_resize_reason: Option<String>,
}

/// The server's storage.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// What the store takes, rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// What the tier allows to be stored (limits.storageBytes). Where it is not set: as much as the claim holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What the claim holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
}

/// What the tier limits beside memory and storage. Each stands here only where the tier has a limit for it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsStatus {
    /// Connections that are open now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Share>,
    /// Keys in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Share>,
    /// Notifications sent since midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications_today: Option<Share>,
}

/// How much of a limit is used.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// What is used, rounded up to an eighth of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<i64>,
    /// What the tier allows.
    pub limit: i64,
}
