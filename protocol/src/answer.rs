//! Metadata as the SDKs read it in an answer: times as text, unset fields left out (reference page section 2.0).

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::metadata::{Metadata, Millis};
use crate::time;

/// Serialises metadata in the key order of the reference server.
///
/// Java refuses fields that it does not know, so the later ones are there only when they were set.
#[derive(Clone, Copy, Debug)]
pub struct MetadataAnswer<'a>(pub &'a Metadata);

/// Serialises the answer of the operation `all`.
#[derive(Clone, Copy, Debug)]
pub struct WholeAnswer<'a> {
    /// The key as stored.
    pub key: &'a str,
    /// Its value, left out where there is none.
    pub data: Option<&'a str>,
    /// Its metadata.
    pub metadata: &'a Metadata,
}

impl MetadataAnswer<'_> {
    /// The JSON text.
    pub fn to_json(self) -> String {
        // Strings, numbers and booleans under string keys always serialise.
        serde_json::to_string(&self).unwrap_or_default()
    }
}

impl WholeAnswer<'_> {
    /// The JSON text.
    pub fn to_json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}

impl Serialize for MetadataAnswer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metadata = self.0;
        let mut map = serializer.serialize_map(None)?;
        let mut fields = Fields(&mut map);
        fields.put("createdBy", metadata.created_by.as_ref())?;
        fields.put("updatedBy", metadata.updated_by.as_ref())?;
        fields.put_time("createdAt", metadata.created_at)?;
        fields.put_time("updatedAt", metadata.updated_at)?;
        fields.put_time("availableAt", metadata.available_at)?;
        fields.put_time("expiresAt", metadata.expires_at)?;
        fields.put_time("refreshAt", metadata.refresh_at)?;
        fields.put("status", metadata.status.as_ref())?;
        fields.put("version", metadata.version)?;
        fields.put("ttl", metadata.ttl)?;
        fields.put("ttb", metadata.ttb)?;
        fields.put("ttr", metadata.ttr)?;
        fields.put("ccd", metadata.ccd)?;
        fields.put("isBinary", metadata.is_binary)?;
        fields.put("isEncrypted", metadata.is_encrypted)?;
        fields.put("dataSignature", metadata.data_signature.as_ref())?;
        fields.put("sharedKeyEnc", metadata.shared_key_enc.as_ref())?;
        fields.put("pubKeyCS", metadata.pub_key_cs.as_ref())?;
        fields.put("pubKeyHash", metadata.pub_key_hash.as_ref())?;
        fields.put("encoding", metadata.encoding.as_ref())?;
        fields.put("encKeyName", metadata.enc_key_name.as_ref())?;
        fields.put("encAlgo", metadata.enc_algo.as_ref())?;
        fields.put("ivNonce", metadata.iv_nonce.as_ref())?;
        fields.put("skeEncKeyName", metadata.ske_enc_key_name.as_ref())?;
        fields.put("skeEncAlgo", metadata.ske_enc_algo.as_ref())?;
        fields.put("immutable", metadata.immutable)?;
        fields.put("appMetadata", metadata.app_metadata.as_ref())?;
        map.end()
    }
}

impl Serialize for WholeAnswer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", self.key)?;
        if let Some(data) = self.data {
            map.serialize_entry("data", data)?;
        }
        map.serialize_entry("metaData", &MetadataAnswer(self.metadata))?;
        map.end()
    }
}

/// What another server answers to the operation `all`: its value and metadata. `None` for what is no such answer.
pub fn read_whole(json: &str) -> Option<(Option<String>, Metadata)> {
    let Ok(Value::Object(mut answer)) = serde_json::from_str(json) else { return None };
    let data = match answer.remove("data") {
        Some(Value::String(data)) => Some(data),
        _ => None,
    };
    let Some(Value::Object(mut fields)) = answer.remove("metaData") else { return None };
    for name in ["createdAt", "updatedAt", "availableAt", "expiresAt", "refreshAt"] {
        let time = fields.get(name).and_then(Value::as_str).and_then(time::parse);
        // A time that cannot be read is as good as none.
        fields.insert(name.to_owned(), time.map_or(Value::Null, Value::from));
    }
    let metadata = serde_json::from_value(Value::Object(fields)).ok()?;
    Some((data, metadata))
}

/// The fields that are set.
struct Fields<'a, M>(&'a mut M);

impl<M: SerializeMap> Fields<'_, M> {
    fn put<T: Serialize>(&mut self, name: &str, value: Option<T>) -> Result<(), M::Error> {
        match value {
            Some(value) => self.0.serialize_entry(name, &value),
            None => Ok(()),
        }
    }

    fn put_time(&mut self, name: &str, value: Option<Millis>) -> Result<(), M::Error> {
        self.put(name, value.map(time::print))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Field, MetadataChange};

    #[test]
    fn metadata_prints_in_the_order_of_the_reference_server_and_leaves_out_what_is_not_set() {
        let change = MetadataChange {
            ttl: Field::Set(1000),
            ttr: Field::Set(-1),
            is_binary: Field::Set(false),
            is_encrypted: Field::Set(true),
            iv_nonce: Field::Set("q1w2".into()),
            ..MetadataChange::default()
        };
        let metadata = change.apply(None, "@alice", 1_714_900_000_000).expect("a new key");
        assert_eq!(
            MetadataAnswer(&metadata).to_json(),
            concat!(
                r#"{"createdBy":"@alice","updatedBy":"@alice","createdAt":"2024-05-05 09:06:40.000Z","#,
                r#""updatedAt":"2024-05-05 09:06:40.000Z","expiresAt":"2024-05-05 09:06:41.000Z","status":"active","#,
                r#""version":0,"ttl":1000,"ttr":-1,"isBinary":false,"isEncrypted":true,"ivNonce":"q1w2"}"#
            )
        );
    }

    #[test]
    fn a_server_reads_what_another_answers() {
        let change =
            MetadataChange { ttl: Field::Set(1000), ttr: Field::Set(-1), ..MetadataChange::default() };
        let metadata = change.apply(None, "@alice", 1_714_900_000_000).expect("a new key");
        let text = WholeAnswer { key: "@bob:a@alice", data: Some("data:1"), metadata: &metadata }.to_json();
        assert_eq!(read_whole(&text), Some((Some("data:1".to_owned()), metadata)));
        for text in ["", "null", "[]", "{}", r#"{"data":"1","metaData":3}"#] {
            assert_eq!(read_whole(text), None, "{text}");
        }
    }

    #[test]
    fn the_whole_answer_names_key_data_and_metadata() {
        let answer = WholeAnswer { key: "public:a@alice", data: Some("1"), metadata: &Metadata::default() };
        assert_eq!(answer.to_json(), r#"{"key":"public:a@alice","data":"1","metaData":{}}"#);
        assert_eq!(
            WholeAnswer { data: None, ..answer }.to_json(),
            r#"{"key":"public:a@alice","metaData":{}}"#
        );
    }
}
