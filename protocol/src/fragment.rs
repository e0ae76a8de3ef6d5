//! Metadata as it stands in a command: `:ttl:1000:isEncrypted:true` (reference page section 2.0).
//!
//! The reference server wants one order; SDKs send others, so any is taken. No field may stand twice.

use serde_json::{Map, Value};

use crate::change::{Field, MetadataChange};
use crate::error::AtError;
use crate::metadata::{Millis, PublicKeyHash};
use crate::time;

/// The metadata fields of one command while they are read.
#[derive(Debug, Default)]
pub(crate) struct Fragment {
    change: MetadataChange,
    /// Two fields on the wire make one of the change.
    public_key_hash: Field<String>,
    hashing_algorithm: Field<String>,
    /// Book-keeping of clients: read and dropped.
    shared_key_status: Field<String>,
}

impl Fragment {
    /// Whether `tag` is the name of a metadata field.
    pub(crate) fn is_tag(tag: &str) -> bool {
        let mut none = Self::default();
        none.slot(tag).is_some()
    }

    /// Reads the value of `tag` from the head of `rest`; returns what follows its colon, `None` at the end.
    pub(crate) fn read<'a>(&mut self, tag: &str, rest: &'a str) -> Result<Option<&'a str>, AtError> {
        let slot = self.slot(tag).ok_or_else(|| AtError::syntax(format!("{tag} is no metadata field")))?;
        // A time of day has two colons of its own.
        let inner_colons = if matches!(slot, Slot::Time(_)) { 2 } else { 0 };
        let (value, rest) = match rest.match_indices(':').nth(inner_colons) {
            Some((end, _)) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        if value.is_empty() || value.contains(|c: char| c == '@' || c.is_whitespace()) {
            return Err(AtError::syntax(format!("{tag} has no valid value")));
        }
        slot.set(tag, value)?;
        Ok(rest)
    }

    /// Reads the metadata object of `update:json`. A JSON null is a field not given; what is unknown is ignored, the
    /// times of a key among it.
    pub(crate) fn read_json(&mut self, object: &Map<String, Value>) -> Result<(), AtError> {
        for (tag, value) in object {
            if let ("pubKeyHash", Value::Object(parts)) = (tag.as_str(), value) {
                for (part, field) in
                    [("hash", &mut self.public_key_hash), ("algo", &mut self.hashing_algorithm)]
                {
                    if let Some(Value::String(text)) = parts.get(part) {
                        *field = Field::Set(text.clone());
                    }
                }
                continue;
            }
            let slot = match self.slot(tag) {
                Some(Slot::Time(_)) | None => continue,
                Some(slot) => slot,
            };
            match value {
                Value::Null => {}
                Value::Bool(value) => slot.set(tag, if *value { "true" } else { "false" })?,
                Value::Number(number) => slot.set(tag, &number.to_string())?,
                Value::String(text) => slot.set(tag, text)?,
                Value::Array(_) | Value::Object(_) => {
                    return Err(AtError::syntax(format!("{tag} has no valid value")));
                }
            }
        }
        Ok(())
    }

    /// The change, with what an update sets that does not say whether its value is binary or encrypted.
    pub(crate) fn finish(self) -> Result<MetadataChange, AtError> {
        let mut change = self.finish_as_given()?;
        for flag in [&mut change.is_binary, &mut change.is_encrypted] {
            if *flag == Field::Keep {
                *flag = Field::Set(false);
            }
        }
        Ok(change)
    }

    /// The change, with nothing in it that was not given.
    pub(crate) fn finish_as_given(mut self) -> Result<MetadataChange, AtError> {
        self.change.pub_key_hash = match (self.public_key_hash, self.hashing_algorithm) {
            (Field::Keep, Field::Keep) => Field::Keep,
            (Field::Clear, _) => Field::Clear,
            (Field::Set(hash), Field::Set(algo)) => Field::Set(PublicKeyHash { hash, algo }),
            _ => return Err(AtError::syntax("pubKeyHash and hashingAlgo belong together")),
        };
        Ok(self.change)
    }

    fn slot(&mut self, tag: &str) -> Option<Slot<'_>> {
        let change = &mut self.change;
        Some(match tag.to_ascii_lowercase().as_str() {
            "ttl" => Slot::Number(&mut change.ttl, 0),
            "ttb" => Slot::Number(&mut change.ttb, 0),
            "ttr" => Slot::Number(&mut change.ttr, -1),
            "ccd" => Slot::Flag(&mut change.ccd),
            "isbinary" => Slot::Flag(&mut change.is_binary),
            "isencrypted" => Slot::Flag(&mut change.is_encrypted),
            "immutable" => Slot::Flag(&mut change.immutable),
            "datasignature" => Slot::Text(&mut change.data_signature),
            "sharedkeystatus" => Slot::Text(&mut self.shared_key_status),
            "sharedkeyenc" => Slot::Text(&mut change.shared_key_enc),
            "pubkeycs" => Slot::Text(&mut change.pub_key_cs),
            "pubkeyhash" => Slot::Text(&mut self.public_key_hash),
            "hashingalgo" => Slot::Text(&mut self.hashing_algorithm),
            "encoding" => Slot::Text(&mut change.encoding),
            "enckeyname" => Slot::Text(&mut change.enc_key_name),
            "encalgo" => Slot::Text(&mut change.enc_algo),
            "ivnonce" => Slot::Text(&mut change.iv_nonce),
            "skeenckeyname" => Slot::Text(&mut change.ske_enc_key_name),
            "skeencalgo" => Slot::Text(&mut change.ske_enc_algo),
            "appmetadata" => Slot::Text(&mut change.app_metadata),
            "cat" => Slot::Time(&mut change.created_at),
            "uat" => Slot::Time(&mut change.updated_at),
            "eat" => Slot::Time(&mut change.expires_at),
            "aat" => Slot::Time(&mut change.available_at),
            _ => return None,
        })
    }
}

/// Where the value of a tag goes, and what it must be.
enum Slot<'a> {
    /// A number not below the bound.
    Number(&'a mut Field<i64>, i64),
    Flag(&'a mut Field<bool>),
    Text(&'a mut Field<String>),
    Time(&'a mut Option<Millis>),
}

impl Slot<'_> {
    fn set(self, tag: &str, value: &str) -> Result<(), AtError> {
        let is_free = match &self {
            Self::Number(field, _) => **field == Field::Keep,
            Self::Flag(field) => **field == Field::Keep,
            Self::Text(field) => **field == Field::Keep,
            Self::Time(field) => field.is_none(),
        };
        if !is_free {
            return Err(AtError::syntax(format!("{tag} stands twice")));
        }
        let is_null = value == "null";
        match self {
            Self::Number(field, _) if is_null => *field = Field::Clear,
            Self::Number(field, least) => match value.parse() {
                Ok(number) if number >= least => *field = Field::Set(number),
                Ok(_) => return Err(AtError::syntax(format!("{tag} cannot be less than {least}"))),
                Err(_) => return Err(AtError::syntax(format!("{tag} is no number"))),
            },
            Self::Flag(field) if is_null => *field = Field::Clear,
            Self::Flag(field) if value.eq_ignore_ascii_case("true") => *field = Field::Set(true),
            Self::Flag(field) if value.eq_ignore_ascii_case("false") => *field = Field::Set(false),
            Self::Flag(_) => return Err(AtError::syntax(format!("{tag} is neither true nor false"))),
            Self::Text(field) => *field = if is_null { Field::Clear } else { Field::Set(value.to_owned()) },
            Self::Time(field) => {
                let time = time::parse(value).ok_or_else(|| AtError::syntax(format!("{tag} is no time")))?;
                *field = Some(time);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MetadataChange, AtError> {
        let mut fragment = Fragment::default();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (tag, value) = text.split_once(':').ok_or_else(|| AtError::syntax("no value"))?;
            rest = fragment.read(tag, value)?;
        }
        fragment.finish()
    }

    #[test]
    fn every_field_is_read_in_any_order_and_any_case() {
        let change = read(concat!(
            "ivNonce:q1w2:TTL:1000:isEncrypted:True:ccd:FALSE:ttr:-1:cAt:2024-05-05T09:06:40.007Z:sharedKeyEnc:k==:",
            "pubKeyCS:cs:pubKeyHash:h:hashingAlgo:sha512:encoding:base64:encKeyName:n:encAlgo:a:skeEncKeyName:s:",
            "skeEncAlgo:r:immutable:true:appMetadata:e30=:dataSignature:sig:sharedKeyStatus:x:ttb:5:isBinary:true"
        ))
        .expect("all fields");
        assert_eq!((change.ttl, change.ttb, change.ttr), (Field::Set(1000), Field::Set(5), Field::Set(-1)));
        assert_eq!((change.is_encrypted, change.ccd), (Field::Set(true), Field::Set(false)));
        assert_eq!(change.created_at, Some(1_714_900_000_007));
        assert_eq!(change.shared_key_enc, Field::Set("k==".into()));
        assert_eq!(
            change.pub_key_hash,
            Field::Set(PublicKeyHash { hash: "h".into(), algo: "sha512".into() })
        );
        assert_eq!(change.app_metadata, Field::Set("e30=".into()));
        assert_eq!(change.immutable, Field::Set(true));
    }

    #[test]
    fn an_update_that_does_not_say_so_is_neither_binary_nor_encrypted() {
        let change = read("ttl:1").expect("a ttl");
        assert_eq!((change.is_binary, change.is_encrypted), (Field::Set(false), Field::Set(false)));
    }

    #[test]
    fn null_clears_a_field() {
        let change = read("ivNonce:null:ttl:null").expect("nulls");
        assert_eq!((change.iv_nonce, change.ttl), (Field::Clear, Field::Clear));
    }

    #[test]
    fn wrong_values_are_refused_with_the_name_of_the_field() {
        for (text, why) in [
            ("ttl:-1", "ttl cannot be less than 0"),
            ("ttb:-1", "ttb cannot be less than 0"),
            ("ttr:-2", "ttr cannot be less than -1"),
            ("ttl:1.5", "ttl is no number"),
            ("ttl:99999999999999999999", "ttl is no number"),
            ("isBinary:yes", "isBinary is neither true nor false"),
            ("ttl:1:ttl:2", "ttl stands twice"),
            ("encoding:", "encoding has no valid value"),
            ("encoding:a b", "encoding has no valid value"),
            ("cAt:yesterday", "cAt is no time"),
            ("pubKeyHash:h", "pubKeyHash and hashingAlgo belong together"),
            ("colour:red", "colour is no metadata field"),
        ] {
            assert_eq!(read(text).expect_err(text).message(), format!("invalid command: {why}"), "{text}");
        }
    }
}
