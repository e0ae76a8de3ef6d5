//! `noop:<ms>` (reference page section 2.19).

use crate::error::{AtError, ErrorCode};

/// Waits and says that the server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noop {
    /// How long to wait, milliseconds.
    pub millis: u64,
}

impl Noop {
    /// The longest wait.
    pub const MAX: u64 = 5000;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(AtError::syntax("noop needs a number of milliseconds"));
        }
        match text.parse() {
            Ok(millis) if millis <= Self::MAX => Ok(Self { millis }),
            _ => Err(AtError::new(
                ErrorCode::IllegalArgument,
                "noop:<durationInMillis> where the duration maximum is 5000 milliseconds",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_up_to_five_seconds_is_granted() {
        assert_eq!(Noop::parse("5000"), Ok(Noop { millis: 5000 }));
        for text in ["5001", "99999999999999999999999"] {
            assert_eq!(Noop::parse(text).map_err(|e| e.code()), Err(ErrorCode::IllegalArgument));
        }
        for text in ["-1", "", "x", "1 "] {
            assert_eq!(Noop::parse(text).map_err(|e| e.code()), Err(ErrorCode::InvalidSyntax));
        }
    }
}
