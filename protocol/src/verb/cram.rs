//! `cram:<digest>` (reference page section 2.2).

use crate::error::AtError;

/// Proves that the client knows the secret of the onboarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cram {
    /// Hexadecimal SHA-512 of the secret followed by the challenge.
    pub digest: String,
}

impl Cram {
    /// Characters of the digest. Another length is no digest, and not worth keeping.
    const DIGITS: usize = 128;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let digest = text.trim();
        if digest.is_empty() || digest.contains(char::is_whitespace) {
            return Err(AtError::syntax("cram needs a digest"));
        }
        // A wrong digest is the verb's to refuse, but it need not be carried there whole.
        Ok(Self { digest: digest.chars().take(Self::DIGITS + 1).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_any_length_is_for_the_verb_to_refuse() {
        assert_eq!(Cram::parse("abc"), Ok(Cram { digest: "abc".into() }));
        assert_eq!(Cram::parse(&"a".repeat(9999)).map(|cram| cram.digest.len()), Ok(129));
        assert!(Cram::parse(" ").is_err());
        assert!(Cram::parse("a b").is_err());
    }
}
