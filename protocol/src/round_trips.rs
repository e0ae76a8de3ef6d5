//! What is written is read as the same: keys, metadata and verbs, whatever their values are.

use proptest::prelude::*;

use crate::answer::{WholeAnswer, read_whole};
use crate::change::{Field, MetadataChange};
use crate::metadata::{Metadata, PublicKeyHash};
use crate::verb::{
    Command, Delete, Deleted, LocalLookup, MessageType, Notify, NotifyLine, NotifyOperation, Notifying,
    Operation, Scan, Subject, Sync, Update, UpdateMeta,
};
use crate::{AtKey, AtSign, time};

const NOW: i64 = 1_700_000_000_000;

fn key() -> impl Strategy<Value = AtKey> {
    "(public:|@bob:)?[a-z0-9_'*\"🛠-]{1,12}(\\.[a-z]{1,8})?@alice"
        .prop_map(|text| AtKey::parse(&text).expect("a key"))
}

/// A value that a metadata field may have.
fn word() -> impl Strategy<Value = Field<String>> {
    field("[a-zA-Z0-9+/=._-]{1,20}").prop_map(|field| match field {
        Field::Set(text) if text == "null" => Field::Clear,
        other => other,
    })
}

fn field<T: Clone + std::fmt::Debug>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Field<T>> {
    prop_oneof![Just(Field::Keep), Just(Field::Clear), value.prop_map(Field::Set)]
}

fn moment() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(0..=crate::change::LATEST)
}

fn change() -> impl Strategy<Value = MetadataChange> {
    let numbers = (field(0..i64::MAX), field(0..i64::MAX), field(-1..i64::MAX));
    let flags = prop::array::uniform4(field(any::<bool>()));
    let words: Vec<_> = (0..10).map(|_| word()).collect();
    let hash = prop_oneof![
        Just(Field::Keep),
        ("[a-z0-9]{1,9}x", "[a-z0-9]{1,9}x")
            .prop_map(|(hash, algo)| Field::Set(PublicKeyHash { hash, algo }))
    ];
    let times = (moment(), moment(), moment(), moment());
    (numbers, flags, words, hash, times).prop_map(|((ttl, ttb, ttr), flags, words, pub_key_hash, times)| {
        let [ccd, is_binary, is_encrypted, immutable] = flags;
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap_or_default();
        MetadataChange {
            ttl,
            ttb,
            ttr,
            ccd,
            is_binary,
            is_encrypted,
            data_signature: word(),
            shared_key_enc: word(),
            pub_key_cs: word(),
            pub_key_hash,
            encoding: word(),
            enc_key_name: word(),
            enc_algo: word(),
            iv_nonce: word(),
            ske_enc_key_name: word(),
            ske_enc_algo: word(),
            immutable,
            app_metadata: word(),
            created_at: times.0,
            updated_at: times.1,
            expires_at: times.2,
            available_at: times.3,
        }
    })
}

/// The fields of a change as a client writes them.
fn written(change: &MetadataChange) -> Vec<String> {
    fn put<T: ToString>(fields: &mut Vec<String>, tag: &str, field: &Field<T>) {
        match field {
            Field::Keep => {}
            Field::Clear => fields.push(format!("{tag}:null:")),
            Field::Set(value) => fields.push(format!("{tag}:{}:", value.to_string())),
        }
    }
    let mut fields = Vec::new();
    put(&mut fields, "ttl", &change.ttl);
    put(&mut fields, "ttb", &change.ttb);
    put(&mut fields, "ttr", &change.ttr);
    put(&mut fields, "ccd", &change.ccd);
    put(&mut fields, "isBinary", &change.is_binary);
    put(&mut fields, "isEncrypted", &change.is_encrypted);
    put(&mut fields, "dataSignature", &change.data_signature);
    put(&mut fields, "sharedKeyEnc", &change.shared_key_enc);
    put(&mut fields, "pubKeyCS", &change.pub_key_cs);
    if let Field::Set(PublicKeyHash { hash, algo }) = &change.pub_key_hash {
        fields.push(format!("pubKeyHash:{hash}:"));
        fields.push(format!("hashingAlgo:{algo}:"));
    }
    put(&mut fields, "encoding", &change.encoding);
    put(&mut fields, "encKeyName", &change.enc_key_name);
    put(&mut fields, "encAlgo", &change.enc_algo);
    put(&mut fields, "ivNonce", &change.iv_nonce);
    put(&mut fields, "skeEncKeyName", &change.ske_enc_key_name);
    put(&mut fields, "skeEncAlgo", &change.ske_enc_algo);
    put(&mut fields, "immutable", &change.immutable);
    put(&mut fields, "appMetadata", &change.app_metadata);
    for (tag, moment) in [
        ("cAt", change.created_at),
        ("uAt", change.updated_at),
        ("eAt", change.expires_at),
        ("aAt", change.available_at),
    ] {
        if let Some(moment) = moment {
            fields.push(format!("{tag}:{}:", time::print(moment).replace(' ', "T")));
        }
    }
    fields
}

/// The change that is read: a flag that is not given is false.
fn as_read(change: MetadataChange) -> MetadataChange {
    let or_false = |field| if field == Field::Keep { Field::Set(false) } else { field };
    MetadataChange {
        is_binary: or_false(change.is_binary),
        is_encrypted: or_false(change.is_encrypted),
        ..change
    }
}

/// A change, and its fields in any order.
fn shuffled() -> impl Strategy<Value = (MetadataChange, String)> {
    change().prop_flat_map(|change| {
        let fields = Just(written(&change)).prop_shuffle().prop_map(|fields| fields.concat());
        (Just(as_read(change)), fields)
    })
}

fn parse(line: &str) -> Command {
    Command::parse(line, true).unwrap_or_else(|error| panic!("{line}: {}", error.message()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_update_is_read_as_it_was_meant(
        (metadata, fields) in shuffled(), key in key(), value in "\\PC{1,40}", uncommitted: bool
    ) {
        prop_assume!(value == value.trim_end());
        let nc = if uncommitted { "nc:" } else { "" };
        let command = parse(&format!("update:{nc}{fields}{key} {value}"));
        prop_assert_eq!(command, Command::Update(Update { uncommitted, key: Subject::Key(key), metadata, value }));
    }

    #[test]
    fn an_update_of_metadata_is_read_as_it_was_meant((metadata, fields) in shuffled(), key in key()) {
        let line = format!("update:meta:{key}:{fields}");
        let command = parse(line.trim_end_matches(':'));
        prop_assert_eq!(command, Command::UpdateMeta(UpdateMeta { uncommitted: false, key, metadata }));
    }

    #[test]
    fn a_delete_is_read_as_it_was_meant(key in key(), force: bool, uncommitted: bool, cached: bool) {
        let key = AtKey { cached, ..key };
        let mut line = "delete:priority:low:".to_owned();
        if force { line.push_str("force:"); }
        if uncommitted { line.push_str("nc:"); }
        let command = parse(&format!("{line}{key}"));
        prop_assert_eq!(command, Command::Delete(Delete { force, uncommitted, key: Deleted::Key(key) }));
    }

    #[test]
    fn lookups_scans_and_syncs_are_read_as_they_were_meant(
        key in key(), from in -1..i64::MAX, limit in prop::option::of(0_usize..100_000), regex in "[a-z.*^$]{1,12}"
    ) {
        let command = parse(&format!("llookup:all:{key}"));
        prop_assert_eq!(command, Command::LocalLookup(LocalLookup { operation: Operation::All, key }));
        let command = parse(&format!("scan:showHidden:true:@bob {regex}"));
        let of = AtSign::parse("@bob").ok();
        prop_assert_eq!(command, Command::Scan(Scan { log: false, show_hidden: true, of, regex: Some(regex.clone()) }));
        let bound = limit.map(|limit| format!(":limit:{limit}")).unwrap_or_default();
        let command = parse(&format!("sync:from:{from}{bound}:{regex}"));
        let expected = Sync { from, limit, skip_deletes_until: None, regex: Some(regex) };
        prop_assert_eq!(command, Command::Sync(expected));
    }

    #[test]
    fn what_one_server_tells_another_is_read_as_it_was_meant(
        change in change(), name in "[a-z0-9]{1,9}\\.[a-z]{1,9}", value in prop::option::of("[^\\pC]{1,30}"), ttln in 1..i64::MAX
    ) {
        prop_assume!(value.as_ref().is_none_or(|value| value == value.trim_end()));
        let metadata = change.apply(None, "@alice", NOW).expect("a new key");
        let line = NotifyLine {
            id: "a-1",
            operation: NotifyOperation::Update,
            message_type: MessageType::Key,
            notifier: "SYSTEM",
            ttln,
            metadata: &metadata,
            key: &format!("@bob:{name}@alice"),
            value: value.as_deref(),
        }
        .command();
        let Command::Notify(Notifying::One(read)) = parse(&line) else { panic!("{line}") };
        let Notify { id, ttln: read_ttln, value: read_value, metadata: read_metadata, .. } = read;
        prop_assert_eq!((id.as_deref(), read_ttln, read_value), (Some("a-1"), Some(ttln), value));
        let again = read_metadata.apply(None, "@alice", NOW).expect("a new key");
        prop_assert_eq!((again.ttl, again.ttb, again.ttr), (metadata.ttl, metadata.ttb, metadata.ttr));
        prop_assert_eq!((again.iv_nonce, again.shared_key_enc), (metadata.iv_nonce, metadata.shared_key_enc));
        prop_assert_eq!((again.pub_key_hash, again.pub_key_cs), (metadata.pub_key_hash, metadata.pub_key_cs));
    }

    #[test]
    fn an_answer_is_read_by_another_server_as_it_was_meant(change in change(), data in prop::option::of(".{0,40}")) {
        let metadata = change.apply(None, "@alice", NOW).expect("a new key");
        let answer = WholeAnswer { key: "@bob:a@alice", data: data.as_deref(), metadata: &metadata }.to_json();
        prop_assert_eq!(read_whole(&answer), Some((data, metadata.clone())));
        let stored = serde_json::to_string(&metadata).expect("metadata serialises");
        prop_assert_eq!(serde_json::from_str::<Metadata>(&stored).expect("and is read"), metadata.clone());
    }
}
