//! Enrollments: an application on a device with a key of its own (APKAM), from its request to its end (reference page
//! section 2.21).

use serde::{Deserialize, Serialize};

use crate::access::Namespaces;
use crate::at_sign::AtSign;
use crate::error::{AtError, ErrorCode};
use crate::verb::SigningAlgorithm;

/// How long a request waits for its approval, milliseconds.
pub const PENDING_TTL: i64 = 48 * 3_600_000;

/// What every stored enrollment has in its name, behind its id.
pub const STORED: &str = ".new.enrollments.__manage";

/// Where an enrollment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrollmentState {
    /// Requested.
    Pending,
    /// Its clients may log in.
    Approved,
    /// Refused.
    Denied,
    /// Was approved, and is not any more.
    Revoked,
}

/// What is decided about an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A pending one may log in from now on.
    Approve,
    /// A pending one never may.
    Deny,
    /// An approved one may not any more.
    Revoke,
    /// A revoked one may again.
    Unrevoke,
    /// A denied or revoked one is forgotten.
    Delete,
}

/// An enrollment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrollment {
    /// The session that requested it.
    pub session_id: String,
    /// The application.
    pub app_name: String,
    /// The device.
    pub device_name: String,
    /// What it may read and write.
    pub namespaces: Namespaces,
    /// With which its clients prove themselves, as in `pkam`.
    pub apkam_public_key: String,
    /// How they sign; as they say in `pkam` where nothing is said here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_algo: Option<SigningAlgorithm>,
    /// `newEnrollment`, always.
    pub request_type: String,
    /// What was decided.
    pub approval: Approval,
    /// Its symmetric key, encrypted for the owner.
    #[serde(rename = "encryptedAPKAMSymmetricKey", default, skip_serializing_if = "Option::is_none")]
    pub encrypted_apkam_symmetric_key: Option<String>,
    /// How long it is good from its approval on, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apkam_keys_expiry_in_millis: Option<i64>,
    /// With which others verify what its clients sign: published when it is approved.
    #[serde(flatten)]
    pub signing_key: PublishedKey,
    /// The application's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A signing key as its enrollment wants it published; at most one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishedKey {
    /// JSON of the application's own form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apsk: Option<serde_json::Value>,
    /// A bare RSA key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apsk_legacy: Option<String>,
}

/// What was decided about an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Where it stands.
    pub state: EnrollmentState,
}

impl PublishedKey {
    /// The published text; `None` where there is nothing to publish.
    pub fn text(&self) -> Option<String> {
        self.apsk_legacy.clone().or_else(|| self.apsk.as_ref().map(ToString::to_string))
    }
}

/// Where the signing key of an enrollment is published.
pub fn signing_key_name(id: &str, at_sign: &AtSign) -> String {
    format!("public:_apsk.{id}.a.__e{at_sign}")
}

/// Where it is kept while the enrollment is revoked.
pub fn revoked_signing_key_name(id: &str, at_sign: &AtSign) -> String {
    format!("public:_apsk.{id}.r.__e{at_sign}")
}

/// Under which name an enrollment is stored.
pub fn stored_name(id: &str, at_sign: &AtSign) -> String {
    format!("{id}{STORED}{at_sign}")
}

/// Where the default encryption private key is stored that an approval gave to an enrollment.
pub fn encryption_key_name(id: &str, at_sign: &AtSign) -> String {
    format!("{id}.default_enc_private_key.__manage{at_sign}")
}

/// Where its default self encryption key is stored.
pub fn self_key_name(id: &str, at_sign: &AtSign) -> String {
    format!("{id}.default_self_enc_key.__manage{at_sign}")
}

impl EnrollmentState {
    /// `pending` and its like.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
        }
    }

    /// Why clients of an enrollment in this state cannot log in; nothing where they can.
    pub fn refusal(self, id: &str) -> Option<AtError> {
        let code = match self {
            Self::Approved => return None,
            Self::Pending => ErrorCode::EnrollmentPending,
            Self::Denied => ErrorCode::EnrollmentDenied,
            Self::Revoked => ErrorCode::EnrollmentRevoked,
        };
        Some(AtError::enrollment_state(code, id, self.name()))
    }

    /// The state after a decision; `None` where the enrollment is gone.
    pub fn after(self, decision: Decision, id: &str) -> Result<Option<Self>, AtError> {
        let (verb, noun, only) = match (decision, self) {
            (Decision::Approve, Self::Pending) | (Decision::Unrevoke, Self::Revoked) => {
                return Ok(Some(Self::Approved));
            }
            (Decision::Deny, Self::Pending) => return Ok(Some(Self::Denied)),
            (Decision::Revoke, Self::Approved) => return Ok(Some(Self::Revoked)),
            (Decision::Delete, Self::Denied | Self::Revoked) => return Ok(None),
            (Decision::Approve, _) => ("approve", "approve a", "Only pending enrollments can be approved"),
            (Decision::Deny, _) => ("deny", "deny a", "Only pending enrollments can be denied"),
            (Decision::Revoke, _) => ("revoke", "revoke a", "Only approved enrollments can be revoked"),
            (Decision::Unrevoke, _) => {
                ("unrevoke", "un-revoke a", "Only revoked enrollments can be un-revoked")
            }
            (Decision::Delete, state) => {
                return Err(AtError::enrollment(format!(
                    "Failed to delete enrollment id: {id} | Cause: Cannot delete {} enrollments. \
                     Only denied and revoked enrollments can be deleted",
                    state.name()
                )));
            }
        };
        Err(AtError::enrollment(format!(
            "Failed to {verb} enrollment id: {id}. Cannot {noun} {} enrollment. {only}",
            self.name()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EnrollmentState::{Approved, Denied, Pending, Revoked};

    #[test]
    fn each_decision_has_the_states_that_it_is_for() {
        for (decision, from, to) in [
            (Decision::Approve, Pending, Some(Approved)),
            (Decision::Deny, Pending, Some(Denied)),
            (Decision::Revoke, Approved, Some(Revoked)),
            (Decision::Unrevoke, Revoked, Some(Approved)),
            (Decision::Delete, Denied, None),
            (Decision::Delete, Revoked, None),
        ] {
            assert_eq!(from.after(decision, "1"), Ok(to), "{decision:?} from {from:?}");
        }
        for (decision, from, text) in [
            (
                Decision::Approve,
                Denied,
                "Failed to approve enrollment id: 1. Cannot approve a denied enrollment. Only pending enrollments can be approved",
            ),
            (
                Decision::Deny,
                Approved,
                "Failed to deny enrollment id: 1. Cannot deny a approved enrollment. Only pending enrollments can be denied",
            ),
            (
                Decision::Revoke,
                Pending,
                "Failed to revoke enrollment id: 1. Cannot revoke a pending enrollment. Only approved enrollments can be revoked",
            ),
            (
                Decision::Unrevoke,
                Approved,
                "Failed to unrevoke enrollment id: 1. Cannot un-revoke a approved enrollment. Only revoked enrollments can be un-revoked",
            ),
            (
                Decision::Delete,
                Approved,
                "Failed to delete enrollment id: 1 | Cause: Cannot delete approved enrollments. Only denied and revoked enrollments can be deleted",
            ),
        ] {
            let refused = from.after(decision, "1").expect_err(text);
            assert_eq!((refused.code(), refused.message()), (ErrorCode::InternalServerException, text));
        }
    }

    #[test]
    fn who_may_not_log_in_is_told_why() {
        use crate::error::ErrorStyle;
        let line = |state: EnrollmentState| state.refusal("7").map(|error| error.line(ErrorStyle::default()));
        assert_eq!(line(Approved), None);
        assert_eq!(line(Denied).as_deref(), Some("error:AT0025:enrollment_id: 7 is denied"));
        assert_eq!(line(Pending).as_deref(), Some("error:AT0026:enrollment_id: 7 is pending"));
        assert_eq!(line(Revoked).as_deref(), Some("error:AT0027:enrollment_id: 7 is revoked"));
    }
}
