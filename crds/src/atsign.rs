//! `AtSign`: one atSign and the server that keeps it.

#![expect(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]
#![expect(unreachable_pub, reason = "KubeSchema derives on a copy of each type that nothing can reach")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::Backup;
use crate::status::AtSignStatus;

/// What is wanted of one atSign. Every field is optional: `spec: {}` is a working atSign, named @ + metadata.name.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "atsign.dev",
    version = "v1",
    kind = "AtSign",
    plural = "atsigns",
    singular = "atsign",
    shortname = "ats",
    category = "atplatform",
    namespaced,
    status = "AtSignStatus",
    derive = "PartialEq",
    derive = "Default",
    cel,
    doc = "One atSign (@alice) and the secondary server that keeps its data and answers for it.",
    selectable = ".spec.atSign",
    selectable = ".spec.tier",
    printcolumn(name = "atSign", type_ = "string", json_path = ".status.atSign"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".status.tier"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.memory.current"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.memory.used"),
    printcolumn(name = "Recommended", type_ = "string", json_path = ".status.memory.recommended"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')")
        .message("metadata.name names the Service and the pod, so it must be 1 to 52 of a-z, 0-9 and '-', begin with a letter and not end with '-' (a DNS-1035 label); any other atSign goes into spec.atSign"),
    validation = Rule::new(
        "(has(self.spec.atSign) ? self.spec.atSign : '@' + self.metadata.name) == (has(oldSelf.spec.atSign) ? oldSelf.spec.atSign : '@' + oldSelf.metadata.name)"
    )
    .message("spec.atSign cannot change (where it is not set it is '@' + metadata.name): it is whose data this is; make another AtSign instead")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!(has(oldSelf.storage) && has(oldSelf.storage.size)) || (has(self.storage) && (has(self.storage.existingClaim) || (has(self.storage.size) && quantity(self.storage.size).compareTo(quantity(oldSelf.storage.size)) >= 0)))"
    )
    .message("storage.size, once set, can only grow: Kubernetes cannot shrink a volume"),
    validation = Rule::new(
        "!(has(oldSelf.storage) && has(oldSelf.storage.storageClassName)) || (has(self.storage) && (has(self.storage.existingClaim) || (has(self.storage.storageClassName) && self.storage.storageClassName == oldSelf.storage.storageClassName)))"
    )
    .message("storage.storageClassName, once set, cannot change: a volume cannot move to another class; copy the data to a claim of the other class and name it in storage.existingClaim"),
    validation = Rule::new("!has(self.restoreFrom) || (has(oldSelf.restoreFrom) && self.restoreFrom == oldSelf.restoreFrom)")
        .message("restoreFrom is read only when the AtSign is created, so it cannot be set or changed later; it may be removed")
)]
pub struct AtSignSpec {
    /// The atSign itself, with its @: an @ and 1 to 55 letters, digits, emoji, '_', '-' or '.'. Write it in quotes,
    /// YAML does not allow a bare @. Where it is not set, it is @ + metadata.name. It can never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 56))]
    #[x_kube(validation = Rule::new(r"self.matches('^@(?:[A-Za-z0-9_.-]|[^\\x00-\\x7F\\p{Z}\\p{C}]|\\x{200D})*(?:[A-Za-z0-9_-]|[^\\x00-\\x7F\\p{Z}\\p{C}])(?:[A-Za-z0-9_.-]|[^\\x00-\\x7F\\p{Z}\\p{C}]|\\x{200D})*$')")
        .message("an atSign is an '@' and 1 to 55 letters, digits, emoji, '_', '-' or '.', for example \"@alice\""))]
    pub at_sign: Option<String>,

    /// The AtSignTier that this atSign is sold under. Where it is not set, the tier that says `default: true`; where
    /// there is none, a built-in one (6Mi that may grow to 24Mi). It may change at any time and restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub tier: Option<String>,

    /// Where the server's memory starts and how far it may grow, inside the range of the tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,

    /// Where the data lives: a claim that is made for it (size, storageClassName), or one that exists (existingClaim).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// What becomes of the data when this AtSign is deleted. Retain keeps the volume, also when the namespace goes;
    /// an AtSign of the same name finds it again. Delete removes it. Where it is not set: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// How clients outside the cluster reach the server. Where it is not set: inside the cluster only (ClusterIP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,

    /// Which certificate the server presents: your own Secret, or one from a cert-manager issuer. Where it is not
    /// set, the operator's own authority signs one; its certificate is in ConfigMap atsign-ca.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// The secret with which the owner logs in for the first time. Where it is not set, one is generated into the
    /// Secret <name>-activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,

    /// true stops the server and keeps its data; false or unset runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// When the data is copied and where to. Where it is not set, the backup of the tier, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,

    /// The backup that a new server starts from. It is read once, before the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFrom>,

    /// Another secondary server's image, where the tier says allowCustomImage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
}

/// Where memory starts and how far it may grow.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.default) || !has(self.cap) || quantity(self.default).compareTo(quantity(self.cap)) <= 0"
)
.message("memory.default is where the server starts and memory.cap how far it may grow: default must not be above cap"))]
pub struct Memory {
    /// What the server starts with, such as 6Mi. At least 6Mi: less does not start on every container runtime. Where
    /// it is not set, the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('6Mi')) >= 0")
        .message("a secondary server needs at least 6Mi of memory"))]
    pub default: Option<String>,

    /// The most that it may grow to, such as 24Mi. Where it is not set, the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('6Mi')) >= 0")
        .message("a secondary server needs at least 6Mi of memory"))]
    pub cap: Option<String>,
}

/// Where the data lives.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName))")
    .message("storage is either existingClaim (a claim that is there already) or size and storageClassName (a claim that is made), not both"))]
pub struct Storage {
    /// How large the claim is that is made for this atSign, such as 1Gi. It may grow later, never shrink. Where it is
    /// not set, the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]{0,14}(k|Ki|M|Mi|G|Gi|T|Ti)?$"))]
    pub size: Option<String>,

    /// The StorageClass of that claim. Where it is not set, the tier's, else the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// The name of a PersistentVolumeClaim in this namespace to use as it is. It is never deleted with the AtSign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub existing_claim: Option<String>,
}

/// What becomes of the data of a deleted AtSign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The volume stays; an AtSign of the same name finds it again.
    #[default]
    Retain,
    /// The volume and what is on it are removed.
    Delete,
}

/// How clients outside the cluster reach the server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.type) || !(self.type in ['NodePort', 'TLSRoute']) || has(self.hostname)")
        .message("expose.type NodePort and TLSRoute need expose.hostname: the name under which clients find the server, and which its certificate carries"),
    validation = Rule::new("(has(self.type) && self.type == 'TLSRoute') == has(self.gatewayRef)")
        .message("expose.gatewayRef names the Gateway of a TLSRoute: set it with type TLSRoute, and only then")
)]
pub struct Expose {
    /// ClusterIP: inside the cluster only. NodePort: a port of every node. LoadBalancer: an address from the cloud.
    /// TLSRoute: behind a Gateway that many atSigns share. Where it is not set: ClusterIP.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<ExposeType>,

    /// The name that the directory gives to clients. Its DNS record must lead to the server; with ExternalDNS the
    /// operator's annotations make it. Needed for NodePort and TLSRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!format.dns1123Subdomain().validate(self).hasValue()")
        .message("expose.hostname is a DNS name such as alice.example.com"))]
    pub hostname: Option<String>,

    /// The port that clients use; with NodePort the port of the nodes. Where it is not set: 6464, with NodePort one
    /// that Kubernetes picks, with TLSRoute the Gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// The Gateway (Gateway API) that the TLSRoute attaches to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,

    /// Annotations for the Service or TLSRoute, such as a cloud's load balancer settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The kinds of exposure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposeType {
    /// Inside the cluster only.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// A port of every node.
    NodePort,
    /// A load balancer of the cloud.
    LoadBalancer,
    /// SNI passthrough at a shared Gateway.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
}

/// A Gateway of the Gateway API.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// The Gateway's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Gateway's namespace. Where it is not set, that of the AtSign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The listener of the Gateway. Where it is not set, every listener that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Which certificate the server presents.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.secretName) || !has(self.issuerRef)")
    .message("tls is either secretName (your own certificate) or issuerRef (cert-manager makes one), not both"))]
pub struct Tls {
    /// A Secret of type kubernetes.io/tls in this namespace, kept up to date by you. Its certificate must name the
    /// atSign's address; a new one is taken up without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,

    /// A cert-manager issuer that the certificate is asked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// A cert-manager issuer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// The issuer's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Issuer or ClusterIssuer. Where it is not set: Issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// The issuer's API group. Where it is not set: cert-manager.io.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<String>,
}

/// The secret of the first login.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    /// A Secret in this namespace whose key `cram` holds the CRAM secret, 128 hexadecimal characters. Where it is not
    /// set, one is generated into the Secret <name>-activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// The backup that a new server starts from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.claim) != has(self.s3)")
    .message("restoreFrom is either claim (a backup on a volume) or s3 (a backup in a bucket), and one of them"))]
pub struct RestoreFrom {
    /// A PersistentVolumeClaim in this namespace that holds backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim: Option<String>,
    /// A bucket that holds backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<crate::backup::S3>,
    /// Which backup of this atSign: the name that it has there. Where it is not set, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backup: Option<String>,
}
