//! `enroll:<operation>[:force][:<json>]` (reference page section 2.21).

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::Namespaces;
use crate::enrollment::{Decision, PublishedKey};
use crate::error::{AtError, ErrorCode};
use crate::key::strip_tag;
use crate::verb::SigningAlgorithm;

/// Something about enrollments.
#[derive(Clone, Debug, PartialEq)]
pub enum Enroll {
    /// An application asks to be let in.
    Request(Box<EnrollRequest>),
    /// Somebody who may decides about one.
    Decide(Decision, Box<EnrollDecision>),
    /// Tells those in the given states; all where none is given.
    List(Vec<String>),
    /// Tells one.
    Fetch(String),
    /// Tells who has access to a namespace; without one, the namespaces of this connection.
    ListNamespaces(Option<String>),
    /// An enrollment changes its own record.
    Update(Box<EnrollUpdate>),
}

/// What an application asks for.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnrollRequest {
    /// The application.
    pub app_name: Option<String>,
    /// The device.
    pub device_name: Option<String>,
    /// What it wants to read and write.
    pub namespaces: Option<Namespaces>,
    /// The passcode that the owner told.
    pub otp: Option<String>,
    /// With which it will prove itself.
    pub apkam_public_key: Option<String>,
    /// How it will sign.
    pub signing_algo: Option<SigningAlgorithm>,
    /// Its symmetric key, encrypted for the owner.
    #[serde(rename = "encryptedAPKAMSymmetricKey", alias = "encryptedApkamSymmetricKey")]
    pub encrypted_apkam_symmetric_key: Option<String>,
    /// The keys that the first enrollment of an atSign brings itself.
    #[serde(flatten)]
    pub keys: DefaultKeys,
    /// With which others will verify what it signs.
    #[serde(flatten)]
    pub signing_key: PublishedKey,
    /// How long it is to be good, milliseconds from its approval.
    pub apkam_keys_expiry_in_millis: Option<i64>,
    /// The application's own.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The atSign's keys, encrypted for an enrollment.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultKeys {
    /// The encryption private key.
    pub encrypted_default_encryption_private_key: Option<String>,
    /// The self encryption key.
    pub encrypted_default_self_encryption_key: Option<String>,
    /// The initialisation vector of the first.
    #[serde(rename = "encPrivateKeyIV")]
    pub enc_private_key_iv: Option<String>,
    /// The initialisation vector of the second.
    #[serde(rename = "selfEncKeyIV")]
    pub self_enc_key_iv: Option<String>,
}

/// A decision about an enrollment, and what comes with it.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnrollDecision {
    /// Which.
    pub enrollment_id: String,
    /// Revoke one's own enrollment too.
    #[serde(skip)]
    pub force: bool,
    /// What an approval gives to it.
    #[serde(flatten)]
    pub keys: DefaultKeys,
}

/// What an enrollment changes of itself: whatever is given.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnrollUpdate {
    /// Which.
    pub enrollment_id: String,
    /// The key with which its clients prove themselves from now on.
    pub apkam_public_key: Option<String>,
    /// Signature by that key of `<enrollmentId>|<apkamPublicKey>|<signingAlgo>`.
    pub apkam_public_key_signature: Option<String>,
    /// How that key signs.
    pub signing_algo: Option<SigningAlgorithm>,
    /// With which others verify what it signs.
    #[serde(flatten)]
    pub signing_key: PublishedKey,
    /// What changes of the application's own.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// Nobody gives himself more than he has; it is here to be refused.
    namespaces: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    enrollment_status_filter: Vec<String>,
}

// Keys and passcodes are nothing for a log.
impl std::fmt::Debug for EnrollRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { app_name, device_name, namespaces, .. } = self;
        formatter
            .debug_struct("EnrollRequest")
            .field("app_name", app_name)
            .field("device_name", device_name)
            .field("namespaces", namespaces)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EnrollDecision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EnrollDecision")
            .field("enrollment_id", &self.enrollment_id)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EnrollUpdate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EnrollUpdate")
            .field("enrollment_id", &self.enrollment_id)
            .finish_non_exhaustive()
    }
}

impl EnrollUpdate {
    fn check(&self) -> Result<(), AtError> {
        let refused = |text| Err(AtError::new(ErrorCode::IllegalArgument, text));
        let Self { apkam_public_key, signing_algo, signing_key, metadata, namespaces, .. } = self;
        if namespaces.is_some() {
            return refused(
                "enroll:update cannot change namespaces: an enrollment does not widen its own access",
            );
        }
        if apkam_public_key.is_none() && signing_algo.is_some() {
            return refused("signingAlgo cannot be changed without apkamPublicKey");
        }
        if apkam_public_key.is_none() && *signing_key == PublishedKey::default() && metadata.is_none() {
            return refused(
                "enroll:update must name at least one of apkamPublicKey, signingAlgo, apsk, apskLegacy or metadata",
            );
        }
        check_signing_key(signing_key)
    }
}

impl Enroll {
    /// Namespaces in one request at most.
    const MAX_NAMESPACES: usize = 100;

    /// `owner`: whether the client has proved to be the owner; strangers may only request.
    pub(super) fn parse(text: &str, owner: bool) -> Result<Self, AtError> {
        let (operation, rest) = match text.split_once(':') {
            Some((operation, rest)) => (operation, Some(rest)),
            None => (text, None),
        };
        let operation = operation.to_ascii_lowercase();
        if operation == "request" {
            let mut request: EnrollRequest = json(rest)?;
            check_namespaces(request.namespaces.as_mut())?;
            check_signing_key(&request.signing_key)?;
            return Ok(Self::Request(Box::new(request)));
        }
        let decision = match operation.as_str() {
            "approve" => Some(Decision::Approve),
            "deny" => Some(Decision::Deny),
            "revoke" => Some(Decision::Revoke),
            "unrevoke" => Some(Decision::Unrevoke),
            "delete" => Some(Decision::Delete),
            "list" | "fetch" | "listns" | "update" => None,
            _ => return Err(AtError::syntax("enroll does not know this operation")),
        };
        if !owner {
            return Err(AtError::new(
                ErrorCode::Unauthenticated,
                format!("Cannot {operation} enrollment without authentication"),
            ));
        }
        let (force, rest) = match rest {
            Some(rest) if rest.eq_ignore_ascii_case("force") => (true, None),
            Some(rest) => strip_tag(rest, "force").map_or((false, Some(rest)), |rest| (true, Some(rest))),
            None => (false, None),
        };
        if let Some(decision) = decision {
            let decided: EnrollDecision = json(rest)?;
            check_id(&decided.enrollment_id, &operation)?;
            let decided = EnrollDecision { force, ..decided };
            return Ok(Self::Decide(decision, Box::new(decided)));
        }
        Ok(match (operation.as_str(), rest) {
            ("list", None | Some("")) => Self::List(Vec::new()),
            ("list", rest) => Self::List(json::<Filter>(rest)?.enrollment_status_filter),
            ("listns", rest) => {
                Self::ListNamespaces(rest.filter(|name| !name.is_empty()).map(str::to_lowercase))
            }
            ("fetch", rest) => {
                let EnrollDecision { enrollment_id, .. } = json(rest)?;
                check_id(&enrollment_id, &operation)?;
                Self::Fetch(enrollment_id)
            }
            (_, rest) => {
                let update: EnrollUpdate = json(rest)?;
                check_id(&update.enrollment_id, &operation)?;
                update.check()?;
                Self::Update(Box::new(update))
            }
        })
    }
}

fn json<T: DeserializeOwned>(text: Option<&str>) -> Result<T, AtError> {
    let text = text
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| AtError::new(ErrorCode::IllegalArgument, "Enroll parameters not provided"))?;
    serde_json::from_str(text).map_err(|error| {
        // Where, not what: a passcode may stand in it.
        let (line, column) = (error.line(), error.column());
        AtError::new(
            ErrorCode::IllegalArgument,
            format!("Enroll parameters are not valid at line {line} column {column}"),
        )
    })
}

fn check_id(id: &str, operation: &str) -> Result<(), AtError> {
    // It becomes part of a key; no id that was given out has other characters.
    let is_id = id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if id.is_empty() {
        let text = format!("enrollmentId is mandatory for enroll:{operation}");
        return Err(AtError::new(ErrorCode::IllegalArgument, text));
    }
    if !is_id {
        return Err(AtError::enrollment_expired(&id.chars().take(128).collect::<String>()));
    }
    Ok(())
}

fn check_signing_key(key: &PublishedKey) -> Result<(), AtError> {
    if key.apsk.is_some() && key.apsk_legacy.is_some() {
        let text = "apsk and apskLegacy are mutually exclusive: one enrollment publishes one _apsk value";
        return Err(AtError::new(ErrorCode::IllegalArgument, text));
    }
    Ok(())
}

fn check_namespaces(namespaces: Option<&mut Namespaces>) -> Result<(), AtError> {
    let Some(namespaces) = namespaces else { return Ok(()) };
    let wrong =
        |name: &str| name.is_empty() || name.contains([':', '@']) || name.contains(char::is_whitespace);
    if namespaces.0.len() > Enroll::MAX_NAMESPACES || namespaces.0.keys().any(|name| wrong(name)) {
        return Err(AtError::new(ErrorCode::IllegalArgument, "the namespaces are not valid"));
    }
    // As keys are stored.
    let lower = std::mem::take(&mut namespaces.0);
    namespaces.0 = lower.into_iter().map(|(name, permission)| (name.to_lowercase(), permission)).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Permission;

    #[test]
    fn a_request_names_application_device_and_namespaces() {
        let text = r#"request:{"appName":"wavi","deviceName":"pixel","namespaces":{"Wavi":"rw","buzz":"r"},"otp":"A1B2C3","apkamPublicKey":"k","encryptedAPKAMSymmetricKey":"s","encryptedDefaultSelfEncryptionKey":"d","selfEncKeyIV":"iv","later":1}"#;
        let Ok(Enroll::Request(request)) = Enroll::parse(text, false) else { panic!("no request") };
        let namespaces = request.namespaces.clone().expect("namespaces").0;
        assert_eq!(namespaces.get("wavi"), Some(&Permission::ReadWrite));
        assert_eq!(namespaces.get("buzz"), Some(&Permission::Read));
        assert_eq!(request.keys.encrypted_default_self_encryption_key.as_deref(), Some("d"));
        assert_eq!(request.keys.self_enc_key_iv.as_deref(), Some("iv"));
        assert!(!format!("{request:?}").contains("A1B2C3"));
    }

    #[test]
    fn an_enrollment_changes_of_itself_what_it_may() {
        let update = |json: &str| Enroll::parse(&format!(r#"update:{{"enrollmentId":"1"{json}}}"#), true);
        let Ok(Enroll::Update(changed)) =
            update(r#","apkamPublicKey":"k","signingAlgo":"mldsa65","apsk":{"v":1}"#)
        else {
            panic!("no update")
        };
        assert_eq!(changed.signing_algo, Some(SigningAlgorithm::MlDsa65));
        assert_eq!(changed.signing_key.text().as_deref(), Some(r#"{"v":1}"#));
        for refused in [
            "",
            r#","namespaces":{"wavi":"rw"},"apkamPublicKey":"k""#,
            r#","signingAlgo":"rsa2048""#,
            r#","apkamPublicKey":"k","signingAlgo":"rot13""#,
            r#","apsk":1,"apskLegacy":"k""#,
        ] {
            let code = update(refused).map_err(|error| error.code());
            assert_eq!(code, Err(ErrorCode::IllegalArgument), "{refused}");
        }
        assert_eq!(Enroll::parse("listns:Wavi", true), Ok(Enroll::ListNamespaces(Some("wavi".into()))));
    }

    #[test]
    fn decisions_name_an_enrollment() {
        for (text, decision, force) in [
            (r#"approve:{"enrollmentId":"1-a"}"#, Decision::Approve, false),
            (r#"DENY:{"enrollmentId":"1-a"}"#, Decision::Deny, false),
            (r#"revoke:force:{"enrollmentId":"1-a"}"#, Decision::Revoke, true),
            (r#"unrevoke:{"enrollmentId":"1-a"}"#, Decision::Unrevoke, false),
            (r#"delete:{"enrollmentId":"1-a"}"#, Decision::Delete, false),
        ] {
            let Ok(Enroll::Decide(parsed, decided)) = Enroll::parse(text, true) else { panic!("{text}") };
            assert_eq!((parsed, decided.force, decided.enrollment_id.as_str()), (decision, force, "1-a"));
        }
        assert_eq!(Enroll::parse("list", true), Ok(Enroll::List(Vec::new())));
        assert_eq!(
            Enroll::parse(r#"list:{"enrollmentStatusFilter":["pending"]}"#, true),
            Ok(Enroll::List(vec!["pending".into()]))
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_reason() {
        for (text, owner, code) in [
            ("request", false, ErrorCode::IllegalArgument),
            ("request:", false, ErrorCode::IllegalArgument),
            ("request:{", false, ErrorCode::IllegalArgument),
            (r#"request:{"namespaces":{"wavi":"rwx"}}"#, false, ErrorCode::IllegalArgument),
            (r#"request:{"namespaces":{"a b":"rw"}}"#, false, ErrorCode::IllegalArgument),
            ("approve", true, ErrorCode::IllegalArgument),
            ("approve:{}", true, ErrorCode::IllegalArgument),
            (r#"approve:{"enrollmentId":"a@b"}"#, true, ErrorCode::EnrollmentExpired),
            ("approve:{}", false, ErrorCode::Unauthenticated),
            ("list", false, ErrorCode::Unauthenticated),
            ("join:{}", true, ErrorCode::InvalidSyntax),
            ("join:{}", false, ErrorCode::InvalidSyntax),
        ] {
            assert_eq!(Enroll::parse(text, owner).map_err(|error| error.code()), Err(code), "{text}");
        }
        let refused = Enroll::parse("revoke:{}", false).expect_err("refused");
        assert_eq!(refused.message(), "Cannot revoke enrollment without authentication");
    }
}
