//! `otp:get[:ttl:<ms>]` and `otp:put:<passcode>[:ttl:<ms>]` (reference page section 2.20).

use crate::error::AtError;
use crate::key::strip_tag;

/// Passcodes with which strangers may request an enrollment.
#[derive(Clone, PartialEq, Eq)]
pub struct Otp {
    /// The owner's own passcode, good many times; without one the server makes one that is good once.
    pub passcode: Option<String>,
    /// How long it is good, milliseconds.
    pub ttl: Option<i64>,
}

impl std::fmt::Debug for Otp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Otp").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Otp {
    /// Characters of a passcode.
    pub const MIN: usize = 6;
    /// More are not looked at.
    pub const MAX: usize = 128;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if text.eq_ignore_ascii_case("get") {
            return Ok(Self { passcode: None, ttl: None });
        }
        if let Some(rest) = strip_tag(text, "get") {
            return Ok(Self { passcode: None, ttl: Some(ttl(rest)?) });
        }
        let Some(rest) = strip_tag(text, "put") else {
            return Err(AtError::syntax("otp knows get and put"));
        };
        let (passcode, rest) = match rest.split_once(':') {
            Some((passcode, rest)) => (passcode, Some(rest)),
            None => (rest, None),
        };
        let is_word = passcode.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_word || !(Self::MIN..=Self::MAX).contains(&passcode.len()) {
            return Err(AtError::syntax("a passcode has at least six letters or digits"));
        }
        Ok(Self { passcode: Some(passcode.to_owned()), ttl: rest.map(ttl).transpose()? })
    }
}

fn ttl(text: &str) -> Result<i64, AtError> {
    let millis = strip_tag(text, "ttl").and_then(|ttl| ttl.parse().ok()).filter(|millis| *millis > 0);
    millis.ok_or_else(|| AtError::syntax("ttl is a number of milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passcode_is_asked_for_or_given() {
        for (text, passcode, ttl) in [
            ("get", None, None),
            ("GET:ttl:1000", None, Some(1000)),
            ("put:abc_12", Some("abc_12"), None),
            ("put:ABCDEFGH:TTL:5", Some("ABCDEFGH"), Some(5)),
        ] {
            assert_eq!(Otp::parse(text), Ok(Otp { passcode: passcode.map(str::to_owned), ttl }), "{text}");
        }
    }

    #[test]
    fn what_is_no_passcode_is_refused_and_none_is_printed() {
        for text in [
            "",
            "get:",
            "get:ttl:",
            "get:ttl:-1",
            "put",
            "put:",
            "put:short",
            "put:with space",
            "put:abcdef:x",
        ] {
            assert!(Otp::parse(text).is_err(), "{text}");
        }
        assert!(!format!("{:?}", Otp::parse("put:secret1")).contains("secret1"));
    }
}
