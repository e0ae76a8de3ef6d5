//! `to:@ATSIGN` (reference page section 2.24).

use crate::at_sign::AtSign;
use crate::error::AtError;
use crate::key::at_sign;

/// Says whose server a connection is for, and asks for the public keys of that atSign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// Whose.
    pub at_sign: AtSign,
}

impl To {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if !text.starts_with('@') {
            return Err(AtError::syntax("an atSign begins with @"));
        }
        Ok(Self { at_sign: at_sign(text)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_atsign_is_named() {
        assert_eq!(To::parse("@Al.ice").map(|to| to.at_sign.to_string()), Ok("@alice".to_owned()));
        for text in ["", "@", "alice", "@a@b", "@a b", "@a:b"] {
            assert!(To::parse(text).is_err(), "{text}");
        }
    }
}
