//! `lookup:[bypassCache:(true|false):][(meta|all):]<entity>@ATSIGN` (reference page section 2.6).

use super::Operation;
use crate::error::AtError;
use crate::key::{AtKey, Visibility, strip_tag};

/// Reads a key as its recipient; which one that is depends on who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Whether to leave a cached copy of another atSign's data unread.
    pub bypass_cache: bool,
    /// What to answer.
    pub operation: Operation,
    /// The key without any prefix.
    pub key: AtKey,
}

impl Lookup {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (bypass_cache, text) = match strip_tag(text, "bypassCache").map(|rest| rest.split_once(':')) {
            None => (false, text),
            Some(Some((flag, rest))) if flag.eq_ignore_ascii_case("true") => (true, rest),
            Some(Some((flag, rest))) if flag.eq_ignore_ascii_case("false") => (false, rest),
            Some(_) => return Err(AtError::syntax("bypassCache is neither true nor false")),
        };
        let (operation, key) = Operation::strip(text);
        let key = AtKey::parse(key)?;
        if key.cached || key.visibility != Visibility::Own {
            return Err(AtError::syntax("the key stands here without its prefix"));
        }
        Ok(Self { bypass_cache, operation, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_named_without_who_it_is_for() {
        let lookup = Lookup::parse("bypassCache:True:all:Phone.wavi@bob").expect("a lookup");
        assert_eq!((lookup.bypass_cache, lookup.operation), (true, Operation::All));
        assert_eq!(lookup.key.to_string(), "phone.wavi@bob");
        for text in
            ["public:x@alice", "@bob:x@alice", "cached:x@alice", "x", "x@a@b", "x@@", "bypassCache:1:x@a"]
        {
            assert!(Lookup::parse(text).is_err(), "{text}");
        }
    }
}
