//! `delete[:dAt:…][:nc][:force][:priority:…]:<key>` (reference page section 2.11).

use crate::error::{AtError, ErrorCode};
use crate::key::{self, AtKey, strip_tag};
use crate::time;

/// Removes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Also where the record is immutable.
    pub force: bool,
    /// Without an entry in the commit log.
    pub uncommitted: bool,
    /// What to remove.
    pub key: Deleted,
}

/// What a `delete` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// A key of the atSign's data.
    Key(AtKey),
    /// The CRAM secret, for ever: the end of the onboarding.
    CramSecret,
}

impl Delete {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (mut force, mut uncommitted) = (false, false);
        let mut rest = text;
        // A flag is one only where a key follows: `delete:nc@alice` has no colon behind it.
        loop {
            if let Some(after) = strip_tag(rest, "nc") {
                uncommitted = true;
                rest = after;
            } else if let Some(after) = strip_tag(rest, "force") {
                force = true;
                rest = after;
            } else if let Some(after) = strip_tag(rest, "priority") {
                let (priority, after) = after.split_once(':').unwrap_or((after, ""));
                if !["low", "medium", "high"].iter().any(|known| known.eq_ignore_ascii_case(priority)) {
                    return Err(AtError::syntax("priority is low, medium or high"));
                }
                rest = after;
            } else if let Some(after) = strip_tag(rest, "dAt") {
                let end = after.match_indices(':').nth(2).map_or(after.len(), |(end, _)| end);
                if time::parse(&after[..end]).is_none() {
                    return Err(AtError::syntax("dAt is no time"));
                }
                rest = after[end..].strip_prefix(':').unwrap_or("");
            } else {
                break;
            }
        }
        Ok(Self { force, uncommitted, key: Self::key(rest)? })
    }

    fn key(text: &str) -> Result<Deleted, AtError> {
        if text.eq_ignore_ascii_case(key::CRAM_SECRET) {
            return Ok(Deleted::CramSecret);
        }
        if !text.contains([':', '@']) && !text.contains(char::is_whitespace) && !text.is_empty() {
            return Err(AtError::new(
                ErrorCode::InvalidAtKey,
                format!("{} has no owner", key::Shortened(text)),
            ));
        }
        let key = AtKey::parse(text)?;
        if matches!(key.visibility, key::Visibility::Private | key::Visibility::Local) {
            return Err(AtError::syntax("keys of the server itself cannot be deleted"));
        }
        Ok(Deleted::Key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(text: &str) -> Result<(bool, bool, String), ErrorCode> {
        let delete = Delete::parse(text).map_err(|e| e.code())?;
        let key = match delete.key {
            Deleted::Key(key) => key.to_string(),
            Deleted::CramSecret => "the secret".into(),
        };
        Ok((delete.force, delete.uncommitted, key))
    }

    #[test]
    fn every_form_is_read() {
        for (text, force, uncommitted, key) in [
            ("phone.wavi@alice", false, false, "phone.wavi@alice"),
            ("priority:high:@bob:phone@alice", false, false, "@bob:phone@alice"),
            ("nc:force:cached:public:x@bob", true, true, "cached:public:x@bob"),
            ("dAt:2024-05-05T09:06:40.007Z:force:x@alice", true, false, "x@alice"),
            ("force@alice", false, false, "force@alice"),
            ("privatekey:at_secret", false, false, "the secret"),
        ] {
            assert_eq!(deleted(text), Ok((force, uncommitted, key.into())), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_clients_to_delete_is_refused() {
        for text in [
            "privatekey:at_pkam_publickey",
            "private:blocklist@alice",
            "local:x@alice",
            "priority:none:x@alice",
            "dAt:now:x@alice",
            "nc:",
            "x y@alice",
            "@alice",
        ] {
            assert_eq!(deleted(text), Err(ErrorCode::InvalidSyntax), "{text}");
        }
        assert_eq!(deleted("phone"), Err(ErrorCode::InvalidAtKey));
    }
}
