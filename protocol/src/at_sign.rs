//! atSigns: who a server belongs to, who asks, whom a key is for.

use std::fmt;

use sha2::{Digest, Sha256};

/// The most characters of an atSign, without its `@` (reference page section 3.1).
pub const MAX_CHARS: usize = 55;

/// The most characters of an object name, so that Kubernetes can append to it.
pub const MAX_OBJECT_NAME: usize = 52;

/// A normalised atSign: lower case, without dots, with its `@`. Unicode is legal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtSign(String);

/// Why a text is not an atSign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAtSign {
    /// Nothing is left beside the `@`.
    #[error("an atSign needs at least one character after the @")]
    Empty,
    /// More than [`MAX_CHARS`].
    #[error("an atSign has at most {MAX_CHARS} characters after the @")]
    TooLong,
    /// A second `@`.
    #[error("an atSign has one @ only, in front")]
    SecondAt,
    /// One of the characters that no atSign has.
    #[error("an atSign cannot contain the character {0:?}")]
    Character(char),
}

impl AtSign {
    /// Normalises `text`, with or without the leading `@`, as the protocol does: lower case, dots dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidAtSign> {
        let name = text.strip_prefix('@').unwrap_or(text);
        // Before any work on it: a stranger may have sent megabytes.
        if name.len() > 16 * MAX_CHARS {
            return Err(InvalidAtSign::TooLong);
        }
        let mut normal = String::with_capacity(1 + name.len());
        normal.push('@');
        for character in name.chars() {
            match character {
                '.' => {}
                '@' => return Err(InvalidAtSign::SecondAt),
                '!' | '*' | '\'' | '`' | '(' | ')' | ';' | ':' | '&' | '=' | '+' | '$' | ',' | '/' | '?'
                | '#' | '[' | ']' | '{' | '}' => return Err(InvalidAtSign::Character(character)),
                _ if character.is_whitespace() || character.is_control() => {
                    return Err(InvalidAtSign::Character(character));
                }
                _ => normal.extend(character.to_lowercase()),
            }
        }
        match normal.chars().count() - 1 {
            0 => Err(InvalidAtSign::Empty),
            1..=MAX_CHARS => Ok(Self(normal)),
            _ => Err(InvalidAtSign::TooLong),
        }
    }

    /// With the leading `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the leading `@`: as the directory knows it.
    pub fn name(&self) -> &str {
        &self.0[1..]
    }
}

impl fmt::Display for AtSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for AtSign {
    type Err = InvalidAtSign;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The Kubernetes name for an atSign: a DNS-1035 label of at most [`MAX_OBJECT_NAME`] characters.
///
/// `@alice` is `alice`. What is no such label by itself gets what can be read of it and ten hexadecimal digits of its
/// SHA-256; so does a plain name that looks like one of those, so that no two atSigns share a name.
pub fn object_name(at_sign: &AtSign) -> String {
    const DIGITS: usize = 10;
    let name = at_sign.name();
    if is_label(name) && !ends_like_a_hash(name, DIGITS) {
        return name.to_owned();
    }
    let mut readable = String::new();
    for character in name.chars() {
        match character {
            'a'..='z' => readable.push(character),
            '0'..='9' if !readable.is_empty() => readable.push(character),
            _ if !readable.is_empty() && !readable.ends_with('-') => readable.push('-'),
            _ => {}
        }
    }
    readable.truncate(MAX_OBJECT_NAME - DIGITS - 1);
    let readable = match readable.trim_end_matches('-') {
        "" => "at",
        readable => readable,
    };
    let digest = Sha256::digest(name.as_bytes());
    let hash = digest.iter().take(DIGITS / 2).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    format!("{readable}-{hash:0DIGITS$x}")
}

fn is_label(name: &str) -> bool {
    name.len() <= MAX_OBJECT_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn ends_like_a_hash(name: &str, digits: usize) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(_, end)| end.len() == digits && end.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> AtSign {
        AtSign::parse(text).expect("an atSign")
    }

    #[test]
    fn an_atsign_is_lower_case_without_dots_and_with_its_at() {
        for text in ["@alice", "alice", "ALICE", "@al.i.ce", "Al.ice."] {
            assert_eq!(at(text).as_str(), "@alice", "{text}");
        }
        assert_eq!(at("emoji🦄🛠").as_str(), "@emoji🦄🛠");
    }

    #[test]
    fn what_is_no_atsign_is_refused_with_the_reason() {
        for (text, why) in [
            ("", InvalidAtSign::Empty),
            ("@", InvalidAtSign::Empty),
            ("@...", InvalidAtSign::Empty),
            ("@@alice", InvalidAtSign::SecondAt),
            ("alice@bob", InvalidAtSign::SecondAt),
            ("al ice", InvalidAtSign::Character(' ')),
            ("alice!", InvalidAtSign::Character('!')),
            ("al\u{7}ice", InvalidAtSign::Character('\u{7}')),
            (&"a".repeat(56), InvalidAtSign::TooLong),
        ] {
            assert_eq!(AtSign::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_plain_atsign_is_its_own_object_name() {
        assert_eq!(object_name(&at("@alice")), "alice");
        assert_eq!(object_name(&at("@A.Lice-2")), "alice-2");
    }

    #[test]
    fn other_atsigns_get_a_readable_part_and_a_hash() {
        assert!(object_name(&at("@alice🛠")).starts_with("alice-"));
        assert!(object_name(&at("@1st_place")).starts_with("st-place-"));
        assert!(object_name(&at("@🦄")).starts_with("at-"));
        assert_ne!(object_name(&at("@🦄")), object_name(&at("@🛠")));
    }

    #[test]
    fn an_atsign_that_spells_another_ones_object_name_does_not_get_it() {
        let taken = object_name(&at("@alice🛠"));
        assert_ne!(object_name(&at(&taken)), taken);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{1,60}") {
            if let Ok(once) = AtSign::parse(&text) {
                prop_assert_eq!(AtSign::parse(once.as_str()), Ok(once));
            }
        }

        #[test]
        fn an_object_name_is_always_a_label(text in "\\PC{1,60}") {
            if let Ok(at_sign) = AtSign::parse(&text) {
                let name = object_name(&at_sign);
                prop_assert!(is_label(&name), "{}", name);
            }
        }
    }
}
