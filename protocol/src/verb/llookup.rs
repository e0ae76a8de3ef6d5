//! `llookup[:(meta|all)]:<key as stored>` (reference page section 2.8).

use super::Operation;
use crate::error::AtError;
use crate::key::AtKey;

/// Reads a key of this server by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalLookup {
    /// What to answer.
    pub operation: Operation,
    /// The key as stored.
    pub key: AtKey,
}

impl LocalLookup {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (operation, key) = Operation::strip(text);
        Ok(Self { operation, key: AtKey::parse(key)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_one_letter_is_a_key() {
        let llookup = LocalLookup::parse("k@alice").expect("a key");
        assert_eq!((llookup.operation, llookup.key.to_string().as_str()), (Operation::Value, "k@alice"));
        let llookup = LocalLookup::parse("META:public:p@alice").expect("a key");
        assert_eq!(
            (llookup.operation, llookup.key.to_string().as_str()),
            (Operation::Meta, "public:p@alice")
        );
    }

    #[test]
    fn a_key_may_be_called_like_an_operation() {
        let llookup = LocalLookup::parse("all:meta@alice").expect("a key");
        assert_eq!((llookup.operation, llookup.key.to_string().as_str()), (Operation::All, "meta@alice"));
    }
}
