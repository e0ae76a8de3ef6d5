//! A change of a key's metadata, and what the metadata is after it (reference page section 2.9).

use crate::metadata::{Metadata, Millis, PublicKeyHash};

/// The latest time that is kept: the end of the last whole hour that the calendar can print, in the year 9999.
pub const LATEST: Millis = 253_402_207_199_999;

/// One field of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not given: the stored value stays.
    #[default]
    Keep,
    /// Given as `null`: the stored value is cleared.
    Clear,
    /// Given.
    Set(T),
}

impl<T: Clone> Field<T> {
    /// The value after the change.
    fn over(&self, stored: Option<T>) -> Option<T> {
        match self {
            Self::Keep => stored,
            Self::Clear => None,
            Self::Set(value) => Some(value.clone()),
        }
    }
}

/// What an update changes in the metadata of a key. The default changes nothing but the version and the times.
///
/// `update` clears `is_binary` and `is_encrypted` where the client does not give them; that is the parser's doing, by
/// setting them to false, not a rule of [`MetadataChange::apply`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataChange {
    /// Time to live, milliseconds, not negative.
    pub ttl: Field<i64>,
    /// Time to birth, milliseconds, not negative.
    pub ttb: Field<i64>,
    /// Time to refresh, seconds, or -1.
    pub ttr: Field<i64>,
    /// Cascade delete of cached copies.
    pub ccd: Field<bool>,
    /// Whether the value is binary.
    pub is_binary: Field<bool>,
    /// Whether the client encrypted the value.
    pub is_encrypted: Field<bool>,
    /// The owner's signature of a public value.
    pub data_signature: Field<String>,
    /// The symmetric key, encrypted for the recipient.
    pub shared_key_enc: Field<String>,
    /// Checksum of the public key that encrypted it.
    pub pub_key_cs: Field<String>,
    /// Hash of that public key.
    pub pub_key_hash: Field<PublicKeyHash>,
    /// How a binary value is encoded.
    pub encoding: Field<String>,
    /// Name of the key that encrypted the value.
    pub enc_key_name: Field<String>,
    /// Algorithm that encrypted the value.
    pub enc_algo: Field<String>,
    /// Initialisation vector or nonce.
    pub iv_nonce: Field<String>,
    /// Name of the key that encrypted the shared key.
    pub ske_enc_key_name: Field<String>,
    /// Algorithm that encrypted the shared key.
    pub ske_enc_algo: Field<String>,
    /// Refuse later updates.
    pub immutable: Field<bool>,
    /// Base64 of an application's own JSON.
    pub app_metadata: Field<String>,
    /// Claimed time of creation; else now, or what is stored.
    pub created_at: Option<Millis>,
    /// Claimed time of the change; else now.
    pub updated_at: Option<Millis>,
    /// Claimed end; else from `ttl`.
    pub expires_at: Option<Millis>,
    /// Claimed birth; else from `ttb`.
    pub available_at: Option<Millis>,
}

impl MetadataChange {
    /// The change that gives a copy of another atSign's key the metadata of the original. A copy follows its original,
    /// so it is never immutable itself; its times are its own.
    pub fn copy_of(original: &Metadata) -> Self {
        fn field<T: Clone>(value: Option<&T>) -> Field<T> {
            value.map_or(Field::Clear, |value| Field::Set(value.clone()))
        }
        Self {
            ttl: field(original.ttl.as_ref()),
            ttb: field(original.ttb.as_ref()),
            ttr: field(original.ttr.as_ref()),
            ccd: field(original.ccd.as_ref()),
            is_binary: field(original.is_binary.as_ref()),
            is_encrypted: field(original.is_encrypted.as_ref()),
            data_signature: field(original.data_signature.as_ref()),
            shared_key_enc: field(original.shared_key_enc.as_ref()),
            pub_key_cs: field(original.pub_key_cs.as_ref()),
            pub_key_hash: field(original.pub_key_hash.as_ref()),
            encoding: field(original.encoding.as_ref()),
            enc_key_name: field(original.enc_key_name.as_ref()),
            enc_algo: field(original.enc_algo.as_ref()),
            iv_nonce: field(original.iv_nonce.as_ref()),
            ske_enc_key_name: field(original.ske_enc_key_name.as_ref()),
            ske_enc_algo: field(original.ske_enc_algo.as_ref()),
            immutable: Field::Clear,
            app_metadata: field(original.app_metadata.as_ref()),
            created_at: None,
            updated_at: None,
            expires_at: None,
            available_at: None,
        }
    }
}

/// The stored record is immutable: AT0032.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Immutable records may not be updated")]
pub struct ImmutableRecord;

impl MetadataChange {
    /// The metadata after this change of a key that holds `existing`, made by the atSign `by` at `now`.
    ///
    /// The clocks of `ttl` and `ttb` start again where one of the two is given; a change that gives neither leaves
    /// birth and end as they are. A record that has expired is as good as deleted: nothing of it is inherited.
    pub fn apply(
        &self,
        existing: Option<&Metadata>,
        by: &str,
        now: Millis,
    ) -> Result<Metadata, ImmutableRecord> {
        let existing = existing.filter(|stored| !stored.is_expired(now));
        if existing.is_some_and(|stored| stored.immutable == Some(true)) {
            return Err(ImmutableRecord);
        }
        let is_new = existing.is_none();
        let stored = existing.cloned().unwrap_or_default();

        let ttl = self.ttl.over(stored.ttl);
        let ttb = self.ttb.over(stored.ttb);
        let ttr = self.ttr.over(stored.ttr).filter(|ttr| *ttr != 0);
        let available_at =
            if self.ttb == Field::Keep { stored.available_at } else { ttb.map(|ttb| later(now, ttb)) };
        let expires_at = if self.ttl == Field::Keep && self.ttb == Field::Keep {
            stored.expires_at
        } else {
            let born = available_at.map_or(now, |available_at| available_at.max(now));
            ttl.filter(|ttl| *ttl > 0).map(|ttl| later(born, ttl))
        };
        Ok(Metadata {
            created_by: stored.created_by.or_else(|| Some(by.to_owned())),
            updated_by: Some(by.to_owned()),
            created_at: self.created_at.or(stored.created_at).or(Some(now)),
            updated_at: self.updated_at.or(Some(now)),
            available_at: self.available_at.or(available_at),
            expires_at: self.expires_at.or(expires_at),
            refresh_at: ttr.filter(|ttr| *ttr > 0).map(|ttr| later(now, ttr.saturating_mul(1000))),
            status: Some("active".to_owned()),
            version: Some(if is_new {
                0
            } else {
                stored.version.map_or(0, |version| version.saturating_add(1))
            }),
            ttl,
            ttb,
            ttr,
            ccd: self.ccd.over(stored.ccd).filter(|_| ttr.is_some()),
            is_binary: self.is_binary.over(stored.is_binary),
            is_encrypted: self.is_encrypted.over(stored.is_encrypted),
            data_signature: self.data_signature.over(stored.data_signature),
            shared_key_enc: self.shared_key_enc.over(stored.shared_key_enc),
            pub_key_cs: self.pub_key_cs.over(stored.pub_key_cs),
            pub_key_hash: self.pub_key_hash.over(stored.pub_key_hash),
            encoding: self.encoding.over(stored.encoding),
            enc_key_name: self.enc_key_name.over(stored.enc_key_name),
            enc_algo: self.enc_algo.over(stored.enc_algo),
            iv_nonce: self.iv_nonce.over(stored.iv_nonce),
            ske_enc_key_name: self.ske_enc_key_name.over(stored.ske_enc_key_name),
            ske_enc_algo: self.ske_enc_algo.over(stored.ske_enc_algo),
            immutable: self.immutable.over(stored.immutable),
            app_metadata: self.app_metadata.over(stored.app_metadata),
        })
    }
}

/// `from` plus `millis`, never past what an answer can print.
fn later(from: Millis, millis: i64) -> Millis {
    from.saturating_add(millis).clamp(0, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn after(change: &MetadataChange, existing: Option<&Metadata>, now: Millis) -> Metadata {
        change.apply(existing, "@alice", now).expect("the record may be changed")
    }

    #[test]
    fn a_new_key_has_version_0_and_the_time_of_its_creation() {
        let made = after(&MetadataChange::default(), None, NOW);
        assert_eq!(made.version, Some(0));
        assert_eq!((made.created_at, made.updated_at), (Some(NOW), Some(NOW)));
        assert_eq!(made.created_by.as_deref(), Some("@alice"));
        assert_eq!(made.status.as_deref(), Some("active"));
        assert_eq!((made.available_at, made.expires_at, made.refresh_at), (None, None, None));
    }

    #[test]
    fn a_later_change_counts_the_version_and_keeps_who_created_the_key_when() {
        let first = after(&MetadataChange::default(), None, NOW);
        let second = MetadataChange::default().apply(Some(&first), "@bob", NOW + 5).expect("may change");
        assert_eq!(second.version, Some(1));
        assert_eq!((second.created_at, second.updated_at), (Some(NOW), Some(NOW + 5)));
        assert_eq!(second.created_by.as_deref(), Some("@alice"));
        assert_eq!(second.updated_by.as_deref(), Some("@bob"));
    }

    #[test]
    fn ttl_counts_from_the_birth_and_starts_again_only_where_it_is_given() {
        let change =
            MetadataChange { ttl: Field::Set(1000), ttb: Field::Set(300), ..MetadataChange::default() };
        let first = after(&change, None, NOW);
        assert_eq!((first.available_at, first.expires_at), (Some(NOW + 300), Some(NOW + 1300)));
        let second = after(&MetadataChange::default(), Some(&first), NOW + 500);
        assert_eq!((second.available_at, second.expires_at), (Some(NOW + 300), Some(NOW + 1300)));
        let third = after(&change, Some(&second), NOW + 600);
        assert_eq!((third.available_at, third.expires_at), (Some(NOW + 900), Some(NOW + 1900)));
    }

    #[test]
    fn a_new_ttl_alone_does_not_hide_what_is_born() {
        let ttl = |ttl| MetadataChange { ttl: Field::Set(ttl), ..MetadataChange::default() };
        let unborn = MetadataChange { ttb: Field::Set(300), ..MetadataChange::default() };
        let first = after(&unborn, None, NOW);
        let before_birth = after(&ttl(1000), Some(&first), NOW + 100);
        assert_eq!((before_birth.available_at, before_birth.expires_at), (Some(NOW + 300), Some(NOW + 1300)));
        let after_birth = after(&ttl(1000), Some(&first), NOW + 500);
        assert_eq!((after_birth.available_at, after_birth.expires_at), (Some(NOW + 300), Some(NOW + 1500)));
    }

    #[test]
    fn ttl_0_never_expires() {
        let first = after(&MetadataChange { ttl: Field::Set(1000), ..MetadataChange::default() }, None, NOW);
        let second =
            after(&MetadataChange { ttl: Field::Set(0), ..MetadataChange::default() }, Some(&first), NOW);
        assert_eq!((second.ttl, second.expires_at), (Some(0), None));
    }

    #[test]
    fn ttr_is_in_seconds_minus_1_never_refreshes_and_0_is_no_ttr() {
        for (ttr, stored, refresh_at) in
            [(7, Some(7), Some(NOW + 7000)), (-1, Some(-1), None), (0, None, None)]
        {
            let change =
                MetadataChange { ttr: Field::Set(ttr), ccd: Field::Set(true), ..MetadataChange::default() };
            let made = after(&change, None, NOW);
            assert_eq!((made.ttr, made.refresh_at), (stored, refresh_at), "ttr {ttr}");
            assert_eq!(made.ccd, stored.map(|_| true), "ccd means nothing without ttr");
        }
    }

    #[test]
    fn a_field_not_given_stays_and_null_clears_it() {
        let set = MetadataChange {
            iv_nonce: Field::Set("n".into()),
            encoding: Field::Set("base64".into()),
            ..MetadataChange::default()
        };
        let first = after(&set, None, NOW);
        let second =
            after(&MetadataChange { encoding: Field::Clear, ..MetadataChange::default() }, Some(&first), NOW);
        assert_eq!((second.iv_nonce.as_deref(), second.encoding), (Some("n"), None));
    }

    #[test]
    fn an_immutable_record_is_not_changed_until_it_has_expired() {
        let change =
            MetadataChange { immutable: Field::Set(true), ttl: Field::Set(10), ..MetadataChange::default() };
        let first = after(&change, None, NOW);
        assert_eq!(MetadataChange::default().apply(Some(&first), "@alice", NOW + 9), Err(ImmutableRecord));
        let second = after(&MetadataChange::default(), Some(&first), NOW + 10);
        assert_eq!((second.version, second.immutable), (Some(0), None));
    }

    #[test]
    fn times_never_leave_what_can_be_printed() {
        let change = MetadataChange {
            ttl: Field::Set(i64::MAX),
            ttr: Field::Set(i64::MAX),
            ..MetadataChange::default()
        };
        let made = after(&change, None, NOW);
        assert_eq!((made.expires_at, made.refresh_at), (Some(LATEST), Some(LATEST)));
    }
}
