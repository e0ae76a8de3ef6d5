//! `info` and `info:brief` (reference page section 2.19).

use crate::error::AtError;

/// Tells version and uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// For a program rather than a person.
    pub brief: bool,
}

impl Info {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        match text {
            "" => Ok(Self { brief: false }),
            brief if brief.eq_ignore_ascii_case(":brief") => Ok(Self { brief: true }),
            _ => Err(AtError::syntax("info knows brief only")),
        }
    }
}
