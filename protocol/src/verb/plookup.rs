//! `plookup:[bypassCache:(true|false):][(meta|all):]<entity>@ATSIGN` (reference page section 2.7).

use super::{Lookup, Operation};
use crate::error::AtError;
use crate::key::{AtKey, Visibility};

/// Reads public data of any atSign through this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLookup {
    /// Whether to leave a cached copy unread.
    pub bypass_cache: bool,
    /// What to answer.
    pub operation: Operation,
    /// The key, `public:` included.
    pub key: AtKey,
}

impl ProxyLookup {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let Lookup { bypass_cache, operation, key } = Lookup::parse(text)?;
        Ok(Self { bypass_cache, operation, key: AtKey { visibility: Visibility::Public, ..key } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_always_a_public_one() {
        let plookup = ProxyLookup::parse("bypassCache:true:all:publickey@bob").expect("a plookup");
        assert_eq!(plookup.key.to_string(), "public:publickey@bob");
        assert!(ProxyLookup::parse("x@a@b").is_err());
        assert!(ProxyLookup::parse("x@a@@").is_err());
    }
}
