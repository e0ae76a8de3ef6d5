//! `update…:<key> <value>`, `update:json:{…}` and `update:meta:<key>…` (reference page sections 2.9 and 2.10).

use serde_json::{Map, Value};

use crate::at_sign::AtSign;
use crate::change::MetadataChange;
use crate::error::{AtError, ErrorCode};
use crate::fragment::Fragment;
use crate::key::{self, AtKey, Shortened, Visibility, strip_tag};

/// Stores a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Without an entry in the commit log.
    pub uncommitted: bool,
    /// What to store it under.
    pub key: Subject,
    /// What to change in the metadata.
    pub metadata: MetadataChange,
    /// The value.
    pub value: String,
}

/// What an `update` stores a value under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key of the atSign's data.
    Key(AtKey),
    /// A key of the JSON form that does not name its owner: the atSign of the server.
    OwnKey {
        /// Who may read it.
        visibility: Visibility,
        /// Its name proper.
        entity: String,
    },
    /// The public key with which clients prove to be the owner.
    PkamPublicKey,
}

/// Changes metadata only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMeta {
    /// Without an entry in the commit log.
    pub uncommitted: bool,
    /// The key.
    pub key: AtKey,
    /// What to change.
    pub metadata: MetadataChange,
}

impl Update {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (uncommitted, text) = strip_flag(text);
        if let Some(json) = strip_tag(text, "json") {
            return Self::parse_json(json, uncommitted);
        }
        // No key and no metadata has a space in it, so the first one ends them.
        let (mut head, value) = text
            .split_once(' ')
            .filter(|(_, value)| !value.is_empty())
            .ok_or_else(|| AtError::syntax("no value after the key"))?;
        let mut fragment = Fragment::default();
        // A metadata field is one only where something follows: a key may be called `ttl@alice`.
        while let Some((tag, rest)) = head.split_once(':').filter(|(tag, _)| Fragment::is_tag(tag)) {
            head = fragment.read(tag, rest)?.ok_or_else(|| AtError::syntax("no key after the metadata"))?;
        }
        let key = if head.eq_ignore_ascii_case(key::PKAM_PUBLIC_KEY) {
            Subject::PkamPublicKey
        } else {
            Subject::Key(plain_key(head)?)
        };
        Ok(Self { uncommitted, key, metadata: fragment.finish()?, value: value.to_owned() })
    }

    fn parse_json(json: &str, uncommitted: bool) -> Result<Self, AtError> {
        let mut object: Map<String, Value> = serde_json::from_str(json)
            .map_err(|_| AtError::syntax("update:json has no valid JSON object"))?;
        let text = |object: &Map<String, Value>, name: &str| match object.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            None | Some(Value::Null) => Ok(None),
            Some(_) => Err(AtError::syntax(format!("{name} is no text"))),
        };
        let entity = text(&object, "atKey")?.ok_or_else(|| AtError::syntax("atKey is missing"))?;
        let shared_by = text(&object, "sharedBy")?.map(|by| key::at_sign(&by)).transpose()?;
        let shared_with = text(&object, "sharedWith")?.map(|with| key::at_sign(&with)).transpose()?;
        let Some(Value::Object(metadata)) = object.get("metadata") else {
            return Err(AtError::syntax("metadata is missing"));
        };
        let is_public = matches!(metadata.get("isPublic"), Some(Value::Bool(true)));
        let mut fragment = Fragment::default();
        fragment.read_json(metadata)?;
        // Taken, not copied: it may be megabytes.
        let Some(Value::String(value)) = object.remove("value").filter(|value| value != "") else {
            return Err(AtError::syntax("value is missing"));
        };
        if value.contains('\n') {
            return Err(AtError::syntax("a value has no line feed"));
        }
        if entity.eq_ignore_ascii_case(key::PKAM_PUBLIC_KEY) {
            return Ok(Self {
                uncommitted,
                key: Subject::PkamPublicKey,
                metadata: fragment.finish()?,
                value,
            });
        }
        let visibility = match (is_public, shared_with) {
            (true, _) => Visibility::Public,
            (false, Some(with)) => Visibility::SharedWith(with),
            (false, None) => Visibility::Own,
        };
        let key = json_key(visibility, &entity, shared_by)?;
        Ok(Self { uncommitted, key, metadata: fragment.finish()?, value })
    }
}

impl UpdateMeta {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (uncommitted, text) = strip_flag(text);
        // The key ends at the colon behind the @ of its owner; the @ of who it is for stands before a colon too.
        let key_start = text.strip_prefix('@').map_or(0, |rest| 1 + rest.find(':').unwrap_or(rest.len()));
        let (at, _) = text[key_start..]
            .match_indices('@')
            .next()
            .ok_or_else(|| AtError::syntax("the key does not end with @ and its owner"))?;
        let owner_start = key_start + at;
        let end = text[owner_start..].find(':').map_or(text.len(), |colon| owner_start + colon);
        let mut rest = text[end..].strip_prefix(':');
        let mut fragment = Fragment::default();
        while let Some(text) = rest {
            let (tag, value) =
                text.split_once(':').ok_or_else(|| AtError::syntax("a metadata field has no value"))?;
            rest = fragment.read(tag, value)?;
        }
        Ok(Self { uncommitted, key: plain_key(&text[..end])?, metadata: fragment.finish()? })
    }
}

/// Takes `nc:` from the head of `text`.
fn strip_flag(text: &str) -> (bool, &str) {
    match strip_tag(text, "nc") {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// A key as the plain forms name it: only public, shared and own keys can be written there.
fn plain_key(text: &str) -> Result<AtKey, AtError> {
    if !text.is_empty() && !text.contains('@') && !text.contains(':') {
        return Err(AtError::new(ErrorCode::InvalidAtKey, format!("{} has no owner", Shortened(text))));
    }
    let key = AtKey::parse(text)?;
    if key.cached || matches!(key.visibility, Visibility::Private | Visibility::Local) {
        return Err(AtError::syntax("only public, shared and own keys can be updated"));
    }
    Ok(key)
}

/// A key of the JSON form, where prefixes are spelt out in fields and a wrong one is a wrong key.
fn json_key(visibility: Visibility, entity: &str, owner: Option<AtSign>) -> Result<Subject, AtError> {
    if let Some((kind, _)) = entity.split_once(':') {
        let name = match kind.to_ascii_lowercase().as_str() {
            "cached" => "cachedSharedKey",
            "private" | "privatekey" => "privateKey",
            "local" => "localKey",
            _ => "invalidKey",
        };
        return Err(AtError::new(
            ErrorCode::InvalidAtKey,
            format!("You may not update keys of type KeyType.{name}"),
        ));
    }
    Ok(match owner {
        Some(owner) => Subject::Key(AtKey::new(false, visibility, entity, owner)?),
        None => Subject::OwnKey { visibility, entity: entity.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Field;

    fn update(text: &str) -> Update {
        Update::parse(text).expect(text)
    }

    fn key_of(update: &Update) -> String {
        match &update.key {
            Subject::Key(key) => key.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn key_and_value_are_parted_by_the_first_space() {
        let update = update("public:Phone.wavi@alice  two  spaces: and @ more");
        assert_eq!(key_of(&update), "public:phone.wavi@alice");
        assert_eq!(update.value, " two  spaces: and @ more");
    }

    #[test]
    fn metadata_stands_before_the_key() {
        let update = update("nc:ttr:-1:ccd:True:isEncrypted:true:ivNonce:q1w2:@bob:phone.wavi@alice secret");
        assert_eq!(key_of(&update), "@bob:phone.wavi@alice");
        assert!(update.uncommitted);
        assert_eq!((&update.metadata.ttr, &update.metadata.ccd), (&Field::Set(-1), &Field::Set(true)));
        assert_eq!(update.metadata.iv_nonce, Field::Set("q1w2".into()));
    }

    #[test]
    fn a_key_may_be_called_like_a_metadata_field() {
        assert_eq!(key_of(&update("ttl@alice 5")), "ttl@alice");
        assert_eq!(key_of(&update("ttl:5:nc@alice 5")), "nc@alice");
    }

    #[test]
    fn the_onboarding_stores_the_public_key_of_the_owner() {
        assert_eq!(update("privatekey:at_pkam_publickey MII").key, Subject::PkamPublicKey);
    }

    #[test]
    fn what_no_client_may_store_is_refused() {
        for (text, code) in [
            ("phone@alice", ErrorCode::InvalidSyntax),
            ("phone@alice ", ErrorCode::InvalidSyntax),
            ("phone 1", ErrorCode::InvalidAtKey),
            ("cached:public:x@bob 1", ErrorCode::InvalidSyntax),
            ("private:x@alice 1", ErrorCode::InvalidSyntax),
            ("local:x@alice 1", ErrorCode::InvalidSyntax),
            ("privatekey:at_secret 1", ErrorCode::InvalidSyntax),
            ("privatekey:at_secret@alice 1", ErrorCode::InvalidSyntax),
            ("ttl:-5:x@alice 1", ErrorCode::InvalidSyntax),
            ("ttl:5 1", ErrorCode::InvalidSyntax),
            ("colour:red:x@alice 1", ErrorCode::InvalidSyntax),
            (":x@alice 1", ErrorCode::InvalidSyntax),
            ("x@@alice 1", ErrorCode::InvalidSyntax),
            ("json:{}", ErrorCode::InvalidSyntax),
            ("json:{", ErrorCode::InvalidSyntax),
            (r#"json:{"atKey":"x","value":"1"}"#, ErrorCode::InvalidSyntax),
            (r#"json:{"atKey":"x","metadata":{}}"#, ErrorCode::InvalidSyntax),
            (r#"json:{"atKey":"cached:public:x","value":"1","metadata":{}}"#, ErrorCode::InvalidAtKey),
            (r#"json:{"atKey":"privatekey:at_secret","value":"1","metadata":{}}"#, ErrorCode::InvalidAtKey),
            (r#"json:{"atKey":"x","value":"1","metadata":{"ttl":"soon"}}"#, ErrorCode::InvalidSyntax),
        ] {
            assert_eq!(Update::parse(text).map_err(|e| e.code()), Err(code), "{text}");
        }
    }

    #[test]
    fn the_json_form_says_the_same_in_fields() {
        let update = update(concat!(
            r#"json:{"atKey":"phone.wavi","value":"a b","sharedBy":"@alice","sharedWith":"@bob","#,
            r#""metadata":{"ttl":1000,"ttb":null,"ttr":"-1","isPublic":false,"isEncrypted":true,"#,
            r#""createdAt":"2024","pubKeyHash":{"hash":"h","algo":"sha256"},"unknown":[]}}"#
        ));
        assert_eq!((key_of(&update).as_str(), update.value.as_str()), ("@bob:phone.wavi@alice", "a b"));
        assert_eq!((update.metadata.ttl, update.metadata.ttb), (Field::Set(1000), Field::Keep));
        assert_eq!(update.metadata.is_encrypted, Field::Set(true));
        assert!(matches!(update.metadata.pub_key_hash, Field::Set(_)));
    }

    #[test]
    fn the_json_form_may_leave_the_owner_to_the_server() {
        let update = update(r#"json:{"atKey":"phone","value":"1","metadata":{"isPublic":true}}"#);
        assert_eq!(update.key, Subject::OwnKey { visibility: Visibility::Public, entity: "phone".into() });
    }

    #[test]
    fn update_meta_has_the_metadata_behind_the_key() {
        for (text, key) in [
            ("phone@alice:ttl:1000:isEncrypted:true", "phone@alice"),
            ("nc:public:phone@alice:ttl:1000", "public:phone@alice"),
            ("@bob:phone@alice:ttl:1000:cAt:2024-05-05T09:06:40Z", "@bob:phone@alice"),
        ] {
            let update = UpdateMeta::parse(text).expect(text);
            assert_eq!(update.key.to_string(), key);
            assert_eq!(update.metadata.ttl, Field::Set(1000));
        }
        for text in [
            "",
            "phone",
            "phone@alice:ttl",
            "phone@alice:ttl:",
            "phone@alice:x:1",
            "cached:public:x@b:ttl:1",
            "@bob",
            "@bob:x",
            "@bob:@alice",
        ] {
            assert!(UpdateMeta::parse(text).is_err(), "{text}");
        }
    }
}
