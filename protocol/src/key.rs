//! Keys: the names under which an atSign's data is stored (reference page section 3.1).

use std::fmt;

use crate::at_sign::AtSign;
use crate::error::{AtError, ErrorCode};

/// The PKAM public key of the owner, base64 of its DER `SubjectPublicKeyInfo` (or a P-256 point in hex).
pub const PKAM_PUBLIC_KEY: &str = "privatekey:at_pkam_publickey";
/// The CRAM secret, until the client deletes it at the end of its onboarding.
pub const CRAM_SECRET: &str = "privatekey:at_secret";
/// Says that the CRAM secret was deleted, so that no restart brings it back.
pub const CRAM_SECRET_DELETED: &str = "privatekey:at_secret_deleted";

/// The most characters of a stored key.
pub const MAX_CHARS: usize = 248;
/// The most characters of a `cached:` key.
pub const MAX_CACHED_CHARS: usize = 255;

/// Who may read a key, as its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// `public:`: everyone.
    Public,
    /// `@bob:`: that atSign and the owner.
    SharedWith(AtSign),
    /// No prefix: the owner.
    Own,
    /// `private:`: the server itself.
    Private,
    /// `local:`: never leaves a client.
    Local,
}

/// A key with an owner: `[cached:][public:|@bob:]entity@owner`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtKey {
    /// A copy of another atSign's data.
    pub cached: bool,
    /// Who may read it.
    pub visibility: Visibility,
    /// The name proper, namespace included: `phone.wavi`.
    pub entity: String,
    /// Whose data it is.
    pub owner: AtSign,
}

impl AtKey {
    /// Reads a key in its stored form, `cached:@alice:phone.wavi@bob`.
    ///
    /// This is the verbs' grammar (AT0003); what a key that is to be stored must also satisfy is
    /// [`AtKey::check_storable`].
    pub fn parse(text: &str) -> Result<Self, AtError> {
        let (name, owner) = text
            .rsplit_once('@')
            .ok_or_else(|| AtError::syntax("the key does not end with @ and its owner"))?;
        let owner = at_sign(owner)?;
        let (cached, name) = match strip_tag(name, "cached") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let (visibility, entity) = if let Some(rest) = strip_tag(name, "public") {
            (Visibility::Public, rest)
        } else if let Some(rest) = strip_tag(name, "private") {
            (Visibility::Private, rest)
        } else if let Some(rest) = strip_tag(name, "local") {
            (Visibility::Local, rest)
        } else if let Some((with, rest)) = name.strip_prefix('@').and_then(|rest| rest.split_once(':')) {
            (Visibility::SharedWith(at_sign(with)?), rest)
        } else {
            (Visibility::Own, name)
        };
        Self::new(cached, visibility, entity, owner)
    }

    /// Puts a key together; the entity is checked against the verbs' grammar.
    pub fn new(cached: bool, visibility: Visibility, entity: &str, owner: AtSign) -> Result<Self, AtError> {
        if entity.is_empty() {
            return Err(AtError::syntax("the key has no name"));
        }
        if let Some(wrong) = entity.chars().find(|c| matches!(c, ':' | '@') || c.is_whitespace()) {
            return Err(AtError::syntax(format!("{wrong:?} cannot stand in the name of a key")));
        }
        Ok(Self { cached, visibility, entity: entity.to_lowercase(), owner })
    }

    /// `public:entity@owner`.
    pub fn public(entity: &str, owner: AtSign) -> Result<Self, AtError> {
        Self::new(false, Visibility::Public, entity, owner)
    }

    /// Whether the key may be stored by that name: its characters and its length (AT0016).
    pub fn check_storable(&self) -> Result<(), AtError> {
        if let Some(wrong) = self.entity.chars().find(|c| !is_entity_character(*c)) {
            return Err(AtError::new(
                ErrorCode::InvalidAtKey,
                format!("{} is not a valid key: it contains {wrong:?}", Shortened(&self.to_string())),
            ));
        }
        let length = self.to_string().chars().count();
        let max = if self.cached { MAX_CACHED_CHARS } else { MAX_CHARS };
        if length > max {
            return Err(AtError::new(
                ErrorCode::InvalidAtKey,
                format!("key length {length} is greater than max allowed {max} chars"),
            ));
        }
        Ok(())
    }

    /// Whether changes of this key stand in the commit log (reference page section 3.3).
    pub fn is_committed(&self) -> bool {
        match self.visibility {
            Visibility::Private | Visibility::Local => false,
            Visibility::Public if !self.cached => {
                !self.entity.starts_with('_') || self.entity.starts_with("__")
            }
            Visibility::Public | Visibility::SharedWith(_) | Visibility::Own => true,
        }
    }

    /// Whether the server refuses to delete it (reference page section 2.11).
    pub fn is_protected(&self) -> bool {
        if self.cached {
            return false;
        }
        match &self.visibility {
            Visibility::Public => matches!(self.entity.as_str(), "signing_publickey" | "publickey"),
            Visibility::SharedWith(with) => *with == self.owner && self.entity == "signing_privatekey",
            Visibility::Own => self.entity == "at_pkam_publickey",
            Visibility::Private | Visibility::Local => false,
        }
    }
}

impl fmt::Display for AtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cached {
            f.write_str("cached:")?;
        }
        match &self.visibility {
            Visibility::Public => f.write_str("public:")?,
            Visibility::SharedWith(with) => write!(f, "{with}:")?,
            Visibility::Own => {}
            Visibility::Private => f.write_str("private:")?,
            Visibility::Local => f.write_str("local:")?,
        }
        write!(f, "{}{}", self.entity, self.owner)
    }
}

/// A text of a stranger's length, shortened for an error message.
pub(crate) struct Shortened<'a>(pub(crate) &'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_CACHED_CHARS) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

/// What follows `tag:` in `text`, the tag in any case.
pub(crate) fn strip_tag<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let head = text.get(..tag.len())?;
    if !head.eq_ignore_ascii_case(tag) {
        return None;
    }
    text[tag.len()..].strip_prefix(':')
}

/// An atSign inside a command. One that is none makes the whole command a wrong one.
pub(crate) fn at_sign(text: &str) -> Result<AtSign, AtError> {
    AtSign::parse(text).map_err(|wrong| AtError::syntax(wrong.to_string()))
}

/// ASCII letters and digits, some signs, and emoji; letters such as `ü` are refused, as by the reference server.
fn is_entity_character(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '_' | '.' | '-' | '\'' | '*' | '"' | '©' | '®')
        || matches!(c, '\u{2000}'..='\u{3300}' | '\u{FE00}'..='\u{FE0F}' | '\u{1F000}'..='\u{1FBFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> AtKey {
        AtKey::parse(text).expect("a key")
    }

    #[test]
    fn every_form_of_a_key_is_read_and_printed_as_stored() {
        for (text, stored) in [
            ("phone@alice", "phone@alice"),
            ("Phone.Wavi@ALICE", "phone.wavi@alice"),
            ("public:phone@alice", "public:phone@alice"),
            ("PUBLIC:__secret@alice", "public:__secret@alice"),
            ("@bob:phone.wavi@alice", "@bob:phone.wavi@alice"),
            ("@B.ob:x@alice", "@bob:x@alice"),
            ("cached:@alice:phone@bob", "cached:@alice:phone@bob"),
            ("cached:public:phone@bob", "cached:public:phone@bob"),
            ("private:blocklist@alice", "private:blocklist@alice"),
            ("local:x@alice", "local:x@alice"),
            ("_hidden@alice", "_hidden@alice"),
            ("🦄.farm@alice🛠", "🦄.farm@alice🛠"),
        ] {
            assert_eq!(key(text).to_string(), stored);
        }
    }

    #[test]
    fn what_is_no_key_is_a_wrong_command() {
        for text in
            ["phone", "@alice", "public:@alice", "a b@alice", "x:y@alice", "x@a@b", "x@", "@bob:@alice", ""]
        {
            assert_eq!(AtKey::parse(text).map_err(|e| e.code()), Err(ErrorCode::InvalidSyntax), "{text:?}");
        }
    }

    #[test]
    fn keys_with_other_letters_or_too_many_are_not_stored() {
        for text in ["a,b@alice", "tür@alice", "a/b@alice", &format!("{}@alice", "k".repeat(243))] {
            let refused = key(text).check_storable().expect_err(text);
            assert_eq!(refused.code(), ErrorCode::InvalidAtKey, "{text}");
        }
        for text in ["a-b_c.d'*\"@alice", "🛠@alice", &format!("{}@alice", "k".repeat(242))] {
            assert_eq!(key(text).check_storable(), Ok(()), "{text}");
        }
        assert_eq!(
            key(&format!("{}@alice", "k".repeat(243))).check_storable().expect_err("too long").message(),
            "key length 249 is greater than max allowed 248 chars"
        );
    }

    #[test]
    fn the_commit_log_leaves_out_what_the_server_keeps_for_itself() {
        for (text, committed) in [
            ("phone@alice", true),
            ("_hidden@alice", true),
            ("public:phone@alice", true),
            ("public:__hidden@alice", true),
            ("public:_session@alice", false),
            ("private:blocklist@alice", false),
            ("local:x@alice", false),
        ] {
            assert_eq!(key(text).is_committed(), committed, "{text}");
        }
    }

    #[test]
    fn the_keys_that_a_server_needs_are_protected() {
        for text in
            ["public:publickey@alice", "public:signing_publickey@alice", "@alice:signing_privatekey@alice"]
        {
            assert!(key(text).is_protected(), "{text}");
        }
        for text in ["cached:public:publickey@bob", "publickey@alice", "@bob:signing_privatekey@alice"] {
            assert!(!key(text).is_protected(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_key_reads_as_it_prints(text in "(cached:)?(public:|@bob:|private:)?[a-z0-9._🛠-]{1,20}@alice") {
            let read = AtKey::parse(&text).expect("a key");
            prop_assert_eq!(read.to_string(), text.clone());
            prop_assert_eq!(AtKey::parse(&read.to_string()), Ok(read));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            if let Ok(key) = AtKey::parse(&text) {
                let _ = key.check_storable();
            }
        }
    }
}
