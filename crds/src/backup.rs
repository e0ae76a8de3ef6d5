//! Backups: when, how many are kept, and where they go. An AtSign and a tier say it in the same words.

#![expect(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]
#![expect(unreachable_pub, reason = "KubeSchema derives on a copy of each type that nothing can reach")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// When the data is copied and where to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// When, as a cron line in UTC: "0 3 * * *" is every night at three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    pub schedule: Option<String>,
    /// How many backups are kept; older ones are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retention: Option<i32>,
    /// Where they go: a claim or a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BackupTarget>,
}

/// Where backups go.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.claim) != has(self.s3)")
    .message("backup.to is either claim (a volume) or s3 (a bucket), and one of them"))]
pub struct BackupTarget {
    /// A PersistentVolumeClaim in the AtSign's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim: Option<String>,
    /// A bucket of an S3 service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

/// A bucket of an S3 service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// The service's URL, such as https://s3.example.com.
    #[schemars(length(min = 9, max = 1024), regex(pattern = r"^https://.+$"))]
    pub endpoint: String,
    /// The bucket's name.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// A Secret in the AtSign's namespace with the keys accessKeyId and secretAccessKey.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}
