//! What a secondary server knows of a key beside its value.

use serde::{Deserialize, Serialize};

/// A point in time, Unix milliseconds.
pub type Millis = i64;

/// The metadata of a stored key. `None` is "not set" and is left out of answers.
///
/// Field names as the SDKs read them in JSON; times are kept in milliseconds and printed by the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The atSign that created the key, with its `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The atSign that changed the key last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
    /// When the key was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Millis>,
    /// When the key was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Millis>,
    /// From when on the value is visible: the change plus `ttb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Millis>,
    /// From when on the value is gone: `available_at` (or the change) plus `ttl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// When a cached copy is to be fetched again: the change plus `ttr` seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<Millis>,
    /// `active`, always, in what this server writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// 0 at creation, one more with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Time to live, milliseconds from `available_at`; 0 never expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// Time to birth, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttb: Option<i64>,
    /// Time to refresh a recipient's copy, seconds; -1 caches for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttr: Option<i64>,
    /// Whether deleting the key deletes the cached copies; only with `ttr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ccd: Option<bool>,
    /// Whether the value is binary data in an encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_binary: Option<bool>,
    /// Whether the client encrypted the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_encrypted: Option<bool>,
    /// The owner's signature of a public value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_signature: Option<String>,
    /// The symmetric key, encrypted for the recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_key_enc: Option<String>,
    /// Checksum of the public key that encrypted `shared_key_enc`.
    #[serde(rename = "pubKeyCS", skip_serializing_if = "Option::is_none")]
    pub pub_key_cs: Option<String>,
    /// Hash of that public key, with its algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pub_key_hash: Option<PublicKeyHash>,
    /// How a binary value is encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Name of the key that encrypted the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enc_key_name: Option<String>,
    /// Algorithm that encrypted the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enc_algo: Option<String>,
    /// Initialisation vector or nonce of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iv_nonce: Option<String>,
    /// Name of the key that encrypted the shared key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ske_enc_key_name: Option<String>,
    /// Algorithm that encrypted the shared key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ske_enc_algo: Option<String>,
    /// Later updates are refused (AT0032).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Base64 of an application's own JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_metadata: Option<String>,
}

impl Metadata {
    /// Whether the key is gone at `now`, though it may not have been swept yet.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }

    /// Whether the key is born and not expired at `now`: only then it is seen.
    pub fn is_active(&self, now: Millis) -> bool {
        !self.is_expired(now) && self.available_at.is_none_or(|available_at| now >= available_at)
    }
}

/// Hash of a public key and the algorithm that made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyHash {
    /// The hash.
    pub hash: String,
    /// Its algorithm, such as `sha512`.
    pub algo: String,
}
