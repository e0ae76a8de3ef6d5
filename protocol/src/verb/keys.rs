//! `keys:(put|get|delete)…`: keys that belong to an enrollment (reference page section 2.22).

use crate::error::AtError;
use crate::key::strip_tag;

/// Keys of an enrollment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Stores one.
    Put(Box<NewKey>),
    /// Tells the names of those of a kind.
    List(KeysKind),
    /// Tells one by its full name.
    Get(String),
    /// Removes one by its full name.
    Delete(String),
}

/// Who reads such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysKind {
    /// Everybody.
    Public,
    /// The enrollment.
    Private,
    /// The enrollment, for itself.
    Own,
}

/// A key to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Who reads it.
    pub kind: KeysKind,
    /// The namespace.
    pub namespace: String,
    /// The application.
    pub app_name: String,
    /// The device.
    pub device_name: String,
    /// Such as `rsa2048`.
    pub key_type: String,
    /// The key that encrypted it.
    pub encryption_key_name: Option<String>,
    /// Its name.
    pub key_name: String,
    /// The key itself.
    pub value: String,
}

impl Keys {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (operation, rest) =
            text.split_once(':').ok_or_else(|| AtError::syntax("keys needs an operation and a key"))?;
        let fields = Fields::parse(rest)?;
        let kind = fields.kind;
        match operation.to_ascii_lowercase().as_str() {
            "put" => fields.new_key().map(|key| Self::Put(Box::new(key))),
            "get" => match (fields.key_name, kind) {
                (Some(name), _) => Ok(Self::Get(name.to_lowercase())),
                (None, Some(kind)) => Ok(Self::List(kind)),
                (None, None) => Err(AtError::syntax("keys:get needs public, private, self or keyName")),
            },
            "delete" => fields
                .key_name
                .map(|name| Self::Delete(name.to_lowercase()))
                .ok_or_else(|| AtError::syntax("keys:delete needs keyName")),
            _ => Err(AtError::syntax("keys knows put, get and delete")),
        }
    }
}

/// The fields of a command, in any order but for the name, which is last.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<KeysKind>,
    named: [Option<&'a str>; 5],
    key_name: Option<&'a str>,
    value: Option<&'a str>,
}

const NAMES: [&str; 5] = ["namespace", "appName", "deviceName", "keyType", "encryptionKeyName"];

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, AtError> {
        let mut fields = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(named) = strip_tag(rest, "keyName") {
                let (name, value) =
                    named.split_once(' ').map_or((named, None), |(name, value)| (name, Some(value)));
                if name.is_empty() {
                    break;
                }
                (fields.key_name, fields.value) = (Some(name), value);
                return Ok(fields);
            }
            let (head, after) = rest.split_once(':').unwrap_or((rest, ""));
            if let Some(index) = NAMES.iter().position(|name| name.eq_ignore_ascii_case(head)) {
                let (value, after) = after.split_once(':').unwrap_or((after, ""));
                let is_word = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '@');
                fields.named[index] = Some(value).filter(|_| is_word && fields.named[index].is_none());
                if fields.named[index].is_none() {
                    return Err(AtError::syntax(format!("{head} has no valid value")));
                }
                rest = after;
                continue;
            }
            fields.kind = Some(match head.to_ascii_lowercase().as_str() {
                "public" => KeysKind::Public,
                "private" => KeysKind::Private,
                "self" => KeysKind::Own,
                _ => return Err(AtError::syntax("keys does not know this field")),
            });
            rest = after;
        }
        if text.is_empty() || rest.is_empty() {
            return Ok(fields);
        }
        Err(AtError::syntax("keyName is empty"))
    }

    fn new_key(self) -> Result<NewKey, AtError> {
        let missing = |name: &str| AtError::syntax(format!("keys:put needs {name}"));
        let [namespace, app_name, device_name, key_type, encryption_key_name] = self.named;
        let owned = |text: Option<&str>, name| text.map(str::to_owned).ok_or_else(|| missing(name));
        Ok(NewKey {
            kind: self.kind.ok_or_else(|| missing("public, private or self"))?,
            namespace: owned(namespace, NAMES[0])?,
            app_name: owned(app_name, NAMES[1])?,
            device_name: owned(device_name, NAMES[2])?,
            key_type: owned(key_type, NAMES[3])?,
            encryption_key_name: encryption_key_name.map(str::to_owned),
            key_name: owned(self.key_name, "keyName")?,
            value: owned(self.value.filter(|value| !value.is_empty()), "a value")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stored_with_all_its_fields() {
        let text = "put:public:namespace:wavi:appName:app:deviceName:pixel:keyType:rsa2048:encryptionKeyName:e:keyName:k the key";
        let Ok(Keys::Put(key)) = Keys::parse(text) else { panic!("no key") };
        assert_eq!(
            (key.kind, key.namespace.as_str(), key.app_name.as_str()),
            (KeysKind::Public, "wavi", "app")
        );
        assert_eq!((key.key_name.as_str(), key.value.as_str()), ("k", "the key"));
        assert_eq!(key.encryption_key_name.as_deref(), Some("e"));
    }

    #[test]
    fn keys_are_asked_for_by_kind_or_by_name() {
        assert_eq!(Keys::parse("get:self"), Ok(Keys::List(KeysKind::Own)));
        let name = "1.default_enc_private_key.__manage@alice";
        assert_eq!(Keys::parse(&format!("get:keyName:{name}")), Ok(Keys::Get(name.into())));
        let name = "private:a.b.c.__private_keys.wavi@alice";
        assert_eq!(Keys::parse(&format!("DELETE:keyname:{name}")), Ok(Keys::Delete(name.into())));
    }

    #[test]
    fn what_is_no_keys_command_is_refused() {
        for text in [
            "",
            "get",
            "get:",
            "get:keyName:",
            "get:all",
            "delete:private",
            "steal:private",
            "put:public:keyName:k v",
            "put:namespace:a:appName:b:deviceName:c:keyType:d:keyName:k v",
            "put:self:namespace:a:appName:b:deviceName:c:keyType:d:keyName:k",
            "put:self:namespace:a b:appName:b:deviceName:c:keyType:d:keyName:k v",
            "put:self:namespace:a:namespace:a:appName:b:deviceName:c:keyType:d:keyName:k v",
        ] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
    }
}
